"""One request and its response on an HTTP/2 connection.

To its exchange and its response a stream is what a whole connection is in HTTP/1.1: it sends the one, brings the
other, and has their deadlines. It stands in the pool's list of deadlines by itself, and whatever becomes of it costs
the other streams nothing. It says how it ends; the connection (``hardhttp.client.http2``) forgets it before the
application is told.

How the request goes out is ``hardhttp.client.streamrequest``'s. A response's body is given on as it comes; what is
not taken stays, the window that the server has for it shuts, and ``unread_seconds`` later the stream is reset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from hardhttp.client.errors import (
    AgentClosed,
    BodyTimeout,
    BodyUnread,
    ClientError,
    ClientReason,
    NoResponse,
    ResponseCut,
    ResponseTimeout,
    fault_of_peer,
)
from hardhttp.client.exchange import Exchange
from hardhttp.client.response import Delivery, Response, aborted
from hardhttp.client.sending import Sending
from hardhttp.client.streamrequest import Saying, StreamRequest
from hardhttp.errors import Fault, LimitFault, PeerFault, Reason
from hardhttp.net.ledger import BODY
from hardhttp.wire.deadlines import NEVER, Pace
from hardhttp.wire.http2 import ErrorCodes, StreamFault
from hardhttp.wire.http2answer import StreamBody, answer_head, judge_trailers
from hardhttp.wire.http2client import Fields, window_frame

if TYPE_CHECKING:
    from hardhttp.client.http2 import Connection2

__all__ = ["Stream"]


class Stream(StreamRequest):
    """One exchange's way. ``saying`` and ``response`` are its two halves' states: no response, no head yet."""

    __slots__ = ("_body", "_given", "_informational", "_pace", "_taken", "deadline")

    _log = Logger(namespace="hardhttp.client")

    def __init__(
        self, connection: Connection2, exchange: Exchange, number: int, send_window: int, receive_window: int
    ) -> None:
        super().__init__(connection, exchange, number, send_window, receive_window)
        self.deadline = exchange.due
        self._body: StreamBody | None = None
        self._pace: Pace | None = None
        self._informational = 0
        self._taken = 0  # of the window: what the server has been given back
        self._given = 0  # of the window: what has come

    def __repr__(self) -> str:
        return f"<Stream {self.number} {self.saying.name}>"

    # -- the response comes in ----------------------------------------------------------------

    def heard_fields(self, fields: Fields, ended: bool) -> None:
        """A header block: an interim head, the final one, or trailers. Raises ``StreamFault`` or ``Fault``."""
        exchange = self._exchange
        if self._body is not None:
            judge_trailers(fields, ended, exchange.bounds)
            self._body.receive(0, True)
            self._whole([])
            return
        head = answer_head(fields, ended, exchange.bounds)
        if head.status < 200:
            self._inform(head.status)
            return
        body = StreamBody(head, exchange.method, exchange.bounds)
        if ended:
            body.receive(0, True)
        length: Any = UNKNOWN_LENGTH if body.length is None else body.length
        response = Response(head, exchange, 0 if ended else length)
        if ended:
            self._over(self._rest_unwanted, served=True)
            response.ended(Failure(ResponseDone()))
            exchange.answer(response)
            return
        self._response, self._body = response, body
        response.attach(self)
        self._due(NEVER)
        exchange.answer(response)
        if self._connection is not None and response.delivery is Delivery.UNASKED:
            self.body_paused()

    def _inform(self, status: int) -> None:
        """A 1xx (RFC 9110, 15.2): one of a bounded number."""
        self._informational += 1
        bounds, sender = self._exchange.bounds, self._sender
        if self._informational > bounds.max_informational:
            text = f"more than {bounds.max_informational} informational responses"
            raise LimitFault(502, Reason.INFORMATIONAL, text)
        if status == 100 and sender is not None and sender.state is Sending.UNINVITED:
            self._due(NEVER)
            sender.begin()

    def heard_data(self, data: bytes, size: int, ended: bool) -> None:
        """Part of the body. Raises ``StreamFault`` or ``Fault``."""
        response, body = self._response, self._body
        if response is None or body is None:
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "a body before its head")
        body.receive(len(data), ended)
        self._given += size
        if ended:
            self._whole([data] if data else [])
            return
        pace, connection = self._pace, self._connection
        if pace is not None and connection is not None:
            pace.progress(connection.now, body.received)
            self._due(pace.deadline)
        if data and not self._tell(response, [data]):
            self.abort()
            return
        self._give_back()

    def partial(self, size: int) -> bool:
        """``size`` bytes of a frame of the body have come; whether somebody waits for them."""
        pace, body, connection = self._pace, self._body, self._connection
        if pace is None or body is None or connection is None:
            return False
        pace.progress(connection.now, body.received + size)
        self._due(pace.deadline)
        return True

    def _whole(self, pieces: list[bytes]) -> None:
        """The response is all there."""
        response = self._response
        self._over(self._rest_unwanted, served=True)
        if response is not None:
            if pieces:
                self._tell(response, pieces)
            response.ended(Failure(ResponseDone()))

    def _tell(self, response: Response, pieces: list[bytes]) -> bool:
        try:
            response.received(pieces)
        except Exception:
            self._log.failure("a body's protocol failed at what it was given")
            return False
        return True

    def _give_back(self) -> None:
        """Let the server send as many bytes as have been taken, when they are many."""
        connection, response = self._connection, self._response
        if connection is None or response is None:
            return
        held = 0 if response.delivery is Delivery.FLOWING else response.held_bytes
        if held or response.delivery is not Delivery.FLOWING:
            connection.pool.ledger.hold(self, BODY, held)
        taken = self._given - held - self._taken
        if 2 * taken >= connection.bounds.stream_window_bytes:
            self._taken += taken
            self.receive_window += taken
            connection.put(window_frame(self.number, taken))

    # -- the application's side: the response's ----------------------------------------------

    def body_wanted(self) -> None:
        """The application takes the body, or takes it again."""
        connection, body = self._connection, self._body
        if connection is None or body is None:
            return
        connection.pool.ledger.hold(self, BODY, 0)
        limits = self._exchange.limits
        seconds = limits.body_idle_seconds
        if seconds is None:
            self._pace = None
            self._due(NEVER)
        else:
            self._pace = Pace(connection.seconds(), seconds, limits.body_bytes_per_second, body.received)
            self._due(self._pace.deadline)
        self._give_back()

    def body_paused(self) -> None:
        """The application does not take the body now."""
        connection, response = self._connection, self._response
        if connection is not None and response is not None:
            self._pace = None
            connection.pool.ledger.hold(self, BODY, response.held_bytes)
            self._due(connection.seconds() + self._exchange.limits.unread_seconds)

    def abort(self) -> None:
        """The application wants no more of this response."""
        self._end(Failure(aborted()), ErrorCodes.CANCEL)

    def cancel(self) -> None:
        """The application wants no response."""
        self._over(ErrorCodes.CANCEL)

    def upgraded_write(self, data: bytes) -> None:
        """Nothing: HTTP/2 has no Upgrade (RFC 9113, 8.6)."""

    # -- deadlines ----------------------------------------------------------------------------

    def _due(self, deadline: float) -> None:
        connection = self._connection
        if connection is not None:
            self.deadline = min(deadline, self._exchange.due)
            connection.pool.deadlines.sooner(self.deadline)

    def expire(self, now: float) -> None:
        """What has to be done at the deadline."""
        exchange, response, sender = self._exchange, self._response, self._sender
        if now >= exchange.due:
            self._too_long(ClientReason.TOTAL_SECONDS, "it took longer than total_seconds")
        elif response is not None:
            self._expire_body(response)
        elif sender is not None and sender.state is Sending.UNINVITED:
            self._due(NEVER)
            sender.begin()
        elif self.saying is Saying.ALL:
            text = "the response's head did not come within first_byte_seconds"
            self._too_long(ClientReason.FIRST_BYTE_SECONDS, text)
        else:
            text = "the peer took none of the request's body for body_idle_seconds"
            self._too_long(ClientReason.SEND_SECONDS, text)

    def _expire_body(self, response: Response) -> None:
        pace, body = self._pace, self._body
        if pace is None or body is None:
            text = "nobody took the body within unread_seconds"
            self.fail(BodyUnread(ClientReason.UNREAD_SECONDS, text, response=response, sent=True))
        elif pace.moved(body.received):
            self._too_long(ClientReason.BODY_RATE, "the body came below body_bytes_per_second")
        else:
            self._too_long(ClientReason.BODY_IDLE_SECONDS, "nothing came for body_idle_seconds")

    def _too_long(self, reason: ClientReason, text: str) -> None:
        kind = ResponseTimeout if self._response is None else BodyTimeout
        self.fail(kind(reason, text, response=self._response, sent=True))

    # -- ends ---------------------------------------------------------------------------------

    def broken(self, fault: Fault | StreamFault) -> None:
        """The response is not what a response may be: this one alone is lost."""
        if isinstance(fault, StreamFault):
            code, fault = fault.code, PeerFault(502, Reason.BAD_FRAME, fault.detail)
        else:
            code = ErrorCodes.CANCEL
        self.fail(fault_of_peer(fault, self._response), code)

    def reset_by_peer(self, code: int) -> None:
        """The server ends the stream."""
        body = self._body
        if code == ErrorCodes.REFUSED_STREAM:
            self.refused("the server refused the stream")  # 8.7: it has not looked at the request
        elif code == ErrorCodes.NO_ERROR and body is not None and body.length in (None, body.received):
            # Node 20 leaves out the frame that ends a body, now and then, when the window was used up: as with a
            # connection that ends a body, nothing but a length says that it is all there.
            self._end(Failure(PotentialDataLoss() if body.length is None else ResponseDone()), None)
        else:
            known = code in ErrorCodes._value2member_map_
            name = ErrorCodes(code).name if known else "an unknown code"
            self.lost(ClientReason.RESET, f"the server reset the stream ({name})", [])

    def refused(self, text: str, most: int = 1) -> None:
        """Nothing was done about the request: it may go elsewhere, if it has not moved ``most`` times already."""
        connection, exchange, sender = self._connection, self._exchange, self._sender
        if connection is None:
            return
        begun = sender is not None and sender.state is not Sending.UNINVITED
        if begun or exchange.moves >= most or self._response is not None:
            kind = NoResponse if self._response is None else ResponseCut
            self.fail(kind(ClientReason.REFUSED, text, response=self._response, sent=self._response is not None), None)
        else:
            self._over(None)
            connection.pool.again(exchange, connection)

    def lost(self, reason: ClientReason, text: str, reasons: list[Failure]) -> None:
        """The stream has ended before its response did."""
        kind = NoResponse if self._response is None else ResponseCut
        self.fail(kind(reason, text, reasons, response=self._response, sent=True), None)

    def lost_with_connection(self, why: Failure, *, reused: bool) -> None:
        """The transport has ended."""
        connection, exchange = self._connection, self._exchange
        if connection is None:
            return
        if reused and self._response is None and exchange.repeatable and self._sender is None:
            self._over(None)
            connection.pool.again(exchange, connection)
        else:
            self.lost(ClientReason.NO_RESPONSE if self._response is None else ClientReason.CUT, _LOST, [why])

    def agent_closed(self) -> None:
        text = "the agent has been closed"
        if self._response is None:
            self.fail(AgentClosed(ClientReason.AGENT_CLOSED, text, sent=True))
        else:
            self.fail(ResponseCut(ClientReason.AGENT_CLOSED, text, response=self._response, sent=True))

    def fail(self, error: ClientError, code: ErrorCodes | None = ErrorCodes.CANCEL) -> None:
        """End with ``error``; with a ``code`` the server is told."""
        self._end(Failure(error), code)

    def _end(self, end: Failure, code: ErrorCodes | None) -> None:
        connection, exchange, response = self._connection, self._exchange, self._response
        if connection is None:
            return
        self._over(code)
        if response is None:
            exchange.fail(end)
        else:
            error = end.value
            if isinstance(error, ClientError):
                connection.pool.statistics.failed[error.reason.value] += 1
            response.ended(end)

    @property
    def response(self) -> Response | None:
        """The response, while its body is coming."""
        return self._response

    @property
    def _rest_unwanted(self) -> ErrorCodes | None:
        """What the server is told when its response is whole: nothing, if the request is too."""
        return None if self.saying is Saying.ALL else ErrorCodes.CANCEL

    def _over(self, code: ErrorCodes | None, *, served: bool = False) -> None:
        """Let go of everything; with a ``code`` the server is told."""
        connection, sender, response = self._connection, self._sender, self._response
        if connection is None:
            return
        self._connection = self._response = self._sender = self._pace = self._body = None
        self._exchange.connection = None
        self._queue.clear()
        self.queued = 0
        if response is not None:
            response.detach()
        connection.ended(self, code, served=served)
        if sender is not None:
            sender.stop()


_LOST = "the connection ended before the response did"

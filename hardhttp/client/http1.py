"""HTTP/1.1 to a server: requests out, responses in, one at a time (RFC 9112).

It promises that a response goes to the request it answers or to nobody. What comes when nothing was
asked closes the connection; so does what follows a whole response, which is given whole first
(RFC 9112, 9.2). A connection serves again only when both sides have let it and every byte of both
messages has gone by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from hardhttp.client.connection import Connection
from hardhttp.client.errors import (
    BodyUnread,
    ClientError,
    ClientReason,
    NoResponse,
    RequestBodyFailed,
    ResponseCut,
    TLSFailed,
    fault_of_peer,
)
from hardhttp.client.exchange import Exchange, Stage
from hardhttp.client.phase import MOVES, Event, Phase
from hardhttp.client.response import Delivery, Response
from hardhttp.client.sending import BodySender, Sending
from hardhttp.errors import Fault, LimitFault, Reason
from hardhttp.net.ledger import BODY, INPUT
from hardhttp.wire.answerhead import AnswerHead, AnswerTail, UntilClose, body_of, parse_answer
from hardhttp.wire.deadlines import NEVER, Pace

if TYPE_CHECKING:
    from hardhttp.client.pool import Pool

__all__ = ["Connection1"]

HANDSHAKE, IDLE, AWAITING, BODY_PHASE, UPGRADED, _, CLOSING, CLOSED = Phase

# curl waits as long for a 100 before it sends the body all the same (RFC 9110, 10.1.1).
CONTINUE_SECONDS = 1.0
# What is no response is known by its first bytes; after these, by its lines and its length.
_BEGUN_BYTES = 16
_FIRST_BYTE = "the response's head did not come within first_byte_seconds"


class Connection1(Connection):
    """One HTTP/1.1 connection."""

    __slots__ = ("_head", "_informational", "_input", "_pace", "_received", "_tail")

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._input = b""
        self._head: AnswerHead | None = None  # the last final one, which the next may repeat
        self._tail: AnswerTail | None = None
        self._pace: Pace | None = None
        self._received = 0
        self._informational = 0

    def dataReceived(self, data: bytes) -> None:
        self._pool.statistics.bytes_in += len(data)
        phase = self.phase
        if phase is AWAITING:
            held = self._input
            if held:
                data = held + data
                if self._undecided(held, data):
                    return
            self._read_heads(data)
        elif phase is BODY_PHASE:
            self._read_body(data)
        elif phase is UPGRADED:
            self._give([data])
        elif phase is IDLE:
            self.abort_with(ClientReason.UNASKED)

    def connectionLost(self, why: Failure) -> None:
        phase, self.phase = self.phase, CLOSED
        if phase is CLOSED:
            return
        if phase is UPGRADED:
            self.reason = ClientReason.UPGRADED_END
        exchange, response, tail = self._exchange, self._response, self._tail
        cut_head, handshaking = bool(self._input), phase is HANDSHAKE
        sender = self._sender
        self._detach()
        if sender is not None:
            sender.stop()
        self.transport = None
        pool = self._pool
        pool.lost(self)
        if response is not None:
            end = self._end_of_body(phase, tail, why)
            if isinstance(end.value, ClientError):
                pool.statistics.failed[end.value.reason.value] += 1
            response.ended(end)
        elif exchange is not None and exchange.stage is not Stage.DONE:
            if phase is AWAITING and not cut_head and self.served and exchange.repeatable:
                pool.again(exchange)
            else:
                exchange.fail(self._no_response(handshaking, cut_head, why))

    def _end_of_body(self, phase: Phase, tail: AnswerTail | None, why: Failure) -> Failure:
        """What a body is told that its connection's end has ended."""
        if phase is UPGRADED:
            return why
        if type(tail) is UntilClose and why.check(ConnectionDone) is not None:
            return Failure(PotentialDataLoss())
        return Failure(ResponseCut(ClientReason.CUT, "the connection ended within the body", [why], sent=True))

    def _no_response(self, handshaking: bool, cut_head: bool, why: Failure) -> ClientError:
        if handshaking:
            return TLSFailed(ClientReason.TLS, f"the TLS handshake failed: {type(why.value).__name__}", [why])
        if cut_head:
            text = "the connection ended within the response's head"
            return ResponseCut(ClientReason.CUT, text, [why], sent=True, reused=self.served > 0)
        text = "the connection ended before a response"
        return NoResponse(ClientReason.NO_RESPONSE, text, [why], sent=True, reused=self.served > 0)

    # -- the request ----------------------------------------------------------------------------

    def _ask(self, exchange: Exchange) -> None:
        self.phase = MOVES[self.phase][Event.REQUEST]
        self._informational = 0
        if exchange.producer is None:
            seconds = exchange.limits.first_byte_seconds
            self._due(NEVER if seconds is None else self._pool.seconds() + seconds)
            self.send(exchange.head + exchange.content)
            return
        self._sender = sender = BodySender(self, exchange.producer, exchange.head, invited=not exchange.expects)
        if exchange.expects:
            self._due(self._pool.seconds() + CONTINUE_SECONDS)
        else:
            self._due(NEVER)
            sender.begin()

    def sending_blocked(self, blocked: bool) -> None:
        """The peer does not take the request's body, or takes it again."""
        exchange = self._exchange
        if self.phase is AWAITING and exchange is not None:
            seconds = exchange.limits.body_idle_seconds if blocked else None
            self._due(NEVER if seconds is None else self._pool.seconds() + seconds)

    def body_sent(self) -> None:
        """All of the request is written."""
        exchange = self._exchange
        if self.phase is AWAITING and exchange is not None:
            seconds = exchange.limits.first_byte_seconds
            self._due(NEVER if seconds is None else self._pool.seconds() + seconds)

    def body_failed(self, failure: Failure) -> None:
        """The request's body cannot be made."""
        text = "the request's body could not be made"
        self._fail(RequestBodyFailed(ClientReason.REQUEST_BODY, text, [failure], sent=True))

    # -- the response's head ------------------------------------------------------------------

    def _read_heads(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        position = 0
        try:
            while True:
                parsed = parse_answer(data, position, exchange.bounds, self._head)
                if parsed is None:
                    self._hold_input(data[position:])
                    return
                head, position = parsed
                if head.status >= 200:
                    break
                if head.status == 101:
                    self._upgrade(exchange, head, data[position:])
                    return
                self._inform(exchange, head)
        except Fault as fault:
            self._fail(fault_of_peer(fault))
            return
        if self._input:
            self._hold_input(b"")
        self._head = head
        self._begin(exchange, head, data[position:])

    def _undecided(self, held: bytes, data: bytes) -> bool:
        """Whether what has come behind ``held`` can change nothing: else a trickle is judged anew with each byte."""
        exchange = self._exchange
        if (
            exchange is None
            or len(held) < _BEGUN_BYTES
            or len(data) > exchange.bounds.max_head_bytes
            or data.find(b"\n", len(held)) >= 0
        ):
            return False
        self._hold_input(data)
        return True

    def _hold_input(self, data: bytes) -> None:
        self._input = data
        self._pool.ledger.hold(self, INPUT, len(data))

    def _inform(self, exchange: Exchange, head: AnswerHead) -> None:
        """A 1xx has come (RFC 9110, 15.2): one of a bounded number."""
        self._informational += 1
        if self._informational > exchange.bounds.max_informational:
            text = f"more than {exchange.bounds.max_informational} informational responses"
            raise LimitFault(502, Reason.INFORMATIONAL, text)
        if head.status == 100 and self._sender is not None and self._sender.state is Sending.UNINVITED:
            self._due(NEVER)
            self._sender.begin()

    def _upgrade(self, exchange: Exchange, head: AnswerHead, rest: bytes) -> None:
        """101: what follows is another protocol's, if one was asked for (RFC 9110, 15.2.2)."""
        if not exchange.upgrades:
            self._fail(fault_of_peer(Fault(502, Reason.BAD_STATUS_LINE, "an upgrade that nobody asked for")))
            return
        self._hold_input(b"")
        exchange.due = NEVER  # what is spoken from here on is no response
        response = Response(head, exchange, UNKNOWN_LENGTH)
        self._stop_sending()
        self.phase = MOVES[self.phase][Event.UPGRADE]
        self._response = response
        response.attach(self)
        exchange.answer(response)
        if rest and self.phase is UPGRADED:
            self._give([rest])
        self._unless_wanted()

    def _begin(self, exchange: Exchange, head: AnswerHead, rest: bytes) -> None:
        """The final head is here, and ``rest`` behind it."""
        sent = self._stop_sending()
        pieces: list[bytes] = []
        bad: ClientError | None = None
        try:
            tail = body_of(head, exchange.method, exchange.bounds)
        except Fault as fault:
            self._fail(fault_of_peer(fault))
            return
        length: Any = 0
        if tail is not None:
            length = UNKNOWN_LENGTH if head.content_length is None else head.content_length
        response = Response(head, exchange, length)
        if tail is not None:
            try:
                pieces = tail.receive(rest) if rest else pieces
                rest = tail.rest
            except Fault as fault:
                bad = fault_of_peer(fault, response)
                self._pool.statistics.failed[fault.reason.value] += 1
        if bad is not None:
            self._detach()
            self.abort_with(bad.reason)
        elif tail is None or tail.done:
            keep = head.keep_alive and exchange.keep_alive and sent
            self._free(ClientReason.UNASKED if rest else None if keep else ClientReason.NOT_KEPT)
        else:
            response.received(pieces)
            self._expect_body(exchange, response, tail)
            return
        response.received(pieces)
        response.ended(Failure(bad or ResponseDone()))
        exchange.answer(response)

    def _stop_sending(self) -> bool:
        """Send no more of the request: an answer has come. Whether all of it was sent."""
        sender, self._sender = self._sender, None
        if sender is None or sender.state is Sending.SENT:
            return True
        sender.stop()
        if self._exchange is not None:
            self._exchange.keep_alive = False
        return False

    # -- the response's body ------------------------------------------------------------------

    def _expect_body(self, exchange: Exchange, response: Response, tail: AnswerTail | None) -> None:
        self.phase = MOVES[self.phase][Event.HEAD]
        self._tail = tail
        self._response = response
        self._received = 0
        self._due(NEVER)
        response.attach(self)
        exchange.answer(response)
        self._unless_wanted()

    def _unless_wanted(self) -> None:
        """Read no more than has come, if nobody has asked for the body yet."""
        response = self._response
        if response is not None and response.delivery is Delivery.UNASKED:
            self.body_paused()

    def body_wanted(self) -> None:
        """The application takes the body, or takes it again."""
        self._pool.ledger.hold(self, BODY, 0)
        exchange = self._exchange
        if self.phase is BODY_PHASE and exchange is not None:
            seconds = exchange.limits.body_idle_seconds
            if seconds is None:
                self._pace = None
                self._due(NEVER)
            else:
                rate = exchange.limits.body_bytes_per_second
                self._pace = Pace(self._pool.seconds(), seconds, rate, self._received)
                self._due(self._pace.deadline)
        elif self.phase is UPGRADED:
            self.deadline = NEVER
        else:
            return
        self.transport.resumeProducing()

    def body_paused(self) -> None:
        """The application does not take the body now."""
        exchange, response = self._exchange, self._response
        if self.phase not in (BODY_PHASE, UPGRADED) or exchange is None or response is None:
            return
        self._pace = None
        self._pool.ledger.hold(self, BODY, response.held_bytes)
        self._due(self._pool.seconds() + exchange.limits.unread_seconds)
        self.transport.pauseProducing()

    def _read_body(self, data: bytes) -> None:
        tail, exchange = self._tail, self._exchange
        if tail is None or exchange is None:
            return
        try:
            pieces = tail.receive(data)
        except Fault as fault:
            self._fail(fault_of_peer(fault, self._response))
            return
        self._received += len(data)
        pace = self._pace
        if pace is not None:
            pace.progress(self._pool.seconds(), self._received)
            self._due(pace.deadline)
        if tail.done:
            head = self._head
            response = self._response
            keep = head is not None and head.keep_alive and exchange.keep_alive
            if pace is None:
                self.transport.resumeProducing()  # it may be paused, and an idle one is read
            self._free(ClientReason.UNASKED if tail.rest else None if keep else ClientReason.NOT_KEPT)
            if response is not None:
                self._tell(response, pieces)
                response.ended(Failure(ResponseDone()))
        else:
            self._give(pieces)

    def _give(self, pieces: list[bytes]) -> None:
        """Hand these to the application; when it fails at them, nothing more of this response is read."""
        response = self._response
        if response is not None and not self._tell(response, pieces):
            self.abort()
        elif response is not None and response.delivery is not Delivery.FLOWING and self.phase is not CLOSING:
            self._pool.ledger.hold(self, BODY, response.held_bytes)

    def _tell(self, response: Response, pieces: list[bytes]) -> bool:
        try:
            response.received(pieces)
        except Exception:
            self._log.failure("a body's protocol failed at what it was given")
            return False
        return True

    def upgraded_write(self, data: bytes) -> None:
        if self.phase is UPGRADED:
            self.send(data)

    # -- ends ---------------------------------------------------------------------------------

    def _expire(self) -> None:
        if self.phase is AWAITING:
            self._expire_awaiting()
        else:
            self._expire_body()

    def _expire_awaiting(self) -> None:
        sender = self._sender
        if sender is None or sender.state is Sending.SENT:
            self._fail(self._too_long(ClientReason.FIRST_BYTE_SECONDS, _FIRST_BYTE))
        elif sender.state is Sending.UNINVITED:
            self._due(NEVER)
            sender.begin()
        else:
            text = "the peer took none of the request's body for body_idle_seconds"
            self._fail(self._too_long(ClientReason.SEND_SECONDS, text))

    def _expire_body(self) -> None:
        response, pace = self._response, self._pace
        if pace is None:
            text = "nobody took the body within unread_seconds"
            self._fail(BodyUnread(ClientReason.UNREAD_SECONDS, text, response=response, sent=True))
        elif pace.moved(self._received):
            self._fail(self._too_long(ClientReason.BODY_RATE, "the body came below body_bytes_per_second"))
        else:
            self._fail(self._too_long(ClientReason.BODY_IDLE_SECONDS, "nothing came for body_idle_seconds"))

    def _detach(self) -> None:
        if self._input:
            self._hold_input(b"")
        self._tail = self._pace = None
        super()._detach()

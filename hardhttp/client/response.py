"""A response, and its body on the way to whoever asked.

The body may be whole before anybody asks for it, may be coming, or may be paused; ``deliverBody`` gives
it to one protocol, with backpressure. A response never holds a connection that is not still bringing
its body, and the connection never holds a response that has all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import ConnectionAborted
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

from hardhttp.client.errors import BodyAborted, ClientError, ClientReason
from hardhttp.net.failing import forget_frames
from hardhttp.wire.answerhead import AnswerHead

if TYPE_CHECKING:
    from hardhttp.client.exchange import Exchange
    from hardhttp.client.http1 import Connection1
    from hardhttp.client.stream2 import Stream

__all__ = ["BodyTransport", "Delivery", "Response", "aborted"]

# As ``twisted.web.client`` has them.
_OF_THE_CONNECTION = frozenset(
    {
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)
_VERSIONS = {(1, 0): (b"HTTP", 1, 0), (1, 1): (b"HTTP", 1, 1), (2, 0): (b"HTTP", 2, 0)}


class Delivery(IntEnum):
    """Where a body is."""

    UNASKED = 0  # nobody has called deliverBody
    FLOWING = 1
    PAUSED = 2
    ENDED = 3  # its protocol has been told the end


def aborted() -> BodyAborted:
    """What a protocol is told that wanted no more."""
    reasons = [Failure(ConnectionAborted())]
    return BodyAborted(ClientReason.ABORTED, "the application wanted no more of it", reasons, sent=True)


@implementer(IResponse)
class Response:
    """A response. ``length`` is the body's as it comes, or ``UNKNOWN_LENGTH``."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_end",
        "_giving",
        "_headers",
        "_pieces",
        "_protocol",
        "code",
        "delivery",
        "head",
        "length",
        "phrase",
        "previousResponse",
        "request",
        "version",
    )

    def __init__(self, head: AnswerHead, request: Exchange, length: Any) -> None:
        self.head = head
        self.version = _VERSIONS[head.version]
        self.code = head.status
        self.phrase = head.phrase
        self.length = length
        self.request = request
        self.previousResponse: IResponse | None = None
        self.delivery = Delivery.UNASKED
        self._headers: Headers | None = None
        self._pieces: list[bytes] = []
        self._giving = False
        self._protocol: Any = None
        self._connection: Connection1 | Stream | None = None
        self._end: Failure | None = None

    _log = Logger(namespace="hardhttp.client")

    @property
    def headers(self) -> Headers:
        """The fields, but those that frame the message or are the connection's own (RFC 9110, 7.6.1): whoever hands
        a response on copies what is here. They are all there for a 101, and ``Content-Length`` for HEAD.
        """
        headers = self._headers
        if headers is None:
            headers = self._headers = Headers()
            every, sized = self.code == 101, self.request.method == b"HEAD"
            for name, value in self.head.fields:
                lower = name.lower()
                if lower not in _OF_THE_CONNECTION or every or (sized and lower == b"content-length"):
                    headers.addRawHeader(name, value)
        return headers

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response

    @property
    def held_bytes(self) -> int:
        """Bytes of the body that have come and were not taken."""
        return sum(map(len, self._pieces))

    # -- the application's side -------------------------------------------------------------

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to ``protocol``, which hears of its end by ``connectionLost``.

        The failure there is ``ResponseDone`` for a whole body, ``PotentialDataLoss`` for one that
        the connection's end has ended, or a ``ResponseFailed``. Raises ``RuntimeError`` when called twice, and
        what ``protocol`` raises at what has come already.
        """
        if self.delivery is not Delivery.UNASKED:
            raise RuntimeError("a response's body is delivered once")
        self.delivery = Delivery.FLOWING
        self._protocol = protocol
        try:
            protocol.makeConnection(BodyTransport(self))
            self._flush()
        except Exception:
            self.abort()  # nobody will read more of it
            self._flush()
            raise
        self._want_more()

    def abort(self) -> None:
        """Take no more of the body; its connection is closed if it is still bringing it."""
        self._pieces = []
        if self._connection is not None:
            self._connection.abort()
        elif self.delivery is not Delivery.ENDED:
            self._end = Failure(aborted())
            if self.delivery is Delivery.PAUSED:
                self._flush()

    def pause(self) -> None:
        if self.delivery is Delivery.FLOWING:
            self.delivery = Delivery.PAUSED
            if self._connection is not None:
                self._connection.body_paused()

    def resume(self) -> None:
        if self.delivery is Delivery.PAUSED:
            self.delivery = Delivery.FLOWING
            self._flush()
            self._want_more()

    def _want_more(self) -> None:
        # The protocol may have paused again at what there was.
        if self._connection is not None and self.delivery is Delivery.FLOWING:
            self._connection.body_wanted()

    def write(self, data: bytes) -> None:
        """Send to the protocol a 101 has agreed to; nothing otherwise."""
        if self._connection is not None:
            self._connection.upgraded_write(data)

    def __repr__(self) -> str:
        return f"<Response {self.code} {self.delivery.name}>"

    # -- the connection's side --------------------------------------------------------------

    def attach(self, connection: Connection1 | Stream) -> None:
        """More of the body will come from ``connection``."""
        self._connection = connection

    def detach(self) -> None:
        """The connection serves another one, or closes."""
        self._connection = None

    def received(self, pieces: list[bytes]) -> None:
        """These have come."""
        self._pieces.extend(pieces)
        if self.delivery is Delivery.FLOWING:
            self._flush()

    def ended(self, end: Failure) -> None:
        """No more will come."""
        self._connection = None
        error = end.value
        if isinstance(error, ClientError):
            error.response = None  # else it and this hold each other, for as long as nobody asks for the body
        if self._end is None:
            self._end = end
        if self.delivery is not Delivery.UNASKED:
            self._flush()

    def _flush(self) -> None:
        # A protocol may pause, resume or leave in the middle of this; what is not taken stays, in order.
        if self._giving:
            return  # the one who is giving goes on
        self._giving = True
        try:
            while self._pieces and self.delivery is Delivery.FLOWING:
                self._protocol.dataReceived(self._pieces.pop(0))
        except BaseException:
            self._pieces = []  # who has failed is given no more
            raise
        finally:
            self._giving = False
        end = self._end
        if end is not None and not self._pieces and self.delivery in (Delivery.FLOWING, Delivery.PAUSED):
            self.delivery = Delivery.ENDED
            protocol, self._protocol, self._end = self._protocol, None, None
            if isinstance(end.value, ClientError):
                end.value.response = self
            try:
                protocol.connectionLost(end)
                forget_frames(end)
            except Exception:
                # By now the connection may be another request's: it must not hear of this.
                self._log.failure("a body's protocol failed at its end")


@implementer(ITransport, IPushProducer)
class BodyTransport:
    """What a body's protocol has for a transport: it may pause, and it may leave."""

    __slots__ = ("_response",)

    def __init__(self, response: Response) -> None:
        self._response = response

    disconnecting = False

    def pauseProducing(self) -> None:
        self._response.pause()

    def resumeProducing(self) -> None:
        self._response.resume()

    def stopProducing(self) -> None:
        self._response.abort()

    def loseConnection(self) -> None:
        self._response.abort()

    def abortConnection(self) -> None:
        self._response.abort()

    def write(self, data: bytes) -> None:
        """For a protocol that a 101 has agreed to."""
        self._response.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def getPeer(self) -> Any:
        return None

    def getHost(self) -> Any:
        return None

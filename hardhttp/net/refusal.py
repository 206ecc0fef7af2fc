"""A connection that is not admitted: told so, and closed politely within a bound."""

from __future__ import annotations

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, ISSLTransport, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import LimitFault, OurFault, Reason
from hardhttp.net.budget import DETAIL
from hardhttp.net.server import Server
from hardhttp.net.told import half_closes
from hardhttp.wire.response import refusal

__all__ = ["Refusal"]

_DETAIL = {
    Reason.CONNECTIONS: "too many connections",
    Reason.CONNECTIONS_PER_ADDRESS: "too many connections from this address",
    Reason.DRAINING: "the server is stopping",
    Reason.ACCEPT_HOOK: "this connection is not accepted",
    Reason.BUFFERED_BYTES: DETAIL,
}
RETRY_AFTER_SECONDS = 2
MAX_DISCARDED_BYTES = 1 << 20


# RFC 9113, 3.4 and 6.8: empty SETTINGS, then GOAWAY that names no stream; its code follows.
_GOAWAY = b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\0"
_NO_ERROR, _ENHANCE_YOUR_CALM = b"\0\0\0\0", b"\0\0\0\x0b"


@implementer(IHalfCloseableProtocol, IHandshakeListener)
class Refusal:
    """A protocol that answers 503 at once, then waits for the client to hang up. Over HTTP/2 it says GOAWAY.

    Closing at once would reset the connection while the client's request is on its way, and the
    client would see the reset and not the answer (RFC 9112, 9.6).
    """

    __slots__ = ("_deadline", "_discarded", "_reason", "_server", "transport")

    factory = None

    def __init__(self, server: Server, reason: Reason) -> None:
        self._server = server
        self._reason = reason
        self._discarded = 0
        self.transport: ITransport | None = None
        self._deadline = 0.0

    def logPrefix(self) -> str:
        return "hardhttp"

    def makeConnection(self, transport: ITransport) -> None:
        server = self._server
        self.transport = transport
        now = server.seconds()
        self._deadline = now + server.limits.abort_seconds
        server.refusals.add(transport, self)
        server.reaper.start()
        if not ISSLTransport.providedBy(transport):
            self._answer(transport)

    def handshakeCompleted(self) -> None:
        """TLS is there, and what is spoken over it."""
        if self.transport is not None:
            self._answer(self.transport)

    def _answer(self, transport: ITransport) -> None:
        server = self._server
        kind = OurFault if self._reason is Reason.DRAINING else LimitFault
        fault = kind(503, self._reason, _DETAIL[self._reason])
        answer = refusal(fault, server.date(), retry_after_seconds=RETRY_AFTER_SECONDS)
        if getattr(transport, "negotiatedProtocol", None) == b"h2":
            answer = _GOAWAY + (_NO_ERROR if self._reason is Reason.DRAINING else _ENHANCE_YOUR_CALM)
        server.statistics.bytes_out += len(answer)
        transport.write(answer)
        if half_closes(transport):
            transport.loseWriteConnection()  # type: ignore[attr-defined]
        else:
            transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > MAX_DISCARDED_BYTES:
            self.abort()

    def readConnectionLost(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def reap(self, now: float) -> None:
        if now >= self._deadline:
            self.abort()

    def abort(self, reason: Reason | None = None) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            self._server.removed(transport, self._reason)

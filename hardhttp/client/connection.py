"""A client's connection, whatever is spoken on it: its transport, its phase, its deadline, its end.

The phase and the table are in ``hardhttp.client.phase``. A connection owns no timer: it says when it is
due, and ``expire`` does what its phase says. Whatever the exchange and the response held of it is let go
before the application is told, so that a callback may ask again and get this very connection. Once the
transport is gone the pool is told, and everything is given back there.

What bytes mean is a subclass's: HTTP/1.1 is ``hardhttp.client.http1``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHandshakeListener, ILoggingContext, IProtocol, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.client.errors import (
    BodyTimeout,
    ClientError,
    ClientReason,
    NoResponse,
    ResponseCut,
    ResponseTimeout,
    TLSTimeout,
)
from hardhttp.client.exchange import Exchange, Stage
from hardhttp.client.phase import MOVES, Event, Phase
from hardhttp.client.response import Response, aborted
from hardhttp.client.sending import BodySender
from hardhttp.errors import Reason
from hardhttp.net.dial import has_input
from hardhttp.net.ledger import BODY
from hardhttp.net.outbound import base_transport
from hardhttp.wire.deadlines import NEVER

if TYPE_CHECKING:
    from hardhttp.client.host import Host
    from hardhttp.client.pool import Pool

__all__ = ["Connection"]

HANDSHAKE, IDLE, CLOSING, CLOSED = Phase.HANDSHAKE, Phase.IDLE, Phase.CLOSING, Phase.CLOSED

# From a polite close to an abort, as the server's.
ABORT_SECONDS = 5.0


@implementer(IProtocol, IHandshakeListener, ILoggingContext)
class Connection:
    """One connection. ``host`` is set once the pool has it; ``served`` counts its whole responses.

    Subclasses say how a request is sent (``_ask``), what bytes mean (``dataReceived``), what the transport's
    end means (``connectionLost``) and what is due in the midst of an exchange (``_expire``).
    """

    __slots__ = (
        "__weakref__",
        "_exchange",
        "_once",
        "_pool",
        "_response",
        "_sender",
        "deadline",
        "host",
        "phase",
        "reason",
        "served",
        "settled",
        "transport",
    )

    _log = Logger(namespace="hardhttp.client")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.host: Host | None = None
        self.phase = IDLE
        self.deadline = NEVER
        self.reason: ClientReason | Reason = ClientReason.PEER_CLOSED
        self.served = 0
        self.settled = False  # what is spoken on it is known
        self._once = False
        self.transport: Any = None
        self._exchange: Exchange | None = None
        self._response: Response | None = None
        self._sender: BodySender | None = None

    # -- the transport's side: IProtocol ----------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        if ISSLTransport.providedBy(transport):
            self.phase = HANDSHAKE
        # Until the pool has it; one that loses a race between addresses is closed by its endpoint.
        limits = self._pool.limits
        self.deadline = self._pool.seconds() + limits.connect_seconds
        self._pool.deadlines.add(self)

    def connectionMade(self) -> None:
        """Nothing is left to do: ``makeConnection`` has done it."""

    def handshakeCompleted(self) -> None:
        """TLS is agreed to, and the certificate is the host's."""
        if self.phase is HANDSHAKE:
            self.phase = MOVES[HANDSHAKE][Event.SECURED]
            if self.host is not None:
                self._settle()

    def _settle(self) -> None:
        """What is spoken here is known (RFC 7301): serve who waits, or pass everything on to who speaks it."""
        transport, pool, exchange = self.transport, self._pool, self._exchange
        successor = pool.successor(transport)
        if successor is None:
            self.settled = True
            pool.settled(self)
            if exchange is not None and self._exchange is exchange:
                self._ask(exchange)
            return
        successor._once = self._once
        self._detach()
        self.phase, self.deadline, self.transport = CLOSED, NEVER, None
        transport.wrappedProtocol = successor
        pool.becomes(self, successor)
        successor.take_over(transport)
        if exchange is not None:
            successor.start(exchange)
        pool.shares(successor)

    def dataReceived(self, data: bytes) -> None:
        raise AssertionError("a subclass says what bytes mean")

    def connectionLost(self, reason: Failure) -> None:
        raise AssertionError("a subclass says what it means")

    def logPrefix(self) -> str:
        return "hardhttp.client"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.phase.name}>"

    # -- the pool's side ----------------------------------------------------------------------

    def start(self, exchange: Exchange) -> None:
        """Serve ``exchange``: now, or when TLS is agreed to."""
        exchange.stage = Stage.CONNECTED
        exchange.connection = self
        self._exchange = exchange
        if self.phase is HANDSHAKE:
            self._due(self._pool.seconds() + exchange.limits.tls_seconds)
        elif self.settled:
            self._ask(exchange)
        else:
            self._settle()

    def serve_once(self) -> None:
        """Close after the next response, whatever it says."""
        self._once = True

    @property
    def clean(self) -> bool:
        """Whether nothing has come since the last response: no byte of another, and no end."""
        return self.phase is IDLE and not has_input(base_transport(self.transport))

    def rest(self, until: float) -> None:
        """Wait for the next request."""
        self.deadline = until
        self._pool.deadlines.sooner(until)

    def close(self, reason: ClientReason) -> None:
        """Close a connection that nobody uses."""
        if self.phase is IDLE:
            self.phase = MOVES[IDLE][Event.CLOSE]
            self.reason = reason
            self.deadline = self._pool.seconds() + ABORT_SECONDS
            self._pool.deadlines.sooner(self.deadline)
            self.transport.loseConnection()

    def abort_with(self, reason: ClientReason | Reason) -> None:
        """Close at once; what is held is let go when the transport says so."""
        if self.phase is CLOSED:
            return
        if self.phase is not CLOSING:
            self.reason = reason
        self.phase = MOVES[self.phase][Event.CLOSE]
        self.deadline = NEVER
        self._pool.leaving(self)
        if self.transport is not None:
            self.transport.abortConnection()

    def end(self, reason: ClientReason) -> None:
        """The agent ends: whatever goes on here ends now."""
        kind = NoResponse if self._response is None else ResponseCut
        self._fail(kind(reason, "the agent has been closed", response=self._response, sent=True))

    # -- an exchange --------------------------------------------------------------------------

    def _ask(self, exchange: Exchange) -> None:
        raise AssertionError("a subclass says how a request is sent")

    def _expire(self) -> None:
        raise AssertionError("a subclass says what is due")

    def send(self, data: bytes) -> None:
        self._pool.statistics.bytes_out += len(data)
        self.transport.write(data)

    def _due(self, deadline: float) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.due < deadline:
            deadline = exchange.due
        self.deadline = deadline
        self._pool.deadlines.sooner(deadline)

    def abort(self) -> None:
        """The application wants no more of this response, and is told so at once: who cancels ``readBody`` has its
        Deferred fail by this end, or it would fire twice."""
        self._fail(aborted())

    def cancel(self) -> None:
        """The application wants no response."""
        sender = self._sender
        self._detach()
        self.abort_with(ClientReason.CANCELLED)
        if sender is not None:
            sender.stop()

    def expire(self, now: float) -> None:
        """What has to be done at the deadline of this phase."""
        exchange, phase = self._exchange, self.phase
        if phase is CLOSING or self.host is None:
            self.abort_with(ClientReason.CONNECT_SECONDS)
        elif exchange is None:
            self._pool.expired(self)
        elif now >= exchange.due:
            self._fail(self._too_long(ClientReason.TOTAL_SECONDS, "it took longer than total_seconds"))
        elif phase is HANDSHAKE:
            self._fail(TLSTimeout(ClientReason.TLS_SECONDS, "the TLS handshake took longer than tls_seconds"))
        else:
            self._expire()

    def _too_long(self, reason: ClientReason, text: str) -> ClientError:
        kind = ResponseTimeout if self._response is None else BodyTimeout
        return kind(reason, text, response=self._response, sent=self.phase is not HANDSHAKE, reused=self.served > 0)

    def _fail(self, error: ClientError) -> None:
        """This exchange ends here, and the connection with it."""
        exchange, response, sender = self._exchange, self._response, self._sender
        self._detach()
        self.abort_with(error.reason)
        if sender is not None:
            sender.stop()
        if response is not None:
            self._pool.statistics.failed[error.reason.value] += 1
            response.ended(Failure(error))
        elif exchange is not None:
            exchange.fail(error)

    def _free(self, reason: ClientReason | None) -> None:
        """The response is whole: serve again, or close for ``reason``."""
        self.served += 1
        self._detach()
        self.phase = MOVES[self.phase][Event.END]
        if reason is not None:
            self.close(reason)
        elif self._once:
            self.close(ClientReason.NOT_KEPT)
        else:
            self._pool.freed(self)

    def _detach(self) -> None:
        """Hold nothing of the exchange any more."""
        if self._response is not None:
            self._response.detach()
            self._pool.ledger.hold(self, BODY, 0)
        if self._exchange is not None:
            self._exchange.connection = None
        self._exchange = self._response = self._sender = None

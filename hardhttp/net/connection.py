"""A connection, whatever is spoken on it: its transport, its phase, its deadline, its end.

What is here holds for every protocol: what is written is bounded and paced; a polite close has an
abort behind it; input can be paused and the peer's departure is noticed all the same; another
protocol can take the connection over and stays in sight; and whatever is held is given back in one
place, ``connectionLost``. No connection owns a timer: the reaper calls ``reap`` once a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, ILoggingContext, IProtocol, IPushProducer, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import Reason
from hardhttp.net.ledger import BODY, INPUT
from hardhttp.net.outbound import PullLoop, base_transport, peer_has_gone, unacknowledged_bytes, unsent_bytes
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.server import CLOSED_UNANSWERED, TOO_FAST, TOO_SLOWLY, Server
from hardhttp.net.told import half_closes
from hardhttp.net.upgrade import UpgradeTransport
from hardhttp.wire.deadlines import NEVER, Pace

__all__ = ["Connection"]

# The pace of sending is set in one sweep and judged in another, a whole number of seconds later but for
# this much; without it a deadline that falls on a sweep would as often wait for the next.
JITTER_SECONDS = 0.05

IDLE, HEAD, _, _, _, UPGRADED, LINGERING, CLOSING, CLOSED = Phase


@implementer(IProtocol, IHalfCloseableProtocol, ILoggingContext, IPushProducer)
class Connection:
    """One connection. Subclasses say what bytes mean (``dataReceived``), what being due means
    (``_expire``) and how to go on when the peer takes bytes again (``_go_on``)."""

    multiplexed = False  # whether several requests share it; then each has a stream of its own

    __slots__ = (
        "__weakref__",
        "_base",
        "_discarded",
        "_file_bytes",
        "_foreign",
        "_input",
        "_input_paused",
        "_peer",
        "_producer",
        "_send_pace",
        "_transport",
        "_upgraded",
        "_written",
        "bytes_in",
        "choked",
        "deadline",
        "phase",
        "reason",
        "request",
        "server",
    )

    def __init__(self, server: Server, peer: Any = None) -> None:
        self.server = server
        self.phase = IDLE
        self.deadline = NEVER
        self.reason: Reason | None = None
        self.request: Any = None
        self.choked = False  # the transport's queue is long
        self._peer = peer
        self._transport: Any = None
        self._base: Any = None
        self._foreign: Any = None
        self._upgraded: Any = None
        self._producer: Any = None
        self._input = b""
        self._input_paused = False
        self._send_pace: Pace | None = None
        self._written = self.bytes_in = 0
        self._file_bytes = 0  # of a file, to be sent as soon as the client takes more
        self._discarded = 0

    # -- the transport's side: IProtocol ----------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        server = self.server
        self._transport = transport
        self._base = base_transport(transport)
        server.added(transport, self, self._peer)
        self._peer = None
        self.deadline = server.seconds() + server.limits.head_seconds
        transport.registerProducer(self, True)

    def readConnectionLost(self) -> None:
        """The client has said its last byte."""
        if self.phase is UPGRADED:
            if IHalfCloseableProtocol.providedBy(self._upgraded):
                self._upgraded.readConnectionLost()
                return
        elif self.phase is not LINGERING and self.phase is not CLOSING:
            # Whoever waits for an answer does not hang up; what is already written is still sent.
            self._abandon(Failure(ConnectionDone()))
        self._close(Reason.CLIENT_CLOSED)

    def writeConnectionLost(self) -> None:
        if self.phase is UPGRADED and IHalfCloseableProtocol.providedBy(self._upgraded):
            self._upgraded.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        if self.phase is CLOSED:
            return
        self.phase = CLOSED
        self.deadline = NEVER
        if self.reason is None:
            gone = reason.check(ConnectionDone) is not None
            self.reason = Reason.CLIENT_CLOSED if gone else Reason.CLIENT_RESET
        self._abandon(reason)
        upgraded, self._upgraded = self._upgraded, None
        transport, self._transport = self._transport, None
        self._base = self._foreign = self._send_pace = None
        self._input = b""
        self._forget()
        self.server.removed(transport, self.reason)
        if upgraded is not None:
            self.server.guard(upgraded.connectionLost, reason)

    def connectionMade(self) -> None:
        """Nothing is left to do: ``makeConnection`` has done it."""

    def dataReceived(self, data: bytes) -> None:
        raise AssertionError("a subclass says what bytes mean")

    def logPrefix(self) -> str:
        return "hardhttp"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.phase.name}>"

    # -- output -------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        if self._transport is not None:
            self.server.statistics.bytes_out += len(data)
            self._send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def _send(self, data: bytes) -> None:
        transport, server = self._transport, self.server
        if self.choked and unsent_bytes(self._base) > server.limits.max_unsent_bytes:
            if self.reason is not Reason.UNSENT_BYTES:  # whoever writes on once it was aborted is not told again
                server.refused(Reason.UNSENT_BYTES, TOO_FAST, peer=self.peer)
            self.abort(Reason.UNSENT_BYTES)
            return
        self._written += len(data)
        transport.write(data)
        if self.choked and self._transport is not None:
            server.hold_unsent(transport, self._base)

    # -- ends ---------------------------------------------------------------------------------

    def _linger(self, reason: Reason) -> None:
        """Say no more, and discard what the client still says until it hangs up."""
        transport = self._transport
        if self.phase >= LINGERING or transport is None:
            return
        if not half_closes(transport):
            self._close(reason)
            return
        self._leave(Event.LINGER, reason)
        self._resume_input()
        transport.loseWriteConnection()

    def _close(self, reason: Reason) -> None:
        """Close once all is sent."""
        transport = self._transport
        if self.phase < CLOSING and transport is not None:
            self._leave(Event.CLOSE, reason)
            transport.loseConnection()

    def _leave(self, event: Event, reason: Reason) -> None:
        self.phase = MOVES[self.phase][event]
        if self.reason is None:
            self.reason = reason
        server = self.server
        self.deadline = server.seconds() + server.limits.abort_seconds
        self._input = b""
        server.ledger.hold(self._transport, INPUT, 0)
        server.ledger.hold(self._transport, BODY, 0)
        self._forget()
        # A transport closes only when nobody produces for it. What an application writes on is bounded still.
        self._transport.unregisterProducer()
        self.choked = True
        self._file_bytes = 0
        if self._producer is not None:
            self._producer.pauseProducing()

    def abort(self, reason: Reason) -> None:
        """Close now; what is unsent is dropped."""
        if self._transport is not None:
            if self.reason is None:
                self.reason = reason
            self._transport.abortConnection()

    def _abandon(self, failure: Failure) -> None:
        """Whoever was to answer is told that nobody waits."""
        request, self.request = self.request, None
        producer, self._producer = self._producer, None
        if request is not None:
            self.server.guard(request.connectionLost, failure)
        if producer is not None:
            self.server.guard(producer.stopProducing)

    def handshake_failed(self, why: str) -> None:
        """No TLS came about; ``connectionLost`` follows."""
        if self.reason is None:
            self.reason = Reason.TLS_HANDSHAKE
            self.server.refused(Reason.TLS_HANDSHAKE, f"a TLS handshake failed: {why}", peer=self.peer)

    # -- deadlines ----------------------------------------------------------------------------

    def reap(self, now: float) -> None:
        """Called every second: end what is due."""
        base = self._base
        if base is None:
            return
        unsent = unsent_bytes(base)
        if unsent or self._file_bytes or (self.phase is LINGERING and unacknowledged_bytes(base)):
            self._judge_output(now, unsent)
        elif self._send_pace is not None:
            self._send_pace = None
            self.server.ledger.hold_unsent(self._transport, 0)
        if self._input_paused and peer_has_gone(base):
            self.abort(Reason.CLIENT_CLOSED)
        elif now >= self.deadline:
            self._expire()

    def _judge_output(self, now: float, unsent: int) -> None:
        """The client has bytes to take: does it?"""
        limits = self.server.limits
        taken = self._written - unsent - unacknowledged_bytes(self._base)
        if self._send_pace is None:
            self._send_pace = Pace(now, limits.send_seconds, limits.send_bytes_per_second, taken)
        else:
            self._send_pace.progress(now, taken)
        self.server.hold_unsent(self._transport, self._base)
        if now >= self._send_pace.deadline - JITTER_SECONDS:
            self._takes_too_slowly()
        elif self.phase is LINGERING or self.phase is CLOSING:
            # The abort waits behind the last byte, not behind the call.
            self.deadline = now + limits.abort_seconds
        elif self.phase is IDLE:
            # Whoever still takes a response is not idle.
            self.deadline = max(self.deadline, now + limits.idle_seconds)

    def _takes_too_slowly(self) -> None:
        server = self.server
        said = server.refused(Reason.SEND_RATE, TOO_SLOWLY, peer=self.peer)
        if said and self.request is None:  # it has been written whole, and logged as such
            server.tell_refused(self.getPeer(), None, CLOSED_UNANSWERED, Reason.SEND_RATE)
        self.abort(Reason.SEND_RATE)

    def _expire(self) -> None:
        """The deadline has come."""
        self.abort(Reason.ABORT_SECONDS)

    def _go_on(self) -> None:
        """Take up what has been waiting in the buffer."""

    def _forget(self) -> None:
        """The connection ends: let go of whatever is half done."""

    # -- flow -------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The transport's queue is long: whoever writes should wait."""
        self.choked = True
        self.server.hold_unsent(self._transport, self._base)
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport's queue is empty."""
        self.choked = False
        self.server.ledger.hold_unsent(self._transport, 0)
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._input and (self.phase is IDLE or self.phase is HEAD):
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is ending; ``connectionLost`` follows."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("another producer is registered")
        if self._transport is None:
            producer.stopProducing()
            return
        self._producer = producer if streaming else PullLoop(self.server.clock, producer, self._producer_failed)
        if self.choked:
            self._producer.pauseProducing()

    def _producer_failed(self) -> None:
        self.server.failed("a producer failed")
        self.abort(Reason.INTERNAL)

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        self._file_bytes = 0
        if isinstance(producer, PullLoop):
            producer.pauseProducing()

    def _pause_input(self) -> None:
        if not self._input_paused and self._transport is not None:
            self._input_paused = True
            self._transport.pauseProducing()

    def _resume_input(self) -> None:
        if self._input_paused and self._transport is not None:
            self._input_paused = False
            self._transport.resumeProducing()

    @property
    def request_count(self) -> int:
        """Requests that are not answered yet."""
        return 0 if self.request is None else 1

    # -- what requests and resources ask of a channel -----------------------------------------

    def getPeer(self) -> Any:
        return self._transport.getPeer()

    @property
    def peer(self) -> Any:
        """``getPeer``, for a line in the log; ``None`` once the transport has gone."""
        return None if self._transport is None else self._transport.getPeer()

    def socket_peer(self) -> Any:
        """Who is at the other end of the socket, where ``getPeer`` is what a proxy has told."""
        return self._base.getPeer()

    def getHost(self) -> Any:
        try:
            return self._transport.getHost()
        except AttributeError:
            return None  # the socket has been closed

    @property
    def peer_certificate(self) -> Any:
        """The client's certificate (``cryptography.x509.Certificate``), verified in the handshake; or ``None``."""
        handle = self._transport.getHandle() if self.isSecure() else None
        return None if handle is None else handle.get_peer_certificate(as_cryptography=True)

    @property
    def base(self) -> Any:
        """The transport that owns the socket; ``None`` before and after."""
        return self._base

    def isSecure(self) -> bool:
        return ISSLTransport.providedBy(self._transport)

    def loseConnection(self) -> None:
        """The application closes the connection."""
        self._close(Reason.APPLICATION)

    def abortConnection(self) -> None:
        self.abort(Reason.APPLICATION)

    # -- hand-over to another protocol --------------------------------------------------------

    @property
    def transport(self) -> Any:
        """The transport, for others than this channel: they may take it over."""
        if self._foreign is None and self._transport is not None:
            self._foreign = UpgradeTransport(self, self._transport)
        return self._foreign

    @transport.setter
    def transport(self, value: None) -> None:
        """autobahn sets it to ``None`` while it takes over; it takes over by ``transport.protocol``."""

    def upgrade(self, protocol: Any) -> None:
        """From now on the connection is ``protocol``'s; it stays in the tracker and in the ledger.

        What it writes is bounded and paced as responses are; it has no other deadline but one it asks for.
        """
        self.hand_over(protocol)
        protocol.makeConnection(self.transport)

    @property
    def is_upgraded(self) -> bool:
        """Whether another protocol has the connection, or had it to its end."""
        return self._upgraded is not None

    def wake_at(self, seconds: float) -> None:
        """Call ``wake`` of the protocol that has the connection, once it is due."""
        if self.phase is UPGRADED:
            self.deadline = seconds

    def hand_over(self, protocol: Any) -> None:
        self._upgraded = protocol
        self.phase = MOVES[self.phase][Event.UPGRADE]
        self.deadline = NEVER
        if self.reason is None and self.phase is UPGRADED:
            self._resume_input()
        waiting, self._input = self._input, b""
        self.server.ledger.hold(self._transport, INPUT, 0)
        if waiting:
            self.server.clock.callLater(0, protocol.dataReceived, waiting)

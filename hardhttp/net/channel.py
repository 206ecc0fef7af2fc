"""An HTTP/1.1 connection: requests in, responses out, in order.

Its state is one phase (``hardhttp.net.phase``), one deadline and one buffer. The buffer holds part
of a head, or what is pipelined behind the request being answered, never more than its bound: then
the transport's input is paused. Nothing is parsed while the peer does not take what it was sent.

A channel calls the server's request factory and drives the request it makes; what a request is, it
does not know. It owns no timer: the reaper calls ``reap`` once a second, and that is where
deadlines fall, where a peer that does not read is found, and where a peer is found to have gone
while its input is paused. Everything it holds is given back in ``connectionLost``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    ILoggingContext,
    IProtocol,
    IPushProducer,
    ISSLTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import Fault, LimitFault, OurFault, Reason
from hardhttp.net.ledger import BODY, INPUT, UNSENT
from hardhttp.net.outbound import PullLoop, base_transport, peer_has_gone, unacknowledged_bytes, unsent_bytes
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.server import Server
from hardhttp.net.upgrade import UpgradeTransport
from hardhttp.wire.body import BodyDecoder, ChunkedBody, LengthBody
from hardhttp.wire.deadlines import NEVER, Pace
from hardhttp.wire.head import Head
from hardhttp.wire.response import CONTINUE, encode_head, refusal

__all__ = ["Channel"]

IDLE, HEAD, BODY_PHASE, DISPATCH, HANDLING, UPGRADED, LINGERING, CLOSING, CLOSED = Phase
PART, EXPECT_BODY, CALL, LATER, DONE, UPGRADE, LINGER, CLOSE, LOST = Event

# Responses to pipelined requests are sent together, up to about this much.
CORK_BYTES = 64 * 1024
# What a client may still send to us while we linger.
MAX_DISCARDED_BYTES = 1 << 20


@implementer(IProtocol, IHalfCloseableProtocol, ILoggingContext, IPushProducer, IConsumer)
class Channel:
    """One connection.

    ``request_factory(channel)`` makes requests; see ``hardhttp.web.request.Request`` for what is
    asked of them. ``keep_alive`` says whether the connection goes on after this response.
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_body_pace",
        "_cork",
        "_decoder",
        "_discarded",
        "_foreign",
        "_head",
        "_input",
        "_input_paused",
        "_peer",
        "_producer",
        "_send_pace",
        "_started",
        "_transport",
        "_upgraded",
        "_written",
        "choked",
        "deadline",
        "factory",
        "keep_alive",
        "phase",
        "reason",
        "request",
        "request_factory",
        "server",
        "site",
    )

    _log = Logger(namespace="hardhttp")

    def __init__(self, server: Server, request_factory: Callable[[Any], Any], peer: Any = None) -> None:
        self.server = server
        self.request_factory = request_factory
        self.factory: Any = None
        self.site: Any = None
        self.phase = IDLE
        self.deadline = NEVER
        self.reason: Reason | None = None
        self.request: Any = None
        self.keep_alive = True
        self.choked = False
        self._peer = peer
        self._transport: Any = None
        self._base: Any = None
        self._foreign: Any = None
        self._upgraded: Any = None
        self._producer: Any = None
        self._head: Head | None = None
        self._decoder: BodyDecoder | None = None
        self._input = b""
        self._input_paused = False
        self._cork: list[bytes] | None = None
        self._body_pace: Pace | None = None
        self._send_pace: Pace | None = None
        self._started = 0.0
        self._written = 0
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

    def dataReceived(self, data: bytes) -> None:
        self.server.statistics.bytes_in += len(data)
        phase = self.phase
        if phase is IDLE or phase is HEAD:
            if self._input:
                data, self._input = self._input + data, b""
            self._advance(data)
        elif phase is BODY_PHASE:
            self._advance(data)
        elif phase is HANDLING or phase is DISPATCH:
            self._wait(self._input + data)
        elif phase is UPGRADED:
            self._upgraded.dataReceived(data)
        else:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort(Reason.ABORT_SECONDS)

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
        self._abandon(reason)
        upgraded, self._upgraded = self._upgraded, None
        transport, self._transport = self._transport, None
        self._base = self._foreign = self._decoder = self._head = self._cork = None
        self._body_pace = self._send_pace = None
        self._input = b""
        if self.reason is None:
            gone = reason.check(ConnectionDone) is not None
            self.reason = Reason.CLIENT_CLOSED if gone else Reason.CLIENT_RESET
        self.server.removed(transport, self.reason)
        if upgraded is not None:
            upgraded.connectionLost(reason)

    def logPrefix(self) -> str:
        return "hardhttp"

    def __repr__(self) -> str:
        return f"<Channel {self.phase.name}>"

    # -- requests in ------------------------------------------------------------------------

    def _advance(self, data: bytes) -> None:
        """Go as far as ``data`` reaches."""
        position, size = 0, len(data)
        try:
            while True:
                phase = self.phase
                if phase is IDLE or phase is HEAD:
                    if position == size:
                        break
                    if self.choked:
                        self._wait(data[position:])
                        break
                    found = self.server.parser.parse(data, position, self.server.limits)
                    if found is None:
                        self._partial(data[position:] if position else data)
                        break
                    head, position = found
                    if position < size and self._cork is None:
                        self._cork = []
                    self._begin(head, position < size)
                elif phase is BODY_PHASE:
                    if position == size:
                        break
                    data = self._receive_body(data[position:] if position else data)
                    position, size = 0, len(data)
                else:
                    if position < size:
                        self._behind(data[position:])
                    break
                if self._cork:
                    self._uncork(CORK_BYTES)
        except Fault as fault:
            self.refuse(fault)
        except Exception:
            self._log.failure("a request could not be handed to the application")
            self.abort(Reason.INTERNAL)
        if self._cork is not None:
            self._uncork(0)
            self._cork = None

    def _partial(self, data: bytes) -> None:
        """Keep part of a head; its deadline runs from its first byte and nothing moves it."""
        self._input = data
        server = self.server
        server.hold(self._transport, INPUT, len(data))
        if self.phase is IDLE:
            self.phase = MOVES[IDLE][PART]
            self.deadline = server.seconds() + server.limits.head_seconds

    def _behind(self, data: bytes) -> None:
        """``data`` came behind a request that is not answered yet, or never will be here."""
        if self.phase is UPGRADED:
            self._upgraded.dataReceived(data)
        else:
            self._wait(data)

    def _wait(self, data: bytes) -> None:
        """Keep what is behind the current request, or cannot be answered yet, up to its bound."""
        if self.phase >= LINGERING:
            return
        self._input = data
        self.server.hold(self._transport, INPUT, len(data))
        if len(data) >= self.server.limits.max_pipelined_bytes:
            self._pause_input()

    def _begin(self, head: Head, more: bool) -> None:
        """A head is whole."""
        if self.phase is HEAD:
            self.server.ledger.hold(self._transport, INPUT, 0)
        self.keep_alive = head.keep_alive and not self.server.draining
        self._head = head
        if head.chunked or head.content_length:
            self._expect_body(head, more)
            return
        self.request = request = self.request_factory(self)
        self.phase = MOVES[self.phase][CALL]
        self.deadline = NEVER
        request.gotHead(head)
        request.process()
        if self.phase is DISPATCH:
            self.phase = MOVES[DISPATCH][LATER]

    def handle_within(self, seconds: float | None) -> None:
        """The application has answered nothing yet; it must begin to within ``seconds``."""
        if seconds is not None and (self.phase is DISPATCH or self.phase is HANDLING):
            self.deadline = self.server.seconds() + seconds

    def began(self) -> None:
        """The response has begun: the application's deadline is met."""
        if self.phase is DISPATCH or self.phase is HANDLING:
            self.deadline = NEVER

    def _expect_body(self, head: Head, more: bool) -> None:
        """Judge a body by its head, before it is invited."""
        limits = self.server.limits
        if head.content_length is not None and head.content_length > limits.max_body_bytes:
            raise LimitFault(413, Reason.BODY_BYTES, f"the body is longer than {limits.max_body_bytes} bytes")
        self.request = request = self.request_factory(self)
        self.phase = MOVES[self.phase][EXPECT_BODY]
        self._decoder = ChunkedBody(limits) if head.chunked else LengthBody(head.content_length or 0)
        self._started = self.server.seconds()
        self._pace_body(0)
        request.gotHead(head)
        if request.streamBody():
            if not request.wantsBody:
                self.pause_body()
        elif head.expect_continue and not more:
            self._send(CONTINUE)

    def invite_body(self) -> None:
        """A streaming resource wants its body now."""
        head = self._head
        if self.phase is BODY_PHASE and head is not None:
            if head.expect_continue and not self._input and not self.request.startedWriting:
                self._send(CONTINUE)
            self.resume_body()

    def pause_body(self) -> None:
        """Take no more of the body for now; its deadline rests too, for the wait is ours."""
        if self.phase is BODY_PHASE:
            self._body_pace = None
            self.deadline = NEVER
            self._pause_input()

    def resume_body(self) -> None:
        if self.phase is BODY_PHASE and self._body_pace is None:
            self._pace_body(self._received)
            waiting, self._input = self._input, b""
            self.server.hold(self._transport, INPUT, 0)
            self._resume_input()
            if waiting:
                self._advance(waiting)

    @property
    def _received(self) -> int:
        return 0 if self.request is None else int(self.request.receivedBytes)

    def _pace_body(self, received: int) -> None:
        now, limits = self.server.seconds(), self.server.limits
        self._body_pace = Pace(now, limits.body_seconds, limits.body_bytes_per_second, received)
        self.deadline = min(self._body_pace.deadline, self._started + limits.max_body_seconds)

    def _receive_body(self, data: bytes) -> bytes:
        """Take the body's part of ``data``; what is behind it is returned."""
        decoder, request, head = self._decoder, self.request, self._head
        assert decoder is not None and head is not None  # ours, not the peer's: the phase says so
        if self._body_pace is None:
            self._wait(self._input + data)
            return b""
        pieces = decoder.receive(data)
        for piece in pieces:
            request.handleContentChunk(piece)
            if self.phase is not BODY_PHASE:
                return b""
        if not decoder.done:
            server = self.server
            self._body_pace.progress(server.seconds(), request.receivedBytes)
            self.deadline = min(self._body_pace.deadline, self._started + server.limits.max_body_seconds)
            server.hold(self._transport, BODY, request.heldBytes)
            return b""
        self._decoder = self._body_pace = None
        self.deadline = NEVER
        rest = decoder.rest
        if rest and self._cork is None:
            self._cork = []
        request.trailers = decoder.trailers if isinstance(decoder, ChunkedBody) else []
        if request.bodyEnded():
            self.phase = MOVES[self.phase][LATER]
        elif self.phase is BODY_PHASE:
            self.server.hold(self._transport, BODY, request.heldBytes)
            self.phase = MOVES[BODY_PHASE][CALL]
            request.process()
            if self.phase is DISPATCH:
                self.phase = MOVES[DISPATCH][LATER]
        return rest

    # -- responses out ----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data`` now, or with the responses before it."""
        transport = self._transport
        if transport is None:
            return
        size = len(data)
        self.server.statistics.bytes_out += size
        if self._cork is not None:
            self._cork.append(data)
        elif self.choked:
            self._send(data)
        else:
            self._written += size
            transport.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def _send(self, data: bytes) -> None:
        transport, server = self._transport, self.server
        if self.choked and unsent_bytes(self._base) > server.limits.max_unsent_bytes:
            server.refused(Reason.UNSENT_BYTES, "a response was written faster than its client takes it")
            self.abort(Reason.UNSENT_BYTES)
            return
        self._written += len(data)
        transport.write(data)
        if self.choked and self._transport is not None:
            server.hold(transport, UNSENT, unsent_bytes(self._base))

    def _uncork(self, threshold: int) -> None:
        cork = self._cork
        if cork and (not threshold or sum(map(len, cork)) >= threshold):
            self._cork = []
            if self._transport is not None:
                self._send(b"".join(cork))

    def requestDone(self, request: Any) -> None:
        """The response to ``request`` has been written whole."""
        if request is not self.request:
            return
        self.request = None
        server = self.server
        if self.phase is BODY_PHASE:
            # The rest of the body is not wanted; only closing says so.
            self._linger(Reason.RESPONSE_END)
            return
        self._head = None
        if server.ledger.held_bytes:
            server.ledger.hold(self._transport, BODY, 0)
        if not self.keep_alive or server.draining:
            if self._cork is not None:
                self._uncork(0)
            if self._input:
                self._linger(Reason.RESPONSE_END)
            else:
                self._close(Reason.DRAINED if server.draining else Reason.RESPONSE_END)
            return
        resume = self.phase is HANDLING
        self.phase = MOVES[self.phase][DONE]
        self.deadline = server.seconds() + server.limits.idle_seconds
        if resume and self._input:
            self._go_on()

    def _go_on(self) -> None:
        """Take up what has been waiting."""
        waiting, self._input = self._input, b""
        self.server.ledger.hold(self._transport, INPUT, 0)
        self._resume_input()
        self._advance(waiting)

    # -- ends -------------------------------------------------------------------------------

    def refuse(self, fault: Fault) -> None:
        """Answer ``fault`` with a whole response and end the connection."""
        if self.phase >= UPGRADED:
            return
        server, head = self.server, self._head
        server.refused(fault.reason, fault.detail)
        request, self.request = self.request, None
        started = request is not None and request.startedWriting
        if request is not None:
            request.connectionLost(Failure(fault.with_traceback(None)))
        if started or self._transport is None:
            self.abort(fault.reason)
            return
        server.statistics.response(b"other" if head is None else head.method, fault.status)
        head_only = head is not None and head.method == b"HEAD"
        self.write(refusal(fault, server.date(server.seconds()), head_only=head_only))
        if self._cork is not None:
            self._uncork(0)
        self._linger(fault.reason)

    def _linger(self, reason: Reason) -> None:
        """Say no more, and discard what the client still says until it hangs up."""
        transport = self._transport
        if self.phase >= LINGERING or transport is None:
            return
        if transport is not self._base or not hasattr(transport, "loseWriteConnection"):
            self._close(reason)  # TLS has no half-close
            return
        self._leave(LINGER, reason)
        self._resume_input()
        transport.loseWriteConnection()

    def _close(self, reason: Reason) -> None:
        """Close once all is sent."""
        transport = self._transport
        if self.phase < CLOSING and transport is not None:
            self._leave(CLOSE, reason)
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
        self._decoder = self._body_pace = self._head = None
        # A transport closes only when nobody produces for it.
        self._transport.unregisterProducer()
        self.choked = False

    def abort(self, reason: Reason) -> None:
        """Close now; what is unsent is dropped."""
        if self._transport is not None:
            if self.reason is None:
                self.reason = reason
            self._transport.abortConnection()

    def _abandon(self, failure: Failure) -> None:
        """Whoever was to answer is told that nobody waits."""
        request, self.request = self.request, None
        if request is not None:
            request.connectionLost(failure)
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()

    def drain(self) -> None:
        """The server stops: this response is the last one."""
        self.keep_alive = False
        if self.phase is IDLE:
            self._close(Reason.DRAINED)
        elif self.request is not None:
            self.request.drain()

    def shed(self) -> None:
        """Too much is held, and most of it here."""
        fault = OurFault(503, Reason.BUFFERED_BYTES, "the server holds as much as it may")
        if self.phase is BODY_PHASE:
            self.refuse(fault)
        else:
            self.server.refused(fault.reason, fault.detail)
            self.abort(fault.reason)

    # -- deadlines --------------------------------------------------------------------------

    def reap(self, now: float) -> None:
        """Called every second: end what is due."""
        base = self._base
        if base is None:
            return
        unsent = unsent_bytes(base)
        if unsent:
            self._judge_output(now, unsent)
        elif self._send_pace is not None:
            self._send_pace = None
            self.server.ledger.hold(self._transport, UNSENT, 0)
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
        self.server.hold(self._transport, UNSENT, unsent)
        if now >= self._send_pace.deadline:
            self.server.refused(Reason.SEND_RATE, "a client takes its response too slowly")
            self.abort(Reason.SEND_RATE)
        elif self.phase is LINGERING or self.phase is CLOSING:
            # The abort waits behind the last byte, not behind the call.
            self.deadline = now + limits.abort_seconds

    def _expire(self) -> None:
        phase, limits = self.phase, self.server.limits
        if phase is IDLE:
            self._close(Reason.IDLE)
        elif phase is HEAD:
            detail = f"the head did not come within {limits.head_seconds:g} s"
            self.refuse(LimitFault(408, Reason.HEAD_SECONDS, detail))
        elif phase is BODY_PHASE:
            if self.server.seconds() >= self._started + limits.max_body_seconds:
                detail = f"the body did not come within {limits.max_body_seconds:g} s"
                self.refuse(LimitFault(408, Reason.BODY_SECONDS, detail))
            else:
                detail = f"the body comes slower than {limits.body_bytes_per_second} bytes/s"
                self.refuse(LimitFault(408, Reason.BODY_RATE, detail))
        elif phase is HANDLING:
            self.refuse(OurFault(503, Reason.HANDLING_SECONDS, "the application did not answer in time"))
        else:
            self.abort(Reason.ABORT_SECONDS)

    # -- flow -------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The transport's queue is long: whoever writes should wait."""
        self.choked = True
        self.server.hold(self._transport, UNSENT, unsent_bytes(self._base))
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport's queue is empty."""
        self.choked = False
        self.server.ledger.hold(self._transport, UNSENT, 0)
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
        self._producer = producer if streaming else PullLoop(self.server.clock, producer)
        if self.choked:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
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

    # -- what requests and resources ask of a channel -----------------------------------------

    def getPeer(self) -> Any:
        return self._transport.getPeer()

    def getHost(self) -> Any:
        return self._transport.getHost()

    def isSecure(self) -> bool:
        return ISSLTransport.providedBy(self._transport)

    def loseConnection(self) -> None:
        """The application closes the connection."""
        self._close(Reason.APPLICATION)

    def abortConnection(self) -> None:
        self.abort(Reason.APPLICATION)

    def setTimeout(self, seconds: float | None) -> None:
        """Kept for applications that call it on twisted.web's channel: deadlines are not theirs to move."""

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """As twisted.web's channel: send a head made by hand."""
        fields = ((name, value) for name, values in headers.getAllRawHeaders() for value in values)
        self.write(encode_head(int(code), reason, fields))

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

        What it writes is bounded and paced as responses are; it has no other deadline.
        """
        self.hand_over(protocol)
        protocol.makeConnection(self.transport)

    _protocolUpgradeForWebsockets = upgrade  # what twisted.web.websocket calls

    def hand_over(self, protocol: Any) -> None:
        self._upgraded = protocol
        self.phase = MOVES[self.phase][UPGRADE]
        self.deadline = NEVER
        if self.reason is None and self.phase is UPGRADED:
            self._resume_input()
        waiting, self._input = self._input, b""
        self.server.ledger.hold(self._transport, INPUT, 0)
        if waiting:
            self.server.clock.callLater(0, protocol.dataReceived, waiting)

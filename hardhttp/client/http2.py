"""HTTP/2 to a server: many requests on one connection (RFC 9113).

What a connection does of itself is here: its greeting, its turns, its pings, its end. What becomes of one request
is its stream's (``hardhttp.client.stream2``), what frames mean is ``hardhttp.wire.http2client``'s.

It promises that a stream's trouble stays that stream's. The connection ends with its transport, when the server
breaks the rules of frames or floods us with them, when SETTINGS do not come within ``settings_seconds``, and when
nothing has come for ``ping_seconds`` and a PING is not answered within as long again. After GOAWAY it takes no more
streams: those the server has not looked at go elsewhere, the others end here.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.client.connection import ABORT_SECONDS, Connection
from hardhttp.client.errors import BadResponse, ClientError, ClientReason, NoResponse, RequestRefused, ResponseCut
from hardhttp.client.exchange import Exchange, Stage
from hardhttp.client.phase import MOVES, Event, Phase
from hardhttp.client.stream2 import Stream
from hardhttp.client.streamrequest import StreamRequest
from hardhttp.errors import Fault, Reason
from hardhttp.net.ledger import INPUT
from hardhttp.net.outbound import base_transport, peer_has_gone
from hardhttp.wire.deadlines import NEVER
from hardhttp.wire.http2 import (
    LAST_STREAM,
    ConnectionFault,
    ErrorCodes,
    StreamFault,
    goaway_frame,
    headers_frames,
    ping_frame,
)
from hardhttp.wire.http2client import ClientWire, Fields, WireBounds, reset_frame

if TYPE_CHECKING:
    from hardhttp.client.pool import Pool

__all__ = ["Connection2"]

IDLE, STREAMS, CLOSING, CLOSED = Phase.IDLE, Phase.STREAMS, Phase.CLOSING, Phase.CLOSED

# One write is about as long as this.
WRITE_BYTES = 64 * 1024
# How often servers that leave may send a request on; Go's transport tries six times.
MAX_MOVES = 5


@implementer(IPushProducer)
class Connection2(Connection):
    """One HTTP/2 connection. ``now`` is the time of what is being dealt with."""

    __slots__ = (
        "_block_due",
        "_choked_due",
        "_heard_at",
        "_held_input",
        "_in_turn",
        "_leaving",
        "_out",
        "_out_bytes",
        "_ping",
        "_ping_due",
        "_ready",
        "_rest_until",
        "_settings_due",
        "bounds",
        "now",
        "wire",
    )

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        limits = pool.limits
        self.bounds = WireBounds(
            limits.max_head_bytes,
            limits.max_headers,
            limits.max_control_frames,
            limits.max_stream_resets,
            limits.stream_window_bytes,
        )
        self.now = self._heard_at = pool.seconds()
        self.wire = ClientWire(self.bounds, self.now)
        self._ready: deque[StreamRequest] = deque()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._in_turn = False  # bytes are being dealt with; what is to be sent goes out at the end
        self._leaving = False  # it takes no more streams
        self._ping = b""  # the one that is not answered
        self._held_input = 0
        self._rest_until = self._settings_due = NEVER
        self._ping_due = self._block_due = self._choked_due = NEVER

    @property
    def pool(self) -> Pool:
        return self._pool

    def seconds(self) -> float:
        return self._pool.seconds()

    # -- its beginning ------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """Without TLS, by prior knowledge (RFC 9113, 3.3)."""
        super().makeConnection(transport)
        self.take_over(transport)

    def take_over(self, transport: Any) -> None:
        """Greet the server over ``transport``, whose handshake is done."""
        self.transport = transport
        self.phase = IDLE
        self.now = self._heard_at = self.seconds()
        self._settings_due = self.now + self._pool.limits.settings_seconds
        self._pool.deadlines.add(self)
        transport.registerProducer(self, True)
        self.put(self.wire.greeting())
        self._judge_due()

    # -- the pool's side ----------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether it takes another stream."""
        if self._leaving or self.phase not in (IDLE, STREAMS) or (self._once and self.wire.next_number > 1):
            return False
        said = self.wire.max_streams
        if not self.wire.settled and self.host is not None and self.host.max_streams is not None:
            said = self.host.max_streams  # until it says so here too: what is beyond would be refused
        most = min(said, self._pool.limits.max_streams)
        return len(self.wire.streams) < most and self.wire.next_number < LAST_STREAM

    @property
    def clean(self) -> bool:
        return self.phase is STREAMS or (self.phase is IDLE and not peer_has_gone(base_transport(self.transport)))

    @property
    def streams(self) -> int:
        return len(self.wire.streams)

    def start(self, exchange: Exchange) -> None:
        exchange.stage = Stage.CONNECTED
        if exchange.upgrades:
            text = "HTTP/2 has no Upgrade: ask for it with an Agent that has http2=False"
            exchange.fail(RequestRefused(ClientReason.BAD_METHOD_OR_FIELD, text))
            return
        self.now = self.seconds()
        self.phase = MOVES[self.phase][Event.STREAM]
        self._rest_until = NEVER
        stream: Stream = self.wire.open(lambda *windows: Stream(self, exchange, *windows))
        exchange.connection = stream
        self._pool.deadlines.add(stream)
        if self._ping_due == NEVER:
            # One that has been silent for long is asked along with the request.
            self._ping_due = max(self.now, self._heard_at + self._pool.limits.ping_seconds)
            self._judge_due()
        in_turn, self._in_turn = self._in_turn, True
        try:
            stream.begin()
        finally:
            self._in_turn = in_turn
        self.flush()
        if not self.settled:
            self._pool.shares(self)

    def rest(self, until: float) -> None:
        self._rest_until = until
        self._judge_due()

    def close(self, reason: ClientReason | Reason) -> None:
        """Close a connection that nobody uses: GOAWAY says so."""
        if self.phase in (IDLE, STREAMS):
            self._say_goodbye(reason, ErrorCodes.NO_ERROR)

    def end(self, reason: ClientReason) -> None:
        """The agent ends."""
        self.abort_with(reason)
        for stream in [*self.wire.streams.values()]:
            stream.agent_closed()

    # -- frames out ---------------------------------------------------------------------------

    def put(self, frames: bytes) -> None:
        """Send with all else of this turn."""
        self._out.append(frames)
        self._out_bytes += len(frames)
        if not self._in_turn:
            self.flush()

    def send_head(self, stream: StreamRequest, exchange: Exchange, *, ended: bool) -> None:
        """HEADERS. Host is ``:authority`` (RFC 9113, 8.3.1); what is a connection's own is not sent (8.2.2)."""
        (_, authority), *fields = exchange.fields
        host = self.host
        scheme = b"https" if host is not None and host.key[0] == "https" else b"http"
        pseudo = [
            (b":method", exchange.method),
            (b":scheme", scheme),
            (b":authority", authority),
            (b":path", exchange.target),
        ]
        said = [(name, value) for name, value in fields if name.lower() != b"te" or value.lower() == b"trailers"]
        self.put(headers_frames(stream.number, self.wire.head_block(pseudo + said), end=ended))

    def wants_turn(self, stream: StreamRequest) -> None:
        """``stream`` has something to send."""
        if not stream.has_turn:
            stream.has_turn = True
            self._ready.append(stream)
        if not self._in_turn:
            self.flush()

    def flush(self) -> None:
        """Send what there is to send, as far as the server takes it."""
        if self._in_turn:
            return
        self._in_turn = True
        try:
            while self.phase in (IDLE, STREAMS):
                if self._ready and self._choked_due == NEVER:
                    self._take_turns()
                if not self._out:
                    break
                self._write_out()
        except ConnectionFault as fault:
            self._break(fault)
        finally:
            self._in_turn = False

    def _take_turns(self) -> None:
        """A frame of each body, round and round, until there is enough for one write."""
        ready = self._ready
        while ready and self._out_bytes < WRITE_BYTES:
            stream = ready.popleft()
            if stream.take_turn():
                ready.append(stream)
            else:
                stream.has_turn = False
                stream.may_resume()

    def _write_out(self) -> None:
        out, self._out, self._out_bytes = self._out, [], 0
        if out and self.transport is not None:
            self.send(b"".join(out))

    def pauseProducing(self) -> None:
        """The transport's queue is long."""
        if self._choked_due == NEVER and self.phase in (IDLE, STREAMS):
            self._choked_due = self.seconds() + (self._pool.limits.body_idle_seconds or self._pool.limits.ping_seconds)
            self._judge_due()

    def resumeProducing(self) -> None:
        if self._choked_due != NEVER:
            self._choked_due = NEVER
            self.flush()

    def stopProducing(self) -> None:
        """The transport says so by ``connectionLost`` too."""

    # -- frames in ----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        self._pool.statistics.bytes_in += len(data)
        if self.phase not in (IDLE, STREAMS):
            return
        self.now = self.seconds()
        self._in_turn = True
        try:
            self._receive(data)
        except ConnectionFault as fault:
            self._break(fault)
        except Exception:
            self._log.failure("a frame could not be dealt with")
            self._break(ConnectionFault(ErrorCodes.INTERNAL_ERROR, Reason.INTERNAL, "a frame could not be dealt with"))
        finally:
            self._in_turn = False
        self.flush()

    def _receive(self, data: bytes) -> None:
        wire, cutter = self.wire, self.wire.cutter
        frames = cutter.cut(data)
        for frame in frames:
            if self.phase not in (IDLE, STREAMS):
                return
            wire.take(frame, self.now, self)
        if cutter.fault is not None:
            raise cutter.fault
        partial = wire.streams.get(cutter.partial_body)
        if (partial is not None and partial.partial(len(cutter.rest))) or frames:
            self._heard_at = self.now
        if wire.settled:
            self._settings_due = NEVER
        if not wire.in_block:
            self._block_due = NEVER
        elif self._block_due == NEVER:
            self._block_due = self.now + self._pool.limits.ping_seconds
            self._judge_due()
        if len(cutter.rest) != self._held_input:
            self._held_input = len(cutter.rest)
            if self.phase in (IDLE, STREAMS):
                self._pool.ledger.hold(self, INPUT, self._held_input)

    def heard_fields(self, stream: Stream, fields: Fields, ended: bool) -> None:
        try:
            stream.heard_fields(fields, ended)
        except (StreamFault, Fault) as fault:
            stream.broken(fault)

    def heard_data(self, stream: Stream, data: bytes, size: int, ended: bool) -> None:
        try:
            stream.heard_data(data, size, ended)
        except (StreamFault, Fault) as fault:
            stream.broken(fault)

    def heard_reset(self, stream: Stream, code: int) -> None:
        stream.reset_by_peer(code)

    def broken(self, stream: Stream, fault: StreamFault) -> None:
        stream.broken(fault)

    def room(self, stream: Stream | None) -> None:
        if stream is not None:
            if stream.queued:
                self.wants_turn(stream)
            return
        for each in self.wire.streams.values():
            if each.queued:
                self.wants_turn(each)
        if self.host is not None:
            self.host.max_streams = self.wire.max_streams
        self._pool.has_room(self)

    def pong(self, data: bytes) -> None:
        if data == self._ping:
            self._ping = b""

    def leaving(self, last: int, code: int) -> None:
        """GOAWAY (RFC 9113, 6.8): streams beyond ``last`` go elsewhere; others may still be answered."""
        self._leaving = True
        self._pool.leaving(self)
        text = "the server left before it looked at the request"
        for stream in [stream for number, stream in self.wire.streams.items() if number > last]:
            stream.refused(text, most=MAX_MOVES)
        if not self.wire.streams:
            self.close(ClientReason.GOAWAY)

    # -- ends of streams ----------------------------------------------------------------------

    def ended(self, stream: Stream, code: ErrorCodes | None, *, served: bool) -> None:
        """A stream has ended; with a ``code`` the server is told. Who waits for room has it now."""
        self.wire.forget(stream, reset=code is not None)
        pool = self._pool
        pool.deadlines.remove(stream)
        pool.ledger.release(stream)
        self.served += served
        if self.phase is not STREAMS:
            return
        if code is not None:
            self.put(reset_frame(stream.number, code))
        if not self.wire.streams:
            self.phase = MOVES[STREAMS][Event.END]
            self._ping_due = NEVER
            if self._leaving or self._once:
                self.close(ClientReason.GOAWAY if self._leaving else ClientReason.NOT_KEPT)
                return
        pool.has_room(self)

    # -- ends of the connection ---------------------------------------------------------------

    def _say_goodbye(self, reason: ClientReason | Reason, code: ErrorCodes, detail: str = "") -> None:
        """Close politely, an abort behind it."""
        self.put(goaway_frame(0, code, detail))
        self._write_out()
        self.phase = MOVES[self.phase][Event.CLOSE]
        self.reason = reason
        self.deadline = self.seconds() + ABORT_SECONDS
        pool = self._pool
        pool.deadlines.sooner(self.deadline)
        pool.leaving(self)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _break(self, fault: ConnectionFault) -> None:
        """The server broke the rules of frames: GOAWAY says which (RFC 9113, 5.4.1), and all streams end."""
        if self.phase in (IDLE, STREAMS):
            self._say_goodbye(fault.reason, fault.code, fault.detail)
            for stream in [*self.wire.streams.values()]:
                response = stream.response
                stream.fail(BadResponse(fault.reason, fault.detail, response=response, sent=True), None)

    def _give_up(self, reason: ClientReason, text: str) -> None:
        """The server is silent: nothing that is said to it would arrive."""
        self.abort_with(reason)
        for stream in [*self.wire.streams.values()]:
            kind: type[ClientError] = NoResponse if stream.response is None else ResponseCut
            stream.fail(kind(reason, text, response=stream.response, sent=True), None)

    def connectionLost(self, why: Failure) -> None:
        phase, self.phase = self.phase, CLOSED
        if phase is CLOSED:
            return
        self.transport = None
        self._ready.clear()
        self._out.clear()
        reused = self.served > 0
        self._pool.lost(self)
        for stream in [*self.wire.streams.values()]:
            stream.lost_with_connection(why, reused=reused)

    # -- deadlines ----------------------------------------------------------------------------

    def _judge_due(self) -> None:
        """The earliest of what is waited for."""
        if self.phase in (IDLE, STREAMS):
            due = min(self._rest_until, self._settings_due, self._ping_due, self._block_due, self._choked_due)
            self.deadline = due
            self._pool.deadlines.sooner(due)

    def expire(self, now: float) -> None:
        if self.phase is CLOSING:
            self.abort_with(self.reason)
        elif now >= self._settings_due:
            self._give_up(ClientReason.SETTINGS_SECONDS, "no SETTINGS came within settings_seconds")
        elif now >= self._choked_due:
            self._give_up(ClientReason.SEND_SECONDS, "the server takes nothing of what is sent")
        elif now >= self._block_due:
            text = "a header block was not whole within ping_seconds"
            self._break(ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, Reason.HEAD_SECONDS, text))
        elif now >= self._rest_until:
            self._rest_until = NEVER
            self._pool.expired(self)
        else:
            self._doubt(now)
        self._judge_due()

    def _doubt(self, now: float) -> None:
        """Streams wait: has anything come lately? If not, ask."""
        seconds = self._pool.limits.ping_seconds
        if now < self._ping_due:
            return
        if now < self._heard_at + seconds:
            self._ping = b""
            self._ping_due = self._heard_at + seconds
        elif self._ping:
            self._give_up(ClientReason.PING_SECONDS, "a PING was not answered within ping_seconds")
        else:
            self._ping = os.urandom(8)
            self._ping_due = now + seconds
            self.put(ping_frame(self._ping))

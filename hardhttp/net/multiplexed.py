"""A connection that streams share: what it sends of them, what it holds for them, how they and it end.

What is said goes out once a turn of the reactor, in one write. Bodies take turns (``hardhttp.net.turns``), and
only while the transport's queue is short; what is not sent yet waits at its stream. What all streams hold is entered
in the ledger under the connection, as any connection's is; when it is too much, the heaviest stream goes.

A connection without streams is idle, and ends at the keep-alive deadline. When the server stops, the client is told
twice (RFC 9113, 6.8): at first that it should open no more streams, and a round trip later which was the last.

What bytes mean is said in ``hardhttp.net.channel2``. No connection and no stream owns a timer: the reaper judges the
connection, and it its streams.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from hardhttp.errors import OurFault, Reason
from hardhttp.net.connection import Connection
from hardhttp.net.ledger import BODY, INPUT, UNSENT
from hardhttp.net.outbound import unsent_bytes
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.server import CLOSED_UNANSWERED, Server
from hardhttp.net.streamoutput import Said, StreamOutput, Turn
from hardhttp.net.turns import Turns
from hardhttp.wire.deadlines import NEVER
from hardhttp.wire.fieldblock import NO_TABLE
from hardhttp.wire.http2 import (
    FRAME_BYTES,
    LAST_STREAM,
    Conduct,
    ConnectionFault,
    ErrorCodes,
    FrameCutter,
    WireConnection,
    data_frame,
    goaway_frame,
    headers_frames,
    ping_frame,
)

if TYPE_CHECKING:
    from hardhttp.net.promises import Promises, PushedStream
    from hardhttp.net.stream2 import Stream
    from hardhttp.wire.links import Link

__all__ = ["Leaving", "Multiplexed"]

IDLE, HEAD, HANDLING, LINGERING = Phase.IDLE, Phase.HEAD, Phase.HANDLING, Phase.LINGERING

# One write is about as long as this.
WRITE_BYTES = 64 * 1024
# How long a client is waited for to have read the first GOAWAY.
WARNED_SECONDS = 1.0


class Leaving(IntEnum):
    """How far the end of a connection has been announced (RFC 9113, 6.8)."""

    NOT = 0
    WARNED = 1  # open no more streams; those that are on their way are served
    TOLD = 2  # this was the last one


class Multiplexed(Connection):
    """A connection of streams. ``streams`` are those that have not ended, by number.

    ``request_factory(stream)`` makes requests.
    """

    __slots__ = (
        "_body_bytes",
        "_cutter",
        "_in_turn",
        "_input_bytes",
        "_leave_at",
        "_leaving",
        "_more_held",
        "_no_table",
        "_out",
        "_out_bytes",
        "_ping",
        "_promises",
        "_ready",
        "_resumable",
        "conduct",
        "factory",
        "queued",
        "request_factory",
        "sent",
        "site",
        "streams",
        "wire",
    )

    multiplexed = True

    def __init__(self, server: Server, request_factory: Callable[[Any], Any], peer: Any = None) -> None:
        super().__init__(server, peer)
        self.phase = HEAD  # the client's first word is due
        self.request_factory = request_factory
        self.factory: Any = None
        self.site: Any = None
        self.streams: dict[int, Stream] = {}
        self.wire = WireConnection(server.limits, extended_connect=server.extended_connect)
        self.conduct = Conduct(server.limits, server.seconds())
        self.queued = 0  # bytes that wait at all streams
        self.sent = 0  # of bodies that have waited
        self._cutter = FrameCutter()
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._no_table = NO_TABLE
        self._ready = Turns()
        self._resumable: list[StreamOutput] = []
        self._in_turn = False  # bytes are being dealt with; what is written goes out at the end
        self._body_bytes = self._input_bytes = 0
        self._more_held: dict[str, int] | None = None  # what streams hold besides, by kind
        self._leaving = Leaving.NOT
        self._leave_at = NEVER
        self._ping = b""
        self._promises: Promises | None = None  # what was pushed, once something was

    # -- frames out ---------------------------------------------------------------------------

    def put(self, frames: bytes) -> None:
        """Send with all else of this turn."""
        if frames:
            self._out.append(frames)
            self._out_bytes += len(frames)
            if not self._in_turn:
                self.server.flush_soon(self)

    def send_head(self, stream: StreamOutput, block: bytes) -> None:
        """HEADERS, with more to come: its stream's end waits where the transport's queue is long."""
        self.put(headers_frames(stream.number, self.first_block(block), end=False))

    def first_block(self, block: bytes) -> bytes:
        """``block``; and before the connection's first one, that there is no table."""
        if self._no_table:
            block, self._no_table = self._no_table + block, b""
        return block

    def send_whole(self, stream: StreamOutput, block: bytes, body: bytes) -> None:
        """A response that is all there."""
        size = len(body)
        wire, window = self.wire, stream.window
        if (
            size > FRAME_BYTES
            or size > wire.outbound_flow_control_window
            or size > window.outbound_flow_control_window
            or self.choked
            or self._no_table
        ):
            self.send_head(stream, block)
            if size:
                stream.queue(body)
            self.wants_turn(stream)
            return
        stream.said = Said.ALL
        if not size:
            self.put(headers_frames(stream.number, block, end=True))
            return
        wire.outbound_flow_control_window -= size
        window.outbound_flow_control_window -= size
        self.put(headers_frames(stream.number, block, end=False) + data_frame(stream.number, body, end=True))

    def wants_turn(self, stream: StreamOutput) -> None:
        """``stream`` has something to send."""
        if not stream.has_turn:
            stream.has_turn = True
            self._ready.add(stream)
        if not self._in_turn:
            self.server.flush_soon(self)

    def flush(self) -> None:
        """Send what there is to send, as far as the client takes it."""
        if self._in_turn:
            return
        self._in_turn = True
        try:
            if self._promises is not None:
                self._keep_promises(self._promises)
            while self._transport is not None and self.phase < LINGERING:
                if self._ready and not self.choked:
                    self._take_turns()
                if not self._out:
                    break
                self._write_out()
        except ConnectionFault as fault:
            self._fail(fault.code, fault.reason, fault.detail)
        finally:
            self._in_turn = False
        resumable, self._resumable = self._resumable, []
        for stream in resumable:
            stream.may_resume()

    def _write_out(self) -> None:
        out, self._out, self._out_bytes = self._out, [], 0
        if out:
            self.write(out[0] if len(out) == 1 else b"".join(out))

    def _take_turns(self) -> None:
        """A frame of each body, round and round, until there is enough for one write."""
        for ready in self._ready.in_order():
            self._take_turns_of(ready)

    def _take_turns_of(self, ready: deque[StreamOutput]) -> None:
        waits = 0
        while waits < len(ready) and self._out_bytes < WRITE_BYTES:
            stream = ready.popleft()
            turn = stream.take_turn() if stream.base is not None else Turn.NO_MORE
            if turn is Turn.NO_MORE:
                stream.has_turn = False
                self._resumable.append(stream)
            elif turn is Turn.MORE and stream.priority is not None and not stream.priority.incremental:
                ready.appendleft(stream)
            else:
                ready.append(stream)
            waits = waits + 1 if turn is Turn.WAITS else 0

    def invite(self, number: int, size: int) -> None:
        """``size`` bytes of a body have been taken: the client may send as many more."""
        if size and self._transport is not None and self.phase < LINGERING:
            self.wire.acknowledge_received_data(size, number)
            self.put(self.wire.data_to_send())

    @property
    def invites_nothing(self) -> bool:
        """Whether the window for all bodies together is shut."""
        return bool(self.wire.inbound_flow_control_window <= 0)

    @property
    def transport_bytes(self) -> int:
        """What has left the streams, and not the transport."""
        return self._out_bytes + (0 if self._base is None else unsent_bytes(self._base))

    # -- what is held -------------------------------------------------------------------------

    def hold_body(self, change: int) -> None:
        self._body_bytes += change
        if self._transport is None:
            return
        self.server.hold(self._transport, BODY, self._body_bytes)

    def hold_input(self, change: int) -> None:
        self._input_bytes += change
        if change and self._transport is not None:
            self.server.hold(self._transport, INPUT, self._input_bytes + len(self._cutter.rest))

    def hold_more(self, kind: str, change: int) -> None:
        """So much more of a kind is held, for what came out of a stream."""
        held = self._more_held
        if held is None:
            held = self._more_held = {}
        held[kind] = held.get(kind, 0) + change
        if self._transport is not None:
            self.server.hold(self._transport, kind, held[kind])

    def hold_unsent(self) -> None:
        if self._transport is not None:
            self.server.hold(self._transport, UNSENT, self.queued + self.transport_bytes)

    @property
    def request_count(self) -> int:
        return sum([stream.request is not None for stream in self.streams.values()])

    def shed(self) -> None:
        """Too much is held, and most of it here: the stream that holds most goes."""
        stream = max(
            self.streams.values(),
            key=lambda stream: stream.weight,
            default=None,
        )
        fault = OurFault(503, Reason.BUFFERED_BYTES, "the server holds as much as it may")
        if stream is None:
            self.server.refused(fault.reason, fault.detail, peer=self.peer)
            self.abort(fault.reason)
        else:
            stream.refuse(fault)

    def push(self, stream: Stream, links: Iterable[Link]) -> None:
        raise AssertionError("a subclass says what is pushed")

    def _keep_promises(self, promises: Promises) -> None:
        raise AssertionError("a subclass asks for what was promised")

    def go_on_with(self, stream: PushedStream) -> None:
        """Look at it again when whoever writes has returned."""
        if self._promises is not None:
            self._promises.due.append(stream)
            self.wants_turn(stream)

    # -- ends of streams ----------------------------------------------------------------------

    def over(self, stream: Stream) -> None:
        """Its response has been sent. If the client has more to say, that is not wanted (RFC 9113, 8.1)."""
        if stream.is_half:
            self._reset(stream.number, ErrorCodes.NO_ERROR)
        else:
            self.wire.streams.pop(stream.number, None)
        self._lose(stream, None)

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        self._reset(stream.number, code)
        self._lose(stream, Failure(ConnectionLost("the stream was reset")))

    def cancel(self, number: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Nothing will come on a stream; it is over all the same when its request has ended."""
        self._reset(number, code)

    def _reset(self, number: int, code: ErrorCodes) -> None:
        stream = self.wire.streams.get(number)
        if stream is not None and not stream.closed:
            self.put(self.wire.data_to_send())
            self.wire.reset_stream(number, code)
            self.put(self.wire.data_to_send())

    def _lose(self, stream: Stream, failure: Failure | None) -> None:
        self.streams.pop(stream.number, None)
        if stream.has_turn:
            self._ready.discard(stream)
        stream.lost(failure)
        if not self.streams and self.phase is HANDLING:
            self.phase = MOVES[HANDLING][Event.DONE]
            self.deadline = self.server.seconds() + self.server.limits.idle_seconds
            if self._leaving is Leaving.TOLD:
                self._close_flushed(Reason.DRAINED if self.server.draining else Reason.CLIENT_CLOSED)

    # -- ends of the connection ---------------------------------------------------------------

    def _fail(self, code: ErrorCodes, reason: Reason, detail: str) -> None:
        """End the connection: GOAWAY says why (RFC 9113, 5.4.1), and what it still says is discarded."""
        server = self.server
        if self.phase >= LINGERING or self._transport is None:
            return
        if server.refused(reason, detail, peer=self.peer):
            server.tell_refused(self.getPeer(), None, CLOSED_UNANSWERED, reason)
        self.put(goaway_frame(self.wire.highest_inbound_stream_id, code, detail))
        self._write_out()
        if self.reason is None:
            self.reason = reason
        self._linger(reason)

    def _close_flushed(self, reason: Reason) -> None:
        self._write_out()
        self._close(reason)

    def _tell_last(self) -> None:
        """No stream beyond those we have seen will be served."""
        self._leaving, self._leave_at = Leaving.TOLD, NEVER
        self.put(goaway_frame(self.wire.highest_inbound_stream_id, ErrorCodes.NO_ERROR))
        if not self.streams:
            self._close_flushed(Reason.DRAINED if self.server.draining else Reason.CLIENT_CLOSED)

    def drain(self) -> None:
        """The server stops."""
        if self._leaving is Leaving.NOT and self.phase < LINGERING and self._transport is not None:
            self._leaving = Leaving.WARNED
            self._leave_at = self.server.seconds() + WARNED_SECONDS
            self._ping = os.urandom(8)
            self.put(goaway_frame(LAST_STREAM, ErrorCodes.NO_ERROR) + ping_frame(self._ping))
        for stream in [*self.streams.values()]:
            self.server.guard(stream.drain)

    def _abandon(self, failure: Failure) -> None:
        """Nobody waits for any response."""
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            if stream.reason is None:
                stream.reason = self.reason
            stream.lost(failure)

    def _forget(self) -> None:
        self._abandon(Failure(ConnectionLost("the connection has ended")))
        self._write_out()
        self._ready.clear()
        self._resumable.clear()
        self._promises = None
        self._cutter = FrameCutter()
        self.wire.let_go()

    # -- deadlines ----------------------------------------------------------------------------

    def reap(self, now: float) -> None:
        for stream in [*self.streams.values()]:
            stream.reap(now)
        super().reap(now)
        if self.phase >= LINGERING or self._transport is None:
            return
        if self.queued:
            self.hold_unsent()
        if now >= self._leave_at:
            self._tell_last()

    def _expire(self) -> None:
        if self.phase is IDLE:
            self.put(goaway_frame(self.wire.highest_inbound_stream_id, ErrorCodes.NO_ERROR))
            self._close_flushed(Reason.IDLE)
        elif self.phase is HEAD:
            self._close_flushed(Reason.HEAD_SECONDS)
        else:
            self.abort(Reason.ABORT_SECONDS)

    # -- flow ---------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        super().pauseProducing()
        for stream in [*self.streams.values()]:
            stream.connection_choked()

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self.flush()
        for stream in [*self.streams.values()]:
            stream.may_resume()

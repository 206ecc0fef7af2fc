"""An HTTP/2 connection: frames in, frames out, and many streams in between (RFC 9113).

To what every connection does (``hardhttp.net.connection``) this adds what bytes mean. Frames are cut one by one,
counted (``wire.http2.Conduct``), and given to the ``h2`` library, which holds the protocol's state; what h2 makes
of them goes to the streams (``hardhttp.net.stream2``), each of which is to its request what an HTTP/1.1 channel is.

What is said goes out once a turn of the reactor, in one write. Bodies take turns, a frame each, and only while the
transport's queue is short; what is not sent yet waits at its stream. A connection owns no timer: the reaper judges
it and its streams.

A connection without streams is idle, and ends at the keep-alive deadline. When the server stops, the client is told
twice (6.8): at first that it should open no more streams, and a round trip later which was the last.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from h2 import events
from h2.exceptions import DenialOfServiceError, ProtocolError
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.errors import Fault, OurFault, Reason
from hardhttp.net.connection import Connection
from hardhttp.net.ledger import BODY, INPUT, UNSENT
from hardhttp.net.outbound import unsent_bytes
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.server import CLOSED_UNANSWERED, Server
from hardhttp.net.stream2 import Said, Stream, Turn
from hardhttp.wire.deadlines import NEVER
from hardhttp.wire.fieldblock import NO_TABLE
from hardhttp.wire.http2 import (
    ACK,
    END_HEADERS,
    FRAME_BYTES,
    LAST_STREAM,
    PREFACE,
    Conduct,
    ConnectionFault,
    ErrorCodes,
    FrameCutter,
    Kind,
    StreamFault,
    WireConnection,
    data_frame,
    goaway_frame,
    headers_frames,
    known_settings,
    ping_frame,
)
from hardhttp.wire.http2head import StreamHead, request_head, trailers

__all__ = ["Channel2"]

IDLE, HEAD, HANDLING, LINGERING = Phase.IDLE, Phase.HEAD, Phase.HANDLING, Phase.LINGERING
CALL, LATER, DONE = Event.CALL, Event.LATER, Event.DONE
HEADERS, SETTINGS, GOAWAY, CONTINUATION = Kind.HEADERS, Kind.SETTINGS, Kind.GOAWAY, Kind.CONTINUATION

# One write is about as long as this.
WRITE_BYTES = 64 * 1024
# What a client may still send to us while we linger.
MAX_DISCARDED_BYTES = 1 << 20
# How long a client is waited for to have read the first GOAWAY.
WARNED_SECONDS = 1.0


class Leaving(IntEnum):
    """How far the end of a connection has been announced (RFC 9113, 6.8)."""

    NOT = 0
    WARNED = 1  # open no more streams; those that are on their way are served
    TOLD = 2  # this was the last one


class Channel2(Connection):
    """One HTTP/2 connection. ``streams`` are those that have not ended, by number.

    ``request_factory(stream)`` makes requests.
    """

    __slots__ = (
        "_block_due",
        "_body_bytes",
        "_cutter",
        "_frame_due",
        "_in_turn",
        "_input_bytes",
        "_leave_at",
        "_leaving",
        "_no_table",
        "_out",
        "_out_bytes",
        "_ping",
        "_preface",
        "_previous",
        "_ready",
        "_resumable",
        "_settled",
        "conduct",
        "factory",
        "queued",
        "request_factory",
        "sent",
        "site",
        "streams",
        "wire",
    )

    _log = Logger(namespace="hardhttp")

    def __init__(self, server: Server, request_factory: Callable[[Any], Any], peer: Any = None) -> None:
        super().__init__(server, peer)
        self.phase = HEAD  # the client's first word is due
        self.request_factory = request_factory
        self.factory: Any = None
        self.site: Any = None
        self.streams: dict[int, Stream] = {}
        self.wire = WireConnection(server.limits)
        self.conduct = Conduct(server.limits, server.seconds())
        self.queued = 0  # bytes that wait at all streams
        self.sent = 0  # of bodies that have waited
        self._cutter = FrameCutter()
        self._preface = PREFACE  # what is still to come of it
        self._settled = False  # its first SETTINGS have come
        self._previous: StreamHead | None = None
        self._block_due = self._frame_due = NEVER  # when a header block, or a frame, must be whole
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._no_table = NO_TABLE
        self._ready: deque[Stream] = deque()
        self._resumable: list[Stream] = []
        self._in_turn = False  # bytes are being dealt with; what is written goes out at the end
        self._body_bytes = self._input_bytes = 0
        self._leaving = Leaving.NOT
        self._leave_at = NEVER
        self._ping = b""

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        self.put(self.wire.data_to_send())
        self.flush()

    # -- frames in ----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        server = self.server
        server.now = server.seconds()
        server.statistics.bytes_in += len(data)
        if self.phase >= LINGERING:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort(Reason.ABORT_SECONDS)
            return
        self._in_turn = True
        try:
            if self._preface:
                data = self._begin(data)
            self._receive(data)
        except ConnectionFault as fault:
            self._fail(fault.code, fault.reason, fault.detail)
        except ProtocolError as error:
            # h2 has made the GOAWAY by itself; what it says of the fault may quote the client.
            code = ErrorCodes(error.error_code)
            reason = Reason.HEAD_BYTES if isinstance(error, DenialOfServiceError) else Reason.BAD_FRAME
            self._fail(code, reason, f"the client broke the rules of HTTP/2 ({code.name})")
        except Exception:
            self._log.failure("a frame could not be dealt with")
            self.abort(Reason.INTERNAL)
        finally:
            self._in_turn = False
        self.flush()

    def _begin(self, data: bytes) -> bytes:
        """Take the client's preface (RFC 9113, 3.4)."""
        due = self._preface
        size = min(len(due), len(data))
        if data[:size] != due[:size]:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, Reason.BAD_FRAME, "this is not how HTTP/2 begins")
        self._preface = due[size:]
        if not self._preface:
            self.wire.receive_data(PREFACE)
        return data[size:]

    def _receive(self, data: bytes) -> None:
        cutter, wire, conduct, now = self._cutter, self.wire, self.conduct, self.server.now
        frames = cutter.cut(data)
        for kind, flags, number, frame in frames:
            if self.phase >= LINGERING:
                return
            conduct.frame(now, kind, flags, len(frame))
            if kind == SETTINGS:
                frame = known_settings(frame)
                self._settle(flags)
            elif not self._settled:
                raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, Reason.BAD_FRAME, "SETTINGS come first")
            elif kind in (HEADERS, CONTINUATION):
                self._block_due = NEVER if flags & END_HEADERS else min(self._block_due, self._due())
            elif kind == GOAWAY and number == 0 and self._block_due == NEVER:
                self._client_leaves()
                continue
            for event in wire.receive_data(frame):
                meant = _MEANING.get(type(event))
                if meant is not None:
                    meant(self, event)
            if kind != HEADERS and self.phase < LINGERING:
                self.put(wire.data_to_send())
        if self.phase >= LINGERING:
            return
        if cutter.fault is not None:
            raise cutter.fault
        self._await_rest(bool(frames))

    def _due(self) -> float:
        return self.server.now + self.server.limits.head_seconds

    def _await_rest(self, progress: bool) -> None:
        """Part of a frame may have come; but for a body, which has a pace, it must be whole soon."""
        cutter = self._cutter
        if cutter.rest:
            stream = self.streams.get(cutter.partial_body)
            if stream is not None:
                stream.progress(len(cutter.rest))
                self._frame_due = NEVER
            elif progress or self._frame_due == NEVER:
                self._frame_due = self._due()
        else:
            self._frame_due = NEVER
        if cutter.rest or self._input_bytes or self.server.ledger.held_bytes:
            self.server.hold(self._transport, INPUT, self._input_bytes + len(cutter.rest))

    def _settle(self, flags: int) -> None:
        """SETTINGS have come."""
        if not self._settled and not flags & ACK:
            self._settled = True
            self.phase = MOVES[self.phase][DONE] if self.streams else IDLE
            self.deadline = self.server.now + self.server.limits.idle_seconds

    # -- what h2 makes of them ----------------------------------------------------------------

    def _requested(self, event: events.RequestReceived) -> None:
        number, ended = event.stream_id, event.stream_ended is not None
        server, limits = self.server, self.server.limits
        if len(self.streams) >= limits.max_streams or self._leaving is Leaving.TOLD:
            self._refuse_stream(number)
            return
        stream = Stream(self, number, self.wire.streams[number])
        try:
            head = request_head(event.headers, ended, limits, self._previous)
        except StreamFault as fault:
            self._malformed(number, fault)
            return
        except Fault as fault:
            self._open(stream)
            if not ended:
                stream.phase = Phase.BODY  # the rest of it is not wanted
            stream.refuse(fault)
            return
        self._previous = head if head.repeatable else None
        self._open(stream)
        try:
            stream.begin(head, ended)
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            server.failed("a request could not be handed to the application")
            stream.abort(Reason.INTERNAL)

    def _open(self, stream: Stream) -> None:
        self.streams[stream.number] = stream
        if self.phase is not HANDLING:
            self.phase = MOVES[MOVES[self.phase][CALL]][LATER]
            self.deadline = NEVER

    def _refuse_stream(self, number: int) -> None:
        """RFC 9113, 8.7: REFUSED_STREAM says that it may be tried again."""
        if self._leaving is not Leaving.TOLD:
            self.server.refused(Reason.STREAMS, f"more than {self.server.limits.max_streams} requests at once")
        self._reset(number, ErrorCodes.REFUSED_STREAM)
        self.conduct.reset(self.server.now)

    def _malformed(self, number: int, fault: StreamFault) -> None:
        self.server.refused(Reason.BAD_HEADER, fault.detail)
        self._reset(number, fault.code)
        self.conduct.reset(self.server.now)

    def _data(self, event: events.DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            self.invite(event.stream_id, event.flow_controlled_length)
            return
        try:
            stream.receive(event.data, event.flow_controlled_length)
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            self.server.failed("a body could not be handed to the application")
            stream.abort(Reason.INTERNAL)

    def _trailers(self, event: events.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        try:
            stream.body_ended(trailers(event.headers, self.server.limits))
        except StreamFault as fault:
            stream.reason = Reason.BAD_HEADER
            self.server.refused(Reason.BAD_HEADER, fault.detail)
            stream.reset(fault.code)
            self.conduct.reset(self.server.now)
        except Fault as fault:
            stream.refuse(fault)

    def _stream_ended(self, event: events.StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None or stream.phase is not Phase.BODY or stream.has_trailers:
            return
        try:
            stream.body_ended([])
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            self.server.failed("a request could not be handed to the application")
            stream.abort(Reason.INTERNAL)

    def _stream_reset(self, event: events.StreamReset) -> None:
        """The client gives a stream up; or h2 does, because of what the client said about its window."""
        if not event.remote_reset:
            self.conduct.reset(self.server.now)
        self.wire.streams.pop(event.stream_id, None)
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            if stream.reason is None:
                stream.reason = Reason.CLIENT_RESET
            self._lose(stream, Failure(ConnectionLost("the client has reset the stream")))

    def _window(self, event: events.WindowUpdated) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.queued:
            self.wants_turn(stream)

    def _settings(self, event: events.RemoteSettingsChanged) -> None:
        """Windows may have grown."""
        for stream in self.streams.values():
            if stream.queued:
                self.wants_turn(stream)

    def _ping_answered(self, event: events.PingAckReceived) -> None:
        if self._leaving is Leaving.WARNED and event.ping_data == self._ping:
            self._tell_last()

    def _client_leaves(self) -> None:
        """Its GOAWAY: it opens no more streams, and waits for those it has."""
        if self._leaving is not Leaving.TOLD:
            self._tell_last()

    # -- frames out ---------------------------------------------------------------------------

    def put(self, frames: bytes) -> None:
        """Send with all else of this turn."""
        if frames:
            self._out.append(frames)
            self._out_bytes += len(frames)
            if not self._in_turn:
                self.server.flush_soon(self)

    def send_head(self, stream: Stream, block: bytes) -> None:
        """HEADERS, with more to come: its stream's end waits where the transport's queue is long."""
        if self._no_table:
            block, self._no_table = self._no_table + block, b""
        self.put(headers_frames(stream.number, block, end=False))

    def send_whole(self, stream: Stream, block: bytes, body: bytes) -> None:
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

    def wants_turn(self, stream: Stream) -> None:
        """``stream`` has something to send."""
        if not stream.has_turn:
            stream.has_turn = True
            self._ready.append(stream)
        if not self._in_turn:
            self.server.flush_soon(self)

    def flush(self) -> None:
        """Send what there is to send, as far as the client takes it."""
        if self._in_turn:
            return
        self._in_turn = True
        try:
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
        ready, waits = self._ready, 0
        while waits < len(ready) and self._out_bytes < WRITE_BYTES:
            stream = ready.popleft()
            turn = stream.take_turn() if stream.base is not None else Turn.NO_MORE
            if turn is Turn.NO_MORE:
                stream.has_turn = False
                self._resumable.append(stream)
            else:
                ready.append(stream)
            waits = waits + 1 if turn is Turn.WAITS else 0

    def invite(self, number: int, size: int) -> None:
        """``size`` bytes of a body have been taken: the client may send as many more."""
        if size:
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
            key=lambda stream: stream.queued + stream.held + stream.waiting_bytes,
            default=None,
        )
        fault = OurFault(503, Reason.BUFFERED_BYTES, "the server holds as much as it may")
        if stream is None:
            self.server.refused(fault.reason, fault.detail)
            self.abort(fault.reason)
        else:
            stream.refuse(fault)

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

    def _reset(self, number: int, code: ErrorCodes) -> None:
        if number in self.wire.streams:
            self.put(self.wire.data_to_send())
            self.wire.reset_stream(number, code)
            self.put(self.wire.data_to_send())

    def _lose(self, stream: Stream, failure: Failure | None) -> None:
        self.streams.pop(stream.number, None)
        stream.lost(failure)
        if not self.streams and self.phase is HANDLING:
            self.phase = MOVES[HANDLING][DONE]
            self.deadline = self.server.seconds() + self.server.limits.idle_seconds
            if self._leaving is Leaving.TOLD:
                self._close_flushed(Reason.DRAINED if self.server.draining else Reason.CLIENT_CLOSED)

    # -- ends of the connection ---------------------------------------------------------------

    def _fail(self, code: ErrorCodes, reason: Reason, detail: str) -> None:
        """End the connection: GOAWAY says why (RFC 9113, 5.4.1), and what it still says is discarded."""
        server = self.server
        if self.phase >= LINGERING or self._transport is None:
            return
        if server.refused(reason, detail):
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
        self._previous = None
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
        elif now >= min(self._block_due, self._frame_due):
            detail = f"a frame did not come within {self.server.limits.head_seconds:g} s"
            self._fail(ErrorCodes.ENHANCE_YOUR_CALM, Reason.HEAD_SECONDS, detail)

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


_MEANING: dict[type, Callable[[Channel2, Any], None]] = {
    events.RequestReceived: Channel2._requested,
    events.DataReceived: Channel2._data,
    events.TrailersReceived: Channel2._trailers,
    events.StreamEnded: Channel2._stream_ended,
    events.StreamReset: Channel2._stream_reset,
    events.WindowUpdated: Channel2._window,
    events.RemoteSettingsChanged: Channel2._settings,
    events.PingAckReceived: Channel2._ping_answered,
}

"""An HTTP/2 connection: frames in (RFC 9113).

To what every connection of streams does (``hardhttp.net.multiplexed``) this adds what bytes mean. Frames are cut one
by one, counted (``wire.http2.Conduct``), and given to the ``h2`` library, which holds the protocol's state; what h2
makes of them goes to the streams (``hardhttp.net.stream2``), each of which is to its request what an HTTP/1.1 channel
is. What one frame causes is done before the next one is looked at; so what is wrong with it harms none before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from h2 import events
from h2.exceptions import DenialOfServiceError, ProtocolError
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.errors import Fault, Reason
from hardhttp.net.ledger import INPUT
from hardhttp.net.multiplexed import Leaving, Multiplexed
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.promises import Promises
from hardhttp.net.server import Server
from hardhttp.net.stream2 import Stream
from hardhttp.net.tunnel import Tunnel
from hardhttp.wire.deadlines import NEVER
from hardhttp.wire.http2 import (
    ACK,
    END_HEADERS,
    LAST_STREAM,
    PREFACE,
    ConnectionFault,
    ErrorCodes,
    Kind,
    StreamFault,
    code_of_error,
    known_settings,
)
from hardhttp.wire.http2head import StreamHead, request_head, trailers
from hardhttp.wire.links import Link
from hardhttp.wire.priority import parse_priority

__all__ = ["Channel2"]

IDLE, HEAD, HANDLING, LINGERING = Phase.IDLE, Phase.HEAD, Phase.HANDLING, Phase.LINGERING
CALL, LATER, DONE = Event.CALL, Event.LATER, Event.DONE
HEADERS, SETTINGS, GOAWAY, CONTINUATION = Kind.HEADERS, Kind.SETTINGS, Kind.GOAWAY, Kind.CONTINUATION
RST_STREAM, PRIORITY_UPDATE = Kind.RST_STREAM, Kind.PRIORITY_UPDATE
Requested = events.RequestReceived
# What a client may still send to us while we linger.
MAX_DISCARDED_BYTES = 1 << 20


class Channel2(Multiplexed):
    """One HTTP/2 connection."""

    __slots__ = ("_block_due", "_frame_due", "_preface", "_previous", "_settled")

    _log = Logger(namespace="hardhttp")

    def __init__(self, server: Server, request_factory: Callable[[Any], Any], peer: Any = None) -> None:
        super().__init__(server, request_factory, peer)
        self._preface = PREFACE  # what is still to come of it
        self._settled = False  # its first SETTINGS have come
        self._previous: StreamHead | None = None
        self._block_due = self._frame_due = NEVER  # when a header block, or a frame, must be whole

    def makeConnection(self, transport: Any) -> None:
        super().makeConnection(transport)
        self.put(self.wire.data_to_send())
        self.flush()

    # -- frames in ----------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        server = self.server
        server.now = server.seconds()
        server.statistics.bytes_in += len(data)
        self.bytes_in += len(data)
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
            # What h2 says of the fault may quote the client.
            code = code_of_error(error)
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
        cutter, conduct, now = self._cutter, self.conduct, self.server.now
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
            elif kind == HEADERS:
                self._block_due = NEVER if flags & END_HEADERS else self._due()
            elif kind == CONTINUATION:
                self._continued(flags)
            elif kind == GOAWAY and number == 0 and self._block_due == NEVER:
                self._client_leaves()
                continue
            elif kind == PRIORITY_UPDATE and self._block_due == NEVER:
                self._prioritise(number, frame)
                continue
            elif kind == RST_STREAM and self._promises is not None and not number & 1:
                self._promises.refused += 1
            self._hear(kind, flags, frame)
        if self.phase < LINGERING:
            self._await_rest(bool(frames))

    def _hear(self, kind: int, flags: int, frame: bytes) -> None:
        """What h2 makes of a frame, and what it says to it."""
        heard = self.wire.receive_data(frame)
        for event in heard:
            meant = _MEANING.get(type(event))
            if meant is not None:
                meant(self, event)
        # A request is the one thing that h2 itself has nothing to say to.
        if (kind != HEADERS or not heard or type(heard[0]) is not Requested) and self.phase < LINGERING:
            self.put(self.wire.data_to_send())
        if not heard and flags & END_HEADERS and kind in (HEADERS, CONTINUATION):
            self.conduct.reset(self.server.now)  # its stream is over: h2 has answered by RST_STREAM

    def _continued(self, flags: int) -> None:
        """CONTINUATION; of a whole block it is none (6.10), whatever h2 would say of the stream."""
        if self._block_due == NEVER:
            raise ConnectionFault(ErrorCodes.PROTOCOL_ERROR, Reason.BAD_FRAME, "CONTINUATION of nothing")
        if flags & END_HEADERS:
            self._block_due = NEVER

    def _due(self) -> float:
        return self.server.now + self.server.limits.head_seconds

    def _await_rest(self, progress: bool) -> None:
        """Part of a frame may have come; but for a body, which has a pace, it must be whole soon."""
        cutter = self._cutter
        if cutter.fault is not None:
            raise cutter.fault
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
            self.phase = MOVES[MOVES[self.phase][CALL]][DONE]  # the greeting is over, as an exchange is
            self.deadline = self.server.now + self.server.limits.idle_seconds

    # -- what h2 makes of them ----------------------------------------------------------------

    def _requested(self, event: events.RequestReceived) -> None:
        number, ended = event.stream_id, event.stream_ended is not None
        limits = self.server.limits
        if self._leaving is Leaving.TOLD or (
            len(self.streams) >= limits.max_streams and len(self.streams) - self.push_count >= limits.max_streams
        ):
            self._refuse_stream(number)
            return
        stream = Stream(self, number, self.wire.streams[number])
        stream.bodiless = (b":method", b"HEAD") in event.headers
        try:
            head = request_head(event.headers, ended, limits, self._previous)
            self.server.budget.admit()
        except StreamFault as fault:
            self._malformed(number, fault)
            return
        except Fault as fault:
            self.opened(stream)
            if not ended:
                stream.phase = Phase.BODY  # the rest of it is not wanted
            stream.refuse(fault)
            return
        self._previous = head if head.repeatable else None
        if head.is_extended_connect:
            if not self.wire.local_settings.enable_connect_protocol:
                self._malformed(number, StreamFault(ErrorCodes.PROTOCOL_ERROR, "no :protocol was offered"))
                return
            stream, ended = Tunnel(self, number, self.wire.streams[number]), True
        if head.priority is not None:
            stream.priority = parse_priority(head.priority)
        if head.content_length is not None:
            # The stream sees to it that its body is so long: h2 would end the connection.
            self.wire.streams[number]._expected_content_length = None
        self.opened(stream)
        self.hand(stream, head, ended=ended)

    def hand(self, stream: Stream, head: StreamHead, *, ended: bool) -> None:
        """A request, to the application; with ``ended`` there is no more of it."""
        try:
            stream.begin(head, ended)
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            self._handing_failed(stream)

    def opened(self, stream: Stream) -> None:
        """One more."""
        self.streams[stream.number] = stream
        if self.phase is not HANDLING:
            self.phase = MOVES[MOVES[self.phase][CALL]][LATER]
            self.deadline = NEVER

    def _refuse_stream(self, number: int) -> None:
        """RFC 9113, 8.7: REFUSED_STREAM says that it may be tried again."""
        if self._leaving is not Leaving.TOLD:
            most = self.server.limits.max_streams
            self.server.refused(Reason.STREAMS, f"more than {most} requests at once", peer=self.peer)
        self._reset(number, ErrorCodes.REFUSED_STREAM)
        self.conduct.reset(self.server.now)

    def _malformed(self, number: int, fault: StreamFault) -> None:
        self.server.refused(Reason.BAD_HEADER, fault.detail, peer=self.peer)
        self._reset(number, fault.code)
        self.conduct.reset(self.server.now)

    def _data(self, event: events.DataReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            self.invite(event.stream_id, event.flow_controlled_length)
            return
        try:
            stream.receive(event.data, event.flow_controlled_length)
        except StreamFault as fault:
            self._broken(stream, Reason.BAD_FRAMING, fault)
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            self._handing_failed(stream)

    def _trailers(self, event: events.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        try:
            stream.body_ended(trailers(event.headers, self.server.limits))
        except StreamFault as fault:
            self._broken(stream, Reason.BAD_HEADER, fault)
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            self._handing_failed(stream)

    def _broken(self, stream: Stream, reason: Reason, fault: StreamFault) -> None:
        """A message that goes on as none can: it costs its stream."""
        stream.reason = reason
        self.server.refused(reason, fault.detail, peer=self.peer)
        stream.reset(fault.code)
        self.conduct.reset(self.server.now)

    def _handing_failed(self, stream: Stream) -> None:
        """What is being handled was raised in handing a message over; it costs its stream."""
        self.server.failed("a request could not be handed to the application")
        stream.abort(Reason.INTERNAL)

    def _stream_ended(self, event: events.StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None or not stream.is_half:
            return
        try:
            stream.body_ended([])
        except StreamFault as fault:
            self._broken(stream, Reason.BAD_FRAMING, fault)
        except Fault as fault:
            stream.refuse(fault)
        except Exception:
            self._handing_failed(stream)

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

    def _prioritise(self, number: int, frame: bytes) -> None:
        """PRIORITY_UPDATE (RFC 9218, 7.1): of a stream that is open, or of none that we remember."""
        meant = int.from_bytes(frame[9:13]) & LAST_STREAM
        if number or len(frame) < 13 or not meant:
            code = ErrorCodes.PROTOCOL_ERROR if number or len(frame) >= 13 else ErrorCodes.FRAME_SIZE_ERROR
            raise ConnectionFault(code, Reason.BAD_FRAME, "this is no PRIORITY_UPDATE")
        stream, priority = self.streams.get(meant), parse_priority(frame[13:])
        if stream is not None and stream.priority != priority:
            stream.priority = priority
            if stream.has_turn:
                self._ready.move(stream)

    def _ping_answered(self, event: events.PingAckReceived) -> None:
        if self._leaving is Leaving.WARNED and event.ping_data == self._ping:
            self._tell_last()

    def _client_leaves(self) -> None:
        """Its GOAWAY: it opens no more streams, and waits for those it has."""
        if self._leaving is not Leaving.TOLD:
            self._tell_last()

    # -- pushes -------------------------------------------------------------------------------

    def push(self, stream: Stream, links: Iterable[Link]) -> None:
        """Promise what is behind ``links`` with the response on ``stream``; see ``hardhttp.net.promises``."""
        if self._leaving is Leaving.NOT and self.phase < LINGERING and self.wire.remote_settings.enable_push:
            if self._promises is None:
                self._promises = Promises()
            self._promises.make(self, stream, links)

    def reserve(self, number: int) -> int:
        """A stream for a promise made on stream ``number``. Raises ``ProtocolError``."""
        self.put(self.wire.data_to_send())
        return self.wire.reserve(number)

    def _keep_promises(self, promises: Promises) -> None:
        promises.go_on(self)

    @property
    def push_count(self) -> int:
        """Promises that are not kept yet."""
        return sum([not number & 1 for number in self.streams])

    # -- deadlines ----------------------------------------------------------------------------

    def reap(self, now: float) -> None:
        super().reap(now)
        if now >= min(self._block_due, self._frame_due) and self.phase < LINGERING:
            detail = f"a frame did not come within {self.server.limits.head_seconds:g} s"
            self._fail(ErrorCodes.ENHANCE_YOUR_CALM, Reason.HEAD_SECONDS, detail)

    def _forget(self) -> None:
        super()._forget()
        self._previous = None


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

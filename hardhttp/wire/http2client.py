"""A client's half of HTTP/2's frames: what they mean, which windows are open, which streams there are (RFC 9113).

The ``h2`` library makes whatever is wrong with a response the connection's fault. For a client that means every
other response on it; so the frames are judged here, and what costs one stream (8.1.1) costs one stream. Cutting,
counting and encoding are ``wire.http2``'s and ``wire.fieldblock``'s, as for the server; header blocks are ``hpack``'s.

One ``ClientWire`` belongs to one connection. What a frame says is told to a ``Listener`` before the next one is
looked at. A connection's own receiving window is given back as bytes come, a stream's as they are taken: so a body
that nobody takes stalls itself alone, and holds one stream's window at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from hpack.exceptions import HPACKError

from hardhttp.errors import Reason
from hardhttp.wire.fieldblock import NO_TABLE, encode_field, encode_integer
from hardhttp.wire.fielddecoder import FieldDecoder
from hardhttp.wire.http2 import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEADER_BYTES,
    LAST_STREAM,
    MAX_SETTINGS,
    PREFACE,
    Conduct,
    ConnectionFault,
    ErrorCodes,
    Frame,
    FrameCutter,
    Kind,
    StreamFault,
)

__all__ = ["ClientWire", "Listener", "WireBounds", "WireStream", "encode_fields", "reset_frame", "window_frame"]

Fields = Sequence[tuple[bytes, bytes]]

PADDED: Final = 0x8
PRIORITY_GIVEN: Final = 0x20
MAX_WINDOW: Final = (1 << 31) - 1
# RFC 9113, 6.9.2 and 6.5.2: what holds until SETTINGS say otherwise. Unlimited streams are taken for a hundred.
DEFAULT_WINDOW: Final = 65_535
DEFAULT_STREAMS: Final = 100
# How many streams that the server has ended are remembered, for what it may not say on them any more.
MAX_ENDED: Final = 32
# How many streams' windows may be under way at once.
CONNECTION_WINDOWS: Final = 4

_TABLE_SIZE, _ENABLE_PUSH, _STREAMS, _WINDOW, _FRAME_SIZE, _LIST_SIZE = range(1, 7)
_OF_STREAMS = frozenset({Kind.DATA, Kind.HEADERS, Kind.RST_STREAM, Kind.WINDOW_UPDATE})


class WireBounds(NamedTuple):
    """What one connection may do and hold."""

    max_head_bytes: int
    max_headers: int
    max_control_frames: int
    max_stream_resets: int
    stream_window_bytes: int


class WireStream:
    """What the wire knows of a stream: its number, and both its windows."""

    __slots__ = ("number", "receive_window", "send_window")

    def __init__(self, number: int, send_window: int, receive_window: int) -> None:
        self.number = number
        self.send_window = send_window
        self.receive_window = receive_window


class Listener(Protocol):
    """Who is told what frames say."""

    def put(self, frames: bytes) -> None:
        """Send these."""

    def heard_fields(self, stream: Any, fields: Fields, ended: bool) -> None:
        """A header block is whole."""

    def heard_data(self, stream: Any, data: bytes, size: int, ended: bool) -> None:
        """Part of a body, for which ``size`` of the stream's window was used."""

    def heard_reset(self, stream: Any, code: int) -> None:
        """The peer ends the stream; it is forgotten already."""

    def broken(self, stream: Any, fault: StreamFault) -> None:
        """What came on the stream may not be."""

    def room(self, stream: Any) -> None:
        """A window has opened: the stream's, or with ``None`` the connection's, or SETTINGS have changed."""

    def leaving(self, last: int, code: int) -> None:
        """GOAWAY: no stream beyond ``last`` was looked at."""

    def pong(self, data: bytes) -> None:
        """A PING of ours is answered."""


class ClientWire:
    """``streams`` are those that have not ended, by number; ``settled`` says that the server's SETTINGS have come."""

    __slots__ = (
        "_block",
        "_block_ended",
        "_block_number",
        "_bounds",
        "_credit",
        "_decoder",
        "_ended",
        "_forgiven",
        "_initial_window",
        "_last",
        "_no_table",
        "_receive_window",
        "_reset_there",
        "conduct",
        "cutter",
        "max_streams",
        "next_number",
        "send_window",
        "settled",
        "streams",
    )

    def __init__(self, bounds: WireBounds, now: float) -> None:
        self._bounds = bounds
        self.cutter = FrameCutter()
        self.conduct = Conduct(bounds, now)
        self.streams: dict[int, Any] = {}
        self.next_number = 1
        self.settled = False
        self.max_streams = DEFAULT_STREAMS  # as the server allows
        self.send_window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        self._receive_window = max(DEFAULT_WINDOW, CONNECTION_WINDOWS * bounds.stream_window_bytes)
        self._receive_window = min(self._receive_window, MAX_WINDOW)
        self._credit = 0  # of the connection's window, to be given back
        self._forgiven = 0  # bytes that may still be under way to streams that we have reset
        self._ended: deque[int] = deque(maxlen=MAX_ENDED)  # by END_STREAM
        self._reset_there: deque[int] = deque(maxlen=MAX_ENDED)
        self._no_table = NO_TABLE
        self._last = LAST_STREAM  # as the server's last GOAWAY said
        self._decoder = FieldDecoder(2 * self._list_bytes)
        self._block = bytearray()
        self._block_number = 0  # the stream whose header block is not whole
        self._block_ended = False

    @property
    def _list_bytes(self) -> int:
        return self._bounds.max_head_bytes + 32 * self._bounds.max_headers  # 6.5.2 counts 32 for each field

    @property
    def in_block(self) -> bool:
        """Whether part of a header block has come."""
        return self._block_number != 0

    # -- out ----------------------------------------------------------------------------------

    def greeting(self) -> bytes:
        """What a client begins with (RFC 9113, 3.4): no push, our windows."""
        values = ((_ENABLE_PUSH, 0), (_WINDOW, self._bounds.stream_window_bytes), (_LIST_SIZE, self._list_bytes))
        settings = b"".join([code.to_bytes(2) + value.to_bytes(4) for code, value in values])
        frame = _frame(Kind.SETTINGS, 0, 0, settings)
        more = self._receive_window - DEFAULT_WINDOW
        return PREFACE + frame + (window_frame(0, more) if more else b"")

    def open(self, make: Callable[[int, int, int], Any]) -> Any:
        """A new stream: ``make(number, send_window, receive_window)``, of which ``streams`` knows from now on."""
        number = self.next_number
        self.next_number += 2
        stream = make(number, self._initial_window, self._bounds.stream_window_bytes)
        self.streams[number] = stream
        return stream

    def forget(self, stream: WireStream, *, reset: bool) -> None:
        """``stream`` has ended here; ``reset``: before the server has said all it had."""
        if self.streams.pop(stream.number, None) is not None and reset:
            most = CONNECTION_WINDOWS * self._bounds.stream_window_bytes
            self._forgiven = min(most, self._forgiven + max(0, stream.receive_window))

    def head_block(self, fields: Fields) -> bytes:
        """``fields`` as a header block of this connection."""
        prefix, self._no_table = self._no_table, b""
        return prefix + encode_fields(fields)

    # -- in -----------------------------------------------------------------------------------

    def take(self, frame: Frame, now: float, listener: Listener) -> None:
        """Deal with one frame. Raises ``ConnectionFault``."""
        kind, flags, number, octets = frame
        if self._block_number and (kind != Kind.CONTINUATION or number != self._block_number):
            raise _broken("a header block is cut by another frame")
        if not self.settled and (kind != Kind.SETTINGS or flags & ACK):
            raise _broken("SETTINGS come first")
        if kind in _OF_STREAMS and number and number not in self.streams:
            # 5.1: what is under way to a stream that we have ended is no fault, but it is nothing either.
            if not number % 2 or number >= self.next_number:
                raise _broken("a frame on a stream that was never opened")
            if kind == Kind.DATA or kind == Kind.HEADERS:
                self._judge_over(number, listener)
            if kind == Kind.DATA and self._forgiven >= len(octets):
                self._forgiven -= len(octets)
            else:
                self.conduct.control(now)
        else:
            self.conduct.frame(now, kind, flags, len(octets))
        dealt = _DEALT.get(kind)
        if dealt is not None:  # 5.5: others are ignored
            dealt(self, number, flags, octets[HEADER_BYTES:], listener)

    def _judge_over(self, number: int, listener: Listener) -> None:
        """DATA or HEADERS have come where the server may have said its last (RFC 9113, 5.1 and 6.1)."""
        if number in self._ended:
            raise _broken("a stream that goes on behind its end", ErrorCodes.STREAM_CLOSED)
        if number in self._reset_there:
            listener.put(reset_frame(number, ErrorCodes.STREAM_CLOSED))

    def _data(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        size = len(payload)
        if not number:
            raise _broken("DATA on no stream")
        data = _unpadded(flags, payload)
        self._credit += size
        # What is held is bounded by the streams' windows; nobody waits for this one.
        if 2 * self._credit > self._receive_window:
            listener.put(window_frame(0, self._credit))
            self._credit = 0
        stream = self.streams.get(number)
        if stream is None:
            return
        if flags & END_STREAM:
            self._ended.append(number)
        stream.receive_window -= size
        if stream.receive_window < 0:
            listener.broken(stream, StreamFault(ErrorCodes.FLOW_CONTROL_ERROR, "more data than the stream's window"))
        else:
            listener.heard_data(stream, data, size, bool(flags & END_STREAM))

    def _headers(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        if not number:
            raise _broken("HEADERS on no stream")
        block = _unpadded(flags, payload)
        if flags & PRIORITY_GIVEN:
            if len(block) < 5:
                raise _broken("HEADERS too short for their priority", ErrorCodes.FRAME_SIZE_ERROR)
            block = block[5:]
        self._block_number, self._block_ended = number, bool(flags & END_STREAM)
        self._block += block
        if flags & END_HEADERS:
            self._block_whole(listener)

    def _continuation(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        if not self._block_number:
            raise _broken("CONTINUATION of nothing")
        self._block += payload
        if flags & END_HEADERS:
            self._block_whole(listener)

    def _block_whole(self, listener: Listener) -> None:
        number, block = self._block_number, bytes(self._block)
        self._block_number = 0
        self._block.clear()
        try:
            fields = self._decoder.decode(block)
        except HPACKError:
            # 4.3: both sides' tables differ from now on.
            raise _broken("a header block cannot be decoded", ErrorCodes.COMPRESSION_ERROR) from None
        stream = self.streams.get(number)
        if stream is not None:
            if self._block_ended:
                self._ended.append(number)
            listener.heard_fields(stream, list(fields), self._block_ended)

    def _reset(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        _judge("RST_STREAM", placed=number != 0, sized=len(payload) == 4)
        stream = self.streams.pop(number, None)
        if stream is not None:
            self._reset_there.append(number)
            listener.heard_reset(stream, int.from_bytes(payload))

    def _settings(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        _judge("SETTINGS", placed=not number, sized=not (payload if flags & ACK else len(payload) % 6))
        if len(payload) > 6 * MAX_SETTINGS:
            detail = "too many settings in a frame"
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, Reason.CONTROL_FRAMES, detail)
        if flags & ACK:
            return
        for at in range(0, len(payload), 6):
            self._set(int.from_bytes(payload[at : at + 2]), int.from_bytes(payload[at + 2 : at + 6]))
        self.settled = True
        listener.put(_frame(Kind.SETTINGS, ACK, 0, b""))
        listener.room(None)

    def _set(self, code: int, value: int) -> None:
        """RFC 9113, 6.5.2. Our blocks need no table, and our frames are never longer than all must take."""
        if code == _STREAMS:
            self.max_streams = value
        elif code == _WINDOW:
            if value > MAX_WINDOW:
                raise _broken("a window beyond any bound", ErrorCodes.FLOW_CONTROL_ERROR)
            change, self._initial_window = value - self._initial_window, value
            for stream in self.streams.values():
                stream.send_window += change
                if stream.send_window > MAX_WINDOW:
                    raise _broken("a window beyond any bound", ErrorCodes.FLOW_CONTROL_ERROR)
        elif code == _ENABLE_PUSH and value:
            raise _broken("a server cannot have us push")
        elif code == _FRAME_SIZE and not 1 << 14 <= value < 1 << 24:
            raise _broken("a size that frames cannot have")

    def _push(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        raise _broken("a push, which we have not enabled")

    def _ping(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        _judge("PING", placed=not number, sized=len(payload) == 8)
        if flags & ACK:
            listener.pong(payload)
        else:
            listener.put(_frame(Kind.PING, ACK, 0, payload))

    def _goaway(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        _judge("GOAWAY", placed=not number, sized=len(payload) >= 8)
        last = int.from_bytes(payload[:4]) & LAST_STREAM
        if last > self._last:
            raise _broken("GOAWAY takes back what it said")  # 6.8
        self._last = last
        listener.leaving(last, int.from_bytes(payload[4:8]))

    def _window_update(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        _judge("WINDOW_UPDATE", placed=True, sized=len(payload) == 4)
        more = int.from_bytes(payload) & LAST_STREAM
        code = ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR  # 6.9.1 and 6.9
        if not number:
            self.send_window += more
            if not more or self.send_window > MAX_WINDOW:
                raise _broken("a window that cannot be", code)
            listener.room(None)
            return
        stream = self.streams.get(number)
        if stream is None:
            return
        stream.send_window += more
        if not more or stream.send_window > MAX_WINDOW:
            listener.broken(stream, StreamFault(code, "a window that cannot be"))
        else:
            listener.room(stream)

    def _priority(self, number: int, flags: int, payload: bytes, listener: Listener) -> None:
        """It may come on any stream, and says nothing to us (5.3.2)."""
        _judge("PRIORITY", placed=number != 0, sized=len(payload) == 5)


_DEALT: dict[int, Callable[[ClientWire, int, int, bytes, Listener], None]] = {
    Kind.DATA: ClientWire._data,
    Kind.HEADERS: ClientWire._headers,
    Kind.PRIORITY: ClientWire._priority,
    Kind.RST_STREAM: ClientWire._reset,
    Kind.SETTINGS: ClientWire._settings,
    Kind.PUSH_PROMISE: ClientWire._push,
    Kind.PING: ClientWire._ping,
    Kind.GOAWAY: ClientWire._goaway,
    Kind.WINDOW_UPDATE: ClientWire._window_update,
    Kind.CONTINUATION: ClientWire._continuation,
}


def _broken(detail: str, code: ErrorCodes = ErrorCodes.PROTOCOL_ERROR) -> ConnectionFault:
    return ConnectionFault(code, Reason.BAD_FRAME, detail)


def _judge(name: str, *, placed: bool, sized: bool) -> None:
    """RFC 9113, 6.3 to 6.9: which frames are a stream's and which a connection's, and how long they are."""
    if not placed:
        raise _broken(f"{name} on a stream it cannot be on")
    if not sized:
        raise _broken(f"{name} of a size it cannot have", ErrorCodes.FRAME_SIZE_ERROR)


def _unpadded(flags: int, payload: bytes) -> bytes:
    """RFC 9113, 6.1: the first octet says how many of the last are nothing."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise _broken("more padding than there is room for")
    return payload[1 : len(payload) - payload[0]]


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3), kind, flags, number.to_bytes(4), payload)


def reset_frame(number: int, code: ErrorCodes) -> bytes:
    """RST_STREAM (RFC 9113, 6.4)."""
    return _frame(Kind.RST_STREAM, 0, number, int(code).to_bytes(4))


def window_frame(number: int, more: int) -> bytes:
    """WINDOW_UPDATE (RFC 9113, 6.9)."""
    return _frame(Kind.WINDOW_UPDATE, 0, number, more.to_bytes(4))


def encode_fields(fields: Fields) -> bytes:
    """A request's fields, pseudo-header fields first, as a block that needs no table."""
    return b"".join([_pseudo(name, value) if name[:1] == b":" else encode_field(name, value) for name, value in fields])


# RFC 7541, Appendix A
_PSEUDO: Final = {b":authority": 1, b":method": 2, b":path": 4, b":scheme": 6}
_WHOLE: Final = {
    (b":method", b"GET"): b"\x82",
    (b":method", b"POST"): b"\x83",
    (b":path", b"/"): b"\x84",
    (b":scheme", b"http"): b"\x86",
    (b":scheme", b"https"): b"\x87",
}


def _pseudo(name: bytes, value: bytes) -> bytes:
    return _WHOLE.get((name, value)) or b"%c%b%b" % (_PSEUDO[name], encode_integer(len(value), 7, 0), value)

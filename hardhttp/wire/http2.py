"""HTTP/2 in frames: cut from bytes, made of bytes, and counted (RFC 9113).

The ``h2`` library holds the state of a connection and judges what comes in. This stands on both sides of
it. Before it, frames are cut one by one, so that what one frame causes is dealt with before the next one is
looked at, and whatever a peer can do for nothing is counted (``Conduct``): a flood ends here, at a few
hundred nanoseconds a frame. Behind it, responses are made into frames (``headers_frames``, ``data_frame``)
without the library's encoder, which costs more than a request does.

Nothing here knows of time: whoever calls says what time it is.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError, ProtocolError
from h2.settings import SettingCodes, Settings
from hpack import Encoder
from hpack.exceptions import HPACKError

from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.wire.fielddecoder import FieldDecoder

__all__ = [
    "ACK",
    "CONNECTION_WINDOW_BYTES",
    "END_HEADERS",
    "END_STREAM",
    "FRAME_BYTES",
    "HEADER_BYTES",
    "LAST_STREAM",
    "MAX_SETTINGS",
    "PREFACE",
    "STREAM_WINDOW_BYTES",
    "Allowance",
    "Conduct",
    "ConductLimits",
    "ConnectionFault",
    "ErrorCodes",
    "Frame",
    "FrameCutter",
    "Kind",
    "StreamFault",
    "WireConnection",
    "code_of_error",
    "data_frame",
    "goaway_frame",
    "headers_frames",
    "known_settings",
    "ping_frame",
]

# RFC 9113, 3.4
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# 4.2: what everybody must take; we ask for no more and send no more, for fairness' sake.
FRAME_BYTES: Final = 1 << 14
HEADER_BYTES: Final = 9
LAST_STREAM: Final = (1 << 31) - 1
# What a client may send unasked, of one body and of all; more is invited as it is consumed.
STREAM_WINDOW_BYTES: Final = 128 * 1024
CONNECTION_WINDOW_BYTES: Final = 512 * 1024
# 6.5.2 defines seven settings; nobody sends three times as many.
MAX_SETTINGS: Final = 24
# RFC 9218, 2.1; h2 has no name for it.
NO_RFC7540_PRIORITIES: Final = 9
# Streams that we have reset and whose last frames may still be under way. h2 keeps 65,536 a connection.
MAX_CLOSED_STREAMS: Final = 256
# The window of every count below; gunicorn's.
FLOOD_SECONDS: Final = 10.0
# Bytes of a body, in either direction, that pay for one control frame: window updates follow bytes.
PAID_BYTES: Final = 1024

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4

Frame = tuple[int, int, int, bytes]  # kind, flags, stream, and all its bytes


class Kind(IntEnum):
    """RFC 9113, 6; there are others, which are ignored (5.5)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    PRIORITY_UPDATE = 16  # RFC 9218, 7.1


DATA, HEADERS, RST_STREAM, CONTINUATION = Kind.DATA, Kind.HEADERS, Kind.RST_STREAM, Kind.CONTINUATION
_KNOWN_SETTINGS = frozenset(int(code) for code in SettingCodes)


class ConnectionFault(Exception):
    """The connection ends here, with GOAWAY and ``code``."""

    def __init__(self, code: ErrorCodes, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.code, self.reason, self.detail = code, reason, detail


class StreamFault(Exception):
    """A stream ends here, with RST_STREAM and ``code``; the others go on (RFC 9113, 8.1.1)."""

    def __init__(self, code: ErrorCodes, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@lru_cache(maxsize=16)
def _settings(streams: int, list_bytes: int, extended_connect: bool) -> Settings:
    """Our settings, which never change: all connections share them, for they are several KiB."""
    values: dict[Any, int] = {
        SettingCodes.MAX_CONCURRENT_STREAMS: streams,
        SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
        SettingCodes.MAX_HEADER_LIST_SIZE: list_bytes,
        SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,
        SettingCodes.ENABLE_CONNECT_PROTOCOL: int(extended_connect),  # RFC 8441, 3
        NO_RFC7540_PRIORITIES: 1,  # RFC 9218, 2.1: PRIORITY frames say nothing here
    }
    return Settings(client=False, initial_values=values)


class _NoEncoder(Encoder):
    """Stands where h2 has an encoder: ours (``fieldblock``) keeps no table, so what the client allows is the same."""

    header_table_size = property(lambda self: 0, lambda self, size: None)


_NO_ENCODER: Final = _NoEncoder()
# Stands for a promised request where h2 wants one; it is in the static table, so no other is touched.
_PROMISED: Final = ((":method", "GET"),)


class WireConnection(H2Connection):
    """h2's connection, as a server's, under our limits. It hands out headers as they are."""

    MAX_CLOSED_STREAMS = MAX_CLOSED_STREAMS

    def __init__(self, limits: Limits, *, extended_connect: bool = True) -> None:
        # Whether a message is well-formed is judged in ``http2head``, where it costs its stream alone.
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        list_bytes = limits.max_head_bytes + 32 * limits.max_headers  # 6.5.2 counts 32 for each field
        self.local_settings = _settings(limits.max_streams, list_bytes, extended_connect)
        self.initiate_connection()
        self.increment_flow_control_window(CONNECTION_WINDOW_BYTES - 65_535)
        # What is said is not what is enforced: who opens too many streams is refused them and keeps the rest, and
        # who sends a list that is somewhat too long is answered 431.
        self.local_settings = _settings(LAST_STREAM, list_bytes, extended_connect)
        self.decoder = FieldDecoder(2 * list_bytes)
        self.encoder = _NO_ENCODER

    def reserve(self, number: int) -> int:
        """A stream for a push, promised with the response on ``number`` (RFC 9113, 8.4.1).

        The state is h2's from now on; the frame that says so is the caller's, for h2 would make it with a table.
        What h2 had to send must have been taken before. Raises ``ProtocolError`` where nothing may be pushed.
        """
        promised = self.get_next_available_stream_id()
        self.push_stream(number, promised, _PROMISED)
        self.clear_outbound_data_buffer()
        return promised

    def let_go(self) -> None:
        """h2 holds itself, by a table of its own methods; nothing of ours waits for the collector."""
        vars(self).clear()


def code_of_error(error: ProtocolError) -> ErrorCodes:
    """What GOAWAY says of a fault that h2 has found.

    h2 calls a header block that cannot be decoded a PROTOCOL_ERROR; RFC 9113, 4.3 has a name for it.
    """
    if isinstance(error.__cause__, HPACKError) and not isinstance(error, DenialOfServiceError):
        return ErrorCodes.COMPRESSION_ERROR
    return ErrorCodes(error.error_code)


# -- in ------------------------------------------------------------------------------------------


class FrameCutter:
    """Cuts a connection's bytes into frames. Holds less than one frame."""

    __slots__ = ("fault", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self.fault: ConnectionFault | None = None  # what is wrong with the bytes behind the last frame

    def cut(self, data: bytes) -> list[Frame]:
        """The frames that are whole now."""
        if self.rest:
            data = self.rest + data
        frames: list[Frame] = []
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if length > FRAME_BYTES:
                detail = f"a frame is longer than {FRAME_BYTES} bytes"
                self.fault = ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, Reason.BAD_FRAME, detail)
                break
            end = at + HEADER_BYTES + length
            if end > size:
                break
            stream = int.from_bytes(data[at + 5 : at + 9]) & LAST_STREAM
            frames.append((data[at + 3], data[at + 4], stream, data[at:end]))
            at = end
        self.rest = data[at:] if at else data
        return frames

    @property
    def partial_body(self) -> int:
        """The stream that part of a DATA frame has come for; 0 for none."""
        rest = self.rest
        if len(rest) < HEADER_BYTES or rest[3] != DATA:
            return 0
        return int.from_bytes(rest[5:9]) & LAST_STREAM


def known_settings(frame: bytes) -> bytes:
    """A SETTINGS frame without the settings we do not know (RFC 9113, 6.5.2): h2 would remember each of them.

    Raises ``ConnectionFault`` for more than ``MAX_SETTINGS``, and for any in an ACK (6.5). What else is wrong with it
    is h2's to say.
    """
    payload = frame[HEADER_BYTES:]
    if payload and frame[4] & ACK:
        raise ConnectionFault(ErrorCodes.FRAME_SIZE_ERROR, Reason.BAD_FRAME, "an ACK of SETTINGS that says something")
    if len(payload) > 6 * MAX_SETTINGS:
        raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, Reason.CONTROL_FRAMES, "too many settings in a frame")
    if len(payload) % 6:
        return frame
    settings = [payload[at : at + 6] for at in range(0, len(payload), 6)]
    known = b"".join([one for one in settings if int.from_bytes(one[:2]) in _KNOWN_SETTINGS])
    return frame if len(known) == len(payload) else len(known).to_bytes(3) + frame[3:9] + known


class Allowance:
    """``count`` at once, and as many again in every ``FLOOD_SECONDS``."""

    __slots__ = ("_at", "_count", "left")

    def __init__(self, count: int, now: float) -> None:
        self._count = count
        self._at = now
        self.left = float(count)

    def take(self, now: float) -> bool:
        """Take one; whether it was there."""
        if self.left < 1.0:
            self.left = min(self._count, self.left + (now - self._at) * self._count / FLOOD_SECONDS)
            self._at = now
            if self.left < 1.0:
                return False
        elif self.left >= self._count:
            self._at = now
        self.left -= 1.0
        return True

    def give_back(self, count: float) -> None:
        self.left = min(self._count, self.left + count)


class ConductLimits(Protocol):
    """What conduct is judged by: the server's limits, or a client's."""

    @property
    def max_head_bytes(self) -> int: ...

    @property
    def max_control_frames(self) -> int: ...

    @property
    def max_stream_resets(self) -> int: ...


class Conduct:
    """What a peer does for nothing, counted. Each method raises ``ConnectionFault`` when it is too much.

    ``control`` frames are those that move no message: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION,
    unknown ones, and DATA that is shorter than its own frame's header. Bytes of bodies, and requests, pay for
    some of them. *Resets* are streams that the peer gives up (CVE-2023-44487), or has us give up by what it
    does wrong (CVE-2025-8671).
    """

    __slots__ = ("_block_bytes", "_control", "_limits", "_resets")

    def __init__(self, limits: ConductLimits, now: float) -> None:
        self._limits = limits
        self._control = Allowance(limits.max_control_frames, now)
        self._resets = Allowance(limits.max_stream_resets, now)
        self._block_bytes = 0

    def frame(self, now: float, kind: int, flags: int, size: int) -> None:
        """A frame has come, of ``size`` bytes in all."""
        if kind == HEADERS:
            self._block_bytes = size
            self._control.give_back(1)
        elif kind == DATA:
            if size < 2 * HEADER_BYTES and not flags & END_STREAM:
                self.control(now)
            else:
                self._control.give_back(size / PAID_BYTES)
            return
        elif kind == RST_STREAM:
            self.reset(now)
            return
        else:
            self.control(now)
            if kind != CONTINUATION:
                return
            self._block_bytes += size
        # What is compressed is not longer than what it says, or need not be.
        if self._block_bytes > self._limits.max_head_bytes + FRAME_BYTES:
            detail = "a header block is longer than any head may be"
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, Reason.HEAD_BYTES, detail)

    def was_message(self) -> None:
        """The short DATA frame that has just come brought something after all: in a tunnel it does."""
        self._control.give_back(1)

    def control(self, now: float) -> None:
        if not self._control.take(now):
            detail = f"more than {self._limits.max_control_frames} control frames in {FLOOD_SECONDS:g} s"
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, Reason.CONTROL_FRAMES, detail)

    def reset(self, now: float) -> None:
        """A stream was reset by the peer, or because of it."""
        if not self._resets.take(now):
            detail = f"more than {self._limits.max_stream_resets} streams reset in {FLOOD_SECONDS:g} s"
            raise ConnectionFault(ErrorCodes.ENHANCE_YOUR_CALM, Reason.STREAM_RESETS, detail)

    def sent(self, now: float, size: int, *, cut_short: bool) -> None:
        """A DATA frame has gone out; ``cut_short``: it is so short because the peer's window is."""
        if cut_short and size < 2 * HEADER_BYTES:
            self.control(now)  # CVE-2019-9511: a large body asked for a byte at a time
        else:
            self._control.give_back(size / PAID_BYTES)


# -- out -----------------------------------------------------------------------------------------


def headers_frames(stream: int, block: bytes, *, end: bool) -> bytes:
    """HEADERS, with CONTINUATION where ``block`` is longer than a frame (RFC 9113, 6.2 and 6.10)."""
    size = len(block)
    if size <= FRAME_BYTES:
        return b"%b\x01%c%b%b" % (size.to_bytes(3), END_HEADERS | end, stream.to_bytes(4), block)
    pieces = [b"%b\x01%c%b%b" % (FRAME_BYTES.to_bytes(3), end, stream.to_bytes(4), block[:FRAME_BYTES])]
    for at in range(FRAME_BYTES, size, FRAME_BYTES):
        part = block[at : at + FRAME_BYTES]
        flags = END_HEADERS if at + FRAME_BYTES >= size else 0
        pieces.append(b"%b\x09%c%b%b" % (len(part).to_bytes(3), flags, stream.to_bytes(4), part))
    return b"".join(pieces)


def data_frame(stream: int, data: bytes, *, end: bool) -> bytes:
    """DATA (RFC 9113, 6.1); ``data`` fits into a frame and into both windows."""
    return b"%b\x00%c%b%b" % (len(data).to_bytes(3), end, stream.to_bytes(4), data)


def goaway_frame(last_stream: int, code: ErrorCodes, detail: str = "") -> bytes:
    """GOAWAY (RFC 9113, 6.8)."""
    said = detail.encode("utf-8")
    size = (8 + len(said)).to_bytes(3)
    return b"%b\x07\x00\x00\x00\x00\x00%b%b%b" % (size, last_stream.to_bytes(4), int(code).to_bytes(4), said)


def ping_frame(data: bytes) -> bytes:
    """PING (RFC 9113, 6.7), of eight bytes."""
    return b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + data

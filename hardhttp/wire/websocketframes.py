"""A client's frames, and the messages that they carry (RFC 6455, 5).

``Frames`` takes a client's bytes and gives out what they mean, one thing at a time, whenever it is asked:
so whoever asks can stop, and what is behind waits as it came. The frames are parsed by ``wsproto``; what is
here bounds them. A frame's length is judged by its header, before its payload; a message is counted, as it comes
out of its compression, before anything of it is joined; so is the number of its frames. Nothing is copied more than
a fixed number of times, however the bytes were split: the cost is linear, and that of a message that never ends is
that of its bound.

Most messages are one frame that has come whole. Those are read here, at a third of the cost; at the first byte that
is not of one ``wsproto`` has the rest, to the next end of a message.

What a client does wrong is a ``WebSocketFault``, with the code that a Close frame says of it (7.4.1). Text is
judged as it comes, too.
"""

from __future__ import annotations

import zlib
from typing import Final

from wsproto.extensions import Extension
from wsproto.frame_protocol import (
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    MessageDecoder,
    Opcode,
    ParseFailed,
    RsvBits,
)

from hardhttp.wire.websocket import NO_CODE, Bounds, Closed, Event, Message, Ping, Pong, WebSocketFault, may_be_said
from hardhttp.wire.websocketdeflate import Agreed, Inflater, Overfull

__all__ = ["Frames"]

# A compressed message may be larger than what it stands for, by what deflate adds to noise.
_NOISE: Final = 64
# Pieces of a message are joined so many at a time: a piece of one byte would take sixty.
_JOIN_AT: Final = 256


class _Judge(Extension):
    """What ``wsproto`` asks at each frame: whether its header is good, and what its payload stands for."""

    name = "permessage-deflate"

    def __init__(self, bounds: Bounds, agreed: Agreed | None) -> None:
        self.bounds = bounds
        self._inflater = None if agreed is None else Inflater(agreed)
        self._control = self._compressed = False
        self.frames = self._sent_bytes = 0  # of the message
        self._begun: int | None = None  # a frame's length, until it is among them
        self.message_bytes = 0
        self.detail = ""

    def enabled(self) -> bool:
        return True

    def offer(self) -> bool:
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control:
            return RsvBits(False, False, False)
        if opcode is not Opcode.CONTINUATION:
            if not self.frames:  # else it is in the wrong place, and wsproto says so
                self._compressed = rsv.rsv1
            allowed = self._inflater is not None
        else:
            allowed = False  # RFC 7692, 6.1: only a message's first frame says so
        if self.frames >= self.bounds.max_frames:
            return self._wrong(
                CloseReason.MESSAGE_TOO_BIG, f"a message has more than {self.bounds.max_frames:,} frames"
            )
        most = self.bounds.max_message_bytes
        if self._sent_bytes + payload_length > (most + most // _NOISE + 1024 if self._compressed else most):
            return self._too_big()
        self._begun = payload_length  # wsproto asks again while the mask is not whole
        return RsvBits(allowed, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        if self._control:
            return data
        if self._begun is not None:
            self.frames += 1
            self._sent_bytes += self._begun
            self._begun = None
        if self._compressed:
            return self._inflate(data, False)
        self.message_bytes += len(data)
        return data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        if self._control or not fin:
            return None
        rest = self._inflate(b"", True) if self._compressed else None
        self.frames = self._sent_bytes = self.message_bytes = 0
        self._compressed = False
        return rest

    def _inflate(self, data: bytes, end: bool) -> bytes | CloseReason:
        inflater = self._inflater
        assert inflater is not None  # ours, not the peer's: the header was judged
        room = self.bounds.max_message_bytes - self.message_bytes
        try:
            out = inflater.end(room) if end else inflater.inflate(data, room)
        except Overfull:
            return self._too_big()
        except zlib.error:
            return self._wrong(CloseReason.INVALID_FRAME_PAYLOAD_DATA, "a message is not compressed as it says")
        self.message_bytes += len(out)
        return out

    def _too_big(self) -> CloseReason:
        return self._wrong(
            CloseReason.MESSAGE_TOO_BIG, f"a message is longer than {self.bounds.max_message_bytes:,} bytes"
        )

    def _wrong(self, code: CloseReason, detail: str) -> CloseReason:
        self.detail = detail
        return code


class Frames:
    """A client's frames. After a ``Closed`` or a ``WebSocketFault`` nothing more is taken."""

    __slots__ = ("_at", "_decoder", "_input", "_judge", "_messages", "_pieces", "_whole")

    def __init__(self, bounds: Bounds, agreed: Agreed | None = None) -> None:
        self._judge = _Judge(bounds, agreed)
        # Not wsproto's FrameProtocol: it refers to itself, and would wait for the collector.
        self._decoder: FrameDecoder | None = FrameDecoder(client=False, extensions=[self._judge])
        self._messages = MessageDecoder()
        self._input = b""  # between messages: what has come, and how far it has been read
        self._at = 0
        self._pieces: list[Message] = []  # of the message that is coming
        self._whole: list[Message] = []  # the same, joined already

    def feed(self, data: bytes) -> None:
        """More bytes have come."""
        decoder = self._decoder
        if decoder is None:
            return
        if self._at < len(self._input):
            self._input = self._input[self._at :] + data
            self._at = 0
        elif decoder.header is None and not decoder.buffer and not self._judge.frames:
            self._input, self._at = data, 0
        else:
            decoder.receive_bytes(data)

    def end(self) -> None:
        """Take no more, and keep nothing."""
        self._decoder = None
        self._input, self._at = b"", 0
        self._whole.clear()
        self._pieces.clear()

    @property
    def held_bytes(self) -> int:
        """Bytes of a message that is not whole, and of what has come behind it."""
        decoder = self._decoder
        waiting = 0 if decoder is None else len(decoder.buffer)
        return self._judge.message_bytes + waiting + len(self._input) - self._at

    def next(self) -> Event | None:
        """What comes next, or ``None`` until there are more bytes. Raises ``WebSocketFault``."""
        try:
            while self._decoder is not None:
                if self._at < len(self._input):
                    message = self._whole_frame()
                    if message is not None:
                        return message
                    self._decoder.receive_bytes(self._input[self._at :])
                    self._input, self._at = b"", 0
                frame = self._decoder.process_buffer()
                if frame is None:
                    return None
                event = self._control(frame) if frame.opcode.iscontrol() else self._data(frame)
                if event is not None:
                    return event
        except ParseFailed as failed:
            bad_text = failed.code is CloseReason.INVALID_FRAME_PAYLOAD_DATA
            detail = self._judge.detail or ("text that is not UTF-8" if bad_text else str(failed))
            self.end()
            raise WebSocketFault(int(failed.code), detail) from None
        return None

    def _whole_frame(self) -> Message | None:
        """The message at hand, if it is one plain frame that has come whole and is not too long."""
        data, at = self._input, self._at
        left = len(data) - at
        if left < 6 or data[at] not in (0x81, 0x82):
            return None
        size, start = data[at + 1] - 0x80, at + 6  # masked it must be
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 8
            if size < 126:
                return None  # RFC 6455, 5.2: in the shortest way
        elif not 0 <= size < 126:
            return None
        end = start + size
        if end > len(data) or size > self._judge.bounds.max_message_bytes:
            return None
        mask, payload = data[start - 4 : start], data[start:end]
        if payload and mask != b"\0\0\0\0":
            stretched = (mask * (size // 4 + 1))[:size]
            payload = (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
        self._at = end
        if data[at] == 0x82:
            return payload
        try:
            return payload.decode("utf-8")
        except UnicodeDecodeError:
            raise ParseFailed("text", CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None

    def _control(self, frame: Frame) -> Event:
        payload: bytes = frame.payload  # type: ignore[assignment] # it has not been decoded
        if frame.opcode is Opcode.PING:
            return Ping(payload)
        if frame.opcode is Opcode.PONG:
            return Pong(payload)
        closed = _closed(payload)
        self.end()
        return closed

    def _data(self, frame: Frame) -> Message | None:
        """A whole message, when this is its end."""
        frame = self._messages.process_frame(frame)
        payload: Message = frame.payload  # type: ignore[assignment] # a piece of one
        if not frame.message_finished:
            if payload:
                self._keep(payload)
            return None
        if not self._pieces and not self._whole:
            return payload
        message = _joined([*self._whole, *self._pieces, payload])
        self._whole.clear()
        self._pieces.clear()
        return message

    def _keep(self, piece: Message) -> None:
        self._pieces.append(piece)
        if len(self._pieces) >= _JOIN_AT:
            self._whole.append(_joined(self._pieces))
            self._pieces.clear()


def _closed(payload: bytes) -> Closed:
    """RFC 6455, 5.5.1. Raises ``ParseFailed``."""
    if not payload:
        return Closed(NO_CODE, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not may_be_said(code):
        raise ParseFailed("a Close with a code that may not be said")
    try:
        return Closed(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise ParseFailed("a Close whose text is no UTF-8", CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None


def _joined(pieces: list[Message]) -> Message:
    """All are of one kind."""
    return "".join(pieces) if isinstance(pieces[0], str) else b"".join(pieces)  # type: ignore[arg-type]

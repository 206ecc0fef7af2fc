"""WebSocket messages (RFC 6455): what a client's frames can mean, and the frames that carry ours.

A server's frames are not masked, so the same bytes serve for every client: ``encode`` makes them. How a client's
are read is in ``hardhttp.wire.websocketframes``.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

import attrs

from hardhttp.wire.websocketdeflate import Deflater

__all__ = [
    "NO_CODE",
    "Bounds",
    "Closed",
    "Event",
    "Message",
    "Ping",
    "Pong",
    "WebSocketFault",
    "encode",
    "encode_close",
    "encode_ping",
    "encode_pong",
    "may_be_said",
]

NO_CODE: Final = 1005  # 7.4.1: never on the wire, it stands for none

MAX_CONTROL_BYTES: Final = 125
_SHORT: Final = Struct("!BBH")
_LONG: Final = Struct("!BBQ")
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_COMPRESSED: Final = 0x40

Message: TypeAlias = str | bytes


@attrs.frozen
class Bounds:
    """What a message may be: bytes (of UTF-8, where it is text) and frames."""

    max_message_bytes: int
    max_frames: int


@attrs.frozen
class Ping:
    payload: bytes


@attrs.frozen
class Pong:
    payload: bytes


@attrs.frozen
class Closed:
    """The client's Close frame; ``code`` is 1005 for one that says none."""

    code: int
    text: str


Event: TypeAlias = Message | Ping | Pong | Closed


class WebSocketFault(Exception):
    """The client broke the protocol or a bound. ``code`` is for the Close frame, ``detail`` quotes nothing of its."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(f"{code} {detail}")
        self.code = code
        self.detail = detail


def _frame(first: int, payload: bytes) -> bytes:
    """5.2"""
    size = len(payload)
    if size <= 125:
        return bytes((first, size)) + payload
    if size <= 0xFFFF:
        return _SHORT.pack(first, 126, size) + payload
    return _LONG.pack(first, 127, size) + payload


def encode(message: Message, deflater: Deflater | None = None) -> bytes:
    """A message as one frame. Raises ``TypeError`` for what is no message, and ``UnicodeEncodeError``."""
    if isinstance(message, str):
        first, payload = _TEXT, message.encode("utf-8")
    elif isinstance(message, (bytes, bytearray, memoryview)):
        first, payload = _BINARY, bytes(message)
    else:
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    return _frame(first, payload) if deflater is None else _frame(first | _COMPRESSED, deflater.deflate(payload))


def encode_ping(payload: bytes) -> bytes:
    return _frame(_PING, payload[:MAX_CONTROL_BYTES])


def encode_pong(payload: bytes) -> bytes:
    return _frame(_PONG, payload[:MAX_CONTROL_BYTES])


def may_be_said(code: int) -> bool:
    """Whether a Close frame may have this code: 7.4.1 with what IANA has entered since, and 7.4.2."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999


def encode_close(code: int, text: str = "") -> bytes:
    """5.5.1. ``text`` is cut where it does not fit. Raises ``ValueError`` for a code that may not be said."""
    if code == NO_CODE:
        return _frame(_CLOSE, b"")
    if not may_be_said(code):
        raise ValueError(f"{code!r} is no code that a Close frame may have")
    said = text.encode("utf-8", "replace")[: MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore").encode("utf-8")
    return _frame(_CLOSE, code.to_bytes(2, "big") + said)

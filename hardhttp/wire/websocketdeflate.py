"""permessage-deflate (RFC 7692): what is agreed on, and messages made smaller and larger.

A server that agrees to it keeps two windows a connection, and lets the peer say a megabyte in a thousand
bytes. So it is bounded in both directions: our compressor has a small window and little memory, the peer's
window is asked to be as small, and what is inflated is counted as it comes out; what is beyond the room there
is is never made.

An offer that we cannot keep is declined, and the next one is looked at (RFC 7692, 7.1). Nothing here keeps
more than its own stream.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any, Final

import attrs

__all__ = ["Agreed", "Deflate", "Deflater", "Inflater", "Overfull", "agree"]

NAME: Final = b"permessage-deflate"
# 7.2.1: what a flush ends with, and is left out.
_TAIL: Final = b"\x00\x00\xff\xff"
# 7.1.2: 8 to 15, without leading zeros.
_BITS: Final = re.compile(rb"[89]|1[0-5]")
LARGEST_BITS: Final = 15
SMALLEST_BITS: Final = 9  # zlib makes no raw stream of 8

Parameters = Sequence[tuple[bytes, bytes | None]]


class Overfull(Exception):
    """More comes out than there is room for."""


def _between(low: int, high: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"{attribute.name} is {value!r}; it must be from {low} to {high}")

    return check


@attrs.frozen
class Deflate:
    """What a server agrees to. Raises ``ValueError`` for what zlib cannot do.

    ``window_bits`` bounds the windows of both sides, ``memory_level`` our compressor's tables; together a
    connection takes some 36 KiB, where zlib's own defaults take 300. Without ``context_takeover`` a
    connection keeps nothing between two messages, and they become larger.
    """

    window_bits: int = attrs.field(default=12, validator=_between(SMALLEST_BITS, LARGEST_BITS))
    memory_level: int = attrs.field(default=5, validator=_between(1, 9))
    level: int = attrs.field(default=6, validator=_between(1, 9))
    context_takeover: bool = True


@attrs.frozen
class Agreed:
    """What both sides do; ``answer`` is what the handshake says of it."""

    server_bits: int
    client_bits: int
    server_takeover: bool
    client_takeover: bool
    memory_level: int
    level: int
    answer: bytes

    @property
    def held_bytes(self) -> int:
        """What the two streams take, by zconf.h."""
        compressing = (1 << (self.server_bits + 2)) + (1 << (self.memory_level + 9))
        return compressing + (1 << self.client_bits) + 7 * 1024


def agree(ours: Deflate, parameters: Parameters) -> Agreed | None:
    """What is agreed on with a client that offers this, or ``None``: the offer is declined (7.1)."""
    given = dict(parameters)
    if len(given) != len(parameters):
        return None  # the same twice
    server_takeover = client_takeover = ours.context_takeover
    server_bits, client_bits, asks_bits = ours.window_bits, LARGEST_BITS, False
    for name, value in given.items():
        if name == b"server_no_context_takeover" and value is None:
            server_takeover = False
        elif name == b"client_no_context_takeover" and value is None:
            client_takeover = False
        elif name == b"server_max_window_bits" and value is not None and _BITS.fullmatch(value):
            server_bits = min(server_bits, int(value))
        elif name == b"client_max_window_bits" and (value is None or _BITS.fullmatch(value)):
            # 7.1.2.2: only who says this can be told how large a window to use.
            asks_bits = True
            client_bits = min(ours.window_bits, LARGEST_BITS if value is None else int(value))
        else:
            return None
    if server_bits < SMALLEST_BITS:
        return None
    answer = [NAME]
    if not server_takeover:
        answer.append(b"server_no_context_takeover")
    if not client_takeover:
        answer.append(b"client_no_context_takeover")
    if server_bits < LARGEST_BITS:
        answer.append(b"server_max_window_bits=%d" % server_bits)
    if asks_bits:
        answer.append(b"client_max_window_bits=%d" % client_bits)
    return Agreed(
        server_bits,
        max(client_bits, SMALLEST_BITS),  # zlib's compressors use 9 where they are told 8
        server_takeover,
        client_takeover,
        ours.memory_level,
        ours.level,
        b"; ".join(answer),
    )


class Inflater:
    """The client's messages. Raises ``Overfull``, and ``zlib.error`` for what is no stream."""

    __slots__ = ("_agreed", "_ended", "_stream")

    def __init__(self, agreed: Agreed) -> None:
        self._agreed = agreed
        self._stream: Any = None
        self._ended = False

    def inflate(self, data: bytes, room: int) -> bytes:
        """What ``data``, part of a message, stands for, if it is at most ``room`` bytes."""
        if self._stream is None:
            self._stream = zlib.decompressobj(-self._agreed.client_bits)
        out: bytes = self._stream.decompress(data, room + 1)
        if len(out) > room:
            raise Overfull
        if self._stream.eof:
            # 7.2.3.4: a block may be marked as the last one. Each costs a new stream, so one a message is enough.
            rest, self._stream = self._stream.unused_data, None
            if self._ended:
                raise zlib.error("two last blocks in one message")
            self._ended = True
            if rest:
                out += self.inflate(rest, room - len(out))
        return out

    def end(self, room: int) -> bytes:
        """The rest of a message whose frames have all come."""
        out = self.inflate(_TAIL, room)
        self._ended = False
        if not self._agreed.client_takeover:
            self._stream = None
        return out


class Deflater:
    """Our messages."""

    __slots__ = ("_agreed", "_stream")

    def __init__(self, agreed: Agreed) -> None:
        self._agreed = agreed
        self._stream: Any = None

    def deflate(self, data: bytes) -> bytes:
        """A whole message."""
        agreed, stream = self._agreed, self._stream
        if stream is None:
            stream = zlib.compressobj(agreed.level, zlib.DEFLATED, -agreed.server_bits, agreed.memory_level)
        out: bytes = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        self._stream = stream if agreed.server_takeover else None
        return out[: -len(_TAIL)]

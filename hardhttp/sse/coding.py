"""Compressed streams: each event compressed once, for all who have asked for it.

A gzip stream is a head, deflate blocks, and an end that sums up what was in it (RFC 1952). Each write of ours
is compressed for itself and ends on a byte (a full flush, RFC 1951): it refers to nothing before it, so it fits
into any stream at any place, and every decoder gives out all of it at once. Only head, checksum and end are a
stream's own. Nothing but 24 bytes is kept for a stream, whatever the size of a compressor.

What is private is not compressed: whoever can put words into a secret and see how long it becomes can guess it
(BREACH). It goes out as stored blocks, five bytes longer than it was.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from hardhttp.wire.response import chunk

__all__ = ["GZIP", "Coder", "GzipStream", "Secret", "joined"]

GZIP: Final = "gzip"
# No name, no time, an unknown system (RFC 1952, 2.3); and a last, empty block.
_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK: Final = b"\x03\0"
# Beyond it, a quarter more work saves a fiftieth.
LEVEL: Final = 6
# What was compressed lately is kept, for those who read the same history one after another.
MAX_KEPT_BYTES: Final = 1 << 20


class Secret(bytes):
    """An event that is not compressed."""

    __slots__ = ()


def joined(pieces: Iterable[bytes]) -> bytes:
    """``pieces`` as one, which is ``Secret`` if one of them is."""
    found = list(pieces)
    if len(found) == 1:
        return found[0]
    whole = b"".join(found)
    return Secret(whole) if any(type(piece) is Secret for piece in found) else whole


class Coder:
    """Compresses what it has not compressed lately. What it returns is also framed as one chunk."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        self._kept_bytes = 0
        self._last: bytes | None = None
        self._last_coded = b"", b""

    def encode(self, data: bytes) -> tuple[bytes, bytes]:
        """Deflate blocks that stand for ``data``, and the same as a chunk."""
        if data is self._last:
            return self._last_coded
        found = None if type(data) is Secret else self._kept.get(data)
        if found is None:
            coded = _deflate(data, 0 if type(data) is Secret else LEVEL)
            found = coded, chunk(coded)
            if type(data) is not Secret:
                self._keep(data, found)
        self._last, self._last_coded = data, found
        return found

    def _keep(self, data: bytes, coded: tuple[bytes, bytes]) -> None:
        self._kept[data] = coded
        self._kept_bytes += _size(data, coded)
        while self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= _size(*self._kept.popitem(last=False))


def _size(data: bytes, coded: tuple[bytes, bytes]) -> int:
    return len(data) + len(coded[0]) + len(coded[1])


def _deflate(data: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_FULL_FLUSH)


class GzipStream:
    """One stream's own part of it."""

    __slots__ = ("_check", "_coder", "_size")

    def __init__(self, coder: Coder) -> None:
        self._coder = coder
        self._check = self._size = 0

    def begin(self) -> bytes:
        return _HEAD

    def encode(self, data: bytes) -> tuple[bytes, bytes]:
        """What stands for ``data`` in this stream, as it is and as a chunk."""
        self._check = zlib.crc32(data, self._check)
        self._size += len(data)
        return self._coder.encode(data)

    def end(self) -> bytes:
        return _LAST_BLOCK + self._check.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")

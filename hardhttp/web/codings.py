"""Content codings (RFC 9110, 8.4.1; RFC 7932; RFC 8878), each whole and as a stream.

gzip is always there; br and zstd are where ``brotli`` and ``zstandard`` are installed (the extra
``compression``), zstd with Python 3.14 too. The levels are those at which each costs some 15 ns a byte on a core of
2020 or less. Windows are small: a compressor holds its own for as long as its stream is open, and what it keeps
is measured (``docs/compression.rst``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["AVAILABLE", "LEVELS", "Coding", "Encoder", "coding"]

# The lowest and highest level of each, and ours.
LEVELS = {"br": (0, 11, 4), "zstd": (1, 19, 3), "gzip": (1, 9, 5)}

GZIP_WBITS = 31  # the format, and 32 KiB
BROTLI_WINDOW = 18  # 256 KiB
ZSTD_WINDOW = 17  # 128 KiB; RFC 9659 allows 8 MiB


class Encoder(Protocol):
    """One body on its way. ``encode`` gives what a client can decode at once, if ``flush`` is true."""

    def encode(self, data: bytes, flush: bool) -> bytes: ...
    def finish(self) -> bytes: ...


class Coding:
    """One coding at one level: ``whole(data)`` at once, or ``stream()`` to make an encoder."""

    __slots__ = ("name", "stream", "token", "whole")

    def __init__(self, name: str, whole: Callable[[bytes], bytes], stream: Callable[[], Encoder]) -> None:
        self.name = name
        self.token = name.encode("ascii")
        self.whole = whole
        self.stream = stream


class _Gzip:
    def __init__(self, level: int) -> None:
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, GZIP_WBITS)

    def encode(self, data: bytes, flush: bool) -> bytes:
        coded = self._compressor.compress(data)
        return coded + self._compressor.flush(zlib.Z_SYNC_FLUSH) if flush else coded

    def finish(self) -> bytes:
        return self._compressor.flush()


def _gzip(level: int) -> Coding:
    return Coding("gzip", lambda data: zlib.compress(data, level, wbits=GZIP_WBITS), lambda: _Gzip(level))


class _Brotli:
    def __init__(self, compressor: Any) -> None:
        self._compressor = compressor

    def encode(self, data: bytes, flush: bool) -> bytes:
        coded: bytes = self._compressor.process(data)
        return coded + self._compressor.flush() if flush else coded

    def finish(self) -> bytes:
        coded: bytes = self._compressor.finish()
        return coded


def _brotli(level: int) -> Coding:
    import brotli

    def whole(data: bytes) -> bytes:
        coded: bytes = brotli.compress(data, quality=level, lgwin=BROTLI_WINDOW)
        return coded

    return Coding("br", whole, lambda: _Brotli(brotli.Compressor(quality=level, lgwin=BROTLI_WINDOW)))


class _Zstandard:
    """Of the package ``zstandard``, or of Python's own module: they flush in two ways."""

    def __init__(
        self, compress: Callable[[bytes], bytes], flush: Callable[[], bytes], end: Callable[[], bytes]
    ) -> None:
        self._compress, self._flush, self._end = compress, flush, end

    def encode(self, data: bytes, flush: bool) -> bytes:
        coded = self._compress(data)
        return coded + self._flush() if flush else coded

    def finish(self) -> bytes:
        return self._end()


def _zstd(level: int) -> Coding:
    try:
        import zstandard
    except ImportError:
        return _zstd_of_python(level)
    # One context serves all whole bodies; a stream needs one of its own.
    parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=ZSTD_WINDOW)

    def stream() -> Encoder:
        compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return _Zstandard(compressor.compress, lambda: compressor.flush(block), compressor.flush)

    return Coding("zstd", zstandard.ZstdCompressor(level=level).compress, stream)


def _zstd_of_python(level: int) -> Coding:
    from importlib import import_module

    zstd: Any = import_module("compression.zstd")
    options = {zstd.CompressionParameter.compression_level: level, zstd.CompressionParameter.window_log: ZSTD_WINDOW}

    def stream() -> Encoder:
        compressor = zstd.ZstdCompressor(options=options)
        return _Zstandard(
            compressor.compress, lambda: compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK), compressor.flush
        )

    return Coding("zstd", lambda data: zstd.compress(data, level), stream)


_MAKE: dict[str, Callable[[int], Coding]] = {"br": _brotli, "zstd": _zstd, "gzip": _gzip}


def coding(name: str, level: int | None = None) -> Coding:
    """The coding called ``name``.

    Raises ``ValueError`` for a name or level that is none, and ``ImportError`` for one that is not installed.
    """
    if name not in _MAKE:
        raise ValueError(f"{name!r} is no coding we know; there are {', '.join(_MAKE)}")
    low, high, usual = LEVELS[name]
    if level is None:
        level = usual
    if not low <= level <= high:
        raise ValueError(f"the level of {name} is {level!r}; it must be from {low} to {high}")
    return _MAKE[name](level)


def _available() -> tuple[str, ...]:
    there = []
    for name in _MAKE:
        try:
            coding(name)
        except ImportError:
            continue
        there.append(name)
    return tuple(there)


# In the order in which we like them.
AVAILABLE = _available()

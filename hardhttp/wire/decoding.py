"""Content codings undone as the bytes come, never more at once than is asked for.

A ``Decoder`` is given what came and takes what that means in pieces of a stated size, so that whoever is slow lets
the rest lie compressed. Three hundred kilobytes of gzip can mean three hundred megabytes: the ratio is bounded over
the whole of a body, with an allowance at its beginning, where a short text that repeats itself is no attack.

gzip is always there. ``br`` is where a ``brotli`` is installed that can stop (1.2), ``zstd`` with Python 3.14 or
where ``zstandard`` is. The latter cannot stop either, so it is given 256 bytes at a time: a bomb is found after
8 MiB at the most, and is not held longer than it takes to say so.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

__all__ = ["ACCEPT_ENCODING", "CODINGS", "DecodedTooLargeError", "Decoder", "DecodingError", "decoder"]

# What may come decoded before the ratio is asked for.
SLACK_BYTES = 1 << 20
# RFC 9659: what a zstd decoder need not have more of.
ZSTD_WINDOW_LOG = 23
ZSTD_SLICE_BYTES = 256
_GZIP_WBITS = 31


class DecodingError(ValueError):
    """What came is not of its coding."""


class DecodedTooLargeError(DecodingError):
    """What came means more bytes than the ratio allows."""


class _Steps(Protocol):
    """One coding. ``step(data, max_bytes)`` takes all of ``data`` and gives some of what it has.

    It is called with ``b""`` for more of the same, until that gives nothing. ``whole`` says whether what was
    taken may end here.
    """

    @property
    def whole(self) -> bool: ...
    def step(self, data: bytes, max_bytes: int) -> bytes: ...


class Decoder:
    """The bytes of one body: ``give`` what comes, ``take`` what it means.

    ``unread_bytes`` have been given and not been looked at.
    """

    def __init__(self, steps: _Steps | None, max_ratio: float, slice_bytes: int | None) -> None:
        self._steps = steps
        self._max_ratio = max_ratio
        self._slice = slice_bytes
        self._given: deque[bytes] = deque()
        self._more = False  # the step before may have kept something back
        self.unread_bytes = 0
        self._in_bytes = 0
        self._out_bytes = 0

    def give(self, data: bytes) -> None:
        if data:
            self._given.append(data)
            self.unread_bytes += len(data)

    @property
    def whole(self) -> bool:
        """Whether the body may end here, when all that was given is taken. A body of no bytes is whole."""
        return self._steps is None or not self._in_bytes or self._steps.whole

    def clear(self) -> None:
        """Forget what was given."""
        self._given.clear()
        self.unread_bytes = 0
        self._more = False

    def take(self, max_bytes: int) -> bytes:
        """Some of what was given, decoded; about ``max_bytes`` at most, and ``b""`` when more must be given.

        Raises ``DecodingError``.
        """
        if self._steps is None:
            return self._next(max_bytes)
        while self._more or self._given:
            data = b"" if self._more else self._next(self._slice)
            self._in_bytes += len(data)
            try:
                out = self._steps.step(data, max_bytes)
            except DecodingError:
                raise
            except Exception as error:  # each library has its own, some of them none but Exception
                raise DecodingError(f"the body is not of its content coding ({type(error).__name__})") from None
            self._more = bool(out)
            if out:
                self._count(len(out))
                return out
        return b""

    def _next(self, max_bytes: int | None) -> bytes:
        if not self._given:
            return b""
        data = self._given.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._given.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.unread_bytes -= len(data)
        return data

    def _count(self, out_bytes: int) -> None:
        self._out_bytes += out_bytes
        if self._out_bytes > SLACK_BYTES + self._max_ratio * self._in_bytes:
            raise DecodedTooLargeError(f"a compressed body became more than {self._max_ratio:,} times as long")


class _Members:
    """gzip's members or zstd's frames, which may follow one another (RFC 1952, 2.2; RFC 8878, 3).

    ``make()`` gives an object as ``zlib.decompressobj`` does, with ``eof`` and ``unused_data``.
    """

    def __init__(self, make: Callable[[], Any], run: Callable[[Any, bytes, int], tuple[bytes, bytes]]) -> None:
        self._make, self._run = make, run
        self._member = make()
        self._left = b""

    @property
    def whole(self) -> bool:
        return bool(self._member.eof)

    def step(self, data: bytes, max_bytes: int) -> bytes:
        data = self._left + data
        while True:
            if self._member.eof:
                if not data:
                    return b""
                self._member = self._make()
            out, self._left = self._run(self._member, data, max_bytes)
            if self._member.eof:
                self._left = self._member.unused_data
            if out or not self._member.eof:
                return out
            data = self._left


def _zlib_step(member: Any, data: bytes, max_bytes: int) -> tuple[bytes, bytes]:
    return member.decompress(data, max_bytes), member.unconsumed_tail


def _gzip() -> tuple[_Steps, int | None]:
    return _Members(lambda: zlib.decompressobj(_GZIP_WBITS), _zlib_step), None


class _Brotli:
    def __init__(self, decompressor: Any) -> None:
        self._decompressor = decompressor
        self._left = b""

    @property
    def whole(self) -> bool:
        return bool(self._decompressor.is_finished())

    def step(self, data: bytes, max_bytes: int) -> bytes:
        self._left += data
        if self._decompressor.is_finished():
            if self._left:
                raise DecodingError("bytes behind the end of a br body")
            return b""
        if self._decompressor.can_accept_more_data():
            data, self._left = self._left, b""
        else:
            data = b""
        out: bytes = self._decompressor.process(data, output_buffer_limit=max_bytes)
        return out


def _brotli() -> tuple[_Steps, int | None]:
    brotli = import_module("brotli")
    if not hasattr(brotli.Decompressor, "can_accept_more_data"):
        raise ImportError("this brotli cannot stop in the middle")
    return _Brotli(brotli.Decompressor()), None


def _zstd() -> tuple[_Steps, int | None]:
    try:
        own: Any = import_module("compression.zstd")
    except ImportError:
        return _zstandard()
    return _zstd_of(own), None


def _zstd_of(module: Any) -> _Steps:
    """Of Python's own module: it keeps what it has not read itself."""
    options = {module.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    return _Members(
        lambda: module.ZstdDecompressor(options=options),
        lambda member, data, max_bytes: (member.decompress(data, max_bytes), b""),
    )


def _zstandard() -> tuple[_Steps, int | None]:
    zstandard = import_module("zstandard")
    context = zstandard.ZstdDecompressor(max_window_size=1 << ZSTD_WINDOW_LOG)
    steps = _Members(context.decompressobj, lambda member, data, _: (member.decompress(data) if data else b"", b""))
    return steps, ZSTD_SLICE_BYTES


_MAKE: dict[bytes, Callable[[], tuple[_Steps, int | None]]] = {b"gzip": _gzip, b"br": _brotli, b"zstd": _zstd}


def _available() -> tuple[bytes, ...]:
    there = []
    for name, make in _MAKE.items():
        try:
            make()
        except ImportError:
            continue
        there.append(name)
    return tuple(there)


# What can be undone here.
CODINGS = _available()
ACCEPT_ENCODING = b", ".join(CODINGS)


def decoder(coding: bytes, *, max_ratio: float) -> Decoder:
    """For ``coding``: ``b""`` and ``identity`` are none, ``x-gzip`` is gzip (RFC 9110, 8.4.1).

    Raises ``ValueError`` for one that is not in ``CODINGS``.
    """
    name = coding.strip(b" \t").lower()
    if name in (b"", b"identity"):
        return Decoder(None, max_ratio, None)
    name = b"gzip" if name == b"x-gzip" else name
    if name not in CODINGS:
        raise ValueError("a content coding that cannot be undone here")
    steps, slice_bytes = _MAKE[name]()
    return Decoder(steps, max_ratio, slice_bytes)

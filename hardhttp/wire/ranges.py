"""Byte ranges (RFC 9110, 14): which parts of a representation a client asked for.

What is asked for never costs more than the whole: ranges that overlap, or lie nearer to each other
than a part's own head is long, are merged, and a field with too many of them is ignored. So a response
of several parts is at most one part's head longer than the representation, whatever was asked.

``None`` stands for the whole representation: the field is not there, is not understood, or is not
worth obeying (14.2: a server may ignore it). No ranges at all, ``()``, stands for 416.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

__all__ = ["MAX_RANGES", "PART_BYTES", "Span", "content_range", "multipart_pieces", "parse_ranges", "unsatisfied_range"]

# More than any reader of documents asks for at once.
MAX_RANGES = 64
# More than the head of a part of ours; a gap shorter than this is cheaper sent than left out.
PART_BYTES = 256
# Longer numbers are past the end of any file, and int() refuses very long ones.
_MAX_DIGITS = 18

_UNIT = re.compile(rb"[ \t]*bytes[ \t]*=(.*)", re.IGNORECASE | re.DOTALL)
# 14.1.1: int-range or suffix-range.
_SPEC = re.compile(rb"([0-9]+)-([0-9]*)|-([0-9]+)")


@attrs.frozen
class Span:
    """``length`` bytes from ``start`` on; never empty."""

    start: int
    length: int

    @property
    def stop(self) -> int:
        return self.start + self.length


def parse_ranges(value: bytes, size: int) -> tuple[Span, ...] | None:
    """What a Range field asks of a representation of ``size`` bytes. Never raises.

    ``None`` is the whole, ``()`` nothing that there is (416). Spans are within the representation and
    do not overlap; they stand as they were asked for, or in order when some had to be merged.
    """
    found = _UNIT.fullmatch(value)
    if found is None or not size:  # of an empty representation no range can be told
        return None
    specs = [item for part in found[1].split(b",", MAX_RANGES * 2) if (item := part.strip(b" \t"))]
    if not 0 < len(specs) <= MAX_RANGES:
        return None
    spans = []
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        span = _span(match, size)
        if span is None:
            return None
        if span.length:
            spans.append(span)
    return _apart(spans)


def _span(match: re.Match[bytes], size: int) -> Span | None:
    """One range; of no length when it cannot be satisfied, ``None`` when it makes no sense."""
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(_number(suffix), size)
        return Span(size - length, length)
    start = _number(first)
    stop = _number(last) + 1 if last else size
    if stop <= start and last:
        return None  # 14.1.1: such a range is invalid, and so is the whole set
    return Span(start, max(0, min(stop, size) - start))


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _apart(spans: Sequence[Span]) -> tuple[Span, ...]:
    """``spans``, merged where sending them apart would send more (15.3.7.2)."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if merged and span.start - merged[-1].stop < PART_BYTES:
            start = merged[-1].start
            merged[-1] = Span(start, max(merged[-1].stop, span.stop) - start)
        else:
            merged.append(span)
    return tuple(spans) if len(merged) == len(spans) else tuple(merged)


def content_range(span: Span, size: int) -> bytes:
    """Content-Range's value for ``span`` (14.4)."""
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)


def unsatisfied_range(size: int) -> bytes:
    """Content-Range's value in a 416 (15.5.17)."""
    return b"bytes */%d" % size


def multipart_pieces(
    spans: Sequence[Span], size: int, content_type: bytes, boundary: bytes
) -> tuple[list[bytes | Span], int]:
    """A multipart/byteranges body, as bytes to be sent and spans to be filled in, and its length (14.6)."""
    pieces = list(_multipart(spans, size, content_type, boundary))
    return pieces, sum(piece.length if isinstance(piece, Span) else len(piece) for piece in pieces)


def _multipart(spans: Sequence[Span], size: int, content_type: bytes, boundary: bytes) -> Iterator[bytes | Span]:
    between = b""
    for span in spans:
        where = content_range(span, size)
        yield b"%b--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n" % (between, boundary, content_type, where)
        yield span
        between = b"\r\n"
    yield b"\r\n--%b--\r\n" % boundary

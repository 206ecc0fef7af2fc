"""Byte ranges: what is asked for, and that it never costs more than the whole."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.ranges import (
    MAX_RANGES,
    PART_BYTES,
    Span,
    content_range,
    multipart_pieces,
    parse_ranges,
    unsatisfied_range,
)


@pytest.mark.parametrize(
    ("value", "spans"),
    [
        (b"bytes=0-0", [(0, 1)]),
        (b"bytes=0-999", [(0, 1000)]),
        (b"bytes=0-1000", [(0, 1000)]),
        (b"bytes=999-999", [(999, 1)]),
        (b"bytes=999-", [(999, 1)]),
        (b"bytes=1000-", []),
        (b"bytes=1000-1001", []),
        (b"bytes=-1", [(999, 1)]),
        (b"bytes=-1000", [(0, 1000)]),
        (b"bytes=-1001", [(0, 1000)]),
        (b"bytes=-0", []),
        (b"bytes=-0,0-0", [(0, 1)]),
        (b"bytes=5000-,0-0", [(0, 1)]),
        (b"BYTES = 1-2 , 500-501", [(1, 2), (500, 2)]),
        (b"bytes=,,1-2,,", [(1, 2)]),
        (b"bytes=500-501,1-2", [(500, 2), (1, 2)]),  # as they were asked for
        (b"bytes=0-9,5-19", [(0, 20)]),
        (b"bytes=5-19,0-9", [(0, 20)]),
        (b"bytes=0-9,10-19", [(0, 20)]),
        (b"bytes=0-9,0-9,0-9", [(0, 10)]),
        (b"bytes=0-,0-,0-", [(0, 1000)]),
        (b"bytes=0-9,265-266", [(0, 267)]),  # a gap of 255 is sent
        (b"bytes=0-9,266-267", [(0, 10), (266, 2)]),  # one of 256 is left out
        (b"bytes=0-" + b"9" * 5000, [(0, 1000)]),
        (b"bytes=" + b"9" * 5000 + b"-", []),
        (b"bytes=" + b"9" * 30 + b"-" + b"9" * 40, []),
        (b"bytes=-" + b"9" * 5000, [(0, 1000)]),
        (b"bytes=0000000000000000000000001-2", [(1, 2)]),
    ],
)
def test_what_is_asked_of_a_thousand_bytes(value: bytes, spans: list[tuple[int, int]]) -> None:
    assert parse_ranges(value, 1000) == tuple(Span(*span) for span in spans)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"bytes", b"bytes=", b"bytes=,", b"bytes=-", b"bytes=a-b", b"bytes=1", b"bytes=1-2-3", b"bytes=2-1",
        b"bytes=0-0,2-1", b"bytes=+1-2", b"bytes=1_0-20", b"bytes=0x1-2", b"bytes= 1 - 2", b"lines=0-1", b"bytes 0-1",
        b"bytes=\xb2-3", b"bytes=0-0;q=1", b"bytes=0-0\x00", b"none=0-1", b"bytes:0-1",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_ignored(value: bytes) -> None:
    assert parse_ranges(value, 1000) is None


def test_too_many_are_ignored() -> None:
    size = MAX_RANGES * 1000
    many = [b"%d-%d" % (i * 900, i * 900) for i in range(MAX_RANGES + 1)]
    spans = parse_ranges(b"bytes=" + b",".join(many[:-1]), size)
    assert spans is not None
    assert len(spans) == MAX_RANGES
    assert parse_ranges(b"bytes=" + b",".join(many), size) is None
    assert parse_ranges(b"bytes=" + b"," * 1_000_000 + b"0-0", size) is None


def test_of_nothing_there_is_no_range() -> None:
    assert parse_ranges(b"bytes=0-0", 0) is None
    assert parse_ranges(b"bytes=-1", 0) is None


def test_values_of_content_range() -> None:
    assert content_range(Span(5, 10), 1000) == b"bytes 5-14/1000"
    assert unsatisfied_range(1000) == b"bytes */1000"


def test_a_body_of_parts() -> None:
    pieces, length = multipart_pieces([Span(0, 2), Span(4, 1)], 6, b"text/plain", b"XX")
    body = b"".join(piece if isinstance(piece, bytes) else b"abcdef"[piece.start : piece.stop] for piece in pieces)
    assert body == (
        b"--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/6\r\n\r\nab\r\n"
        b"--XX\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-4/6\r\n\r\ne\r\n"
        b"--XX--\r\n"
    )
    assert len(body) == length


NUMBERS = st.integers(0, 5000).map(lambda n: b"%d" % n)
SPECS = st.one_of(
    st.tuples(NUMBERS, NUMBERS).map(b"-".join),
    NUMBERS.map(lambda n: n + b"-"),
    NUMBERS.map(lambda n: b"-" + n),
)


@given(st.binary(max_size=60), st.integers(0, 10_000))
def test_it_never_raises(value: bytes, size: int) -> None:
    parse_ranges(value, size)
    parse_ranges(b"bytes=" + value, size)


def model(specs: list[bytes], size: int) -> set[int] | None:
    """The positions that are asked for, or ``None`` when the field says nothing."""
    wanted: set[int] = set()
    for spec in specs:
        first, _, last = spec.partition(b"-")
        if not first:
            wanted |= set(range(max(0, size - int(last)), size))
        elif not last:
            wanted |= set(range(int(first), size))
        elif int(last) < int(first):
            return None
        else:
            wanted |= set(range(int(first), min(int(last) + 1, size)))
    return wanted


@given(st.lists(SPECS, min_size=1, max_size=MAX_RANGES), st.integers(1, 5000))
def test_it_is_what_the_model_says_and_never_more_than_the_whole(specs: list[bytes], size: int) -> None:
    spans = parse_ranges(b"bytes=" + b", ".join(specs), size)
    wanted = model(specs, size)
    if spans is None or wanted is None:
        assert spans is wanted is None
        return
    given_bytes = [position for span in spans for position in range(span.start, span.stop)]
    assert len(set(given_bytes)) == len(given_bytes) <= size
    assert wanted <= set(given_bytes) <= set(range(size))
    assert bool(spans) == bool(wanted)
    assert all(span.length > 0 for span in spans)
    # What is beyond what was asked for lies in gaps too short to be worth a part's head.
    edges = sorted(wanted)
    gaps = sum(b - a - 1 for a, b in itertools.pairwise(edges) if b - a - 1 < PART_BYTES)
    assert len(given_bytes) <= len(wanted) + gaps
    _, length = multipart_pieces(spans, size, b"application/octet-stream; charset=utf-8", b"x" * 24)
    assert length <= size + PART_BYTES + 32

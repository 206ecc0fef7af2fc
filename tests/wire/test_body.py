"""Request bodies by length and in chunks, however the bytes are split."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.errors import Fault, LimitFault, PeerFault, Reason
from hardhttp.limits import Limits
from hardhttp.testing import every_split
from hardhttp.wire.body import MAX_CHUNK_LINE_BYTES, MAX_EXCESS_BYTES, BodyDecoder, ChunkedBody, LengthBody

LIMITS = Limits(max_body_bytes=64, max_head_bytes=256, max_headers=3)
BAD = (PeerFault, 400, Reason.BAD_CHUNK)
NEXT = b"GET / HTTP/1.1\r\n"


def read(decoder: BodyDecoder, pieces: list[bytes]) -> Any:
    """What comes of ``pieces``: a fault, or the payload, the trailers and what is behind them."""
    payload, behind = [], b""
    for piece in pieces:
        if decoder.done:
            behind += piece
            continue
        try:
            payload += decoder.receive(piece)
        except Fault as fault:
            return type(fault), fault.status, fault.reason
    assert all(payload)
    return b"".join(payload), decoder.done, getattr(decoder, "trailers", []), decoder.rest + behind


def verdict(data: bytes, limits: Limits = LIMITS) -> Any:
    """The one verdict on a chunked body, however split."""
    first, *others = [read(ChunkedBody(limits), pieces) for pieces in every_split(data)]
    for other in others:
        assert other == first
    return first


# -- by length -----------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", NEXT])
def test_length(behind: bytes) -> None:
    for pieces in every_split(b"hello" + behind):
        assert read(LengthBody(5), pieces) == (b"hello", True, [], behind)


def test_length_not_reached() -> None:
    for pieces in every_split(b"hell"):
        assert read(LengthBody(5), pieces) == (b"hell", False, [], b"")


def test_length_of_nothing() -> None:
    assert LengthBody(0).done
    assert read(LengthBody(0), [NEXT]) == (b"", True, [], NEXT)


# -- chunks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", NEXT, b"\r\n", b"\0"])
def test_chunks(behind: bytes) -> None:
    data = b"5\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\n\r\n"
    assert verdict(data + behind) == (b"hello, world", True, [], behind)


def test_chunk_data_is_opaque() -> None:
    data = b"\r\n0\r\n\r\n\0\xff\n"
    assert verdict(b"A\r\n" + data + b"\r\n0\r\n\r\n")[:2] == (data, True)


@pytest.mark.parametrize("size", [b"0a", b"0A", b"a", b"A", b"000000000000000a"])
def test_sizes(size: bytes) -> None:
    assert verdict(size + b"\r\n0123456789\r\n0\r\n\r\n")[:2] == (b"0123456789", True)


@pytest.mark.parametrize("last", [b"0", b"00", b"0000000000000000"])
def test_last_chunk(last: bytes) -> None:
    assert verdict(last + b"\r\n\r\n" + NEXT) == (b"", True, [], NEXT)


@pytest.mark.parametrize(
    "line",
    [b"", b"g", b"0x5", b"+5", b"-5", b" 5", b"5 ", b"\t5", b"5\t", b"5.", b"5_0", b"5,5", b"\xb5", b"5\0", b"0" * 17]
    + [b"\r\n5", b"5\n", b"5\r", b"5\r5"],
)
def test_bad_sizes(line: bytes) -> None:
    assert verdict(line + b"\r\nhello\r\n0\r\n\r\n") == BAD


@pytest.mark.parametrize(
    "extension",
    [
        b";a",
        b";a=b",
        b";a=b;c",
        b" ; a = b",
        b"\t;\ta\t=\tb ;c",
        b';a="b"',
        b';a=""',
        b';a="b c;\\"d\\\\\xff\t"',
        b';a="0;b=\\r"',
        b";" + b"a" * 100,
    ],
)
def test_extensions_are_ignored(extension: bytes) -> None:
    data = b"5" + extension + b"\r\nhello\r\n0" + extension + b"\r\n\r\n"
    assert verdict(data + NEXT) == (b"hello", True, [], NEXT)


@pytest.mark.parametrize(
    "extension",
    [b";", b";;a", b";=b", b";a=", b";a=b=c", b";a b", b';a="', b';a="b', b';a="b"c', b';a="\\', b"z", b"=a", b",a"]
    + [b';a="\n"', b';a="\r"', b";a=\x00", b';a="\x00"', b';a="\x7f"', b";\xe9", b"; ", b";a ", b';a="\\\n"'],
)
def test_bad_extensions(extension: bytes) -> None:
    assert verdict(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n") == BAD


@pytest.mark.parametrize(
    "data",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nA: b\n\r\n",
        b"5\r\nhello\r\n0\r\nA: b\r\n\n",
        b"\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
def test_bare_lf(data: bytes) -> None:
    assert verdict(data) == BAD


@pytest.mark.parametrize("size", [b"4", b"5", b"6", b"7"])
@pytest.mark.parametrize("end", [b"", b"xx", b"\rx", b"x\n", b"\n\r", b"\n", b"\r", b"\0\0"])
def test_data_longer_or_shorter_than_it_said(size: bytes, end: bytes) -> None:
    """Behind a chunk's data stands CR LF and nothing else, though what follows may look like a chunk."""
    assert verdict(size + b"\r\nhello" + end + b"0\r\n\r\n") == BAD


def test_not_yet() -> None:
    whole = b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"
    for end in range(len(whole)):
        for pieces in every_split(whole[:end]):
            assert read(ChunkedBody(LIMITS), pieces)[1] is False


# -- trailers ------------------------------------------------------------------------------------


def test_trailers() -> None:
    data = b"0\r\nA: b\r\nA:c \r\nX-Y:\t\xff\r\n\r\n"
    trailers = [(b"a", b"b"), (b"a", b"c"), (b"x-y", b"\xff")]
    assert verdict(data + NEXT) == (b"", True, trailers, NEXT)


@pytest.mark.parametrize(
    "line",
    [b"A", b"A : b", b" A: b", b": b", b"A: b\r\n c", b"A: \0", b"A: b\rc", b"A: \x7f", b"\rA: b", b"A: b\r"],
)
def test_bad_trailers(line: bytes) -> None:
    assert verdict(b"0\r\n" + line + b"\r\n\r\n") == BAD
    assert verdict(b"0\r\nX: y\r\n" + line + b"\r\n\r\n") == BAD


# -- limits, at the bound and past it --------------------------------------------------------------


def test_body_bytes() -> None:
    fault = (LimitFault, 413, Reason.BODY_BYTES)
    assert len(verdict(b"40\r\n" + b"x" * 64 + b"\r\n0\r\n\r\n")[0]) == 64
    assert verdict(b"41\r\n") == fault
    assert len(verdict(b"20\r\n" + b"x" * 32 + b"\r\n20\r\n" + b"x" * 32 + b"\r\n0\r\n\r\n")[0]) == 64
    assert verdict(b"20\r\n" + b"x" * 32 + b"\r\n21\r\n") == fault
    assert verdict(b"f" * 16 + b"\r\n") == fault


def test_no_body_bytes() -> None:
    limits = Limits(max_body_bytes=0)
    assert verdict(b"0\r\n\r\n", limits)[1]
    assert verdict(b"1\r\n", limits) == (LimitFault, 413, Reason.BODY_BYTES)


def test_chunk_line() -> None:
    def line(size: int) -> bytes:
        return b"0;" + b"a" * (size - 2) + b"\r\n\r\n"

    for size, expected in ((MAX_CHUNK_LINE_BYTES, (b"", True, [], b"")), (MAX_CHUNK_LINE_BYTES + 1, BAD)):
        data = line(size)
        pieces = ([data], [data[i : i + 1] for i in range(len(data))], [data[:-4], data[-4:]], [data[:-3], data[-3:]])
        assert [read(ChunkedBody(LIMITS), list(p)) for p in pieces] == [expected] * 4


def test_chunk_line_without_an_end() -> None:
    decoder = ChunkedBody(LIMITS)
    assert decoder.receive(b"0;" + b"a" * (MAX_CHUNK_LINE_BYTES - 2) + b"\r") == []
    with pytest.raises(PeerFault):
        decoder.receive(b"a")


def test_excess_framing() -> None:
    """A byte of data in a hundred of framing is an attack; it ends at the bound, and not before."""
    limits = Limits()
    chunk = b"1;" + b"a" * 98 + b"\r\nx\r\n"
    excess = 100 - 16 - 2
    allowed = MAX_EXCESS_BYTES // excess
    decoder = ChunkedBody(limits)
    assert len(decoder.receive(chunk * allowed)) == allowed
    with pytest.raises(PeerFault, match="framing"):
        decoder.receive(chunk)


def test_honest_small_chunks_are_no_excess() -> None:
    assert len(ChunkedBody(Limits()).receive(b"1\r\nx\r\n" * 100_000)) == 100_000
    large = b"2000;" + b"a" * 100 + b"\r\n" + b"x" * 0x2000 + b"\r\n"
    assert len(ChunkedBody(Limits()).receive(large * 1000)) == 1000


def test_trailer_bytes() -> None:
    def section(size: int) -> bytes:
        return b"0\r\nA: " + b"b" * (size - 7) + b"\r\n\r\n"

    assert verdict(section(256))[1]
    assert verdict(section(257)) == (LimitFault, 431, Reason.HEAD_BYTES)
    assert verdict(section(300)[:-4]) == (LimitFault, 431, Reason.HEAD_BYTES)
    # No end that could still come would be inside the bound.
    assert read(ChunkedBody(LIMITS), [section(300)[: 3 + 255]])[1] is False
    assert read(ChunkedBody(LIMITS), [section(300)[: 3 + 256]]) == (LimitFault, 431, Reason.HEAD_BYTES)


def test_trailer_fields() -> None:
    assert len(verdict(b"0\r\n" + b"A: b\r\n" * 3 + b"\r\n")[2]) == 3
    assert verdict(b"0\r\n" + b"A: b\r\n" * 4 + b"\r\n") == (LimitFault, 431, Reason.HEADERS)


def test_little_is_kept() -> None:
    """Between two calls a decoder holds at most one unfinished line."""
    decoder = ChunkedBody(Limits())
    for _ in range(1000):
        decoder.receive(b"400\r\n" + b"x" * 1024 + b"\r")
        assert len(decoder._carry) <= 1
        decoder.receive(b"\n")

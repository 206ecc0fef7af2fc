"""Response heads and how their bodies are framed, however the bytes are split."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.errors import Fault, Reason
from hardhttp.testing import every_split
from hardhttp.wire.answerhead import AnswerBounds, AnswerHead, UntilClose, body_of, parse_answer
from hardhttp.wire.body import ChunkedBody, LengthBody

BOUNDS = AnswerBounds(max_head_bytes=256, max_headers=5, max_informational=2, max_body_bytes=64)


def read(pieces: list[bytes]) -> Any:
    data = b""
    for number, piece in enumerate(pieces):
        data += piece
        try:
            parsed = parse_answer(data, 0, BOUNDS)
        except Fault as fault:
            return fault.reason
        if parsed is not None:
            head, end = parsed
            behind = data[end:] + b"".join(pieces[number + 1 :])
            return head.version, head.status, head.phrase, head.fields, head.keep_alive, head.chunked, behind
    return None


def verdict(data: bytes) -> Any:
    """The one verdict on what begins with a head, however split."""
    first, *others = [read(pieces) for pieces in every_split(data)]
    for other in others:
        assert other == first
    return first


def head(lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> AnswerHead:
    parsed = parse_answer(status + b"\r\n" + lines + b"\r\n", 0, BOUNDS)
    assert parsed is not None
    return parsed[0]


def test_a_head() -> None:
    data = b"HTTP/1.1 200 All right\r\nServer: x \r\nX-A:\tb\r\nContent-Length: 3\r\n\r\nabc"
    fields = [(b"Server", b"x"), (b"X-A", b"b"), (b"Content-Length", b"3")]
    assert verdict(data) == ((1, 1), 200, b"All right", fields, True, False, b"abc")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", ((1, 1), 200, b"OK")),
        (b"HTTP/1.1 200 ", ((1, 1), 200, b"")),
        (b"HTTP/1.1 200", ((1, 1), 200, b"")),
        (b"HTTP/1.0 404 No\xff", ((1, 0), 404, b"No\xff")),
        (b"HTTP/1.2 999 ?", ((1, 1), 999, b"?")),
        (b"HTTP/2.0 200 OK", Reason.BAD_VERSION),
        (b"HTTP/1.1 20 OK", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1 0200 OK", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1 000 OK", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1  200 OK", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 O\x00K", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 O\rK", Reason.BAD_STATUS_LINE),
        (b"HTTP/11 200 OK", Reason.BAD_STATUS_LINE),
        (b"http/1.1 200 OK", Reason.BAD_STATUS_LINE),
        (b"ICY 200 OK", Reason.BAD_STATUS_LINE),
        (b"\r\nHTTP/1.1 200 OK", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 OK\nX: y", Reason.BAD_STATUS_LINE),
    ],
)
def test_status_lines(line: bytes, expected: Any) -> None:
    said = verdict(line + b"\r\nA: b\r\n\r\n")
    assert (said if isinstance(said, Reason) else said[:3]) == expected


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b" folded: x\r\n", Reason.BAD_HEADER),
        (b"A: b\r\n folded\r\n", Reason.BAD_HEADER),
        (b"A: b\nC: d\r\n", Reason.BAD_HEADER),
        (b"A : b\r\n", Reason.BAD_HEADER),
        (b"A\r\n", Reason.BAD_HEADER),
        (b": b\r\n", Reason.BAD_HEADER),
        (b"A: b\x00\r\n", Reason.BAD_HEADER),
        (b"A: b\rC: d\r\n", Reason.BAD_HEADER),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", Reason.BAD_FRAMING),
        (b"Content-Length: 3, 3\r\n", Reason.BAD_FRAMING),
        (b"Content-Length: +3\r\n", Reason.BAD_FRAMING),
        (b"Content-Length:\r\n", Reason.BAD_FRAMING),
        (b"Content-Length: 9999999999999999999\r\n", Reason.BODY_BYTES),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Reason.BAD_FRAMING),
        (b"Transfer-Encoding: gzip, chunked\r\n", Reason.UNKNOWN_CODING),
        (b"Transfer-Encoding: identity\r\n", Reason.UNKNOWN_CODING),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Reason.UNKNOWN_CODING),
        (b"Transfer-Encoding:\r\n", Reason.UNKNOWN_CODING),
    ],
)
def test_headers_that_are_refused(lines: bytes, reason: Reason) -> None:
    assert verdict(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n") is reason


def test_chunked_is_not_of_http_1_0() -> None:
    assert verdict(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") is Reason.BAD_FRAMING


def test_number_of_fields_at_its_bound_and_past_it() -> None:
    assert verdict(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5 + b"\r\n")[1] == 200
    assert verdict(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 6 + b"\r\n") is Reason.HEADERS


def test_size_at_its_bound_and_past_it() -> None:
    room = BOUNDS.max_head_bytes - len(b"HTTP/1.1 200 OK\r\nA: \r\n\r\n")
    assert verdict(b"HTTP/1.1 200 OK\r\nA: " + b"x" * room + b"\r\n\r\n")[1] == 200
    assert verdict(b"HTTP/1.1 200 OK\r\nA: " + b"x" * (room + 1) + b"\r\n\r\n") is Reason.HEAD_BYTES
    assert verdict(b"HTTP/1.1 200 " + b"x" * 300) is Reason.HEAD_BYTES


@pytest.mark.parametrize(
    ("status", "value", "kept"),
    [
        (b"HTTP/1.1 200 OK", b"", True),
        (b"HTTP/1.1 200 OK", b"Connection: close\r\n", False),
        (b"HTTP/1.1 200 OK", b"connection: Close\r\n", False),
        (b"HTTP/1.1 200 OK", b"Connection: keep-alive, CLOSE\r\n", False),
        (b"HTTP/1.1 200 OK", b"Connection: keep-alive\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK", b"Connection: closed\r\n", True),
        (b"HTTP/1.0 200 OK", b"", False),
        (b"HTTP/1.0 200 OK", b"Connection: Keep-Alive\r\n", True),
        (b"HTTP/1.0 200 OK", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_persistence(status: bytes, value: bytes, kept: bool) -> None:
    assert head(value, status).keep_alive is kept


@pytest.mark.parametrize(
    ("method", "status", "lines", "kind"),
    [
        (b"GET", b"200", b"", UntilClose),
        (b"GET", b"200", b"Content-Length: 64\r\n", LengthBody),
        (b"GET", b"200", b"Content-Length: 0\r\n", type(None)),
        (b"GET", b"200", b"Transfer-Encoding: Chunked\r\n", ChunkedBody),
        (b"HEAD", b"200", b"Content-Length: 9999\r\n", type(None)),
        (b"HEAD", b"200", b"Transfer-Encoding: chunked\r\n", type(None)),
        (b"GET", b"204", b"", type(None)),
        (b"GET", b"304", b"Content-Length: 9999\r\n", type(None)),
    ],
)
def test_framing(method: bytes, status: bytes, lines: bytes, kind: type) -> None:
    assert type(body_of(head(lines, b"HTTP/1.1 " + status + b" x"), method, BOUNDS)) is kind


def test_length_past_the_bound_is_refused_before_a_byte_is_read() -> None:
    with pytest.raises(Fault) as caught:
        body_of(head(b"Content-Length: 65\r\n"), b"GET", BOUNDS)
    assert caught.value.reason is Reason.BODY_BYTES


def test_body_until_the_end_is_bounded() -> None:
    body = UntilClose(64)
    assert body.receive(b"x" * 64) == [b"x" * 64]
    assert not body.done
    with pytest.raises(Fault) as caught:
        body.receive(b"x")
    assert caught.value.reason is Reason.BODY_BYTES


def test_what_was_judged_once_is_remembered() -> None:
    first = head(b"Connection: close\r\nContent-Length: 7\r\n")
    data = b"HTTP/1.1 404 Gone\r\n" + first.lines[2:]
    again, _ = parse_answer(data, 0, BOUNDS, first) or (None, 0)
    assert again is not None
    assert (again.status, again.keep_alive, again.content_length) == (404, False, 7)
    older, _ = parse_answer(data.replace(b"1.1", b"1.0"), 0, BOUNDS, head(b"Content-Length: 7\r\n")) or (None, 0)
    assert older is not None
    assert not older.keep_alive


def test_repr_holds_no_field() -> None:
    assert "secret" not in repr(head(b"Set-Cookie: secret\r\n"))

"""Responses to bytes, and what is refused to be one."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from hardhttp.errors import LimitFault, OurFault, PeerFault, Reason
from hardhttp.testing import parse_responses
from hardhttp.wire.response import CONTINUE, LAST_CHUNK, chunk, encode_head, has_no_body, reason_phrase, refusal

DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"


def test_head() -> None:
    fields = {b"A": [b"b"], b"Set-Cookie": [b"c", b"d"], b"Empty": [b""], b"None": []}
    expected = b"HTTP/1.1 200 OK\r\nA: b\r\nSet-Cookie: c\r\nSet-Cookie: d\r\nEmpty: \r\n\r\n"
    assert encode_head(200, b"OK", fields) == expected


@pytest.mark.parametrize(
    ("status", "phrase", "line"),
    [
        (100, b"", b"HTTP/1.1 100 "),
        (200, b"OK", b"HTTP/1.1 200 OK"),
        (404, b"Not Found", b"HTTP/1.1 404 Not Found"),
        (418, b"short \xff and\tstout", b"HTTP/1.1 418 short \xff and\tstout"),
        (999, b"x", b"HTTP/1.1 999 x"),
    ],
)
def test_status_line(status: int, phrase: bytes, line: bytes) -> None:
    assert encode_head(status, phrase, {}) == line + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(99, b"x"), (1000, b"x"), (0, b""), (-1, b"")] + [(200, bad) for bad in (b"a\r\nb", b"\r", b"\n", b"\0", b"\x7f")],
)
def test_bad_status_line(status: int, phrase: bytes) -> None:
    with pytest.raises(ValueError, match="status line"):
        encode_head(status, phrase, {})


@pytest.mark.parametrize("where", [b"%c", b"a%cb", b"a%c", b"%ca"])
@pytest.mark.parametrize("name", [b"X", b"Content-Type", b"Set-Cookie"])
def test_no_control_in_a_value(where: bytes, name: bytes) -> None:
    """Nothing that would split a response is sent."""
    for control in {*range(32), 127} - {9}:
        with pytest.raises(ValueError, match="control character") as caught:
            encode_head(200, b"OK", {b"A": [b"b"], name: [b"fine", where % control]})
        assert repr(name) in str(caught.value)


def test_line_ends_are_not_made_up_for() -> None:
    """Two that cancel out in a count are still refused."""
    for value in (b"\r\n", b"a\r\nSet-Cookie: b", b"\n\r", b"\r", b"\r\n\r\n<html>"):
        with pytest.raises(ValueError, match="control character"):
            encode_head(200, b"OK", {b"A": [value]})


def test_the_complaint_does_not_tell_the_value() -> None:
    with pytest.raises(ValueError) as caught:
        encode_head(200, b"OK", {b"Set-Cookie": [b"secret\n"]})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [b"", b"a\tb", b"\xff", b' !"~'])
def test_values_that_may_be_sent(value: bytes) -> None:
    assert b"\r\nX: " + value + b"\r\n\r\n" in encode_head(200, b"OK", {b"X": [value]})


@pytest.mark.parametrize(
    "name", [b"", b"a b", b"a:", b"a\r\n", b"a\0", b"(a)", b"\xe9", b"a\n", b" a", b"Content-Type "]
)
def test_bad_names(name: bytes) -> None:
    with pytest.raises(ValueError, match="no token"):
        encode_head(200, b"OK", {name: [b"x"]})


def test_reason_phrases() -> None:
    assert reason_phrase(200) == b"OK"
    # As RFC 9110 names them, whatever the interpreter's table says.
    assert reason_phrase(413) == b"Content Too Large"
    assert reason_phrase(414) == b"URI Too Long"
    assert reason_phrase(299) == b"Unknown Status"
    for status in HTTPStatus:
        assert encode_head(status, reason_phrase(status), {}).count(b"\r\n") == 2


def test_status_lines_kept_are_bounded() -> None:
    """An application's own phrases are not remembered."""
    from hardhttp.wire import response

    before = response._status_line.cache_info().currsize
    for number in range(1000):
        encode_head(200, b"phrase %d" % number, {})
    assert response._status_line.cache_info().currsize == before


def test_which_have_no_body() -> None:
    assert [s for s in range(100, 600) if has_no_body(s)] == [*range(100, 200), 204, 304]


def test_chunks() -> None:
    assert chunk(b"x") == b"1\r\nx\r\n"
    assert chunk(b"x" * 0xABC)[:5] == b"abc\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    "fault",
    [
        PeerFault(400, Reason.BAD_HOST, "the Host field is missing"),
        LimitFault(408, Reason.HEAD_SECONDS, "too slow"),
        LimitFault(413, Reason.BODY_BYTES, "too long"),
        LimitFault(414, Reason.TARGET_BYTES, "too long"),
        PeerFault(417, Reason.BAD_EXPECTATION, "no"),
        LimitFault(431, Reason.HEAD_BYTES, "too long"),
        OurFault(500, Reason.INTERNAL, "größer"),
        OurFault(501, Reason.CONNECT, "no"),
        OurFault(503, Reason.BUFFERED_BYTES, "full"),
        OurFault(505, Reason.BAD_VERSION, "no"),
    ],
)
@pytest.mark.parametrize("retry", [None, 2])
def test_refusal_is_complete(fault: PeerFault | LimitFault | OurFault, retry: int | None) -> None:
    data = refusal(fault, DATE, retry_after_seconds=retry)
    (response,), left = parse_responses(data, closed=False)
    assert not left
    assert (response.status, response.phrase) == (fault.status, reason_phrase(fault.status))
    assert response.body == b"%d %s\n%s\n" % (fault.status, response.phrase, fault.detail.encode())
    assert response.get(b"date") == DATE
    assert response.get(b"connection") == b"close"
    assert response.get(b"content-type") == b"text/plain; charset=utf-8"
    assert response.get(b"cache-control") == b"no-store"
    assert response.reason == fault.reason.value
    assert response.get(b"retry-after") == (None if retry is None else b"2")
    head = refusal(fault, DATE, retry_after_seconds=retry, head_only=True)
    assert data == head + response.body

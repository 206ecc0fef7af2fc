"""Responses as HTTP/2 brings them: what is a head, what is a body, and what costs the stream."""

from __future__ import annotations

import pytest

from hardhttp.errors import LimitFault
from hardhttp.wire.answerhead import AnswerBounds
from hardhttp.wire.http2 import ErrorCodes, StreamFault
from hardhttp.wire.http2answer import StreamBody, answer_head, judge_trailers

BOUNDS = AnswerBounds(max_head_bytes=64, max_headers=2, max_informational=1, max_body_bytes=10)
OK = (b":status", b"200")


def test_a_head() -> None:
    head = answer_head([OK, (b"content-length", b"007"), (b"a", b"b")], False, BOUNDS)
    assert (head.version, head.status, head.phrase, head.content_length) == ((2, 0), 200, b"OK", 7)
    assert head.fields == [(b"content-length", b"007"), (b"a", b"b")]
    assert head.values(b"a") == [b"b"]


def test_a_length_said_twice_alike() -> None:
    """RFC 9110, 8.6: the same again may be taken for one."""
    assert answer_head([OK, (b"content-length", b"1"), (b"content-length", b"1")], False, BOUNDS).content_length == 1


@pytest.mark.parametrize(("size", "fits"), [(59, True), (60, False)])
def test_bytes_at_their_bound(size: int, fits: bool) -> None:
    fields = [OK, (b"a", b"b" * size)]
    if fits:
        answer_head(fields, False, BOUNDS)
        judge_trailers(fields[1:], True, BOUNDS)
        return
    with pytest.raises(LimitFault):
        answer_head(fields, False, BOUNDS)
    with pytest.raises(LimitFault):
        judge_trailers(fields[1:], True, BOUNDS)


def test_a_length_beyond_any() -> None:
    with pytest.raises(LimitFault):
        answer_head([OK, (b"content-length", b"9" * 19)], False, BOUNDS)


@pytest.mark.parametrize("value", [b"", b"-1", b"1,1", b"0x1"])
def test_no_length(value: bytes) -> None:
    with pytest.raises(StreamFault) as caught:
        answer_head([OK, (b"content-length", value)], False, BOUNDS)
    assert caught.value.code == ErrorCodes.PROTOCOL_ERROR


@pytest.mark.parametrize(("status", "method"), [(200, b"HEAD"), (204, b"GET"), (304, b"GET")])
def test_no_body_whatever_its_length(status: int, method: bytes) -> None:
    head = answer_head([(b":status", b"%d" % status), (b"content-length", b"99")], True, BOUNDS)
    body = StreamBody(head, method, BOUNDS)
    body.receive(0, True)
    with pytest.raises(StreamFault):
        body.receive(1, False)


@pytest.mark.parametrize("length", [None, 10])
def test_a_body_at_its_bound(length: int | None) -> None:
    fields = [OK] if length is None else [OK, (b"content-length", b"%d" % length)]
    body = StreamBody(answer_head(fields, False, BOUNDS), b"GET", BOUNDS)
    assert body.length == length
    body.receive(4, False)
    body.receive(6, True)
    assert body.received == 10
    with pytest.raises(LimitFault if length is None else StreamFault):
        body.receive(1, False)


def test_a_length_past_the_bound_is_refused_before_the_body() -> None:
    head = answer_head([OK, (b"content-length", b"11")], False, BOUNDS)
    with pytest.raises(LimitFault):
        StreamBody(head, b"GET", BOUNDS)


def test_a_body_that_ends_too_soon() -> None:
    body = StreamBody(answer_head([OK, (b"content-length", b"2")], False, BOUNDS), b"GET", BOUNDS)
    with pytest.raises(StreamFault):
        body.receive(1, True)

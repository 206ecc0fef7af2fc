"""RFC 9110, 13: each step, and what comes before what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.conditional import evaluate, http_date, if_range_holds, kept_in_304, parse_http_date

TAG = b'"a"'
WEAK = b'W/"a"'
NOW = 784111777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = b"Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = b"Sun, 06 Nov 1994 08:49:38 GMT"


def judge(method: bytes = b"GET", etag: bytes | None = TAG, modified: int | None = NOW, **fields: bytes) -> int | None:
    given = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return evaluate(method, given.get, etag, modified)


@pytest.mark.parametrize(
    ("tags", "etag", "found"),
    [
        (b'"a"', TAG, True),
        (b'"b"', TAG, False),
        (b'"b", "a"', TAG, True),
        (b'"b","a"', TAG, True),
        (b'"b"  ,\t"a" ,', TAG, True),
        (b', ,"a"', TAG, True),
        (b'W/"a"', TAG, True),  # weak comparison
        (b'"a"', WEAK, True),
        (b'W/"a"', WEAK, True),
        (b'"b, c", "a"', TAG, True),
        (b'"x, "a"', TAG, False),
        (b"*", TAG, True),
        (b" * ", TAG, True),
        (b"*", None, True),
        (b'"a"', None, False),
        (b'"*"', TAG, False),
        (b"a", TAG, False),
        (b"a", b"a", True),  # an application's own unquoted ones
        (b'"a', TAG, False),
        (b'"A"', TAG, False),
        (b"", TAG, False),
        (b'"\xe4"', b'"\xe4"', True),
        (b'w/"a"', TAG, False),  # W/ is case-sensitive
        (b'x"a"', TAG, False),
        (b'"a"x', TAG, False),
        (b'"b""a"', TAG, False),
        (b'"b" "a"', TAG, True),
        (b'x"b", "a"', TAG, True),
    ],
)
def test_if_none_match(tags: bytes, etag: bytes | None, found: bool) -> None:
    assert judge(etag=etag, if_none_match=tags) == (304 if found else None)
    assert judge(b"HEAD", etag=etag, if_none_match=tags) == (304 if found else None)
    assert judge(b"PUT", etag=etag, if_none_match=tags) == (412 if found else None)


@pytest.mark.parametrize(
    ("tags", "etag", "found"),
    [
        (b'"a"', TAG, True),
        (b'"b", "a"', TAG, True),
        (b'"b"', TAG, False),
        (b'W/"a"', TAG, False),  # strong comparison
        (b'"a"', WEAK, False),
        (b'W/"a"', WEAK, False),
        (b"*", TAG, True),
        (b"*", WEAK, True),
        (b'"a"', None, False),
        (b"", TAG, False),
        (b'w/"a"', TAG, False),  # no strong one for being no weak one
        (b'W/ "a"', TAG, True),
    ],
)
def test_if_match(tags: bytes, etag: bytes | None, found: bool) -> None:
    for method in (b"GET", b"HEAD", b"PUT", b"DELETE", b"POST"):
        assert judge(method, etag=etag, if_match=tags) == (None if found else 412)


@pytest.mark.parametrize(("date", "verdict"), [(DATE, 304), (AFTER, 304), (BEFORE, None), (b"yesterday", None)])
def test_if_modified_since(date: bytes, verdict: int | None) -> None:
    assert judge(if_modified_since=date) == verdict
    assert judge(if_modified_since=date, modified=None) is None
    assert judge(b"POST", if_modified_since=date) is None
    assert judge(if_modified_since=date + b"; length=5") == verdict


@pytest.mark.parametrize(("date", "verdict"), [(DATE, None), (AFTER, None), (BEFORE, 412), (b"yesterday", None)])
def test_if_unmodified_since(date: bytes, verdict: int | None) -> None:
    for method in (b"GET", b"PUT"):
        assert judge(method, if_unmodified_since=date) == verdict
        assert judge(method, if_unmodified_since=date, modified=None) is None


def test_s13_2_2_precedence() -> None:
    assert judge(if_match=b'"a"', if_unmodified_since=BEFORE) is None  # tags settle it
    assert judge(if_match=b'"b"', if_unmodified_since=AFTER) == 412
    assert judge(if_none_match=b'"b"', if_modified_since=AFTER) is None
    assert judge(if_none_match=b'"a"', if_modified_since=BEFORE) == 304
    assert judge(if_match=b'"b"', if_none_match=b'"a"') == 412
    assert judge(if_match=b'"a"', if_none_match=b'"a"') == 304
    assert judge(if_unmodified_since=AFTER, if_modified_since=AFTER) == 304
    assert judge(if_unmodified_since=BEFORE, if_modified_since=AFTER) == 412


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE", b"CONNECT"])
def test_s13_2_1_methods_that_select_nothing(method: bytes) -> None:
    assert judge(method, if_match=b'"b"', if_none_match=b"*") is None


@pytest.mark.parametrize(
    ("value", "etag", "modified", "holds"),
    [
        (None, None, None, True),
        (TAG, TAG, NOW, True),
        (b' "a" ', TAG, NOW, True),
        (b'"b"', TAG, NOW, False),
        (WEAK, WEAK, NOW, False),
        (TAG, None, NOW, False),
        (DATE, TAG, NOW, True),
        (BEFORE, TAG, NOW, False),
        (AFTER, TAG, NOW, False),  # exactly that date, or nothing
        (DATE, TAG, None, False),
        (b"", TAG, NOW, False),
        (b"*", TAG, NOW, False),
        (b"garbage", TAG, NOW, False),
        (b'"a", "b"', TAG, NOW, False),
    ],
)
def test_s13_1_5_if_range(value: bytes | None, etag: bytes | None, modified: int | None, holds: bool) -> None:
    assert if_range_holds(value, etag, modified, NOW + 1) is holds


def test_s8_8_2_2_a_date_of_this_very_second_is_weak() -> None:
    assert not if_range_holds(DATE, None, NOW, NOW)
    assert if_range_holds(DATE, None, NOW, NOW + 1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (DATE, NOW),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", NOW),
        (b"Sun Nov  6 08:49:37 1994", NOW),
        (b" Sun, 06 Nov 1994 08:49:37 GMT\t", NOW),
        (b"sun, 06 nov 1994 08:49:37 gmt", NOW),
        (b"Mon, 06 Nov 1994 08:49:37 GMT", NOW),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
        (b"Sunday, 06-Nov-69 08:49:37 GMT", NOW + (2069 - 1994) * 31557600 - 21600),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228799),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        (b"Sun, 06 Nov 1994 08:49:37 GMT; length=3", NOW),
        (b"Sun, 06 Nov 1994 08:49:37", None),
        (b"Sun, 06 Nov 1994 08:49:37 +0100", None),
        (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Now 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
        (b"Sun, 06 Nov 1994 08:60:00 GMT", None),
        (b"Sun, 06 Nov 1994 08:49:61 GMT", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        ("Sun, 0٦ Nov 1994 08:49:37 GMT".encode(), None),
        (DATE + b", " + DATE, None),
        (b"0", None),
        (b"", None),
        (b"\xff" * 5000, None),
    ],
)
def test_dates(text: bytes, seconds: int | None) -> None:
    if seconds is not None and text.startswith(b"Sunday, 06-Nov-69"):
        seconds = 3150953377
    assert parse_http_date(text) == seconds


@given(st.integers(-62135596800, 253402300799))
def test_a_date_that_is_made_is_read(seconds: int) -> None:
    assert parse_http_date(http_date(seconds)) == seconds


@pytest.mark.parametrize("seconds", [253402300800, -62135596801, float("inf"), float("nan")])
def test_no_date(seconds: float) -> None:
    with pytest.raises(ValueError):
        http_date(seconds)


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from([b"GET", b"PUT"]))
def test_nothing_raises(one: bytes, other: bytes, method: bytes) -> None:
    fields = [b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"]
    for name in fields:
        evaluate(method, {name: one, b"if-match": other}.get, TAG, NOW)
    if_range_holds(one, TAG, NOW, NOW)


def test_s15_4_5_what_a_304_keeps() -> None:
    for name in (b"Content-Location", b"Date", b"ETag", b"Vary", b"Cache-Control", b"Expires", b"Set-Cookie"):
        assert kept_in_304(name, has_etag=True)
    for name in (b"Content-Type", b"content-length", b"Content-Encoding", b"Content-Disposition", b"Last-Modified"):
        assert not kept_in_304(name, has_etag=True)
    assert kept_in_304(b"Last-Modified", has_etag=False)
    assert kept_in_304(b"Content-Security-Policy", has_etag=True)

"""``request.args``: what ``twisted.web`` gives, inside bounds."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp import Limits
from hardhttp.errors import LimitFault, PeerFault
from hardhttp.testing import Rig
from hardhttp.web.forms import parse_form, parse_query
from tests.web.saying import Says, form, say

FEW = Limits(max_form_fields=3)


def multipart(*parts: bytes, boundary: bytes = b"limit") -> bytes:
    return b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name, value)


@pytest.mark.parametrize(
    ("query", "args"),
    [
        (b"", {}),
        (b"a", {b"a": [b""]}),
        (b"a=", {b"a": [b""]}),
        (b"a=1&b=2&a=3", {b"a": [b"1", b"3"], b"b": [b"2"]}),
        (b"a=b=c", {b"a": [b"b=c"]}),
        (b"a+b=%2B+%26", {b"a b": [b"+ &"]}),
        (b"&&a=1&", {b"a": [b"1"]}),
        (b"=1", {b"": [b"1"]}),
        (b"a=%ZZ%2", {b"a": [b"%ZZ%2"]}),
        (b"a=%FF%00", {b"a": [b"\xff\0"]}),
    ],
)
def test_a_query(query: bytes, args: Any) -> None:
    assert parse_query(query, Limits()) == args


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=20))
def test_a_query_is_read_as_the_standard_library_reads_it(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    expected = parse_qs(query, keep_blank_values=True)
    found = parse_query(query.encode(), Limits())
    assert {name.decode(): [value.decode() for value in values] for name, values in found.items()} == expected


def test_as_many_fields_as_are_allowed_and_one_more() -> None:
    assert len(parse_query(b"a&b&c", FEW)) == 3
    with pytest.raises(LimitFault) as raised:
        parse_query(b"a&b&c&d", FEW)
    assert raised.value.status == 413


def test_as_many_parts_as_are_allowed_and_one_more() -> None:
    kind = b"multipart/form-data; boundary=limit"
    parts = [field(b"a", b"%d" % i) for i in range(4)]
    assert parse_form(kind, BytesIO(multipart(*parts[:3])), FEW) == {b"a": [b"0", b"1", b"2"]}
    with pytest.raises(LimitFault) as raised:
        parse_form(kind, BytesIO(multipart(*parts)), FEW)
    assert raised.value.status == 413


@pytest.mark.parametrize("kind", [b"text/plain", b"application/json", b"", b"multipart/mixed; boundary=a"])
def test_another_content_type_is_no_form(kind: bytes) -> None:
    assert parse_form(kind, BytesIO(b"a=b"), Limits()) == {}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"multipart/form-data", multipart(field(b"a", b"1"))),
        (b"multipart/form-data; boundary=other", multipart(field(b"a", b"1"))),
        (b"multipart/form-data; boundary=limit", multipart(field(b"a", b"1"))[:-9]),
        (b"multipart/form-data; boundary=limit", b"--limit\r\nno header\r\n\r\nx\r\n--limit--\r\n"),
        (b"multipart/form-data; boundary=limit", b"--limit\r\nA: b\r\n\r\nx\r\n--limit--\r\n"),
        (
            b"multipart/form-data; boundary=limit",
            b"--limit\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n\r\n--limit--\r\n",
        ),
        (b"multipart/form-data; boundary=limit", b"garbage"),
    ],
)
def test_a_malformed_multipart_form_is_a_400(kind: bytes, body: bytes) -> None:
    with pytest.raises(PeerFault) as raised:
        parse_form(kind, BytesIO(body), Limits())
    assert raised.value.status == 400


@given(st.binary(max_size=300))
def test_no_multipart_body_raises_anything_else(body: bytes) -> None:
    try:
        parse_form(b"multipart/form-data; boundary=a", BytesIO(b"--a\r\n" + body), Limits())
    except (PeerFault, LimitFault):
        pass


def show(request: Any) -> bytes:
    return repr(sorted(request.args.items())).encode() + b" " + request.content.read()


def test_the_args_of_a_request() -> None:
    body = multipart(field(b"b", b"\r\n"), field(b"q", b"2"))
    with Rig(Says(show)) as rig:
        query, posted, parts, other = rig.exchange(
            say(target=b"/?a=1&a=%20"),
            form(b"b=2&q=3"),
            form(body, b"multipart/form-data; boundary=limit"),
            form(b"b=2", b"text/plain"),
        )
        assert query.body == b"[(b'a', [b'1', b' '])] "
        # The form's fields replace those of the query, and the body can be read again.
        assert posted.body == b"[(b'b', [b'2']), (b'q', [b'3'])] b=2&q=3"
        assert parts.body == b"[(b'b', [b'\\r\\n']), (b'q', [b'2'])] " + body
        assert other.body == b"[(b'q', [b'1'])] b=2"


def test_args_that_cannot_be_taken_are_refused_when_asked_for() -> None:
    asked = []

    def render(request: Any) -> bytes:
        asked.append(request)
        return show(request)

    with Rig(Says(render), limits=FEW) as rig:
        for request, status in [
            (say(target=b"/?" + b"a&" * 3), 413),
            (form(b"a&b&c&d"), 413),
            (form(b"garbage", b"multipart/form-data; boundary=a"), 400),
        ]:
            (response,) = rig.exchange(request)
            assert (response.status, response.get(b"connection")) == (status, b"close")
        assert len(asked) == 3
        assert rig.site.statistics.errors == 0  # whose fault it is


def test_args_nobody_asks_for_cost_nothing() -> None:
    with Rig(Says(lambda request: b"unread"), limits=FEW) as rig:
        assert rig.exchange(form(b"a&" * 1000))[0].status == 200

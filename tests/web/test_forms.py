"""``request.args``: what ``twisted.web`` gives, inside bounds."""

from __future__ import annotations

import os
import tracemalloc
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote_to_bytes, urlencode

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp import Limits
from hardhttp.errors import Fault, LimitFault, PeerFault
from hardhttp.testing import Rig
from hardhttp.web.forms import (
    LONG_BYTES,
    Args,
    Form,
    FormBody,
    form_reader,
    parse_query,
    query_fields,
    read_form,
    unquote,
)
from tests.web.saying import Says, form, say

FEW = Limits(max_form_fields=3, max_form_files=2, max_form_bytes=100)
URLENCODED = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data; boundary=limit"


def read(kind: bytes, content: BytesIO, limits: Limits) -> FormBody | None:
    """As ``request.args`` reads it."""
    reader = form_reader(kind.decode(), limits, max_text_bytes=limits.max_body_bytes)
    return None if reader is None else read_form(reader, content)


def parse_form(kind: bytes, content: BytesIO, limits: Limits) -> Args:
    body = read(kind, content, limits)
    return {} if body is None else body.args()


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


def test_args_of_a_form_with_files_and_without_names() -> None:
    parts = [field(b"a", b"1"), field(b'f"; filename="x', b"\0\xff"), field(b"", b"nameless")]
    assert parse_form(MULTIPART, BytesIO(multipart(*parts)), Limits()) == {b"a": [b"1"], b"f": [b"\0\xff"]}


def test_args_go_on_with_text_as_long_as_a_body_and_charsets_unknown() -> None:
    long = b"x" * 1000
    assert parse_form(MULTIPART, BytesIO(multipart(field(b"a", long))), FEW) == {b"a": [long]}
    assert parse_form(URLENCODED + b"; charset=klingon", BytesIO(b"a=%E9" + long), FEW) == {b"a": [b"\xe9" + long]}


# -- decoded -------------------------------------------------------------------------------------


def decoded(kind: bytes, body: bytes, limits: Limits = FEW, charset: str | None = None) -> Form:
    reader = form_reader(kind.decode(), limits, charset=charset)
    assert reader is not None
    return read_form(reader, BytesIO(body)).form(limits)


def refused(kind: bytes, body: bytes, limits: Limits = FEW) -> tuple[int, str]:
    with pytest.raises(Fault) as raised:
        decoded(kind, body, limits)
    return raised.value.status, raised.value.reason


def test_a_query_as_text() -> None:
    query = query_fields(b"a=%E4%B8%AD&b=%ZZ+%2B&a=%FF&c", Limits())
    assert query.pairs() == (("a", "\u4e2d"), ("b", "%ZZ +"), ("a", "\ufffd"), ("c", ""))


def test_a_form_in_short() -> None:
    form = decoded(URLENCODED, b"a=1&b=2&a=3")
    assert (form["a"], form.get("x"), form.get("x", "y"), form.getlist("a")) == ("1", None, "y", ["1", "3"])
    assert "a" in form
    assert "x" not in form


@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_text_and_its_bound(kind: bytes) -> None:
    for length, taken in ((FEW.max_form_bytes, True), (FEW.max_form_bytes + 1, False)):
        value = b"x" * (length - (2 if kind is URLENCODED else 1))
        body = b"a=" + value if kind is URLENCODED else multipart(field(b"a", value))
        if taken:
            assert decoded(kind, body)["a"] == value.decode()
        else:
            assert refused(kind, body) == (413, "form-bytes")
    # Of several fields together, their names too.
    body = (
        b"a=" + b"x" * 49 + b"&b=" + b"x" * 47
        if kind is URLENCODED
        else multipart(field(b"n" * 90, b""), field(b"a", b"x" * 10))
    )
    assert refused(kind, body) == (413, "form-bytes")


def test_files_are_not_text_and_have_a_bound_of_their_own() -> None:
    files = [field(b'f"; filename="x', b"y" * 1000)] * 3
    form = decoded(MULTIPART, multipart(*files[:2], field(b"a", b"1")))
    assert [upload.size for upload in form.files.getlist("f")] == [1000, 1000]
    assert form.files["f"].read() == b"y" * 1000
    assert form["a"] == "1"
    assert refused(MULTIPART, multipart(*files)) == (413, "form-fields")


def test_a_file_that_was_not_chosen_is_in_neither() -> None:
    form = decoded(MULTIPART, multipart(field(b'f"; filename="', b""), field(b'g"; filename="', b"1")))
    assert list(form.files) == ["g"]
    assert not form.fields


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        (URLENCODED, b"a=%C3%A9", "\u00e9"),
        (URLENCODED + b"; charset=UTF-8", b"a=\xc3\xa9", "\u00e9"),
        (URLENCODED + b"; charset=iso-8859-1", b"a=%E9", "\u00e9"),
        (URLENCODED + b"; charset=windows-1252", b"a=%80", "\u20ac"),
        (MULTIPART, multipart(field(b"a", b"\xc3\xa9")), "\u00e9"),
        (MULTIPART + b"; charset=latin-1", multipart(field(b"a", b"\xe9")), "\u00e9"),
        (
            MULTIPART,
            multipart(
                b'Content-Disposition: form-data; name="a"\r\nContent-Type: text/plain; charset=cp1252\r\n\r\n\x80'
            ),
            "\u20ac",
        ),
    ],
)
def test_charsets(kind: bytes, body: bytes, value: str) -> None:
    assert decoded(kind, body)["a"] == value


def test_a_charset_for_a_form_that_names_none() -> None:
    assert decoded(URLENCODED, b"a=%E9", charset="latin-1")["a"] == "\u00e9"
    assert decoded(URLENCODED + b"; charset=utf-8", b"a=%C3%A9", charset="latin-1")["a"] == "\u00e9"
    form = decoded(MULTIPART, multipart(field(b"\xe9", b"\xe9")), charset="latin-1")
    assert form.fields.pairs() == (("\u00e9", "\u00e9"),)


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (URLENCODED, b"a=%E9", 400),
        (URLENCODED, b"%E9=a", 400),
        (URLENCODED + b"; charset=zlib", b"a=1", 415),
        (URLENCODED + b"; charset=utf-16", b"a=1", 415),
        (MULTIPART, multipart(field(b"a", b"\xe9")), 400),
        (MULTIPART + b"; charset=klingon", multipart(field(b"a", b"1")), 415),
    ],
)
def test_what_is_not_in_its_charset(kind: bytes, body: bytes, status: int) -> None:
    assert refused(kind, body) == (status, "bad-form")


def test_a_million_fields_are_refused_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(text: bytes) -> bytes:
        raise AssertionError("decoded")

    monkeypatch.setattr("hardhttp.web.forms.unquote", decode)
    million = b"&".join([b"a=%31"] * 1_000_000)
    assert refused(URLENCODED, million, Limits(max_form_bytes=1 << 30)) == (413, "form-fields")
    with pytest.raises(LimitFault):
        query_fields(million, Limits())


class Counted(BytesIO):
    """Counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self.taken += len(piece)
        return piece


@pytest.mark.parametrize("kind", [URLENCODED, MULTIPART])
def test_a_form_past_its_bounds_is_not_read_to_its_end(kind: bytes) -> None:
    fields = b"a&" * 1_000_000 if kind is URLENCODED else multipart(*[field(b"a", b"1")] * 50_000)
    long = b"a=" + b"x" * 2_000_000 if kind is URLENCODED else multipart(field(b"a", b"x" * 2_000_000))
    for body, limits in ((fields, attrs.evolve(FEW, max_form_bytes=1 << 30)), (long, FEW)):
        content = Counted(body)
        reader = form_reader(kind.decode(), limits)
        assert reader is not None
        with pytest.raises(LimitFault):
            read_form(reader, content)
        assert content.taken < 200_000


@given(
    st.lists(
        st.sampled_from([b"%20", b"%", b"%e4%B8%ad", b"%Z1", b"\\", b"\\x41", b"a", b"%5C", b"\n", b"+", b"%0"]),
        max_size=30,
    )
)
def test_what_is_long_is_unquoted_as_what_is_short(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert unquote(text) == unquote_to_bytes(text)
    long = text * (LONG_BYTES // max(1, len(text)) + 1)
    assert unquote(long) == unquote_to_bytes(long)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), max_size=8)


@given(PAIRS, st.lists(st.integers(0, 300), max_size=5))
def test_what_a_client_encodes_is_what_is_seen(pairs: list[tuple[str, str]], places: list[int]) -> None:
    pairs = [(name, value) for name, value in pairs if name or value]
    assert fed(URLENCODED, urlencode(pairs).encode(), places).fields.pairs() == tuple(pairs)


def browser_quoted(name: str) -> bytes:
    """As WHATWG HTML, 4.10.21.8, has it."""
    return name.encode().replace(b"\n", b"%0A").replace(b"\r", b"%0D").replace(b'"', b"%22")


# What a browser sends of these cannot be told from what it means: it escapes no percent sign and no backslash.
NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="%\\") | st.sampled_from('\r\n"; ='), max_size=12
)


@given(
    st.lists(st.tuples(NAMES, st.none() | NAMES.filter(bool), st.binary(max_size=40)), max_size=6),
    st.lists(st.integers(0, 600), max_size=6),
)
def test_what_a_browser_sends_is_what_is_seen(parts: list[tuple[str, str | None, bytes]], places: list[int]) -> None:
    parts = [(name, filename, value.replace(b"--limit", b"")) for name, filename, value in parts]
    raw = []
    for name, filename, value in parts:
        head = b'Content-Disposition: form-data; name="%s"' % browser_quoted(name)
        if filename is not None:
            head += b'; filename="%s"\r\nContent-Type: application/octet-stream' % browser_quoted(filename)
        raw.append(head + b"\r\n\r\n" + (value if filename is not None else value.hex().encode()))
    form = fed(MULTIPART, multipart(*raw), places)
    assert form.fields.pairs() == tuple((name, value.hex()) for name, filename, value in parts if filename is None)
    files = [(name, upload.filename, upload.read()) for name, upload in form.files.pairs()]
    assert files == [part for part in parts if part[1] is not None]


def fed(kind: bytes, body: bytes, places: list[int]) -> Form:
    """The form, fed in pieces cut at ``places``."""
    reader = form_reader(kind.decode(), Limits())
    assert reader is not None
    cuts = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    for start, end in pairwise(cuts):
        reader.feed(body[start:end])
    return reader.end(BytesIO(body)).form(Limits())


@given(st.sampled_from([URLENCODED, MULTIPART, MULTIPART + b"; charset=shift_jis"]), st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_fault(kind: bytes, body: bytes) -> None:
    for start in (b"", b"--limit\r\n", b"--limit\r\n" + field(b"a", b"")):
        try:
            status = 200 if decoded(kind, start + body) else 500
        except Fault as fault:
            status = fault.status
        assert status in (200, 400, 413)


def test_a_form_of_100_mb_peaks_at_a_few(tmp_path: Path) -> None:
    path = tmp_path / "form"
    megabyte = os.urandom(1 << 20)
    with path.open("wb") as file:
        for i in range(4):
            file.write(b"--limit\r\n" + field(b'f"; filename="%d' % i, b""))
            file.writelines([megabyte] * 25)
            file.write(b"\r\n")
        file.write(b"--limit--\r\n")
    reader = form_reader(MULTIPART.decode(), Limits())
    assert reader is not None
    tracemalloc.start()
    with path.open("rb") as content:
        form = read_form(reader, content).form(Limits())
        saved = [upload.save_to(path.with_name("file"), overwrite=True) for _, upload in form.files.pairs()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    path.unlink()
    path.with_name("file").unlink()
    assert saved == [25 << 20] * 4
    assert peak < 3 << 20

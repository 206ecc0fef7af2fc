"""Cookies: read leniently, made strictly, and what is made is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.cookies import (
    MAX_COOKIE_BYTES,
    cookie_text,
    delete_cookie,
    parse_cookies,
    plain_cookie,
    set_cookie,
)

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcXYZ"


def parse(*values: bytes, most: int = 200) -> dict[bytes, bytes]:
    return parse_cookies(values, most)


# -- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=b", {b"a": b"b"}),
        (b"a=b; c=d", {b"a": b"b", b"c": b"d"}),
        (b"a=b;c=d", {b"a": b"b", b"c": b"d"}),
        (b"  a = b  ;\t c\t=\td ", {b"a": b"b", b"c": b"d"}),
        (b"a=b; a=c", {b"a": b"b"}),  # browsers send the most specific first
        (b"a=", {b"a": b""}),
        (b"a=b=c==", {b"a": b"b=c=="}),
        (b'a="b c"', {b"a": b'"b c"'}),
        (b'a="b; c=d"', {b"a": b'"b', b"c": b'd"'}),  # quotes hide nothing
        (b"a; b=c", {b"b": b"c"}),
        (b"=a; b=c", {b"b": b"c"}),
        (b"=__Host-a=b", {}),
        (b";;;;", {}),
        (b"", {}),
        (b"\xff\xfe=\x80; a=b", {b"\xff\xfe": b"\x80", b"a": b"b"}),
        (b"a b=c,d", {b"a b": b"c,d"}),
        (b"$Version=1; a=b", {b"$Version": b"1", b"a": b"b"}),
        (b"a=%41%zz", {b"a": b"%41%zz"}),
    ],
)
def test_what_browsers_send(value: bytes, expected: dict[bytes, bytes]) -> None:
    assert parse(value) == expected


def test_several_fields_are_one_list_and_the_first_of_a_name_wins() -> None:
    assert parse(b"a=1; b=2", b"a=3; c=4") == {b"a": b"1", b"b": b"2", b"c": b"4"}


def test_the_bound_on_their_number() -> None:
    field = b"; ".join(b"n%d=v" % i for i in range(5))
    assert len(parse(field, most=5)) == 5
    assert list(parse(field, most=4)) == [b"n0", b"n1", b"n2", b"n3"]
    assert parse(b"a=1; a=2; b=3", most=2) == {b"a": b"1", b"b": b"3"}  # one of a name is one


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_nothing_raises(values: list[bytes]) -> None:
    for name, value in parse(*values).items():
        assert name
        cookie_text(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"a%20b", "a b"), (b'"a%2C"', "a,"), (b"%C3%BC", "\u00fc"), (b"%ff", "\ufffd"), (b'"', '"'), (b"a+b", "a+b")],
)
def test_a_value_as_text(value: bytes, expected: str) -> None:
    assert cookie_text(value) == expected


# -- making ------------------------------------------------------------------------------------


def test_v_cookies_with_every_attribute() -> None:
    field = set_cookie(
        "__Host-id",
        "x",
        max_age=60,
        expires=784111777,
        secure=True,
        http_only=True,
        same_site="None",
        partitioned=True,
    )
    assert field == (
        b"__Host-id=x; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Max-Age=60; Path=/; Secure; HttpOnly; "
        b"SameSite=None; Partitioned"
    )
    assert set_cookie("a", b"b", domain="example.com", path="/x", http_only=False, same_site=None) == (
        b"a=b; Domain=example.com; Path=/x"
    )
    assert set_cookie("a", "b") == b"a=b; Path=/; HttpOnly; SameSite=Lax"
    assert set_cookie("a", "b", path=None, same_site="Strict") == b"a=b; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a b", b"a%20b"),
        ('{"a":1}', b"{%22a%22:1}"),
        ("100%", b"100%25"),
        ("\u00fc;,\\\r\n\0", b"%C3%BC%3B%2C%5C%0D%0A%00"),
        (b"a=b%20", b"a=b%20"),
        (b'"quoted"', b'"quoted"'),
    ],
)
def test_values(value: Any, sent: bytes) -> None:
    field = set_cookie("a", value)
    assert field.startswith(b"a=" + sent + b"; ")
    assert cookie_text(sent) == (value if isinstance(value, str) else value.decode().replace("%20", " ").strip('"'))


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "a=b"},
        {"name": "a\r\nb"},
        {"name": "\u00fc"},
        {"name": b"\xff"},
        {"value": b"a b"},
        {"value": b"a;b"},
        {"value": b"a,b"},
        {"value": b"a\\b"},
        {"value": b'a"b'},
        {"value": b'"a'},
        {"value": b"\r\n"},
        {"value": b"\0"},
        {"value": b"\xc3\xbc"},
        {"domain": "example.com; Secure"},
        {"domain": "exa mple.com"},
        {"domain": "b\u00fccher.example"},
        {"domain": ""},
        {"domain": "-a.example"},
        {"domain": "a..example"},
        {"domain": "a.example:80"},
        {"domain": "x" * 64 + ".example"},
        {"path": "x"},
        {"path": ""},
        {"path": "/a;b"},
        {"path": "/a\nb"},
        {"path": "/\u00fc"},
        {"path": "/" * 1025},
        {"max_age": 1.5},
        {"max_age": True},
        {"max_age": "60"},
        {"expires": 1e20},
        {"expires": float("nan")},
        {"same_site": "lax; Secure"},
        {"same_site": "Sometimes"},
        {"same_site": "None"},
        {"partitioned": True},
        {"name": "__Secure-a"},
        {"name": "__secure-a"},
        {"name": "__Host-a"},
        {"name": "__Host-a", "secure": True, "path": "/x"},
        {"name": "__Host-a", "secure": True, "path": None},
        {"name": "__HOST-a", "secure": True, "domain": "example.com"},
        {"name": "__Http-a", "secure": True, "http_only": False},
        {"name": "__Host-Http-a", "secure": True, "http_only": False},
    ],
)
def test_what_cannot_be_sent_or_would_be_dropped(wrong: dict[str, Any]) -> None:
    given = {"name": "a", "value": "b", **wrong}
    with pytest.raises(ValueError):
        set_cookie(given.pop("name"), given.pop("value"), **given)


@pytest.mark.parametrize("name", ["__Secure-a", "__Host-a", "__Http-a", "__Host-Http-a", "__other-a"])
def test_a_promise_that_is_kept(name: str) -> None:
    assert set_cookie(name, "b", secure=True).startswith(name.encode())


def test_the_bound_on_a_cookie() -> None:
    assert set_cookie("a", b"x" * (MAX_COOKIE_BYTES - 1))
    with pytest.raises(ValueError, match="4097 bytes"):
        set_cookie("a", b"x" * MAX_COOKIE_BYTES)


def test_no_error_holds_a_value() -> None:
    for value in (b"secret value", b"secret" * 1000):
        with pytest.raises(ValueError) as raised:
            set_cookie("a", value)
        assert "secret" not in str(raised.value)


def test_an_age_that_is_past_or_without_end() -> None:
    assert b"Max-Age=0;" in set_cookie("a", "b", max_age=-5)
    assert b"Max-Age=9007199254740992;" in set_cookie("a", "b", max_age=10**30)


def test_deleting() -> None:
    assert delete_cookie("a") == (
        b"a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    )
    assert b"; Secure" in delete_cookie("__Host-a")
    assert b"Domain=example.com; Path=/x" in delete_cookie("a", domain="example.com", path="/x")
    assert b"; Secure" in delete_cookie("a", partitioned=True)


@given(
    st.text(TOKEN_CHARACTERS, min_size=1, max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_what_is_made_is_read(name: str, value: str) -> None:
    secure = name.startswith("__")
    pair = set_cookie(name, value, secure=secure).partition(b";")[0]
    read = parse(b"before=1; " + pair + b"; after=2")
    assert cookie_text(read[name.encode()]) == value or name in ("before", "after")
    if not value.startswith('"'):
        assert list(parse(pair)) == [name.encode()]


# -- twisted.web's way -----------------------------------------------------------------------------


def test_as_twisted_web_makes_them() -> None:
    assert plain_cookie("a", "b") == b"a=b"
    assert plain_cookie(b"a", b"b c", b"Wed", "d.example", "/", 5, "why", True, True, "LAX") == (
        b"a=b c; Expires=Wed; Domain=d.example; Path=/; Max-Age=5; Comment=why; Secure; HttpOnly; SameSite=lax"
    )
    assert plain_cookie("a", "b\r\nc;d\ne") == b"a=b c d e"
    for name, options in (
        ("a b", {}),
        ("a\0", {}),
        ("a", {"same_site": "none"}),
        ("a", {"same_site": "often"}),
        ("__Host-a", {"secure": True}),
        ("__Secure-a", {}),
        ("a", {"path": "/\0"}),
    ):
        with pytest.raises(ValueError):
            plain_cookie(name, "b", **options)  # type: ignore[arg-type]

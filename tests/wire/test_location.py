"""A redirect leads where it says."""

from __future__ import annotations

import pytest

from hardhttp.wire.location import MAX_TARGET_BYTES, location

LOCAL = ["/", "/a", "/a/b?c=d&e=%20#f", "/a//b", "/?next=//evil.example", "/%2f/evil.example", "/a:b@c", "/.//evil"]
ELSEWHERE = [
    "",
    "a",
    "?a",
    "#a",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/a\\b",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    " /a",
    "\x00/a",
    "\x1f//evil.example",
    "\u00a0//evil.example",
    "/a b",
    "/a\r\nSet-Cookie: x=y",
    "/a\r\n\r\n<html>",
    "/a\x00",
    "/a\x7f",
    "/a\x85b",
    "http://evil.example/",
    "https://evil.example/",
    "http:evil.example",
    "http:/evil.example",
    "https:///evil.example",
    "HTTP://evil.example",
    "javascript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "mailto:a@b",
    "ftp://evil.example/",
    "evil.example/",
    "@evil.example",
    "/\ud800",
]


@pytest.mark.parametrize("to", LOCAL)
def test_a_path_of_this_site(to: str) -> None:
    assert location(to) == to.encode()
    assert location(to, external=True) == to.encode()


@pytest.mark.parametrize("to", ELSEWHERE)
def test_anything_else_is_refused(to: str) -> None:
    with pytest.raises(ValueError):
        location(to)


@pytest.mark.parametrize("to", ["http://a.example", "https://a.example:8443/b?c#d", "HTTPS://a/", "http://[::1]:80/"])
def test_another_site_when_asked_for(to: str) -> None:
    assert location(to, external=True) == to.encode()


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "http:///evil",
        "https://",
        "https://:80/",
        "https://user@evil.example/",
        "https://good.example@evil.example/",
        "https://good.example\\@evil.example/",
        "https://b\u00fccher.example/",
        "https://a b/",
        "https://a/\r\nX: y",
        "ftp://a/",
        "data:text/html,x",
        "https://a<b>/",
    ],
)
def test_what_even_an_external_redirect_cannot_be(to: str) -> None:
    with pytest.raises(ValueError):
        location(to, external=True)


def test_what_is_not_ascii_is_encoded() -> None:
    assert location("/gr\u00fc\u00dfe?\u2028") == b"/gr%C3%BC%C3%9Fe?%E2%80%A8"


def test_the_bound() -> None:
    assert location("/" + "a" * (MAX_TARGET_BYTES - 1))
    with pytest.raises(ValueError, match="8193 bytes"):
        location("/" + "a" * MAX_TARGET_BYTES)


def test_bytes_are_a_mistake() -> None:
    with pytest.raises(TypeError):
        location(b"/a")  # type: ignore[arg-type]

"""What is promised to a client, and what is not."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.wire.links import Link, parse_links
from hardhttp.wire.push import MAX_PUSHES, Push, pushes

PAGE: dict[str, Any] = {"method": b"GET", "scheme": b"https", "authority": b"a.example", "target": b"/docs/page?q=1"}


def targets(*lines: bytes, **changed: Any) -> list[bytes]:
    return [push.target for push in pushes(parse_links(lines), **{**PAGE, **changed})]


def test_c01_preloads_of_this_origin_are_pushed_each_once() -> None:
    found = targets(
        b'</a.css>; rel=preload; as=style, <b.js>; rel="x Preload"; title="1, 2; 3"',
        b"<https://A.example:443/c?d=e#f>; rel=preload, </a.css#again>; rel=preload, <//a.example/g>; rel=preload",
        b"<https://a.example>; rel=preload",
    )
    assert found == [b"/a.css", b"/docs/b.js", b"/c?d=e", b"/g", b"/"]


@pytest.mark.parametrize(
    "line",
    [
        b"</a>; rel=preconnect",
        b"</a>; rel=prefetch",
        b"</a>; rel=preloaded",
        b"</a>; rel=preload; nopush",
        b'</a>; NOPUSH=""; rel=preload',
        b'</a>; rel=preload; anchor="/other"',
        b'</a>; rel=preload; media="print"',
        b'</a>; rel=preload; imagesrcset="b 2x"',
        # other origins, however they are written
        b"<https://b.example/a>; rel=preload",
        b"<//b.example/a>; rel=preload",
        b"<http://a.example/a>; rel=preload",
        b"<https://a.example:444/a>; rel=preload",
        b"<https://a.example:99999999/a>; rel=preload",
        b"<https://a.example.b.example/a>; rel=preload",
        b"<https://u@a.example/a>; rel=preload",
        b"<https://a.example@b.example/a>; rel=preload",
        b"<https://[::1/a>; rel=preload",
        b"</\\b.example/a>; rel=preload",
        b"<data:text/css,a>; rel=preload",
        b"<javascript:a>; rel=preload",
        # itself
        b"</docs/page?q=1>; rel=preload",
        b"<#part>; rel=preload",
        b"<>; rel=preload",
    ],
)
def test_what_is_not_pushed(line: bytes) -> None:
    assert targets(line) == []


def test_c01_what_is_pushed_pushes_nothing() -> None:
    assert targets(b"</a>; rel=preload") == [b"/a"]
    assert targets(b"</a>; rel=preload", is_pushed=True) == []


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"get"])
def test_only_a_get_has_pushes(method: bytes) -> None:
    assert targets(b"</a>; rel=preload", method=method) == []


def test_their_number_is_bounded() -> None:
    line = b", ".join(b"</%d>; rel=preload" % i for i in range(MAX_PUSHES + 1))
    assert len(targets(line)) == MAX_PUSHES
    assert targets(line, max_pushes=1) == [b"/0"]
    assert targets(line, max_pushes=0) == []
    same = b", ".join([b"</0>; rel=preload"] * MAX_PUSHES + [b"</1>; rel=preload"])
    assert targets(same) == [b"/0", b"/1"]


def test_the_fields_that_caddy_copies_and_no_secrets() -> None:
    copied = (
        (b"user-agent", b"u"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip"),
        (b"accept-language", b"de"),
        (b"cache-control", b"no-cache"),
    )
    kept_back = (
        *((b"cookie", b"s=1"), (b"authorization", b"Basic eA=="), (b"range", b"bytes=0-1"), (b"if-none-match", b'"x"')),
        *((b"referer", b"/"), (b"sec-fetch-mode", b"navigate"), (b"x-forwarded-for", b"1.2.3.4")),
    )
    found = pushes([Link("/a", "preload")], **PAGE, fields=(*copied, *kept_back))
    assert found == [Push(b"/a", copied)]


@pytest.mark.parametrize(
    ("authority", "host"),
    [(b"a:8443", "a:8443"), (b"[::1]", "[::1]"), (b"[::1]:8443", "[::1]:8443"), (b"A", "a:443"), (b"a:", "a:443")],
)
def test_ports_and_addresses(authority: bytes, host: str) -> None:
    assert targets(f"<https://{host}/x>; rel=preload, </y>; rel=preload".encode(), authority=authority) == [
        b"/x",
        b"/y",
    ]


def test_without_a_host_nothing_is_pushed() -> None:
    assert targets(b"</a>; rel=preload", authority=b"") == []

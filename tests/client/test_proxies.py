"""Proxies: their URLs, and which one the environment names."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.client.proxies import Proxy, ProxyURLError, no_proxy, proxy_for


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("http://proxy", "http", "proxy", 80),
        ("https://proxy", "https", "proxy", 443),
        ("HTTP://Proxy.Example:3128/", "http", "proxy.example", 3128),
        ("proxy:3128", "http", "proxy", 3128),
        ("10.0.0.1:8080", "http", "10.0.0.1", 8080),
        ("http://[2001:db8::1]:3128", "http", "2001:db8::1", 3128),
        ("http://pr\xf6xy.example:1", "http", "xn--prxy-6qa.example", 1),
        ("http://proxy:65535", "http", "proxy", 65_535),
    ],
)
def test_url(url: str, scheme: str, host: str, port: int) -> None:
    assert Proxy.parse(url) == Proxy(scheme, host, port)


@pytest.mark.parametrize(
    ("userinfo", "sent"),
    [
        ("user:pass", b"user:pass"),
        ("user", b"user:"),
        ("user:", b"user:"),
        (":pass", b":pass"),
        ("us%40er:p%3Aa%2Fss", b"us@er:p:a/ss"),
        ("user:a:b", b"user:a:b"),
        ("user:a@b", b"user:a@b"),
        ("us\xe9r:p\xe4ss", "us\xe9r:p\xe4ss".encode()),
    ],
)
def test_credentials(userinfo: str, sent: bytes) -> None:
    proxy = Proxy.parse(f"http://{userinfo}@proxy:1")
    assert proxy.authorization == b"Basic " + base64.b64encode(sent)
    assert proxy.host == "proxy"


def test_no_secret_is_shown() -> None:
    proxy = Proxy.parse("http://user:hunter2@proxy:1")
    secret = base64.b64encode(b"user:hunter2").decode()
    for text in (repr(proxy), str(proxy)):
        assert "hunter2" not in text
        assert "user" not in text
        assert secret not in text
    assert str(proxy) == "http://proxy:1"
    assert str(Proxy.parse("https://[::1]:2")) == "https://[::1]:2"


def test_credentials_part_proxies() -> None:
    assert Proxy.parse("http://a:b@proxy") != Proxy.parse("http://a:c@proxy")
    assert hash(Proxy.parse("http://a:b@proxy")) == hash(Proxy.parse("http://a:b@proxy"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no host"),
        ("http://", "no host"),
        ("http://user:hunter2@:1", "no host"),
        ("socks4://hunter2@proxy:1080", "socks4 is not spoken; socks5 is"),
        ("socks://hunter2@proxy:1080", "socks is not spoken; socks5 is"),
        ("socks5://:hunter2@proxy", "255 bytes"),
        ("socks5h://user:hunter2" + 249 * "x" + "@proxy", "255 bytes"),
        ("ftp://user:hunter2@proxy", "none of http, https, socks5 and socks5h"),
        ("hunter2://proxy", "none of http, https, socks5 and socks5h"),
        ("http://user:hunter2@proxy:0", "the port"),
        ("http://user:hunter2@proxy:65536", "its port"),
        ("http://user:hunter2@proxy:x", "its port"),
        ("http://user:hunter2@[::1", "brackets"),
        ("http://user:hunter2@proxy/path", "a path"),
        ("http://proxy/?hunter2", "a path"),
        ("http://proxy#hunter2", "a path"),
        ("http://user:hunter2@pro xy", "white space"),
        (" http://proxy", "white space"),
        ("http://proxy\r\nX: hunter2", "white space"),
        ("http://us%3Aer:hunter2@proxy", "a colon"),
        ("http://user:hunter2%0D%0AX@proxy", "a control character"),
        ("http://user:hunter2@\xe4" + 70 * "x", "not a name"),
        ("http://user:hunter2@\xa8", "not a name"),  # older rules make a space of it
        ("http://user:hunter2@a|b", "not a name"),
    ],
)
def test_bad_url(url: str, said: str) -> None:
    with pytest.raises(ProxyURLError, match=said) as raised:
        Proxy.parse(url, "HTTPS_PROXY")
    assert str(raised.value).startswith("HTTPS_PROXY: ")
    assert "hunter2" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@given(st.text(max_size=40))
def test_any_text_is_a_proxy_or_an_error(text: str) -> None:
    try:
        proxy = Proxy.parse(text)
    except ProxyURLError:
        return
    assert Proxy.parse(str(proxy)) == Proxy(proxy.scheme, proxy.host, proxy.port)


P, Q, R = "http://p:1", "http://q:2", "http://r:3"


@pytest.mark.parametrize(
    ("scheme", "environ", "expected"),
    [
        ("http", {}, None),
        ("http", {"http_proxy": P}, P),
        ("http", {"HTTP_PROXY": P}, P),
        ("http", {"http_proxy": P, "HTTP_PROXY": Q}, P),
        ("http", {"http_proxy": "", "HTTP_PROXY": Q}, Q),
        ("http", {"https_proxy": P}, None),
        ("https", {"http_proxy": P}, None),
        ("https", {"https_proxy": P, "http_proxy": Q}, P),
        ("https", {"HTTPS_PROXY": P}, P),
        ("https", {"ALL_PROXY": P}, P),
        ("http", {"all_proxy": P, "ALL_PROXY": Q}, P),
        ("http", {"HTTP_PROXY": P, "all_proxy": Q}, P),
        # httpoxy
        ("http", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None),
        ("http", {"HTTP_PROXY": P, "REQUEST_METHOD": ""}, None),
        ("http", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET", "http_proxy": Q}, Q),
        ("http", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET", "ALL_PROXY": R}, R),
        ("https", {"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P),
        # except
        ("http", {"http_proxy": P, "no_proxy": "origin"}, None),
        ("http", {"http_proxy": P, "NO_PROXY": "origin"}, None),
        ("http", {"http_proxy": P, "no_proxy": "other", "NO_PROXY": "origin"}, P),
        ("http", {"http_proxy": P, "no_proxy": "", "NO_PROXY": "origin"}, None),
        ("http", {"http_proxy": "not a URL", "no_proxy": "*"}, None),
    ],
)
def test_environment(scheme: str, environ: dict[str, str], expected: str | None) -> None:
    found = proxy_for(scheme, "origin", 80, environ)
    assert found == (None if expected is None else Proxy.parse(expected))


def test_environment_names_the_variable() -> None:
    with pytest.raises(ProxyURLError, match=r"^ALL_PROXY: socks4a"):
        proxy_for("https", "origin", 443, {"ALL_PROXY": "socks4a://user:hunter2@tor:9050"})


NAMED: list[tuple[str, str, int]] = [
    ("*", "any.example", 80),
    ("a, *", "any.example", 80),
    ("example.com", "example.com", 80),
    ("EXAMPLE.com.", "Example.COM", 80),
    ("example.com", "example.com.", 80),
    ("example.com", "a.b.example.com", 80),
    (".example.com", "example.com", 80),
    (".example.com", "a.example.com", 80),
    ("*.example.com", "a.example.com", 80),
    ("example.com:443", "example.com", 443),
    ("a,b example.com\tc", "example.com", 80),
    ("10.0.0.1", "10.0.0.1", 80),
    ("10.0.0.1:80", "10.0.0.1", 80),
    ("10.0.0.0/8", "10.255.0.1", 80),
    ("10.0.0.7/8", "10.255.0.1", 80),
    ("::1", "::1", 80),
    ("::1", "[::1]", 80),
    ("[::1]", "0:0:0:0:0:0:0:1", 80),
    ("[::1]:80", "::1", 80),
    ("fd00::/8", "fd12::1", 80),
]
NOT_NAMED: list[tuple[str, str, int]] = [
    ("", "example.com", 80),
    (",", "example.com", 80),
    (".", "example.com", 80),
    ("*.", "example.com", 80),
    ("example.com", "badexample.com", 80),
    ("example.com", "com", 80),
    ("example.com:443", "example.com", 80),
    ("example.com:", "example.com", 80),
    ("0.0.1", "10.0.0.1", 80),
    ("10.0.0.1", "10.0.0.10", 80),
    ("10.0.0.1:81", "10.0.0.1", 80),
    ("10.0.0.0/8", "11.0.0.1", 80),
    ("10.0.0.0/99", "10.0.0.1", 80),
    ("10.0.0.0/8", "ten.example", 80),
    ("10.0.0.0/8", "fd00::1", 80),
    ("[::1]:81", "::1", 80),
    ("x*", "xa", 80),
]


@pytest.mark.parametrize(
    ("excepted", "host", "port", "named"),
    [*((*row, True) for row in NAMED), *((*row, False) for row in NOT_NAMED)],
)
def test_no_proxy(excepted: str, host: str, port: int, named: Any) -> None:
    assert no_proxy(host, port, excepted) is named

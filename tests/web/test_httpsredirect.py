"""From plain HTTP to HTTPS: where a redirect leads, and where it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hardhttp.testing import Response, Rig
from hardhttp.web.httpsredirect import ACMEChallenges, HTTPSRedirect
from tests.web.saying import Says

LOCAL = ("a.example", "127.0.0.1", "::1")


def plain(request: Any) -> bytes:
    return b"said"


def ask(start: bytes, host: bytes | None = b"a.example", body: bytes = b"", **options: Any) -> Response:
    """The answer to a request line, with the fields that it takes."""
    options.setdefault("covers", LOCAL.__contains__)
    fields = b"" if host is None else b"Host: %s\r\n" % host
    if body:
        fields += b"Content-Length: %d\r\n" % len(body)
    with Rig(HTTPSRedirect(Says(plain), **options)) as rig:
        return rig.exchange(start + b"\r\n" + fields + b"\r\n" + body)[0]


def leads(start: bytes, host: bytes = b"a.example", **options: Any) -> bytes | None:
    answer = ask(start, host, **options)
    assert answer.status == 301
    assert answer.body == b""
    return answer.get(b"location")


@pytest.mark.parametrize(
    ("target", "to"),
    [
        (b"/", b"/"),
        (b"/a/b?c=d&e", b"/a/b?c=d&e"),
        (b"/%2e%2e/%0d%0aSet-Cookie:x", b"/%2e%2e/%0d%0aSet-Cookie:x"),
        (b"//evil.example/", b"//evil.example/"),
        (b"/?" + b"x" * 4000, b"/?" + b"x" * 4000),
    ],
)
def test_the_target_stays(target: bytes, to: bytes) -> None:
    assert leads(b"GET %s HTTP/1.1" % target) == b"https://a.example" + to


@pytest.mark.parametrize(
    ("host", "to"),
    [
        (b"a.example", b"https://a.example/"),
        (b"A.Example:8080", b"https://a.example/"),
        (b"127.0.0.1:80", b"https://127.0.0.1/"),
        (b"[::1]:80", b"https://[::1]/"),
    ],
)
def test_the_host_is_the_clients_without_its_port(host: bytes, to: bytes) -> None:
    found = leads(b"GET / HTTP/1.1", host, covers=lambda name: name.lower() in LOCAL)
    assert found is not None
    assert found.lower() == to


@pytest.mark.parametrize(("port", "to"), [(443, b"https://a.example/"), (8443, b"https://a.example:8443/")])
def test_the_port(port: int, to: bytes) -> None:
    assert leads(b"GET / HTTP/1.1", port=port) == to


@pytest.mark.parametrize("port", [0, 65_536, -1])
def test_what_is_no_port(port: int) -> None:
    with pytest.raises(ValueError, match=f"port is {port}; it must be from 1 to 65535"):
        HTTPSRedirect(Says(plain), port=port)


@pytest.mark.parametrize(("method", "status"), [(b"GET", 301), (b"POST", 308), (b"PUT", 308), (b"DELETE", 308)])
def test_the_method_stays(method: bytes, status: int) -> None:
    answer = ask(method + b" /form HTTP/1.1", body=b"x" if status == 308 else b"")
    assert (answer.status, answer.get(b"location")) == (status, b"https://a.example/form")


@pytest.mark.parametrize("host", [b"evil.example", b"a.example.evil.example", None])
def test_a_host_that_is_not_ours_is_not_sent_on(host: bytes | None) -> None:
    answer = ask(b"GET / HTTP/1.0", host)
    assert answer.status == 421
    assert answer.get(b"location") is None


def test_any_host_where_nobody_knows_better() -> None:
    assert leads(b"GET / HTTP/1.1", b"other.example", covers=None) == b"https://other.example/"


def test_the_absolute_form() -> None:
    answer = ask(b"GET http://a.example/x?y HTTP/1.1")
    assert (answer.status, answer.get(b"location")) == (301, b"https://a.example/x?y")


def test_a_target_that_cannot_be_sent_on() -> None:
    assert ask(b"GET /" + b"x" * 8170 + b" HTTP/1.1").status == 301
    assert ask(b"GET /" + b"x" * 8185 + b" HTTP/1.1").status == 400  # longer with its host than a field may be


def test_whoever_comes_by_tls_is_served() -> None:
    with Rig(HTTPSRedirect(Says(plain))) as rig:
        rig.site.trusted_proxies = ["127.0.0.1"]
        head = b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: %s\r\n\r\n"
        assert [rig.exchange(head % scheme)[0].status for scheme in (b"https", b"http")] == [200, 301]


# -- what an authority asks for --------------------------------------------------------------------


def test_tokens_are_served_and_nothing_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / ".well-known" / "acme-challenge"
    folder.mkdir(parents=True)
    (folder / "token-_1").write_bytes(b"thumbprint")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / ".well-known" / "other").write_bytes(b"secret")
    with Rig(ACMEChallenges(HTTPSRedirect(Says(plain)), str(tmp_path))) as rig:

        def get(target: bytes) -> Response:
            return rig.exchange(b"GET %s HTTP/1.1\r\nHost: a.example\r\n\r\n" % target)[0]

        token = get(b"/.well-known/acme-challenge/token-_1")
        assert (token.status, token.body) == (200, b"thumbprint")
        assert get(b"/.well-known/acme-challenge/").status in (403, 404)
        for target in (b"none", b"../other", b"%2e%2e/other", b"..%2fother", b"..%2f..%2fsecret"):
            answer = get(b"/.well-known/acme-challenge/" + target)
            assert answer.status in (400, 403, 404), target
            assert b"secret" not in answer.body
        for target in (b"/.well-known/acme-challenge", b"/.well-known/other", b"/secret"):
            assert get(target).status == 301

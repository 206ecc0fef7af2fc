"""The options beside the limits: what they make, and what is said of those that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.python.usage import UsageError
from twisted.web.resource import Resource

from hardhttp.stores.memory import MemoryStore
from hardhttp.stores.sqlite import SQLiteStore
from hardhttp.tap import makeService
from hardhttp.tap.checks import cache_rule, items, log_settings, resolved
from hardhttp.tap.options import Options
from hardhttp.tap.optiontable import OPTIONS
from hardhttp.testing import Rig

ORIGIN = b"https://app.example"


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"words, words " * 100


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("<h1>Here</h1>")


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(["--max-connections=100", *words])
    return options


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    return str(caught.value)


def answer(options: Options, *lines: str) -> Any:
    with Rig(options.around(Page())) as rig:
        head = "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: a", *lines))
        (response,) = rig.exchange(f"{head}\r\n".encode())
        return response


def field(response: Any, name: bytes) -> bytes | None:
    return dict(response.headers).get(name)


def test_every_option_is_one() -> None:
    options = parse()
    for name, option in OPTIONS.items():
        if name not in ("version", "help"):
            assert name in options
            assert options[name] in (option.default, 0, []) or name == "listen"


def test_without_options_nothing_is_around() -> None:
    page = Page()
    assert parse().around(page) is page


def test_compression() -> None:
    response = answer(parse("--compress"), "Accept-Encoding: gzip")
    assert field(response, b"content-encoding") == b"gzip"
    assert field(answer(parse(), "Accept-Encoding: gzip"), b"content-encoding") is None


def test_security_headers() -> None:
    assert field(answer(parse("--security-headers")), b"x-content-type-options") == b"nosniff"
    assert field(answer(parse()), b"x-content-type-options") is None


def test_cors() -> None:
    options = parse("--cors-origins=https://app.example, https://*.example.org")
    assert field(answer(options, "Origin: https://app.example"), b"access-control-allow-origin") == ORIGIN
    assert field(answer(options, "Origin: https://a.example.org"), b"access-control-allow-origin") is not None
    assert field(answer(options, "Origin: https://evil.example"), b"access-control-allow-origin") is None
    assert field(answer(options, "Origin: https://app.example"), b"access-control-allow-credentials") is None
    options = parse("--cors-origins=https://app.example", "--cors-credentials")
    assert field(answer(options, "Origin: https://app.example"), b"access-control-allow-credentials") == b"true"


def test_a_rate_limit_is_below_the_headers() -> None:
    options = parse("--rate-limit=2/m", "--security-headers", "--cors-origins=https://app.example")
    with Rig(options.around(Page())) as rig:
        request = b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\n\r\n"
        responses = [rig.exchange(request)[0] for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 429]
    assert field(responses[2], b"retry-after") == b"30"
    assert field(responses[2], b"x-content-type-options") == b"nosniff"
    assert field(responses[2], b"access-control-allow-origin") == ORIGIN


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cors-origins=*", "--cors-credentials"], "--cors-origins: "),
        (["--cors-origins=app.example"], "--cors-origins: 'app.example' is not an origin"),
        (["--cors-origins="], "--cors-origins: "),
        (["--cors-credentials"], "--cors-credentials is for --cors-origins, and none are given"),
        (["--rate-limit=fast"], "--rate-limit: "),
        (["--proxy-protocol"], "--proxy-protocol believes only --trusted-proxies, and none are given"),
        (["--session-store=mongo://x"], "--session-store: "),
        (["--session-store=sqlite:none/such/sessions.db"], "--session-store: "),
        (["--session-store=env:NO_SUCH_NAME"], "there is no NO_SUCH_NAME in the environment"),
        (["--session-store=file:no-such-file"], "--session-store file:no-such-file cannot be read: No such file"),
        (["--listing"], "--listing is for the files of --webroot, and there is none"),
        (["--fallback=index.html"], "--fallback is for the files of --webroot, and there is none"),
        (["--webroot=public", "--fallback=../app.py"], "--webroot "),
        (["--webroot=public", "--fallback=idnex.html"], "--fallback idnex.html is not a file below --webroot "),
        (["--cache-control=img/*"], "must be PATTERN=VALUE"),
        (["--access-log-format=xml"], "--access-log-format is xml; it must be combined or json"),
        (["--access-log-rotate=many"], "it must be at least 64KiB, or none"),
        (["--access-log-rotate=65535"], "it must be at least 64KiB, or none"),
        (["--access-log-keep=0"], "it must be from 1 to 1000"),
        (["--access-log-keep=1001"], "it must be from 1 to 1000"),
    ],
)
def test_what_makes_no_sense_is_said_with_its_option(words: list[str], said: str) -> None:
    found = refusal(*words)
    assert said in found
    assert words[0].partition("=")[0] in found or "--webroot" in found


def test_a_fallback_leaves_nothing_for_an_application() -> None:
    words = "--webroot=public", "--fallback=index.html", "--app=twisted.web.resource:Resource"
    assert "--fallback answers every path" in refusal(*words)


def test_stores() -> None:
    assert isinstance(parse().session_store, MemoryStore)
    assert isinstance(parse("--session-store=sqlite:sessions.db").session_store, SQLiteStore)
    assert "sesame" not in repr(parse("--session-store=redis://:sesame@127.0.0.1:1/3").session_store)


def test_a_secret_may_stand_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STORE", "sqlite:a.db\n")
    (tmp_path / "store.txt").write_text("sqlite:b.db\n")
    assert resolved("session-store", "env:STORE") == "sqlite:a.db"
    assert resolved("session-store", "file:store.txt") == "sqlite:b.db"
    assert resolved("session-store", "memory:") == "memory:"
    assert isinstance(parse("--session-store=env:STORE").session_store, SQLiteStore)


def test_files_as_asked_for(tmp_path: Path) -> None:
    (tmp_path / "public" / "img").mkdir()
    (tmp_path / "public" / "img" / "a.png").write_bytes(b"png")
    options = parse("--webroot=public", "--listing", "--cache-control=img/*.png=max-age=60", "--fallback=index.html")
    assert options.resource is not None
    with Rig(options.resource) as rig:
        picture, listing, page = (
            rig.exchange(f"GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n".encode())[0]
            for path in ("/img/a.png", "/img/", "/no/such/page")
        )
    assert field(picture, b"cache-control") == b"max-age=60"
    assert b"a.png" in listing.body
    assert (page.status, page.body) == (200, b"<h1>Here</h1>")


def test_proxies_that_come_by_a_unix_socket_are_a_word() -> None:
    options = parse("--trusted-proxies=unix, 10.0.0.0/8")
    with Rig(Page()) as rig:
        rig.site.trusted_proxies = options.trusted_proxies
        assert rig.site.server.trusts_any


def test_lists_and_rules() -> None:
    assert items(" a, b ,,c ") == ["a", "b", "c"]
    assert items(None) == []
    assert cache_rule("a/*= no-store") == ("a/*", "no-store")
    given = {"access-log-format": "json", "access-log-rotate": "1MiB", "access-log-keep": "3"}
    assert log_settings(given) == ("json", 1024 * 1024, 3)


def test_early_hints(tmp_path: Path) -> None:
    (tmp_path / "hints.toml").write_text(
        '[[hints]]\npath = "/"\nlinks = [{href = "/a.css", rel = "preload", as = "style"}]\n'
    )
    options = parse("--early-hints=hints.toml", "--compress", "--rate-limit=1/h")
    assert field(answer(options), b"link") == b"</a.css>; rel=preload; as=style"
    assert options["early-hints"] == str(tmp_path / "hints.toml")
    assert parse()["early-hints-to"] == "auto"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "hints.toml: No such file"),
        ("[[", "hints.toml: "),
        ('[[hints]]\npath = "/"\nlinks = [{href = "/a", rel = "next"}]', "path '/': '/a' is next"),
    ],
)
def test_early_hints_that_cannot_be(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "hints.toml").write_text(text)
    assert refusal("--early-hints=hints.toml").startswith("--early-hints ")
    assert said in refusal("--early-hints=hints.toml")
    assert "auto, always or never" in refusal("--early-hints-to=some")


@pytest.mark.parametrize(("words", "spoken"), [((), [b"h2", b"http/1.1"]), (("--no-http2",), [b"http/1.1"])])
def test_http2_can_be_left_out(words: tuple[str, ...], spoken: list[bytes]) -> None:
    service: Any = makeService(parse("--listen=tcp:0", *words))
    assert service.site.acceptableProtocols() == spoken

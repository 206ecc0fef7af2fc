"""A 103 as real clients take it, from ``twistd hardhttp --early-hints``.

Python's ``http.client`` is why it goes to browsers alone unless one says otherwise.
"""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_twisted
import treq
from pytest_twisted import ensureDeferred
from selenium import webdriver
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.web.client import HTTPConnectionPool

from hardhttp import Hints, Link, Site
from tests.chromium import browser, chromium
from tests.net.loopback import certificate
from tests.test_http2_clients import SecureServing
from tests.twistd_process import PATIENCE_SECONDS, Server
from tests.web.saying import Says

pytestmark = pytest.mark.slow  # it starts real processes

__all__ = ["browser"]

PAGE = "<!doctype html><title>a page</title><link rel=stylesheet href=/app.css><p>Here.\n"
HINTS = """
[[hints]]
path = "/"
links = [{href = "/app.css", rel = "preload", as = "style"}]
"""
SENT = f"""
from hardhttp import Router

root = Router()
root.get("/")(lambda request: {PAGE!r})

@root.get("/sent")
def sent(request):
    return str(request.site.statistics.hints_sent)
"""
LINKING = """
from hardhttp import Router

root = Router()

@root.get("/")
def page(request):
    request.setHeader(b"Link", b"</app.js>; rel=preload; as=script")
    return "a page"

root.get("/app.js")(lambda request: "'script'")
"""
LINK = "</app.css>; rel=preload; as=style"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text(PAGE)
    (tmp_path / "public" / "app.css").write_text("p { color: teal }")
    (tmp_path / "hints.toml").write_text(HINTS)

    def begin(*options: str) -> Server:
        started.append(Server(tmp_path, "--webroot=public", "--early-hints=hints.toml", *options))
        return started[-1]

    yield begin
    for server in started:
        server.close()


def curl(server: Server, *options: str, times: int = 1) -> list[str]:
    """The status lines and Link fields that curl sees."""
    words = [shutil.which("curl") or pytest.fail("needs curl"), "-sS", "-i", *options, *[f"{server.url}/"] * times]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
    return [line for line in said.splitlines() if line.startswith(("HTTP/", "Link"))]


def test_curl_and_a_file_that_is_read_again(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start()
    early, final, link = "HTTP/1.1 103 Early Hints", "HTTP/1.1 200 OK", f"Link: {LINK}"
    assert curl(server) == [final, link]
    navigate = ("-H", "Sec-Fetch-Mode: navigate", "-H", "Connection: keep-alive")
    assert curl(server, *navigate, times=2) == [early, link, final, link] * 2  # on one connection
    assert curl(server, *navigate, "-0") == [final, link]
    assert curl(server, *navigate, "-H", "X-Forwarded-For: 192.0.2.1") == [final, link]

    def hang_up(text: str, said: str) -> None:
        (tmp_path / "hints.toml").write_text(text)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(said)

    hang_up(HINTS.replace("app.css", "other.css"), "early hints for 1 paths")
    changed = link.replace("app", "other")
    assert curl(server, *navigate) == [early, changed, final, changed]
    hang_up("[[hints", "early hints stay as they are: .*hints.toml")
    assert curl(server, *navigate) == [early, changed, final, changed]
    server.stop()
    assert "Traceback" not in server.log.read_text("utf-8")


def test_http_client_gets_pages_and_no_103(start: Callable[..., Server]) -> None:
    server = start()
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    for _ in range(2):
        client.request("GET", "/")
        response = client.getresponse()
        assert (response.status, response.read(), response.getheader("Link")) == (200, PAGE.encode(), LINK)
    client.close()


def test_http_client_takes_a_103_for_the_answer(start: Callable[..., Server]) -> None:
    """Whoever turns ``always`` on should know: this client is then one answer behind."""
    server = start("--early-hints-to=always")
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    client.request("GET", "/")
    assert client.getresponse().status == 103  # a Python that has learned better changes what docs/hints.rst says
    client.close()


@ensureDeferred
async def test_clients_that_take_any_103(start: Callable[..., Server]) -> None:
    server = await deferToThread(start, "--early-hints-to=always")
    pool = HTTPConnectionPool(reactor)
    for _ in range(3):
        response = await treq.get(f"{server.url}/", pool=pool)
        assert (response.code, await response.text()) == (200, PAGE)
        assert response.headers.getRawHeaders("link") == [LINK]

    def by_httpx() -> None:
        with httpx.Client() as client:
            for _ in range(3):
                response = client.get(f"{server.url}/")
                assert (response.status_code, response.text, response.headers["link"]) == (200, PAGE, LINK)

    await deferToThread(by_httpx)
    await pool.closeCachedConnections()


@pytest.mark.parametrize("option", [None, "--push-preloads"])
def test_nghttp_is_pushed_what_is_hinted(start: Callable[..., Server], tmp_path: Path, option: str | None) -> None:
    """Before the page, and what the page's own Link fields say where that is asked for."""
    nghttp = shutil.which("nghttp") or pytest.fail("needs nghttp, of nghttp2-client")
    (tmp_path / "linking.py").write_text(LINKING)
    server = start("--app=linking:root", *([option] if option else []))
    words = [nghttp, "-v", "-n", "--no-dep", f"{server.url}/"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
    lines = re.sub(r"\x1b\[[0-9;]*m|\[ *[0-9.]+\] ", "", said).splitlines()
    promised = [line.partition(":path: ")[2] for line in lines if "recv (stream_id=1) :path:" in line]
    assert promised == ["/app.css", *(["/app.js"] if option else [])]
    first = next(index for index, line in enumerate(lines) if "recv PUSH_PROMISE" in line)
    assert first < next(index for index, line in enumerate(lines) if "recv HEADERS" in line)
    answered = [line for line in lines if line.endswith(":status: 200")]
    assert len(answered) == 1 + len(promised)
    assert sum("END_STREAM" in line for line in lines) > len(promised)
    assert "error_code=NO_ERROR" in said
    words = [nghttp, "-v", "-n", "--no-dep", "--no-push", f"{server.url}/"]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
    assert "PUSH_PROMISE" not in said


@pytest.mark.browser
@pytest_twisted.ensureDeferred
async def test_chromium_preloads_by_a_103_over_http2(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """The page is answered only when its style has been asked for: there is no way to know of it but the 103."""
    wanted: Deferred[None] = Deferred()

    def answer(request: Any) -> Any:
        if request.path == b"/app.css":
            if not wanted.called:
                wanted.callback(None)
            request.setHeader(b"Content-Type", b"text/css")
            return b"p { color: teal }"
        if request.path == b"/page":
            request.setHeader(b"Content-Type", b"text/html")
            return wanted.addCallback(lambda _: PAGE.encode())
        return b""

    root = Hints(Says(answer), {"/page": [Link("/app.css", "preload", {"as": "style"})]})
    serving = SecureServing(Site(root, reactor=reactor), certificate(tmp_path))
    await serving.begin()
    try:
        await deferToThread(browser.execute_cdp_cmd, "Security.setIgnoreCertificateErrors", {"ignore": True})
        await deferToThread(browser.get, serving.url + "/page")
        script = "return [document.title, getComputedStyle(document.querySelector('p')).color]"
        assert await deferToThread(browser.execute_script, script) == ["a page", "rgb(0, 128, 128)"]
        assert serving.site.statistics.hints_sent == 1
        assert serving.site.statistics.pushes == 0  # it takes none
    finally:
        await deferToThread(browser.get, "about:blank")
        await serving.end()


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_chromium_shows_its_pages(start: Callable[..., Server], tmp_path: Path, scheme: str) -> None:
    """Over HTTP/1.1 Chromium makes nothing of a 103; page and style are whole, and so is the next page."""
    made = certificate(tmp_path)
    secure = f"--listen=ssl:0:interface=127.0.0.1:privateKey={made}:certKey={made}"
    (tmp_path / "told.py").write_text(SENT)
    server = start("--app=told:root", secure)
    url = server.wait_for(rf"{scheme}://127\.0\.0\.1:\d+")[0]
    browser = chromium(tmp_path / "profile", "--ignore-certificate-errors")
    try:
        for path in ("/", "/?again"):
            browser.get(url + path)
            color = browser.execute_script("return getComputedStyle(document.querySelector('p')).color")
            assert (browser.title, color) == ("a page", "rgb(0, 128, 128)")
        wrong = [entry["message"] for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
        assert wrong == []
    finally:
        browser.quit()
    assert server.get("/sent") == (200, b"2")  # it is known by its Sec-Fetch-Mode

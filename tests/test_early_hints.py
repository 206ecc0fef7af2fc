"""A 103 as real clients take it, from ``twistd hardhttp --early-hints``.

Python's ``http.client`` is why it goes to browsers alone unless one says otherwise.
"""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import treq
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.client import HTTPConnectionPool

from tests.net.loopback import certificate
from tests.twistd_process import PATIENCE_SECONDS, Server

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
    httpx = pytest.importorskip("httpx")
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


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_chromium_shows_its_pages(start: Callable[..., Server], tmp_path: Path, scheme: str) -> None:
    """Over HTTP/1.1 Chromium makes nothing of a 103; page and style are whole, and so is the next page."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    from tests.test_browser import FLAGS, program

    made = certificate(tmp_path)
    secure = f"--listen=ssl:0:interface=127.0.0.1:privateKey={made}:certKey={made}"
    (tmp_path / "told.py").write_text(SENT)
    server = start("--app=told:root", secure)
    url = server.wait_for(rf"{scheme}://127\.0\.0\.1:\d+")[0]
    options = webdriver.ChromeOptions()
    options.binary_location = program("CHROMIUM", "chromium", "chromium-browser", "google-chrome")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--ignore-certificate-errors"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(program("CHROMEDRIVER", "chromedriver")))
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

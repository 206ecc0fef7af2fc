"""The dashboard as a browser has it: its figures move, its button ends a connection, and nobody else's page can."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.chromium import browser, complaints, fits, text, until, visit
from tests.twistd_process import PATIENCE_SECONDS, Server

__all__ = ["browser"]
pytestmark = pytest.mark.browser

TOKEN = "a-token-of-some-length"
NOT_KNOWN = "\u2013"  # where a figure will stand
APP = """
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

class Shop(Resource):
    isLeaf = True

    def render_GET(self, request):
        if request.path == b"/later":
            return NOT_DONE_YET
        if request.path == b"/big":
            return b"x" * 20_000_000
        if request.path == b"/none":
            request.setResponseCode(404)
        return b"page" * 500

root = Shop()
"""


class Watched:
    """A server with its admin side, and clients that stay."""

    def __init__(self, cwd: Path, *options: str) -> None:
        (cwd / "shop.py").write_text(APP)
        # What the page on it is: of another port, so of another origin.
        self.server = Server(cwd, "--app=shop:root", "--admin=tcp:0:interface=127.0.0.1", *options)
        self.port = int(self.server.wait_for(r"the admin side is at port (\d+)")[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self.clients: list[socket.socket] = []

    def connect(self, text: str) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.server.port), PATIENCE_SECONDS)
        client.sendall(text.encode())
        self.clients.append(client)
        return client

    def begin(self, target: str) -> socket.socket:
        return self.connect(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")

    def admin(self, path: str) -> dict[str, Any]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        client.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        said: dict[str, Any] = json.loads(client.getresponse().read())
        client.close()
        return said

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path, "--anonymous", "--mercure-publisher-key=" + "k" * 32)
    yield watched
    watched.close()


def live(browser: webdriver.Chrome) -> None:
    until(lambda: text(browser, "status") == "live", "the page is live")
    until(lambda: "Ready for requests" in text(browser, "ready"), "the page shows figures")


def figure(browser: webdriver.Chrome, chart: str, series: str, column: int = 0) -> str:
    """What the table behind a chart says."""
    cell = f"[data-chart={chart}] [data-series='{series}'] td"
    return str(
        browser.execute_script("return document.querySelectorAll(arguments[0])[arguments[1]].textContent", cell, column)
    )


def buttons(browser: webdriver.Chrome) -> dict[str, Any]:
    """Those that end a connection, by the request of the row; all in one turn of the page, for rows come and go."""
    cells = "[row.querySelector('.request').innerText, row.querySelector('button')]"
    script = f"return [...document.querySelectorAll('#slowest tbody tr')].map(row => {cells})"
    return dict(browser.execute_script(script))


def drawn(browser: webdriver.Chrome, chart: str) -> str:
    return str(
        browser.execute_script(
            "return document.querySelector(`[data-chart=${arguments[0]}] canvas`).toDataURL()", chart
        )
    )


def test_figures_move(browser: webdriver.Chrome, watched: Watched) -> None:
    visit(browser, watched.url)
    live(browser)
    before = drawn(browser, "requests")
    watched.begin("/later?token=sesame")
    for _ in range(30):
        watched.server.get("/")
    watched.server.get("/none")
    watched.server.get("/", Host="a b")
    watched.begin("/.well-known/mercure?topic=news")
    until(lambda: figure(browser, "requests", "2xx", 1) not in (NOT_KNOWN, "0/s"), "requests are seen")
    until(lambda: figure(browser, "requests", "4xx", 1) not in (NOT_KNOWN, "0/s"), "by their status")
    until(lambda: int(figure(browser, "connections", "handling")) >= 2, "connections are seen, by phase")
    until(lambda: figure(browser, "waits", "longest wait now") not in (NOT_KNOWN, "0 ms"), "a wait is seen")
    for share in ("half within", "95 of 100 within", "99 of 100 within"):
        until(lambda: figure(browser, "waits", share, 1) != "0 ms", "answers are timed")  # noqa: B023
    until(lambda: figure(browser, "sse", "open") == "1", "a subscriber is seen")
    until(lambda: "bad-host" in text(browser, "refusals"), "a refusal is seen, by its reason")
    until(lambda: "GET /later?token=***" in buttons(browser), "the connection is seen, its secret is not")
    until(lambda: drawn(browser, "requests") != before, "the chart is drawn")
    assert re.fullmatch(r"\d+ MiB", figure(browser, "memory", "resident"))
    assert complaints(browser) == []


def test_the_button_ends_the_connection(browser: webdriver.Chrome, watched: Watched) -> None:
    victim, other = watched.begin("/later?victim"), watched.begin("/later?other")
    visit(browser, watched.url)
    live(browser)
    until(lambda: "GET /later?victim" in buttons(browser), "the connection is shown")
    button = buttons(browser)["GET /later?victim"]
    button.click()
    assert button.text == "Sure?"
    assert "press again" in button.get_attribute("aria-label")
    assert len(watched.admin("/connections")["connections"]) == 2  # one press does nothing
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert button.text == "End"
    button.send_keys(Keys.ENTER)  # by the keyboard
    button.send_keys(Keys.ENTER)
    until(lambda: "was ended" in text(browser, "kill-said"), "the end is told")
    with pytest.raises(ConnectionResetError):
        victim.recv(1)
    (left,) = watched.admin("/connections")["connections"]
    assert left["requests"] == ["GET /later?other"]
    assert button.is_enabled() is False
    assert browser.switch_to.active_element.get_attribute("id") == "slowest"  # not at the top of the page again
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    assert complaints(browser) == []


def test_rows_stay_under_the_pointer(browser: webdriver.Chrome, watched: Watched) -> None:
    first = watched.begin("/later?first")
    visit(browser, watched.url)
    live(browser)
    until(lambda: "GET /later?first" in buttons(browser), "the connection is shown")
    button = buttons(browser)["GET /later?first"]
    ActionChains(browser).move_to_element(button).perform()
    first.close()
    watched.begin("/later?second")
    until(lambda: "GET /later?second" in buttons(browser), "the other is shown")
    assert [*buttons(browser)] == ["GET /later?first", "GET /later?second"]
    assert button.is_enabled() is False
    ActionChains(browser).move_to_element(browser.find_element("tag name", "h1")).perform()
    until(lambda: [*buttons(browser)] == ["GET /later?second"], "the row has gone")


def test_nothing_is_taken_for_a_page_that_is_paused_or_out_of_sight(
    browser: webdriver.Chrome, watched: Watched
) -> None:
    visit(browser, watched.url)
    live(browser)
    pause = browser.find_element("id", "pause")
    pause.click()
    assert text(browser, "status") == "paused"
    assert pause.get_attribute("aria-pressed") == "true"
    watched.begin("/later")
    before = text(browser, "about")
    browser.execute_async_script("setTimeout(arguments[0], 1500)")
    assert text(browser, "about") == before
    pause.click()
    until(lambda: "GET /later" in buttons(browser), "it goes on")
    sight = (
        "Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    browser.execute_script(sight, True)
    before = text(browser, "about")
    browser.execute_async_script("setTimeout(arguments[0], 1500)")
    assert text(browser, "about") == before
    browser.execute_script(sight, False)
    until(lambda: text(browser, "about") != before, "it goes on when it is seen again")
    assert complaints(browser) == []


def test_draining_is_told(browser: webdriver.Chrome, watched: Watched) -> None:
    watched.begin("/later")
    visit(browser, watched.url)
    live(browser)
    watched.server.process.terminate()
    until(lambda: "the server is draining" in text(browser, "problems"), "the problem is named")
    assert text(browser, "ready") == "Not ready for requests."
    assert browser.title.startswith("NOT READY")
    watched.server.process.kill()
    until(lambda: text(browser, "status") == "lost, trying again", "the loss is told")
    # Who was ready when last heard of is not called ready now.
    assert text(browser, "ready").startswith("No answer.")
    assert browser.title.startswith("NO ANSWER")


def test_the_token_is_asked_for_and_kept_nowhere(browser: webdriver.Chrome, tmp_path: Path) -> None:
    watched = Watched(tmp_path, f"--admin-token={TOKEN}")
    try:
        watched.begin("/later?victim")
        visit(browser, watched.url)
        until(lambda: text(browser, "status") == "token needed", "it is asked for")
        assert complaints(browser) == []
        field = browser.find_element("id", "token")
        assert browser.switch_to.active_element == field
        field.send_keys("wrong-token-of-mine", Keys.ENTER)
        until(lambda: text(browser, "ask-said") == "That is not its token.", "a wrong one is refused")
        browser.get_log("browser")  # Chromium tells of the 401
        field.send_keys(TOKEN, Keys.ENTER)
        live(browser)
        until(lambda: "GET /later?victim" in buttons(browser), "figures are shown")
        assert not field.is_displayed()
        assert TOKEN not in browser.execute_script("return document.documentElement.outerHTML + location.href")
        kept = "return [localStorage.length, sessionStorage.length, document.cookie, history.state]"
        assert browser.execute_script(kept) == [0, 0, "", None]
        button = buttons(browser)["GET /later?victim"]
        button.click()
        button.click()
        until(lambda: "was ended" in text(browser, "kill-said"), "the button sends it too")
        assert watched.admin("/connections")["connections"] == []
        assert complaints(browser) == []
        browser.refresh()
        until(lambda: text(browser, "status") == "token needed", "it is forgotten")
    finally:
        watched.close()


FOREIGN = """
const [admin, done] = arguments;
const outcome = async promise => { try { return (await promise).type } catch { return "refused" } };
const loads = (tag, path) => new Promise(told => {
  const node = document.createElement(tag);
  node.onload = () => told("loaded");
  node.onerror = () => told("refused");
  node.src = admin + path;
  document.body.append(node);
});
(async () => done({
  read: await outcome(fetch(admin + "connections")),
  stream: await outcome(fetch(admin + "events")),
  blind: await outcome(fetch(admin + "connections", {mode: "no-cors"})),
  kill: await outcome(fetch(admin + "connections/1", {method: "DELETE"})),
  blindPost: await outcome(fetch(admin + "connections/1", {method: "POST", mode: "no-cors"})),
  script: await loads("script", "dashboard/uPlot.iife.min.js"),
  image: await loads("img", "connections"),
  source: await new Promise(told => {
    const source = new EventSource(admin + "events");
    source.onopen = () => told("open");
    source.onerror = () => { source.close(); told("refused"); };
  }),
}))();
"""


def test_a_foreign_page_can_neither_read_nor_end(browser: webdriver.Chrome, watched: Watched) -> None:
    victim = watched.begin("/later?victim")
    visit(browser, f"{watched.server.url}/")  # the same machine, another port
    outcome = browser.execute_async_script(FOREIGN, watched.url)
    assert set(outcome.values()) == {"refused"}, outcome
    frame = "const frame = document.createElement('iframe'); frame.src = arguments[0]; document.body.append(frame);"
    browser.execute_script(frame, watched.url)
    until(lambda: any("frame-ancestors" in said for said in complaints(browser)), "it cannot be framed")
    requests = [row["requests"] for row in watched.admin("/connections")["connections"]]
    assert ["GET /later?victim"] in requests
    victim.setblocking(False)
    with pytest.raises(BlockingIOError):
        victim.recv(1)


def test_the_policy_is_kept_by_the_browser(browser: webdriver.Chrome, watched: Watched) -> None:
    visit(browser, watched.url)
    live(browser)
    browser.execute_script(
        "try { const script = document.createElement('script'); script.textContent = 'window.slipped = true';"
        "document.body.append(script) } catch {}"
        "try { document.body.insertAdjacentHTML('beforeend', '<p id=slipped>') } catch {}"
    )
    assert browser.execute_script("return window.slipped || document.getElementById('slipped')") is None
    sent = "fetch('http://127.0.0.2:9/').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
    assert browser.execute_async_script(sent) == "refused"


def test_it_is_read_without_eyes_and_without_a_pointer(browser: webdriver.Chrome, watched: Watched) -> None:
    watched.begin("/later")
    visit(browser, watched.url)
    live(browser)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named = {(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]}
    titles = [
        "Connections, by phase",
        "Requests, by status",
        "Latency",
        "Memory",
        "Traffic",
        "Event subscribers and lag",
    ]
    for title in titles:
        assert ("table", title) in named
        assert any(role == "image" and name.startswith(title) for role, name in named)
    assert ("table", "Slowest connections") in named
    assert not any(role == "button" and not name for role, name in named)
    visited = []
    for _ in range(3):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        focus = browser.switch_to.active_element
        visited.append(focus.get_attribute("aria-label") or focus.text)
    assert visited[0] == "Pause"
    assert visited[1].startswith("End connection ")
    for wish, moving in (("no-preference", 1), ("reduce", 0)):
        media = {"features": [{"name": "prefers-reduced-motion", "value": wish}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        assert browser.execute_script("return document.getAnimations().length") == moving


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(
    browser: webdriver.Chrome, watched: Watched, tmp_path: Path, width: int, scheme: str
) -> None:
    for target in ("/later?token=sesame", "/later", "/big", "/later?" + "long" * 100):
        watched.begin(target)
    watched.begin("/.well-known/mercure?topic=news")
    watched.connect("GET / HT")
    watched.server.get("/", Host="a b")
    visit(browser, watched.url, width, scheme)
    live(browser)
    until(lambda: "GET /later?token=***" in buttons(browser), "there is something to see")
    until(lambda: figure(browser, "requests", "2xx") != NOT_KNOWN, "and rates")
    fits(browser, width, scheme, tmp_path / f"dashboard-{width}-{scheme}.png")

"""Events in a browser: its own EventSource against a hub in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
import pytest_twisted
from selenium import webdriver
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.resource import IResource, Resource

from hardhttp.sse.coding import GzipStream
from hardhttp.sse.hub import EventHub
from tests.chromium import browser, until
from tests.serving import Serving, serve
from tests.sse.interop import PATH, Hub, token, wire_to
from tests.sse.subscribing import Subscribes
from tests.web.saying import Says

__all__ = ["browser"]
pytestmark = pytest.mark.browser

# A page's own EventSource; what it saw is in window.seen, each opening of the stream in window.opened.
LISTEN = """
const [url, options] = arguments;
window.seen = []; window.opened = 0; window.failed = 0;
window.source?.close();
window.source = new EventSource(url, options);
source.onopen = () => { opened += 1; };
source.onerror = () => { failed += 1; };
const keep = event => seen.push([event.type, event.lastEventId, event.data]);
for (const type of ["message", "sold", "gap"]) source.addEventListener(type, keep);
"""
BLANK = b"<!doctype html><title>a page</title><link rel=icon href=data:>"


def seen(driver: webdriver.Chrome) -> list[list[str]]:
    found: list[list[str]] = driver.execute_script("return window.seen")
    return found


def has(driver: webdriver.Chrome, count: int) -> list[list[str]]:
    until(lambda: len(seen(driver)) >= count, f"{count} events")
    return seen(driver)


def opens(driver: webdriver.Chrome, times: int) -> None:
    until(lambda: driver.execute_script("return window.opened") >= times, f"the stream is open the {times}. time")


def close(driver: webdriver.Chrome) -> None:
    driver.execute_script("window.source.close()")


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The option that serves an empty page, for there to be an origin."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "index.html").write_bytes(BLANK)
    return f"--webroot={folder}"


def listen(driver: webdriver.Chrome, host: str, port: int, topic: str, **options: bool) -> None:
    url = f"http://{host}:{port}{PATH}?" + urlencode({"topic": topic})
    driver.execute_script(LISTEN, url, options)
    opens(driver, 1)


def test_events_as_a_page_has_them(browser: webdriver.Chrome, tmp_path: Path, page: str) -> None:
    with Hub(tmp_path, page) as hub:
        browser.get(f"{hub.server.url}/")
        listen(browser, "127.0.0.1", hub.port, "https://example.com/{kind}/{number}")
        first = hub.publish("https://example.com/books/1", "two\nlines")
        hub.publish("https://example.com/books/2", "äöü €", type="sold", id="mine-2")
        hub.publish("https://example.com/other", "not this")
        hub.publish("https://example.com/books/3", "")
        last = hub.publish("https://example.com/books/3", "end")
        assert has(browser, 4) == [
            ["message", first, "two\nlines"],
            ["sold", "mine-2", "äöü €"],
            ["message", f"{last.partition('-')[0]}-{int(last.partition('-')[2]) - 1}", ""],
            ["message", last, "end"],
        ]
        close(browser)


@pytest.mark.parametrize("credentials", [False, True], ids=["plain", "credentials"])
def test_a_cut_connection_is_taken_up_across_origins(
    browser: webdriver.Chrome, tmp_path: Path, page: str, credentials: bool
) -> None:
    """The browser reconnects by itself, three times, with the last id, and has each event once; no preflight."""
    (tmp_path / "site").mkdir()
    with Hub(tmp_path / "site", page) as site:
        friend = f"http://friend.localhost:{site.port}"
        log = tmp_path / "access.log"
        options = [f"--cors-origins={friend}", *(["--cors-credentials"] if credentials else []), f"--access-log={log}"]
        with Hub(tmp_path, *options) as hub, wire_to(hub.port) as wire:
            browser.get(f"{friend}/")
            listen(browser, "hub.localhost", wire.port, "t", withCredentials=credentials)
            expected = []
            for turn in range(1, 4):
                expected += [["message", hub.publish("t", f"live {turn}", retry=20), f"live {turn}"]]
                has(browser, len(expected))
                assert wire.cut() >= 1
                expected += [["message", hub.publish("t", f"missed {turn}"), f"missed {turn}"]]
                opens(browser, turn + 1)
                assert has(browser, len(expected)) == expected
                # The retry of its hello is seconds; the next event of this turn makes it short again.
            assert browser.execute_script("return source.readyState") == 1
            close(browser)
            hub.end()
        assert {line.split('"')[1].split()[0] for line in log.read_text().splitlines()} == {"GET", "POST"}


@pytest.mark.parametrize("id", ["urn:uuid:7", '7 "<€', "\u00e4" * 70], ids=["iri", "odd", "long"])
def test_an_id_of_any_characters_is_taken_up_across_origins(
    browser: webdriver.Chrome, tmp_path: Path, page: str, id: str
) -> None:
    """A publisher's own, with bytes that are not safe in a simple request, or of more than 128.

    The Fetch standard has the browser ask first; Chromium does not.
    """
    (tmp_path / "site").mkdir()
    with Hub(tmp_path / "site", page) as site:
        friend = f"http://friend.localhost:{site.port}"
        with Hub(tmp_path, f"--cors-origins={friend}") as hub, wire_to(hub.port) as wire:
            browser.get(f"{friend}/")
            listen(browser, "hub.localhost", wire.port, "t")
            hub.publish("t", "live", id=id, retry=20)
            has(browser, 1)
            assert wire.cut() >= 1
            missed = hub.publish("t", "missed")
            opens(browser, 2)
            assert has(browser, 2) == [["message", id, "live"], ["message", missed, "missed"]]
            close(browser)


def test_a_stranger_reads_nothing(browser: webdriver.Chrome, tmp_path: Path, page: str) -> None:
    (tmp_path / "site").mkdir()
    with Hub(tmp_path / "site", page) as site, Hub(tmp_path, "--cors-origins=https://friend.example") as hub:
        browser.get(f"http://stranger.localhost:{site.port}/")
        browser.execute_script(LISTEN, f"http://hub.localhost:{hub.port}{PATH}?topic=t", {})
        until(lambda: browser.execute_script("return source.readyState") == 2, "it is closed for good")
        assert browser.execute_script("return window.opened") == 0


def test_a_cookie_subscribes_to_private_events(browser: webdriver.Chrome, tmp_path: Path, page: str) -> None:
    with Hub(tmp_path, page) as hub:
        browser.get(f"{hub.server.url}/")
        browser.add_cookie({"name": "mercureAuthorization", "value": token(subscribe=["t"])})
        listen(browser, "127.0.0.1", hub.port, "t")
        hub.publish("t", "secret", private="on")
        assert has(browser, 1)[0][2] == "secret"
        close(browser)
        browser.delete_all_cookies()
        listen(browser, "127.0.0.1", hub.port, "t")
        hub.publish("t", "secret", private="on")
        hub.publish("t", "open")
        assert [data for _, _, data in has(browser, 1)] == ["open"]
        close(browser)


@pytest.mark.parametrize("credentials", [True, False])
def test_a_cookie_across_origins(browser: webdriver.Chrome, tmp_path: Path, page: str, credentials: bool) -> None:
    """Set for a domain above both, it is sent when the page asks for that, and not otherwise."""
    (tmp_path / "site").mkdir()
    with Hub(tmp_path / "site", page) as site:
        origin = f"http://app.shop.localhost:{site.port}"
        with Hub(tmp_path, f"--cors-origins={origin}", "--cors-credentials") as hub:
            browser.get(f"{origin}/")
            name = f"mercureAuthorization={token(subscribe=['t'])}; Domain=shop.localhost; Path={PATH}; SameSite=Strict"
            browser.execute_script("document.cookie = arguments[0]", name)
            listen(browser, "hub.shop.localhost", hub.port, "t", withCredentials=credentials)
            hub.publish("t", "secret", private="on")
            hub.publish("t", "open")
            expected = ["secret", "open"] if credentials else ["open"]
            assert [data for _, _, data in has(browser, len(expected))] == expected
            close(browser)
            browser.execute_script("document.cookie = arguments[0] + '; Max-Age=0'", name)


@pytest.mark.parametrize("kept", [True, False], ids=["drained-sqlite", "killed-memory"])
def test_a_restart(browser: webdriver.Chrome, tmp_path: Path, page: str, kept: bool) -> None:
    """Stopped, a hub tells its streams when to come back, and has kept what they miss; killed, neither."""
    history = [f"--history=sqlite:{tmp_path / 'events.sqlite'}"] if kept else []
    with Hub(tmp_path, page, *history) as hub:
        browser.get(f"{hub.server.url}/")
        listen(browser, "127.0.0.1", hub.port, "t")
        hub.publish("t", "one", retry=300)
        has(browser, 1)
        hub.end(signal.SIGTERM if kept else signal.SIGKILL)
        hub.start_again()
        hub.publish("t", "missed")
        opens(browser, 2)
        hub.publish("t", "three")
        until(lambda: seen(browser)[-1][2] == "three", "the last event")
        found = seen(browser)
        close(browser)
    told = [data for kind, _, data in found if kind == "message"]
    assert told == ["one", "missed", "three"]
    gaps = [data for kind, _, data in found if kind == "gap"]
    assert gaps == [] if kept else '"restart"' in gaps[0]


@asynccontextmanager
async def visited(driver: webdriver.Chrome, root: IResource) -> AsyncIterator[Serving]:
    """A site that the browser has left at the end, whatever came of it."""
    async with serve("fast", root) as serving:
        try:
            yield serving
        finally:
            await deferToThread(driver.get, "about:blank")
            serving.site.cleanup_idle_connections()
            for channel in serving.site.server.tracker:
                channel.loseConnection()


@pytest_twisted.ensureDeferred
async def test_one_too_many_comes_back(browser: webdriver.Chrome) -> None:
    """Told that there is no room, a native EventSource goes on trying; when there is, it is in."""
    hub = EventHub(reactor, max_subscribers=1, overload_seconds=(0.1, 0.2), retry_seconds=(0.1, 0.2))
    root = Resource()
    root.putChild(b"", Says(lambda request: BLANK))
    root.putChild(b"events", Subscribes(hub))
    async with visited(browser, root) as serving:
        await deferToThread(browser.get, f"{serving.url}/")
        await deferToThread(browser.execute_script, LISTEN, "/events?topic=t", {})
        await deferToThread(opens, browser, 1)
        browser_first = hub.subscribers()
        await deferToThread(browser.execute_script, "window.first = window.source; window.source = null;")
        await deferToThread(browser.execute_script, LISTEN, "/events?topic=t", {})
        await serving.wait_for(lambda: hub.refused >= 3, "three refusals")
        assert hub.subscribers() == browser_first
        assert await deferToThread(browser.execute_script, "return source.readyState") != 2
        await deferToThread(browser.execute_script, "window.first.close()")
        await serving.wait_for(lambda: hub.subscribers() not in ([], browser_first), "the other is in")
        hub.publish("t", "at last")
        assert [data for _, _, data in await deferToThread(has, browser, 1)] == ["at last"]


@pytest_twisted.ensureDeferred
async def test_a_compressed_stream(browser: webdriver.Chrome) -> None:
    """Chromium asks for gzip, and has each event before the next is sent."""
    hub = EventHub(reactor)
    root = Resource()
    root.putChild(b"", Says(lambda request: BLANK))
    root.putChild(b"events", Subscribes(hub))
    async with visited(browser, root) as serving:
        await deferToThread(browser.get, f"{serving.url}/")
        await deferToThread(browser.execute_script, LISTEN, "/events?topic=t", {})
        await deferToThread(opens, browser, 1)
        (subscriber,) = hub.subscribers()
        assert isinstance(subscriber._coding, GzipStream)
        sent = []
        for number in range(10):
            sent.append(f"{number} äöü " * 50)
            hub.publish("t", sent[-1])
            got = await deferToThread(has, browser, number + 1)
        assert [data for _, _, data in got] == sent
        await deferToThread(close, browser)

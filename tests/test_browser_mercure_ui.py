"""The page to try the hub with, in a browser: what it does, shows, is refused, and does not keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.resource import IResource, Resource

from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.sse.tokens import Key
from hardhttp.tap.hub import HubOver
from hardhttp.wire.eventstream import Parser
from tests.chromium import browser, complaints, fits, until, visit
from tests.sse.interop import PATH, SECRET, token
from tests.test_browser_events import BLANK, visited
from tests.web.saying import Says

__all__ = ["browser"]
pytestmark = pytest.mark.browser


class Book(Resource):
    """A resource that says where its hub is, and is nobody to show a token to."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        assert request.getHeader(b"authorization") is None
        links = f'<https://example.com/books/1>; rel="self", <{PATH}>; title="a, b"; rel="x mercure"; last-event-id=i-1'
        request.setHeader(b"Link", links.encode())
        return b"{}"


class Tried(Resource):
    """A hub with its page, as ``twistd hardhttp --mercure-ui`` has them; ``asked`` is what was asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.hub = EventHub(reactor, history=MemoryHistory(reactor), **options)
        self.asked: list[str] = []
        self.origins: set[bytes] = set()
        key = Key.parse(SECRET, "HS256")
        mercure = Mercure(
            self.hub,
            publisher_key=key,
            subscriber_key=key,
            anonymous=True,
            subscriptions=True,
            publish_origins=self.origins,
        )
        site = Resource()
        site.putChild(b"book", Book())
        site.putChild(b"", Says(lambda request: BLANK))
        self._tree = HubOver(mercure, site, ui=True)

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        self.asked.append(f"{request.method.decode()} {request.uri.decode()}")
        return self._tree.getChildWithDefault(path, request)


def enter(driver: webdriver.Chrome, **fields: str) -> None:
    for name, value in fields.items():
        driver.execute_script(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input'))",
            name,
            value,
        )


def text(driver: webdriver.Chrome, name: str) -> str:
    return str(driver.execute_script("return document.getElementById(arguments[0]).innerText", name))


def press(driver: webdriver.Chrome, selector: str) -> None:
    driver.find_element("css selector", selector).click()


def try_it(driver: webdriver.Chrome) -> None:
    """Subscribe, and see what was lost; publish two events and see them, and who is there."""
    enter(
        driver,
        token=token(publish=["https://example.com/{a}", "t"], subscribe=["*"], payload={"user": "ada"}),
        topics="t\nhttps://example.com/{a}",
        last="aaaaaaaa-7",
    )
    allowed = "publish: https://example.com/{a} t · subscribe: * · ends: never"
    assert text(driver, "token-said") == allowed
    press(driver, "#subscribe [type=submit]")
    until(lambda: text(driver, "status") == "live", "the page is subscribed")
    enter(driver, **{"publish-topics": "t", "data": "two\nlines", "id": "mine-1", "type": "sold", "retry": "1000"})
    press(driver, "#private")
    press(driver, "#publish [type=submit]")
    until(lambda: text(driver, "publish-said") == "Published: mine-1", "the publication is confirmed")
    enter(driver, **{"publish-topics": "https://example.com/x", "data": "long" * 60, "id": "", "type": ""})
    press(driver, "#publish [type=submit]")
    until(lambda: text(driver, "count") == "3", "both are shown, after the gap")
    press(driver, "#refresh")
    until(lambda: text(driver, "subscriptions").count("urn:uuid:") == 2, "both subscriptions are shown")
    assert '{"user":"ada"}' in text(driver, "subscriptions")
    newest, sold, gap = driver.find_elements("css selector", "#events li")
    assert ("message" in newest.text, "long" * 60 in newest.text) == (True, True)
    assert ("sold" in sold.text, "mine-1" in sold.text, "two\nlines" in sold.text) == (True, True, True)
    assert "Events from aaaaaaaa-8 are lost (restart)." in gap.text
    assert "retry 1.0 s · last id" in text(driver, "stream")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest_twisted.ensureDeferred
async def test_the_page_works_and_fits(browser: webdriver.Chrome, tmp_path: Path, width: int, scheme: str) -> None:
    tried = Tried()

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/", width, scheme)
        assert browser.execute_script("return document.getElementById('hub').value") == f"{url}{PATH}"
        try_it(browser)
        fits(browser, width, scheme, tmp_path / f"events-{width}-{scheme}.png")

    async with visited(browser, tried) as serving:
        await deferToThread(look, serving.url)


@pytest_twisted.ensureDeferred
async def test_the_page_says_what_was_refused(browser: webdriver.Chrome) -> None:
    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui")  # without its slash it is found too
        press(browser, "#publish [type=submit]")
        until(lambda: text(browser, "publish-said").startswith("401"), "publishing needs a token")
        press(browser, "#refresh")
        until(lambda: text(browser, "subscriptions-said").startswith("401"), "so does who is there")
        enter(browser, token="x")
        press(browser, "#subscribe [type=submit]")
        until(lambda: text(browser, "status") == "refused", "a bad token is refused for good")
        assert "token" in text(browser, "stream-said")
        enter(browser, token="", hub=f"{url.replace('127.0.0.1', '127.0.0.2')}{PATH}")
        press(browser, "#publish [type=submit]")
        until(lambda: text(browser, "publish-said").startswith("It was not sent"), "no other host is reached")
        assert url in text(browser, "publish-said")
        assert any("Content Security Policy" in said for said in complaints(browser))
        enter(browser, hub=f"{url}{PATH}", token="no token")
        press(browser, "#subscribe [type=submit]")
        assert not browser.execute_script("return document.getElementById('token').validity.valid")
        assert text(browser, "status") == "refused", "it was not sent"
        press(browser, "#publish [type=submit]")
        assert text(browser, "publish-said").startswith("It was not sent"), "nor was this"

    async with visited(browser, Tried()) as serving:
        await deferToThread(look, serving.url)


@pytest_twisted.ensureDeferred
async def test_the_page_takes_its_stream_up_again(browser: webdriver.Chrome) -> None:
    tried = Tried(retry_seconds=(0.1, 0.2))

    def begin(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        enter(browser, topics="t", last="earliest")
        press(browser, "#subscribe [type=submit]")
        until(lambda: text(browser, "count") == "1", "what was kept is shown")
        assert text(browser, "status") == "live"

    def stop() -> None:
        until(lambda: text(browser, "count") == "3", "each is shown once")
        assert browser.execute_script("return [...document.querySelectorAll('#events pre')].map(e => e.innerText)") == [
            "live",
            "missed",
            "kept",
        ]
        assert "connection 2" in text(browser, "stream")
        press(browser, "#stop")
        assert text(browser, "status") == "not subscribed"

    async with visited(browser, tried) as serving:
        tried.hub.publish("t", "kept")
        await deferToThread(begin, serving.url)
        first = tried.hub.subscribers()
        tried.hub.close_all()
        tried.hub.publish("t", "missed")
        await serving.wait_for(lambda: tried.hub.subscribers() not in ([], first), "it is back")
        tried.hub.publish("t", "live")
        await deferToThread(stop)
        await serving.wait_for(lambda: not tried.hub.subscriber_count, "nobody is subscribed")


@pytest_twisted.ensureDeferred
async def test_the_page_waits_for_its_place(browser: webdriver.Chrome) -> None:
    tried = Tried(max_subscribers=1, overload_seconds=(0.5, 0.5))
    async with visited(browser, tried) as serving:
        tried.hub.max_subscribers = 0
        await deferToThread(visit, browser, f"{serving.url}{PATH}/ui/")
        await deferToThread(press, browser, "#subscribe [type=submit]")
        await deferToThread(until, lambda: text(browser, "status") == "reconnecting", "it will come again")
        await deferToThread(until, lambda: "again in" in text(browser, "stream"), "and says when")
        assert (await deferToThread(text, browser, "stream-said")).startswith("503")
        tried.hub.max_subscribers = 1
        await deferToThread(until, lambda: text(browser, "status") == "live", "it is in")
        assert await deferToThread(text, browser, "stream-said") == ""


MARKUP = "<img src=x onerror='window.ran = true'><script>window.ran = true</script>"


@pytest_twisted.ensureDeferred
async def test_the_page_shows_text_and_no_more_than_it_can(browser: webdriver.Chrome) -> None:
    tried = Tried()

    def begin(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        enter(browser, token=token(subscribe=["*"], payload={"user": MARKUP}), topics=f"t\n{MARKUP}")
        press(browser, "#subscribe [type=submit]")
        until(lambda: MARKUP in text(browser, "subscriptions"), "who is there is shown")

    def end() -> None:
        until(lambda: text(browser, "count") == "601, the last 500 below", "all are counted")
        rows = browser.execute_script("return [...document.querySelectorAll('#events li')].map(e => e.textContent)")
        assert len(rows) == 500
        assert all(each in rows[0] for each in (MARKUP, f"gap {MARKUP}", f"#{MARKUP}"))
        assert "… (5,000 characters in all)" in rows[1]
        assert len(rows[1]) < 4200
        assert rows[2].endswith("598")
        assert browser.execute_script("return document.querySelector('li img, li script, p img') ?? window.ran") is None
        press(browser, "#clear")
        assert (text(browser, "count"), text(browser, "events")) == ("0", "")

    async with visited(browser, tried) as serving:
        await deferToThread(begin, serving.url)
        for number in range(599):
            tried.hub.publish("t", str(number))
        tried.hub.publish("t", "x" * 5000)
        tried.hub.publish("t", MARKUP, event=f"gap {MARKUP}", id=f"i#{MARKUP}")
        await deferToThread(end)


@pytest_twisted.ensureDeferred
async def test_a_token_is_kept_nowhere(browser: webdriver.Chrome) -> None:
    tried, secret = Tried(), token(publish=["*"], subscribe=["*"])

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        enter(browser, token=secret, topics="t", **{"publish-topics": "t"})
        press(browser, "#subscribe [type=submit]")
        until(lambda: text(browser, "status") == "live", "it is subscribed")
        press(browser, "#publish [type=submit]")
        until(lambda: text(browser, "count") == "1", "it has published")
        kept = browser.execute_async_script(
            "const done = arguments[0];"
            "Promise.all([indexedDB.databases(), caches.keys()]).then(found => done(JSON.stringify("
            "[found, {...localStorage}, {...sessionStorage}, document.cookie, history.state, location.href])));"
        )
        assert kept == f'[[[],[]],{{}},{{}},"",null,"{url}{PATH}/ui/"]'
        browser.get(f"{url}/")
        browser.back()
        assert browser.execute_script("return document.getElementById('token').value") == ""
        assert text(browser, "status") == "not subscribed"
        enter(browser, token=secret)  # a browser that keeps a page whole, to come back to it, tells it so
        browser.execute_script("dispatchEvent(new Event('pagehide'))")
        assert browser.execute_script("return document.getElementById('token').value") == ""

    async with visited(browser, tried) as serving:
        await deferToThread(look, serving.url)
        await serving.wait_for(lambda: not tried.hub.subscriber_count, "a page that is left is not subscribed")
    assert any("topic=t" in asked for asked in tried.asked)
    assert not any(secret in asked for asked in tried.asked)


@pytest_twisted.ensureDeferred
async def test_the_page_uses_the_cookie_when_told_to(browser: webdriver.Chrome) -> None:
    tried = Tried()

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        browser.add_cookie({"name": "mercureAuthorization", "value": token(publish=["*"], subscribe=["*"])})
        enter(browser, topics="t", **{"publish-topics": "t"})
        press(browser, "#publish [type=submit]")
        until(lambda: text(browser, "publish-said").startswith("401"), "nobody asked for the cookie")
        press(browser, "#by-cookie")
        press(browser, "#subscribe [type=submit]")
        until(lambda: text(browser, "status") == "live", "it is subscribed")
        press(browser, "#private")
        press(browser, "#publish [type=submit]")
        until(lambda: text(browser, "count") == "1", "the private event is there")
        browser.delete_all_cookies()

    async with visited(browser, tried) as serving:
        tried.origins.add(serving.url.encode())
        await deferToThread(look, serving.url)


@pytest_twisted.ensureDeferred
async def test_the_page_finds_the_hub_of_a_resource(browser: webdriver.Chrome) -> None:
    def value(name: str) -> str:
        return str(browser.execute_script("return document.getElementById(arguments[0]).value", name))

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        enter(browser, hub="", resource="/", last="kept")
        press(browser, "#discover [type=submit]")
        until(lambda: "no Link" in text(browser, "discover-said"), "there is none")
        assert (value("hub"), value("last")) == ("", "kept")
        enter(browser, resource="/book", token=token())
        press(browser, "#discover [type=submit]")
        until(lambda: "Found" in text(browser, "discover-said"), "the hub is found")
        assert value("hub") == f"{url}{PATH}"
        assert value("topics") == "https://example.com/books/1"
        assert value("last") == "i-1"

    async with visited(browser, Tried()) as serving:
        await deferToThread(look, serving.url)


@pytest_twisted.ensureDeferred
async def test_the_page_works_by_keyboard(browser: webdriver.Chrome) -> None:
    """From field to field in the order they are read, and each does what its key says."""

    def focused() -> str:
        return str(browser.execute_script("return document.activeElement.id || document.activeElement.innerText"))

    def keys(*pressed: str) -> None:
        ActionChains(browser).send_keys(*pressed).perform()

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        enter(browser, topics="t", **{"publish-topics": "t"})
        found = []
        for _ in range(19):
            keys(Keys.TAB)
            found.append(focused())
            if found[-1] == "token":
                keys(token(publish=["*"], subscribe=["*"]))
            if found[-1] == "Subscribe":
                keys(Keys.ENTER)
                until(lambda: text(browser, "status") == "live", "Enter subscribes")
            if found[-1] == "private":
                keys(Keys.SPACE)
        assert " ".join(found) == (
            "hub resource Discover by-token token topics last Subscribe stop publish-topics data id type retry"
            " Publish private clear events refresh"
        )
        browser.execute_script("document.getElementById('data').focus()")
        ActionChains(browser).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
        until(lambda: text(browser, "count") == "1", "Control and Enter publish, and private was ticked")
        assert focused() == "data"
        browser.execute_script("for (let i = 0; i < 2; i++) document.getElementById('publish').requestSubmit()")
        until(lambda: text(browser, "count") == "2", "twice in one moment is once")

    tried = Tried()
    async with visited(browser, tried) as serving:
        await deferToThread(look, serving.url)
    assert tried.asked.count(f"POST {PATH}") == 2


READ = """
const [pieces, lastId, done] = arguments;
import("./debugstream.js").then(({EventParser}) => {
  const run = (...pieces) => {
    const found = [], parser = new EventParser(({id, type, data}) => found.push([type, data, id]), lastId);
    parser.begin();
    for (const piece of pieces) parser.feed(piece);
    return JSON.stringify([found, parser.lastId, parser.retryMs]);
  };
  const whole = run(pieces), others = new Set([run(...pieces)]);
  for (let at = 0; at <= pieces.length; at++) others.add(run(pieces.slice(0, at), pieces.slice(at)));
  done([JSON.parse(whole), others.size === 1 && others.has(whole)]);
});
"""
# Its last event is none yet: neither is its id.
STREAM = (
    ": a comment\nretry: 20\n\nid: 1\nevent: sold\ndata: x\ndata\r\ndata:  y\r\n\r\ndata: only CR\rid: 2\r\r"
    "id: 3\n\nid: no\0thing\nretry: 1x\ndata:\n\ndatum: z\n\nid\ndata: €\n\nid: 4\n\nid: 5\ndata: half\n"
)


@pytest_twisted.ensureDeferred
async def test_the_page_reads_a_stream_as_we_do(browser: webdriver.Chrome) -> None:
    """At every split: lines of all three ends, fields without a value, and half an event."""

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        parser = Parser(last_event_id="0")
        expected = [[event.type, event.data, event.id] for event in parser.feed(STREAM.encode())]
        assert len(expected) == 4
        read, same_at_each_split = browser.execute_async_script(READ, STREAM, "0")
        assert read == [expected, parser.last_event_id, parser.retry_ms] == [expected, "4", 20]
        assert same_at_each_split
        bound = browser.execute_async_script(
            "const done = arguments[0]; import('./debugstream.js').then(({EventParser}) => done("
            "[8 << 20, (8 << 20) + 1].map(size => {"
            "  try { new EventParser(() => 0).feed('x'.repeat(size)); return 'fits'; }"
            "  catch (error) { return String(error); }"
            "})));"
        )
        assert bound == ["fits", "Error: an event is too long to be shown"]

    async with visited(browser, Tried()) as serving:
        await deferToThread(look, serving.url)


@pytest_twisted.ensureDeferred
async def test_the_page_follows_who_is_there(browser: webdriver.Chrome) -> None:
    """Told of a subscription, it asks for all; it shows no more of them than it can."""

    def look(url: str) -> None:
        visit(browser, f"{url}{PATH}/ui/")
        enter(browser, token=token(subscribe=["*"]), topics=f"{PATH}/subscriptions{{/topic}}{{/subscriber}}")
        press(browser, "#subscribe [type=submit]")
        until(lambda: text(browser, "there") == "1", "itself is there")
        browser.execute_script("new EventSource(arguments[0])", f"{PATH}?topic=another")
        until(lambda: text(browser, "there") == "2", "another is there")
        assert "another" in text(browser, "subscriptions")
        many = "{subscriptions: Array.from({length: 501}, (_, i) => ({topic: `t${i}`, subscriber: 'x'}))}"
        browser.execute_script(f"window.fetch = async () => new Response(JSON.stringify({many}))")
        press(browser, "#refresh")
        until(lambda: text(browser, "there") == "501, 1 of them not shown", "all are counted")
        assert browser.execute_script("return document.querySelectorAll('#subscriptions li').length") == 500

    async with visited(browser, Tried()) as serving:
        await deferToThread(look, serving.url)

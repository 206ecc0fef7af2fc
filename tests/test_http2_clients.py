"""HTTP/2 as curl, nghttp, h2load and Chromium speak it, on real sockets.

A program that is not installed is skipped; CI has them all.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from autobahn.twisted.resource import WebSocketResource as AutobahnResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from selenium import webdriver
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.resource import Resource

from hardhttp import EventHub, Limits, Site, WebSocketResource, listen
from hardhttp.sse.stream import EventStream
from hardhttp.sse.websocket import EventSockets
from hardhttp.web.websocket import WebSocket
from tests.chromium import browser
from tests.net.loopback import certificate
from tests.serving import Serving, serve
from tests.web.saying import Says
from tests.web.test_websocket_clients import until

__all__ = ["browser"]

TABS = 30
# A page that opens so many streams of events to its own origin, and says how many have got the event.
PAGE = b"""<!doctype html><title>0</title><script>
let count = 0;
const sources = Array.from({length: %d}, () => new EventSource("/events"));
for (const source of sources)
    source.addEventListener("told", () => { document.title = ++count; });
</script>"""


class SecureServing(Serving):
    """A site over TLS, on ``hardhttp.listen``."""

    def __init__(self, site: Site, pem: Path) -> None:
        super().__init__(site, "fast")
        self._pem = pem

    async def begin(self) -> None:
        where = f"ssl:0:interface=127.0.0.1:privateKey={self._pem}:certKey={self._pem}"
        self._port = await listen(reactor, where, self.site)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"needs {name}, of curl or nghttp2-client")
    return found


async def run(name: str, *words: str) -> str:
    out, err, status = await getProcessOutputAndValue(program(name), words)
    assert status == 0, (out + err).decode()
    return str((out + err).decode())


def tree() -> Resource:
    root = Resource()
    root.putChild(b"", Says(lambda request: b"hello"))
    root.putChild(b"echo", Says(lambda request: b"%d bytes" % len(request.content.read())))
    root.putChild(b"large", Says(lambda request: b"x" * 3_000_000))
    return root


@pytest_twisted.ensureDeferred
async def test_curl(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(bytes(300_000))
    async with serve("fast", tree()) as serving:
        words = ("-sS", "--http2-prior-knowledge", "-w", " %{http_version} %{http_code}")
        assert await run("curl", *words, serving.url + "/") == "hello 2 200"
        body = f"@{tmp_path / 'body'}"
        assert await run("curl", *words, "--data-binary", body, serving.url + "/echo") == "300000 bytes 2 200"
        assert (await run("curl", *words, "-o", str(tmp_path / "got"), serving.url + "/large")) == " 2 200"
        assert (tmp_path / "got").stat().st_size == 3_000_000


@pytest_twisted.ensureDeferred
async def test_curl_by_alpn(tmp_path: Path) -> None:
    serving = SecureServing(Site(tree(), reactor=reactor), certificate(tmp_path))
    await serving.begin()
    try:
        words = ("-sSk", "-w", " %{http_version}")
        assert await run("curl", *words, "--http2", serving.url + "/") == "hello 2"
        assert await run("curl", *words, "--http1.1", serving.url + "/") == "hello 1.1"
    finally:
        await serving.end()


@pytest_twisted.ensureDeferred
async def test_nghttp() -> None:
    async with serve("fast", tree()) as serving:
        said = await run("nghttp", "-nv", serving.url + "/", serving.url + "/large")
        assert len(re.findall(r":status: 200", said)) == 2
        assert "error_code=NO_ERROR" in said


@pytest_twisted.ensureDeferred
async def test_h2load() -> None:
    async with serve("plain", tree()) as serving:
        said = await run("h2load", "-n500", "-c5", "-m20", serving.url + "/")
        assert "500 succeeded, 0 failed, 0 errored, 0 timeout" in said


SOCKETS = b"""<!doctype html><title>sockets</title><script>
const said = [], closed = [];
function open(path, protocols = ["echo"]) {
  const socket = new WebSocket(location.href.replace("http", "ws").replace("page", path), protocols);
  socket.onmessage = message => { said.push(message.data); };
  socket.onclose = event => { closed.push([event.code, event.reason, event.wasClean]); };
  socket.onopen = () => { said.push("open " + socket.protocol + " " + socket.extensions); };
  return socket;
}
</script>"""


@pytest.mark.browser
@pytest_twisted.ensureDeferred
async def test_chromium_opens_websockets_as_streams(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """By itself, on the connection that the page came by. One that only autobahn can open goes over HTTP/1.1."""
    root, opened = Resource(), []
    hub = EventHub(reactor, retry_seconds=None)

    def on_connect(socket: WebSocket) -> None:
        opened.append((socket.request.clientproto, socket.request.channel.number))

    def on_message(socket: WebSocket, message: Any) -> None:
        socket.send(message)

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.sendMessage(payload, isBinary)

    autobahn = WebSocketServerFactory()
    autobahn.protocol = Echo
    autobahn.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)  # it would leave timers
    autobahn.startFactory()
    root.putChild(b"page", Says(lambda request: SOCKETS))
    ours = WebSocketResource(on_connect=on_connect, on_message=on_message, subprotocols=["echo"], deflate=True)
    root.putChild(b"echo", ours)
    root.putChild(b"hub", EventSockets(hub))
    root.putChild(b"foreign", AutobahnResource(autobahn))
    limits = Limits(websocket_ping_seconds=1, websocket_pong_seconds=1, max_websocket_messages=4)
    serving = SecureServing(Site(root, reactor=reactor, limits=limits), certificate(tmp_path))
    await serving.begin()

    def ours_over_http2() -> None:
        browser.execute_cdp_cmd("Security.setIgnoreCertificateErrors", {"ignore": True})
        browser.get(serving.url + "/page")
        browser.execute_script("window.one = open('echo')")
        assert until(browser, "said[0]").startswith("open echo permessage-deflate")
        browser.execute_script("for (let i = 0; i < 200; i++) one.send('message ' + i)")
        assert until(browser, "said.length == 201 && said[200]") == "message 199"
        browser.execute_script("one.send('x'.repeat(1000000))")
        assert until(browser, "said.length == 202 && said[201].length") == 1_000_000
        time.sleep(3)  # pings are answered by the browser itself
        browser.execute_script("one.close(3000, 'enough')")
        assert until(browser, "closed[0]") == [3000, "", True]
        browser.execute_script("window.two = open('echo'); two.onopen = () => two.send('x'.repeat(1048577))")
        assert until(browser, "closed[1]")[0] == 1009
        browser.execute_script("said.length = 0; window.three = open('hub?topic=t', [])")
        until(browser, "said.length == 1")

    try:
        await deferToThread(ours_over_http2)
        hub.publish("t", "by the hub")
        said = json.loads(await deferToThread(until, browser, "said[1]"))
        assert said == {"event": "message", "data": "by the hub", "id": hub.last_id}
        assert [version for version, _ in opened] == [b"HTTP/2.0"] * 2
        assert serving.site.connection_count == 1
        assert serving.site.statistics.refused["pong-seconds"] == 0

        def foreign_over_http_11() -> None:
            browser.execute_script("said.length = 0; window.four = open('foreign', [])")
            until(browser, "said.length == 1")
            browser.execute_script("four.send('by HTTP/1.1')")
            assert until(browser, "said[1]") == "by HTTP/1.1"
            browser.execute_script("closed.length = 0; four.close(1000)")
            assert until(browser, "closed[0]")[0] == 1000

        await deferToThread(foreign_over_http_11)
        await deferToThread(browser.get, "about:blank")
    finally:
        for channel in serving.site.server.tracker:
            channel.drain()
        await serving.end()


@pytest.mark.browser
@pytest_twisted.ensureDeferred
async def test_thirty_streams_of_events_to_one_origin(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Over HTTP/1.1 a browser opens six, and every other request to the origin waits for ever."""
    root = tree()
    events = EventStream(reactor)
    root.putChild(b"events", events)
    root.putChild(b"page", Says(lambda request: PAGE % TABS))
    serving = SecureServing(Site(root, reactor=reactor), certificate(tmp_path))
    await serving.begin()
    try:
        await deferToThread(browser.execute_cdp_cmd, "Security.setIgnoreCertificateErrors", {"ignore": True})
        await deferToThread(browser.get, serving.url + "/page")
        await serving.wait_for(lambda: events.subscriber_count == TABS, f"{TABS} subscribers")
        assert serving.site.connection_count <= 2
        events.publish("now", "told")

        def told() -> Any:
            return browser.execute_async_script(
                "const [wanted, done] = arguments;"
                "const look = () => document.title == wanted ? done(document.title) : setTimeout(look, 20); look();",
                TABS,
            )

        assert await deferToThread(told) == str(TABS)
        answer = await deferToThread(
            browser.execute_async_script, "fetch('/').then(r => r.text()).then(arguments[0], arguments[0])"
        )
        assert answer == "hello"
        await deferToThread(browser.execute_script, "sources.forEach(source => source.close())")
        await serving.wait_for(lambda: events.subscriber_count == 0, "the end of every stream")
    finally:
        for channel in serving.site.server.tracker:
            channel.drain()
        await serving.end()

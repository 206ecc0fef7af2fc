"""WebSockets by real clients over real sockets: websockets, autobahn, and Chromium with a page of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from asyncio import wait_for
from pathlib import Path
from typing import Any

import pytest
from autobahn.twisted.resource import WebSocketResource as AutobahnResource
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from pytest_twisted import ensureDeferred
from selenium import webdriver
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.static import Data
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from hardhttp import EventHub, Limits, Site, WebSocketResource
from hardhttp.sse.websocket import EventSockets
from hardhttp.web.websocket import WebSocket
from tests.chromium import PATIENCE_SECONDS, browser
from tests.net.loopback import Loopback, blocking, certificate, result_of
from tests.serving import serve
from tests.web.websocketing import echo
from tests.websocket_process import port

__all__ = ["browser", "port"]


@pytest.mark.parametrize("path", ["/", "/handler"])
@pytest.mark.parametrize("compression", ["deflate", None])
def test_websockets(port: int, path: str, compression: str | None) -> None:
    url = f"ws://127.0.0.1:{port}{path}"
    with connect(url, compression=compression, subprotocols=["other", "echo"], max_size=None) as client:  # type: ignore[arg-type]
        assert client.subprotocol == ("echo" if path == "/handler" else None)
        for message in ("grüße", b"\0\xff", "", "x" * 1_000_000, bytes(range(256)) * 2000):
            client.send(message)
            assert client.recv(PATIENCE_SECONDS) == message
        client.send(["in ", "pieces"])
        assert client.recv(PATIENCE_SECONDS) == "in pieces"
        assert client.ping().wait(PATIENCE_SECONDS)
    assert client.close_code == 1000


def test_websockets_is_refused_by_origin(port: int) -> None:
    with pytest.raises(InvalidStatus) as raised:
        connect(f"ws://127.0.0.1:{port}/", origin="https://evil.example")  # type: ignore[arg-type]
    assert raised.value.response.status_code == 403
    with connect(f"ws://127.0.0.1:{port}/", origin=f"http://127.0.0.1:{port}") as client:  # type: ignore[arg-type]
        client.send("x")
        assert client.recv(PATIENCE_SECONDS) == "x"


def test_websockets_reads_why_it_was_closed(port: int) -> None:
    """Though it is still sending."""
    with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
        client.send([b"x" * 1_000_000] * 34)
        with pytest.raises(ConnectionClosed):
            client.recv(PATIENCE_SECONDS)
        assert client.close_code == 1009


@ensureDeferred
async def test_autobahn(port: int) -> None:
    done: Deferred[Any] = Deferred()

    class Client(WebSocketClientProtocol):
        got: list[Any] = []

        def onOpen(self) -> None:
            for number in range(100):
                self.sendMessage(b"%d" % number)
            self.sendMessage(b"\0" * 500_000, isBinary=True)

        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.got.append(payload)
            if isBinary:
                self.sendClose(3001, "done")

        def onClose(self, wasClean: bool, code: int, reason: str) -> None:
            done.callback((wasClean, code))

    factory = WebSocketClientFactory(f"ws://127.0.0.1:{port}/handler")
    factory.protocol = Client
    reactor.connectTCP("127.0.0.1", port, factory)
    assert await done == (True, 3001)
    assert Client.got == [*(b"%d" % number for number in range(100)), b"\0" * 500_000]


@pytest.mark.parametrize("fast", [True, False])
@blocking
def test_websockets_over_tls_and_on_either_port(fast: bool, tmp_path: Path) -> None:
    reader, limits = SlowReader(), Limits(max_websocket_messages=4, max_websocket_message_bytes=100_000)
    root = Resource()
    root.putChild(b"echo", WebSocketResource(on_message=echo()))
    root.putChild(b"slow", WebSocketResource(reader))
    pem = certificate(tmp_path)

    async def converse(port: int) -> None:
        async with over_tls(port, "/echo", pem) as client:
            for message in ("grüße", b"x" * 100_000, "x"):
                await client.send(message)
                assert await wait_for(client.recv(), PATIENCE_SECONDS) == message
            await client.send("x" * 100_001)
            with pytest.raises(ConnectionClosed):
                await wait_for(client.recv(), PATIENCE_SECONDS)
            assert client.close_code == 1009
        async with over_tls(port, "/slow", pem) as client:
            for number in range(200):
                await client.send(f"{number}".ljust(5000))
        assert [int(message) for message in reader.taken] == list(range(200))

    with Loopback(root, fast=fast, certificate=pem, limits=limits) as loop:
        result_of(deferToThread(asyncio.run, converse(loop.port.getHost().port)))
        assert loop.site.server.draining is False


def over_tls(port: int, path: str, pem: Path) -> connect_async:
    """In one thread: the other client reads in one and writes in another, and OpenSSL's connections are not for two at
    once (a request was lost in one of fifty, while the server's session tickets were read)."""
    trusting = ssl.create_default_context(cafile=str(pem))
    return connect_async(
        f"wss://localhost:{port}{path}", ssl=trusting, host="127.0.0.1", server_hostname="localhost", compression=None
    )


@blocking
def test_a_server_s_autobahn_over_tls(tmp_path: Path) -> None:
    """It asks whether its transport is Twisted's TLS, and takes that over by another name."""

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            self.sendMessage(payload, isBinary)

    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.setProtocolOptions(openHandshakeTimeout=0, closeHandshakeTimeout=0)  # it would leave timers
    root, pem = Resource(), certificate(tmp_path)
    root.putChild(b"echo", AutobahnResource(factory))

    async def converse(port: int) -> None:
        async with over_tls(port, "/echo", pem) as client:
            await client.send("hello")
            assert await wait_for(client.recv(), PATIENCE_SECONDS) == "hello"

    with Loopback(root, fast=True, certificate=pem) as loop:
        result_of(deferToThread(asyncio.run, converse(loop.port.getHost().port)))


class SlowReader:
    """Takes a message a turn."""

    def __init__(self) -> None:
        self.taken: list[Any] = []

    async def __call__(self, socket: WebSocket) -> None:
        async for message in socket:
            self.taken.append(message)
            await deferLater(reactor, 0)


# -- Chromium -----------------------------------------------------------------------------------

LIMITS = Limits(websocket_ping_seconds=1, websocket_pong_seconds=1, max_websocket_messages=4)
PAGE = b"""<!doctype html><meta charset=utf-8><title>sockets</title><script>
const said = [], closed = [];
function open(path, protocols) {
  const socket = new WebSocket(location.href.replace("http", "ws") + path, protocols);
  socket.onmessage = message => { said.push(message.data); };
  socket.onclose = event => { closed.push([event.code, event.reason, event.wasClean]); };
  socket.onopen = () => { said.push("open " + socket.protocol + " " + socket.extensions); };
  return socket;
}
</script>"""


def until(browser: webdriver.Chrome, expression: str) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := browser.execute_script(f"return {expression}")):
        assert time.monotonic() < deadline, browser.execute_script("return [said, closed]")
        time.sleep(0.02)
    return found


@pytest.mark.browser
@ensureDeferred
async def test_chromium(browser: webdriver.Chrome) -> None:
    hub = EventHub(reactor, retry_seconds=None)
    root = Resource()
    root.putChild(b"", Data(PAGE, "text/html"))
    root.putChild(b"echo", WebSocketResource(on_message=echo(), subprotocols=["echo"], deflate=True))
    root.putChild(b"hub", EventSockets(hub))
    site = Site(root, reactor=reactor, limits=LIMITS)

    def with_echo(url: str) -> None:
        browser.get(url)
        browser.execute_script("window.one = open('echo', ['other', 'echo'])")
        assert until(browser, "said[0]").startswith("open echo permessage-deflate")
        browser.execute_script("for (let i = 0; i < 200; i++) one.send('message ' + i)")
        assert until(browser, "said.length == 201 && said[200]") == "message 199"
        browser.execute_script("one.send('x'.repeat(1000000))")
        assert until(browser, "said.length == 202 && said[201].length") == 1_000_000
        time.sleep(4)  # pings are answered by the browser itself
        browser.execute_script("one.close(3000, 'enough')")
        assert until(browser, "closed[0]") == [3000, "", True]
        browser.execute_script("window.two = open('echo'); two.onopen = () => two.send('x'.repeat(1048577))")
        assert until(browser, "closed[1]")[0] == 1009
        browser.execute_script("said.length = 0; window.three = open('hub?topic=t')")
        until(browser, "said.length == 1")

    async with serve("fast", site) as serving:
        await deferToThread(with_echo, serving.url + "/")
        hub.publish("t", "by the hub")
        said = json.loads(await deferToThread(until, browser, "said[1]"))
        assert said == {"event": "message", "data": "by the hub", "id": hub.last_id}
        hub.close_all()
        assert (await deferToThread(until, browser, "closed[2]"))[0] == 1000
        await deferToThread(browser.get, "about:blank")
        assert site.statistics.refused["pong-seconds"] == 0

"""An agent behind proxies: which way a request goes, and what each party on it reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.client import readBody
from twisted.web.http_headers import Headers

from hardhttp.client import Agent, ClientLimits, Proxy, ProxyURLError, RequestRefused, TunnelError, reason_of
from hardhttp.client.endpoints import Endpoints
from hardhttp.client.proxyroutes import proxy_routes
from hardhttp.testing.misbehaving import Peer, serve
from tests.client.trust import Trust

PATIENCE_TURNS = 2000


async def turns(condition: Any) -> None:
    for _ in range(PATIENCE_TURNS):
        if condition():
            return
        await deferLater(reactor, 0.001)
    raise AssertionError("it does not come about")


@asynccontextmanager
async def serving(*wanted: tuple[str, Any]) -> AsyncIterator[list[Peer]]:
    peers = [serve(reactor, name, context=context) for name, context in wanted]
    try:
        yield peers
    finally:
        for peer in peers:
            await peer.stop()


@asynccontextmanager
async def asking(trust: Trust, proxy: Any, **limits: Any) -> AsyncIterator[Agent]:
    agent = Agent(reactor, ClientLimits(**limits), trust_root=trust.root, proxy=proxy)
    yield agent
    await agent.close()
    assert not any(agent.ledger.snapshot().values())


async def get(agent: Agent, url: str) -> bytes:
    response = await agent.request(b"GET", url.encode(), Headers({b"Cookie": [b"secret"]}))
    return await readBody(response)


def with_credentials(url: str) -> str:
    return url.replace("://", "://user:hunter2@")


@pytest.mark.parametrize("over_tls", [False, True])
@ensureDeferred
async def test_https_goes_through_a_tunnel(over_tls: bool, tmp_path: Path) -> None:
    """The tunnel is kept with its connection; the proxy reads CONNECT alone, the origin no credentials."""
    trust = Trust(tmp_path)
    wanted = ("sound", trust.server), ("tunnel", trust.server if over_tls else None)
    async with serving(*wanted) as (origin, proxy), asking(trust, with_credentials(proxy.url)) as agent:
        for _ in range(3):
            assert await get(agent, origin.url) == b"hello"
        (connect,) = proxy.requests
        assert (connect.method, connect.target) == (b"CONNECT", b"127.0.0.1:%d" % origin.port)
        assert connect.get(b"cookie") is None
        assert connect.get(b"proxy-authorization") == Proxy.parse(with_credentials(proxy.url)).authorization
        assert len(origin.requests) == 3
        assert all(asked.get(b"proxy-authorization") is None for asked in origin.requests)
        assert proxy.connections.open == 1


@ensureDeferred
async def test_tunnel_of_a_proxy_that_closes_serves_once(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    wanted = ("sound", trust.server), ("tunnel-closing", None)
    async with serving(*wanted) as (origin, proxy), asking(trust, proxy.url) as agent:
        for _ in range(3):
            assert await get(agent, origin.url) == b"hello"
        assert proxy.connections.ever == 3
        await turns(lambda: proxy.connections.open == 0)


@pytest.mark.parametrize("over_tls", [False, True])
@ensureDeferred
async def test_http_is_asked_of_the_proxy(over_tls: bool, tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    wanted = ("sound", None), ("forward", trust.server if over_tls else None)
    async with serving(*wanted) as (origin, proxy), asking(trust, with_credentials(proxy.url)) as agent:
        url = f"{origin.url}path?query"
        assert await get(agent, url) == b"hello"
        (asked,) = proxy.requests
        assert asked.target == url.encode()
        assert asked.get(b"host") == b"127.0.0.1:%d" % origin.port
        assert asked.get(b"proxy-authorization") == Proxy.parse(with_credentials(proxy.url)).authorization


@pytest.mark.parametrize("secure", [False, True])
@ensureDeferred
async def test_socks_opens_a_tunnel_for_both(secure: bool, tmp_path: Path) -> None:
    """The proxy is told the name and the credentials, and nothing of the request; the connection is used again."""
    trust = Trust(tmp_path)
    wanted = ("sound", trust.server if secure else None), ("socks", None)
    async with serving(*wanted) as (origin, proxy), asking(trust, with_credentials(proxy.url)) as agent:
        url = f"{origin.url}path?query".replace("127.0.0.1", "localhost")
        for _ in range(3):
            assert await get(agent, url) == b"hello"
        (asked,) = proxy.requests
        assert asked.target == b"localhost:%d" % origin.port
        assert asked.fields == ((b"user", b"user"), (b"password", b"hunter2"))
        assert len(origin.requests) == 3
        assert {request.target for request in origin.requests} == {b"/path?query"}
        assert all(request.get(b"proxy-authorization") is None for request in origin.requests)
        assert proxy.connections.open == 1


@pytest.mark.parametrize("url", ["http://origin:1/", "https://origin:1/"])
@ensureDeferred
async def test_socks_refusal_is_told(url: str, tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    async with serving(("socks-refused-held", None)) as (proxy,), asking(trust, proxy.url) as agent:
        with pytest.raises(TunnelError, match="the connection is refused") as raised:
            await get(agent, url)
        assert (raised.value.status, reason_of(raised.value)) == (None, "proxy-refused")
        await turns(lambda: proxy.connections.open == 0)
        with pytest.raises(RequestRefused):  # a name that SOCKS has no room for
            await get(agent, url.replace("origin", ".".join(["x" * 60] * 5)))


@ensureDeferred
async def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for each new connection, and what it excepts is reached directly."""
    trust = Trust(tmp_path)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    wanted = ("sound", None), ("forward", None)
    async with serving(*wanted) as (origin, proxy), asking(trust, "environment", max_idle_connections=0) as agent:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await get(agent, origin.url) == b"hello"
        assert len(proxy.requests) == 1
        await turns(lambda: not agent.ledger.snapshot()["hosts"])
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert await get(agent, origin.url) == b"hello"
        assert len(proxy.requests) == 1
        await turns(lambda: not agent.ledger.snapshot()["hosts"])
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.setenv("http_proxy", "socks4://user:hunter2@127.0.0.1")
        with pytest.raises(RequestRefused, match="http_proxy: socks4 is not spoken") as raised:
            await get(agent, origin.url)
        assert reason_of(raised.value) == "bad-proxy"
        assert "hunter2" not in str(raised.value)


def test_url_that_is_none() -> None:
    with pytest.raises(ProxyURLError, match="none of http, https"):
        Agent(reactor, proxy="ftp://proxy")


@pytest.mark.parametrize("spoken", ["http", "socks5"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_secret_is_shown(scheme: str, spoken: str) -> None:
    endpoints = Endpoints(reactor, ClientLimits())
    proxy = Proxy.parse(f"{spoken}://user:hunter2@proxy:1")
    routes = proxy_routes(reactor, ClientLimits(), endpoints, proxy)
    for shown in (repr(routes), repr(routes.route(scheme, "origin", 1))):
        assert "hunter2" not in shown
        assert str(proxy.authorization) not in shown


def test_socket_and_proxy() -> None:
    with pytest.raises(ValueError, match="one way or the other"):
        Agent(reactor, proxy="http://proxy", unix_socket="/socket")


@ensureDeferred
async def test_refusal_is_told(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    async with serving(("connect-407-held", None)) as (proxy,), asking(trust, proxy.url) as agent:
        with pytest.raises(TunnelError) as raised:
            await get(agent, "https://127.0.0.1:9/")
        assert (raised.value.status, reason_of(raised.value)) == (407, "proxy-refused")
        await turns(lambda: proxy.connections.open == 0)
        assert agent.statistics.failed["proxy-refused"] == 1


@ensureDeferred
async def test_cancelled_while_the_proxy_is_silent(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    async with serving(("connect-silent", None)) as (proxy,), asking(trust, proxy.url) as agent:
        asked = agent.request(b"GET", b"https://127.0.0.1:9/")
        asked.addErrback(lambda failure: None)
        await turns(lambda: proxy.requests)
        asked.cancel()
        await turns(lambda: proxy.connections.open == 0)
        assert not any(agent.ledger.snapshot().values())


@ensureDeferred
async def test_proxy_of_ones_own(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    async with serving(("sound", None), ("forward", None)) as (origin, proxy):
        async with asking(trust, Proxy("http", "127.0.0.1", proxy.port)) as agent:
            assert await get(agent, origin.url) == b"hello"
        assert len(proxy.requests) == 1

"""What is said of ``twisted.web.client.Agent`` and of treq on it still holds.

Each of these tests shows a defect. One that fails is good news: then the row can go, and the documentation with it.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.web.client import Agent, HTTPConnectionPool, ProxyAgent
from twisted.web.iweb import IAgent

from hardhttp.client.proxies import Proxy
from tests.client.table import ROWS
from tests.client.trial import Kind, Row, Trial
from tests.client.trust import Trust

pytestmark = pytest.mark.slow  # what others do wrong takes its time

ROWS_OF_STOCK = [row for row in ROWS if row.stock is not None]


def make(trust: Trust, proxy: str | None) -> IAgent:
    pool = HTTPConnectionPool(reactor)
    if proxy is None:
        return Agent(reactor, trust, pool=pool)
    where = Proxy.parse(proxy)
    return ProxyAgent(HostnameEndpoint(reactor, where.host, where.port), reactor, pool=pool)


async def close(agent: Any) -> None:
    await agent._pool.closeCachedConnections()


STOCK = Kind("stock", make, close, patience_turns=40)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row.name, marks=[pytest.mark.slow] if row.slow else []) for row in ROWS_OF_STOCK]
)
@ensureDeferred
async def test_stock_agent(row: Row, tmp_path: Path) -> None:
    trial = Trial(STOCK, Trust(tmp_path))
    try:
        assert await row.measure(trial) == row.stock
        assert row.stock != row.sound
    finally:
        await trial.end()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "outcomes"), [("connect-407-held", 20), ("connect-silent", 0)])
@ensureDeferred
async def test_scrapys_tunnels(name: str, outcomes: int, tmp_path: Path) -> None:
    """Of twenty tunnels that are refused or not answered, twenty sockets stay, also when all is collected."""
    from scrapy.core.downloader.handlers.http11 import _TunnelingAgent

    trust = Trust(tmp_path)
    trial = Trial(STOCK, trust)
    proxy = trial.peer(name)
    ended: list[Any] = []
    for _ in range(20):
        agent = _TunnelingAgent(
            reactor=reactor,
            proxyConf=("127.0.0.1", proxy.port, None),
            contextFactory=trust,
            connectTimeout=0.05,
            pool=HTTPConnectionPool(reactor),
        )
        agent.request(b"GET", b"https://127.0.0.1:9/").addBoth(ended.append)
    await trial.patience(lambda: len(proxy.requests) == 20 and len(ended) >= outcomes)
    await trial.patience(lambda: not proxy.connections.open)
    del agent
    gc.collect()
    await trial.patience(lambda: not proxy.connections.open)
    assert (len(ended), proxy.connections.open) == (outcomes, 20)
    await trial.end()

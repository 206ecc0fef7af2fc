"""Hubs that are one by a broker, of either kind; and what can be done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from hardhttp.brokers.memory import Exchange, MemoryBroker
from hardhttp.brokers.redis import RedisBroker
from hardhttp.interfaces import BrokerBounds, BrokerState, IBroker
from hardhttp.sse.hub import EventHub
from tests.brokers.between import Between
from tests.sse.subscribing import Hub
from tests.stores.conftest import own_redis, shared_redis  # noqa: F401 - fixtures
from tests.stores.redis_process import RedisProcess

_prefixes = count()
TURNS = 2000


class Node(Hub):
    """A hub with a broker."""

    def __init__(self, broker: IBroker, between: Between | None, **options: Any) -> None:
        super().__init__(broker=broker, **options)
        self.broker: Any = broker
        self.between = between

    @property
    def state(self) -> BrokerState | None:
        return self.hub.broker_state


class Cluster:
    """Nodes of one broker. Each Redis connection goes by a ``Between`` of the node's own."""

    def __init__(self, server: RedisProcess | None, stack: ExitStack) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self._server, self._stack = server, stack
        self._prefix = f"{{test}}:{next(_prefixes)}:"
        self.bounds = BrokerBounds()
        self.answer_seconds = 2.0
        self.exchange: Exchange | None = None
        self.nodes: list[Node] = []

    @property
    def is_memory(self) -> bool:
        return self._server is None

    def broker(self) -> tuple[IBroker, Between | None]:
        if self._server is None:
            if self.exchange is None:
                self.exchange = Exchange(self.reactor, self.bounds)
            return MemoryBroker(self.exchange), None
        between = Between(self.reactor, self._server.port)
        url = f"redis://127.0.0.1:{between.port}/0"
        options: dict[str, Any] = {"prefix": self._prefix, "bounds": self.bounds}
        return RedisBroker(url, self.reactor, answer_seconds=self.answer_seconds, **options), between

    def begin(self, **options: Any) -> Node:
        """One more node, which may not have reached the broker."""
        node = Node(*self.broker(), **options)
        self._stack.enter_context(node)
        self.nodes.append(node)
        node.rig.clock.advance(0)
        return node

    async def node(self, **options: Any) -> Node:
        """One more node, which is ready."""
        node = self.begin(**options)
        await self.ready(node)
        return node

    async def ready(self, *nodes: Node) -> None:
        await self.until(lambda: all(node.state is BrokerState.READY for node in nodes))

    async def until(self, true: Callable[[], object]) -> None:
        for _ in range(TURNS):
            for node in self.nodes:
                node.rig.clock.advance(0)
            if true():
                return
            await deferLater(self.reactor, 0.005)
        raise AssertionError("it did not become true")

    async def cut(self, node: Node) -> None:
        """This node alone does not reach the broker."""
        if node.between is None:
            node.broker.cut_off = True
        else:
            await node.between.cut()
        await self.until(lambda: node.state is not BrokerState.READY)

    def mend(self, node: Node) -> None:
        if node.between is None:
            node.broker.cut_off = False
        else:
            node.between.mend()

    def forget(self) -> None:
        """The broker loses everything it had."""
        if self._server is None:
            assert self.exchange is not None
            self.exchange.forget()
        else:
            self._server.command("FLUSHALL")

    async def leave(self, node: Node) -> None:
        """A node goes, with all its subscribers."""
        self.nodes.remove(node)
        await node.hub.stop()
        if node.between is not None:
            await node.between.close()

    async def close(self) -> None:
        for node in tuple(self.nodes):
            await self.leave(node)


@pytest.fixture(params=["memory", "redis"])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr("hardhttp.brokers.redis.WAIT_SECONDS", 0.1)
    server = request.getfixturevalue("shared_redis") if request.param == "redis" else None
    with ExitStack() as stack:
        made = Cluster(server, stack)
        yield made
        pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


__all__ = ["Cluster", "EventHub", "Node"]

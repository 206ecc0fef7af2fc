"""Publishing by POST while a broker brings the event to all nodes, or cannot."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from hardhttp.interfaces import BrokerState
from hardhttp.sse.mercure import PUBLISHED_SECONDS, Mercure
from hardhttp.sse.tokens import Key
from hardhttp.testing import Peer
from tests.brokers.conftest import Cluster, Node
from tests.sse.interop import SECRET, token
from tests.sse.subscribing import data_of, events


def mount(node: Node, **options: Any) -> Mercure:
    mercure = Mercure(node.hub, publisher_key=Key.parse(SECRET, "HS256"), anonymous=True, **options)
    node.rig.site.resource = mercure
    return mercure


def post(node: Node, data: str, **fields: str) -> Peer:
    body = urlencode({"topic": "t", "data": data, **fields})
    peer = node.rig.connect()
    peer.send(
        f"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token()}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode()
    )
    return peer


def answer(peer: Peer) -> tuple[int, bytes]:
    (response,) = peer.responses()
    return response.status, response.body


@ensureDeferred
async def test_the_answer_is_the_id_that_all_nodes_give(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    mount(one)
    peer = two.subscribe("topic=t")
    posted = post(one, "a")
    await cluster.until(lambda: posted.received and events(peer))
    assert answer(posted) == (200, events(peer)[0].id.encode())
    own = post(one, "b", id="urn:b")
    await cluster.until(lambda: own.received)
    assert answer(own) == (200, b"urn:b")


@ensureDeferred
async def test_away_it_is_503(cluster: Cluster) -> None:
    one = await cluster.node()
    mount(one)
    await cluster.cut(one)
    status, said = answer(post(one, "a"))
    assert status == 503
    assert b"Events cannot be published now." in said
    assert b"\r\nRetry-After: 2\r\n" in post(one, "a").received


@ensureDeferred
async def test_away_and_queued_it_is_202(cluster: Cluster) -> None:
    one = await cluster.node(broker_away="queue")
    mount(one)
    await cluster.cut(one)
    assert answer(post(one, "a")) == (202, b"")
    assert answer(post(one, "b", id="urn:b")) == (202, b"urn:b")
    peer = one.rig.connect()
    peer.send(b"GET /?topic=t HTTP/1.1\r\nHost: a\r\n\r\n")
    cluster.mend(one)
    await cluster.until(lambda: data_of(peer) == ["a", "b"])


class Slow:
    """Stands before a broker, and lets posts wait."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self.posts: list[tuple[Any, Deferred[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def post(self, post: Any) -> Deferred[Any]:
        self.posts.append((post, Deferred()))
        return self.posts[-1][1]

    def let_go(self) -> None:
        for post, waiting in self.posts:
            self._broker.post(post).chainDeferred(waiting)
        self.posts.clear()


@pytest.fixture
def slow(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> list[Slow]:
    """The brokers of the nodes to come."""
    made: list[Slow] = []
    plain = cluster.broker

    def broker() -> Any:
        found, between = plain()
        made.append(Slow(found))
        return made[-1], between

    monkeypatch.setattr(cluster, "broker", broker)
    return made


@ensureDeferred
async def test_a_publisher_that_leaves_before_the_answer(cluster: Cluster, slow: list[Slow]) -> None:
    one = await cluster.node()
    mount(one)
    posted = post(one, "a")
    assert posted.received == b""
    posted.reset()
    (receipt,) = one.hub._brokered._receipts.values()
    assert receipt._waiters == []
    slow[0].let_go()
    await receipt.when_published()


@ensureDeferred
async def test_a_publisher_is_not_kept_waiting(cluster: Cluster, slow: list[Slow]) -> None:
    one = await cluster.node(broker_away="queue")
    mount(one)
    posted = post(one, "a", id="urn:a")
    one.rig.advance(PUBLISHED_SECONDS)
    assert answer(posted) == (202, b"urn:a")
    slow[0].let_go()
    await cluster.until(lambda: one.hub.unpublished == 0)


@ensureDeferred
async def test_who_is_there_is_not_refused_for_what_cannot_be_told(cluster: Cluster) -> None:
    one = await cluster.node()
    mount(one, subscriptions=True)
    await cluster.cut(one)
    assert one.state is BrokerState.AWAY
    peer = one.rig.connect()
    peer.send(b"GET /?topic=t HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b" 200 OK" in peer.received

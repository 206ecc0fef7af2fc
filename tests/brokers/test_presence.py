"""Who is subscribed at any node: told to all, listed by all, forgotten when a node dies; held against each broker."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater

from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import BrokerBounds, BrokerState
from hardhttp.sse import presence, sharedpresence
from hardhttp.sse.mercure import PATH, Mercure
from hardhttp.sse.tokens import Key
from hardhttp.testing import Peer, Response
from tests.brokers.conftest import Cluster, Node
from tests.sse.interop import SECRET, token
from tests.sse.subscribing import events

SEER = {"Authorization": f"Bearer {token(subscribe=['*'])}"}
LEASE_SECONDS = 0.3


def ask(node: Node, path: str, **headers: str) -> Peer:
    peer = node.rig.connect()
    lines = [f"GET {path} HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in headers.items())]
    peer.send("\r\n".join([*lines, "", ""]).encode())
    return peer


def subscribe(node: Node, *topics: str, **payload: Any) -> Peer:
    query = "&".join("topic=" + quote(topic, safe="") for topic in topics)
    claims = {"subscribe": [], "payload": payload} if payload else {"subscribe": []}
    return ask(node, f"/?{query}", Authorization=f"Bearer {token(**claims)}")


async def node(cluster: Cluster, **options: Any) -> Node:
    """One that tells who is there."""
    made = cluster.begin(**options)
    keys = {"publisher_key": Key.parse(SECRET, "HS256"), "subscriber_key": Key.parse(SECRET, "HS256")}
    made.rig.site.resource = Mercure(made.hub, **keys, subscriptions=True)
    await cluster.ready(made)
    return made


def watch(node: Node) -> Peer:
    """A subscriber to what is told of subscriptions to ``t...``."""
    return ask(node, f"/?topic={quote(PATH + '/subscriptions/{topic}/{subscriber}', safe='')}", **SEER)


def told(peer: Peer, prefix: str = "t") -> list[tuple[str, bool]]:
    found = [json.loads(event.data) for event in events(peer)]
    return [(each["topic"], each["active"]) for each in found if each["topic"].startswith(prefix)]


async def listed(cluster: Cluster, node: Node, path: str = "") -> Any:
    peer = ask(node, "/subscriptions" + path, **SEER)
    await cluster.until(lambda: b"\r\n\r\n" in peer.received)
    (response,) = peer.responses()
    return json.loads(response.body) if response.status == 200 else response.status


async def topics(cluster: Cluster, node: Node, path: str = "") -> list[str]:
    found = await listed(cluster, node, path)
    if found == 503:
        return ["the broker is away"]
    return sorted(each["topic"] for each in found["subscriptions"] if each["topic"].startswith("t"))


async def until_topics(cluster: Cluster, node: Node, *expected: str) -> None:
    """Until it lists these. Each question takes some turns."""
    for _ in range(200):
        if await topics(cluster, node) == list(expected):
            return
        tick(cluster)
        await deferLater(cluster.reactor, 0.005)
    raise AssertionError(await topics(cluster, node))


def tick(cluster: Cluster) -> None:
    for each in cluster.nodes:
        each.rig.clock.advance(sharedpresence.AGAIN_SECONDS)


@ensureDeferred
async def test_who_is_at_one_is_told_and_listed_at_all(cluster: Cluster) -> None:
    one, two = await node(cluster), await node(cluster)
    watching = [watch(one), watch(two)]
    peer = subscribe(one, "t/1", "t 2", name="Ada")
    await cluster.until(lambda: all(told(each) == [("t/1", True), ("t 2", True)] for each in watching))
    for each in (one, two):
        assert await topics(cluster, each) == ["t 2", "t/1"]
        assert await topics(cluster, each, "/t%2F1") == ["t/1"]
        assert await topics(cluster, each, "/other") == []
        found = await listed(cluster, each, "/t%2F1")
        (subscription,) = found["subscriptions"]
        assert (found["type"], found["lastEventID"]) == ("Subscriptions", each.hub.last_id)
        assert (subscription["payload"], subscription["active"]) == ({"name": "Ada"}, True)
        alone = await listed(cluster, each, subscription["id"].partition("/subscriptions")[2])
        assert {**subscription, **alone} == alone
        assert await listed(cluster, each, "/t%2F1/urn%3Auuid%3Anobody") == 404
        assert await listed(cluster, each, f"/other/{quote(subscription['subscriber'])}") == 404
    peer.reset()
    ended = [("t/1", True), ("t 2", True), ("t/1", False), ("t 2", False)]
    await cluster.until(lambda: all(told(each) == ended for each in watching))
    await until_topics(cluster, two)
    assert await listed(cluster, two, subscription["id"].partition("/subscriptions")[2]) == 404


@ensureDeferred
async def test_a_list_that_has_not_changed_is_not_sent_again(cluster: Cluster) -> None:
    one, two = await node(cluster), await node(cluster)

    async def asked(**headers: str) -> Response:
        peer = ask(two, "/subscriptions/t", **SEER, **headers)
        await cluster.until(lambda: b"\r\n\r\n" in peer.received)
        return peer.responses()[0]

    subscribe(one, "t")
    await until_topics(cluster, two, "t")
    tag = (await asked()).get(b"etag").decode()
    again = await asked(**{"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")
    subscribe(one, "t")
    await until_topics(cluster, two, "t", "t")
    assert (await asked(**{"If-None-Match": tag})).status == 200


@pytest.mark.slow
@ensureDeferred
async def test_many_come_and_go(cluster: Cluster) -> None:
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    peers = [subscribe(one, f"t{number}") for number in range(200)]
    await cluster.until(lambda: len(told(watching)) == 200)
    assert await topics(cluster, two) == sorted(f"t{number}" for number in range(200))
    for peer in peers[1:]:
        peer.reset()
    await cluster.until(lambda: len(told(watching)) == 399)
    await until_topics(cluster, two, "t0")
    assert sorted(told(watching)[200:]) == sorted((f"t{number}", False) for number in range(1, 200))
    found = one.hub._presence
    assert (len(found), len(found._going), len(found._told), len(found._recorded)) == (1, 0, 1, 1)


@pytest.mark.slow
@ensureDeferred
async def test_a_node_that_is_cut_off_is_forgotten_and_told_of_again_when_it_is_back(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    subscribe(one, "t1")
    await cluster.until(lambda: told(watching) == [("t1", True)])
    await cluster.cut(one)
    gone = subscribe(one, "t, which comes and goes")
    late = subscribe(one, "t2")
    gone.reset()
    await cluster.until(lambda: told(watching) == [("t1", True), ("t1", False)])
    await until_topics(cluster, two)
    assert one.hub.unlisted == 1
    cluster.mend(one)
    await cluster.ready(one)
    await until_topics(cluster, two, "t1", "t2")
    await cluster.until(lambda: sorted(told(watching)[2:]) == [("t1", True), ("t2", True)])
    assert one.hub.unlisted == 0
    late.reset()
    await cluster.until(lambda: told(watching)[4:] == [("t2", False)])


@ensureDeferred
async def test_a_short_absence_is_told_to_nobody(cluster: Cluster) -> None:
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    stays, goes = subscribe(one, "t stays"), subscribe(one, "t goes")
    await cluster.until(lambda: len(told(watching)) == 2)
    await cluster.cut(one)
    goes.reset()
    assert one.hub._presence._going
    assert await topics(cluster, two) == ["t goes", "t stays"]
    cluster.mend(one)
    await cluster.until(lambda: told(watching)[2:] == [("t goes", False)])
    await until_topics(cluster, two, "t stays")
    stays.reset()
    await cluster.until(lambda: told(watching)[3:] == [("t stays", False)])


@pytest.mark.slow
@ensureDeferred
async def test_an_outage_of_the_broker_is_nobodys_death(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("brokers.redis", "remote.redisconnection"):
        monkeypatch.setattr(f"hardhttp.{module}.MAX_PAUSE_SECONDS", 0.02)
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    subscribe(one, "t")
    await cluster.until(lambda: told(watching) == [("t", True)])
    if cluster.exchange is not None:
        cluster.exchange.away = True
    else:
        await cluster.cut(one)
        await cluster.cut(two)
    await deferLater(cluster.reactor, 1.5 * LEASE_SECONDS)
    if cluster.exchange is not None:
        cluster.exchange.away = False
    else:
        cluster.mend(two)
        await cluster.ready(two)
        cluster.mend(one)
    await cluster.ready(one, two)
    await deferLater(cluster.reactor, LEASE_SECONDS)
    await until_topics(cluster, two, "t")
    assert told(watching) == [("t", True)]


@ensureDeferred
async def test_a_node_that_leaves_leaves_nobody(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    for number in range(70):  # more than a page
        subscribe(one, f"t{number}")
    await cluster.until(lambda: len(told(watching)) == 70)
    await cluster.leave(one)
    await cluster.until(lambda: len(told(watching)) == 140)
    assert sorted(told(watching)[70:]) == sorted((f"t{number}", False) for number in range(70))
    await until_topics(cluster, two)


@ensureDeferred
async def test_what_one_could_not_tell_is_told_again(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    subscribe(one, "t")
    await cluster.until(lambda: told(watching) == [("t", True)])
    failed: list[Deferred[Any]] = []
    plain = two.hub._brokered.departed

    def departed(present: Any) -> Deferred[None]:
        assert len(present) == 1
        failed.append(fail(BrokerAwayError("too much waits")))
        return failed[-1] if len(failed) < 3 else plain(present)

    monkeypatch.setattr(two.hub._brokered, "departed", departed)
    await cluster.leave(one)
    await cluster.until(lambda: told(watching) == [("t", True), ("t", False)])
    assert len(failed) == 3
    failed[-1].addErrback(lambda _: None)


@ensureDeferred
async def test_a_node_that_tells_nobody_leaves_it_to_others(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, mute = await node(cluster), await cluster.node()
    subscribe(one, "t")
    await until_topics(cluster, one, "t")
    await cluster.leave(one)
    assert not mute.hub._brokered.tells_presence
    two = await node(cluster)
    await until_topics(cluster, two)


@ensureDeferred
async def test_a_broker_that_has_lost_everything_is_told_again(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, two = await node(cluster), await node(cluster)
    subscribe(one, "t1")
    await until_topics(cluster, two, "t1")
    cluster.forget()
    subscribe(two, "t2")
    await until_topics(cluster, one, "t1", "t2")
    await until_topics(cluster, two, "t1", "t2")


@ensureDeferred
@pytest.mark.parametrize("bounds", [{"max_present": 2}, {"max_present_bytes": 30}])
async def test_past_the_bounds_one_is_served_and_not_listed(cluster: Cluster, bounds: dict[str, int]) -> None:
    """A record of ``t1`` is ``[["t1"],null]``: 13 bytes."""
    cluster.bounds = BrokerBounds(**bounds)  # type: ignore[arg-type]
    one, two = await node(cluster), await node(cluster)
    first = subscribe(one, "t1")
    await until_topics(cluster, one, "t1")
    subscribe(two, "t2")
    await until_topics(cluster, one, "t1", "t2")
    third = subscribe(two, "t3")
    fourth = subscribe(two, "t4")
    two.hub.publish("t3", "served")
    await cluster.until(lambda: [event.data for event in events(third)] == ["served"])
    for _ in range(3):
        tick(cluster)
        assert await topics(cluster, one) == ["t1", "t2"]
    assert (one.hub.unlisted, two.hub.unlisted) == (0, 2)
    fourth.reset()
    assert two.hub.unlisted == 1
    first.reset()
    await until_topics(cluster, one, "t2", "t3")
    assert two.hub.unlisted == 0


@ensureDeferred
async def test_what_cannot_be_answered(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one = await node(cluster)
    subscribe(one, "t1", "t2")
    await until_topics(cluster, one, "t1", "t2")
    monkeypatch.setattr(presence, "MAX_LISTED_BYTES", 300)
    assert await listed(cluster, one) == 503
    assert await topics(cluster, one, "/t1") == ["t1"]
    monkeypatch.setattr(one.broker, "present", lambda *_: Deferred())
    waiting = ask(one, "/subscriptions", **SEER)
    one.rig.clock.advance(sharedpresence.FIND_SECONDS)
    (response,) = waiting.responses()
    assert (response.status, b"more than 10 seconds" in response.body) == (503, True)
    given_up: list[int] = []
    monkeypatch.setattr(one.broker, "present", lambda *_: Deferred(given_up.append))
    ask(one, "/subscriptions", **SEER).reset()
    assert len(given_up) == 1
    monkeypatch.undo()
    assert b" 401 " in ask(one, "/subscriptions").received
    await cluster.cut(one)
    assert await listed(cluster, one) == 503


@ensureDeferred
async def test_a_topic_too_long_to_be_told_of_is_refused(cluster: Cluster) -> None:
    one = await node(cluster, max_event_bytes=500)
    assert b" 400 " in subscribe(one, "t" * 200).received
    assert (len(one.hub._presence), one.hub.subscriber_count) == (0, 0)
    assert b" 200 " in subscribe(one, "t").received
    with pytest.raises(ValueError, match="told of already"):
        one.hub.presence()


@ensureDeferred
async def test_a_record_that_is_not_readable_costs_itself_alone(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=LEASE_SECONDS)
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    subscribe(one, "t")
    await cluster.until(lambda: told(watching) == [("t", True)])
    for number, junk in enumerate((b"junk", b"[7,null]", b"7", b"{}")):
        assert await one.broker.record({str(number): junk}) == {str(number)}
    assert await topics(cluster, two) == ["t"]
    await cluster.leave(one)
    await cluster.until(lambda: told(watching) == [("t", True), ("t", False)])
    assert len(one.rig.flush() + two.rig.flush()) >= 8  # in the list, and when it is told


@ensureDeferred
async def test_what_comes_between_two_steps(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes while it is being recorded: both are told, and nothing is left."""
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    plain, waiting = one.broker.record, Deferred[None]()

    def slow(present: Any) -> Any:
        return waiting.addCallback(lambda _: plain(present))

    monkeypatch.setattr(one.broker, "record", slow)
    peer = subscribe(one, "t")
    one.rig.clock.advance(0)
    peer.reset()
    monkeypatch.setattr(one.broker, "record", plain)
    waiting.callback(None)
    await cluster.until(lambda: told(watching) == [("t", True), ("t", False)])
    await until_topics(cluster, one)
    assert not one.hub._presence._recorded


@ensureDeferred
async def test_an_answer_that_was_lost(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was recorded, and nobody told: it is told all the same."""
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    plain = one.broker.record
    lost = iter([True])

    def record(present: Any) -> Any:
        return plain(present).addCallback(lambda _: fail(BrokerAwayError("lost")) if next(lost, False) else succeed(()))

    monkeypatch.setattr(one.broker, "record", record)
    subscribe(one, "t")
    await until_topics(cluster, two, "t")
    assert one.state is BrokerState.READY
    await cluster.until(lambda: tick(cluster) or told(watching) == [("t", True)])


@ensureDeferred
async def test_what_could_not_be_told_is_told_later(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was recorded, and the event not published, of the one that came and of the one that went."""
    one, two = await node(cluster), await node(cluster)
    watching = watch(two)
    goes = subscribe(one, "t1")
    await cluster.until(lambda: told(watching) == [("t1", True)])
    plain, failed = one.hub.publish, []

    def publish(*arguments: Any, **more: Any) -> Any:
        failed.append(arguments[1]["active"])
        raise BrokerAwayError("too much waits")

    monkeypatch.setattr(one.hub, "publish", publish)
    subscribe(one, "t2")
    await cluster.until(lambda: failed)
    assert one.hub._presence._told.values()
    goes.reset()
    await cluster.until(lambda: tick(cluster) or set(failed) == {True, False})
    monkeypatch.setattr(one.hub, "publish", plain)
    await cluster.until(lambda: tick(cluster) or told(watching)[1:] == [("t1", False), ("t2", True)])
    await until_topics(cluster, two, "t2")

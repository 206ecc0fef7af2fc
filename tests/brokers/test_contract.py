"""What every broker promises, held against each: several hubs are one."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater

from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import BrokerBounds, BrokerState, Everywhere, IBroker, Kind, Post, Posted
from hardhttp.sse.brokered import READING_SECONDS
from hardhttp.sse.hub import EventHub
from hardhttp.testing import Peer
from hardhttp.wire.eventstream import Event
from tests.brokers.conftest import Cluster
from tests.sse.subscribing import data_of, events


def ids_of(peer: Peer) -> list[str]:
    return [event.id for event in events(peer)]


def last(data: str, *peers: Peer) -> bool:
    return all(data_of(peer)[-1:] == [data] for peer in peers)


# -- one order ---------------------------------------------------------------------------------


@ensureDeferred
async def test_what_one_publishes_all_have_once_in_one_order(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    assert IBroker.providedBy(one.broker)
    peers = [one.subscribe("topic=t"), two.subscribe("topic=t"), two.subscribe("topic=t")]
    receipts = [(one, two)[number % 2].hub.publish("t", str(number)) for number in range(100)]
    one.hub.publish("u", "of another topic")
    await cluster.until(lambda: all(len(events(peer)) == 100 for peer in peers))
    order = data_of(peers[0])
    assert sorted(order, key=int) == [str(number) for number in range(100)]
    assert events(peers[0]) == events(peers[1]) == events(peers[2])
    for begin in (0, 1):  # what one node has published is in the order in which it did
        assert order.index("98" if begin == 0 else "99") > order.index(str(begin))
        assert [data for data in order if int(data) % 2 == begin] == [str(n) for n in range(begin, 100, 2)]
    assert {receipt.id for receipt in receipts} == set(ids_of(peers[0]))
    assert all(receipt.published for receipt in receipts)
    assert [(r.matched, r.written) for r in receipts] == [(1, 1), (2, 2)] * 50


@ensureDeferred
async def test_a_receipt_is_completed_when_the_broker_has_the_event(cluster: Cluster) -> None:
    one = await cluster.node()
    receipt = one.hub.publish("t", "a")
    waited = receipt.when_published()
    given_up = receipt.when_published()
    given_up.addErrback(lambda _: None).cancel()
    assert await waited is receipt
    assert (receipt.published, receipt.repeated) == (True, False)
    await cluster.until(lambda: one.hub.last_id == receipt.id)
    assert await receipt.when_published() is receipt
    assert one.hub.unpublished == 0


@ensureDeferred
async def test_publishers_own_ids(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    peer = two.subscribe("topic=t")
    receipt = one.hub.publish("t", "a", id="my own", event="e", retry=2.0)
    assert receipt.id == "my own"
    one.hub.publish("t", "b")
    await cluster.until(lambda: len(events(peer)) == 2)
    assert events(peer)[0] == Event("e", "a", "my own", 2000)
    late = two.subscribe("topic=t", last_event_id=b"my own")
    await cluster.until(lambda: data_of(late) == ["b"])


@ensureDeferred
async def test_private_events_go_to_those_who_may_have_them(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    may, may_not = two.subscribe("topic=t&allowed=t"), two.subscribe("topic=t")
    one.hub.publish("t", "secret", private=True)
    one.hub.publish("t", "end")
    await cluster.until(lambda: last("end", may, may_not))
    assert (data_of(may), data_of(may_not)) == (["secret", "end"], ["end"])
    late = one.subscribe("topic=t&allowed=t", last_event_id=b"earliest")
    await cluster.until(lambda: data_of(late) == ["secret", "end"])


@ensureDeferred
async def test_what_cannot_be_is_refused_before_it_leaves(cluster: Cluster) -> None:
    one = await cluster.node(max_event_bytes=100)
    for bad in ({"data": "x" * 101}, {"data": "x", "id": "#"}, {"data": "x", "id": f"{one.hub.epoch}-7"}):
        with pytest.raises(ValueError, match="an event"):
            one.hub.publish("t", **bad)
    assert one.hub.unpublished == 0
    with pytest.raises(ValueError, match="leave history out"):
        EventHub(one.rig.clock, history=one.hub.history, broker=one.broker)


# -- those who come back -----------------------------------------------------------------------


@ensureDeferred
async def test_coming_back_to_another_node(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    first = one.subscribe("topic=t")
    for number in range(10):
        one.hub.publish("t", str(number))
    await cluster.until(lambda: last("9", first))
    for place, id in enumerate(ids_of(first)):
        back = two.subscribe("topic=t", last_event_id=id.encode())
        await cluster.until(lambda: data_of(back) == [str(n) for n in range(place + 1, 10)])  # noqa: B023
        back.reset()
    two.hub.publish("t", "10")
    await cluster.until(lambda: last("10", first))


@ensureDeferred
async def test_a_new_node_knows_what_was_before_it(cluster: Cluster) -> None:
    one = await cluster.node()
    peer = one.subscribe("topic=t")
    for number in range(200):  # more than a page
        one.hub.publish(["t", "also"], str(number))
    one.hub.to_all("for nobody who comes later")
    await cluster.until(lambda: last("for nobody who comes later", peer))
    two = await cluster.node()
    assert two.hub.epoch == one.hub.epoch
    assert two.hub.last_id == one.hub.last_id
    for query in ("topic=t", "topic=also", "topic={any}"):
        back = two.subscribe(query, last_event_id=ids_of(peer)[99].encode())
        await cluster.until(lambda: data_of(back) == [str(n) for n in range(100, 200)])  # noqa: B023
        everything = two.subscribe(query, last_event_id=b"earliest")
        await cluster.until(lambda: len(data_of(everything)) == 200)  # noqa: B023
    two.hub.publish("t", "and on")
    await cluster.until(lambda: last("and on", peer, back))


@ensureDeferred
async def test_who_is_ahead_of_a_node_comes_again(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    peer = one.subscribe("topic=t")
    one.hub.publish("t", "a")
    await cluster.until(lambda: last("a", peer))
    await cluster.cut(two)
    one.hub.publish("t", "b")
    await cluster.until(lambda: last("b", peer))
    back = two.subscribe("topic=t", last_event_id=ids_of(peer)[1].encode(), accept=b"text/event-stream")
    assert b"retry: " in back.received
    assert back.ended
    cluster.mend(two)
    await cluster.ready(two)
    back = two.subscribe("topic=t", last_event_id=ids_of(peer)[1].encode())
    one.hub.publish("t", "c")
    await cluster.until(lambda: last("c", back))
    assert data_of(back) == ["c"]


@ensureDeferred
async def test_before_it_was_reached_nobody_is_told_what_was(cluster: Cluster) -> None:
    one = await cluster.node()
    two = cluster.begin()
    assert two.state is BrokerState.CONNECTING
    live, back = two.subscribe("topic=t"), two.subscribe("topic=t", last_event_id=b"earliest")
    assert b" 503 " in back.received
    await cluster.ready(two)
    one.hub.publish("t", "a")
    await cluster.until(lambda: data_of(live) == ["a"])
    back = two.subscribe("topic=t", last_event_id=b"earliest")
    await cluster.until(lambda: data_of(back) == ["a"])


# -- keys that make a repetition harmless ------------------------------------------------------


@ensureDeferred
async def test_idempotency_keys_are_known_to_all(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    peer = two.subscribe("topic=t")
    first = one.hub.publish("t", "a", idempotency_key="k")
    assert one.hub.publish("t", "a", idempotency_key="k") is first
    await first.when_published()
    again = await two.hub.publish("t", "a", idempotency_key="k").when_published()
    assert (again.id, again.repeated, first.repeated) == (first.id, True, False)
    named = await two.hub.publish("t", "b", id="a name", idempotency_key="n").when_published()
    again = await one.hub.publish("t", "b", idempotency_key="n").when_published()
    assert named.id == again.id == "a name"
    two.hub.publish("t", "end")
    await cluster.until(lambda: last("end", peer))
    assert data_of(peer) == ["a", "b", "end"]
    assert not two.hub._brokered._receipts


@ensureDeferred
async def test_idempotency_keys_are_bounded(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_idempotency_keys=2)
    one, two = await cluster.node(), await cluster.node()
    for key in ("k1", "k2"):
        await one.hub.publish("t", key, idempotency_key=key).when_published()
    assert (await two.hub.publish("t", "k1", idempotency_key="k1").when_published()).repeated
    await one.hub.publish("t", "k3", idempotency_key="k3").when_published()
    assert not (await two.hub.publish("t", "k1!", idempotency_key="k1!").when_published()).repeated
    third = await cluster.node()
    assert not (await third.hub.publish("t", "again", idempotency_key="k1").when_published()).repeated


# -- users, groups, counts ---------------------------------------------------------------------


@ensureDeferred
async def test_users_and_groups_of_all_nodes(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    here, there = one.subscribe("user=ann&group=g"), two.subscribe("user=ann")
    bob = two.subscribe("user=bob&group=g")
    receipt = one.hub.to_user("ann", "to ann")
    two.hub.to_group("g", "to g")
    one.hub.publish("t", "between")
    two.hub.to_all("to all")
    # What two nodes publish at once has an order, and either may be first.
    await cluster.until(lambda: [len(data_of(peer)) for peer in (here, there, bob)] == [4, 3, 3])
    order = [data for data in data_of(here) if data != "to g"]
    assert data_of(there) == order
    assert sorted(data_of(here)) == ["between", "to all", "to ann", "to g"]
    assert sorted(data_of(bob)) == ["between", "to all", "to g"]
    assert (receipt.matched, receipt.written) == (1, 1)  # it is of this node alone
    assert events(here)[0].id == ""  # it could not be taken up after it
    late = two.subscribe("user=ann", last_event_id=b"earliest")
    await cluster.until(lambda: data_of(late) == ["between"])


@ensureDeferred
async def test_closing_on_all_nodes(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    here, there = one.subscribe("user=ann"), two.subscribe("user=ann")
    bob = two.subscribe("user=bob")
    one.hub.publish("t", "before")
    assert one.hub.close_user("ann") == 1
    await cluster.until(lambda: here.closed and there.closed)
    assert last("before", there)  # it came first
    id = two.newest.id
    assert one.hub.close_subscriber(id) is False
    await cluster.until(lambda: bob.closed)
    assert one.hub.close_subscriber("nobody-s1") is False
    peers = one.subscribe(), two.subscribe()
    assert one.hub.close_subscriber(one.newest.id) is True
    assert two.hub.close_all() == 1
    await cluster.until(lambda: all(peer.closed for peer in peers))
    again = one.subscribe()
    one.hub.publish("t", "still here")
    await cluster.until(lambda: last("still here", again))


@ensureDeferred
async def test_how_many_there_are(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(lease_seconds=0.06)
    one, two = await cluster.node(), await cluster.node()
    for node, count in ((one, 2), (two, 3)):
        for _ in range(count):
            node.subscribe()
    await cluster.until(lambda: one.hub.everywhere == two.hub.everywhere == Everywhere(2, 5))
    await cluster.leave(two)
    await cluster.until(lambda: one.hub.everywhere == Everywhere(1, 2))


# -- bounds ------------------------------------------------------------------------------------


@ensureDeferred
async def test_each_topic_is_bounded_and_a_gap_is_told(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_topic_updates=3, read_seconds=0)
    one = await cluster.node()
    quiet, busy = one.subscribe("topic=quiet"), one.subscribe("topic=busy")
    one.hub.publish("quiet", "q")
    for number in range(5):
        one.hub.publish("busy", str(number))
        await cluster.until(lambda: last(str(number), busy))  # noqa: B023
    await cluster.until(lambda: last("4", busy) and last("q", quiet))
    two = await cluster.node()
    for node in (one, two):
        back = node.subscribe("topic=busy", last_event_id=ids_of(busy)[0].encode())
        await cluster.until(lambda: last("4", back))  # noqa: B023
        assert [event.type for event in events(back)] == ["gap", "message", "message", "message"]
        within = node.subscribe("topic=busy", last_event_id=ids_of(busy)[1].encode())
        await cluster.until(lambda: len(data_of(within)) >= 3)  # noqa: B023
        assert data_of(within) == ["2", "3", "4"]
        still = node.subscribe("topic=quiet", last_event_id=b"earliest")
        await cluster.until(lambda: data_of(still) == ["q"])  # noqa: B023


@ensureDeferred
async def test_what_is_too_old_goes(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_age_seconds=0.05)
    one = await cluster.node()
    old = await one.hub.publish("t", "old").when_published()
    await deferLater(cluster.reactor, 0.06)
    await one.hub.publish("u", "new").when_published()
    cluster.bounds = BrokerBounds()
    two = await cluster.node()
    back = two.subscribe("topic={any}", last_event_id=b"earliest")
    await cluster.until(lambda: data_of(back) == ["new"])
    told = two.subscribe("topic=t", last_event_id=f"{old.id.partition('-')[0]}-0".encode())
    await cluster.until(lambda: [event.type for event in events(told)] == ["gap"])


@ensureDeferred
async def test_what_has_grown_too_old_meanwhile_is_told(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_age_seconds=0.05, lease_seconds=0.06)
    one, two = await cluster.node(), await cluster.node()
    peer = one.subscribe("topic=t")
    await cluster.cut(one)
    lost = await two.hub.publish("t", "lost").when_published()
    await deferLater(cluster.reactor, 0.1)
    cluster.mend(one)
    await cluster.until(lambda: [event.type for event in events(peer)] == ["gap"])
    assert lost.id in data_of(peer)[0]


@ensureDeferred
async def test_a_burst_past_a_topics_bound_is_read_by_all(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_topic_updates=3)
    one, two = await cluster.node(), await cluster.node()
    peers = one.subscribe("topic=t"), two.subscribe("topic=t")
    for number in range(300):
        one.hub.publish("t", str(number))
    await cluster.until(lambda: last("299", *peers))
    assert data_of(peers[0]) == data_of(peers[1]) == [str(number) for number in range(300)]
    third = await cluster.node()
    back = third.subscribe("topic=t", last_event_id=b"earliest")
    await cluster.until(lambda: data_of(back) == ["297", "298", "299"])


@ensureDeferred
@pytest.mark.parametrize("bounds", [{"max_updates": 4}, {"max_bytes": 4 * 600}, {"max_topic_bytes": 4 * 600}])
async def test_all_together_are_bounded(cluster: Cluster, bounds: dict[str, int]) -> None:
    cluster.bounds = BrokerBounds(**bounds, read_seconds=0)
    one = await cluster.node()
    topics = ["t"] * 10 if "max_topic_bytes" in bounds else [f"t{number}" for number in range(10)]
    receipts = [one.hub.publish(topic, "x") for topic in topics]
    for receipt in receipts:
        await receipt.when_published()
    two = await cluster.node()
    back = two.subscribe("topic={any}", last_event_id=b"earliest")
    await cluster.until(lambda: len(events(back)) >= 3)
    assert 3 <= len(events(back)) <= 4
    told = two.subscribe("topic={any}", last_event_id=receipts[0].id.encode())
    await cluster.until(lambda: len(events(told)) >= 4)
    assert events(told)[0].type == "gap"


# -- away --------------------------------------------------------------------------------------


@ensureDeferred
async def test_away_refuses_and_goes_on(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    await cluster.cut(one)
    assert (one.state, two.state) == (BrokerState.AWAY, BrokerState.READY)
    assert one.broker.why_away
    with pytest.raises(BrokerAwayError, match="the broker is away") as raised:
        one.hub.publish("t", "refused")
    assert raised.value.status == 503
    assert one.hub.why_broker_is_away == one.broker.why_away
    assert one.broker.why_away in str(raised.value)
    assert raised.value.detail == "Events cannot be published now."  # a publisher is not told where the broker is
    with pytest.raises(BrokerAwayError):
        one.hub.to_all("refused")
    for number in range(100):
        two.hub.publish("t", str(number))
    await cluster.until(lambda: last("99", there))
    assert events(here) == []
    cluster.mend(one)
    await cluster.until(lambda: last("99", here))
    assert data_of(here) == data_of(there) == [str(number) for number in range(100)]
    await cluster.ready(one)
    one.hub.publish("t", "back")
    await cluster.until(lambda: last("back", here, there))


@ensureDeferred
async def test_away_queues_within_its_bound(cluster: Cluster) -> None:
    one = await cluster.node(broker_away="queue", max_unpublished_events=3)
    two = await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    await cluster.cut(one)
    receipts = [one.hub.publish("t", f"queued {number}") for number in range(3)]
    assert one.hub.unpublished == 3
    with pytest.raises(BrokerAwayError, match="max_unpublished_events"):
        one.hub.publish("t", "too many")
    two.hub.publish("t", "meanwhile")
    await cluster.until(lambda: last("meanwhile", there))
    assert not any(receipt.published for receipt in receipts)
    cluster.mend(one)
    await cluster.until(lambda: last("queued 2", here, there))
    assert data_of(here) == data_of(there) == ["meanwhile", "queued 0", "queued 1", "queued 2"]
    assert [receipt.id for receipt in receipts] == ids_of(here)[1:]
    assert one.hub.unpublished == 0


@ensureDeferred
async def test_nothing_overtakes_what_has_failed(cluster: Cluster) -> None:
    one = await cluster.node(broker_away="queue")
    peer = one.subscribe("topic=t")
    plain, one.broker.post = one.broker.post, lambda post: fail(BrokerAwayError("not now"))
    one.hub.publish("t", "a")
    one.broker.post = plain
    one.hub.publish("t", "b")
    one.hub._brokered.changed(BrokerState.READY)
    await cluster.until(lambda: last("b", peer))
    assert data_of(peer) == ["a", "b"]


@ensureDeferred
async def test_what_is_resent_is_done_in_order(cluster: Cluster) -> None:
    one = await cluster.node()
    first, second, third = (
        Post("somebody", number, Kind.EVENT, ("t",), b"data: x\n\n", resent=True) for number in (7, 8, 9)
    )
    assert (await one.broker.post(first)).sequence == 1  # what was before it is not known here
    with pytest.raises(BrokerAwayError):
        await one.broker.post(third)
    await cluster.ready(one)
    assert (await one.broker.post(second)).sequence == 2
    assert (await one.broker.post(third)).sequence == 3
    assert [(await one.broker.post(post)).sequence for post in (first, second, third)] == [0, 0, 0]


@ensureDeferred
async def test_what_is_published_in_the_moment_it_goes_away(cluster: Cluster) -> None:
    one = await cluster.node(broker_away="queue")
    peer = one.subscribe("topic=t")
    if one.between is None:
        one.broker.cut_off = True
    else:
        one.between.drop()
    for number in range(10):  # it is not known yet
        one.hub.publish("t", str(number))
    if one.between is None:
        one.broker.cut_off = False
    await cluster.until(lambda: last("9", peer))
    assert data_of(peer) == [str(number) for number in range(10)]


@ensureDeferred
async def test_what_waited_is_not_sent_all_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardhttp.sse.outbox.MAX_ON_THEIR_WAY", 3)
    one = await cluster.node(broker_away="queue")
    peer = one.subscribe("topic=t")
    await cluster.cut(one)
    for number in range(300):
        one.hub.publish("t", str(number))
    cluster.mend(one)
    most = 0

    def come() -> bool:
        nonlocal most
        most = max(most, one.hub._brokered.outbox._on_their_way)
        return last("299", peer)

    await cluster.until(come)
    assert most <= 3
    assert data_of(peer) == [str(number) for number in range(300)]


@ensureDeferred
async def test_what_is_delivered_may_stop_the_hub(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await cluster.node(), await cluster.node()
    peer, stopped = one.subscribe("topic=t"), []
    monkeypatch.setattr(one.hub, "arrived", lambda *_: stopped.append(one.hub.stop()))
    for data in "bcd":
        two.hub.publish("t", data)
    await cluster.until(lambda: stopped)
    await stopped[0]
    assert one.state is BrokerState.AWAY
    count = len(events(peer))
    await two.hub.publish("t", "for nobody there").when_published()
    assert len(events(peer)) == count
    await one.hub.stop()  # again


@ensureDeferred
async def test_the_queue_is_bounded_in_bytes_too(cluster: Cluster) -> None:
    one = await cluster.node(broker_away="queue", max_unpublished_bytes=2000)
    await cluster.cut(one)
    receipt = one.hub.publish("t", "x" * 2000)
    with pytest.raises(BrokerAwayError, match="max_unpublished_bytes"):
        one.hub.publish("t", "x")
    failed = receipt.when_published()
    await cluster.leave(one)
    with pytest.raises(BrokerAwayError, match="the hub was closed"):
        await failed
    with pytest.raises(BrokerAwayError, match="the hub is closed"):
        one.hub.publish("t", "x")


@ensureDeferred
async def test_what_was_lost_meanwhile_is_told_to_those_it_was_for(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_topic_updates=3, read_seconds=0)
    one, two = await cluster.node(), await cluster.node()
    busy, quiet, there = one.subscribe("topic=busy"), one.subscribe("topic=quiet"), two.subscribe("topic=busy")
    two.hub.publish("busy", "first")
    two.hub.publish("quiet", "q1")
    await cluster.until(lambda: last("first", busy) and last("q1", quiet))
    await cluster.cut(one)
    for number in range(10):
        two.hub.publish("busy", str(number))
    two.hub.publish("quiet", "q2")
    await cluster.until(lambda: last("9", there))
    cluster.mend(one)
    await cluster.until(lambda: last("9", busy) and last("q2", quiet))
    assert data_of(quiet) == ["q1", "q2"]
    assert [event.type for event in events(busy)] == ["message", "gap", *["message"] * 3]
    assert data_of(busy)[2:] == ["7", "8", "9"]
    two.hub.publish("busy", "live again")
    await cluster.until(lambda: last("live again", busy))
    assert len(events(busy)) == 6


@ensureDeferred
async def test_what_was_directed_and_lost_is_told_to_all(cluster: Cluster) -> None:
    cluster.bounds = BrokerBounds(max_topic_updates=1, read_seconds=0)
    one, two = await cluster.node(), await cluster.node()
    peer = one.subscribe("topic=quiet&user=ann")
    await cluster.cut(one)
    for number in range(3):
        await two.hub.to_user("ann", str(number)).when_published()
    cluster.mend(one)
    await cluster.until(lambda: last("2", peer))
    assert [event.type for event in events(peer)] == ["gap", "message"] or events(peer)[-1].type == "gap"


@ensureDeferred
async def test_a_broker_that_has_lost_everything(cluster: Cluster) -> None:
    one, two = await cluster.node(), await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    for number in range(5):
        one.hub.publish("t", str(number))
    await cluster.until(lambda: last("4", here, there))
    before, old = ids_of(here), one.hub.epoch
    await cluster.cut(one)
    await cluster.cut(two)
    cluster.forget()
    cluster.mend(one)
    cluster.mend(two)
    await cluster.ready(one, two)
    assert one.hub.epoch == two.hub.epoch != old
    one.hub.publish("t", "after")
    await cluster.until(lambda: last("after", here, there))
    for peer in (here, there):
        assert [event.type for event in events(peer)] == [*["message"] * 5, "gap", "message"]
        assert "restart" in data_of(peer)[5]
    assert len(set(ids_of(here))) == 6
    back = two.subscribe("topic=t", last_event_id=before[2].encode())  # this node still has it
    await cluster.until(lambda: last("after", back))
    assert [data for data in data_of(back) if "reason" not in data] == ["3", "4", "after"]
    assert one.hub.explain(one.hub.last_id, one.newest).outcome == "sent"


@ensureDeferred
async def test_a_broker_that_loses_everything_while_all_are_in_touch(cluster: Cluster) -> None:
    one, two = await cluster.node(broker_away="queue"), await cluster.node()
    here, there = one.subscribe("topic=t"), two.subscribe("topic=t")
    for number in range(5):
        one.hub.publish("t", str(number))
    await cluster.until(lambda: last("4", here, there))
    cluster.forget()
    one.hub.publish("t", "after")
    await cluster.until(lambda: last("after", here, there))
    await cluster.ready(one, two)
    two.hub.publish("t", "and on")
    await cluster.until(lambda: last("and on", here, there))
    assert events(here) == events(there)
    assert [event.type for event in events(there)] == [*["message"] * 5, "gap", "message", "message"]
    assert one.hub.epoch == two.hub.epoch == ids_of(there)[-1].partition("-")[0]


@ensureDeferred
async def test_local_delivery_goes_on_and_nobody_has_it_twice(cluster: Cluster) -> None:
    one, two = await cluster.node(broker_away="local"), await cluster.node()
    here, there = one.subscribe("topic=t&user=ann&allowed=t"), two.subscribe("topic=t&user=ann&allowed=t")
    two.hub.publish("t", "before")
    await cluster.until(lambda: last("before", here, there))
    await cluster.cut(one)
    receipts = [one.hub.publish("t", "early 0"), one.hub.publish("t", "early 1", private=True)]
    one.hub.to_user("ann", "directed")
    keyed = one.hub.publish("t", "keyed", idempotency_key="k")
    assert data_of(here) == ["before", "early 0", "early 1", "directed"]
    assert [event.id for event in events(here)[1:]] == [events(here)[0].id] * 3
    assert [(r.matched, r.written, r.published) for r in receipts] == [(1, 1, False)] * 2
    newcomer = one.subscribe("topic=t&user=ann")
    one.hub.publish("t", "early 2")
    for number in range(10):  # more than the numbers that this node has used
        two.hub.publish("t", f"meanwhile {number}")
    await cluster.until(lambda: last("meanwhile 9", there))
    meanwhile = [f"meanwhile {number}" for number in range(10)]
    cluster.mend(one)
    await cluster.ready(one)
    one.rig.advance(READING_SECONDS)  # what was missed has been read by now
    await cluster.until(lambda: last("early 2", there))
    two.hub.publish("t", "after")
    await cluster.until(lambda: last("after", here, there, newcomer))
    assert data_of(there) == ["before", *meanwhile, "early 0", "early 1", "directed", "keyed", "early 2", "after"]
    assert data_of(here) == ["before", "early 0", "early 1", "directed", "early 2", *meanwhile, "keyed", "after"]
    assert sorted(data_of(newcomer)) == sorted(["early 2", *meanwhile, "early 0", "directed", "keyed", "after"])
    assert [(r.matched, r.written, r.published) for r in receipts] == [(2, 2, True), (1, 1, True)]
    assert keyed.matched == 2
    assert receipts[0].id == events(there)[11].id
    back = one.subscribe("topic=t&allowed=t", last_event_id=events(there)[0].id.encode())
    await cluster.until(lambda: last("after", back))
    assert data_of(back) == [*meanwhile, "early 0", "early 1", "keyed", "early 2", "after"]
    assert not one.hub._brokered._early
    assert not one.hub._brokered._early._heard


class LosesAnswers:
    """Stands before a broker: what is posted is done, and nobody is told."""

    def __init__(self, broker: IBroker) -> None:
        self._broker = broker
        self.loses = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def post(self, post: Post) -> Deferred[Posted]:
        done = self._broker.post(post)
        if self.loses:
            done.addCallback(lambda _: fail(BrokerAwayError("the answer is lost")))
        return done


@ensureDeferred
async def test_what_was_done_though_the_answer_was_lost_is_not_done_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = cluster.broker
    made: list[LosesAnswers] = []

    def broker() -> Any:
        found, between = plain()
        made.append(LosesAnswers(found))
        return made[-1], between

    monkeypatch.setattr(cluster, "broker", broker)
    one = await cluster.node(broker_away="queue")
    peer = one.subscribe("topic=t")
    made[0].loses = False
    await one.hub.publish("t", "a").when_published()
    made[0].loses = True
    receipts = [one.hub.publish("t", data) for data in "bc"]
    ids: list[str] = []
    for receipt in receipts:
        receipt.when_published().addCallback(lambda receipt: ids.append(receipt.id))
    await cluster.until(lambda: one.hub._brokered.outbox._on_their_way == 0)
    assert one.hub.unpublished == 2
    made[0].loses = False
    one.hub._brokered.changed(BrokerState.READY)
    await cluster.until(lambda: one.hub.unpublished == 0)
    one.hub.publish("t", "d")
    await cluster.until(lambda: last("d", peer))
    assert data_of(peer) == ["a", "b", "c", "d"]
    assert sorted(ids) == sorted(ids_of(peer)[1:3])

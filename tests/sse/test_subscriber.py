"""A subscriber that does not take what comes: its bounds, its policies, its deadlines; and its history first."""

from __future__ import annotations

import gc
import json
import random
import socket
from itertools import pairwise
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from hardhttp.limits import Limits
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.testing import Peer
from hardhttp.wire.eventstream import COMMENT, Parser
from tests.serving import serve
from tests.sse.subscribing import Hub, Subscribes, body, data_of, events
from tests.web.saying import say

FILL = "x" * 100_000  # more than a transport takes before it says wait


def stopped(site: Hub, query: str = "") -> Peer:
    """A subscriber whose transport is full."""
    peer = site.subscribe(query)
    peer.take(0)
    site.hub.to_all(FILL)
    site.rig.clock.turn()
    return peer


# -- policies ----------------------------------------------------------------------------------


def test_close_at_the_bound_and_one_past_it() -> None:
    with Hub(max_queued_events=5) as site:
        reader, slow = site.subscribe(), stopped(site)
        receipts = [site.hub.publish("t", number) for number in range(5)]
        assert {(receipt.written, receipt.dropped) for receipt in receipts} == {(1, 0)}
        assert site.hub.subscribers()[1].lag().events == 5
        assert not slow.closed
        receipts.append(site.hub.publish("t", 5))
        site.rig.clock.turn()
        assert (slow.closed, site.reasons) == (True, ["overflow"])
        assert {(receipt.written, receipt.dropped) for receipt in receipts} == {(1, 1)}
        assert site.hub.queued_bytes == 0
        assert data_of(reader)[1:] == [str(number) for number in range(6)]


def test_the_queue_is_bounded_in_bytes() -> None:
    with Hub(max_queued_bytes=10_000) as site:
        slow = stopped(site)
        other = site.subscribe()
        for _ in range(9):
            site.hub.publish("t", "y" * 1000)
            assert site.hub.queued_bytes <= 10_000
        assert not slow.closed
        site.hub.publish("t", "y" * 1000)
        assert (slow.closed, other.closed) == (True, False)


def test_what_waits_for_many_is_counted_once() -> None:
    with Hub() as site:
        for _ in range(10):
            peer = site.subscribe()
            peer.take(0)
        site.hub.to_all(FILL)
        site.hub.publish("t", "y" * 1000)
        site.rig.clock.turn()
        assert 1000 < site.hub.queued_bytes < 1100
        assert site.rig.site.ledger.snapshot()["event_bytes"] == site.hub.queued_bytes


def test_one_that_catches_up_in_time_has_lost_nothing() -> None:
    with Hub() as site:
        slow = stopped(site)
        receipts = [site.hub.publish("t", number) for number in range(100)]
        assert {receipt.waiting for receipt in receipts} == {1}
        slow.take(None)
        site.hub.publish("t", 100)
        assert data_of(slow)[1:] == [str(number) for number in range(101)]
        assert {receipt.written for receipt in receipts} == {1}
        assert site.newest.lag() == site.newest.lag().__class__(0, 0, 0, 0.0)


def test_drop_oldest_says_what_is_missing() -> None:
    with Hub(max_queued_events=3, policies={"t": "drop-oldest"}) as site:
        slow = stopped(site)
        receipts = [site.hub.publish("t", number) for number in range(7)]
        assert [receipt.dropped for receipt in receipts] == [1, 1, 1, 1, 0, 0, 0]
        slow.take(None)
        site.rig.clock.turn()
        filled, gap, *rest = events(slow)
        assert filled.data == FILL
        assert gap.type == "gap"
        assert json.loads(gap.data) == {
            "reason": "overflow",
            "first": receipts[0].id,
            "last": receipts[3].id,
            "count": 4,
        }
        assert [event.data for event in rest] == ["4", "5", "6"]


def test_what_must_not_be_lost_is_not_lost_for_another_topic() -> None:
    with Hub(max_queued_events=3, policies={"ticks": "drop-oldest"}) as site:
        slow = stopped(site, "topic=ticks&topic=orders")
        site.hub.publish("orders", "order")
        for number in range(10):
            site.hub.publish("ticks", number)
        slow.take(None)
        site.rig.clock.turn()
        assert [event.data for event in events(slow) if event.type != "gap"][1:] == ["order", "8", "9"]


def test_latest_keeps_the_newest_of_each_key() -> None:
    with Hub(max_queued_events=3, policies={"*": "latest"}) as site:
        slow = stopped(site, "topic=*")
        for number in range(10):
            site.hub.publish("price", number, key="a")
            site.hub.publish("price", number, key="b")
            site.hub.publish("other", number)
        slow.take(None)
        site.rig.clock.turn()
        assert data_of(slow)[1:] == ["9", "9", "9"]
        assert "gap" not in {event.type for event in events(slow)}


def test_latest_takes_no_topic_for_another_ones_key() -> None:
    with Hub(policy="latest") as site:
        slow = stopped(site, "topic=a&topic=a%0Ab")
        site.hub.publish("a", 1, key="b")
        site.hub.publish("a\nb", 2)
        site.hub.publish("a", 3, key="b")
        slow.take(None)
        site.rig.clock.turn()
        assert data_of(slow)[1:] == ["2", "3"]
        slow.reset()


def test_pause_falls_back_to_the_history() -> None:
    with Hub(history=MemoryHistory, max_queued_events=3, policy="pause") as site:
        slow = stopped(site)
        for number in range(100):
            site.hub.publish("t", number)
            assert site.newest.queue_length <= 3
        assert site.newest.cursor is not None
        assert site.hub.publish("t", 100).matched == 0  # it is not live
        slow.take(None)
        site.rig.clock.turn()
        site.hub.publish("t", 101)
        assert data_of(slow)[1:] == [str(number) for number in range(102)]


def test_pause_past_the_history_is_a_gap() -> None:
    def small(clock: Any) -> MemoryHistory:
        return MemoryHistory(clock, max_topic_updates=10)

    with Hub(history=small, max_queued_events=3, policy="pause") as site:
        slow = stopped(site)
        for number in range(100):
            site.hub.publish("t", number)
        slow.take(None)
        site.rig.clock.turn()
        gap, *rest = events(slow)[1:]
        assert (gap.type, json.loads(gap.data)["reason"]) == ("gap", "evicted")
        assert [event.data for event in rest] == [str(number) for number in range(90, 100)]


def test_a_paused_one_is_closed_by_what_no_history_has() -> None:
    with Hub(history=MemoryHistory, max_queued_events=3, policy="pause") as site:
        stopped(site)
        for number in range(4):
            site.hub.to_all(number)
        assert site.reasons == ["overflow"]


# -- lag and deadlines -------------------------------------------------------------------------


def test_lag_and_the_slowest() -> None:
    with Hub(write_seconds=50, heartbeat_seconds=None) as site:
        first = stopped(site)
        site.rig.advance(3)
        second = stopped(site)
        site.subscribe()
        site.hub.publish("t", "y" * 1000)
        site.rig.advance(2)
        one, two, three = site.hub.subscribers()
        assert site.hub.slowest() == [one, two]
        assert site.hub.slowest(1) == [one]
        lag = one.lag()
        assert (lag.events, lag.seconds) == (2, 5)
        assert lag.unsent_bytes >= 100_000
        assert three.lag().seconds == 0
        first.take(None)
        second.take(None)
        site.rig.clock.turn()
        assert site.hub.slowest() == []


def test_one_that_takes_nothing_is_gone_within_its_deadline() -> None:
    with Hub(write_seconds=10) as site:
        peer = stopped(site)
        site.rig.advance(9)
        assert not peer.closed
        site.rig.advance(2)
        assert (peer.closed, site.reasons) == (True, ["write-seconds"])


def test_one_that_takes_a_little_is_not_dead() -> None:
    with Hub(write_seconds=10, limits=Limits(send_bytes_per_second=1)) as site:
        peer = stopped(site)
        for _ in range(8):
            peer.take(5000)
            site.rig.advance(6)
        assert not peer.closed
        site.rig.advance(22)
        assert (peer.closed, site.reasons) == (True, ["write-seconds"])


def test_heartbeats_go_to_whoever_was_sent_nothing() -> None:
    with Hub(heartbeat_seconds=20, retry_seconds=None) as site:
        quiet, told = site.subscribe("topic=q"), site.subscribe("topic=t")
        for second in range(60):
            site.hub.publish("t", second)
            site.rig.advance(1)
        assert 3 <= body(quiet).count(COMMENT) - 1 <= 4
        assert body(told).count(COMMENT) == 1


def test_no_heartbeats_when_there_shall_be_none() -> None:
    with Hub(heartbeat_seconds=None, retry_seconds=None) as site:
        peer = site.subscribe()
        site.rig.advance(100)
        assert body(peer) == COMMENT


def test_heartbeats_and_lifetimes_are_spread() -> None:
    with Hub(heartbeat_seconds=20, lifetime_seconds=100) as site:
        peers = [site.subscribe() for _ in range(200)]
        left = []
        for _ in range(101):
            site.rig.advance(1)
            left.append(site.hub.subscriber_count)
        assert left[73] == 200
        assert left[-1] == 0
        assert max(before - after for before, after in pairwise(left)) < 30
        (response,) = peers[0].responses()
        assert response.complete
        assert response.body.count(b"retry: ") == 2


def test_an_expiry_ends_it() -> None:
    with Hub(heartbeat_seconds=None) as site:
        now = site.rig.clock.seconds()
        subscribe = site.hub.subscribe
        site.hub.subscribe = lambda *a, **k: subscribe(*a, **k, data="mine", expires_at=now + 10)  # type: ignore[method-assign]
        peer = site.subscribe()
        assert site.newest.data == "mine"
        site.rig.advance(9)
        assert not peer.closed
        site.rig.advance(3)
        assert (peer.closed, site.reasons) == (True, ["lifetime"])


# -- history before live -----------------------------------------------------------------------


def head_of(peer: Peer) -> dict[str, str]:
    lines = peer.received.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def test_what_was_missed_comes_first_and_once() -> None:
    with Hub(history=MemoryHistory) as site:
        receipts = [site.hub.publish("t", number) for number in range(300)]
        back = site.subscribe(last_event_id=receipts[9].id.encode())
        assert data_of(back) == [str(number) for number in range(10, 300)]
        assert head_of(back)["last-event-id"] == receipts[9].id
        site.hub.publish("t", 300)
        assert data_of(back)[-2:] == ["299", "300"]
        every = site.subscribe(last_event_id=b"earliest")
        assert data_of(every) == [str(number) for number in range(301)]
        lost = site.subscribe(last_event_id=b"abcdefgh-5")
        assert head_of(lost)["last-event-id"] == "earliest"
        assert json.loads(events(lost)[0].data)["reason"] == "restart"
        assert data_of(lost)[1:] == [str(number) for number in range(301)]
        assert "last-event-id" not in head_of(site.subscribe())


@pytest.mark.parametrize("query", ["topic=%7B%2Bany%7D", "topic=a&topic=b"])
def test_a_page_is_no_more_than_a_write_whatever_its_events(query: str) -> None:
    """Or one that does not read would be sent all the history has, and be ended for what waits."""
    with Hub(history=MemoryHistory) as site:
        texts = [f"{number}{FILL}" for number in range(30)] + [f"{number}" * 20_000 for number in range(5)]
        for number, text in enumerate(texts):
            site.hub.publish("a" if number % 2 else "b", text)
        peer = site.rig.connect()
        peer.take(10_000)
        peer.send(say(target=b"/?" + query.encode(), last_event_id=b"earliest"))
        site.rig.clock.turn()
        subscriber = site.newest
        assert 0 < subscriber.lag().unsent_bytes < 3 * len(FILL)
        assert not subscriber.flowing
        site.hub.publish("a", "live")
        peer.take(None)
        for _ in range(100):
            site.rig.clock.turn()
        assert data_of(peer) == [*texts, "live"]
        assert all(
            site.hub.explain(f"{site.hub.epoch}-{number}", subscriber).way == "history" for number in (1, 20, 36)
        )
        peer.reset()


def test_private_events_of_the_history() -> None:
    with Hub(history=MemoryHistory) as site:
        site.hub.publish("t", "secret", private=True)
        site.hub.publish("t", "public")
        assert data_of(site.subscribe(last_event_id=b"earliest")) == ["public"]
        assert data_of(site.subscribe("allowed=t", last_event_id=b"earliest")) == ["secret", "public"]


def test_what_is_for_a_user_waits_for_the_end_of_the_history() -> None:
    with Hub(history=MemoryHistory) as site:
        for number in range(500):
            site.hub.publish("t", f"{number} {'z' * 1000}")
        back = site.rig.connect()
        back.take(1000)
        back.send(say(target=b"/?user=ann", last_event_id=b"earliest"))
        assert site.newest.cursor is not None
        site.hub.to_user("ann", "hello ann")
        site.hub.publish("t", "500 ")
        back.take(None)
        site.rig.clock.turn()
        assert [data.split()[0] for data in data_of(back)] == [*map(str, range(501)), "hello"]


def test_a_storm_of_replays_does_not_starve_live_events() -> None:
    with Hub(history=MemoryHistory) as site:
        for number in range(900):
            site.hub.publish("t", number)
        live = site.subscribe()
        fan_out = site.hub._fan_out
        fan_out._serving = True  # the storm comes in one turn of the reactor
        back = [site.subscribe(last_event_id=b"earliest") for _ in range(20)]
        fan_out._serving = False
        steps: list[int] = []
        seconds = site.rig.clock.seconds

        def slow_seconds() -> float:
            steps.append(1)
            return float(seconds() + len(steps) / 500)  # a look takes 2 ms: every slice has one page

        site.rig.clock.seconds = slow_seconds  # type: ignore[method-assign]
        fan_out._soon()
        site.hub.publish("t", "live")
        fan_out._turn.cancel()  # type: ignore[union-attr]
        fan_out._slice()
        site.rig.clock.seconds = seconds  # type: ignore[method-assign]
        assert bytes(live._socket.sent).endswith(b"data: live\n\n\r\n")
        assert len(fan_out._replays) == 20
        site.rig.advance(1)
        for peer in back:
            assert data_of(peer) == [*map(str, range(900)), "live"]


@pytest.mark.parametrize(
    ("seed", "steps"), [(1, 600), *(pytest.param(n, 10_000, marks=pytest.mark.slow) for n in (2, 3, 4))]
)
def test_each_event_once_whatever_comes_and_goes(seed: int, steps: int) -> None:
    """Clients connect, stop, go on, are reset and come back with the last id they have read, at random."""
    choose = random.Random(seed)
    sent: dict[str, list[str]] = {"a": [], "b": []}

    class Client:
        last: str

        def __init__(self, topic: str) -> None:
            self.topic = topic
            self.got: list[str] = []
            self.last = site.hub.last_id
            self.peer: Peer | None = None

        def connect(self) -> None:
            self.peer = site.rig.connect()
            self.peer.send(say(target=b"/?topic=" + self.topic.encode(), last_event_id=self.last.encode()))

        def leave(self) -> None:
            if self.peer is not None:
                self.read()
                self.peer.reset()
                self.peer.transport.abortConnection()
            self.peer = None

        def read(self) -> None:
            assert self.peer is not None
            rest = bytes(self.peer._socket.sent).partition(b"\r\n\r\n")[2]
            parser = Parser(last_event_id=self.last)
            whole = b""
            while True:
                size, end, rest = rest.partition(b"\r\n")
                if not end or len(rest) < int(size, 16) + 2:
                    break
                whole, rest = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            for event in parser.feed(whole):
                assert event.type == "message"
                self.got.append(event.data)
                self.last = event.id

    def big(clock: Any) -> MemoryHistory:
        return MemoryHistory(clock, max_topic_updates=10_000)

    with Hub(history=big, max_queued_events=5, policy=["close", "pause"][seed % 2]) as site:
        clients = [Client(choose.choice("ab")) for _ in range(20)]
        for number in range(steps):
            client = choose.choice(clients)
            act = choose.random()
            if client.peer is None or client.peer.closed:
                client.leave()
                client.connect()
            elif act < 0.2:
                client.leave()
            elif act < 0.4:
                client.peer.take(choose.choice([0, 10, 3000]))
            elif act < 0.6:
                client.peer.take(None)
            topic = choose.choice("ab")
            sent[topic].append(str(number))
            data = str(number) if choose.random() < 0.9 else f"{number} {'x' * 70_000}"
            site.hub.publish(topic, data)
        for client in clients:
            if client.peer is not None:
                client.peer.take(None)
            if client.peer is None or client.peer.closed:
                client.leave()
                client.connect()
        site.rig.clock.turn()
        for client in clients:
            client.read()
            assert [data.split()[0] for data in client.got] == sent[client.topic]


# -- the real thing ----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
@ensureDeferred
async def test_the_kernel_is_told_how_long_to_wait() -> None:
    hub = EventHub(reactor, write_seconds=7.5)
    async with serve("fast", Subscribes(hub)) as site:
        client = socket.create_connection(("127.0.0.1", site.port))
        client.sendall(say())
        await site.wait_for(lambda: hub.subscriber_count)
        (subscriber,) = hub.subscribers()
        handle = subscriber._transport().socket
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500
        client.close()
        await site.wait_for(lambda: not hub.subscriber_count)
    assert [call for call in reactor.getDelayedCalls() if "hub" in str(call)] == []


@pytest.mark.slow
def test_nothing_is_left_for_the_collector() -> None:
    with Hub(history=MemoryHistory) as site:
        for _ in range(3):
            gc.collect()
        gc.disable()
        try:
            for number in range(20):
                peer = site.subscribe("user=a&group=b", last_event_id=b"earliest")
                site.hub.publish("t", number)
                (site.hub.close(site.newest) if number % 2 else peer.reset())
                site.rig.clock.turn()
            site.told.clear()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = [thing for thing in gc.garbage if type(thing).__module__.startswith("hardhttp.sse")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert found == []

"""The hub: topics to whoever wants them, in order, one way in and one way out."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from hardhttp.errors import BrokerAwayError, HTTPError
from hardhttp.limits import Limits
from hardhttp.sse.fanout import LOOK_EVERY
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.historysqlite import SQLiteHistory
from hardhttp.sse.hub import EventHub, Policy, Subscriber
from hardhttp.testing import Peer
from hardhttp.wire.eventstream import Parser
from tests.sse.subscribing import Hub, body, data_of, empty, events
from tests.sse.thread_clock import ThreadClock
from tests.web.saying import say


def test_topics_reach_those_who_want_them() -> None:
    with Hub() as site:
        exact, template, every = site.subscribe("topic=/a/1"), site.subscribe("topic=/a/{n}"), site.subscribe("topic=*")
        receipt = site.hub.publish("/a/1", "one")
        assert (receipt.matched, receipt.written, receipt.dropped, receipt.waiting) == (3, 3, 0, 0)
        assert site.hub.publish(["/x", "/a/2"], "two", event="named", retry=3).matched == 2
        assert site.hub.publish("nobody's", "three").matched == 1
        assert [data_of(peer) for peer in (exact, template, every)] == [
            ["one"],
            ["one", "two"],
            ["one", "two", "three"],
        ]
        event = events(template)[1]
        assert (event.type, event.retry_ms, event.id) == ("named", 3000, f"{site.hub.epoch}-2")
        assert site.hub.subscribers("/a/2") == site.hub.subscribers()[1:]


def test_the_head() -> None:
    with Hub(retry_seconds=(2, 3)) as site:
        peers = [site.subscribe() for _ in range(20)]
        for line in (b"200 OK", b"Content-Type: text/event-stream\r\n", b"Cache-Control: no-store, no-transform\r\n"):
            assert line in peers[0].received
        waits = set()
        for peer in peers:
            parser = Parser()
            parser.feed(body(peer))
            waits.add(parser.retry_ms)
        assert len(waits) > 1
        assert all(wait is not None and 2000 <= wait <= 3000 for wait in waits)
    with Hub(retry_seconds=None) as site:
        assert body(site.subscribe()) == b":\n"


@pytest.mark.parametrize(
    "options",
    [
        {"heartbeat_seconds": 0},
        {"lifetime_seconds": 0},
        {"max_subscribers": 0},
        {"max_queued_events": 0},
        {"retry_seconds": (3, 2)},
        {"retry_seconds": (3, 2**31 / 1000)},
        {"policy": "pause"},
        {"policies": {"*": "pause"}},
        {"policy": "forget"},
    ],
)
def test_what_cannot_be_is_refused(options: Any) -> None:
    with pytest.raises(ValueError):
        EventHub(Clock(), **options)


def test_what_cannot_be_published_changes_nothing() -> None:
    with Hub(history=MemoryHistory, max_event_bytes=200) as site:
        peer = site.subscribe()
        for call in (
            lambda: site.hub.publish("t", "x", event="two\nlines"),
            lambda: site.hub.publish("t", "x", id="#mine"),
            lambda: site.hub.publish("t", "x", id=f"{site.hub.epoch}-7"),
            lambda: site.hub.publish("t", "x", id="earliest"),
            lambda: site.hub.publish("t", "x" * 200),
            lambda: site.hub.publish([], "x"),
            lambda: site.hub.publish("t", object()),
        ):
            with pytest.raises((ValueError, TypeError)):
                call()
        assert events(peer) == []
        assert site.hub.publish("t", "x", id="mine").id == "mine"
        assert site.hub.last_id == "mine"


def test_a_private_event_goes_to_those_who_may_have_it() -> None:
    with Hub() as site:
        public, allowed = site.subscribe("topic=/a/1"), site.subscribe("topic=/a/1&allowed=/a/{n}")
        assert site.hub.publish("/a/1", "secret", private=True).matched == 1
        assert (data_of(public), data_of(allowed)) == ([], ["secret"])


def test_an_idempotency_key_sends_once() -> None:
    with Hub(max_idempotency_keys=2, idempotency_seconds=10) as site:
        peer = site.subscribe()
        first = site.hub.publish("t", 1, idempotency_key="a")
        assert site.hub.publish("t", 2, idempotency_key="a") is first
        site.hub.publish("t", 3, idempotency_key="b")
        site.hub.publish("t", 4, idempotency_key="c")  # the third: "a" is forgotten
        site.hub.publish("t", 5, idempotency_key="a")
        assert len(site.hub._repeats) == 2
        site.rig.advance(10)
        site.hub.publish("t", 6, idempotency_key="a")
        assert data_of(peer) == ["1", "3", "4", "5", "6"]


# -- users and groups --------------------------------------------------------------------------


def test_users_and_groups() -> None:
    with Hub() as site:
        ann, again = site.subscribe("user=ann"), site.subscribe("user=ann&group=g")
        bob, nobody = site.subscribe("user=bob&group=g&group=h"), site.subscribe()
        assert site.hub.to_user("ann", "to ann").matched == 2
        assert site.hub.to_user("unknown", "lost").matched == 0
        assert site.hub.to_group("g", "to g").matched == 2
        assert site.hub.to_group("unknown", "lost").matched == 0
        assert site.hub.to_all("to all").matched == 4
        assert [data_of(peer) for peer in (ann, again, bob, nobody)] == [
            ["to ann", "to all"],
            ["to ann", "to g", "to all"],
            ["to g", "to all"],
            ["to all"],
        ]
        last = site.newest
        site.hub.bind_user(last, "bob")
        site.hub.join(last, "h")
        site.hub.leave(last, "h")
        assert site.hub.to_group("h", "x").matched == 1
        assert site.hub.close_user("bob") == 2
        assert site.hub.close_user("bob") == 0
        assert (bob.closed, nobody.closed, site.hub.subscriber_count, site.hub.user_count) == (True, True, 2, 1)
        site.hub.bind_user(last, "carl")  # it has ended
        assert site.hub.to_user("carl", "x").matched == 0


# -- snapshots (V10) ---------------------------------------------------------------------------


def test_v10_an_event_is_what_it_was_when_it_was_published() -> None:
    with Hub() as site:
        quick, slow = site.subscribe(), site.subscribe()
        slow.take(0)
        site.hub.publish("t", "x" * 200_000)
        state: dict[str, Any] = {"n": 1, "list": [1]}
        site.hub.publish("t", state)
        state["n"] = 2
        state["list"].append(2)
        site.hub.publish("t", state)
        state.clear()
        slow.take(None)
        site.rig.clock.turn()
        for peer in (quick, slow):
            assert data_of(peer)[1:] == ['{"n":1,"list":[1]}', '{"n":2,"list":[1,2]}']


def test_v10_what_callbacks_publish_comes_after() -> None:
    """Whoever leaves is told to all by a callback, which publishes within whatever was going on."""
    with Hub() as site:
        peers = [site.subscribe() for _ in range(100)]
        names = ["first"]

        def told(subscriber: Any, reason: Any) -> None:
            if len(names) < 20:
                names.append(f"after {len(names)}")
                site.hub.publish("t", names[-1])

        site.hub.on_close(told)
        broken = site.newest
        broken.request.writeChunk = lambda *_: (_ for _ in ()).throw(LookupError("of a subscriber"))
        site.hub.publish("t", "first")
        site.rig.clock.turn()
        peers[0].reset()
        site.rig.clock.turn()
        assert [failure.type for failure in site.rig.flush()] == [LookupError]
        for peer in peers[1:-1]:
            assert data_of(peer) == names == ["first", "after 1", "after 2"]


# -- one way in (V09), one way out (V15) -------------------------------------------------------


@pytest.mark.parametrize("where", ["write", "registerProducer", "watch", "setHeader"])
def test_v09_what_fails_while_subscribing_leaves_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardhttp import Request

    def fail(*args: Any) -> Any:
        raise LookupError(f"in {where}")

    with Hub(history=MemoryHistory) as site:
        before = site.rig.site.ledger.snapshot()
        with monkeypatch.context() as patched:
            patched.setattr(Request, where, fail)
            peer = site.subscribe("user=a&group=b", last_event_id=b"earliest")
            site.rig.clock.turn()
        assert (site.hub.subscriber_count, site.hub.user_count) == (0, 0)
        assert {failure.type for failure in site.rig.flush()} == {LookupError}
        assert site.reasons == ["failed"]
        peer.half_close()
        peer.reset()
        assert site.rig.site.ledger.snapshot() == before
        assert site.hub.publish("t", "x").matched == 0


def test_on_connect_may_refuse() -> None:
    with Hub() as site:
        site.hub.on_connect(lambda subscriber: subscriber.user != "bad")

        def refuse(subscriber: Any) -> None:
            if subscriber.user == "worse":
                raise HTTPError(409, "no")
            if subscriber.user == "broken":
                raise LookupError("in a callback")
            site.hub.join(subscriber, "all")

        site.hub.on_connect(refuse)
        statuses = []
        for user in ("bad", "worse", "broken"):
            (answer,) = site.subscribe(f"user={user}").responses()
            statuses.append(answer.status)
        assert statuses == [403, 409, 500]
        assert len(site.rig.flush()) == 1
        assert (site.told, site.hub.subscriber_count, site.hub.user_count) == ([], 0, 0)
        good = site.subscribe("user=good")
        site.hub.to_group("all", "hello")
        assert data_of(good) == ["hello"]


def test_an_on_connect_that_answers_later_accepts_nobody() -> None:
    async def later(subscriber: Subscriber) -> bool:
        return False

    for callback in (later, lambda subscriber: Deferred()):
        with Hub() as site:
            site.hub.on_connect(callback)
            peer = site.subscribe()
            assert (peer.responses()[0].status, site.hub.subscriber_count) == (500, 0)
            (failure,) = site.rig.flush()
            assert "must answer at once" in failure.getErrorMessage()


def test_v15_on_close_is_told_once_and_why() -> None:
    with Hub(lifetime_seconds=100) as site:
        peers = [site.subscribe(f"user={i}") for i in range(4)]
        closed, user, gone, old = site.hub.subscribers()
        site.hub.on_close(lambda *_: 1 / 0)  # costs nobody anything
        site.hub.publish("t", "last")
        site.hub.close(closed)
        site.hub.close(closed)
        site.hub.close_user("1")
        peers[2].reset()
        site.rig.advance(101)
        assert [(s, str(reason)) for s, reason in site.told] == [
            (closed, "closed"),
            (user, "closed"),
            (gone, "client"),
            (old, "lifetime"),
        ]
        assert all(peer.closed for peer in peers)
        assert len(site.rig.flush()) == 4
        for peer in (peers[0], peers[1], peers[3]):
            (response,) = peer.responses()
            assert response.complete
            assert b"data: last\n\n" in response.body
        assert closed.request is None
        assert site.hub.ends == {**dict.fromkeys(site.hub.ends, 0), "closed": 2, "client": 1, "lifetime": 1}


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
def test_v15_a_client_that_leaves(leave: Any) -> None:
    with Hub() as site:
        peer, other = site.subscribe(), site.subscribe()
        leave(peer)
        assert (peer.closed, site.hub.subscriber_count) == (True, 1)
        site.hub.publish("t", "x")
        assert data_of(other) == ["x"]
        assert site.rig.site.statistics.ignored_writes == 0


def test_v15_close_all_sends_what_is_on_its_way() -> None:
    with Hub() as site:
        peers = [site.subscribe() for _ in range(200)]
        site.hub._fan_out._serving = True  # as a callback would find it: nothing goes out yet
        site.hub.publish("t", "goodbye")
        site.hub._fan_out._serving = False
        assert site.hub.close_all() == 200
        site.rig.clock.turn()
        assert all(data_of_closed(peer) == ["goodbye"] for peer in peers)


def data_of_closed(peer: Peer) -> list[str]:
    (response,) = peer.responses()
    return [event.data for event in Parser().feed(response.body)]


def test_who_asks_for_all_is_told_of_what_is_lost_before_its_turn() -> None:
    with Hub(history=lambda clock: MemoryHistory(clock, max_topic_updates=2)) as site:
        site.hub.publish("t", "before")
        site.hub._fan_out._serving = True  # as a callback would find it: nobody's turn comes yet
        peer = site.subscribe(last_event_id=b"earliest")
        for number in range(4):
            site.hub.publish("t", number)
        site.hub._fan_out._serving = False
        site.hub._fan_out._soon()
        site.rig.clock.turn()
        gap, *rest = events(peer)
        assert (gap.type, [event.data for event in rest]) == ("gap", ["2", "3"])
        assert '"reason":"evicted"' in gap.data


# -- overload and drain ------------------------------------------------------------------------


def test_over_the_cap_a_browser_is_told_to_come_back_and_others_get_503() -> None:
    with Hub(max_subscribers=2, overload_seconds=(7, 9)) as site:
        kept = [site.subscribe(), site.subscribe()]
        waits = []
        for _ in range(10):
            browser = site.subscribe(accept=b"text/event-stream")
            (answer,) = browser.responses()
            assert (answer.status, answer.get(b"content-type"), browser.closed) == (200, b"text/event-stream", True)
            parser = Parser()
            assert parser.feed(answer.body) == []
            waits.append(parser.retry_ms)
        assert all(wait is not None and 7000 <= wait <= 9000 for wait in waits)
        assert len(set(waits)) > 1
        for accept in (b"*/*", b"text/event-stream, text/html", b"text/event-stream;q=1, */*;q=0.1"):
            (answer,) = site.subscribe(accept=accept).responses()
            assert (answer.status, 7 <= int(answer.get(b"retry-after") or 0) <= 9) == (503, True)
        assert (site.hub.subscriber_count, site.hub.refused, site.told) == (2, 13, [])
        kept[0].reset()
        site.subscribe()
        assert site.hub.subscriber_count == 2


def test_a_drain_spreads_over_its_time() -> None:
    with Hub(limits=Limits(drain_seconds=10), retry_seconds=(1, 5)) as site:
        peers = [site.subscribe() for _ in range(100)]
        site.hub.publish("t", "x")
        drained: list[Any] = []
        site.rig.site.drain().addCallback(drained.append)
        left = []
        for _ in range(6):
            site.rig.advance(1)
            left.append(site.hub.subscriber_count)
        assert 70 <= left[0] < 100
        assert left == sorted(left, reverse=True)
        assert left[-1] == 0
        waits = set()
        for peer in peers:
            parser = Parser()
            (response,) = peer.responses()
            parser.feed(response.body)
            waits.add(parser.retry_ms)
        assert len(waits) > 50
        assert set(site.reasons) == {"drained"}
        site.rig.advance(1)
        assert drained == [None]


def test_who_subscribes_while_it_drains_is_told_too() -> None:
    """By a connection that was made before: a browser keeps one in reserve, and comes back by it."""
    with Hub(limits=Limits(drain_seconds=10), retry_seconds=(1, 5)) as site:
        reserve = site.rig.connect()
        drained: list[Any] = []
        site.rig.site.drain().addCallback(drained.append)
        site.rig.advance(1)
        reserve.send(say(target=b"/?topic=t"))
        site.rig.advance(1)
        (response,) = reserve.responses()
        assert (response.status, response.complete) == (200, True)
        assert b"retry: " in response.body
        assert site.reasons == ["drained"]
        site.rig.advance(1)
        assert drained == [None]


# -- slices ------------------------------------------------------------------------------------


def test_order_holds_under_publishing_in_the_middle_of_rounds() -> None:
    choose = random.Random(4)
    with Hub() as site:
        wants = [choose.sample(["a", "b", "c"], choose.randint(1, 3)) for _ in range(150)]
        peers = [site.subscribe("&".join(f"topic={topic}" for topic in each)) for each in wants]
        sent: list[tuple[str, str]] = []
        for number in range(200):
            topic = choose.choice("abc")
            sent.append((topic, str(number)))
            receipt = site.hub.publish(topic, number)
            if choose.random() < 0.2:
                site.rig.clock.turn()
        site.rig.clock.turn()
        assert receipt.waiting == 0
        for peer, each in zip(peers, wants, strict=True):
            assert data_of(peer) == [number for topic, number in sent if topic in each]


def test_what_is_published_faster_than_served_is_bounded() -> None:
    """Here the reactor never gets round to it."""
    with Hub(max_waiting_bytes=10_000) as site:
        peers = [site.subscribe() for _ in range(100)]
        served, site.hub._fan_out._slice = site.hub._fan_out._slice, lambda: None  # type: ignore[method-assign]
        for number in range(50):
            site.hub.publish("t", f"{number:01000}")
            assert site.hub.queued_bytes <= 10_000
        while site.hub._fan_out._batches:
            served()
        for peer in peers:
            assert [int(data) for data in data_of(peer)] == list(range(50))


TURN_SECONDS = 0.0001


class Ticking:
    """A clock on which a look takes a millisecond: two looks are a slice. What is called later is called in a turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self.looks = clock, 0

    def seconds(self) -> float:
        self.looks += 1
        return float(self._clock.seconds() + self.looks / 1000)

    def callLater(self, delay: float, *args: Any) -> Any:
        return self._clock.callLater(max(delay, TURN_SECONDS), *args)


class MemoryRequest:
    """As much of a request as a subscriber asks for."""

    method, channel = b"GET", None

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.finishing: Deferred[None] = Deferred()
        self.responseHeaders = Headers()

    def getHeader(self, name: bytes) -> None: ...

    def setHeader(self, name: bytes, value: bytes) -> None: ...

    def notifyFinish(self) -> Deferred[None]:
        return self.finishing

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...

    def finish(self) -> None:
        self.finishing.callback(None)


@pytest.mark.slow
def test_five_thousand_subscribers_are_served_in_slices() -> None:
    """Counted, not timed: on this clock a slice is over after so many. What is published together is one write."""
    clock = Clock()
    hub = EventHub(Ticking(clock), heartbeat_seconds=None)  # type: ignore[arg-type]
    hub._ticking.clock = clock
    requests = [MemoryRequest() for _ in range(5000)]
    for request in requests:
        hub.subscribe(request, "t")

    def written() -> int:
        return sum(len(request.written) for request in requests)

    before, counts = written(), []
    for number in range(10):
        hub.publish("t", number)
        counts.append(written() - before)
        before = written()
    while hub._fan_out._turn is not None:
        clock.advance(TURN_SECONDS)
        counts.append(written() - before)
        before = written()
    assert 0 < max(counts) <= 3 * LOOK_EVERY
    assert sum(counts) <= 2 * 5000
    lines = [b"".join(request.written[1:]) for request in requests]
    assert set(lines) == {lines[0]}
    assert [line for line in lines[0].split(b"\n") if line[:4] == b"data"] == [b"data: %d" % n for n in range(10)]
    assert hub.queued_bytes == 0
    assert hub.close_all() == 5000
    counts = []
    while hub.subscriber_count:
        counts.append(hub.subscriber_count)
        clock.advance(TURN_SECONDS)
    assert max(before - after for before, after in itertools.pairwise([*counts, 0])) <= 3 * LOOK_EVERY
    assert clock.getDelayedCalls() == []


def test_everyone_leaves_in_the_middle_of_a_round() -> None:
    clock = Clock()
    hub = EventHub(Ticking(clock))  # type: ignore[arg-type]
    hub._ticking.clock = clock
    requests = [MemoryRequest() for _ in range(500)]
    for request in requests:
        hub.subscribe(request, "t")
    receipts = [hub.publish("t", number) for number in range(2)]
    for request in requests:
        request.finishing.errback(ConnectionError())
    assert clock.getDelayedCalls() == []
    assert [(receipt.matched, receipt.waiting) for receipt in receipts] == [(500, 0), (500, 0)]
    assert 0 < receipts[0].written < 500
    empty(hub)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_in_the_middle_of_rounds_whatever_happens(seed: int) -> None:
    """Publishing, coming (with a last id), waiting, going on and closing, between slices: each gets each event once."""
    choose = random.Random(seed)
    clock = Clock()
    ticking = Ticking(clock)
    history = MemoryHistory(clock, max_topic_updates=5000)
    policies = {"a": "pause", "b": "pause", "c": "pause"}
    hub = EventHub(ticking, history=history, heartbeat_seconds=None, max_queued_events=4, policies=policies)  # type: ignore[arg-type]
    hub._ticking.clock = clock
    hub._policy = Policy.DROP_OLDEST  # of what is directed
    sent: list[tuple[int, str, str]] = []
    ever: list[tuple[Any, MemoryRequest, list[str], int, list[int]]] = []

    def come() -> None:
        topics = choose.sample("abc", choose.randint(1, 3))
        back = choose.random() < 0.5 and len(sent) > 10
        since = choose.randrange(max(0, len(sent) - 30), len(sent)) if back else len(sent) - 1
        request = MemoryRequest()
        hub.subscribe(request, topics, last_event_id=sent[since][2] if back else None)
        ever.append((hub.subscribers()[-1], request, topics, since, []))

    def check(entry: Any, until: int) -> None:
        _, request, topics, since, told = entry
        got = Parser().feed(b"".join(request.written))
        expected = [str(number) for number, topic, _ in sent[since + 1 : until] if topic in topics]
        assert [event.data for event in got if event.id and event.type == "message"] == expected
        directed = [int(event.data) for event in got if event.type == "all"]
        lost = sum(json.loads(event.data)["count"] for event in got if event.type == "gap")
        assert directed == [number for number in told if number in directed]
        assert len(directed) + lost == len(told)

    for _ in range(150):
        come()
    for number in range(600):
        topic = choose.choice("abc")
        sent.append((number, topic, hub.publish(topic, number).id))
        act, entry = choose.random(), choose.choice(ever)
        subscriber = entry[0]
        if act < 0.1:
            clock.advance(TURN_SECONDS)
        elif act < 0.15:
            come()
        elif act < 0.35:
            subscriber.pauseProducing()
        elif act < 0.6 and subscriber.waiting_since is not None:
            subscriber.resumeProducing()
        elif act < 0.65 and subscriber.flowing:
            hub.close(subscriber)
            check(entry, number + 1)
            ever.remove(entry)
        elif act < 0.7:
            hub.to_all(number, event="all")
            for each in ever:
                each[4].append(number)
    for entry in ever:
        if entry[0].waiting_since is not None:
            entry[0].resumeProducing()
    for _ in range(1000):
        clock.advance(TURN_SECONDS)
    for entry in ever:
        assert entry[0].is_open
        check(entry, 600)
    assert hub.queued_bytes == 0
    hub.close_all()
    while hub.subscriber_count:
        clock.advance(TURN_SECONDS)
    assert clock.getDelayedCalls() == []
    empty(hub)


def test_reading_on_after_something_may_have_been_missed() -> None:
    """Each event once, whatever was on its way; and what was lost is told."""
    with Hub(history=lambda clock: MemoryHistory(clock, max_topic_updates=3)) as site:
        hub = site.hub
        live, other = site.subscribe("topic=t"), site.subscribe("topic=u")
        first = hub.publish("t", "a")
        assert first.written == 1
        hub._fan_out._soon()
        assert hub.publish("t", "b").written == 0  # it is on its way
        place = hub.history.after(hub.last_id, ("t",), 1).place
        hub.read_on(place)
        hub.publish("t", "c")
        site.rig.advance(0)
        assert data_of(live) == ["a", "b", "c"]
        place = hub.history.after(hub.last_id, ("t",), 1).place
        hub.read_on(place)
        for data in "defg":
            hub.publish("t", data)
        site.rig.advance(0)
        assert [event.type for event in events(live)] == [*["message"] * 3, "gap", *["message"] * 3]
        assert data_of(live)[-3:] == ["e", "f", "g"]
        assert data_of(other) == []


def test_reading_on_with_a_queue() -> None:
    with Hub(history=MemoryHistory) as site:
        peer = site.subscribe("topic=t&user=ann")
        peer.take(0)
        for number in range(300):
            site.hub.publish("t", f"{number}" + "x" * 1000)
        site.hub.to_user("ann", "directed")
        assert site.newest.queue_length > 0
        site.hub.read_on(site.hub.history.after(site.hub.last_id, ("t",), 1).place)
        assert site.newest.queue_length == 1  # no history has it
        site.hub.publish("t", "last")
        peer.take(None)
        site.rig.advance(0)
        site.rig.advance(0)
        found = data_of(peer)
        assert [data.rstrip("x") for data in found if data != "directed"] == [*map(str, range(300)), "last"]
        assert found.count("directed") == 1


def test_nothing_is_published_while_the_history_is_a_successors(tmp_path: Path) -> None:
    """Else it would be in no history: who comes back to the successor would miss it."""
    clock = ThreadClock()
    hub = EventHub(clock, history=SQLiteHistory(tmp_path / "history.db", clock))  # type: ignore[arg-type]
    first = hub.publish("/a", "1")
    clock.wait(hub.hand_over())
    with pytest.raises(BrokerAwayError, match="503") as refused:
        hub.publish("/a", "2")
    assert refused.value.headers["Retry-After"] == "2"
    assert hub.published == 1
    hub.take_back()
    assert hub.publish("/a", "2").id == first.id.replace("-1", "-2")
    clock.wait(hub.stop())


def test_without_a_file_there_is_nothing_to_hand_over() -> None:
    hub = EventHub(Clock())
    assert hub.hand_over().called
    with pytest.raises(BrokerAwayError):
        hub.publish("/a", "1")
    hub.take_back()
    hub.publish("/a", "1")

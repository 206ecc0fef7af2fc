"""``explain`` one outcome at a time, its bounds, and the resources that answer it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from hardhttp.sse import subscriber
from hardhttp.sse.explain import Outcome
from hardhttp.sse.explainpage import Explain, Subscribers
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.subscriber import Ended
from tests.sse.subscribing import Hub, Subscribes, data_of
from tests.web.saying import say

FILL = "x" * 100_000


def outcome(site: Hub, event: str, subscriber: Any) -> tuple[str, ...]:
    found = site.hub.explain(event, subscriber)
    return tuple(str(each) for each in (found.outcome, found.way, found.loss, found.reason) if each is not None)


def test_each_outcome_by_name() -> None:
    with Hub(max_queued_events=2, policies={"d": "drop-oldest", "l": "latest"}) as site:
        hub = site.hub
        early = hub.publish("t", 0).id
        site.subscribe("topic=t&topic=d&topic=l&user=ann&group=g&allowed=p")
        who = site.newest
        site.rig.advance(1)
        sent = hub.publish("t", 1)
        assert outcome(site, early, who) == ("before",)
        assert outcome(site, sent.id, who) == ("sent", "live")
        found = hub.explain(sent.id, who.id)
        assert (found.earliest, found.latest) == (site.rig.clock.seconds(), site.rig.clock.seconds())
        assert outcome(site, hub.publish("other", 2).id, who) == ("not-matched",)
        assert outcome(site, hub.publish("t", 3, private=True).id, who) == ("not-authorised",)
        assert outcome(site, hub.to_user("ann", 4).id, who) == ("sent", "live")
        assert outcome(site, hub.to_user("bob", 5).id, who) == ("not-matched",)
        assert outcome(site, hub.to_group("h", 6).id, who) == ("not-matched",)
        assert outcome(site, hub.to_all(7).id, who) == ("sent", "live")
        own = hub.publish("t", 8, id="mine")
        assert outcome(site, own.id, who) == ("sent", "live")
        who.pauseProducing()
        first, second, third = (hub.publish("d", number).id for number in range(3))
        assert outcome(site, first, who) == ("dropped", "overflow")
        assert outcome(site, second, who) == outcome(site, third, who) == ("waiting", "queue")
        site.rig.advance(2)
        who.resumeProducing()
        found = hub.explain(third, who)
        assert (found.outcome, found.way, found.latest) == ("sent", "queue", site.rig.clock.seconds())
        who.pauseProducing()
        old, new = (hub.publish("l", number, key="k").id for number in range(2))
        assert outcome(site, old, who) == ("dropped", "replaced")
        hub._abort(who, Ended.CLIENT)
        assert outcome(site, new, who.id) == ("dropped", "ended", "client")
        assert outcome(site, hub.publish("t", 9).id, who) == ("after-end", "client")


def test_what_comes_from_the_history() -> None:
    with Hub(history=lambda clock: MemoryHistory(clock, max_topic_updates=2)) as site:
        receipts = [site.hub.publish("t", number).id for number in range(4)]
        peer = site.subscribe(last_event_id=receipts[0].encode())
        assert outcome(site, receipts[0], site.newest) == ("before",)
        assert outcome(site, receipts[1], site.newest) == ("dropped", "history", "evicted")
        assert outcome(site, receipts[3], site.newest) == ("sent", "history")
        assert data_of(peer)[1:] == ["2", "3"]


def test_an_id_that_only_the_journal_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The history has lost it, and is read from the oldest on."""
    monkeypatch.setattr(subscriber, "PAGE_EVENTS", 2)
    with Hub(history=lambda clock: MemoryHistory(clock, max_topic_updates=3)) as site:
        before = [site.hub.publish("t", number).id for number in range(3)]
        site.hub.publish("u", 3, id="mine")
        for number in range(4, 7):
            site.hub.publish("u", number)
        peer = site.subscribe(last_event_id=b"mine")
        assert data_of(peer)[1:] == ["0", "1", "2"]
        assert [outcome(site, event, site.newest) for event in before] == [("sent", "history")] * 3


def broken(*_: Any) -> None:
    raise LookupError("of a connection")


def test_what_could_not_be_written_was_not_sent() -> None:
    with Hub() as site:
        site.subscribe()
        site.subscribe()
        waits, flows = site.hub.subscribers()
        before = site.hub.publish("t", 0).id
        waits.pauseProducing()
        event = site.hub.publish("t", 1).id
        waits.request.write = broken
        waits.resumeProducing()
        site.hub._fan_out._serving = True  # as a callback would find it: nothing goes out yet
        late = site.hub.publish("t", 2).id
        site.hub._fan_out._serving = False
        flows._plain = None
        flows.request.writeChunk = broken
        site.hub.close(flows)
        assert outcome(site, event, waits) == outcome(site, late, flows) == ("dropped", "ended", "failed")
        assert outcome(site, before, waits) == outcome(site, event, flows) == ("sent", "live")
        assert len(site.rig.flush()) == 2


def test_the_bounds_are_named_and_held() -> None:
    with Hub(max_explained_events=3, max_explained_subscribers=1) as site:
        for _ in range(2):
            site.subscribe()
        one, two = site.hub.subscribers()
        ids = [site.hub.publish("t", number, id=f"own-{number}").id for number in range(4)]
        found = site.hub.explain(ids[0], one)
        assert (found.outcome, found.bound) == (Outcome.UNKNOWN_EVENT, "max_explained_events")
        assert "is no longer" in site.hub.explain(f"{site.hub.epoch}-1", one).sentence
        assert outcome(site, ids[1], one) == ("sent", "live")
        site.hub.close(one)
        assert outcome(site, ids[3], one) == ("sent", "live")
        site.hub.close(two)
        assert site.hub.explain(ids[3], one.id).bound == "max_explained_subscribers"
        assert (len(site.hub.journal._events), len(site.hub.journal._ended), len(site.hub.journal._own_ids)) == (
            3,
            1,
            3,
        )


def test_notes_are_bounded_and_what_went_is_said_to_be_gone() -> None:
    with Hub(max_queued_events=1, policy="drop-oldest", max_explained_exceptions=4) as site:
        site.subscribe()
        site.subscribe("topic=other")
        who, other = site.hub.subscribers()
        who.pauseProducing()
        ids = [site.hub.publish("t", number).id for number in range(6)]
        assert outcome(site, ids[0], who) == ("forgotten",)
        assert site.hub.explain(ids[0], who).bound == "max_explained_exceptions"
        assert outcome(site, ids[0], other) == ("not-matched",)
        assert site.hub.journal._notes.weight <= 4
        who.resumeProducing()
        assert outcome(site, site.hub.publish("t", 7).id, who) == ("sent", "live")


def test_topics_are_bounded_in_bytes() -> None:
    with Hub(max_explained_bytes=1000) as site:
        for number in range(10):
            site.hub.publish(f"{number:0300}", "x")
        assert len(site.hub.journal._events) == 3
        for _ in range(5):
            site.subscribe(f"topic={'y' * 400}")
            site.hub.close(site.newest)
        assert len(site.hub.journal._ended) == 2


@pytest.mark.parametrize("name", ["events", "subscribers", "exceptions", "bytes"])
def test_a_bound_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"max_explained_{name}"):
        EventHub(Clock(), **{f"max_explained_{name}": 0})  # type: ignore[arg-type]


def test_ids_are_the_hubs_own() -> None:
    with Hub() as site:
        for _ in range(3):
            site.subscribe()
        ids = [each.id for each in site.hub.subscribers()]
        assert ids == [f"{site.hub.epoch}-s{number}" for number in range(3)]
        assert site.hub.subscriber(ids[1]) is site.hub.subscribers()[1]
        event = site.hub.publish("t", 1).id
        for wrong in ("", "s1", f"{site.hub.epoch}-s3", f"{site.hub.epoch}-s" + "9" * 5000, "x-s1"):
            assert site.hub.subscriber(wrong) is None
            assert site.hub.explain(event, wrong).outcome is Outcome.UNKNOWN_SUBSCRIBER
            assert site.hub.explain(wrong, ids[0]).outcome is Outcome.UNKNOWN_EVENT


# -- the resources -----------------------------------------------------------------------------


def ask(site: Hub, target: str) -> tuple[int, Any]:
    peer = site.rig.connect()
    peer.send(say(target=target.encode()))
    (answer,) = peer.responses()
    peer.reset()
    return answer.status, json.loads(answer.body)


def mounted(site: Hub) -> None:
    root = Resource()
    root.putChild(b"", Subscribes(site.hub))
    root.putChild(b"explain", Explain(site.hub))
    root.putChild(b"subscribers", Subscribers(site.hub))
    site.rig.site.resource = root


def test_the_endpoint() -> None:
    with Hub() as site:
        mounted(site)
        site.subscribe("topic=t&allowed=p")
        event, who = site.hub.publish("t", "a secret", private=True).id, site.newest.id
        status, found = ask(site, f"/explain?event={event}&subscriber={who}")
        assert (status, found["outcome"], found["subscriber"], found["selectors"]) == (
            200,
            "not-authorised",
            who,
            ["p"],
        )
        assert "secret" not in json.dumps(found)
        assert ask(site, f"/explain?event=x&subscriber={who}")[0] == 404
        status, found = ask(site, f"/explain?event={event}&subscriber=x")
        assert (status, found["outcome"]) == (404, "unknown-subscriber")
        assert ask(site, "/explain?event=x") == (400, {"error": "missing in the query: subscriber"})
        assert ask(site, "/explain") == (400, {"error": "missing in the query: event and subscriber"})


def test_the_list_of_subscribers() -> None:
    with Hub() as site:
        mounted(site)
        for name in ("ann", "bob"):
            site.subscribe(f"topic={'t' * 300}&user={name}")
        slow = site.newest
        site.rig.advance(2)
        slow.pauseProducing()
        site.rig.advance(3)
        status, found = ask(site, "/subscribers?count=1000")
        assert (status, found["total"], [row["user"] for row in found["subscribers"]]) == (200, 2, ["bob", "ann"])
        first = found["subscribers"][0]
        assert (first["id"], first["connected_seconds"], first["lag"]["seconds"]) == (slow.id, 5, 3)
        assert (len(first["topics"][0]), first["topic_count"]) == (200, 1)
        assert len(ask(site, "/subscribers?count=1")[1]["subscribers"]) == 1
        for wrong in ("0", "1001", "-1", "x", "9" * 9):
            assert ask(site, f"/subscribers?count={wrong}")[0] == 400

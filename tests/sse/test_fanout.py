"""What waits for the fan-out, when the reactor does not get round to it."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from hardhttp.sse import fanout
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from tests.sse.subscribing import Hub, data_of
from tests.sse.test_hub import MemoryRequest, Ticking
from tests.sse.test_subscriber import stopped


def finish(fan_out: fanout.FanOut) -> None:
    while fan_out._batches:
        fan_out._serve_first(None)


def test_who_is_waited_for_is_bounded_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "MAX_WAITING_MEMBERS", 100)
    with Hub() as site:
        peers = [site.subscribe("topic=/b/{id}&topic=/c") for _ in range(20)]
        fan_out = site.hub._fan_out
        fan_out._slice = lambda: None  # type: ignore[method-assign] # the reactor never gets round to it
        for number in range(50):
            site.hub.publish(f"/b/{number}", number)  # an audience of its own
            assert fan_out._waiting_members <= 100
        assert len(fan_out._batches) == 5
        finish(fan_out)
        assert (fan_out._waiting_members, fan_out._holds) == (0, {})
        for number in range(50, 60):  # two audiences, in turn
            site.hub.publish("/c" if number % 2 else "/b/0", number)
        assert (fan_out._waiting_members, len(fan_out._batches)) == (40, 10)
        finish(fan_out)
        assert all(data_of(peer) == [str(number) for number in range(60)] for peer in peers)
        site.hub.publish("/c", "for nobody, in the end")
        for peer in peers:
            peer.reset()
        assert (fan_out._waiting_members, fan_out._holds) == (0, {})


def test_an_end_on_the_way_to_a_close_may_publish() -> None:
    with Hub(max_queued_events=2) as site:
        reader, _ = site.subscribe(), stopped(site)
        serve, site.hub._fan_out._slice = site.hub._fan_out._slice, lambda: None  # type: ignore[method-assign]
        site.hub.on_close(lambda *_: site.hub.publish("t", "gone"))
        for number in range(4):
            site.hub.publish(("t", str(number)), number)  # a batch each
        site.hub.close(site.newest)
        assert site.reasons == ["overflow"]
        serve()
        assert data_of(reader)[1:] == ["0", "1", "2", "3", "gone"]
        reader.reset()


def test_a_lifetime_ends_however_much_is_published() -> None:
    clock = Clock()
    hub = EventHub(Ticking(clock), heartbeat_seconds=None, max_waiting_bytes=64 << 20)  # type: ignore[arg-type]
    hub._ticking.clock = clock
    for _ in range(200):
        hub.subscribe(MemoryRequest(), "t")
    ending = MemoryRequest()
    hub.subscribe(ending, "t", expires_at=clock.seconds() + 10)
    for number in range(400):  # an event comes with each slice, which is more than it can do
        hub.publish(("t", str(number)), number)
        clock.advance(0.1)
        if ending.finishing.called:
            break
    assert ending.finishing.called
    assert hub._fan_out._batches
    hub.close_all()
    while hub._fan_out._turn is not None:
        clock.advance(0.1)
    assert clock.getDelayedCalls() == []


def test_nothing_joins_what_someone_has_been_handed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader of the history becomes live between two events to all, and gets both."""
    monkeypatch.setattr(fanout, "LOOK_EVERY", 1)
    with Hub(history=MemoryHistory) as site:
        site.hub.publish("t", "kept")
        peer = site.subscribe(last_event_id=b"earliest")
        assert data_of(peer) == ["kept"]
        subscriber, fan_out = site.newest, site.hub._fan_out
        fan_out._slice = lambda: None  # type: ignore[method-assign] # the reactor does not get round to it
        site.hub.to_all("first")
        site.hub.to_all("second")
        subscriber.flowing = False
        fan_out.catch_up(subscriber)
        site.hub.to_all("third")
        site.hub.guarded_settle(subscriber)
        finish(fan_out)
        assert data_of(peer) == ["kept", "first", "second", "third"]
        peer.reset()

"""What a hub holds for its broker is counted with what the process may hold, and shown with its bounds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.web.resource import Resource

from hardhttp.brokers.memory import Exchange, MemoryBroker
from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import BrokerBounds, Everywhere
from hardhttp.limits import Limits
from hardhttp.net.budget import Pressure
from hardhttp.ops.metrics import Metrics
from hardhttp.ops.sources import Sources
from hardhttp.sse.hub import EventHub
from hardhttp.testing import Rig

BUDGET = 150_000


class Several:
    """A hub with a broker, in a rig that may hold little."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.exchange = Exchange(rig.clock, BrokerBounds(max_bytes=1 << 20))
        self.hub = EventHub(
            rig.clock,
            broker=MemoryBroker(self.exchange),
            broker_away="queue",
            max_unpublished_events=50,
            max_unpublished_bytes=160_000,
        )
        self.hub.counted_by(rig.site.server)
        self.budget = rig.site.server.budget
        self.turn()

    def turn(self) -> None:
        for _ in range(10):
            self.rig.clock.advance(0)

    def held(self) -> dict[str, int]:
        return {keeper.kind: keeper.held() for keeper in self.budget.keepers if keeper.kind != "sessions"}

    def figures(self) -> dict[str, float]:
        text, _ = Metrics(Sources(self.rig.site.server, None, self.hub)).exposition("")
        families = text_string_to_metric_families(text.decode())
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


@pytest.fixture
def several() -> Iterator[Several]:
    with Rig(Resource(), limits=Limits(max_buffered_bytes=BUDGET)) as rig:
        made = Several(rig)
        yield made
        rig.clock.advance(0)
        made.hub.stop()


def test_what_waits_for_the_broker_is_counted_and_not_given_up(several: Several) -> None:
    hub, budget = several.hub, several.budget
    assert several.held() == {"history": 0, "unpublished": 0}
    several.exchange.away = True
    several.turn()
    body = "x" * 4000
    for _ in range(17):  # after 64 KiB it asks for room
        hub.publish("t", body)
    assert 70_000 < several.held()["unpublished"] == budget.held_bytes < 80_000
    assert budget.pressure is Pressure.NONE
    for _ in range(17):
        hub.publish("t", body)
    assert several.held()["unpublished"] == budget.held_bytes > BUDGET
    assert budget.pressure is Pressure.FULL
    assert (hub.unpublished, budget.shed_count) == (34, 0)
    while several.held()["unpublished"] < 160_000:
        hub.publish("t", body)
    with pytest.raises(BrokerAwayError, match="max_unpublished_bytes"):
        hub.publish("t", body)
    several.exchange.away = False
    several.turn()
    budget.reap(several.rig.clock.seconds())
    assert several.held()["unpublished"] == hub.unpublished == 0
    # What is kept of it is the replica's, which has given up its oldest.
    assert 0 < several.held()["history"] < 0.7 * BUDGET
    assert (budget.pressure, budget.shed_count > 0) == (Pressure.NONE, True)


def test_the_replica_asks_for_room_as_it_grows(several: Several) -> None:
    other = EventHub(several.rig.clock, broker=MemoryBroker(several.exchange))
    several.turn()
    for _ in range(20):
        other.publish("t", "x" * 8000)
    several.turn()
    assert several.hub.last_id == other.last_id
    assert several.budget.shed_count > 0  # within a turn, and not at the next second
    other.stop()


def test_figures(several: Several) -> None:
    hub = several.hub
    found = several.figures()
    assert (found["hardhttp_broker_ready"], found["hardhttp_nodes"], found["hardhttp_nodes_subscribers"]) == (1, 1, 0)
    several.exchange.away = True
    several.turn()
    for _ in range(50):
        hub.publish("t", "a")
    with pytest.raises(BrokerAwayError):
        hub.publish("t", "a")
    found = several.figures()
    assert (found["hardhttp_broker_ready"], found["hardhttp_nodes"], hub.everywhere) == (0, 0, Everywhere(0, 0))
    assert (found["hardhttp_unpublished_events"], found["hardhttp_max_unpublished_events"]) == (50, 50)
    assert (found["hardhttp_max_unpublished_bytes"], found["hardhttp_max_history_bytes"]) == (160_000, 1 << 20)
    assert (found["hardhttp_events_refused_total"], found["hardhttp_unlisted_subscribers"]) == (1, 0)
    several.exchange.away = False
    several.turn()
    found = several.figures()
    assert (found["hardhttp_unpublished_events"], found["hardhttp_broker_ready"]) == (0, 1)


def test_a_hub_by_itself_has_no_figures_of_a_broker(several: Several) -> None:
    alone = EventHub(several.rig.clock)
    text, _ = Metrics(Sources(several.rig.site.server, None, alone)).exposition("")
    assert b"hardhttp_unpublished" not in text
    assert (alone.outbox, alone.broker_bounds, alone.unlisted, alone.everywhere) == (None, None, 0, Everywhere(1, 0))

"""What the dashboard's figures say: of connections in every state, of the hub, of memory and of leaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.net.phase import Phase
from hardhttp.ops import figures
from hardhttp.ops.figures import MAX_ROWS, Census, resident_bytes, snapshot
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.testing import Peer, Rig
from tests.ops.test_admin import Both
from tests.ops.test_dashboard import Watcher, both, made

__all__ = ["both"]


def test_a_snapshot(both: Both) -> None:
    both.main.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    both.main.exchange(b"GET / HTTP/1.1\r\n\r\n")  # without a Host
    both.begin("/later?token=sesame")
    watcher = Watcher(both)
    seen = watcher.after(2)[-1]
    assert seen["ready"] is True
    assert seen["requests"]["by_status"] == {"1xx": 0, "2xx": 1, "3xx": 0, "4xx": 1, "5xx": 0}
    assert seen["requests"]["unanswered_seconds"] == 2.0
    assert sum(seen["requests"]["first_byte"]["counts"]) == seen["requests"]["first_byte"]["counts"][0] == 1
    assert len(seen["requests"]["first_byte"]["counts"]) == len(seen["requests"]["first_byte"]["bounds"]) + 1
    assert seen["refusals"] == {"bad-host": 1}
    assert seen["connections"]["phases"]["handling"] == 1
    assert set(seen["connections"]["phases"]) == {"idle", "head", "body", "handling", "upgraded", "closing"}
    (row,) = [each for each in seen["connections"]["slowest"] if each["phase"] == "handling"]
    assert (row["requests"], row["waited_seconds"]) == (["GET /later?token=***"], 2.0)
    assert seen["memory"]["max_bytes"] == both.main.site.limits.max_buffered_bytes
    assert seen["memory"]["held_bytes"] == sum(seen["memory"]["kinds"].values())
    assert seen["reactor"] == {"late_seconds": 0.0, "stalls": 0, "worst_seconds": 0.0}
    assert seen["hub"] is None
    watcher.peer.reset()


def test_the_slowest_first_and_no_more_than_some(both: Both) -> None:
    peers = [both.begin() for _ in range(MAX_ROWS + 2)]
    both.main.advance(3)
    idle = both.main.connect()
    idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    both.main.advance(1)
    slow = both.main.connect()
    slow.take(100)
    slow.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /later HTTP/1.1\r\nHost: a\r\n\r\n")
    both.main.advance(1)
    census = Census(both.main.site.server)
    assert not census.look(float("inf"))
    rows = census.slowest()
    assert len(rows) == MAX_ROWS
    assert {row["waited_seconds"] for row in rows} == {5.0}
    for peer in peers:
        peer.reset()
    census = Census(both.main.site.server)
    census.look(float("inf"))
    assert [(row["id"], row["phase"]) for row in census.slowest()] == [
        (MAX_ROWS + 4, "handling"),  # waited for since a second
        (MAX_ROWS + 3, "idle"),  # older, and nobody waits
    ]


@pytest.mark.parametrize(
    ("sent", "waited"), [(b"", 3.0), (b"GET / HT", 3.0), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0.0)]
)
def test_a_head_that_does_not_end_is_waited_for(both: Both, sent: bytes, waited: float) -> None:
    peer = both.main.connect()
    peer.send(sent)
    both.main.advance(3)
    census = Census(both.main.site.server)
    census.look(float("inf"))
    assert [row["waited_seconds"] for row in census.slowest()] == [waited]
    assert census.unanswered_seconds == 0.0  # that is of requests
    peer.reset()


def test_who_takes_nothing_is_waited_for_since_then(both: Both) -> None:
    class Streams(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> Any:
            request.write(b"x" * 1000)
            return NOT_DONE_YET

    both.main.site.resource = Streams()
    peer: Peer = both.main.connect()
    peer.take(500)
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    both.main.advance(1)  # the reaper sees it
    both.main.advance(3)
    census = Census(both.main.site.server)
    census.look(float("inf"))
    (row,) = census.slowest()
    assert row["waited_seconds"] == 3.0
    assert row["queued_bytes"] > 500
    assert census.unanswered_seconds == 0.0  # the answer has begun
    peer.reset()


def test_every_phase_is_shown() -> None:
    assert set(figures.SHOWN_AS) == set(Phase)


def test_a_hub(main_with_hub: tuple[Both, EventHub]) -> None:
    both, hub = main_with_hub
    reads = both.main.connect()
    stuck = both.main.connect()
    stuck.take(400)
    for peer in (reads, stuck):
        peer.send(b"GET /?topic=news HTTP/1.1\r\nHost: a\r\n\r\n")
    hub.publish("news", "x" * 100_000)
    watcher = Watcher(both)
    both.main.advance(4)
    seen = watcher.after(1)[-1]["hub"]
    assert (seen["subscribers"], seen["waiting"], seen["published"]) == (2, 1, 1)
    assert seen["behind_seconds"] == 5.0
    (row,) = seen["slowest"]
    assert (row["topics"], row["behind_seconds"]) == (["news"], 5.0)
    for peer in (reads, stuck, watcher.peer):
        peer.reset()


@pytest.fixture
def main_with_hub() -> Iterator[tuple[Both, EventHub]]:
    with Rig(Resource()) as main:
        hub = EventHub(main.clock)
        main.site.resource = Mercure(hub, anonymous=True)
        for both in made(main, hub=hub):
            yield both, hub


def test_resident_memory() -> None:
    assert (resident_bytes(lambda: "9 3 1 0 0 0 0") or 0) % 3 == 0
    assert resident_bytes(lambda: "") is None

    def missing() -> str:
        raise FileNotFoundError("/proc")

    assert resident_bytes(missing) is None


def test_a_leak_is_a_note(both: Both) -> None:
    class Found:
        drift = {"timers": 0, "Request objects": 40}

    both.sources.sentinel = Found()  # type: ignore[assignment]
    said = snapshot(both.sources, Census(both.main.site.server), None)
    assert said["notes"] == ["after a quiet minute there are 40 more Request objects than before"]

"""The service stops, or is killed, and starts again: what those who come back are told.

Real processes and real sockets. Each client comes back with the last id it has read, and must have what it missed:
each event once, in order, or a ``gap`` event that says ``restart`` in place of those that are gone.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hardhttp.wire.eventstream import Event
from tests.sse.interop import Hub, Publisher, Stream
from tests.twistd_process import PATIENCE_SECONDS

pytestmark = pytest.mark.slow  # it starts real processes

TOPICS = ["a", "b", "https://example.com/books/1"]
STOPPED = pytest.param(signal.SIGTERM, id="stopped")
KILLED = pytest.param(signal.SIGKILL, id="killed")
STOPPED_TOO = pytest.param(signal.SIGTERM, id="stopped", marks=pytest.mark.slow)
KILLED_TOO = pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.slow)


class Told:
    """What was published, by topic, and how far one who came back must get."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.events: dict[str, list[Event]] = {topic: [] for topic in TOPICS}

    def publish(self, count: int) -> None:
        with Publisher(self._hub.port) as publisher:
            for number in range(count):
                topic = TOPICS[number % len(TOPICS)]
                data = f"{len(self.events[topic])} of {topic}\nä€"
                self.events[topic].append(Event("message", data, publisher.publish(topic, data)))


def written(folder: Path, event: Event) -> bool:
    """Whether it is in the history's files: it is written behind, by a thread."""
    return any(f"id: {event.id}\n".encode() in path.read_bytes() for path in folder.glob("events.sqlite*"))


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def begin_and_end(hub: Hub, told: Told, how: signal.Signals, ready: Callable[[], None] = lambda: None) -> list[str]:
    """Two clients a topic read a part of what there is; the service ends, and starts. The last ids they have read."""
    clients = [Stream(hub.port, topic).wait_for_hello() for topic in TOPICS * 2]
    told.publish(30)
    last_ids = []
    for topic, client, count in zip(TOPICS * 2, clients, (1, 4, 10, 10, 2, 7)):
        with closing(client):
            wanted = told.events[topic][:count]
            assert client.wait(count)[:count] == wanted
            last_ids.append(wanted[-1].id)
    told.publish(9)
    ready()
    stays = Stream(hub.port, TOPICS[0]).wait_for_hello()
    hub.end(how)
    with closing(stays):
        assert stays.wait(1) == []  # its end, polite or not, and no event
    hub.start_again()
    return last_ids


@pytest.mark.parametrize("how", [STOPPED_TOO, KILLED])
def test_with_sqlite_each_gets_what_it_missed(tmp_path: Path, how: signal.Signals) -> None:
    with Hub(tmp_path, f"--history=sqlite:{tmp_path / 'events.sqlite'}") as hub:
        told = Told(hub)

        def ready() -> None:
            for topic in TOPICS:
                wait_until(lambda topic=topic: written(tmp_path, told.events[topic][-1]), "it is on the disk")

        last_ids = begin_and_end(hub, told, how, ready)
        told.publish(6)
        for topic, last_id in zip(TOPICS * 2, last_ids):
            place = [event.id for event in told.events[topic]].index(last_id)
            with closing(Stream(hub.port, topic, last_id)) as client:
                assert client.wait(len(told.events[topic]) - place - 1) == told.events[topic][place + 1 :]
                told.publish(3)
                assert client.wait(1) == told.events[topic][-1:]
        ids = [event.id for events in told.events.values() for event in events]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("how", [STOPPED, KILLED_TOO])
def test_with_memory_each_is_told_of_the_restart(tmp_path: Path, how: signal.Signals) -> None:
    with Hub(tmp_path) as hub:
        told = Told(hub)
        last_ids = begin_and_end(hub, told, how)
        kept = {topic: len(events) for topic, events in told.events.items()}
        told.publish(6)
        for topic, last_id in zip(TOPICS * 2, last_ids):
            epoch, _, number = last_id.partition("-")
            with closing(Stream(hub.port, topic, last_id)) as client:
                gap, *events = client.wait(3)
                assert (gap.type, gap.id) == ("gap", last_id)  # the last id stands until an event has one
                said = json.loads(gap.data)
                assert (said["reason"], said["first"]) == ("restart", f"{epoch}-{int(number) + 1}")
                assert events == told.events[topic][kept[topic] :]


@pytest.mark.slow
def test_killed_before_it_was_written(tmp_path: Path) -> None:
    """Some of what was published last may be gone. Then a gap says which at most; what is there is in order.

    The gap is told to every topic's readers: what was lost was lost with its topics.
    """
    with Hub(tmp_path, f"--history=sqlite:{tmp_path / 'events.sqlite'}") as hub:
        told = Told(hub)
        told.publish(3)
        (first,) = told.events["a"]
        lost = 0
        for _ in range(5):
            told.publish(300)
            hub.end(signal.SIGKILL)
            hub.start_again()
            before = {topic: len(events) for topic, events in told.events.items()}
            told.publish(3)
            events = told.events["a"]
            with closing(Stream(hub.port, "a", first.id)) as client:
                found: list[Event] = []
                while events[-1] not in found:
                    found += client.wait(1)
            gaps = [json.loads(event.data) for event in found if event.type == "gap"]
            messages = [event for event in found if event.type != "gap"]
            missing = [event for event in events[1:] if event not in messages]
            assert messages == [event for event in events[1:] if event not in missing]
            assert {gap["reason"] for gap in gaps} <= {"restart"}
            # Only the last before the end can be gone, and the gap has them all.
            assert missing == events[before["a"] - len(missing) : before["a"]]
            assert all(
                any(number(gap["first"]) <= number(event.id) <= number(gap["last"]) for gap in gaps)
                for event in missing
            )
            lost += len(missing)
            told.events["a"] = [first, *messages]
        print(f"{lost} of 500 events were not written yet")


def number(event_id: str) -> int:
    return int(event_id.partition("-")[2])

"""Ten thousand connects, drops and reconnects at random, over real sockets, while events go out.

The hub is a process of its own. Whoever stayed, or came back with its last id, must have each event of its topics once,
in order; and when all are gone, everything is as it was: the ledger, the connections, the descriptors. Half of the
streams are asked for in gzip, where the hub has it.

The order of things comes from a seed, which is printed; ``STORM_SEED`` repeats it.
"""

from __future__ import annotations

import os
import random
import secrets
import selectors
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from hardhttp.sse.topics import matches
from tests.sse.interop import Hub, Publisher, Stream

CLIENTS = 300
CONNECTS = 10_000
ACTS_AT_ONCE = 8  # and then an event
TOPICS = [f"t/{number}" for number in range(6)]
SELECTORS = [*TOPICS, "t/{number}"]
STORM_SECONDS = 120


@attrs.define(eq=False)
class Client:
    """``expected`` are all events of its selector, ``place`` is that of the next it must have, once it is known."""

    selector: str
    expected: list[str]
    last_event_id: str = ""
    place: int | None = None
    begins_by: int = 0  # where it must begin at the latest, if it has come without an id
    stream: Stream | None = None

    def take(self) -> None:
        assert self.stream is not None
        greeted = self.stream.greeted
        for event in self.stream.take():
            if self.place is None:
                self.place = self.expected.index(event.data)
                assert self.place <= self.begins_by or not greeted
            assert (event.type, event.data) == ("message", self.expected[self.place])
            self.place += 1
        assert not self.stream.over
        if self.stream.greeted and not greeted:
            self.begins_by = len(self.expected)
        self.last_event_id = self.stream.last_event_id

    @property
    def has_all(self) -> bool:
        if self.place is None:
            return self.stream is not None and self.stream.greeted and self.begins_by == len(self.expected)
        return self.place == len(self.expected)


class Storm:
    def __init__(self, hub: Hub, publisher: Publisher, choose: random.Random) -> None:
        self._hub = hub
        self._publisher = publisher
        self._choose = choose
        self._selector = selectors.DefaultSelector()
        self._expected: dict[str, list[str]] = {selector: [] for selector in SELECTORS}
        self._absent = [Client(selector := choose.choice(SELECTORS), self._expected[selector]) for _ in range(CLIENTS)]
        self._present: list[Client] = []
        self._until = time.monotonic() + STORM_SECONDS
        self.connects = self.events = self.resumed = 0

    def _pick(self, clients: list[Client]) -> Client:
        place = self._choose.randrange(len(clients))
        clients[place], clients[-1] = clients[-1], clients[place]
        return clients.pop()

    def come(self) -> None:
        client = self._pick(self._absent)
        accepts_gzip = self._choose.random() < 0.5
        client.stream = Stream(self._hub.port, client.selector, client.last_event_id, accepts_gzip=accepts_gzip)
        self._selector.register(client.stream, selectors.EVENT_READ, client)
        self._present.append(client)
        self.connects += 1
        self.resumed += bool(client.last_event_id)

    def go(self) -> None:
        client = self._pick(self._present)
        stream, client.stream = client.stream, None
        assert stream is not None
        self._selector.unregister(stream)
        (stream.reset if self._choose.random() < 0.8 else stream.close)()
        self._absent.append(client)

    def publish(self) -> None:
        topic, data = self._choose.choice(TOPICS), str(self.events)
        self.events += 1
        for selector, expected in self._expected.items():  # before it is sent: it may come before its answer
            if matches(selector, topic):
                expected.append(data)
        self._publisher.publish(topic, data)

    def read(self, share: float, seconds: float = 0.0) -> None:
        """Some of those that have something read all of it."""
        assert time.monotonic() < self._until, "the storm has gone on for too long"
        for key, _ in self._selector.select(seconds):
            if self._choose.random() < share:
                key.data.take()

    def rage(self) -> None:
        while self.connects < CONNECTS:
            for _ in range(ACTS_AT_ONCE):
                come = self._choose.random() < len(self._absent) / CLIENTS + 0.25
                self.come() if self._absent and (come or not self._present) else self.go()
            self.publish()
            self.read(share=0.5)

    def abate(self) -> Iterator[Client]:
        """All come back, and have what they missed; then all go."""
        while self._absent:
            self.come()
            self.read(share=1)
        self.publish()
        while not all(client.has_all for client in self._present):
            self.read(share=1, seconds=0.1)
        yield from self._present
        while self._present:
            self.go()
        self._selector.close()


@pytest.mark.slow
def test_each_event_once_to_whoever_stays_or_comes_back(tmp_path: Path) -> None:
    seed = int(os.environ.get("STORM_SEED") or secrets.randbelow(1 << 32))
    print(f"STORM_SEED={seed}")
    with Hub(tmp_path, "--max-connections=1000") as hub:
        before = hub.figures()
        with Publisher(hub.port) as publisher:
            storm = Storm(hub, publisher, random.Random(seed))
            storm.rage()
            print(f"{storm.connects} connects, {storm.resumed} of them with an id, {storm.events} events")
            assert sum(client.has_all for client in storm.abate()) == CLIENTS
        until = time.monotonic() + 10
        while (after := hub.figures()) != before and time.monotonic() < until:
            time.sleep(0.05)
        assert after == before
        assert "Traceback" not in hub.server.log.read_text()

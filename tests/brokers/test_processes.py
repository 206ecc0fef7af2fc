"""Two machines of two services each, and one Redis, all real processes: each event once to each, in one order.

Two thousand subscribers, a quarter at each service. Publishers post to all. Redis is killed and started again, or says
nothing for a while; a service is killed, and its subscribers come back to others; a whole machine dies. What a
publisher was told is published reaches everybody once; what he was told nothing of, or that it was not taken, may.
"""

from __future__ import annotations

import json
import random
import selectors
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from itertools import count
from pathlib import Path

import attrs
import pytest

from tests.brokers.conftest import own_redis  # noqa: F401 - a fixture
from tests.sse.interop import PATH, Hub, Publisher, Stream, token
from tests.stores.redis_process import RedisProcess

pytestmark = pytest.mark.slow

SUBSCRIBERS = 2000
TOPICS = ["a", "b", "c", "d"]
PATIENCE_SECONDS = 60.0


@attrs.define(eq=False)
class Client:
    topic: str
    stream: Stream
    got: list[tuple[str, str]] = attrs.field(factory=list)

    def take(self) -> None:
        for event in self.stream.take():
            assert event.type == "message", event
            self.got.append((event.id, event.data))

    def come_back(self, hub: Hub) -> bool:
        """After what it has had; whether it was let in."""
        self.stream.close()
        try:
            self.stream = Stream(hub.port, self.topic, self.stream.last_event_id)
        except OSError:
            return False
        return True


class Crowd:
    """Clients of some hubs, read all the time by a thread of its own. Who loses his hub comes to one of ``open``."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ends = threading.Event()
        self.clients: list[Client] = []
        self.open: list[Hub] = []
        self.failure: BaseException | None = None

    def join(self, hub: Hub, count: int) -> list[Client]:
        joined = []
        for number in range(count):
            topic = TOPICS[number % len(TOPICS)]
            client = Client(topic, Stream(hub.port, topic))
            client.stream.wait_for_hello()
            joined.append(client)
        self.clients += joined
        return joined

    def __enter__(self) -> Crowd:
        for client in self.clients:
            self._selector.register(client.stream, selectors.EVENT_READ, client)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def _read(self) -> None:
        lost: list[Client] = []
        try:
            while not self._ends.is_set():
                for key, _ in self._selector.select(0.05):
                    key.data.take()
                    if key.data.stream.over:
                        self._selector.unregister(key.fileobj)
                        lost.append(key.data)
                lost = self._bring_back(lost) if self.open else lost
        except BaseException as failure:  # told to the test
            self.failure = failure

    def _bring_back(self, lost: list[Client]) -> list[Client]:
        for client in lost[:100]:  # the others are read meanwhile
            if client.come_back(random.choice(self.open)):
                self._selector.register(client.stream, selectors.EVENT_READ, client)
                lost = [each for each in lost if each is not client]
        return lost

    def __exit__(self, *raised: object) -> None:
        self._ends.set()
        self._thread.join()
        for client in self.clients:
            client.stream.reset()

    def wait_for(self, clients: list[Client], published: Published) -> None:
        """Until each has all that was surely published to its topic."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        waiting = clients
        while waiting := [client for client in waiting if not published.is_all(client)]:
            assert self.failure is None, self.failure
            assert time.monotonic() < deadline, [len(client.got) for client in waiting]
            time.sleep(0.02)


class Published:
    """What is known to be published, by topic, and what may be."""

    def __init__(self) -> None:
        self.data: dict[str, set[str]] = {topic: set() for topic in TOPICS}
        self.maybe: set[str] = set()

    def is_all(self, client: Client) -> bool:
        sure = self.data[client.topic]
        return len(client.got) >= len(sure) and sure <= {data for _, data in client.got}

    def publish(self, hubs: list[Hub], count: int, label: str) -> None:
        publishers = [Publisher(hub.port) for hub in hubs]
        try:
            for number in range(count):
                topic, data = TOPICS[number % len(TOPICS)], f"{label} {number}"
                self.maybe.add(data)
                publishers[number // len(TOPICS) % len(hubs)].publish(topic, data)
                self.data[topic].add(data)
                self.maybe.discard(data)
        finally:
            for publisher in publishers:
                publisher.__exit__()

    def publish_when_taken(self, hubs: list[Hub], label: str) -> None:
        """An event to each topic by each hub, as soon as that takes it (503 until then)."""
        for hub in hubs:
            deadline = time.monotonic() + PATIENCE_SECONDS
            for attempt in count():
                try:
                    self.publish([hub], len(TOPICS), f"{label} {attempt} by {hub.port}")
                    break
                except (AssertionError, OSError, HTTPException):
                    assert time.monotonic() < deadline
                    time.sleep(0.05)

    def check(self, clients: list[Client]) -> None:
        """Each event once, and in the same order for all of a topic."""
        orders: dict[str, list[tuple[str, str]]] = {}
        for client in clients:
            expected = orders.setdefault(client.topic, client.got)
            assert client.got == expected
        for topic, order in orders.items():
            assert len({id for id, _ in order}) == len({data for _, data in order}) == len(order)
            assert self.data[topic] <= {data for _, data in order} <= self.data[topic] | self.maybe


@pytest.fixture
def hubs(tmp_path: Path, own_redis: RedisProcess) -> Iterator[list[Hub]]:  # noqa: F811
    """The first two are one machine's, the others another's."""
    made = []
    for name in ("one-a", "one-b", "two-a", "two-b"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Hub(folder, f"--broker={own_redis.url}", f"--max-connections={SUBSCRIBERS}"))
    yield made
    for hub in made:
        hub.server.close()


def join(crowd: Crowd, hubs: list[Hub]) -> list[Client]:
    return [client for hub in hubs for client in crowd.join(hub, SUBSCRIBERS // 4)]


def test_two_machines_of_two_services_are_one_hub(hubs: list[Hub], own_redis: RedisProcess) -> None:  # noqa: F811
    crowd, published = Crowd(), Published()
    here, there = join(crowd, hubs[:2]), join(crowd, hubs[2:])
    with crowd:
        published.publish_when_taken(hubs, "first")
        published.publish(hubs, 200, "all four")
        crowd.wait_for(crowd.clients, published)
        published.check(crowd.clients)

        own_redis.kill()
        own_redis.start()  # with all it had: it writes to its file at once
        published.publish_when_taken(hubs, "redis again")
        published.publish(hubs, 200, "after")
        crowd.wait_for(crowd.clients, published)
        published.check(crowd.clients)

        for hub in hubs[2:]:
            hub.server.stop(signal.SIGKILL)
        published.publish(hubs[:2], 40, "alone")
        crowd.wait_for(here, published)
        published.check(here)
        crowd.open = hubs[:1]  # its subscribers come to the other machine, and miss nothing
        crowd.wait_for(there, published)
        published.check(crowd.clients)
    assert crowd.failure is None


class Outages:
    """What goes wrong, one after another. Meanwhile events are published wherever that is possible."""

    def __init__(self, hubs: list[Hub], server: RedisProcess, crowd: Crowd, published: Published, seed: int) -> None:
        self._hubs, self._server, self._crowd, self._published = hubs, server, crowd, published
        self._random = random.Random(seed)
        self._all = [
            self.redis_is_killed,
            self.redis_says_nothing,
            self.a_service_is_killed,
            self.a_service_stands_still,
        ]

    def next(self, number: int) -> None:
        outage = self._all[number] if number < len(self._all) else self._random.choice(self._all)
        label = f"{number} {outage.__name__}"
        print(label, len(self._published.maybe), flush=True)
        outage(label)
        self._crowd.open = self._hubs
        self._published.publish_when_taken(self._hubs, f"{label}, over")
        self._published.publish(self._hubs, 40, label)
        self._crowd.wait_for(self._crowd.clients, self._published)
        self._published.check(self._crowd.clients)

    def redis_is_killed(self, label: str) -> None:
        self._server.kill()
        self._try_to_publish(self._hubs, label)
        self._server.start()

    def redis_says_nothing(self, label: str) -> None:
        """Longer than anybody waits for it."""
        self._server.pause()
        self._try_to_publish(self._hubs, label)
        self._server.resume()

    def a_service_is_killed(self, label: str) -> None:
        hub = self._random.choice(self._hubs)
        others = self._crowd.open = [each for each in self._hubs if each is not hub]
        hub.server.stop(signal.SIGKILL)
        self._published.publish_when_taken(others, label)
        hub.start_again()

    def a_service_stands_still(self, label: str) -> None:
        """For so long that others take it to be gone."""
        hub = self._random.choice(self._hubs)
        others = self._crowd.open = [each for each in self._hubs if each is not hub]
        hub.server.process.send_signal(signal.SIGSTOP)
        self._published.publish_when_taken(others, label)
        time.sleep(self._random.uniform(0.5, 9))
        hub.server.process.send_signal(signal.SIGCONT)

    def _try_to_publish(self, hubs: list[Hub], label: str) -> None:
        for hub in hubs:
            with suppress(AssertionError, OSError, HTTPException):
                self._published.publish([hub], 1, f"{label} by {hub.port}")


@pytest.mark.parametrize(
    ("rounds", "seed"),
    [
        pytest.param(4, 1, id="each once"),
        pytest.param(100, 2, id="a hundred", marks=[pytest.mark.soak, pytest.mark.long]),
    ],
)
def test_outages_one_after_another(hubs: list[Hub], own_redis: RedisProcess, rounds: int, seed: int) -> None:  # noqa: F811
    crowd, published = Crowd(), Published()
    join(crowd, hubs)
    with crowd:
        crowd.open = hubs
        published.publish_when_taken(hubs, "first")
        outages = Outages(hubs, own_redis, crowd, published, seed)
        for number in range(rounds):
            outages.next(number)
    assert crowd.failure is None


def test_who_was_at_a_service_that_is_killed_is_told_to_have_gone(tmp_path: Path, own_redis: RedisProcess) -> None:  # noqa: F811
    hubs, bearer = [], token(subscribe=["*"])
    try:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            hubs.append(Hub(tmp_path / name, f"--broker={own_redis.url}", "--subscriptions"))
        watching = Stream(hubs[0].port, PATH + "/subscriptions/t{number}/{subscriber}", bearer=bearer)
        watching.wait_for_hello()
        streams = [Stream(hubs[1].port, f"t{number}").wait_for_hello() for number in range(100)]
        came = watching.wait(100)
        assert present(hubs[0], bearer) == present(hubs[1], bearer) == {f"t{number}" for number in range(100)}
        hubs[1].server.stop(signal.SIGKILL)
        went = watching.wait(100)  # within the lease of six seconds, and two
        assert [json.loads(event.data)["active"] for event in (*came, *went)] == [True] * 100 + [False] * 100
        assert {json.loads(event.data)["id"] for event in came} == {json.loads(event.data)["id"] for event in went}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while present(hubs[0], bearer):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for stream in (watching, *streams):
            stream.reset()
    finally:
        for hub in hubs:
            hub.server.close()


def present(hub: Hub, bearer: str) -> set[str]:
    """The topics that it lists, of ours."""
    status, said = hub.server.get(f"{PATH}/subscriptions", Authorization=f"Bearer {bearer}")
    assert status == 200, said
    found = {each["topic"] for each in json.loads(said)["subscriptions"]}
    return {topic for topic in found if topic.startswith("t")}

"""Two services and one Redis, all of them real processes: each event once to each subscriber, in one order.

Two thousand subscribers, half at each service. Publishers post to both. In the middle Redis is killed and started
again, and one of the services is killed: those of the other must lose nothing by it.
"""

from __future__ import annotations

import json
import selectors
import signal
import threading
import time
from collections.abc import Iterator
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


class Crowd:
    """Clients of some hubs, read all the time by a thread of its own."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._ends = threading.Event()
        self.clients: list[Client] = []
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
        try:
            while not self._ends.is_set():
                for key, _ in self._selector.select(0.05):
                    key.data.take()
                    if key.data.stream.over:
                        self._selector.unregister(key.fileobj)
        except BaseException as failure:  # told to the test
            self.failure = failure

    def __exit__(self, *raised: object) -> None:
        self._ends.set()
        self._thread.join()
        for client in self.clients:
            client.stream.reset()

    def wait_for(self, clients: list[Client], counts: dict[str, int]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(len(client.got) < counts[client.topic] for client in clients):
            assert self.failure is None, self.failure
            assert time.monotonic() < deadline, [len(client.got) for client in clients]
            time.sleep(0.02)


class Published:
    """What has been published, by topic, with the ids that were answered (or none, where it was queued)."""

    def __init__(self) -> None:
        self.data: dict[str, set[str]] = {topic: set() for topic in TOPICS}

    @property
    def counts(self) -> dict[str, int]:
        return {topic: len(data) for topic, data in self.data.items()}

    def publish(self, hubs: list[Hub], count: int, label: str) -> None:
        publishers = [Publisher(hub.port) for hub in hubs]
        try:
            for number in range(count):
                topic, data = TOPICS[number % len(TOPICS)], f"{label} {number}"
                publishers[number // len(TOPICS) % len(hubs)].publish(topic, data)
                self.data[topic].add(data)
        finally:
            for publisher in publishers:
                publisher.__exit__()


def wait_until_ready(hubs: list[Hub], label: str, published: Published, crowd: Crowd, clients: list[Client]) -> None:
    """Until each hub takes events again (503 until then) and brings them to all."""
    for hub in hubs:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                published.publish([hub], 4, f"{label} by {hub.port}")
                break
            except AssertionError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    crowd.wait_for(clients, published.counts)


def check(clients: list[Client], published: Published) -> None:
    """Each event once, and in the same order for all of a topic."""
    orders: dict[str, list[tuple[str, str]]] = {}
    for client in clients:
        expected = orders.setdefault(client.topic, client.got)
        assert client.got == expected
    for topic, order in orders.items():
        assert len({id for id, _ in order}) == len(order)
        assert {data for _, data in order} == published.data[topic]
        assert len(order) == len(published.data[topic])


@pytest.fixture
def hubs(tmp_path: Path, own_redis: RedisProcess) -> Iterator[list[Hub]]:  # noqa: F811
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Hub(folder, f"--broker={own_redis.url}", f"--max-connections={SUBSCRIBERS}"))
    yield made
    for hub in made:
        hub.server.close()


def test_two_services_are_one_hub(hubs: list[Hub], own_redis: RedisProcess) -> None:  # noqa: F811
    crowd, published = Crowd(), Published()
    here = crowd.join(hubs[0], SUBSCRIBERS // 2)
    there = crowd.join(hubs[1], SUBSCRIBERS // 2)
    with crowd:
        wait_until_ready(hubs, "first", published, crowd, crowd.clients)
        published.publish(hubs, 100, "both")
        crowd.wait_for(crowd.clients, published.counts)
        check(crowd.clients, published)

        own_redis.kill()
        own_redis.start()  # with all it had: it writes to its file at once
        wait_until_ready(hubs, "redis again", published, crowd, crowd.clients)
        published.publish(hubs, 100, "after")
        crowd.wait_for(crowd.clients, published.counts)
        check(crowd.clients, published)

        hubs[1].server.stop(signal.SIGKILL)
        published.publish([hubs[0]], 40, "alone")
        crowd.wait_for(here, published.counts)
        check(here, published)

        last = {client.topic: client for client in there}  # its subscribers come to the other, and miss nothing
        for topic, client in last.items():
            back = Stream(hubs[0].port, topic, client.stream.last_event_id)
            missed = len(published.data[topic]) - len(client.got)
            client.got += [(event.id, event.data) for event in back.wait(missed)]
            back.reset()
        check([*here, *last.values()], published)
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

"""Workers that are one hub by Redis, while all of them are replaced: each event once to each, in order."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.brokers.conftest import own_redis  # noqa: F401 - a fixture
from tests.sse.interop import SECRET, Publisher, Stream
from tests.stores.redis_process import RedisProcess
from tests.test_workers import Parent

pytestmark = pytest.mark.slow

SUBSCRIBERS = 40
EVENTS = 60


class Follower:
    """Subscribes, and comes back with the last event it had."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.got: list[str] = []
        self.stream = Stream(port, "news").wait_for_hello()

    def take(self) -> None:
        self.got += [event.data for event in self.stream.take() if event.type == "message"]
        if self.stream.over:
            last = self.stream.last_event_id
            self.stream.reset()
            self.stream = Stream(self._port, "news", last)


def test_events_reach_the_subscribers_of_all_workers(tmp_path: Path, own_redis: RedisProcess) -> None:  # noqa: F811
    parent = Parent(
        tmp_path,
        *(f"--mercure-publisher-key={SECRET}", f"--mercure-subscriber-key={SECRET}", "--anonymous"),
        f"--broker=redis://127.0.0.1:{own_redis.port}",
    )
    try:
        parent.wait_until(lambda: parent.asked("/readyz")["workers"]["ready"] == 2, "both have the broker")
        followers = [Follower(parent.port) for _ in range(SUBSCRIBERS)]
        page = parent.asked("/subscribers")
        assert page["open"] == SUBSCRIBERS
        assert {row["worker"] for row in page["subscribers"]} == {1, 2}
        sent = [f"event {number}" for number in range(EVENTS)]

        def publish(events: list[str]) -> None:
            for each in events:
                with Publisher(parent.port) as publisher:  # by either worker
                    publisher.publish("news", each)

        def have(count: int) -> bool:
            for follower in followers:
                follower.take()
            return all(len(follower.got) >= count for follower in followers)

        publish(sent[:20])
        parent.wait_until(lambda: have(20), "all have the first")
        parent.process.send_signal(signal.SIGUSR2)
        publish(sent[20:40])
        parent.wait_until(lambda: have(40) and parent.asked("/workers")["ends"]["asked"] == 2, "both were replaced")
        publish(sent[40:])
        parent.wait_until(lambda: have(EVENTS), "all have all")
        assert all(follower.got == sent for follower in followers)
        for follower in followers:
            follower.stream.reset()
    finally:
        parent.close()

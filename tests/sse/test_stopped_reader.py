"""A subscriber that stops reading while 20,000 events of 1 KiB go out, over real sockets.

Whatever the policy: others lose nothing, what waits for it stays within the bounds, and it is gone by its deadline. The
hub's clock is turned by hand, so the deadline is exact; the bytes are the kernel's.
"""

from __future__ import annotations

import resource
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater

from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.queue import Policy
from hardhttp.sse.subscriber import Ended
from tests.serving import KINDS, serve
from tests.sse.interop import Hub, Publisher, Stream
from tests.sse.subscribing import Subscribes, empty

pytestmark = pytest.mark.slow  # it starts real processes

EVENTS = 20_000
AT_ONCE = 50  # less than a transport takes before it tells its producer to pause
KEYS = 10
PADDING = "x" * 1000
MAX_QUEUED_EVENTS, MAX_QUEUED_BYTES = 1000, 1 << 20
WRITE_SECONDS = 60.0
# What waits for it in the end.
WAITING = {Policy.DROP_OLDEST: MAX_QUEUED_EVENTS, Policy.LATEST: KEYS, Policy.PAUSE: 0}
# What a transport may hold that was told to pause: its mark, and the one write that went over it.
MAX_UNSENT_BYTES = (64 << 10) + (128 << 10)
# What an allocator may keep that is free.
SPARE_BYTES = 4 << 20


class Reader:
    """One that takes what comes, and must be given each event."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.count = 0

    def read(self) -> int:
        for event in self.stream.take():
            assert event.data == f"{self.count} {PADDING}"
            self.count += 1
        assert not self.stream.over
        return self.count


def cases() -> list[Any]:
    found = []
    for policy in Policy:
        for kind in KINDS:
            quick = (policy, kind) in ((Policy.CLOSE, "fast"), (Policy.PAUSE, "fast"))
            found.append(pytest.param(policy, kind, marks=() if quick else pytest.mark.slow))
    return found


@pytest.mark.parametrize(("policy", "kind"), cases())
@ensureDeferred
async def test_it_costs_itself_alone(policy: Policy, kind: str) -> None:
    clock = Clock()
    hub = EventHub(
        clock,
        history=MemoryHistory(clock) if policy is Policy.PAUSE else None,
        policy=policy,
        max_queued_events=MAX_QUEUED_EVENTS,
        max_queued_bytes=MAX_QUEUED_BYTES,
        write_seconds=WRITE_SECONDS,
        heartbeat_seconds=None,
    )
    ends: list[Ended] = []
    hub.on_close(lambda _, reason: ends.append(reason))
    async with serve(kind, Subscribes(hub)) as site:
        with ExitStack() as streams:
            streams.enter_context(closing(Stream(site.port, "t")))  # it never reads
            await site.wait_for(lambda: hub.subscriber_count == 1)
            (subscriber,) = hub.subscribers()
            readers = [Reader(streams.enter_context(closing(Stream(site.port, "t")))) for _ in range(2)]
            await site.wait_for(lambda: hub.subscriber_count == 3)
            for first in range(0, EVENTS, AT_ONCE):
                for number in range(first, first + AT_ONCE):
                    hub.publish("t", f"{number} {PADDING}", key=str(number % KEYS))
                await deferLater(reactor, 0)
                clock.advance(0)
                lag = subscriber.lag()
                assert lag.events <= (KEYS if policy is Policy.LATEST else MAX_QUEUED_EVENTS)
                assert lag.bytes <= MAX_QUEUED_BYTES
                assert hub.queued_bytes <= MAX_QUEUED_BYTES
                assert lag.unsent_bytes <= MAX_UNSENT_BYTES
                for reader in readers:
                    reader.read()
            await site.wait_for(lambda: clock.advance(0) or all(reader.read() == EVENTS for reader in readers))
            if policy is Policy.CLOSE:
                assert ends == [Ended.OVERFLOW]  # nothing needs to be waited for
            else:
                assert not ends
                assert subscriber.lag().events == WAITING[policy]
                clock.advance(WRITE_SECONDS - 1)
                assert not ends
                # Since it was full its transport may have got rid of something: then it has that long once more.
                clock.advance(WRITE_SECONDS + 2)
                assert ends == [Ended.WRITE_SECONDS]
            assert hub.queued_bytes == 0
            hub.publish("t", f"{EVENTS} {PADDING}")
            await site.wait_for(lambda: all(reader.read() == EVENTS + 1 for reader in readers))
        await site.wait_for(lambda: not hub.subscriber_count)
    empty(hub)
    assert not clock.getDelayedCalls()


def resident_bytes(hub: Hub) -> int:
    with open(f"/proc/{hub.server.process.pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.slow
def test_a_process_grows_by_its_bounds_alone(tmp_path: Path) -> None:
    """Ten that stop, one that reads; what they missed would be 200 MiB. The history keeps a thousand events of it."""
    with Hub(tmp_path) as hub, Publisher(hub.port) as publisher, ExitStack() as streams:
        reader = Reader(streams.enter_context(closing(Stream(hub.port, "t").wait_for_hello())))
        for number in range(1000):  # what the history and the allocator need is there before
            publisher.publish("t", f"{number} {PADDING}")
            reader.read()
        before = resident_bytes(hub)
        for _ in range(10):
            streams.enter_context(closing(Stream(hub.port, "t").wait_for_hello()))
        for number in range(1000, EVENTS):
            publisher.publish("t", f"{number} {PADDING}")
            reader.read()
        while reader.read() < EVENTS:
            reader.stream.wait_until_readable()
        ledger, connections, _ = hub.figures()
        assert ledger["subscribers"] == 1  # the others' queues were full
        assert connections == 3  # the reader, the publisher, the question
        grown = resident_bytes(hub) - before
        # An event waits once, however many wait for it; and each has its transport's own.
        assert grown <= MAX_QUEUED_BYTES + 10 * MAX_UNSENT_BYTES + SPARE_BYTES, f"{grown:,} bytes"

"""Five thousand come back at once, each with a history to be sent, while events go out.

Real sockets, all of this process: the hub on the reactor, the clients read as they are ready. What is promised is
counted, not timed: how many pages of replays may go out before a live event does. For that the hub's clock is the
reactor's, but that each look at it takes a part of a slice: so a slice has the same number of pages on any machine.
"""

from __future__ import annotations

import resource
import socket
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from hardhttp import Limits
from hardhttp.sse.fanout import LOOK_EVERY, SLICE_SECONDS
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.subscriber import PAGE_EVENTS, Subscriber
from tests.serving import serve
from tests.sse.subscribing import Subscribes, empty
from tests.web.saying import say

RETURNING = 5000
STAYING = 2 * LOOK_EVERY  # one look at the clock is between them
KEPT = 200
LIVE = 100
PAGES_A_SLICE = 8
SPARE_DESCRIPTORS = 100


@implementer(IReactorTime)
class Paced:
    """The reactor's time; eight looks take what a slice has."""

    def __init__(self) -> None:
        self._looks = 0

    def seconds(self) -> float:
        self._looks += 1
        return float(reactor.seconds() + self._looks * SLICE_SECONDS / PAGES_A_SLICE)

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> IDelayedCall:
        return reactor.callLater(delay, callable, *args, **kw)

    def getDelayedCalls(self) -> Any:
        return reactor.getDelayedCalls()


class Client:
    """A raw subscription; ``body`` is what it has got, its framing taken away."""

    def __init__(self, port: int, **headers: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(say(**headers))
        self.socket.setblocking(False)
        self.received = bytearray()

    def take(self) -> None:
        try:
            while data := self.socket.recv(1 << 18):
                self.received += data
        except BlockingIOError:
            pass

    def body(self) -> bytes:
        rest = bytes(self.received).partition(b"\r\n\r\n")[2]
        pieces = []
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        return b"".join(pieces)


@pytest.fixture
def descriptors() -> Any:
    """Room for both ends of each connection."""
    needed = 2 * (RETURNING + STAYING) + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@ensureDeferred
async def test_live_events_do_not_wait_for_replays(descriptors: None, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = EventHub(Paced(), history=MemoryHistory(reactor), heartbeat_seconds=None, retry_seconds=None)
    limits = Limits(max_connections=RETURNING + STAYING + 1)
    pages = 0
    replay_page = Subscriber.replay_page

    def counted(subscriber: Subscriber) -> bool:
        nonlocal pages
        pages += 1
        return replay_page(subscriber)

    monkeypatch.setattr(Subscriber, "replay_page", counted)
    async with serve("fast", Subscribes(hub), limits=limits) as site:
        clients: list[Client] = []
        try:
            stay = await come(site, hub, clients, STAYING)
            for number in range(KEPT):
                hub.publish("t", number)
            await site.wait_for(lambda: hub._fan_out._turn is None)
            hub._fan_out._serving = True  # nobody is served until all have come
            back = await come(site, hub, clients, RETURNING, last_event_id=b"earliest")
            hub._fan_out._serving = False
            assert (pages, len(hub._fan_out._replays)) == (0, RETURNING)
            hub._fan_out._soon()

            worst = 0
            for number in range(KEPT, KEPT + LIVE):
                before = pages
                hub.publish("t", number)
                last = b"data: %d\n\n\r\n" % number
                while not all(has(client, last) for client in stay):
                    await deferLater(reactor, 0)
                worst = max(worst, pages - before)
                for _ in range(20):  # and the replays go on
                    await deferLater(reactor, 0)
                assert hub._fan_out._replays
            print(f"{worst} pages at most before a live event, of {pages} until the last one")
            # The slice that was there when it was published, and no more: the next begins with what is live.
            assert worst <= PAGES_A_SLICE

            expected = b":\n" + b"".join(
                b"id: %s-%d\ndata: %d\n\n" % (hub.epoch.encode(), n + 1, n) for n in range(KEPT + LIVE)
            )
            while hub._fan_out._replays:
                await deferLater(reactor, 0)
            for client in (*stay, *back):
                await site.wait_for(lambda client=client: has(client, b"data: %d\n\n\r\n" % (KEPT + LIVE - 1)))
                assert client.body() == expected
            assert pages >= RETURNING * KEPT // PAGE_EVENTS
        finally:
            for client in clients:
                client.socket.close()
        await site.wait_for(lambda: not hub.subscriber_count)
    empty(hub)


async def come(site: Any, hub: EventHub, clients: list[Client], count: int, **headers: bytes) -> list[Client]:
    came = []
    for number in range(count):
        came.append(Client(site.port, **headers))
        clients.append(came[-1])
        if number % 20 == 19:
            await deferLater(reactor, 0)
    await site.wait_for(lambda: hub.subscriber_count == len(clients))
    return came


def has(client: Client, last: bytes) -> bool:
    client.take()
    return client.received.endswith(last)

"""The leak sentinel: silent in normal work, and not when anything of ours is kept that nobody accounts for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.net.ledger import BODY, KINDS
from hardhttp.ops.sentinel import DESCRIPTOR_SLACK, OBJECT_SLACK, QUIET_SECONDS, TIMER_SLACK, Kind, Sentinel, kinds_of
from hardhttp.ops.sources import Sources
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.testing import Rig

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Page(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.keeps = False

    def render_GET(self, request: Any) -> Any:
        if self.keeps:
            self.kept.append(request)
        return NOT_DONE_YET if request.path == b"/later" else b"page"

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


@attrs.define
class Watched:
    rig: Rig
    page: Page
    sentinel: Sentinel
    said: list[str]

    def work(self, times: int = 3) -> None:
        for _ in range(times):
            self.rig.exchange(GET)
            self.rig.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        for peer in self.rig.peers:
            if not peer.closed:
                peer.reset()
        self.rig.peers.clear()  # they hold the channels

    def rest(self, minutes: int = 1) -> None:
        self.rig.advance(minutes * (QUIET_SECONDS + 2))

    @property
    def leaks(self) -> list[str]:
        return [kind for kind, above in self.sentinel.drift.items() if above]


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []

    def keep(event: Any) -> None:
        text = formatEvent(event)
        if text.startswith("leak:"):
            lines.append(text)

    globalLogPublisher.addObserver(keep)
    yield lines
    globalLogPublisher.removeObserver(keep)


@pytest.fixture
def watched(said: list[str]) -> Iterator[Watched]:
    page = Page()
    with Rig(page) as rig:
        rig.site.startFactory()
        sentinel = Sentinel(rig.site.server, kinds_of(Sources(rig.site.server), rig.clock))
        rig.site.server.chores.append(sentinel)
        watching = Watched(rig, page, sentinel, said)
        watching.work()
        watching.rest()
        yield watching
        page.kept.clear()
        rig.site.stopFactory()


def test_normal_work_is_no_leak(watched: Watched) -> None:
    for round in range(10):
        watched.work(1 + 5 * round)
        watched.rest()
    assert (watched.leaks, watched.said) == ([], [])
    assert set(KINDS) <= set(watched.sentinel.drift)


def test_connections_that_stay_are_no_leak(watched: Watched) -> None:
    peers = [watched.rig.connect() for _ in range(4 * OBJECT_SLACK)]
    for number, peer in enumerate(peers):
        peer.send(GET.replace(b"/", b"/later", 1) if number % 2 else GET)
    watched.rig.advance(100)  # those that are idle still are
    assert len(watched.rig.site.server.tracker) == len(peers)
    for peer in peers:
        peer.send(b"GET /")  # and some hold part of a head
    watched.rig.advance(15)
    watched.sentinel.judge()
    assert (watched.leaks, watched.said) == ([], [])


def test_subscribers_that_stay_are_no_leak(said: list[str]) -> None:
    with Rig(Resource()) as rig:
        hub = EventHub(rig.clock)
        rig.site.resource = Mercure(hub, anonymous=True)
        rig.exchange(GET)
        sentinel = Sentinel(rig.site.server, kinds_of(Sources(rig.site.server, hub=hub), rig.clock))
        sentinel.judge()
        for _ in range(100):
            rig.connect().send(b"GET /?topic=a HTTP/1.1\r\nHost: a\r\n\r\n")
        hub.publish("a", "x")
        rig.advance(70)
        sentinel.judge()
        assert (said, [kind for kind, above in sentinel.drift.items() if above]) == ([], [])


def leak_requests(watched: Watched) -> None:
    watched.page.keeps = True
    watched.work(OBJECT_SLACK + 1)


def leak_channels(watched: Watched) -> None:
    for _ in range(OBJECT_SLACK + 1):
        peer = watched.rig.connect()
        watched.page.kept.append(peer.protocol)
        peer.reset()
    watched.work(1)


def leak_timers(watched: Watched) -> None:
    server = watched.rig.site.server
    for _ in range(TIMER_SLACK + 1):
        watched.page.kept.append(watched.rig.clock.callLater(10_000, server.start))
    watched.work(1)


def leak_descriptors(watched: Watched) -> None:
    watched.page.kept.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(DESCRIPTOR_SLACK + 1))
    watched.work(1)


def leak_ledger(watched: Watched) -> None:
    watched.work(1)
    watched.rig.site.ledger.hold("nobody", BODY, 1)


def let_go(watched: Watched) -> None:
    for kept in watched.page.kept:
        if isinstance(kept, int):
            os.close(kept)
        elif hasattr(kept, "cancel"):
            kept.cancel()
    watched.page.kept.clear()
    watched.page.keeps = False
    watched.rig.site.ledger.release("nobody")


@pytest.mark.parametrize(
    ("leak", "kind"),
    [
        (leak_requests, "Request objects"),
        (leak_channels, "Channel objects"),
        (leak_timers, "timers"),
        (leak_descriptors, "descriptors"),
        (leak_ledger, "body_bytes"),
    ],
)
def test_each_kind_is_seen_and_told_once(watched: Watched, leak: Callable[[Watched], None], kind: str) -> None:
    leak(watched)
    assert watched.said == []  # not before a quiet minute
    watched.rest()
    assert kind in watched.leaks
    lines = [line for line in watched.said if f"more {kind}" in line]
    assert len(lines) == 1
    watched.rest(3)
    assert [line for line in watched.said if f"more {kind}" in line] == lines
    let_go(watched)
    watched.rest()
    assert kind not in watched.leaks


def test_a_ledger_entry_of_a_connection_that_is_gone_is_seen_beside_one_that_is_there(watched: Watched) -> None:
    gone = watched.rig.connect()
    gone.reset()
    watched.rig.connect().send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
    watched.rig.site.ledger.hold(gone.transport, BODY, 7)
    watched.rest()
    assert watched.sentinel.drift["body_bytes"] == 7
    watched.rig.site.ledger.release(gone.transport)


def test_an_applications_own_timers_are_none_of_ours(watched: Watched) -> None:
    calls = [watched.rig.clock.callLater(10_000, lambda: None) for _ in range(10 * TIMER_SLACK)]
    watched.work(1)
    watched.rest()
    assert watched.leaks == []
    for call in calls:
        call.cancel()


def test_what_another_server_of_the_process_has_open_is_none(said: list[str]) -> None:
    with Rig(Page()) as rig, Rig(Page()) as admin:
        sources = Sources(rig.site.server, others=[admin.site.server])
        sentinel = Sentinel(rig.site.server, kinds_of(sources, rig.clock))
        sentinel.judge()
        for _ in range(3 * OBJECT_SLACK):
            admin.connect().send(GET.replace(b"/", b"/later", 1))
        sentinel.judge()
        assert said == []


def test_while_there_is_work_nothing_is_judged(watched: Watched) -> None:
    watched.rig.site.ledger.hold("nobody", BODY, 1)
    for _ in range(5):
        watched.work(1)
        watched.rig.advance(QUIET_SECONDS - 2)
    assert watched.leaks == []
    watched.rig.site.ledger.release("nobody")


def test_what_stands_at_its_slack_is_none_and_one_more_is() -> None:
    with Rig(Page()) as rig:
        counts = {"a": 100}
        sentinel = Sentinel(rig.site.server, [Kind("a", lambda: counts["a"], 10), Kind("b", lambda: None, 0)])
        sentinel.judge()
        counts["a"] = 110
        sentinel.judge()
        assert sentinel.drift == {"a": 0, "b": 0}
        counts["a"] = 111
        sentinel.judge()
        assert sentinel.drift["a"] == 11
        counts["a"] = 90
        sentinel.judge()
        counts["a"] = 101
        sentinel.judge()
        assert sentinel.drift["a"] == 11  # the lowest is the baseline


def test_it_tells_again_when_it_has_grown_as_much_once_more(said: list[str]) -> None:
    with Rig(Page()) as rig:
        count = [0]
        sentinel = Sentinel(rig.site.server, [Kind("things", lambda: count[0], 10)])
        for value in (0, 11, 12, 21, 22, 22):
            count[0] = value
            sentinel.judge()
        assert [line.split("there are ")[1] for line in said] == [
            "11 more things than before (11)",
            "22 more things than before (22)",
        ]


def test_before_the_first_request_nothing_is_the_baseline(said: list[str]) -> None:
    with Rig(Page()) as rig:
        rig.site.startFactory()
        count = [0]
        sentinel = Sentinel(rig.site.server, [Kind("things", lambda: count[0], 0)])
        rig.site.server.chores.append(sentinel)
        rig.advance(QUIET_SECONDS * 3)
        count[0] = 50  # what a first request opens
        rig.exchange(GET)
        rig.advance(QUIET_SECONDS * 5)
        assert said == []
        rig.site.stopFactory()

"""How long answers took: each bound, the first byte and the last, whatever carries them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.net.latency import BOUNDS, Latency
from hardhttp.net.statistics import Statistics
from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Held(Resource):
    """What asks waits in ``asked``; a body is echoed."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def render_GET(self, request: Any) -> Any:
        if request.path == b"/now":
            return b"now"
        self.asked.append(request)
        return NOT_DONE_YET

    def render_POST(self, request: Any) -> bytes:
        request.setResponseCode(404)
        return b""


@pytest.fixture
def held() -> Iterator[tuple[Rig, Held]]:
    page = Held()
    with Rig(page) as rig:
        yield rig, page


def took(rig: Rig, digit: int = 2) -> tuple[dict[float, int], dict[float, int]]:
    """How many were within each bound and above the one before: to the first byte, and to the last."""
    latency = rig.site.statistics.latency
    return tuple(  # type: ignore[return-value]
        {bound: count for bound, count in zip((*BOUNDS, 99.0), timed.counts, strict=True) if count}
        for timed in (latency.to_first(digit), latency.to_last(digit))
    )


@pytest.mark.parametrize("bound", BOUNDS)
def test_each_bound_and_one_past_it(bound: float) -> None:
    statistics = Statistics(Clock())
    statistics.response(b"GET", 200, bound)
    statistics.response(b"GET", 200, bound + 1e-6)
    place = BOUNDS.index(bound)
    assert statistics.latency.to_last(2).counts[place : place + 2] == (1, 1)
    names = [name for name, _ in statistics.latency.to_last(2).buckets]
    assert (float(names[place]), names[-1]) == (bound, "+Inf")
    assert [count for _, count in statistics.latency.to_first(2).buckets][place:] == [1] + [2] * (len(BOUNDS) - place)
    assert statistics.latency.to_first(2).seconds == pytest.approx(2 * bound + 1e-6)


def test_at_once_and_backwards() -> None:
    """A wall clock may be set back."""
    statistics = Statistics(Clock())
    for seconds in (0.0, -5.0, 1e9):
        statistics.response(b"GET", 200, seconds)
    assert (statistics.latency.to_first(2).counts[0], statistics.latency.to_first(2).counts[-1]) == (2, 1)


def test_what_is_in_none_of_them_is_counted_all_the_same() -> None:
    statistics = Statistics(Clock())
    statistics.response(b"GET", 400)
    statistics.response(b"GET", 404, 0.02)
    statistics.response(b"GET", 499, 0.3, 0.02)
    assert statistics.classes == [0, 0, 0, 0, 3, 0, 0, 0, 0, 0]
    assert sum(statistics.latency.all_to_first().counts) == 2
    statistics.reset()
    assert statistics.latency.all_to_first().counts == Latency().all_to_first().counts
    assert not any(statistics.classes)


def test_an_answer_at_once_and_one_later(held: tuple[Rig, Held]) -> None:
    rig, page = held
    rig.exchange(GET.replace(b"/ ", b"/now "))
    rig.connect().send(GET)
    rig.advance(0.3)
    page.asked[0].setResponseCode(503)
    page.asked[0].write(b"")
    page.asked[0].finish()
    assert took(rig) == ({0.0001: 1}, {0.0001: 1})
    assert took(rig, 5) == ({0.5: 1}, {0.5: 1})


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
def test_the_first_byte_and_the_last(held: tuple[Rig, Held], http2: bool) -> None:
    rig, page = held
    if http2:
        HTTP2Peer(rig).request(b"GET", b"/")
    else:
        rig.connect().send(GET)
    rig.advance(0.03)
    page.asked[0].write(b"first")
    assert took(rig) == ({}, {})  # it is not over
    rig.advance(3)
    page.asked[0].write(b"second")
    page.asked[0].finish()
    assert took(rig) == ({0.05: 1}, {5.0: 1})
    assert rig.site.statistics.latency.to_last(2).seconds == pytest.approx(3.03)


def test_it_runs_from_the_heads_last_byte(held: tuple[Rig, Held]) -> None:
    rig, _ = held
    peer = rig.connect()
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
    peer.send(post[:-1])
    rig.advance(2)
    peer.send(post[-1:])
    rig.advance(0.2)
    peer.send(b"xy")
    assert took(rig, 4) == ({0.25: 1}, {0.25: 1})


def test_one_that_waited_behind_another_is_timed_from_when_it_is_read(held: tuple[Rig, Held]) -> None:
    rig, page = held
    rig.connect().send(GET + GET)
    rig.advance(4)
    page.asked[0].finish()
    rig.advance(0.02)
    page.asked[1].finish()
    assert took(rig)[1] == {5.0: 1, 0.025: 1}


def test_an_answer_that_nobody_waits_for_is_in_none(held: tuple[Rig, Held]) -> None:
    rig, page = held
    peer = rig.connect()
    peer.send(GET)
    page.asked[0].write(b"begun")
    peer.reset()
    assert took(rig) == ({}, {})
    assert sum(rig.site.statistics.classes) == 0

"""Who held the reactor: by a clock driven by hand, and once by a real thread that looks at a real stall."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource

from hardhttp.ops.stalls import BEAT_SECONDS, LINES_PER_MINUTE, MAX_SIGHTS, MAX_STALLS, STALL_SECONDS, StallWatch, sight
from hardhttp.testing import Rig


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []

    def keep(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(keep)
    yield lines
    globalLogPublisher.removeObserver(keep)


@pytest.fixture
def watch() -> Iterator[tuple[StallWatch, Clock]]:
    clock = Clock()
    clock.advance(1000)
    watch = StallWatch(clock)
    watch.start(looks=False)
    yield watch, clock
    watch.stop()
    assert clock.getDelayedCalls() == []


def held(clock: Clock, seconds: float) -> None:
    """Something holds the reactor so long, beyond the next beat."""
    clock.rightNow += BEAT_SECONDS + seconds
    clock.advance(0)


def test_a_beat_in_time_is_no_stall(watch: tuple[StallWatch, Clock], said: list[str]) -> None:
    watching, clock = watch
    clock.pump([BEAT_SECONDS] * 50)
    held(clock, STALL_SECONDS - 0.01)
    assert (watching.count, len(watching.stalls), said) == (0, 0, [])
    assert watching.last_late_seconds == pytest.approx(STALL_SECONDS - 0.01)


def test_a_stall(watch: tuple[StallWatch, Clock], said: list[str]) -> None:
    watching, clock = watch
    held(clock, STALL_SECONDS + 0.01)
    clock.pump([BEAT_SECONDS] * 5)
    held(clock, 2.0)
    assert watching.count == 2
    assert watching.total_seconds == pytest.approx(2.11, abs=0.02)
    assert watching.worst_seconds == watching.stalls[-1].seconds == pytest.approx(2.0, abs=0.1)
    assert watching.stalls[-1].sight is None
    assert said[-1].startswith("the reactor was held for ")
    assert watching.as_dict()["stalls"][0]["seconds"] == pytest.approx(2.0, abs=0.1)


def test_the_ring_and_the_log_are_bounded(watch: tuple[StallWatch, Clock], said: list[str]) -> None:
    watching, clock = watch
    for _ in range(MAX_STALLS + 5):
        held(clock, 0.2)
    assert (watching.count, len(watching.stalls)) == (MAX_STALLS + 5, MAX_STALLS)
    assert len(said) == LINES_PER_MINUTE
    clock.advance(60)
    held(clock, 0.2)
    assert len(said) > LINES_PER_MINUTE


def test_the_resource_that_renders_is_seen() -> None:
    seen = []

    class Slow(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            seen.append(sight(sys._getframe()))
            return b""

    with Rig(Slow()) as rig:
        rig.exchange(b"GET /a?token=sesame HTTP/1.1\r\nHost: a\r\n\r\n")
    (found,) = seen
    assert found is not None
    assert (found.resource or "").endswith("Slow")
    assert found.request == "GET /a?token=***"
    assert found.where.endswith("Slow.render_GET")
    assert found.stack[0] == found.where
    outside = sight(sys._getframe())
    assert outside is not None
    assert (outside.resource, outside.request) == (None, None)
    assert sight(None) is None


def test_what_is_seen_most_often_is_told(watch: tuple[StallWatch, Clock], said: list[str]) -> None:
    watching, clock = watch

    def rare() -> None:
        watching.look(sys._getframe())

    def often() -> None:
        watching.look(sys._getframe())

    rare()  # the beat is not overdue
    clock.rightNow += BEAT_SECONDS + 1
    rare()
    for _ in range(3):
        often()
    clock.advance(0)
    (stall,) = watching.stalls
    assert stall.sight is not None
    assert stall.sight.where.endswith("often")
    assert stall.sight.where in said[-1]
    held(clock, 1)
    assert watching.stalls[-1].sight is None  # what was seen before is of the stall before


def test_sights_of_one_stall_are_bounded(watch: tuple[StallWatch, Clock]) -> None:
    watching, clock = watch
    clock.rightNow += BEAT_SECONDS + 1
    for number in range(MAX_SIGHTS + 5):
        exec(
            compile(f"look(frame())\n{'pass' * 0}", f"file{number}", "exec"),
            {"look": watching.look, "frame": sys._getframe},
        )
    assert len(watching._sights) == MAX_SIGHTS


def test_a_thread_catches_whoever_holds_it() -> None:
    """On a real clock: this thread is the reactor's, and holds it until it has been seen."""

    class RealClock(Clock):
        def seconds(self) -> float:
            return time.monotonic()

    watching = StallWatch(RealClock())
    watching.start()

    def culprit() -> None:
        until = time.monotonic() + 10
        while not (watching._sights and watching.overdue_seconds > STALL_SECONDS) and time.monotonic() < until:
            sum(range(1000))

    culprit()
    watching.beat()
    watching.stop()
    (stall,) = watching.stalls
    assert stall.sight is not None
    assert any("culprit" in line for line in stall.sight.stack)
    assert "hardhttp-stalls" not in [thread.name for thread in threading.enumerate()]

"""The reaper: once a second, whatever a record does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from hardhttp.net.reaper import SWEEP_SECONDS, Reaper


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    events: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


class Record:
    def __init__(self, fails: type[BaseException] | None = None) -> None:
        self.reaped: list[float] = []
        self._fails = fails

    def reap(self, now: float) -> None:
        self.reaped.append(now)
        if self._fails is not None:
            raise self._fails("as it should")


def test_it_sweeps_every_second_while_it_runs() -> None:
    clock, record = Clock(), Record()
    reaper = Reaper(clock, lambda: [record])
    assert not reaper.running
    reaper.start()
    reaper.start()
    assert reaper.running
    clock.pump([SWEEP_SECONDS] * 3)
    assert record.reaped == [1, 2, 3]
    reaper.stop()
    reaper.stop()
    clock.pump([SWEEP_SECONDS] * 3)
    assert record.reaped == [1, 2, 3]
    assert not clock.getDelayedCalls()
    reaper.start()
    clock.advance(1)
    assert record.reaped == [1, 2, 3, 7]


def test_a_record_that_fails_costs_itself_alone(logged: list[Any]) -> None:
    """Each of them, every time: a LoopingCall that raised would never run again."""
    clock = Clock()
    records = [Record(RuntimeError), Record(), Record(SystemExit), Record()]
    reaper = Reaper(clock, lambda: records)
    reaper.start()
    clock.pump([1, 1, 1])
    assert [record.reaped for record in records] == [[1, 2, 3]] * 4
    assert len(logged) == 6
    assert reaper.running


def test_a_listing_that_fails_is_tried_again(logged: list[Any]) -> None:
    clock, record = Clock(), Record()
    answers: list[Any] = [SystemExit("as it should"), [record], iter([record])]

    def listing() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    reaper = Reaper(clock, listing)
    reaper.start()
    clock.pump([1, 1, 1])
    assert record.reaped == [2, 3]
    assert len(logged) == 1


def test_records_may_come_and_go_during_a_sweep() -> None:
    clock = Clock()
    records: list[Any] = []

    class Leaves(Record):
        def reap(self, now: float) -> None:
            super().reap(now)
            records.clear()
            records.append(Record())

    first, second = Leaves(), Record()
    records += [first, second]
    Reaper(clock, lambda: records).sweep()
    assert (len(first.reaped), len(second.reaped), len(records)) == (1, 1, 1)


class Turns(Clock):
    """A thousandth of a second is a turn of the reactor."""

    def callLater(self, delay: float, *args: Any, **kw: Any) -> Any:
        return super().callLater(delay or 0.001, *args, **kw)


def test_a_sweep_takes_some_in_each_turn() -> None:
    clock, judged = Turns(), []

    class Record:
        def reap(self, now: float) -> None:
            judged.append(self)

    records = [Record() for _ in range(300)]
    reaper = Reaper(clock, lambda: records)
    reaper.start()
    for count in (128, 256, 300):
        clock.advance(1 if count == 128 else 0.001)
        assert len(judged) == count
    assert judged == records
    clock.advance(1)
    reaper.stop()
    assert not clock.getDelayedCalls()
    assert len(judged) == 428
    reaper.sweep()
    assert len(judged) == 728

"""Supervision, with a clock by hand and processes that are none."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from hardhttp.ops.hangups import HANG_UP_SECONDS
from hardhttp.ops.worker import Worker
from hardhttp.ops.workers import (
    ABORT_SECONDS,
    DRAIN_SPARE_SECONDS,
    KEPT_ENDINGS,
    LIVED_SECONDS,
    SILENT_PINGS,
    START_SECONDS,
    START_TRIES,
    WEIGH_TICKS,
    Workers,
)
from hardhttp.ops.workerstates import TABLE, Act, Event, State
from hardhttp.ops.workersview import workers_view

MiB = 1 << 20


class FakeProcess:
    def __init__(self, worker: Worker, workers: Workers, pid: int, answers: bool) -> None:
        self.worker, self.workers, self.pid, self.answers = worker, workers, pid, answers
        self.signals: list[int] = []
        self.lines: list[str] = []

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def say(self, line: str) -> None:
        self.lines.append(line)
        if line == "ping" and self.answers:
            self.said("pong")

    def said(self, line: str) -> None:
        self.workers.said(self.worker, line)

    def ready(self) -> FakeProcess:
        self.said("ready")
        return self

    def exits(self, how: str = "exit status 0", output: str = "") -> None:
        self.workers.exited(self.worker, how, output)


class Kit:
    """Workers, and what has been made for them: ``made`` in order."""

    def __init__(self, wanted: int = 2, **options: Any) -> None:
        self.clock = Clock()
        self.made: list[FakeProcess] = []
        self.rss: dict[int, int] = {}
        self.failures: list[str] = []
        self.absent: list[int] = []
        self.refuses: OSError | None = None
        self.answers = True
        settings: dict[str, Any] = {"drain_seconds": 10.0, "stuck_seconds": 30, "max_rss_bytes": None, **options}
        self.workers = Workers(
            wanted,
            self.spawn,
            self.clock,
            rss_of=self.rss.get,
            jitter=lambda: 1.0,
            failed=self.failures.append,
            absent=self.absent.append,
            **settings,
        )

    def spawn(self, worker: Worker, workers: Workers) -> FakeProcess:
        if self.refuses is not None:
            raise self.refuses
        self.made.append(FakeProcess(worker, workers, 100 + len(self.made), self.answers))
        return self.made[-1]

    def start(self) -> Kit:
        """All are ready."""
        self.workers.start()
        for number in range(self.workers.wanted):
            self.made[number].ready()
        return self

    def pass_seconds(self, seconds: float) -> None:
        self.clock.pump([0.5] * int(seconds * 2))

    @property
    def states(self) -> dict[int, str]:
        return {number: worker.state.value for number, worker in sorted(self.workers.alive.items())}

    def end(self) -> None:
        done: list[Any] = []
        self.workers.stop().addCallback(done.append)
        for process in self.made:
            process.exits()
        assert done == [None]
        assert self.clock.getDelayedCalls() == []
        assert self.workers.alive == {}


@pytest.fixture
def kit(request: pytest.FixtureRequest) -> Any:
    kits: list[Kit] = []

    def make(wanted: int = 2, **options: Any) -> Kit:
        kits.append(Kit(wanted, **options))
        return kits[-1]

    yield make
    for each in kits:
        each.end()


@pytest.fixture
def said() -> Any:
    """What is logged."""
    lines: list[str] = []

    def keep(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(keep)
    yield lines
    globalLogPublisher.removeObserver(keep)


def test_the_table_is_total() -> None:
    assert set(TABLE) == {(state, event) for state in State for event in Event}
    for (state, event), (after, act) in TABLE.items():
        if state is State.GONE:
            assert (after, act) == (State.GONE, Act.NOTHING)
        if event is Event.EXITED:
            assert after is State.GONE


# -- the start ------------------------------------------------------------------------------------


def test_the_first_is_tried_alone(kit) -> None:
    each = kit(3)
    each.workers.start()
    assert each.states == {1: "starting"}
    each.made[0].ready()
    assert each.states == {1: "ready", 2: "starting", 3: "starting"}


def test_what_never_starts_ends_the_whole_with_what_it_said(kit) -> None:
    each = kit(2)
    each.workers.start()
    for _ in range(START_TRIES):
        assert each.failures == []
        each.made[-1].exits("exit status 1", "--app: no such thing")
        each.pass_seconds(30)
    assert each.failures == ["no worker can start: --app: no such thing"]
    assert len(each.made) == START_TRIES
    assert each.workers.ends["failed"] == START_TRIES


def test_once_one_was_ready_no_failure_ends_the_whole(kit) -> None:
    each = kit(1).start()
    for _ in range(START_TRIES + 3):
        each.made[-1].exits("exit status 1")
        each.pass_seconds(31)
    assert each.failures == []
    assert each.states == {1: "starting"}


def test_no_process_to_be_had_is_a_failure_as_any_other(kit) -> None:
    each = kit(1)
    each.refuses = OSError("Resource temporarily unavailable")
    each.workers.start()
    each.refuses = None
    each.pass_seconds(1)
    each.made[0].ready()
    assert each.states == {1: "ready"}
    assert each.workers.ended[0].how == "it could not be started: Resource temporarily unavailable"


def test_one_that_takes_too_long_to_start_is_killed(kit) -> None:
    each = kit(1)
    each.workers.start()
    each.pass_seconds(START_SECONDS - 1)
    assert each.made[0].signals == []
    each.pass_seconds(1)
    assert each.made[0].signals == [signal.SIGABRT]
    each.pass_seconds(ABORT_SECONDS)
    assert each.made[0].signals == [signal.SIGABRT, signal.SIGKILL]


# -- the dead ---------------------------------------------------------------------------------------


def test_a_dead_worker_is_replaced_under_its_number(kit) -> None:
    each = kit(2).start()
    each.made[0].exits("signal 9")
    assert each.states == {2: "ready"}
    each.pass_seconds(0.5)
    assert each.states == {1: "starting", 2: "ready"}
    each.made[2].ready()
    assert each.states == {1: "ready", 2: "ready"}
    assert each.workers.ends["died"] == 1
    assert [each.made[0].worker.serial, each.made[2].worker.serial] == [1, 3]


def test_the_pause_doubles_to_its_bound_and_is_short_again_after_a_life(kit) -> None:
    each = kit(1).start()
    pauses = []
    for _ in range(9):
        each.made[-1].exits()
        count, before = len(each.made), each.clock.seconds()
        while len(each.made) == count:
            each.clock.advance(0.25)
        pauses.append(each.clock.seconds() - before)
        each.made[-1].ready()
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    each.pass_seconds(LIVED_SECONDS)
    each.made[-1].exits()
    each.clock.advance(0.5)
    each.made[-1].ready()
    assert each.states == {1: "ready"}


def test_the_pause_has_jitter() -> None:
    each = Kit(1)
    each.workers._jitter = lambda: 0.0
    each.start()
    each.made[0].exits()
    each.clock.advance(0.25)
    assert len(each.made) == 2
    each.end()


# -- the stuck ----------------------------------------------------------------------------------------


def test_one_that_does_not_answer_is_killed_and_replaced(kit) -> None:
    each = kit(2, stuck_seconds=5).start()
    each.made[0].answers = False
    each.pass_seconds(5)
    assert each.made[0].signals == []
    each.pass_seconds(1)
    assert each.made[0].signals == [signal.SIGABRT]
    assert each.states == {1: "killed", 2: "ready", 3: "starting"}
    each.pass_seconds(ABORT_SECONDS)
    assert each.made[0].signals == [signal.SIGABRT, signal.SIGKILL]
    each.made[0].exits("signal 9")
    each.made[2].ready()
    assert each.workers.ended[0].cause == "stuck"
    each.pass_seconds(60)
    assert each.states == {2: "ready", 3: "ready"}
    assert each.made[1].signals == []


def test_who_takes_no_connections_is_told_of(kit) -> None:
    each = kit(2, stuck_seconds=30).start()
    each.made[1].answers = False
    each.pass_seconds(SILENT_PINGS - 1)
    assert each.absent == []
    each.pass_seconds(1)
    assert each.absent == [2], "before it is given up"
    each.made[0].exits("signal 9")
    assert each.absent == [2, 1]
    each.pass_seconds(1)
    each.made[2].ready()
    each.workers.stop()
    assert each.absent[2:] == [2, 1]


def test_one_answer_is_enough(kit) -> None:
    each = kit(1, stuck_seconds=5).start()
    each.made[0].answers = False
    for _ in range(4):
        each.pass_seconds(4)
        each.made[0].said("pong")
    assert each.states == {1: "ready"}


def test_a_clock_that_is_set_kills_nobody(kit) -> None:
    each = kit(1, stuck_seconds=5).start()
    each.made[0].answers = False
    each.clock.advance(3600)  # one turn of the loop
    assert each.states == {1: "ready"}


def test_none_is_never(kit) -> None:
    each = kit(1, stuck_seconds=None).start()
    each.made[0].answers = False
    each.pass_seconds(600)
    assert each.states == {1: "ready"}


def test_one_that_drains_may_be_stuck_too(kit) -> None:
    each = kit(1, stuck_seconds=3, drain_seconds=60.0).start()
    each.made[0].answers = False
    each.workers.stop()
    each.pass_seconds(4)
    assert each.made[0].signals == [signal.SIGTERM, signal.SIGABRT]


# -- replacing ------------------------------------------------------------------------------------------


def test_all_are_replaced_one_after_another_without_a_gap(kit) -> None:
    each = kit(2).start()
    each.workers.replace_all()
    assert each.states == {1: "ready", 2: "ready", 3: "starting"}
    assert [process.signals for process in each.made] == [[], [], []]
    each.made[2].ready()
    assert each.states == {1: "retiring", 2: "ready", 3: "ready"}
    assert each.made[0].signals == [signal.SIGTERM]
    each.pass_seconds(5)
    assert len(each.made) == 3, "the next waits until the old one has ended"
    each.made[0].exits()
    assert each.states == {1: "starting", 2: "ready", 3: "ready"}
    each.made[3].ready()
    assert each.states == {1: "ready", 2: "retiring", 3: "ready"}
    each.made[1].exits()
    each.pass_seconds(60)
    assert each.states == {1: "ready", 3: "ready"}
    assert each.workers.ends["asked"] == 2
    assert len(each.made) == 4


def test_a_new_one_that_fails_leaves_the_old_ones(kit) -> None:
    each = kit(2).start()
    each.workers.replace_all()
    each.made[2].exits("exit status 1", "SyntaxError")
    each.pass_seconds(60)
    assert each.states == {1: "ready", 2: "ready"}
    assert [process.signals for process in each.made[:2]] == [[], []]
    assert len(each.made) == 3


def test_asked_twice_is_asked_once(kit) -> None:
    each = kit(2).start()
    each.workers.replace_all()
    each.workers.replace_all()
    for number in range(2, 6):
        if number < len(each.made):
            each.made[number].ready()
            next(process for process in each.made if process.worker.state is State.RETIRING).exits()
    assert each.states in ({1: "ready", 2: "ready"}, {1: "ready", 3: "ready"}, {2: "ready", 3: "ready"})
    assert each.workers.ends["asked"] <= 3


def test_an_old_one_that_dies_meanwhile_needs_no_other(kit) -> None:
    each = kit(2).start()
    each.workers.replace_all()
    each.made[0].exits("signal 9")
    each.pass_seconds(2)
    each.made[2].ready()
    each.pass_seconds(2)
    assert each.workers.ends["died"] == 1
    assert len(each.made) == 4, "then the second has its turn"
    each.made[3].ready()
    each.made[1].exits()
    each.pass_seconds(60)
    assert len(each.workers.alive) == 2


def test_one_dies_while_another_is_replaced(kit) -> None:
    each = kit(2).start()
    each.workers.replace_all()
    each.made[2].ready()  # the first drains
    each.made[1].exits("signal 9")
    each.pass_seconds(1)
    assert each.states == {1: "retiring", 2: "starting", 3: "ready"}
    each.made[3].ready()
    each.made[0].exits()
    each.pass_seconds(60)
    assert each.states == {2: "ready", 3: "ready"}


def test_while_a_killed_one_is_there_none_is_replaced(kit) -> None:
    """There would be two processes more than asked for."""
    each = kit(2, stuck_seconds=5).start()
    each.made[0].answers = False
    each.pass_seconds(6)
    each.made[2].ready()
    assert each.states == {1: "killed", 2: "ready", 3: "ready"}
    each.workers.replace_all()
    assert len(each.made) == 3
    each.made[0].exits("signal 9")
    each.pass_seconds(1)
    assert len(each.made) == 4


def test_one_that_drains_too_long_is_killed(kit) -> None:
    each = kit(1, drain_seconds=10.0).start()
    each.workers.replace_all()
    each.made[1].ready()
    each.pass_seconds(10 + DRAIN_SPARE_SECONDS - 1)
    assert each.made[0].signals == [signal.SIGTERM]
    each.pass_seconds(1)
    assert each.made[0].signals == [signal.SIGTERM, signal.SIGKILL]


# -- too large ------------------------------------------------------------------------------------------


def test_a_large_one_is_replaced_at_the_bound_and_not_before(kit) -> None:
    each = kit(2, max_rss_bytes=100 * MiB).start()
    each.rss[100] = 100 * MiB
    each.pass_seconds(WEIGH_TICKS)
    assert len(each.made) == 2
    each.rss[100] += 1
    each.pass_seconds(WEIGH_TICKS)
    assert each.states == {1: "ready", 2: "ready", 3: "starting"}
    each.pass_seconds(WEIGH_TICKS)
    each.made[2].ready()
    assert each.states == {1: "retiring", 2: "ready", 3: "ready"}
    each.made[0].exits()
    each.pass_seconds(2 * WEIGH_TICKS)
    assert each.states == {2: "ready", 3: "ready"}
    assert each.workers.ended[0].cause == "memory"


def test_two_large_ones_are_never_replaced_at_once(kit) -> None:
    each = kit(2, max_rss_bytes=100 * MiB).start()
    each.rss |= {100: 200 * MiB, 101: 200 * MiB}
    each.pass_seconds(2 * WEIGH_TICKS)
    assert each.states == {1: "ready", 2: "ready", 3: "starting"}
    each.made[2].ready()
    each.pass_seconds(2)
    assert len(each.made) == 3
    each.made[0].exits()
    assert len(each.made) == 4


def test_one_that_is_large_from_the_beginning_is_not_replaced_for_ever(kit) -> None:
    each = kit(1, max_rss_bytes=MiB)
    each.rss |= dict.fromkeys(range(100, 120), 2 * MiB)
    each.workers.start()
    each.made[0].ready()
    each.pass_seconds(LIVED_SECONDS - 5)
    assert len(each.made) == 1
    each.pass_seconds(10)
    assert len(each.made) == 2


# -- the end ----------------------------------------------------------------------------------------------


def test_all_drain_at_the_end_and_nothing_is_begun_any_more(kit) -> None:
    each = kit(2).start()
    done: list[Any] = []
    each.workers.stop().addCallback(done.append)
    assert [process.signals for process in each.made] == [[signal.SIGTERM], [signal.SIGTERM]]
    each.made[0].exits()
    each.pass_seconds(10 + DRAIN_SPARE_SECONDS)
    assert done == []
    assert each.made[1].signals == [signal.SIGTERM, signal.SIGKILL]
    each.made[1].exits("signal 9")
    assert done == [None]
    assert each.clock.getDelayedCalls() == []
    assert len(each.made) == 2


def test_an_end_while_one_is_starting_and_another_waits(kit) -> None:
    each = kit(2).start()
    each.made[0].exits("signal 9")
    each.workers.replace_all()
    each.workers.stop()
    each.pass_seconds(30)
    assert len(each.made) == 2


def test_without_any_there_is_nothing_to_wait_for() -> None:
    each = Kit(2)
    done: list[Any] = []
    each.workers.stop().addCallback(done.append)
    assert done == [None]


# -- SIGHUP -----------------------------------------------------------------------------------------------


def test_hanging_up_goes_from_one_to_the_next(kit) -> None:
    each = kit(3).start()
    each.workers.hang_up()
    told = lambda: [("hang-up" in process.lines) for process in each.made]  # noqa: E731
    assert told() == [True, False, False]
    each.made[1].said("hung-up")  # it was not asked
    assert told() == [True, False, False]
    each.made[0].said("hung-up")
    assert told() == [True, True, False]
    each.made[1].exits("signal 9")
    assert told() == [True, True, True]
    each.pass_seconds(HANG_UP_SECONDS)
    each.made[2].said("hung-up")


def test_who_is_told_while_it_reads_is_told_again(kit) -> None:
    each = kit(2).start()
    each.workers.hang_up()
    each.workers.hang_up()
    for number in (0, 1, 0):
        each.made[number].said("hung-up")
    assert [process.lines.count("hang-up") for process in each.made] == [2, 1]
    assert len(each.clock.getDelayedCalls()) == 1, "the pings"


def test_one_that_does_not_do_it_holds_up_nobody(kit) -> None:
    each = kit(2).start()
    each.workers.hang_up()
    each.pass_seconds(HANG_UP_SECONDS)
    assert "hang-up" in each.made[1].lines


# -- what is told -------------------------------------------------------------------------------------------


def test_as_data(kit) -> None:
    each = kit(2).start()
    each.rss |= {100: 7 * MiB}
    each.pass_seconds(WEIGH_TICKS)
    each.made[1].exits("signal 9 (SIGKILL)")
    said = workers_view(each.workers, each.clock.seconds())
    assert (said["wanted"], said["ready"], said["stopping"]) == (2, 1, False)
    (first,) = said["workers"]
    assert (first["number"], first["pid"], first["state"], first["rss_bytes"]) == (1, 100, "ready", 7 * MiB)
    assert said["ended"] == [{"number": 2, "cause": "died", "how": "signal 9 (SIGKILL)", "seconds_ago": 0}]
    each.pass_seconds(1)
    second = workers_view(each.workers, each.clock.seconds())["workers"][1]
    assert (second["restarts"], second["last_end"]) == (1, "died: signal 9 (SIGKILL)")
    assert len(str(said)) < 2000


def test_what_is_kept_of_the_past_is_bounded(kit) -> None:
    each = kit(1).start()
    for _ in range(KEPT_ENDINGS + 5):
        each.made[-1].exits()
        each.pass_seconds(31)
        each.made[-1].ready()
    assert len(each.workers.ended) == KEPT_ENDINGS
    assert len(each.workers.starts) == 1


def test_one_that_cannot_be_looked_after_costs_the_others_nothing(kit, said) -> None:
    each = kit(2, stuck_seconds=3).start()

    def fails(line: str) -> None:
        raise OSError("Broken pipe")

    each.made[0].say = fails
    each.made[1].answers = False
    each.pass_seconds(4)
    assert each.made[1].signals == [signal.SIGABRT]
    assert each.made[0].signals == [signal.SIGABRT]
    assert any("worker 1 could not be looked after" in line for line in said)


def test_lines_that_are_not_known_are_let_pass(kit) -> None:
    each = kit(1).start()
    each.made[0].said("shutdown -h now")
    assert each.states == {1: "ready"}

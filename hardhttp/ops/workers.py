"""Supervision: so many worker processes are there, and each is replaced when it should be.

``Workers`` holds the number of processes that is wanted, by these rules:

- One that dies is replaced: at once or nearly, then after twice the time, up to half a minute, with jitter; the time
  is short again once one has lived a minute.
- Before any was ever ready, only one is tried at a time. When the third has failed, so has the whole: ``failed`` is
  called with what the last one said.
- One that does not answer ``stuck_seconds`` pings, one a second, is told to say where it is held, and killed. Pings are
  counted and clocks are not compared, so neither a clock that is set nor a machine that slept kills anybody.
- One that is larger than ``max_rss_bytes``, and each in turn when all are to be, is replaced without a gap: the new
  one is ready before the old one drains, and the next waits until the old one has ended. A new one that fails leaves
  the old one in its place.
- ``stop`` lets all drain, and kills who is left ``drain_seconds`` later.

A worker bears the lowest number that is free, from 1 to one more than there are to be (two when one that crashed is
replaced while another drains): what is told of a worker is bounded. Its ``serial`` no other ever has. What a worker may
be, and what follows, is the table of ``hardhttp.ops.workerstates``; what is done to processes is the spawner's.
"""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Callable
from enum import Enum

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hardhttp.ops.hangups import HangUps
from hardhttp.ops.worker import Ended, Process, Worker
from hardhttp.ops.workerstates import STANDING, TABLE, Act, Event, State
from hardhttp.units import format_size

__all__ = ["SILENT_PINGS", "Spawn", "Workers"]

TICK_SECONDS = 1.0
START_SECONDS = 120.0
ABORT_SECONDS = 2.0  # from being told to say where it is held to SIGKILL
DRAIN_SPARE_SECONDS = 5.0  # it aborts at drain_seconds by itself, and then closes its stores
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.5, 30.0
LIVED_SECONDS = 60.0
START_TRIES = 3
WEIGH_TICKS = 5
SILENT_PINGS = 2  # unanswered: nobody should wait for it
KEPT_ENDINGS = 20

_SIGNALS = {Act.TERMINATE: signal.SIGTERM, Act.ABORT: signal.SIGABRT, Act.KILL: signal.SIGKILL}


# Starts the process of a worker, which calls ``said(worker, line)`` and ``exited(worker, how, output)`` of the second.
Spawn = Callable[["Worker", "Workers"], Process]


class Course(Enum):
    """``TRYING`` until one was ready."""

    TRYING = "trying"
    GOING = "going"
    STOPPING = "stopping"


@attrs.define
class _Rolling:
    """``old`` is to be replaced; ``new`` is to take its place, once there is one."""

    old: Worker
    why: str
    new: Worker | None = None


class Workers:
    """Holds ``wanted`` workers, made by ``spawn``.

    ``rss_of`` says how large the process of a pid is, ``jitter`` something from 0 to 1. ``failed`` is called with a
    message, once; ``changed`` whenever a worker is ready or gone; ``absent`` with the number of one that takes no
    connections, for whatever reason. ``stuck_seconds`` and ``max_rss_bytes`` may be ``None``: never.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(
        self,
        wanted: int,
        spawn: Spawn,
        clock: IReactorTime,
        *,
        drain_seconds: float,
        stuck_seconds: float | None,
        max_rss_bytes: int | None,
        rss_of: Callable[[int], int | None],
        jitter: Callable[[], float],
        failed: Callable[[str], object],
        changed: Callable[[], object] = lambda: None,
        absent: Callable[[int], object] = lambda number: None,
    ) -> None:
        self.wanted, self._spawn, self._clock = wanted, spawn, clock
        self.drain_seconds, self.stuck_seconds, self.max_rss_bytes = drain_seconds, stuck_seconds, max_rss_bytes
        self._rss_of, self._jitter, self._failed = rss_of, jitter, failed
        self._changed, self._absent = changed, absent
        self.alive: dict[int, Worker] = {}
        self.ended: deque[Ended] = deque(maxlen=KEPT_ENDINGS)
        self.starts: Counter[int] = Counter()  # by number
        self.ends: Counter[str] = Counter(dict.fromkeys(("died", "stuck", "failed", "memory", "asked", "stopped"), 0))
        self._serial = 0
        self.begun_at = clock.seconds()
        self._course = Course.TRYING
        self._failures = 0  # since one has lived
        self._pause: IDelayedCall | None = None
        self._rolling: _Rolling | None = None
        self._to_replace: deque[tuple[Worker, str]] = deque()
        self._hang_ups = HangUps(clock)
        self._ticks = 0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        self._waiting: list[Deferred[None]] = []  # for the end

    # -- what is asked of it ------------------------------------------------------------------------

    def start(self) -> None:
        self._loop.start(TICK_SECONDS, now=False)
        self._settle()

    def stop(self) -> Deferred[None]:
        """Let all drain; fires when none is left."""
        ended: Deferred[None] = Deferred()
        self._waiting.append(ended)
        if not self.stopping:
            self._course = Course.STOPPING
            self._hang_ups.stop()
            if self._pause is not None and self._pause.active():
                self._pause.cancel()
            for worker in [*self.alive.values()]:
                self._retire(worker, "stopped")
        self._settle()
        return ended

    def cut_short(self) -> None:
        """Have what drains abort what is left."""
        for worker in self.alive.values():
            worker.say("cut-short")

    @property
    def stopping(self) -> bool:
        return self._course is Course.STOPPING

    @property
    def ready(self) -> int:
        return len(self._of(State.READY))

    def replace_all(self) -> None:
        """Each in turn, the oldest first."""
        known = {worker for worker, _ in self._to_replace}
        for worker in sorted(self._of(State.READY, State.STARTING), key=lambda each: each.serial):
            if worker not in known:
                self._to_replace.append((worker, "asked"))
        self._log.info("{count} workers will be replaced, one after another", count=len(self._to_replace))
        self._settle()

    def hang_up(self) -> None:
        """Pass SIGHUP's meaning on."""
        self._hang_ups.ask(self._of(State.READY))

    # -- what workers say and do --------------------------------------------------------------------

    def said(self, worker: Worker, line: str) -> None:
        """A line from ``worker``. What is not known is let pass: a newer version may say more."""
        if line == "ready":
            self._event(worker, Event.SAID_READY)
        elif line == "pong":
            worker.unanswered = 0
        elif line == "hung-up":
            self._hang_ups.done(worker)

    def exited(self, worker: Worker, how: str, output: str = "") -> None:
        """``how`` is what the system says, ``output`` the last that it wrote."""
        if worker.state is State.GONE:
            return
        before = worker.state
        self._event(worker, Event.EXITED, settle=False)
        worker.process = None
        del self.alive[worker.number]
        self._hang_ups.gone(worker)
        cause = worker.why or ("failed" if before is State.STARTING else "died")
        self.ends[cause] += 1
        self.ended.append(Ended(worker.number, cause, how, self._clock.seconds()))
        unexpected = not self.stopping and cause not in ("asked", "memory", "stopped")
        tell = self._log.warn if unexpected else self._log.info
        tell("worker {number} has ended ({cause}): {how}", number=worker.number, cause=cause, how=how)
        if unexpected:
            self._lost(worker, output or how)
        self._changed()
        self._settle()

    def _lost(self, worker: Worker, said: str) -> None:
        now = self._clock.seconds()
        lived = worker.ready_at is not None and now - worker.ready_at >= LIVED_SECONDS
        self._failures = 1 if lived else self._failures + 1
        rolling = self._rolling
        if rolling is not None and rolling.new is worker:
            self._log.error("the new worker failed; those that there are stay: {said}", said=said)
            self._rolling = None
            self._to_replace.clear()
        if self._course is Course.TRYING and self._failures >= START_TRIES:
            self._course = Course.STOPPING
            self._failed(f"no worker can start: {said}")
            return
        most = min(MOST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 16))
        if self._pause is None or not self._pause.active():
            self._pause = self._clock.callLater(most * (0.5 + self._jitter() / 2), self._settle)

    # -- one step after another -----------------------------------------------------------------------

    def _of(self, *states: State) -> list[Worker]:
        return [worker for worker in self.alive.values() if worker.state in states]

    def _settle(self) -> None:
        """Do what is to be done next."""
        if self.stopping:
            if not self.alive:
                self._end()
            return
        self._roll()
        rolling = self._rolling
        wanted = 1 if self._course is Course.TRYING else self.wanted
        if rolling is not None and rolling.old.state in STANDING:
            wanted += 1
        while self._may_spawn() and len(self._of(*STANDING)) < wanted:
            worker = self._begin()
            if rolling is not None and rolling.new is None:
                rolling.new = worker

    def _end(self) -> None:
        if self._loop.running:
            self._loop.stop()
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def _may_spawn(self) -> bool:
        return not self.stopping and (self._pause is None or not self._pause.active())

    def _roll(self) -> None:
        """Replace the next one, when nothing else goes on."""
        rolling = self._rolling
        if rolling is not None:
            new = rolling.new
            if new is not None and new.state is State.READY and rolling.old.state in STANDING:
                self._retire(rolling.old, rolling.why)
            if rolling.old.state is not State.GONE or (new is not None and new.state is State.STARTING):
                return
            self._rolling = None
        if len(self.alive) != self.wanted or len(self._of(State.READY)) != self.wanted:
            return
        while self._to_replace:
            worker, why = self._to_replace.popleft()
            if worker.state in STANDING:
                self._rolling = _Rolling(worker, why)
                return

    def _begin(self) -> Worker | None:
        number = next(each for each in range(1, self.wanted + len(self.alive) + 2) if each not in self.alive)
        self._serial += 1
        worker = Worker(number, self._serial, self._clock.seconds())
        self.alive[number] = worker
        self.starts[number] += 1
        worker.deadline = self._clock.callLater(START_SECONDS, self._event, worker, Event.LATE)
        try:
            worker.process = self._spawn(worker, self)
        except OSError as error:
            self.exited(worker, f"it could not be started: {error}")
            return None
        return worker

    def _retire(self, worker: Worker, why: str) -> None:
        worker.why = worker.why or why
        self._event(worker, Event.RETIRE)

    def _event(self, worker: Worker, event: Event, *, settle: bool = True) -> None:
        before = worker.state
        worker.state, act = TABLE[before, event]
        if act is not Act.NOTHING and worker.process is not None:
            worker.process.signal(_SIGNALS[act])
        if worker.state is before and act is Act.NOTHING:
            return
        if worker.state not in STANDING:
            self._absent(worker.number)
        if worker.deadline is not None and worker.deadline.active():
            worker.deadline.cancel()
        seconds = {State.RETIRING: self.drain_seconds + DRAIN_SPARE_SECONDS, State.KILLED: ABORT_SECONDS}
        if worker.state in seconds:
            late = seconds[worker.state]
            worker.deadline = self._clock.callLater(late, self._event, worker, Event.LATE)
        if worker.state is State.KILLED and act is Act.ABORT:
            worker.why = "stuck"
            self._log.error("worker {number} is held, or will not start: it is killed", number=worker.number)
        if worker.state is State.READY:
            self._is_ready(worker)
        if settle:
            self._settle()

    def _is_ready(self, worker: Worker) -> None:
        worker.ready_at = self._clock.seconds()
        if self._course is Course.TRYING:
            self._course = Course.GOING
        self._weigh(worker)
        bound = self.max_rss_bytes
        worker.large_at_once = bound is not None and worker.rss_bytes is not None and worker.rss_bytes > bound
        if worker.large_at_once and bound is not None:
            self._log.warn(
                "worker {number} has {rss} before its first request: --worker-max-rss {bound} is too little",
                number=worker.number,
                rss=format_size(worker.rss_bytes or 0),
                bound=format_size(bound),
            )
        self._log.info("worker {number} is ready, process {pid}", number=worker.number, pid=worker.pid)
        self._changed()

    # -- each second ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticks += 1
        for worker in [*self.alive.values()]:
            try:
                self._look_after(worker)
            except Exception:  # it costs the others nothing
                self._log.failure("worker {number} could not be looked after", number=worker.number)

    def _look_after(self, worker: Worker) -> None:
        if worker.state not in (State.READY, State.RETIRING):
            return
        if self.stuck_seconds is not None and worker.unanswered >= self.stuck_seconds:
            self._event(worker, Event.SILENT)
            return
        worker.unanswered += 1
        if worker.unanswered == SILENT_PINGS:
            self._absent(worker.number)
        worker.say("ping")
        if self._ticks % WEIGH_TICKS == 0:
            self._weigh(worker)
            self._judge_weight(worker)

    def _weigh(self, worker: Worker) -> None:
        worker.rss_bytes = None if worker.pid is None else self._rss_of(worker.pid)

    def _judge_weight(self, worker: Worker) -> None:
        bound, rss = self.max_rss_bytes, worker.rss_bytes
        if bound is None or rss is None or rss <= bound or worker.state is not State.READY:
            return
        # One that was too large from the beginning would be replaced for ever, as soon as it is there.
        young = self._clock.seconds() - (worker.ready_at or 0.0) < LIVED_SECONDS
        rolling = self._rolling is not None and self._rolling.old is worker
        if rolling or (worker.large_at_once and young) or any(each is worker for each, _ in self._to_replace):
            return
        self._log.warn(
            "worker {number} has {rss}, more than --worker-max-rss {bound}: it will be replaced",
            number=worker.number,
            rss=format_size(rss),
            bound=format_size(bound),
        )
        self._to_replace.append((worker, "memory"))
        self._settle()

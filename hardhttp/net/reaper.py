"""The reaper: one timer that judges every connection once a second.

No connection has a timer of its own. Each says when it is due (``deadline``) and does what its
phase says (``reap``); the reaper only asks. It guards the listing and every single record, because
a ``LoopingCall`` whose function raises stops for good: a record that fails costs itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Reapable", "Reaper"]

SWEEP_SECONDS = 1.0
# How many are judged in one turn of the reactor; a thousand at once would hold it for a millisecond.
JUDGED_PER_TURN = 128


class Reapable(Protocol):
    def reap(self, now: float) -> None:
        """End, or refuse, or go on: whatever is due at ``now``."""


class Reaper:
    """Sweeps ``connections()`` every second while running, some in each turn of the reactor."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, connections: Callable[[], Iterable[Reapable]]) -> None:
        self._clock = clock
        self._connections = connections
        self._loop = LoopingCall(self._begin)
        self._loop.clock = clock
        self._rest: list[Reapable] = []  # of the sweep that is going on
        self._turn: IDelayedCall | None = None

    @property
    def running(self) -> bool:
        return bool(self._loop.running)

    def start(self) -> None:
        if not self._loop.running:
            self._loop.start(SWEEP_SECONDS, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._rest.clear()

    def sweep(self) -> None:
        """Judge every connection now."""
        for connection in self._listed():
            self._judge(connection, self._clock.seconds())

    def _begin(self) -> None:
        if self._turn is None:
            self._rest = self._listed()
            self._go_on()

    def _go_on(self) -> None:
        self._turn = None
        now = self._clock.seconds()
        judged, self._rest = self._rest[:JUDGED_PER_TURN], self._rest[JUDGED_PER_TURN:]
        for connection in judged:
            self._judge(connection, now)
        if self._rest:
            self._turn = self._clock.callLater(0, self._go_on)

    def _listed(self) -> list[Reapable]:
        try:
            return list(self._connections())
        except BaseException:
            self._log.failure("the connections could not be listed")
            return []

    def _judge(self, connection: Reapable, now: float) -> None:
        try:
            connection.reap(now)
        except BaseException:
            self._log.failure("a connection could not be judged")

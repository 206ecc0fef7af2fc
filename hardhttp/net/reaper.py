"""The reaper: one timer that judges every connection once a second.

No connection has a timer of its own. Each says when it is due (``deadline``) and does what its
phase says (``reap``); the reaper only asks. It guards the listing and every single record, because
a ``LoopingCall`` whose function raises stops for good: a record that fails costs itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Reapable", "Reaper"]

SWEEP_SECONDS = 1.0


class Reapable(Protocol):
    def reap(self, now: float) -> None:
        """End, or refuse, or go on: whatever is due at ``now``."""


class Reaper:
    """Sweeps ``connections()`` every second while running."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, connections: Callable[[], Iterable[Reapable]]) -> None:
        self._clock = clock
        self._connections = connections
        self._loop = LoopingCall(self.sweep)
        self._loop.clock = clock

    @property
    def running(self) -> bool:
        return bool(self._loop.running)

    def start(self) -> None:
        if not self._loop.running:
            self._loop.start(SWEEP_SECONDS, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def sweep(self) -> None:
        """Judge every connection now."""
        now = self._clock.seconds()
        try:
            connections = list(self._connections())
        except Exception:
            self._log.failure("the connections could not be listed")
            return
        for connection in connections:
            try:
                connection.reap(now)
            except Exception:
                self._log.failure("a connection could not be judged")

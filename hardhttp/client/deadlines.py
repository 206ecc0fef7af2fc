"""All deadlines of a client, under one timer.

Whoever waits for something is listed here and says when it is due (``deadline``); one call on the
clock is set for the earliest. Most requests set none: a deadline that is later than the timer needs
nothing done, and when the timer finds nobody due it is set again. With nobody listed there is no
call. So a request costs a comparison, and an idle client keeps nothing.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from hardhttp.wire.deadlines import NEVER

__all__ = ["Deadlines", "Timed"]

# A look at one entry takes some 0.1 microseconds; looking takes 1 % of the time at most.
REST_SECONDS_PER_ENTRY = 1e-5
# Clocks are floats: what is due within this is due.
GRACE_SECONDS = 1e-6


class Timed(Protocol):
    """Something that waits."""

    deadline: float

    def expire(self, now: float) -> None:
        """``deadline`` has passed: end, or set a later one."""


class Deadlines:
    """The list, and its timer."""

    _log = Logger(namespace="hardhttp.client")

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._entries: dict[Timed, None] = {}
        self._call: IDelayedCall | None = None
        self._due = NEVER

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def timers(self) -> int:
        """Calls pending on the clock: none, or one."""
        return int(self._call is not None)

    def add(self, entry: Timed) -> None:
        self._entries[entry] = None
        self.sooner(entry.deadline)

    def remove(self, entry: Timed) -> None:
        """Forget ``entry``; one that is not there is ignored."""
        self._entries.pop(entry, None)
        if not self._entries and self._call is not None:
            self._call.cancel()
            self._call, self._due = None, NEVER

    def sooner(self, deadline: float) -> None:
        """An entry has now this deadline, which may be the earliest."""
        if deadline >= self._due:
            return
        self._due = deadline
        delay = max(0.0, deadline - self._clock.seconds())
        if self._call is None:
            self._call = self._clock.callLater(delay, self._look)
        else:
            self._call.reset(delay)

    def _look(self) -> None:
        self._call, self._due = None, NEVER
        now = self._clock.seconds()
        for entry in [entry for entry in self._entries if entry.deadline <= now + GRACE_SECONDS]:
            try:
                # One before it may have ended it.
                if entry in self._entries and entry.deadline <= now + GRACE_SECONDS:
                    entry.expire(now)
            except Exception:
                self._log.failure("a deadline could not be kept")
        earliest = min((entry.deadline for entry in self._entries), default=NEVER)
        if earliest < NEVER:
            self.sooner(max(earliest, now + REST_SECONDS_PER_ENTRY * len(self._entries)))

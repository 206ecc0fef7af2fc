"""Calls that wait for an answer from somewhere else.

Whoever asks a thread or a server keeps one ``Pending``: it bounds how many calls wait and how long. All
have the same time, so the oldest is due first, and one delayed call on the clock is enough for all of
them. It stands only while something waits. The owner is told once when an answer is overdue, and decides
what becomes of the others; an answer that comes after that finds nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from hardhttp.errors import StoreError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Pending"]


class Pending:
    """At most ``most`` calls, each answered within ``seconds``, or ``overdue`` is called."""

    def __init__(self, clock: IReactorTime, seconds: float, most: int, overdue: Callable[[], None]) -> None:
        self._clock, self._seconds, self._most, self._overdue = clock, seconds, most, overdue
        self._due: dict[Deferred[Any], float] = {}  # the oldest first
        self._alarm: IDelayedCall | None = None
        self._settled: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, call: Deferred[Any]) -> bool:
        return call in self._due

    def add(self, *, bounded: bool = True) -> Deferred[Any]:
        """A new call. Raises ``StoreError`` when too many wait already, unless it is not ``bounded``."""
        if bounded and len(self._due) >= self._most:
            raise StoreError(f"{self._most} calls wait for an answer already")
        call: Deferred[Any] = Deferred(self._take)
        self._due[call] = self._clock.seconds() + self._seconds
        if self._alarm is None:
            self._alarm = self._clock.callLater(self._seconds, self._look)
        return call

    def answer(self, call: Deferred[Any], answer: Any) -> None:
        """Give ``answer`` to a call that still waits; an exception fails it."""
        if self._due.pop(call, None) is not None:
            if isinstance(answer, Exception):
                call.errback(answer)
            else:
                call.callback(answer)
            self._rest()

    def settled(self) -> Deferred[None]:
        """Fires when nothing waits."""
        if not self._due:
            return succeed(None)
        self._settled.append(Deferred())
        return self._settled[-1]

    def fail(self, message: str) -> None:
        """Fail all that wait, with a ``StoreError`` each."""
        calls = list(self._due)
        self._due.clear()
        for call in calls:
            call.errback(StoreError(message))
        self._rest()

    def _take(self, call: Deferred[Any]) -> None:
        self._due.pop(call, None)
        self._rest()

    def _rest(self) -> None:
        if self._due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        settled, self._settled = self._settled, []
        for waiter in settled:
            waiter.callback(None)

    def _look(self) -> None:
        self._alarm = None
        left = next(iter(self._due.values())) - self._clock.seconds()
        if left <= 0:
            self._overdue()
        if self._due and self._alarm is None:
            left = next(iter(self._due.values())) - self._clock.seconds()
            self._alarm = self._clock.callLater(max(left, 0.0), self._look)

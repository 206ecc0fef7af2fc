"""Saves that a store has not answered yet, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

__all__ = ["Saves"]


class Saves:
    """The saves of one session in one request.

    A failure is told to those who wait, or else to whoever asks next.
    """

    __slots__ = ("_lost", "_under_way", "_waiters")

    def __init__(self) -> None:
        self._under_way = 0
        self._waiters: list[Deferred[None]] = []
        self._lost: Failure | None = None

    def wait_for(self, answer: Deferred[bool], tell: Callable[[bool | Failure], object]) -> None:
        """Wait for the store's answer; ``tell`` hears it first."""
        self._under_way += 1
        answer.addBoth(self._answered, tell)

    def outcome(self) -> Deferred[None] | None:
        """``None`` when all is saved; else a Deferred that fires when it is, or fails."""
        if self._under_way:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            return waiter
        lost, self._lost = self._lost, None
        return None if lost is None else fail(lost)

    def _answered(self, answer: bool | Failure, tell: Callable[[bool | Failure], object]) -> None:
        self._under_way -= 1
        tell(answer)
        if isinstance(answer, Failure):
            answer.cleanFailure()
            self._lost = answer
        if self._waiters and not self._under_way:
            waiters, self._waiters = self._waiters, []
            lost, self._lost = self._lost, None
            for waiter in waiters:
                waiter.callback(lost)

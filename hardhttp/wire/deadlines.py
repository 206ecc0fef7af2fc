"""Deadlines as arithmetic: numbers in, numbers out.

Times are seconds of any monotonic clock; "never" is infinity, so that a deadline can always be
compared and the nearest one is always ``min``.
"""

from __future__ import annotations

__all__ = ["NEVER", "Pace"]

NEVER = float("inf")


class Pace:
    """A minimum rate, judged over windows.

    Whoever is paced must make ``bytes_per_second * window_seconds`` bytes of progress within every
    ``window_seconds``; a window ends, and the next one begins, as soon as its share is made. So a
    trickle cannot move the deadline, neither can a burst move it further than one window ahead,
    and whoever keeps above the rate is never cut, however long it takes.

    ``total`` is a count that only grows. A rate of 0 asks for one byte a window.
    """

    __slots__ = ("_mark", "_share", "_window_seconds", "deadline")

    def __init__(self, now: float, window_seconds: float, bytes_per_second: float, total: int = 0) -> None:
        self._window_seconds = window_seconds
        self._share = max(1.0, bytes_per_second * window_seconds)
        self._mark = total
        self.deadline = now + window_seconds

    @property
    def since(self) -> float:
        """When the window began: when a share was made last."""
        return self.deadline - self._window_seconds

    def progress(self, now: float, total: int) -> None:
        """``total`` bytes have been made by ``now``."""
        if total - self._mark >= self._share:
            self._mark = total
            self.deadline = now + self._window_seconds

    def moved(self, total: int) -> bool:
        """Whether any progress was made in this window."""
        return total > self._mark

"""How often an event source tries again, and how long it waits before.

Failures are attempts that brought no event, one after another; refusals are those of them that were answered. What a
server asks for, by ``retry:`` or ``Retry-After``, is the least of a wait, within bounds; each failure doubles the most.
"""

from __future__ import annotations

from random import Random

from hardhttp.client.eventanswer import Ending, EndReason
from hardhttp.client.eventlimits import EventLimits
from hardhttp.client.waits import reconnect_seconds

__all__ = ["Patience"]


class Patience:
    """Of one event source."""

    def __init__(self, limits: EventLimits, random: Random) -> None:
        self._limits = limits
        self._random = random
        self.failures = 0
        self.refusals = 0

    def well(self) -> None:
        """An event came, or a stream was open for long."""
        self.failures = self.refusals = 0

    def failed(self) -> Ending | None:
        """Another attempt brought no event: how it ends, if that was one too many."""
        self.failures += 1
        most = self._limits.max_failures
        if most is None or self.failures <= most:
            return None
        return Ending(EndReason.FAILURES, f"{self.failures:,} attempts brought no event")

    def refused(self, ending: Ending) -> Ending | None:
        """It was answered "not now": ``ending``, if that was one too many."""
        self.refusals += 1
        return ending if self.refusals > self._limits.max_refusals else self.failed()

    def wait_seconds(self, retry_seconds: float, retry_after_seconds: float = 0.0) -> float:
        """Before the next attempt."""
        limits = self._limits
        seconds = reconnect_seconds(self._random, retry_seconds, limits.max_retry_seconds, max(0, self.failures - 1))
        asked_seconds = min(retry_after_seconds, limits.max_retry_after_seconds)
        if asked_seconds <= seconds:
            return seconds
        return asked_seconds + self._random.uniform(0.0, limits.retry_seconds)

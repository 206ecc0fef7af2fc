"""How long an event loop was held: a timer that asks for the shortest wait, and the longest it had to wait.

The gap between two of its calls holds all of what kept the loop, and at most ``INTERVAL`` more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

__all__ = ["INTERVAL", "Holds"]

INTERVAL = 0.001


class Holds:
    """The longest gap since it was last asked for. ``call_later(seconds, function)`` is the loop's."""

    def __init__(self, call_later: Callable[[float, Callable[[], None]], object]) -> None:
        self._call_later = call_later
        self._longest = 0.0
        self._seen = time.perf_counter()
        self._tick()

    def _tick(self) -> None:
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._seen)
        self._seen = now
        self._call_later(INTERVAL, self._tick)

    def report(self) -> bytes:
        """As JSON, in milliseconds; what comes now counts for the next report."""
        longest, self._longest = self._longest, 0.0
        return json.dumps({"longest_ms": round(longest * 1000, 3)}).encode()

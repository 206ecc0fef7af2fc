"""When each of many is due: a heartbeat, the end of a lifetime.

One call a tick for all of them, instead of a timer for each: putting one in, taking it out and finding
those that are due cost the same whatever their number. Nothing is due early; it may be late by a tick.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

__all__ = ["Wheel"]

H = TypeVar("H", bound=Hashable)


class Wheel(Generic[H]):
    """Whoever is due, by tick; each is in it once. ``now`` is where the clock stands."""

    def __init__(self, tick_seconds: float, now: float) -> None:
        self._tick_seconds = tick_seconds
        self._turned = int(now // tick_seconds)
        self._slots: dict[int, dict[H, None]] = {}
        self._slot_of: dict[H, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def put(self, item: H, at: float) -> None:
        """``item`` is due at ``at``, and no longer at another time."""
        self.drop(item)
        slot = max(int(at // self._tick_seconds), self._turned) + 1
        self._slots.setdefault(slot, {})[item] = None
        self._slot_of[item] = slot

    def drop(self, item: H) -> None:
        """``item`` is not due any more."""
        slot = self._slot_of.pop(item, None)
        if slot is not None:
            items = self._slots[slot]
            del items[item]
            if not items:
                del self._slots[slot]

    def due(self, now: float) -> list[H]:
        """Take out all that are due."""
        turned = int(now // self._tick_seconds)
        found: list[H] = []
        slots: Sequence[int] = range(self._turned + 1, turned + 1)
        if len(slots) > len(self._slots):  # the clock may have been set: by years, on a board without a battery
            slots = sorted(slot for slot in self._slots if slot <= turned)
        for slot in slots:
            found += self._slots.pop(slot, ())
        self._turned = max(self._turned, turned)
        for item in found:
            del self._slot_of[item]
        return found

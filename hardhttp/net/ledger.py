"""The ledger: what is held, by kind, and by whom.

Owners are transports, or stores that outlive connections. An entry says how much of a kind an
owner holds *now*; it is set, not added to, so that it cannot drift. When an owner ends, one call
releases all it held. What is counted elsewhere already (open connections, timers) is not counted
twice: a gauge asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["BODY", "EVENTS", "FILES", "INPUT", "KINDS", "MESSAGES", "SUBSCRIBERS", "UNSENT", "WEBSOCKETS", "Ledger"]

# Kinds in bytes. Their sum is what ``max_buffered_bytes`` bounds.
INPUT: Final = "input_bytes"  # parts of heads, and requests waiting behind another
BODY: Final = "body_bytes"  # request bodies in memory
UNSENT: Final = "unsent_bytes"  # responses and events not yet taken by the kernel
EVENTS: Final = "event_bytes"  # events that some subscriber has not been sent
MESSAGES: Final = "message_bytes"  # of WebSockets: messages coming or not taken yet, and what compression keeps
# Kinds in numbers.
SUBSCRIBERS: Final = "subscribers"
WEBSOCKETS: Final = "websockets"
FILES: Final = "files"  # open, and being sent
KINDS: Final = (INPUT, BODY, UNSENT, EVENTS, MESSAGES, SUBSCRIBERS, WEBSOCKETS, FILES)


class Ledger:
    """Amounts held, by kind and owner."""

    def __init__(self) -> None:
        self._held: dict[Hashable, dict[str, int]] = {}
        self._totals: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._gauges: dict[str, Callable[[], int]] = {}
        self.held_bytes = 0

    def hold(self, owner: Hashable, kind: str, amount: int) -> None:
        """``owner`` now holds ``amount`` of ``kind``; a kind ending in ``_bytes`` counts as memory."""
        entries = self._held.get(owner)
        if entries is None:
            if not amount:
                return
            entries = self._held[owner] = {}
        change = amount - entries.get(kind, 0)
        if not change:
            return
        if amount:
            entries[kind] = amount
        else:
            del entries[kind]
            if not entries:
                del self._held[owner]
        self._totals[kind] = self._totals.get(kind, 0) + change
        if kind.endswith("_bytes"):
            self.held_bytes += change

    def release(self, owner: Hashable) -> None:
        """``owner`` has ended: all it held is given back."""
        for kind in tuple(self._held.get(owner, ())):
            self.hold(owner, kind, 0)

    def owners(self) -> tuple[Hashable, ...]:
        """Whoever holds something now."""
        return tuple(self._held)

    def held(self, owner: Hashable) -> dict[str, int]:
        """What ``owner`` holds, by kind."""
        return dict(self._held.get(owner, {}))

    def totals(self) -> dict[str, int]:
        """What is held, by kind, without asking the gauges: some of those look at every connection."""
        return dict(self._totals)

    def heaviest(self) -> Hashable | None:
        """The owner that holds most bytes, or ``None``. Linear: for when a bound is reached."""
        return max(
            self._held,
            key=lambda owner: sum(n for kind, n in self._held[owner].items() if kind.endswith("_bytes")),
            default=None,
        )

    def gauge(self, kind: str, count: Callable[[], int]) -> None:
        """``snapshot`` asks ``count`` for the figure of ``kind``."""
        self._gauges[kind] = count

    def snapshot(self) -> dict[str, int]:
        """Every figure, by kind. With nothing going on, each is what it was at the start."""
        return {**self._totals, "owners": len(self._held), **{kind: count() for kind, count in self._gauges.items()}}

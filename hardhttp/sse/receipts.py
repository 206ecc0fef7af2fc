"""What a publisher is told: how many an event was for, and what has become of it.

A receipt goes on counting while the fan-out does: ``publish`` returns before the last of many
subscribers has been served. Whoever publishes again with the same idempotency key is given the first
receipt, and nothing is sent; the keys are kept in a table bounded in number and age.
"""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["Receipt", "Repeats"]


class Receipt:
    """``id`` is the event's; ``matched`` how many subscribers it was for when it was published.

    ``written`` counts those it has been handed to (or that will take it from the history), ``dropped``
    those that will not get it: they ended first, or their queue was full. The rest still wait.
    """

    __slots__ = ("dropped", "id", "matched", "written")

    def __init__(self, id: str, matched: int) -> None:
        self.id = id
        self.matched = matched
        self.written = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Subscribers it is still on its way to."""
        return self.matched - self.written - self.dropped

    def write(self, count: int = 1) -> None:
        """So many more have been handed it; some may have ended in the meantime."""
        self.written += count
        self.dropped = min(self.dropped, self.matched - self.written)

    def drop(self, count: int = 1) -> None:
        """So many more will not get it."""
        self.dropped += count

    def __repr__(self) -> str:
        return f"<Receipt {self.id} matched={self.matched} written={self.written} dropped={self.dropped}>"


class Repeats:
    """Receipts by idempotency key: at most ``max_keys``, each for ``keep_seconds``."""

    def __init__(self, max_keys: int, keep_seconds: float) -> None:
        self._max_keys = max_keys
        self._keep_seconds = keep_seconds
        self._kept: OrderedDict[str, tuple[float, Receipt]] = OrderedDict()  # oldest first

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: str, now: float) -> Receipt | None:
        """The receipt of what was published with ``key``."""
        self._forget(now)
        found = self._kept.get(key)
        return None if found is None else found[1]

    def keep(self, key: str, receipt: Receipt, now: float) -> None:
        self._kept[key] = now + self._keep_seconds, receipt
        self._forget(now)

    def _forget(self, now: float) -> None:
        kept = self._kept
        while kept and (len(kept) > self._max_keys or next(iter(kept.values()))[0] <= now):
            kept.popitem(last=False)

"""What a publisher is told: how many an event was for, and what has become of it.

A receipt goes on counting while the fan-out does: ``publish`` returns before the last of many
subscribers has been served. Whoever publishes again with the same idempotency key is given the first
receipt, and nothing is sent; the keys are kept in a table bounded in number and age.

With a broker, an event has its place and its id only when the broker has it: ``BrokerReceipt`` says when.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed

if TYPE_CHECKING:
    from hardhttp.interfaces import Posted

__all__ = ["BrokerReceipt", "Receipt", "Repeats"]


class Receipt:
    """``id`` is the event's; ``matched`` how many subscribers it was for when it was published.

    ``written`` counts those it has been handed to (or that will take it from the history), ``dropped``
    those that will not get it: they ended first, or their queue was full. The rest still wait.
    """

    __slots__ = ("dropped", "id", "matched", "written")

    # Without a broker there is nobody else to bring it to.
    published = True

    def __init__(self, id: str, matched: int) -> None:
        self.id = id
        self.matched = matched
        self.written = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Subscribers it is still on its way to."""
        return self.matched - self.written - self.dropped

    def when_published(self) -> Deferred[Receipt]:
        """Fires when all nodes have it, or will: at once, without a broker."""
        return succeed(self)

    def write(self, count: int = 1) -> None:
        """So many more have been handed it; some may have ended in the meantime."""
        self.written += count
        self.dropped = min(self.dropped, self.matched - self.written)

    def drop(self, count: int = 1) -> None:
        """So many more will not get it."""
        self.dropped += count

    def __repr__(self) -> str:
        return f"<Receipt {self.id} matched={self.matched} written={self.written} dropped={self.dropped}>"


class BrokerReceipt(Receipt):
    """Of an event that a broker brings to all nodes. ``matched``, ``written`` and ``dropped`` are of this node, and
    0 until the event has come back to it.

    ``id`` is empty until the event is ``published``, unless its publisher gave one; for one that had been published
    before with the same idempotency key on any node (``repeated``), it is that one's.
    """

    __slots__ = ("_waiters", "error", "published", "repeated")

    def __init__(self, id: str) -> None:
        super().__init__(id, 0)
        self.published = self.repeated = False
        self.error: Exception | None = None
        self._waiters: list[Deferred[Receipt]] = []

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of it."""
        return self.published or self.error is not None

    def when_published(self) -> Deferred[Receipt]:
        """Fires with this when all nodes have the event, or will; fails with ``BrokerAwayError`` if it is given up."""
        if self.error is not None:
            return fail(self.error)
        if self.published:
            return succeed(self)
        self._waiters.append(Deferred(self._forget))
        return self._waiters[-1]

    def _forget(self, waiter: Deferred[Receipt]) -> None:
        self._waiters.remove(waiter)

    def answer(self, became: Posted | Exception) -> None:
        """What the broker says."""
        if self.is_settled:
            return
        if isinstance(became, Exception):
            self.error = became
        else:
            self.published, self.repeated = True, became.repeated
            if became.repeated or not self.id:
                self.id = became.id or (f"{became.epoch}-{became.sequence}" if became.sequence else "")
        self._tell()

    def came_back(self, id: str) -> None:
        """It has been read where all nodes read it, whatever becomes of the answer."""
        self.id, self.error, self.published = id, None, True
        self._tell()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if self.error is None:
                waiter.callback(self)
            else:
                waiter.errback(self.error)


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

    def drop(self, key: str, receipt: Receipt) -> None:
        """It was not published after all."""
        if key in self._kept and self._kept[key][1] is receipt:
            del self._kept[key]

    def _forget(self, now: float) -> None:
        kept = self._kept
        while kept and (len(kept) > self._max_keys or next(iter(kept.values()))[0] <= now):
            kept.popitem(last=False)

"""The ledger: what is held, by kind, and by whom.

Owners are transports, or stores that outlive connections. An entry says how much of a kind an
owner holds *now*; it is set, not added to, so that it cannot drift. When an owner ends, one call
releases all it held. What is counted elsewhere already (open connections, timers) is not counted
twice: a gauge asks for it.

A long page that many are being sent is in memory once, and is counted once: it stands with the first of those who
hold it, and passes to the next when that one has it no more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

__all__ = [
    "BODY",
    "EVENTS",
    "FILES",
    "INPUT",
    "KINDS",
    "MESSAGES",
    "SHARED_BYTES",
    "SUBSCRIBERS",
    "UNSENT",
    "WEBSOCKETS",
    "Ledger",
]

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


# A shorter piece is copied as it is queued, and so is nobody else's.
SHARED_BYTES: Final = 64 * 1024


class _Piece:
    """Bytes that wait to be sent, and to whom; they are counted for the first."""

    __slots__ = ("data", "owners")

    def __init__(self, data: bytes) -> None:
        self.data = data  # kept: as long as it is, no other object has its id
        self.owners: dict[Hashable, None] = {}


class Ledger:
    """Amounts held, by kind and owner."""

    def __init__(self) -> None:
        self._held: dict[Hashable, dict[str, int]] = {}
        self._totals: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._gauges: dict[str, Callable[[], int]] = {}
        self._pieces: dict[int, _Piece] = {}
        self._piece_of: dict[Hashable, _Piece] = {}
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

    def hold_unsent(self, owner: Hashable, amount: int, piece: bytes = b"") -> None:
        """``owner`` now has ``amount`` of bytes of its own to be sent, and ``piece``, which others may have too."""
        shared = self._piece_of.get(owner)
        if shared is not None and shared.data is not piece:
            self._let_go(owner)
            shared = None
        if len(piece) < SHARED_BYTES:
            amount += len(piece)
        else:
            if shared is None:
                shared = self._pieces.setdefault(id(piece), _Piece(piece))
                shared.owners[owner] = None
                self._piece_of[owner] = shared
            if next(iter(shared.owners)) == owner:
                amount += len(piece)
        self.hold(owner, UNSENT, amount)

    def _let_go(self, owner: Hashable) -> None:
        """``owner`` has no more to do with its piece: if it stood with it, it stands with the next one."""
        shared = self._piece_of.pop(owner)
        stood_here = next(iter(shared.owners)) == owner
        del shared.owners[owner]
        if not shared.owners:
            del self._pieces[id(shared.data)]
        elif stood_here:
            heir = next(iter(shared.owners))
            self.hold(heir, UNSENT, self._held.get(heir, {}).get(UNSENT, 0) + len(shared.data))

    def release(self, owner: Hashable) -> None:
        """``owner`` has ended: all it held is given back."""
        if owner in self._piece_of:
            self._let_go(owner)
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

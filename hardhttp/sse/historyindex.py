"""Where an update stands: among those of its topic, and among all.

``TopicLog`` holds the updates of one topic. They leave at the front alone, so one number, ``lost_to``, says
of any update that was ever in it whether it still is. A place is found by binary search in a list of
numbers: 7 comparisons in a hundred, 20 in a million.

``UpdateLog`` holds each update once, in blocks of ``BLOCK`` consecutive sequence numbers. The block of a
number is found by dividing, whatever there is. Updates leave anywhere, and an empty block leaves with its last.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardhttp.interfaces import Lost, Update

__all__ = ["BLOCK", "TopicLog", "UpdateLog"]

BLOCK = 256
# A list gives up its front when that is half of it and at least this long: a constant cost for each update.
SPARE = 64


class TopicLog:
    """The updates of one topic, oldest first."""

    __slots__ = ("_head", "_sequences", "_updates", "held_bytes", "lost_at", "lost_to", "lost_why", "name")

    def __init__(self, name: str, lost_to: int, lost_why: Lost, lost_at: int) -> None:
        self.name = name
        self.lost_to = lost_to  # every update of this topic up to this number is gone
        self.lost_why: Lost = lost_why
        self.lost_at = lost_at  # how many losses the history had had by then
        self.held_bytes = 0
        self._sequences: list[int] = []
        self._updates: list[Update | None] = []
        self._head = 0

    def __len__(self) -> int:
        return len(self._sequences) - self._head

    def append(self, update: Update) -> None:
        self._sequences.append(update.sequence)
        self._updates.append(update)
        self.held_bytes += update.held_bytes

    def pop_oldest(self) -> Update:
        update = self._updates[self._head]
        assert update is not None  # in front of the head there is nothing else
        self._updates[self._head] = None
        self._head += 1
        if self._head >= SPARE and self._head * 2 >= len(self._updates):
            del self._sequences[: self._head], self._updates[: self._head]
            self._head = 0
        self.held_bytes -= update.held_bytes
        return update

    def after(self, sequence: int) -> Iterator[Update]:
        """Those with a higher number."""
        first = bisect_right(self._sequences, sequence, self._head)
        return map(self._updates.__getitem__, range(first, len(self._updates)))  # type: ignore[arg-type]


class UpdateLog:
    """All updates by their numbers."""

    def __init__(self) -> None:
        self._blocks: OrderedDict[int, dict[int, Update]] = OrderedDict()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def append(self, update: Update) -> None:
        block = self._blocks.get(update.sequence // BLOCK)
        if block is None:
            block = self._blocks[update.sequence // BLOCK] = {}
        block[update.sequence] = update
        self._number += 1

    def remove(self, sequence: int) -> None:
        block = self._blocks[sequence // BLOCK]
        del block[sequence]
        self._number -= 1
        if not block:
            del self._blocks[sequence // BLOCK]

    def get(self, sequence: int) -> Update | None:
        return self._blocks.get(sequence // BLOCK, {}).get(sequence)

    def oldest(self) -> Update | None:
        for block in self._blocks.values():
            return next(iter(block.values()))
        return None

    def newest(self) -> Update | None:
        for block in reversed(self._blocks.values()):
            return next(reversed(block.values()))
        return None

    def after(self, sequence: int) -> Iterator[tuple[int, Update | None]]:
        """Each update with a higher number, and its number; ``None`` for a block that is not there."""
        if not self._blocks:
            return
        first, last = next(iter(self._blocks)), next(reversed(self._blocks))
        for number in range(max((sequence + 1) // BLOCK, first), last + 1):
            block = self._blocks.get(number)
            if block is None:
                yield (number + 1) * BLOCK - 1, None
                continue
            for update in block.values():
                if update.sequence > sequence:
                    yield update.sequence, update

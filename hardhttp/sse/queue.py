"""What waits for one subscriber: events, bounded in number and bytes, and what to do at the bound.

What happens at the bound is the policy of the topic whose event finds no room:

- ``close``: the subscriber is closed; its client reconnects, and takes what it missed from the history;
- ``drop-oldest``: the oldest events go, and an event of type ``gap`` says which and why;
- ``latest``: of each key (or topic) only the newest waits, at any length of the queue; beyond the bound
  as ``drop-oldest``;
- ``pause``: nothing waits; the subscriber is brought up to date from the history when it takes again.

Never dropped for another topic's sake: events whose policy is ``close``. The bytes of an event that
waits for many are there, and are counted, once.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import StrEnum
from typing import TypeAlias

from hardhttp.sse.coding import joined
from hardhttp.sse.journal import Journal
from hardhttp.sse.notes import Loss
from hardhttp.sse.receipts import Receipt
from hardhttp.wire.eventstream import encode_event

__all__ = ["Entry", "Policy", "Queue", "Room", "encode_gap"]


class Policy(StrEnum):
    """What to do when a subscriber's queue is full."""

    CLOSE = "close"
    DROP_OLDEST = "drop-oldest"
    LATEST = "latest"
    PAUSE = "pause"


_LOSES = frozenset({Policy.DROP_OLDEST, Policy.LATEST})


def encode_gap(reason: str, first_id: str | None, last_id: str | None, count: int | None) -> bytes:
    """The event that says what a stream lacks: the ids of the first and the last one lost, how many, and why."""
    return encode_event({"reason": reason, "first": first_id, "last": last_id, "count": count}, event="gap")


Key: TypeAlias = "tuple[str | None, str | None]"


class Entry:
    """An event on its way. ``key`` is its first topic and the publisher's key: what it is the latest state of.
    ``directed`` is one to users or groups, which no history has."""

    __slots__ = ("directed", "encoded", "holders", "id", "key", "policy", "receipt", "sequence")

    def __init__(
        self, sequence: int, encoded: bytes, receipt: Receipt, policy: Policy, key: Key, *, directed: bool
    ) -> None:
        self.sequence = sequence
        self.id = receipt.id
        self.encoded = encoded
        self.receipt = receipt
        self.policy = policy
        self.key = key
        self.directed = directed
        self.holders = 0  # queues it waits in


class Room:
    """The bounds of every queue of a hub, and the bytes that wait in them, each event counted once."""

    __slots__ = ("held_bytes", "max_bytes", "max_events")

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.held_bytes = 0


class Queue:
    """The events that wait for one subscriber, oldest first. ``size`` is their bytes.

    What it loses and what it writes is noted in ``journal``, under the subscriber's ``serial`` number.
    """

    __slots__ = ("_entries", "_journal", "_lost", "_room", "_serial", "size")

    def __init__(self, room: Room, journal: Journal, serial: int) -> None:
        self._room = room
        self._journal = journal
        self._serial = serial
        self._entries: OrderedDict[int | Key, Entry] = OrderedDict()
        self._lost: tuple[str, str, int] | None = None  # first, last, how many
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def first(self) -> int | None:
        """The number of the oldest event."""
        return next((entry.sequence for entry in self._entries.values()), None)

    def put(self, entry: Entry) -> bool:
        """Let ``entry`` wait. Whether there is room: if not, its policy is ``close`` or ``pause``."""
        place: int | Key = entry.sequence
        if entry.policy is Policy.LATEST:
            place = entry.key
            if place in self._entries:
                self._lose(place, Loss.REPLACED)
        self._entries[place] = entry
        self.size += len(entry.encoded)
        entry.holders += 1
        if entry.holders == 1:
            self._room.held_bytes += len(entry.encoded)
        while len(self) > self._room.max_events or (self.size > self._room.max_bytes and len(self) > 1):
            if entry.policy not in _LOSES:
                return False
            self._lose_oldest()
        return True

    def take(self, max_bytes: int) -> bytes:
        """The oldest events, as they go out: one at least, and no more than ``max_bytes`` if there are several."""
        pieces: list[bytes] = []
        if self._lost is not None:
            pieces.append(encode_gap("overflow", *self._lost))
            self._lost = None
        size, first = 0, self.first
        while self._entries and (not size or size + len(next(iter(self._entries.values())).encoded) <= max_bytes):
            entry = self._remove(next(iter(self._entries)))
            entry.receipt.write()
            size += len(entry.encoded)
            pieces.append(entry.encoded)
        if first is not None:
            self._journal.wrote(self._serial, first, entry.sequence)
        return joined(pieces)

    def leave_to_history(self) -> int | None:
        """Keep what is directed alone; the number of the first event that went."""
        kept = [place for place, entry in self._entries.items() if not entry.directed]
        first = None
        for place in kept:
            entry = self._remove(place)
            entry.receipt.write()
            first = entry.sequence if first is None else min(first, entry.sequence)
        return first

    def clear(self) -> None:
        """Whoever it was for has ended."""
        for place in tuple(self._entries):
            self._remove(place).receipt.drop()
        self._lost = None

    def _remove(self, place: int | Key) -> Entry:
        entry = self._entries.pop(place)
        self.size -= len(entry.encoded)
        entry.holders -= 1
        if not entry.holders:
            self._room.held_bytes -= len(entry.encoded)
        return entry

    def _lose(self, place: int | Key, loss: Loss) -> Entry:
        entry = self._remove(place)
        entry.receipt.drop()
        self._journal.lost(self._serial, entry.sequence, loss)
        return entry

    def _lose_oldest(self) -> None:
        """The one just put in can be lost, so there is one."""
        oldest = next(place for place, entry in self._entries.items() if entry.policy in _LOSES)
        lost = self._lose(oldest, Loss.OVERFLOW)
        first, _, count = self._lost or (lost.id, lost.id, 0)
        self._lost = first, lost.id, count + 1

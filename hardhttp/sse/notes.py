"""What a hub's journal notes of its subscribers: each exception to "it was served in order".

A note is about an event, or some that follow one another: one that a queue lost, a write of what had waited,
a page that was read from the history; or about a change of user or groups after an event. All notes together
are bounded. Past the bound those of the subscriber whose first note is oldest go together, and the number
remains up to which nothing certain can be said of it.

``hardhttp.sse.journal`` owns them. They are no older than its events, so it says which of these are forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from hardhttp.interfaces import Gap

__all__ = ["Bound", "Failed", "Joined", "Loss", "Lost", "Note", "Notes", "Read", "Wrote"]

# Events of one page that weigh as much as a note, where they do not follow one another.
EVENTS_A_NOTE = 16
# What is left of the notes after some had to go: so going through all of them is rare.
KEPT_SHARE = 0.75


class Loss(StrEnum):
    """Why someone lost an event that was for him."""

    OVERFLOW = "overflow"  # his queue was full, and the oldest went
    REPLACED = "replaced"  # a later one of the same key took its place in his queue
    ENDED = "ended"  # he ended before it was his turn
    HISTORY = "history"  # it had left the history before he had read it


# -- in each, ``sequence`` is that of the last event it is about ---------------------------------


class Lost(NamedTuple):
    """An event its queue gave up."""

    sequence: int
    loss: Loss
    at: float


class Wrote(NamedTuple):
    """A write of what had waited in its queue, from the event ``first`` on."""

    sequence: int
    first: int
    at: float


class Failed(NamedTuple):
    """A write of what had waited, which failed."""

    sequence: int
    first: int
    at: float


class Read(NamedTuple):
    """A page it read from the history, of what came after the event ``after``; ``sequences`` are those it had."""

    sequence: int
    after: int
    sequences: Sequence[int]
    gap: Gap | None
    at: float


class Bound(NamedTuple):
    """It became another user's; it was ``before``'s."""

    sequence: int
    before: str | None


class Joined(NamedTuple):
    """It came into a group, or left it (``joined`` is false)."""

    sequence: int
    group: str
    joined: bool


Note: TypeAlias = Lost | Wrote | Failed | Read | Bound | Joined


class Notes:
    """Notes by the serial number of their subscriber; ``weight``, that of all, is at most ``max_weight``."""

    def __init__(self, max_weight: int) -> None:
        self._max_weight = max_weight
        self._notes: OrderedDict[int, list[Note]] = OrderedDict()
        self._unsure_to: dict[int, int] = {}  # whose notes went, and up to which event
        self.weight = 0

    def of(self, serial: int) -> Sequence[Note]:
        """What is noted of a subscriber, oldest first."""
        return self._notes.get(serial, ())

    def unsure_to(self, serial: int) -> int:
        """The number of the last event of which its notes are gone."""
        return self._unsure_to.get(serial, 0)

    def add(self, serial: int, note: Note, last_sequence: int, forgotten_to: int) -> None:
        """Note it, unless its events, as all up to ``forgotten_to``, are forgotten; ``last_sequence`` is the last's."""
        if note.sequence <= forgotten_to:
            return
        notes = self._notes.get(serial)
        if notes is None:
            notes = self._notes[serial] = []
        notes.append(note)
        self.weight += _weight(note)
        if self.weight > self._max_weight:
            self._make_room(last_sequence, forgotten_to)

    def write_failed(self, serial: int) -> None:
        """What it took last from its queue could not be written."""
        notes = self._notes.get(serial)
        if notes and isinstance(notes[-1], Wrote):
            notes[-1] = Failed(*notes[-1])

    def forget(self, serial: int) -> None:
        """The subscriber is forgotten."""
        self.weight -= sum(map(_weight, self._notes.pop(serial, ())))
        self._unsure_to.pop(serial, None)

    def _make_room(self, last_sequence: int, forgotten_to: int) -> None:
        """First those of events that are forgotten go, then, subscriber by subscriber, as many as must."""
        for serial, notes in tuple(self._notes.items()):
            kept = [note for note in notes if note.sequence > forgotten_to]
            self.weight -= sum(map(_weight, notes)) - sum(map(_weight, kept))
            if kept:
                self._notes[serial] = kept
            else:
                del self._notes[serial]
        self._unsure_to = {serial: to for serial, to in self._unsure_to.items() if to > forgotten_to}
        while self.weight > self._max_weight * KEPT_SHARE:
            serial, notes = self._notes.popitem(last=False)
            self.weight -= sum(map(_weight, notes))
            self._unsure_to[serial] = last_sequence


def _weight(note: Note) -> int:
    if isinstance(note, Read) and not isinstance(note.sequences, range):
        return 1 + len(note.sequences) // EVENTS_A_NOTE
    return 1

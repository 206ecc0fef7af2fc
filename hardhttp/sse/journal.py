"""What a hub remembers, so that it can say why someone did or did not get an event.

Nothing is noted for an ordinary delivery. Of each event it is noted when it was published, for whom, and
when the fan-out had served the last one. Of a subscriber there is a note for each exception: an event
that its queue lost, a write of what had waited in its queue, a page it read from the history, a change of
its user or groups. Who has ended is remembered as it was at its end. All else follows: a subscriber is
served in order, so the number of the last event it was served says what became of those before.

Everything is bounded, and each bound has one outcome. Past ``events`` or ``bytes`` the oldest events are
forgotten, past ``subscribers`` or ``bytes`` those who ended first, and past ``exceptions`` notes, as
``hardhttp.sse.notes`` says. So what is still told is true.

The hub owns it. ``hardhttp.sse.explain`` draws the conclusions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from hardhttp.interfaces import HistoryPage, HistoryPlace
from hardhttp.sse.notes import Bound, Joined, Loss, Lost, Note, Notes, Read, Wrote

if TYPE_CHECKING:
    from hardhttp.sse.subscriber import Ended, Subscriber

__all__ = ["For", "Journal", "Portrait", "Published", "Remembered"]

MAX_DIGITS = 18


@attrs.frozen
class Remembered:
    """The bounds: events, ended subscribers, notes, and the characters of topics, names and selectors, which
    those of events and those of ended subscribers may have each."""

    events: int
    subscribers: int
    exceptions: int
    bytes: int


class For(StrEnum):
    """For whom an event was: whoever wants its topics (and may have them), a user, a group, everyone."""

    PUBLIC = "public"
    PRIVATE = "private"
    USER = "user"
    GROUP = "group"
    ALL = "all"


class Published:
    """An event. ``names`` are its topics, or the one user or group it is for.

    ``begun`` is how many subscriptions had been asked for before it, ``admitting`` which of them were being
    admitted just then. ``served_at`` is when the last one had been served, as far as is known; ``size`` are its
    bytes, as they are counted.
    """

    __slots__ = ("admitting", "audience", "begun", "id", "names", "published_at", "sequence", "served_at", "size")

    def __init__(
        self,
        sequence: int,
        id: str,
        audience: For,
        names: tuple[str, ...],
        published_at: float,
        begun: int,
        admitting: tuple[int, ...],
        size: int,
    ) -> None:
        self.sequence = sequence
        self.id = id
        self.audience = audience
        self.names = names
        self.published_at = published_at
        self.begun = begun
        self.admitting = admitting
        self.size = size
        self.served_at: float | None = None

    @property
    def directed(self) -> bool:
        """Whether it was for users or groups: no history has it."""
        return self.audience not in (For.PUBLIC, For.PRIVATE)


@attrs.frozen
class Portrait:
    """A subscriber as it is, or as it was at its end.

    ``sent`` is the number of the last event it was served, ``queued_from`` that of the first one in its queue,
    and ``read_to`` how far it has read the history while it does. ``last_sequence`` is the number of the last
    event that was published before its end.
    """

    serial: int
    id: str
    topics: tuple[str, ...]
    allowed: tuple[str, ...]
    user: str | None
    groups: frozenset[str]
    connected_at: float
    sent: int
    queued_from: int | None
    read_to: int | None
    ended_at: float | None = None
    ended: Ended | None = None
    last_sequence: int | None = None

    @property
    def held_bytes(self) -> int:
        return sum(map(len, (*self.topics, *self.allowed, *self.groups, self.user or "")))


class Journal:
    """``seconds`` tells the time; ``epoch`` is that of the hub's ids, ``last_sequence`` the last one given."""

    def __init__(self, seconds: Callable[[], float], epoch: str, last_sequence: int, bounds: Remembered) -> None:
        self._seconds = seconds
        self.epoch = epoch
        self.node = epoch  # what the ids of subscribers begin with
        self.bounds = bounds
        self._max_events, self._max_bytes = bounds.events, bounds.bytes
        self.last_sequence = last_sequence
        self._forgotten_to = last_sequence  # events up to this number are not remembered
        self.served_to = last_sequence  # events up to this number have been served to all they were for
        self._events: dict[int, Published] = {}
        self._own_ids: dict[str, int] = {}  # those that publishers gave
        self._event_bytes = 0
        self._begun = 0
        self._admitting: dict[int, int] = {}  # the number of the last event when it was asked for
        self._ended: OrderedDict[str, Portrait] = OrderedDict()  # who ended first comes first
        self._ended_bytes = 0
        self._notes = Notes(bounds.exceptions)

    # -- events -------------------------------------------------------------------------------

    def publish(self, sequence: int, id: str, audience: For, names: tuple[str, ...], now: float, own: bool) -> None:
        """An event begins its way; ``own`` is whether its publisher gave it its id."""
        admitting = tuple(self._admitting) if self._admitting else ()
        size = len(id) + (len(names[0]) if len(names) == 1 else sum(map(len, names)))
        self._events[sequence] = Published(sequence, id, audience, names, now, self._begun, admitting, size)
        self.last_sequence = sequence
        if own:
            self._own_ids[id] = sequence
        self._event_bytes += size
        while len(self._events) > self._max_events or (self._event_bytes > self._max_bytes and len(self._events) > 1):
            self._forget_event()

    def _forget_event(self) -> None:
        self._forgotten_to = next(iter(self._events))  # not every number was given to one
        event = self._events.pop(self._forgotten_to)
        self._event_bytes -= event.size
        if self._own_ids and self._own_ids.get(event.id) == event.sequence:
            del self._own_ids[event.id]

    def move(self, epoch: str, sequence: int) -> None:
        """Numbers go on after ``sequence``, in ``epoch``: those before it were never published here."""
        self.epoch = epoch
        if sequence > self.last_sequence:
            if self.served_to == self.last_sequence:
                self.served_to = sequence
            self.last_sequence = sequence
            if not self._events:
                self._forgotten_to = sequence

    def served(self, waiting: int | None) -> None:
        """The fan-out has served all, or all before the event of the number ``waiting``."""
        to = self.last_sequence if waiting is None else waiting - 1
        if to > self.served_to:
            now = self._seconds()
            served = range(max(self.served_to, self._forgotten_to) + 1, to + 1)
            for sequence in served if len(served) <= len(self._events) else tuple(self._events):
                if sequence in served and sequence in self._events:
                    self._events[sequence].served_at = now
            self.served_to = to

    def event(self, event_id: str) -> Published | None:
        """The event with this id, its publisher's or ours."""
        sequence = self.sequence_of(event_id)
        return None if sequence is None else self._events.get(sequence)

    def sequence_of(self, event_id: str) -> int | None:
        """The number of an event that was published here, which may be forgotten; else ``None``."""
        if event_id in self._own_ids:
            return self._own_ids[event_id]
        epoch, _, digits = event_id.rpartition("-")
        ours = epoch == self.epoch and digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
        return int(digits) if ours and 0 < int(digits) <= self.last_sequence else None

    # -- subscribers --------------------------------------------------------------------------

    def admit(self) -> int:
        """A subscription is asked for: its serial number, from 0 upwards."""
        serial = self._begun
        self._begun += 1
        self._admitting[serial] = self.last_sequence
        return serial

    @property
    def begun(self) -> int:
        """How many subscriptions have been asked for."""
        return self._begun

    def begin(self, serial: int) -> None:
        """It has been admitted."""
        self._admitting.pop(serial, None)

    def end(self, subscriber: Subscriber, reason: Ended) -> None:
        """A subscriber ends."""
        if self._admitting.pop(subscriber.serial, None) is not None:
            self._notes.forget(subscriber.serial)
            return  # it never began
        now = self._seconds()
        found = self.portrait(subscriber)
        found = attrs.evolve(found, ended_at=now, ended=reason, last_sequence=self.last_sequence)
        self._ended[found.id] = found
        self._ended_bytes += found.held_bytes
        bounds, ended = self.bounds, self._ended
        while len(ended) > bounds.subscribers or (self._ended_bytes > bounds.bytes and len(ended) > 1):
            _, oldest = ended.popitem(last=False)
            self._ended_bytes -= oldest.held_bytes
            self._notes.forget(oldest.serial)

    def portrait(self, subscriber: Subscriber) -> Portrait:
        """An open subscriber, as it is."""
        allowed = subscriber.allowed
        return Portrait(
            subscriber.serial,
            subscriber.id,
            subscriber.topics,
            () if allowed is None else allowed.strings,
            subscriber.user,
            subscriber.groups,
            subscriber.connected_at,
            subscriber.sent,
            subscriber.queued_from,
            self._read_to(subscriber),
        )

    def _read_to(self, subscriber: Subscriber) -> int | None:
        cursor = subscriber.cursor
        return None if cursor is None else self._place(cursor)

    def _place(self, cursor: str | HistoryPlace) -> int:
        """How far it is; an id that is not known is read from the oldest on, as ``earliest`` is."""
        return self.sequence_of(cursor) or 0 if isinstance(cursor, str) else max(cursor.sequence, 0)

    def serial_of(self, id: str) -> int | None:
        """The serial number in a subscriber's id; ``None`` when it is of no subscriber there has been."""
        epoch, _, digits = id.rpartition("-s")
        ours = epoch == self.node and digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
        return int(digits) if ours and int(digits) < self._begun else None

    def ended(self, id: str) -> Portrait | None:
        """One that has ended, as it was then, by its id."""
        return self._ended.get(id)

    # -- exceptions ---------------------------------------------------------------------------

    def lost(self, serial: int, sequence: int, loss: Loss) -> None:
        """Its queue gave up an event."""
        self._note(serial, Lost(sequence, loss, self._seconds()))

    def wrote(self, serial: int, first: int, last: int) -> None:
        """It took from its queue the events from ``first`` to ``last``."""
        self._note(serial, Wrote(last, first, self._seconds()))

    def failed(self, serial: int) -> None:
        """What it took last could not be written."""
        self._notes.write_failed(serial)

    def read(self, serial: int, cursor: str | HistoryPlace, page: HistoryPage) -> None:
        """It has been sent the page of the history that comes after ``cursor``."""
        # An id that the history does not know any more may well be known here: it was read from the oldest on.
        unknown = page.gap is not None and page.gap.reason == "unknown"
        after = 0 if unknown else self._place(cursor)
        to = page.place.sequence if page.more else self.last_sequence
        if to <= after:
            return
        sequences: Sequence[int] = [update.sequence for update in page.updates]
        if sequences and sequences[-1] - sequences[0] == len(sequences) - 1:
            sequences = range(sequences[0], sequences[-1] + 1)
        self._note(serial, Read(to, after, sequences, page.gap, self._seconds()))

    def bound(self, subscriber: Subscriber, user: str | None) -> None:
        """It is about to be ``user``'s."""
        if user != subscriber.user and self._matters(subscriber.serial):
            self._note(subscriber.serial, Bound(self.last_sequence, subscriber.user))

    def grouped(self, subscriber: Subscriber, group: str, joined: bool) -> None:
        """It is about to join or to leave a group."""
        if joined != (group in subscriber.groups) and self._matters(subscriber.serial):
            self._note(subscriber.serial, Joined(self.last_sequence, group, joined))

    def _matters(self, serial: int) -> bool:
        """Whether an event may have been published since it was there."""
        return self._admitting.get(serial) != self.last_sequence

    def notes(self, serial: int) -> Sequence[Note]:
        """What is noted of a subscriber, oldest first."""
        return self._notes.of(serial)

    def unsure_to(self, serial: int) -> int:
        """The number of the last event of which its notes are gone."""
        return self._notes.unsure_to(serial)

    def _note(self, serial: int, note: Note) -> None:
        self._notes.add(serial, note, self.last_sequence, self._forgotten_to)

"""Why someone did or did not get an event.

``explain`` takes an event, a subscriber and what the hub's journal remembers of both, and says what became of
the one at the other. The causes that would hold at any time come first: his selectors do not match, his claims
do not allow. Then whether he was there, then what was noted of him, and at last what follows from the order in
which all are served. It changes nothing, and tells no event's data and no token.

What is called sent has been written to the connection. Whether the client has read it nobody here can know.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any

import attrs

from hardhttp.interfaces import Gap
from hardhttp.sse.journal import For, Journal, Portrait, Published
from hardhttp.sse.notes import Bound, Failed, Joined, Loss, Lost, Read, Wrote
from hardhttp.sse.topics import Selectors

__all__ = ["Explanation", "Outcome", "Way", "explain"]

# Of a list, a sentence names so many, and of each so many characters.
NAMED = 3
NAME_CHARACTERS = 80


class Outcome(StrEnum):
    """What became of an event at a subscriber."""

    SENT = "sent"  # written to its connection
    WAITING = "waiting"  # it is still to come
    NOT_MATCHED = "not-matched"  # it did not ask for it
    NOT_AUTHORISED = "not-authorised"  # it is private, and its claims have no selector for it
    DROPPED = "dropped"  # it was for it, and was lost
    BEFORE = "before"  # it came later, and did not ask for what was before
    AFTER_END = "after-end"  # it had ended
    FORGOTTEN = "forgotten"  # both are known, and what became of them is not any more
    UNKNOWN_EVENT = "unknown-event"
    UNKNOWN_SUBSCRIBER = "unknown-subscriber"


class Way(StrEnum):
    """By which way an event comes, or came."""

    LIVE = "live"  # when it was published
    QUEUE = "queue"  # it waited in the subscriber's queue
    HISTORY = "history"


@attrs.frozen
class Explanation:
    """The verdict, and what it is drawn from. Times are seconds on the hub's clock, which are since the epoch.

    It happened between ``earliest`` and ``latest``, which are the same where it is known exactly, and ``None``
    where there is nothing to tell. ``way`` is of what was sent or waits, ``loss`` and ``reason`` (the end's, or
    the gap's that was told) of what was dropped. ``topics`` are the event's, ``selectors`` those that they were
    compared with. ``bound`` names the hub's argument that would have to be larger. ``sentence`` is for people.
    """

    event: str
    subscriber: str
    outcome: Outcome
    sentence: str
    published_at: float | None = None
    earliest: float | None = None
    latest: float | None = None
    way: Way | None = None
    loss: Loss | None = None
    reason: str | None = None
    topics: tuple[str, ...] = ()
    selectors: tuple[str, ...] = ()
    bound: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """What is known, for JSON."""
        found = attrs.asdict(self, recurse=False)
        return {name: value for name, value in found.items() if value is not None and value != ()}


def explain(
    journal: Journal, event_id: str, subscriber_id: str, subscriber: Portrait | None, kept: Callable[[str], bool]
) -> Explanation:
    """The verdict on the event ``event_id`` at ``subscriber`` (``None``: nobody knows it).

    ``kept`` tells whether the history has the event of an id.
    """
    event = journal.event(event_id)
    if event is None:
        return _unknown_event(journal, event_id, subscriber_id)
    if subscriber is None:
        return Explanation(
            event.id,
            subscriber_id[:NAME_CHARACTERS],
            Outcome.UNKNOWN_SUBSCRIBER,
            "No subscriber of this id is here, nor is one of those remembered that have ended"
            f" (the last {journal.bounds.subscribers}, max_explained_subscribers).",
            event.published_at,
            bound="max_explained_subscribers",
        )
    return _Case(journal, event, subscriber, kept).verdict()


def _unknown_event(journal: Journal, event_id: str, subscriber_id: str) -> Explanation:
    forgotten = journal.sequence_of(event_id) is not None
    what = "is no longer remembered" if forgotten else "was never published here, or is no longer remembered"
    return Explanation(
        event_id[:NAME_CHARACTERS],
        subscriber_id[:NAME_CHARACTERS],
        Outcome.UNKNOWN_EVENT,
        f"The event {what}: of the last {journal.bounds.events} (max_explained_events) what became is known,"
        " of fewer when their topics are long (max_explained_bytes).",
        bound="max_explained_events",
    )


class _Case:
    """One event, one subscriber. Each step says what it can, or ``None`` for the next one to say it."""

    def __init__(self, journal: Journal, event: Published, who: Portrait, kept: Callable[[str], bool]) -> None:
        self.epoch = journal.epoch
        self.event = event
        self.who = who
        self.kept = kept
        self.notes = journal.notes(who.serial)
        self.unsure = event.sequence <= journal.unsure_to(who.serial)
        self.was_there = event.begun > who.serial
        # Those who are being admitted have a user already, but no place among all, and read no topics.
        if who.serial in event.admitting and event.audience not in (For.USER, For.GROUP):
            self.was_there = False

    def verdict(self) -> Explanation:
        steps = self.not_for_it, self.after_end, self.forgotten, self.noted, self.not_there_yet, self.in_order
        return next(found for step in steps if (found := step()) is not None)

    # -- the steps ----------------------------------------------------------------------------

    def not_for_it(self) -> Explanation | None:
        event, who = self.event, self.who
        if event.directed:
            return self._not_directed()
        if not Selectors(who.topics).match(event.names):
            said = f"the subscriber asked for {_some(who.topics)}, and the event's topics are {_some(event.names)}"
            return self._say(Outcome.NOT_MATCHED, said, selectors=who.topics)
        if event.audience is For.PRIVATE and not Selectors(who.allowed).match(event.names):
            has = f"only private events of {_some(who.allowed)}" if who.allowed else "no private events"
            said = f"it is private, of the topics {_some(event.names)}, and the subscriber may have {has}"
            return self._say(Outcome.NOT_AUTHORISED, said, selectors=who.allowed)
        return None

    def _not_directed(self) -> Explanation | None:
        event = self.event
        if event.audience is For.ALL:
            return None
        if self.unsure:
            return self.forgotten()
        user, groups = self._people_then()
        its = tuple(sorted(groups)) if event.audience is For.GROUP else () if user is None else (user,)
        if event.names[0] in its:
            return None
        has = f"had then {_some(its)}" if its else "had none then"
        said = f"it was for the {event.audience} {_some(event.names)}, and the subscriber {has}"
        return self._say(Outcome.NOT_MATCHED, said, selectors=its)

    def _people_then(self) -> tuple[str | None, set[str]]:
        """Whose the subscriber was, and in which groups, when the event was published."""
        user, groups = self.who.user, set(self.who.groups)
        for note in reversed(self.notes):
            if note.sequence < self.event.sequence:
                continue
            if isinstance(note, Bound):
                user = note.before
            elif isinstance(note, Joined) and note.joined:
                groups.discard(note.group)
            elif isinstance(note, Joined):
                groups.add(note.group)
        return user, groups

    def after_end(self) -> Explanation | None:
        who = self.who
        if who.last_sequence is None or self.event.sequence <= who.last_sequence:
            return None
        said = f"the subscriber had ended {self._lapse(who.ended_at)} before ({who.ended})"
        return self._say(Outcome.AFTER_END, said, who.ended_at, who.ended_at, reason=str(who.ended))

    def forgotten(self) -> Explanation | None:
        if not self.unsure:
            return None
        said = "there were more exceptions than max_explained_exceptions, and what was noted of the subscriber is gone"
        return self._say(Outcome.FORGOTTEN, said, bound="max_explained_exceptions")

    def noted(self) -> Explanation | None:
        sequence = self.event.sequence
        for note in self.notes:
            if isinstance(note, Lost) and note.sequence == sequence:
                said = _LOST[note.loss]
                return self._say(Outcome.DROPPED, said, note.at, note.at, loss=note.loss)
            if isinstance(note, Read) and not self.event.directed and (found := self._read(note)) is not None:
                return found
        return None

    def _read(self, note: Read) -> Explanation | None:
        if self.event.sequence in note.sequences:
            said = f"the subscriber took it from the history, {self._lapse(note.at)} after it was published"
            return self._say(Outcome.SENT, said, note.at, note.at, way=Way.HISTORY)
        if not note.after < self.event.sequence <= note.sequence:
            return None
        gap, published_at = note.gap, self.event.published_at
        if gap is not None and self._within(gap):
            said = f"the history no longer had it when the subscriber read on, and a gap event said so ({gap.reason})"
            return self._say(Outcome.DROPPED, said, published_at, note.at, loss=Loss.HISTORY, reason=gap.reason)
        if not self.was_there:
            return self._gone_before()
        said = "the history no longer had it when the subscriber began to read"
        return self._say(Outcome.DROPPED, said, published_at, note.at, loss=Loss.HISTORY)

    def _gone_before(self) -> Explanation:
        said = "the subscriber came after it was published, and the history no longer has it"
        return self._say(Outcome.BEFORE, said)

    def _within(self, gap: Gap) -> bool:
        """Whether the event may be one of those the gap is about: ends of other epochs, or none, are open."""
        first, last = self._number(gap.first_lost), self._number(gap.last_lost)
        sequence = self.event.sequence
        return (first is None or first <= sequence) and (last is None or sequence <= last)

    def _number(self, event_id: str | None) -> int | None:
        epoch, _, digits = (event_id or "").rpartition("-")
        return int(digits) if epoch == self.epoch else None

    def not_there_yet(self) -> Explanation | None:
        event, who = self.event, self.who
        if not event.directed and who.read_to is not None and event.sequence > who.read_to:
            return self._to_be_read()
        if self.was_there:
            return None
        lapse = f"{max(0.0, who.connected_at - event.published_at):.3f} s"
        more = "no history has such events" if event.directed else "it had not asked for it, or the history had it not"
        return self._say(Outcome.BEFORE, f"the subscriber came {lapse} after it was published, and {more}")

    def _to_be_read(self) -> Explanation:
        if self.who.ended_at is not None:
            return self._ended("before it had read it from the history")
        if self.kept(f"{self.epoch}-{self.event.sequence}"):
            said = "the subscriber reads the history, and has not come so far yet"
            return self._say(Outcome.WAITING, said, way=Way.HISTORY)
        if not self.was_there:
            return self._gone_before()
        said = "the subscriber reads the history, which no longer has it; a gap event will say so"
        return self._say(Outcome.DROPPED, said, loss=Loss.HISTORY)

    def in_order(self) -> Explanation:
        """The subscriber was among those the event was for, and is served in order."""
        sequence, who = self.event.sequence, self.who
        is_open = who.ended_at is None
        if sequence > who.sent:
            if is_open:
                return self._say(Outcome.WAITING, "others are served first", way=Way.LIVE)
            return self._ended("before its turn came")
        if who.queued_from is not None and sequence >= who.queued_from:
            if is_open:
                said = "it is in the subscriber's queue, because what was sent before is not taken yet"
                return self._say(Outcome.WAITING, said, way=Way.QUEUE)
            return self._ended("while the event was in its queue")
        for note in self.notes:
            if isinstance(note, Failed) and note.first <= sequence <= note.sequence:
                return self._ended("while the event was written from its queue")
            if isinstance(note, Wrote) and note.first <= sequence <= note.sequence:
                said = f"after {self._lapse(note.at)} in the subscriber's queue it was written to its connection"
                return self._say(Outcome.SENT, said, note.at, note.at, way=Way.QUEUE)
        return self._sent_at_once()

    def _sent_at_once(self) -> Explanation:
        ends = [at for at in (self.event.served_at, self.who.ended_at) if at is not None]
        latest = min(ends) if ends else None
        within = "and others are still to be served" if latest is None else f"within {self._lapse(latest)}"
        said = f"it was written to the subscriber's connection when its turn came, {within}"
        return self._say(Outcome.SENT, said, self.event.published_at, latest, way=Way.LIVE)

    # -- saying it ----------------------------------------------------------------------------

    def _ended(self, when: str) -> Explanation:
        who = self.who
        said = f"the subscriber ended {when} ({who.ended})"
        return self._say(Outcome.DROPPED, said, who.ended_at, who.ended_at, loss=Loss.ENDED, reason=str(who.ended))

    def _say(
        self, outcome: Outcome, why: str, earliest: float | None = None, latest: float | None = None, **more: Any
    ) -> Explanation:
        event = self.event
        return Explanation(
            event.id,
            self.who.id,
            outcome,
            f"{_SAID[outcome]}: {why}.",
            event.published_at,
            earliest,
            latest,
            topics=() if event.directed else event.names,
            **more,
        )

    def _lapse(self, at: float | None) -> str:
        """How far ``at`` is from when the event was published."""
        return f"{abs((at or 0.0) - self.event.published_at):.3f} s"


_SAID = {
    Outcome.SENT: "The event was sent",
    Outcome.WAITING: "The event is on its way",
    Outcome.NOT_MATCHED: "The event was not for the subscriber",
    Outcome.NOT_AUTHORISED: "The subscriber may not have the event",
    Outcome.DROPPED: "The event was lost",
    Outcome.BEFORE: "The event was before the subscriber's time",
    Outcome.AFTER_END: "The event was after the subscriber's time",
    Outcome.FORGOTTEN: "What became of the event is not known any more",
}
_LOST = {
    Loss.OVERFLOW: "the subscriber's queue was full and the oldest went, as a gap event said",
    Loss.REPLACED: "a later event of the same key took its place in the subscriber's queue",
}


def _some(names: Collection[str]) -> str:
    """The first of them, for a sentence."""
    shown = ", ".join(repr(name[:NAME_CHARACTERS]) for name in tuple(names)[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"

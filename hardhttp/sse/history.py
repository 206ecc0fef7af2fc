"""What was published, kept in memory for those who come back.

An update is one object, whatever its topics: the log of all (``UpdateLog``) has it once, and the log of each
topic (``TopicLog``) refers to it. A topic loses its oldest alone, so what it has lost is told by one number. An
update that no topic holds any more leaves the log of all, and its publisher's id leaves the index.

Three orders are kept, and no search is made in any: updates by number, the topics by their last update (the
first to be forgotten is the one longest silent), and each topic's updates by number. Exact topics are read from
their own logs, merged; a function of topics is tried on the log of all, ``SCAN`` steps a page or ``SCAN_SECONDS``.

Every loss has a number too, from a counter. A reader's place remembers the counter, so he is told of each loss
that matters to him, and of none twice.

Nothing here starts a timer: the bounds are held when something is appended, and age also when something is read
and when ``expire`` is called. Old updates leave in slices; until they have left, a reader gets empty pages.
"""

from __future__ import annotations

import re
import secrets
import string
from collections import OrderedDict
from collections.abc import Collection, Iterator
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from hardhttp.interfaces import Gap, HistoryPage, HistoryPlace, IHistory, Kept, Lost, Wanted
from hardhttp.sse.historyindex import TopicLog, UpdateLog

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from hardhttp.sse.update import Update

__all__ = ["EARLIEST", "Epoch", "MemoryHistory", "new_epoch"]

EARLIEST = "earliest"
# Steps of one page through the log of all, and topics asked by one page whether they lost something; and for how
# long each, since what a function of topics costs is not known here.
SCAN = 2048
SCAN_SECONDS = 0.005
# What one append drops of what is too old: more than comes in, so that it catches up.
APPEND_SLICE = 16
READ_SLICE = 1000

_OUR_ID = re.compile(r"([a-z]{8})-(0|[1-9][0-9]{0,17})", re.ASCII)
_by_sequence = attrgetter("sequence")


def new_epoch() -> str:
    """Eight letters that no other start of a hub has had."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(8))


@attrs.frozen
class Epoch:
    """The numbers from ``first`` to ``last`` have ids that begin with ``name``; those after ``kept`` went with
    the process that had given them."""

    name: str
    first: int
    last: int
    kept: int


@implementer(IHistory)
class MemoryHistory:
    """Updates in memory; ``hardhttp.interfaces.IHistory`` says what is promised.

    Of each topic at most ``max_topic_updates`` and ``max_topic_bytes`` are kept; of all together ``max_bytes``
    and ``max_topics``; nothing for longer than ``max_age_seconds`` (``None``: no bound). Bytes are those of
    the events and ``OVERHEAD_BYTES`` for each. ``clock`` tells the age. Raises ``ValueError`` for a bound that
    is not positive.
    """

    degraded: str | None = None

    def __init__(
        self,
        clock: IReactorTime,
        *,
        max_topic_updates: int = 1000,
        max_topic_bytes: int = 4 << 20,
        max_age_seconds: float | None = 3600.0,
        max_bytes: int = 64 << 20,
        max_topics: int = 10_000,
    ) -> None:
        for name, bound in (
            ("max_topic_updates", max_topic_updates),
            ("max_topic_bytes", max_topic_bytes),
            ("max_age_seconds", 1 if max_age_seconds is None else max_age_seconds),
            ("max_bytes", max_bytes),
            ("max_topics", max_topics),
        ):
            if not bound > 0:
                raise ValueError(f"{name} is {bound!r}; it must be more than 0")
        self._clock = clock
        self._max_topic_updates, self._max_topic_bytes = max_topic_updates, max_topic_bytes
        self._max_age_seconds, self._max_bytes, self._max_topics = max_age_seconds, max_bytes, max_topics
        self.epoch = new_epoch()
        self.last_sequence = 0
        self.last_id = f"{self.epoch}-0"
        self._first_sequence = 1  # of this epoch
        self._past: list[Epoch] = []  # oldest first
        self._all = UpdateLog()
        self._held_bytes = 0
        self._topics: OrderedDict[str, TopicLog] = OrderedDict()  # the longest silent first
        self._by_id: dict[str, int] = {}  # publishers' own ids
        self._losses = 0
        # What topics have lost that are forgotten themselves: the highest number, why, and when.
        self._forgotten_to, self._forgotten_at = 0, 0
        self._forgotten_why: Lost = "evicted"

    # -- appending ----------------------------------------------------------------------------

    def append(self, update: Update) -> None:
        if update.sequence <= self.last_sequence:
            raise ValueError(f"the update's number is {update.sequence}; after {self.last_sequence} comes a higher one")
        self.last_sequence, self.last_id = update.sequence, update.id
        logs = [self._topic(name) for name in dict.fromkeys(update.topics)]
        self._insert(update, logs)
        self._appended(update)
        self._hold_bounds(logs)
        self.expire(APPEND_SLICE)

    def _hold_bounds(self, logs: Collection[TopicLog]) -> None:
        for log in logs:
            while len(log) > self._max_topic_updates or log.held_bytes > self._max_topic_bytes:
                self._drop_oldest(log, "evicted")
        while len(self._topics) > self._max_topics:
            self._forget()
        while self._held_bytes > self._max_bytes:
            self._drop_everywhere(self._oldest(), "evicted")

    def _topic(self, name: str) -> TopicLog:
        """The topic, as the one that was last heard of."""
        log = self._topics.get(name)
        if log is None:
            # It may have been here before and lost as much as any that was forgotten.
            log = TopicLog(name, self._forgotten_to, self._forgotten_why, self._forgotten_at)
            self._topics[name] = log
            self._marked(name, log)
        else:
            self._topics.move_to_end(name)
        return log

    def _insert(self, update: Update, logs: Collection[TopicLog]) -> None:
        self._all.append(update)
        self._held_bytes += update.held_bytes
        for log in logs:
            log.append(update)
        if update.id != f"{self.epoch}-{update.sequence}":
            self._by_id[update.id] = update.sequence  # of two with one id, the later one

    # -- dropping -----------------------------------------------------------------------------

    def expire(self, most: int = READ_SLICE) -> bool:
        if self._max_age_seconds is None:
            return False
        horizon = self._clock.seconds() - self._max_age_seconds
        for _ in range(most):
            oldest = self._all.oldest()
            if oldest is None or oldest.published_at > horizon:
                return False
            self._drop_everywhere(oldest, "expired")
        return True

    def _oldest(self) -> Update:
        oldest = self._all.oldest()
        assert oldest is not None  # only asked while bytes are held
        return oldest

    def _drop_everywhere(self, oldest: Update, why: Lost) -> None:
        """The oldest of all is the oldest of each topic that holds it."""
        for name in dict.fromkeys(oldest.topics):
            if self._holds(name, oldest.sequence):
                self._drop_oldest(self._topics[name], why)

    def _drop_oldest(self, log: TopicLog, why: Lost) -> None:
        update = log.pop_oldest()
        self._losses += 1
        log.lost_to, log.lost_why, log.lost_at = update.sequence, why, self._losses
        self._marked(log.name, log)
        if any(self._holds(name, update.sequence) for name in update.topics):
            return
        self._all.remove(update.sequence)
        self._held_bytes -= update.held_bytes
        if self._by_id.get(update.id) == update.sequence:
            del self._by_id[update.id]
        self._dropped(update)

    def _forget(self) -> None:
        """Give up the topic that has been silent longest, and all it holds."""
        log = next(iter(self._topics.values()))
        while len(log):
            self._drop_oldest(log, "evicted")
        del self._topics[log.name]
        if log.lost_to > self._forgotten_to:
            self._forgotten_to, self._forgotten_why = log.lost_to, log.lost_why
        self._losses += 1
        self._forgotten_at = self._losses
        self._marked(log.name, None)

    def _holds(self, name: str, sequence: int) -> bool:
        """Whether the topic has still the update, which it once had."""
        log = self._topics.get(name)
        return log is not None and sequence > log.lost_to

    # -- for those who keep it elsewhere too --------------------------------------------------

    def _appended(self, update: Update) -> None:
        """An update has come."""

    def _dropped(self, update: Update) -> None:
        """No topic holds the update any more."""

    def _marked(self, name: str, log: TopicLog | None) -> None:
        """A topic is new, or has lost something; or is forgotten (``None``)."""

    # -- reading ------------------------------------------------------------------------------

    def after(self, last: str | HistoryPlace, wanted: Wanted, limit: int) -> HistoryPage:
        if limit < 1:
            raise ValueError(f"limit is {limit!r}; it must be at least 1")
        found, gap = True, None
        if isinstance(last, str):
            found, gap, place = self._find(last)
        else:
            place = last
        if self.expire(READ_SLICE):
            return HistoryPage((), found, gap, place, True)
        if place.sequence < 0:  # from the oldest: what was lost before now was not asked for
            place = self.earliest()
        gap = gap or self._gap(place, wanted)
        updates, reached = (
            self._scan(place.sequence, wanted, limit)
            if callable(wanted)
            else self._merge(place.sequence, wanted, limit)
        )
        return HistoryPage(
            tuple(updates), found, gap, HistoryPlace(reached, self._losses), reached < self.last_sequence
        )

    def earliest(self) -> HistoryPlace:
        return HistoryPlace(0, self._losses)

    def _find(self, last: str) -> tuple[bool, Gap | None, HistoryPlace]:
        """Whether the id is known; what to say when it is not; its place."""
        start = HistoryPlace(-1, 0)
        if last == EARLIEST:
            return True, None, start
        sequence = self._by_id.get(last)
        if sequence is not None:
            return True, None, HistoryPlace(sequence, -1)
        ours = _OUR_ID.fullmatch(last)
        if ours is None:
            return False, Gap(None, None, "unknown"), start
        name, sequence = ours[1], int(ours[2])
        for epoch in (*self._past, Epoch(self.epoch, self._first_sequence, self.last_sequence, self.last_sequence)):
            if epoch.name == name:
                if epoch.first - 1 <= sequence <= epoch.last:
                    return True, None, HistoryPlace(sequence, -1)
                return False, Gap(None, None, "unknown"), start  # we have never given it
        return False, Gap(f"{name}-{sequence + 1}", None, "restart"), start

    def _gap(self, place: HistoryPlace, wanted: Wanted) -> Gap | None:
        """What the reader's topics have lost after his place since he was last told."""
        lost_to: int = 0
        why: Lost = "evicted"
        unknown = False  # whether one of his topics may have been forgotten
        if not callable(wanted):
            for name in wanted:
                log = self._topics.get(name)
                if log is None:
                    unknown = True
                elif log.lost_at > place.losses and log.lost_to > max(place.sequence, lost_to):
                    lost_to, why = log.lost_to, log.lost_why
        elif place.losses < self._losses:
            unknown = True
            asked, until = 0, self._clock.seconds() + SCAN_SECONDS
            for name, log in self._topics.items():
                if log.lost_at > place.losses and log.lost_to > max(place.sequence, lost_to):
                    asked += 1
                    # Past so many, or so long, it is taken to be his.
                    if asked > SCAN or self._clock.seconds() > until or wanted(name):
                        lost_to, why = log.lost_to, log.lost_why
        if unknown and self._forgotten_at > place.losses and self._forgotten_to > max(place.sequence, lost_to):
            lost_to, why = self._forgotten_to, self._forgotten_why
        first = place.sequence + 1
        for epoch in self._past if place.losses < 0 else ():  # a restart is told to those who bring an id
            if max(epoch.kept, place.sequence, lost_to) < epoch.last:
                first = first if lost_to else max(first, epoch.kept + 1)
                lost_to, why = epoch.last, "restart"
        return Gap(self._our_id(first), self._our_id(lost_to), why) if lost_to else None

    def _our_id(self, sequence: int) -> str:
        for epoch in self._past:
            if sequence <= epoch.last:
                return f"{epoch.name}-{sequence}"
        return f"{self.epoch}-{sequence}"

    def _merge(self, sequence: int, wanted: Collection[str], limit: int) -> tuple[list[Update], int]:
        """The updates of exact topics, and how far they reach."""
        logs = [self._topics[name].after(sequence) for name in set(wanted) if name in self._topics]
        found: Iterator[Update] = logs[0] if len(logs) == 1 else merge(*logs, key=_by_sequence)
        updates: list[Update] = []
        for update in found:
            if updates and updates[-1] is update:
                continue  # of two of its topics
            if len(updates) == limit:
                return updates, updates[-1].sequence
            updates.append(update)
        return updates, self.last_sequence

    def _scan(self, sequence: int, wanted: Wanted, limit: int) -> tuple[list[Update], int]:
        """The updates that have a topic which is wanted and still holds them, and how far they reach."""
        assert callable(wanted)
        updates: list[Update] = []
        until = self._clock.seconds() + SCAN_SECONDS
        for steps, (reached, update) in enumerate(self._all.after(sequence), 1):
            if update is not None and any(self._holds(name, reached) and wanted(name) for name in update.topics):
                updates.append(update)
            if len(updates) == limit or steps == SCAN or self._clock.seconds() > until:
                return updates, reached
        return updates, self.last_sequence

    def get(self, event_id: str) -> Update | None:
        found, _, place = self._find(event_id)
        return self._all.get(place.sequence) if found and event_id != EARLIEST else None

    def bounds(self) -> Kept:
        oldest, newest = self._all.oldest(), self._all.newest()
        return Kept(
            None if oldest is None else oldest.id,
            None if newest is None else newest.id,
            len(self._all),
            len(self._topics),
            self._held_bytes,
        )

    # -- the end ------------------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """What is kept, as the bounds count it."""
        return self._held_bytes

    def shed(self, size: int) -> None:
        """Give up the oldest, ``size`` bytes of it: memory is short."""
        until = max(0, self._held_bytes - size)
        while self._held_bytes > until:
            self._drop_everywhere(self._oldest(), "evicted")

    def flush(self) -> Deferred[None]:
        return succeed(None)

    def hand_over(self) -> Deferred[None]:
        """Let another process have what is on a disk, while readers are served here on; fires when it may."""
        return succeed(None)

    def take_back(self) -> None:
        """That process has not come about."""

    def close(self) -> Deferred[None]:
        return succeed(None)

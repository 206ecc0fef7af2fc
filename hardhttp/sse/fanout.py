"""From one event to its many subscribers, a slice of time after another.

An event, or several published together for the same subscribers, is a *batch*: joined once, framed once,
written to each of its subscribers in turn. Whoever takes what comes gets it with one write; whoever
waits for its transport, or for its history, is offered each event of the batch, and decides by its own
bounds. No slice is longer than a few milliseconds (P7), so that other connections are served in between.
Live events go first; heartbeats, ends of lifetimes and replays take what is left, but every slice has room for
some of them, and for one page of a replay.

Batches are served one after another, each to its end: so each subscriber gets its events in order. What
waits here is bounded, in bytes and in those it waits for: a publisher that is ahead by more than that does the
work itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from hardhttp.sse.coding import joined
from hardhttp.wire.response import chunk

if TYPE_CHECKING:
    from hardhttp.sse.queue import Entry
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["FanOut"]

# How long a slice holds the reactor, and after how many subscribers it looks at the clock.
SLICE_SECONDS = 0.002
LOOK_EVERY = 32
# One write to one subscriber is no longer than this, unless one event is.
MAX_BATCH_BYTES = 128 * 1024
# Of the sets of subscribers that batches wait for, each counted once: some 100 MB.
MAX_WAITING_MEMBERS = 2_000_000


class _Batch:
    """Events that go out together. ``rest`` are the members not served yet, once serving has begun."""

    __slots__ = ("data", "entries", "first", "framed", "last", "members", "rest", "size")

    def __init__(self, members: frozenset[Subscriber], entry: Entry) -> None:
        self.members = members
        self.entries = [entry]
        self.first = self.last = entry.sequence
        self.size = len(entry.encoded)
        self.rest: Iterator[Subscriber] | None = None
        self.data = self.framed = b""

    def begin(self) -> Iterator[Subscriber]:
        entries = self.entries
        self.data = joined([entry.encoded for entry in entries])
        self.framed = chunk(self.data)
        self.rest = iter(self.members)
        return self.rest

    def hand(self, subscriber: Subscriber) -> None:
        """To one before its turn. Nothing may join the batch from then on: it would miss that."""
        if self.rest is None:
            self.begin()
        if not subscriber.flowing:
            self.offer(subscriber)
            return
        before, subscriber.sent = subscriber.sent, self.last
        try:
            subscriber.take(self.data, self.framed)
        except BaseException:
            subscriber.sent = before
            raise
        for entry in self.entries:
            entry.receipt.write()

    def offer(self, subscriber: Subscriber) -> None:
        """To one that does not simply take it."""
        subscriber.sent = self.last
        for entry in self.entries:
            subscriber.offer(entry)


class FanOut:
    """``failed`` is called with a subscriber, while what was raised in serving it is being handled; ``close``
    with one that is to be closed; ``served`` after each slice."""

    def __init__(
        self,
        clock: IReactorTime,
        failed: Callable[[Subscriber], None],
        close: Callable[[Subscriber], None],
        served: Callable[[], None],
        max_waiting_bytes: int,
    ) -> None:
        self._clock = clock
        self._failed = failed
        self._close = close
        self._served = served
        self._max_bytes = max_waiting_bytes
        self._batches: deque[_Batch] = deque()
        self._due: deque[Subscriber] = deque()
        self._closing: deque[Subscriber] = deque()
        self._replays: deque[Subscriber] = deque()
        self._turn: IDelayedCall | None = None
        self._serving = False  # whoever publishes within waits for the next slice
        self.waiting_bytes = 0
        self._waiting_members = 0
        self._holds: dict[int, int] = {}  # of how many batches a set of members is, by its identity
        self._passed_bytes = 0  # went past their connections, and are not counted by the server yet

    def publish(self, entry: Entry, members: frozenset[Subscriber]) -> None:
        """Bring ``entry`` to ``members``; some of them are served before this returns."""
        size = len(entry.encoded)
        last = self._batches[-1] if self._batches else None
        if (
            last is not None
            and last.rest is None
            and last.members is members
            and last.entries[0].directed == entry.directed
            and last.size + size <= MAX_BATCH_BYTES
        ):
            last.entries.append(entry)
            last.last = entry.sequence
            last.size += size
        else:
            self._batches.append(_Batch(members, entry))
            self._hold(members)
        self.waiting_bytes += size
        if self._serving:
            return
        while self._batches and (self.waiting_bytes > self._max_bytes or self._waiting_members > MAX_WAITING_MEMBERS):
            self._serve_first(None)
        if self._turn is None:
            self._slice()

    def _hold(self, members: frozenset[Subscriber]) -> None:
        """A batch waits for ``members``; many batches may wait for the same."""
        count = self._holds.get(id(members), 0)
        self._holds[id(members)] = count + 1
        if not count:
            self._waiting_members += len(members)

    def _let_go(self, members: frozenset[Subscriber]) -> None:
        count = self._holds.pop(id(members)) - 1
        if count:
            self._holds[id(members)] = count
        else:
            self._waiting_members -= len(members)

    @property
    def first_waiting(self) -> int | None:
        """The number of the first event that has not been brought to all it is for."""
        return self._batches[0].first if self._batches else None

    def beat(self, due: list[Subscriber]) -> None:
        """These are due for what they do from time to time."""
        self._due += due
        self._soon()

    def close(self, subscribers: Iterable[Subscriber]) -> None:
        """Each is to be closed, when it has what is on its way to it."""
        self._closing += subscribers
        self._soon()

    def replay(self, subscriber: Subscriber) -> None:
        """It takes from the history, page by page."""
        self._replays.append(subscriber)
        self._soon()

    def catch_up(self, subscriber: Subscriber) -> None:
        """Hand it now what is on its way to it."""
        for batch in tuple(self._batches):  # its end may be told to someone who publishes
            if subscriber.sent < batch.first and subscriber in batch.members:
                batch.hand(subscriber)

    @property
    def is_reading(self) -> bool:
        """Whether someone whose transport has room takes from the history."""
        return bool(self._replays)

    def finish(self) -> None:
        """Bring all that is on its way to all it is for."""
        while self._batches:
            self._serve_first(None)

    def take_passed(self) -> int:
        """Bytes that went past their connections since this was last asked."""
        passed, self._passed_bytes = self._passed_bytes, 0
        return passed

    def forget(self) -> None:
        """Nobody is left."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._due.clear()
        self._closing.clear()
        self._replays.clear()
        batches, self._batches = self._batches, deque()
        self._holds.clear()
        self.waiting_bytes = self._waiting_members = 0
        for batch in batches:
            for entry in batch.entries:
                entry.receipt.drop(entry.receipt.waiting)

    # -- slices -------------------------------------------------------------------------------

    def _soon(self) -> None:
        if self._turn is None and not self._serving:
            self._turn = self._clock.callLater(0, self._slice)

    def _slice(self) -> None:
        self._turn = None
        until = self._clock.seconds() + SLICE_SECONDS
        while self._batches or self._due or self._closing:
            if self._batches:
                self._serve_first(LOOK_EVERY)
            else:
                self._each(self._due or self._closing, LOOK_EVERY)
            if self._clock.seconds() >= until:
                break
        if self._due:  # however much is published: the end of somebody's token may be among them
            self._each(self._due, LOOK_EVERY)
        while self._replays:
            self._each(self._replays, 1)
            if self._clock.seconds() >= until:
                break
        if self._batches or self._due or self._closing or self._replays:
            self._soon()
        self._served()

    def _serve_first(self, count: int | None) -> None:
        """Serve ``count`` subscribers of the first batch; it is over when there are fewer."""
        batch = self._batches[0]
        rest = batch.rest or batch.begin()
        data, framed, first, last = batch.data, batch.framed, batch.first, batch.last
        turn = list(islice(rest, count))
        written, passed = len(turn), 0
        self._serving = True
        for subscriber in turn:
            if subscriber.sent >= first:
                written -= 1
                continue  # it has caught up
            try:
                if subscriber.flowing:
                    subscriber.sent = last
                    passed += subscriber.take(data, framed)
                    continue
                batch.offer(subscriber)
            except Exception:
                subscriber.sent = first - 1
                self._failed(subscriber)
            written -= 1
        self._serving = False
        self._passed_bytes += passed
        if written:
            for entry in batch.entries:
                entry.receipt.write(written)
        if (count is None or len(turn) < count) and self._batches and self._batches[0] is batch:
            self._batches.popleft()
            self._let_go(batch.members)
            self.waiting_bytes -= batch.size

    def _each(self, waiting: deque[Subscriber], count: int) -> None:
        """Serve ``count`` of those that wait; whoever has more to do goes to the end."""
        self._serving = True
        for _ in range(min(count, len(waiting))):
            if not waiting:
                break
            subscriber = waiting.popleft()
            try:
                if waiting is self._due:
                    subscriber.due(self._clock.seconds())
                elif waiting is self._closing:
                    self._close(subscriber)
                elif subscriber.replay_page():
                    waiting.append(subscriber)
            except Exception:
                self._failed(subscriber)
        self._serving = False

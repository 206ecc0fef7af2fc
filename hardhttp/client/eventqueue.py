"""Events on their way to the one who reads them.

There is one reader: a coroutine that asks for the next event, or a function that is given each. What comes faster than
it reads waits here, bounded in events and in their text; then there is no ``room``, and whoever brings events stops
until ``wake`` says that half of it is free again. An event that is larger than the bound waits alone.

The end comes behind the last event: what has come is read before it. ``clear`` forgets what has come. The queue knows
whom to wake only while there is one, so that it and its source are no circle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from hardhttp.client.eventanswer import Ending
from hardhttp.client.gap import Gap
from hardhttp.wire.eventstream import Event

__all__ = ["EventQueue"]

log = Logger()


class EventQueue:
    """``wake``, where it is not None, is called when there is room again, after there was none."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self.wake: Callable[[], None] | None = None
        self._waiting: deque[Event | Gap] = deque()
        self.waiting_bytes = 0
        self._full = False
        self._ending: Ending | None = None
        self._on_end: list[Deferred[Ending]] = []
        self._asked: Deferred[Event | Gap | None] | None = None
        self._receive: Callable[[Event | Gap], None] | None = None
        self._paused = False
        self._giving = False

    def __len__(self) -> int:
        return len(self._waiting)

    # -- those who bring ------------------------------------------------------------------------

    def room(self) -> int:
        """How many more events may come now; after a 0, ``wake`` tells when to ask again."""
        if len(self._waiting) >= self._max_events or (self._waiting and self.waiting_bytes >= self._max_bytes):
            self._full = True
        elif self._paused and self._receive is not None:
            self._full = True  # nothing is fetched ahead for one who says that he is busy
        return 0 if self._full else self._max_events - len(self._waiting)

    def put(self, events: Iterable[Event | Gap]) -> None:
        for event in events:
            self._waiting.append(event)
            self.waiting_bytes += _size(event)
        self._give()

    def end(self, ending: Ending) -> None:
        """No more will come. The first ending counts."""
        if self._ending is None:
            self._ending = ending
        self.wake = None
        self._give()

    def clear(self, ending: Ending) -> None:
        """Forget what has come, and the reader."""
        self._waiting.clear()
        self.waiting_bytes = 0
        self.end(ending)

    # -- the reader -----------------------------------------------------------------------------

    def next(self) -> Deferred[Event | Gap | None]:
        """The next event, or None when there is none any more. Raises ``RuntimeError`` for a second reader."""
        if self._asked is not None or self._receive is not None:
            raise RuntimeError("the events of a source have one reader")
        if self._waiting:
            event = self._take()
            self._settle()
            return succeed(event)
        if self._ending is not None:
            return succeed(None)
        self._asked = Deferred(self._not_asked)
        return self._asked

    def give_to(self, receive: Callable[[Event | Gap], None]) -> None:
        """Call ``receive`` with each event; raises ``RuntimeError`` for a second reader."""
        if self._asked is not None or self._receive is not None:
            raise RuntimeError("the events of a source have one reader")
        self._receive = receive
        self._give()

    def when_ended(self) -> Deferred[Ending]:
        """Fires when it has ended and all is read."""
        if self._ending is not None and not self._waiting:
            return succeed(self._ending)
        waiting: Deferred[Ending] = Deferred(self._on_end.remove)
        self._on_end.append(waiting)
        return waiting

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._give()
        self._make_room()

    def _not_asked(self, asked: Deferred[Event | Gap | None]) -> None:
        self._asked = None

    def _give(self) -> None:
        if self._asked is not None and (self._waiting or self._ending is not None):
            asked, self._asked = self._asked, None
            asked.callback(self._take() if self._waiting else None)
        if self._giving:
            return
        self._giving = True
        try:
            while self._receive is not None and self._waiting and not self._paused:
                self._give_one(self._receive)
        finally:
            self._giving = False
        self._settle()

    def _settle(self) -> None:
        if self._ending is None or self._waiting:
            return
        self._receive = None
        while self._on_end:
            self._on_end.pop(0).callback(self._ending)

    def _give_one(self, receive: Callable[[Event | Gap], None]) -> None:
        event = self._take()
        try:
            receive(event)
        except Exception:
            log.failure("who receives events failed with one; the next come all the same")

    def _take(self) -> Event | Gap:
        event = self._waiting.popleft()
        self.waiting_bytes -= _size(event)
        self._make_room()
        return event

    def _make_room(self) -> None:
        if not self._full:
            return
        if len(self._waiting) * 2 <= self._max_events and self.waiting_bytes * 2 <= self._max_bytes:
            self._full = False
            if self.wake is not None:
                self.wake()


def _size(event: Event | Gap) -> int:
    return len(event.data) + len(event.type) + len(event.id) if isinstance(event, Event) else len(event.id)

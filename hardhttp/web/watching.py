"""Who wants to know how a response goes on: by Deferreds, or by a watcher.

A Deferred, its callbacks and the list it waits in are some 250 bytes, and a stream of events asks for two. A
watcher is asked and told by name, and stands in the place where those Deferreds would.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

__all__ = ["ResponseWatcher", "Watched"]


class ResponseWatcher:
    """Told by the request that it watches. None of its methods may fail."""

    __slots__ = ()

    def count_past(self) -> None:
        """The response ends: what was sent past the request is to be counted now."""

    def drained(self) -> None:
        """The server wants to stop: say so, and end."""

    def ended(self, reason: object) -> None:
        """The response has ended: written whole (``None``), or nobody waits for it any more (a ``Failure``)."""

    # As a Deferred is told.

    def callback(self, _: None) -> None:
        self.ended(None)

    def errback(self, reason: object) -> None:
        self.ended(reason)


class Watched:
    """The part of a request that they ask."""

    site: Any
    finished: Any
    notifications: Any
    _end: Failure | None
    _drain_calls: list[Deferred[None]] | None = None

    def notifyFinish(self) -> Deferred[None]:
        """Fires with ``None`` when the response has been written whole, with a failure when nobody
        waits for it any more; at once, when that has happened already."""
        if self.finished:
            return succeed(None)
        if self._end is not None:
            return fail(self._end)
        waiting: Deferred[None] = Deferred()
        if self.notifications is None:
            self.notifications = []
        self.notifications.append(waiting)
        return waiting

    def notifyDrain(self) -> Deferred[None]:
        """Fires when the server wants to stop: a stream should say so and end; soon, when it wants to already."""
        waiting: Deferred[None] = Deferred()
        if self._drain_calls is None:
            self._drain_calls = []
        self._drain_calls.append(waiting)
        self._drain_late()
        return waiting

    def watch(self, watcher: ResponseWatcher) -> None:
        """As ``notifyFinish`` and ``notifyDrain`` together, for those of whom there are thousands."""
        if self.finished or self._end is not None:
            watcher.ended(self._end)
            return
        if self.notifications is None:
            self.notifications = [watcher]
        else:
            self.notifications.append(watcher)
        self._drain_late()

    def _drain_late(self) -> None:
        """A request may begin while the server drains, and its stream is to end too, once it has begun."""
        server = self.site.server
        if server.draining:
            server.clock.callLater(0, server.guard, self.drain)

    def drain(self) -> None:
        """The server wants to stop."""
        calls, self._drain_calls = self._drain_calls, None
        for waiting in calls or ():
            waiting.callback(None)
        for watcher in self._watchers():
            watcher.drained()

    def _watchers(self) -> list[ResponseWatcher]:
        return [each for each in self.notifications or () if isinstance(each, ResponseWatcher)]

"""Who wants to know how a response goes on, without a Deferred for each question.

A Deferred, its callbacks and the list it waits in are some 250 bytes, and a stream of events asks for two. A
watcher is asked and told by name, and stands in the place where those Deferreds would.
"""

from __future__ import annotations

__all__ = ["ResponseWatcher"]


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

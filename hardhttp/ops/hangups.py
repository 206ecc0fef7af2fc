"""SIGHUP's meaning, passed on to workers in turn: the next is told when the one before is done.

So there is never a moment in which all of them read files. One that does not say that it is done is not waited for
longer than ``HANG_UP_SECONDS``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from hardhttp.ops.worker import Worker

__all__ = ["HANG_UP_SECONDS", "HangUps"]

HANG_UP_SECONDS = 5.0


class HangUps:
    """The first in the queue has been told."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queue: deque[Worker] = deque()
        self._deadline: IDelayedCall | None = None

    def ask(self, workers: Iterable[Worker]) -> None:
        """Each of ``workers`` is to do it, unless it waits for its turn already."""
        told, waiting = [*self._queue][:1], [*self._queue][1:]
        # The first may have read what was there before: it is told once more.
        self._queue.extend(each for each in workers if each not in waiting)
        if not told:
            self._tell_first()

    def done(self, worker: Worker) -> None:
        if self._queue and self._queue[0] is worker:
            self._next()

    def gone(self, worker: Worker) -> None:
        """There is no such worker any more."""
        first = [*self._queue][:1]
        self._queue = deque(each for each in self._queue if each is not worker)
        if first == [worker]:
            self._tell_first()

    def stop(self) -> None:
        self._queue.clear()
        self._tell_first()

    def _next(self) -> None:
        if self._queue:
            self._queue.popleft()
        self._tell_first()

    def _tell_first(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        if self._queue:
            self._deadline = self._clock.callLater(HANG_UP_SECONDS, self._next)
            self._queue[0].say("hang-up")

"""A clock that other threads can call back into, for tests without a reactor."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock


class ThreadClock(Clock):
    """Time stands still; ``wait`` runs what threads ask for until a Deferred has fired."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Any] = SimpleQueue()

    def callFromThread(self, call: Any, *args: Any, **kwargs: Any) -> None:
        self._calls.put((call, args, kwargs))

    def wait(self, until: Deferred[Any]) -> Any:
        answers: list[Any] = []
        until.addBoth(answers.append)
        while not answers:
            call, args, kwargs = self._calls.get(timeout=30)
            call(*args, **kwargs)
        if hasattr(answers[0], "raiseException"):
            answers[0].raiseException()
        return answers[0]

"""A worker, as its parent knows it: its number, its process, its state, and what became of those before it."""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall

from hardhttp.ops.workerstates import State

__all__ = ["Ended", "Process", "Worker"]


class Process(Protocol):
    """What is asked of a process. Neither raises when it has ended."""

    @property
    def pid(self) -> int | None: ...

    def signal(self, number: int) -> None: ...

    def say(self, line: str) -> None: ...


@attrs.define(eq=False)
class Worker:
    """A worker process. ``why`` is why it had to go, ``unanswered`` how many pings it has not answered."""

    number: int
    serial: int
    born: float
    process: Process | None = None
    state: State = State.STARTING
    ready_at: float | None = None
    rss_bytes: int | None = None
    unanswered: int = 0
    why: str = ""
    large_at_once: bool = False
    deadline: IDelayedCall | None = None

    @property
    def pid(self) -> int | None:
        return None if self.process is None else self.process.pid

    def say(self, line: str) -> None:
        if self.process is not None:
            self.process.say(line)


@attrs.frozen
class Ended:
    """A worker that was: ``cause`` is one of ``Workers.ends``, ``how`` what the system said."""

    number: int
    cause: str
    how: str
    at: float

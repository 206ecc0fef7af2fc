"""Whether the server lives, and whether it should be sent requests.

It is *alive* when it can say so. It is *ready* unless it drains, or its reactor was held for seconds a moment
ago, or its hub's broker is away, or the keys that verify tokens are not there, or a store does not answer. A store
is asked by a call that changes nothing, with a bound on the wait; who asks meanwhile shares the answer, which is good
for a second, so that checks cost a store one call a second at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from hardhttp.interfaces import BrokerState
from hardhttp.ops.sources import Sources

__all__ = ["Health", "Verdict"]

STORE_SECONDS = 2.0
ANSWER_SECONDS = 1.0
# A reactor that was held so long within the last so many seconds is stuck.
STUCK_SECONDS = 2.0
STUCK_FOR_SECONDS = 10.0
# The digest of no session's id.
NO_KEY = b"\0" * 32


@attrs.frozen
class Verdict:
    """``problems`` are sentences; ready is who has none. ``notes`` are worth knowing and no reason to turn away."""

    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        return not self.problems


class Health:
    """Judges what ``sources`` holds. ``clock`` bounds the waits."""

    def __init__(self, sources: Sources, clock: IReactorTime) -> None:
        self._sources, self._clock = sources, clock
        self._checks: dict[str, _Check] = {}

    async def ready(self) -> Verdict:
        problems, notes = [*self._at_once()], []
        for what, ask in self._stores().items():
            check = self._checks.setdefault(what, _Check(self._clock))
            failed = await check.answer(ask)
            if failed is not None:
                problems.append(f"{what}: {failed}")
        history = getattr(self._sources.hub, "history", None)
        if history is not None and history.degraded is not None:
            notes.append(f"the history is kept in memory alone: {history.degraded}")
        return Verdict(tuple(problems), tuple(notes))

    def _at_once(self) -> list[str]:
        found = []
        if self._sources.server.draining:
            found.append("the server is draining")
        broker = getattr(self._sources.hub, "broker_state", None)
        if broker is not None and broker is not BrokerState.READY:
            why = getattr(self._sources.hub, "why_broker_is_away", None)
            found.append(f"the broker is {broker}" + (f": {why}" if why else ""))
        found += [problem for lacks in self._sources.lacks if (problem := lacks()) is not None]
        stalls = self._sources.stalls
        if stalls is not None and stalls.stalls:
            last = stalls.stalls[-1]
            if last.seconds >= STUCK_SECONDS and self._clock.seconds() - last.at < STUCK_FOR_SECONDS:
                found.append(f"the reactor was held for {last.seconds:.1f} s")
        return found

    def _stores(self) -> dict[str, Callable[[], Deferred[Any]]]:
        sessions, hub = self._sources.sessions, self._sources.hub
        stores: dict[str, Callable[[], Deferred[Any]]] = {}
        if sessions is not None and sessions.has_store:
            stores["the session store"] = lambda: sessions.store.load(NO_KEY, self._clock.seconds())
        history = getattr(hub, "history", None)
        if history is not None:
            stores["the history"] = history.flush
        return stores


class _Check:
    """One store's last answer, and those who wait for the next."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._good_until = 0.0
        self._answer: str | None = None
        self._waiting: list[Deferred[str | None]] | None = None  # ``None``: nobody has asked

    def answer(self, ask: Callable[[], Deferred[Any]]) -> Deferred[str | None]:
        """What is wrong, or ``None``."""
        waits: Deferred[str | None] = Deferred()
        if self._waiting is not None:
            self._waiting.append(waits)
        elif self._clock.seconds() < self._good_until:
            waits.callback(self._answer)
        else:
            self._waiting = [waits]
            asked = maybeDeferred(ask)
            asked.addTimeout(STORE_SECONDS, self._clock, _too_late)
            asked.addCallbacks(lambda _: None, lambda failure: _said(failure.value)).addBoth(self._answered)
        return waits

    def _answered(self, answer: Any) -> None:
        waiting, self._waiting = self._waiting or [], None
        self._answer, self._good_until = answer, self._clock.seconds() + ANSWER_SECONDS
        for waits in waiting:
            waits.callback(answer)


def _too_late(result: Any, seconds: float) -> str:
    raise TimeoutError(f"no answer within {seconds:g} s")


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__

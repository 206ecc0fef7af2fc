"""What several workers say, as one: who is asked, how long is waited, and how their answers are put together.

Every worker serves the admin side of ``hardhttp.ops.admin`` to its parent alone. The parent asks all of them at once;
one that has not answered within ``ASK_SECONDS``, or did not answer the last ping, is left out, and its number is in
``missing``.

A connection's number is its worker's alone, and workers come and go. So to the outside it is ``SERIALS`` times the
serial of the worker plus that number, which no other connection has or had; so it is with a subscriber's number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime

from hardhttp.ops.worker import Worker
from hardhttp.ops.workers import SILENT_PINGS, Workers
from hardhttp.ops.workerstates import State

__all__ = ["Gathered", "Gathering", "Said", "combined", "pages", "shared"]

ASK_SECONDS = 0.8
# In decimal, so that both halves can be read; a connection's own number stays below it for years.
SERIALS = 10**10
PRESSURES = ("none", "near", "full")
MAX_ROWS = 10


@attrs.frozen
class Said:
    """What ``worker`` answered; ``value`` is of JSON, or text."""

    worker: Worker
    status: int
    value: Any


@attrs.frozen
class Gathered:
    """The answers of those that answered, by the age of the workers, and the numbers of those that did not."""

    said: tuple[Said, ...]
    missing: tuple[int, ...]

    @property
    def good(self) -> list[Said]:
        return [each for each in self.said if each.status == 200]


class Gathering:
    """Asks ``workers``."""

    def __init__(self, workers: Workers, clock: IReactorTime) -> None:
        self.workers, self._clock = workers, clock

    def serving(self) -> list[Worker]:
        """Those that can have connections, the oldest first."""
        found = (each for each in self.workers.alive.values() if each.state in (State.READY, State.RETIRING))
        return sorted(found, key=lambda each: each.serial)

    def by_serial(self, serial: int) -> Worker | None:
        return next((each for each in self.serving() if each.serial == serial), None)

    async def ask(self, worker: Worker, method: str, target: str, body: bytes | None = None) -> Said | None:
        """``None`` when there is no answer."""
        process: Any = worker.process
        if process is None or worker.unanswered >= SILENT_PINGS:
            return None
        asked: Deferred[Any] = maybeDeferred(process.ask, method.encode("ascii"), target.encode("utf-8"), body)
        try:
            answered = await asked.addTimeout(ASK_SECONDS, self._clock)
            return Said(worker, answered.status, _value(answered.body))
        except Exception:  # of whatever kind: it does not answer
            return None

    async def ask_all(self, method: str, target: str | Callable[[Worker], str], body: bytes | None = None) -> Gathered:
        """``target`` may be another for each."""
        serving = self.serving()
        asked = [
            Deferred.fromCoroutine(self.ask(each, method, target if isinstance(target, str) else target(each), body))
            for each in serving
        ]
        answers = [answer for _, answer in await DeferredList(asked)]
        return Gathered(
            tuple(answer for answer in answers if answer is not None),
            tuple(worker.number for worker, answer in zip(serving, answers) if answer is None),
        )


def _value(body: bytes) -> Any:
    if body[:1] in (b"{", b"["):
        return json.loads(body)
    return body.decode("utf-8", "replace")


# -- putting together --------------------------------------------------------------------------------


def outer(worker: Worker, number: int) -> int:
    """What a connection or a subscriber of ``worker`` is called outside."""
    return worker.serial * SERIALS + number


def inner(number: int) -> tuple[int, int]:
    """The serial of a worker, and what it calls the same."""
    return divmod(number, SERIALS)


def pages(gathered: Gathered, rows: str, number: str, limit: int) -> dict[str, Any]:
    """Pages of one list as a page: the oldest worker's ``rows`` first, each known by its ``number``."""
    found: list[dict[str, Any]] = []
    more = False
    for said in gathered.good:
        page = said.value[rows]
        taken = page[: limit - len(found)]
        found += [{**row, number: outer(said.worker, row[number]), "worker": said.worker.number} for row in taken]
        more = more or len(taken) < len(page) or said.value["next"] is not None
    totals = [{key: value for key, value in each.value.items() if key not in (rows, "next")} for each in gathered.good]
    last = found[-1][number] if found and more else None
    return {**(summed(totals) or {}), rows: found, "next": last, "missing": list(gathered.missing)}


def summed(values: Iterable[Any]) -> Any:
    """One value of several: numbers are added, lists follow each other, of all else the first stands.

    Lists of numbers are counts by place, and are added place by place; ``bounds`` say what the places mean. Of what is
    named in seconds the largest counts, for it is how long something waits; but ``total_seconds`` add up.
    """
    several = [value for value in values if value is not None]
    if not several:
        return None
    first = several[0]
    if isinstance(first, Mapping):
        names = dict.fromkeys(name for each in several for name in each)
        return {name: _of_name(name, [each[name] for each in several if name in each]) for name in names}
    if isinstance(first, list):
        if all(isinstance(item, (int, float)) for each in several for item in each):
            return [sum(items) for items in zip_longest(*several, fillvalue=0)]
        return [item for each in several for item in each]
    if isinstance(first, (int, float)) and not isinstance(first, bool):
        return sum(several)
    return first


def _of_name(name: str, values: list[Any]) -> Any:
    known = [value for value in values if isinstance(value, (int, float))]
    if known and name.endswith("_seconds") and name != "total_seconds":
        return max(known)
    if name == "bounds":
        return values[0]
    if name == "pressure":
        return max(values, key=lambda each: PRESSURES.index(each) if each in PRESSURES else 0)
    return summed(values)


def shared(gathered: Gathered) -> dict[str, Any]:
    """Counts of sessions. A store of one process each is summed; one that all share is counted once."""
    said = [each.value for each in gathered.good]
    found: dict[str, Any] = summed(said) or {"store": None, "sessions": 0}
    if found["store"] not in (None, "MemoryStore"):
        found["sessions"] = max(each["sessions"] for each in said)
    return {**found, "missing": list(gathered.missing)}


def combined(gathered: Gathered, now: float, uptime_seconds: float) -> dict[str, Any]:
    """The dashboard's figures of all. There must be one at least."""
    figures: dict[str, Any] = summed(said.value for said in gathered.good)
    figures |= {"at": now, "uptime_seconds": uptime_seconds}
    figures["notes"], figures["problems"] = _remarks(gathered)
    figures["ready"] = any(said.value["ready"] for said in gathered.good)
    if not figures["ready"] and any(said.value["ready"] is None for said in gathered.good):
        figures["ready"] = None
    rows = [
        {**row, "id": outer(said.worker, row["id"]), "worker": said.worker.number}
        for said in gathered.good
        for row in said.value["connections"]["slowest"]
    ]
    rows.sort(key=lambda row: (row["waited_seconds"], row["age_seconds"]), reverse=True)
    figures["connections"]["slowest"] = rows[:MAX_ROWS]
    if figures["hub"] is not None:
        figures["hub"]["slowest"].sort(key=lambda row: row["behind_seconds"], reverse=True)
        del figures["hub"]["slowest"][MAX_ROWS:]
    return figures


def _remarks(gathered: Gathered) -> tuple[list[str], list[str]]:
    """Notes and problems: what is wrong with one worker is a note while another is ready."""
    notes = [f"worker {number} does not answer" for number in gathered.missing]
    problems = []
    for said in gathered.good:
        who = f"worker {said.worker.number}"
        notes += [f"{who}: {note}" for note in said.value["notes"]]
        problems += [f"{who}: {problem}" for problem in said.value["problems"]]
    if any(said.value["ready"] for said in gathered.good):
        return notes + problems, []
    return notes, problems

"""The server's own log: as text or as JSON lines, at a level that can change while it runs, and bounded.

Text is what twistd writes anyway. JSON is one object a line, of ASCII alone, so that nothing a peer sent can end
a line: ``time`` (UTC), ``level``, ``namespace``, ``message``; and where they are known ``reason`` (why something was
refused or ended), ``peer`` (the address whose it was), ``request`` (the id that its error page and the access log
bear) and ``traceback``.

A fault that strikes with every request must not fill the disk: of the failures that one line of code raises, ten a
minute are written, and then their number. (Refusals are bounded in the same way where they are made, by
``hardhttp.net.server``.) What was passed to a log as a format and its values is written as the format says, and no
other value of an event is: so a secret is in the log only where a sentence names it.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import IO, Any, cast

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["FORMATS", "LEVELS", "Logs", "json_line"]

FORMATS = ("text", "json")
LEVELS = tuple(level.name for level in LogLevel.iterconstants())
MAX_MESSAGE_CHARACTERS = 16 * 1024
MAX_TRACEBACK_CHARACTERS = 32 * 1024
FAILURES_PER_MINUTE = 10
# Lines of code that raise failures; those beyond share one budget.
MAX_PLACES = 256
OTHERS = ("", "other failures")
BUDGET_SECONDS = 60.0


class Logs:
    """``observer`` writes to ``file``. ``format`` is one of ``FORMATS``; ``level`` may be set at any time.

    ``worker`` is the number of this process among several, for each of its lines.

    Raises ``ValueError`` for other formats and levels.
    """

    def __init__(
        self,
        file: IO[Any],
        clock: IReactorTime,
        format: str = "text",
        level: str = "info",
        worker: int | None = None,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"the format is {format!r}; it must be one of {', '.join(FORMATS)}")
        self._file = file
        self._levels = LogLevelFilterPredicate()
        self.level = level
        written = textFileLogObserver(file) if format == "text" else FileLogObserver(file, json_line)
        if worker is not None:
            written = FileLogObserver(file, partial(_WITH_WORKER[format], worker=worker))
        bounded = Bounded(cast("Any", written), clock)
        self.observer: ILogObserver = FilteringLogObserver(cast("Any", bounded), [self._levels])

    def pass_on(self, lines: bytes) -> None:
        """Lines that another process has written for this log, as they are."""
        try:
            self._file.write(lines.decode("utf-8", "replace"))
            self._file.flush()
        except OSError:
            pass  # as with our own: there is nowhere left to say so

    @property
    def level(self) -> str:
        return str(cast("Any", self._levels.logLevelForNamespace("")).name)

    @level.setter
    def level(self, name: str) -> None:
        if name not in LEVELS:
            raise ValueError(f"the level is {name!r}; it must be one of {', '.join(LEVELS)}")
        self._levels.setLogLevelForNamespace("", LogLevel.lookupByName(name))


@attrs.define
class _Place:
    """A line of code that raises failures, in the minute that goes on."""

    until: float
    told: int = 0
    last: LogEvent = attrs.field(factory=dict)  # of those that were not written: what a summary needs of it


@implementer(ILogObserver)
class Bounded:
    """Passes events on to ``observer``; failures from one line of code only ten times a minute, then their number.

    It is the line that raised that counts, not the one that logs: a page that always fails hides no other's failure.
    Other events that bear ``log_budget`` share ten a minute with those that bear the same.
    """

    def __init__(self, observer: Any, clock: IReactorTime) -> None:
        self._observer, self._clock = observer, clock
        self._places: dict[tuple[str, str], _Place] = {}
        self._summing = False  # whether a call is due that writes the numbers

    def __call__(self, event: LogEvent) -> None:
        if "log_failure" in event:
            name = (str(event.get("log_format"))[:200], _raised_at(event["log_failure"]))
        elif "log_budget" in event:
            name = ("", str(event["log_budget"])[:200])
        else:
            self._observer(event)
            return
        now = self._clock.seconds()
        if name not in self._places and len(self._places) >= MAX_PLACES:
            name = OTHERS
        place = self._places.setdefault(name, _Place(now + BUDGET_SECONDS))
        if now >= place.until:
            self._sum_up(name, place)
            place.until = now + BUDGET_SECONDS
        place.told += 1
        if place.told <= FAILURES_PER_MINUTE:
            self._observer(event)
            return
        place.last = {key: event[key] for key in ("log_level", "log_namespace") if key in event}
        if not self._summing:
            self._summing = True
            self._clock.callLater(max(place.until - now, 0), self._sum_all)

    def _sum_all(self) -> None:
        """A minute is over, and maybe no failure comes after it."""
        self._summing = False
        now = self._clock.seconds()
        for name, place in list(self._places.items()):
            if now >= place.until:
                self._sum_up(name, place)
                del self._places[name]
        waiting = [place.until - now for place in self._places.values() if place.told > FAILURES_PER_MINUTE]
        if waiting:
            self._summing = True
            self._clock.callLater(min(waiting), self._sum_all)

    def _sum_up(self, name: tuple[str, str], place: _Place) -> None:
        untold, place.told = place.told - FAILURES_PER_MINUTE, 0
        if untold > 0:
            said = {**place.last, "log_time": self._clock.seconds(), "log_format": "{n} more: {what}"}
            self._observer({**said, "n": untold, "what": name[1] or name[0]})


def _raised_at(failure: Any) -> str:
    """What was raised and where: ``KeyError at /srv/shop/cart.py:12``."""
    if not isinstance(failure, Failure):
        return ""
    name = getattr(failure.type, "__name__", str(failure.type))[:100]
    frames = failure.frames
    return f"{name} at {frames[-1][1]}:{frames[-1][2]}" if frames else name


def text_line(event: LogEvent, worker: int) -> str | None:
    """``event`` as twistd writes it, and after its time who tells."""
    line = formatEventAsClassicLogText(event)
    if line is None:
        return None
    at, _, rest = line.partition(" ")
    return f"{at} [worker {worker}] {rest}"


def json_line(event: LogEvent, worker: int | None = None) -> str:
    """``event`` as a line of JSON."""
    at = event.get("log_time", 0.0)
    level = event.get("log_level")
    failure = event.get("log_failure")
    line: dict[str, Any] = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at % 1 * 1000):03}Z",
        "level": None if level is None else level.name,
        "namespace": event.get("log_namespace"),
        "message": formatEvent(event)[:MAX_MESSAGE_CHARACTERS],
    }
    if worker is not None:
        line["worker"] = worker
    for field, names in (("reason", ("reason",)), ("peer", ("peer",)), ("request", ("request_id", "id"))):
        found = next((event[name] for name in names if isinstance(event.get(name), str)), None)
        if found is not None:
            line[field] = str(found)
    if isinstance(failure, Failure):
        line["traceback"] = failure.getTraceback()[-MAX_TRACEBACK_CHARACTERS:]
    return json.dumps(line) + "\n"


_WITH_WORKER: dict[str, Any] = {"text": text_line, "json": json_line}

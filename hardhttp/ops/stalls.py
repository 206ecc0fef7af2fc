"""Which resource held the reactor, and how long.

A timer in the reactor beats ten times a second. When a beat is late by more than a tenth of a second, something
held the reactor meanwhile: that is a stall, and its length is how late the beat was. To know who it was, a thread
looks at what the reactor's thread is doing while the beat is overdue: which resource is being rendered, for which
request, and in which function. So a request pays nothing, and one that holds the reactor is caught in the act.

The last stalls are kept in a ring. A stall is told of in the log, ten a minute at most.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hardhttp.ops.connections import request_line
from hardhttp.web.handling import Handling

__all__ = ["BEAT_SECONDS", "STALL_SECONDS", "Sight", "Stall", "StallWatch", "sight"]

BEAT_SECONDS = 0.1
STALL_SECONDS = 0.1
LOOK_SECONDS = 0.05
MAX_STALLS = 100
MAX_SIGHTS = 16  # different ones, of one stall
MAX_FRAMES = 200
SHOWN_FRAMES = 10
LINES_PER_MINUTE = 10


@attrs.frozen
class Sight:
    """What the reactor's thread was doing. ``resource`` and ``request`` are ``None`` outside of a ``render``."""

    where: str
    stack: tuple[str, ...]
    resource: str | None = None
    request: str | None = None


@attrs.frozen
class Stall:
    """``at`` is when it was over, on the reactor's clock; ``sight`` is what was seen most often while it lasted."""

    at: float
    seconds: float
    sight: Sight | None


def sight(frame: FrameType | None) -> Sight | None:
    """What a thread does whose innermost frame is ``frame``."""
    if frame is None:
        return None
    stack: list[str] = []
    resource = request = None
    for each in _outwards(frame):
        code = each.f_code
        if len(stack) < SHOWN_FRAMES:
            stack.append(f"{code.co_filename}:{each.f_lineno} {code.co_qualname}")
        if code is Handling.render.__code__:
            known = each.f_locals
            resource, request = _name(known["resrc"], known["self"]), request_line(known["self"])
            break
    return Sight(stack[0], tuple(stack), resource, request)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(MAX_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _name(resource: Any, request: Any) -> str:
    kind = type(resource)
    route = getattr(request, "route", None)
    describe = getattr(route, "describe", None)
    return f"{kind.__module__}.{kind.__qualname__}" + (f" {describe()}" if describe is not None else "")


class StallWatch:
    """The beat, and the ring of ``stalls``, the latest last. ``start`` also starts the thread that looks.

    ``count`` and ``total_seconds`` are of all stalls, ``worst_seconds`` is the longest; ``last_late_seconds`` is how
    late the last beat was.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, clock: IReactorTime) -> None:
        self._seconds = clock.seconds
        self._loop = LoopingCall(self.beat)
        self._loop.clock = clock
        self._beat_at = clock.seconds()
        self._sights: Counter[Sight] = Counter()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self.stalls: deque[Stall] = deque(maxlen=MAX_STALLS)
        self.count = 0
        self.total_seconds = self.worst_seconds = self.last_late_seconds = 0.0
        self._lines = 0
        self._lines_until = 0.0

    # -- in the reactor's thread ----------------------------------------------------------------

    def start(self, *, looks: bool = True) -> None:
        """Begin to beat; with ``looks`` a thread sees to who is late. To be called in the reactor's thread."""
        if self._loop.running:
            return
        self._beat_at = self._seconds()
        self._loop.start(BEAT_SECONDS, now=False)
        if looks:
            self._ended = threading.Event()
            arguments = threading.get_ident(), self._ended
            self._thread = threading.Thread(target=self._watch, args=arguments, name="hardhttp-stalls", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()
        self._ended.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def beat(self) -> None:
        """The reactor's thread is free."""
        now = self._seconds()
        late = max(0.0, now - self._beat_at - BEAT_SECONDS)
        self._beat_at = now
        self.last_late_seconds = late
        sights, self._sights = self._sights, Counter()
        if late >= STALL_SECONDS:
            self._stalled(Stall(now, late, sights.most_common(1)[0][0] if sights else None))

    def _stalled(self, stall: Stall) -> None:
        self.stalls.append(stall)
        self.count += 1
        self.total_seconds += stall.seconds
        self.worst_seconds = max(self.worst_seconds, stall.seconds)
        if stall.at >= self._lines_until:
            self._lines, self._lines_until = 0, stall.at + 60
        self._lines += 1
        if self._lines <= LINES_PER_MINUTE:
            seen = stall.sight
            self._log.warn(
                "the reactor was held for {seconds:.3f} s by {who}",
                seconds=stall.seconds,
                who="nobody knows whom" if seen is None else f"{seen.resource or 'no resource'}, at {seen.where}",
            )

    # -- in the other thread --------------------------------------------------------------------

    @property
    def overdue_seconds(self) -> float:
        """How late the next beat is by now. For any thread."""
        return max(0.0, self._seconds() - self._beat_at - BEAT_SECONDS)

    def look(self, frame: FrameType | None) -> None:
        """Note what is seen, if the beat is overdue."""
        if self.overdue_seconds >= STALL_SECONDS / 2:
            seen = sight(frame)
            sights = self._sights
            if seen is not None and (seen in sights or len(sights) < MAX_SIGHTS):
                sights[seen] += 1

    def _watch(self, thread: int, ended: threading.Event) -> None:
        while not ended.wait(LOOK_SECONDS):
            try:
                self.look(sys._current_frames().get(thread))
            except Exception:  # what is seen changes while it is looked at
                continue

    # -- for JSON ---------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "total_seconds": round(self.total_seconds, 3),
            "worst_seconds": round(self.worst_seconds, 3),
            "stalls": [
                {
                    "at": stall.at,
                    "seconds": round(stall.seconds, 3),
                    **(attrs.asdict(stall.sight) if stall.sight is not None else {}),
                }
                for stall in reversed(self.stalls)
            ],
        }

"""Counts of what happened, cheap enough to be always on.

Every key comes from a closed set: methods outside the registry's count as ``other``, reasons are
``hardhttp.errors.Reason``. So nothing a peer sends becomes a key.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import Any

from twisted.internet.interfaces import IReactorTime

from hardhttp.errors import Reason
from hardhttp.net.latency import BOUNDS, CLASSES, Latency

__all__ = ["Statistics"]

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE")
RATE_SECONDS = 10
_LEAST = BOUNDS[0]  # what most answers take, or less
# Ends in which the server had no part; all others are its own decisions.
_ORDINARY = frozenset(
    {Reason.CLIENT_CLOSED, Reason.CLIENT_RESET, Reason.RESPONSE_END, Reason.APPLICATION, Reason.UPGRADED_END}
)


class Statistics:
    """Counters since the start or the last ``reset``.

    ``accepted``, ``rejected``, ``errors`` (failed handlers), ``ignored_writes`` (to a request that
    had ended), ``hints_sent`` and ``hints_late`` (103, and hints that came after the head of the answer),
    ``pushes`` (promises over HTTP/2), ``bytes_in`` and ``bytes_out`` may be read and added to directly.
    """

    __slots__ = (
        "_clock",
        "_samples",
        "_started",
        "_untimed",
        "_whole",
        "accepted",
        "bytes_in",
        "bytes_out",
        "closed",
        "errors",
        "hints_late",
        "hints_sent",
        "ignored_writes",
        "latency",
        "methods",
        "peak",
        "pushes",
        "refused",
        "rejected",
    )

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin again at nothing; what is open stays open."""
        self._started = self._clock.seconds()
        self._samples: deque[tuple[float, int]] = deque([(self._started, 0)], maxlen=RATE_SECONDS + 1)
        self.accepted = self.rejected = self.errors = self.ignored_writes = self.peak = 0
        self.bytes_in = self.bytes_out = self.hints_sent = self.hints_late = self.pushes = 0
        self.methods: dict[bytes, int] = dict.fromkeys(_METHODS, 0) | {b"other": 0}
        self._untimed = [0] * CLASSES  # by the status's first digit
        self.latency = Latency()
        self._whole = self.latency.whole
        self.closed: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.refused: dict[Reason, int] = dict.fromkeys(Reason, 0)

    def response(
        self, method: bytes, status: int, seconds: float | None = None, first_seconds: float | None = None
    ) -> None:
        """A response to ``method`` has ended, ``seconds`` after the head was read (``None``: it never was whole), and
        had begun after ``first_seconds`` if that was earlier."""
        try:
            self.methods[method] += 1
        except KeyError:
            self.methods[b"other"] += 1
        digit = status // 100 % CLASSES
        if seconds is None:
            self._untimed[digit] += 1
        elif first_seconds is None:
            counts = self._whole[digit]
            counts[0 if seconds <= _LEAST else bisect_left(BOUNDS, seconds)] += 1
            counts[-1] += seconds
        else:
            self.latency.in_parts(digit, first_seconds, seconds)

    @property
    def classes(self) -> list[int]:
        """Responses, by the first digit of their status."""
        return [untimed + self.latency.count(digit) for digit, untimed in enumerate(self._untimed)]

    @property
    def requests(self) -> int:
        return sum(self.methods.values())

    @property
    def uptime_seconds(self) -> float:
        """Since the start, or the last ``reset``."""
        return self._clock.seconds() - self._started

    def sample(self, now: float, connections: int) -> None:
        """Once a second: what the rate is made from."""
        self._samples.append((now, self.requests))
        self.peak = max(self.peak, connections)

    def rate(self) -> float:
        """Requests a second over the last ten."""
        (then, before), (now, after) = self._samples[0], self._samples[-1]
        return (after - before) / (now - then) if now > then else 0.0

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "uptime_seconds": self.uptime_seconds,
            "requests": self.requests,
            "requests_per_second": self.rate(),
            "requests_by_method": {name.decode("ascii"): n for name, n in self.methods.items() if n},
            "responses_by_class": {f"{digit}xx": n for digit, n in enumerate(self.classes) if n},
            "accepted": self.accepted,
            "rejected": self.rejected,
            "peak_connections": self.peak,
            "refused_by_reason": {reason.value: n for reason, n in self.refused.items() if n},
            "closed_by_reason": {reason.value: n for reason, n in self.closed.items() if n},
            "reaped_by_reason": {r.value: n for r, n in self.closed.items() if n and r not in _ORDINARY},
            "errors": self.errors,
            "ignored_writes": self.ignored_writes,
            "hints_sent": self.hints_sent,
            "hints_late": self.hints_late,
            "pushes": self.pushes,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }

"""How long answers took, counted by bounds: what percentiles are made of, for whoever scrapes or watches.

A time runs from when the last byte of a request's head was read: to the *first* byte of the answer, and to its
*last*, as they are handed to the connection. For most answers, which are one write, both are one, and counted once. How
long the client then takes to read is not in it. Answers given up half way are in none.

There are so many counts as bounds and classes of status, whatever comes.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import Final

import attrs

__all__ = ["BOUNDS", "Latency", "Timed"]

# Seconds: the usual ones, and below them those that most answers are within.
BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025),
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
CLASSES: Final = 10  # by a status's first digit


@attrs.frozen
class Timed:
    """``counts`` are of those up to each bound and above the one before, and of those above all; ``seconds`` is what
    they took together."""

    counts: tuple[int, ...]
    seconds: float

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: how many took each bound, or less."""
        names = [*map(str, BOUNDS), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


def _counts() -> list[list[float]]:
    """Of each class of status: of each bound, of what is above all, and at last the seconds together."""
    return [[0] * (len(BOUNDS) + 1) + [0.0] for _ in range(CLASSES)]


class Latency:
    """All answers since the start, by the first digit of their status. ``whole`` are those that were one write:
    ``Statistics.response`` counts in it."""

    __slots__ = ("_first", "_last", "whole")

    def __init__(self) -> None:
        self.whole, self._first, self._last = _counts(), _counts(), _counts()

    def in_parts(self, digit: int, first: float, last: float) -> None:
        """An answer whose first byte went before its last."""
        for counts, seconds in ((self._first[digit], first), (self._last[digit], last)):
            counts[bisect_left(BOUNDS, seconds)] += 1
            counts[-1] += seconds

    def count(self, digit: int) -> int:
        """How many answers."""
        return int(sum(self.whole[digit][:-1]) + sum(self._last[digit][:-1]))

    def to_first(self, digit: int) -> Timed:
        """To the first byte, of the answers whose status begins with ``digit``."""
        return _timed(self.whole[digit], self._first[digit])

    def to_last(self, digit: int) -> Timed:
        """To the last byte."""
        return _timed(self.whole[digit], self._last[digit])

    def all_to_first(self) -> Timed:
        """Of whatever status."""
        return _timed(*self.whole, *self._first)


def _timed(*all_counts: list[float]) -> Timed:
    *counts, seconds = map(sum, zip(*all_counts, strict=True))
    return Timed(tuple(map(int, counts)), seconds)

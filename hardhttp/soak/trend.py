"""How fast a figure grows from round to round, and how sure that is.

Theil and Sen take the median of the slopes between all pairs of points. Up to 29 of 100 points may be wild without
moving it far, and nothing is supposed about the noise but that it is as likely up as down. How sure it is comes from
Kendall's count of inversions: among n points without a trend, every order is equally likely, so the k-th smallest
of all slopes is above the true one with a known probability (Sen 1968, doi:10.1080/01621459.1968.10480934).
Three points in order are chance once in six times, five once in 120.

The arithmetic is exact to ``EXACT_POINTS`` points and normal above; more than ``MAX_POINTS`` are first made fewer,
by medians of neighbours, so that a run of days is judged as quickly as one of minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations, pairwise
from statistics import NormalDist, median

import attrs

__all__ = ["STEADY_SHARE", "Point", "Trend", "is_steady", "trend"]

EXACT_POINTS = 40
MAX_POINTS = 250
# Growth is steady when the part that grew least grew at least this share of what the part that grew most did.
STEADY_SHARE = 0.59

Point = tuple[float, float]


@attrs.frozen
class Trend:
    """``slope`` of the figure per unit of x. With ``confidence`` it is at least ``low``, as surely at most ``high``.

    ``confidence`` is what the ranks give: at least what was asked for, or less where the points are too few for it.
    """

    slope: float
    low: float
    high: float
    confidence: float
    points: int


def trend(points: Sequence[Point], confidence: float = 0.99) -> Trend:
    """Theil and Sen's, one-sided on both sides. Two points at least, in rising order of x, else ``ValueError``."""
    points = _fewer(points)
    if len(points) < 2 or any(one[0] >= other[0] for one, other in pairwise(points)):
        raise ValueError("a trend needs two points or more, in the order of their x")
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    rank, reached = _rank(len(points), 1 - confidence)
    return Trend(median(slopes), slopes[rank - 1], slopes[-rank], reached, len(points))


def is_steady(points: Sequence[Point]) -> bool:
    """Whether it grows by about as much in each third: a leak does, what warms up or takes one step does not."""
    parts = min(3, len(points) - 1)
    edges = [round(number * (len(points) - 1) / parts) for number in range(parts + 1)]
    slopes = [trend(points[begin : end + 1]).slope for begin, end in pairwise(edges)]
    return min(slopes) > 0 and min(slopes) >= STEADY_SHARE * max(slopes)


def _fewer(points: Sequence[Point]) -> Sequence[Point]:
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[begin : begin + size] for begin in range(0, len(points), size)]
    return [(median(x for x, _ in group), median(y for _, y in group)) for group in groups]


@cache
def _rank(count: int, risk: float) -> tuple[int, float]:
    """The largest k whose k-th smallest slope is above the true one with at most this risk, and its confidence.

    That is so when at most k - 1 of the pairs are inverted. At least 1: then nothing surer can be had.
    """
    if count > EXACT_POINTS:
        pairs = count * (count - 1) / 2
        deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 72)
        return max(1, math.floor(pairs / 2 + NormalDist().inv_cdf(risk) * deviation)), 1 - risk
    ways = _inversions(count)
    total, rank, below = math.factorial(count), 1, ways[0]
    while rank < len(ways) and (below + ways[rank]) / total <= risk:
        below += ways[rank]
        rank += 1
    return rank, max(0.0, 1 - below / total)


def _inversions(count: int) -> list[int]:
    """How many orders of ``count`` things have 0, 1, 2... inversions."""
    ways = [1]
    for size in range(2, count + 1):
        longer = [0] * (len(ways) + size - 1)
        for inversions, number in enumerate(ways):
            for more in range(size):
                longer[inversions + more] += number
        ways = longer
    return ways

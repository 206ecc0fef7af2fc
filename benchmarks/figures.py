"""The arithmetic: medians, ratios pair by pair, and the slope of a series with its confidence.

Pure functions over lists of numbers; nothing here knows what was measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Slope", "Spread", "percentile", "ratios", "slope", "spread"]

# Of the standard normal distribution, for a two-sided interval of 95 %.
Z_95 = 1.959964


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of ``values`` lie, interpolated between neighbours."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True)
class Spread:
    """A median with what lies around it: the whole range and its middle half."""

    median: float
    low: float
    high: float
    quartile1: float
    quartile3: float
    count: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}..{self.high:.2f})"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(
        statistics.median(values), min(values), max(values), percentile(values, 25), percentile(values, 75), len(values)
    )


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float]:
    """``ours`` over ``theirs``, round by round.

    A round in which either is missing (``None``) or theirs is zero says nothing and is left out.
    """
    return [a / b for a, b in zip(ours, theirs) if a is not None and b]


@dataclass(frozen=True)
class Slope:
    """The Theil-Sen estimate of y per x, with its 95 % interval."""

    median: float
    low: float
    high: float

    @property
    def flat(self) -> bool:
        """Whether growth cannot be told from none."""
        return self.low <= 0

    def as_dict(self) -> dict[str, float | bool]:
        return {**asdict(self), "flat": self.flat}


def slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """The median of the slopes between all pairs of points (Theil 1950, Sen 1968).

    One outlier, such as an arena taken at once, does not move it as it moves a least squares fit.
    The interval is Sen's, from the normal approximation to Kendall's statistic: with ``n`` points
    it cuts ``(N - C) / 2`` of the ``N`` ordered slopes from either end, ``C = z sqrt(n (n-1) (2n+5) / 18)``.
    """
    if len(xs) != len(ys):
        raise ValueError("as many x as y are needed")
    count = len(xs)
    slopes = sorted(
        (ys[j] - ys[i]) / (xs[j] - xs[i]) for i in range(count) for j in range(i + 1, count) if xs[i] != xs[j]
    )
    if not slopes:
        raise ValueError("two different x are needed")
    reach = Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    cut = max(0, math.floor((len(slopes) - reach) / 2))
    return Slope(statistics.median(slopes), slopes[cut], slopes[len(slopes) - 1 - cut])

"""Theil and Sen against their definition, and the promised confidence against chance."""

from __future__ import annotations

import random
from itertools import permutations
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.soak.trend import EXACT_POINTS, MAX_POINTS, is_steady, trend

values = st.lists(st.integers(-1000, 1000), min_size=2, max_size=12)


def points(levels: list[float]) -> list[tuple[float, float]]:
    return [(float(number), float(level)) for number, level in enumerate(levels)]


@given(values, st.integers(-50, 50))
def test_a_slope_that_is_added_is_added_to_all_of_it(levels: list[int], slope: int) -> None:
    plain = trend(points(list(map(float, levels))))
    tilted = trend(points([level + slope * number for number, level in enumerate(levels)]))
    assert tilted.slope == pytest.approx(plain.slope + slope)
    assert tilted.low == pytest.approx(plain.low + slope)
    assert tilted.high == pytest.approx(plain.high + slope)
    assert plain.low <= plain.slope <= plain.high


def test_one_wild_point_does_not_move_it() -> None:
    assert trend(points([0, 1, 2, 1000, 4, 5, 6, 7])).slope == 1


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7])
def test_confidence_is_what_all_orders_say(count: int) -> None:
    """Of all orders of points without a trend, so many have their lower bound above nothing."""
    wrong = sum(trend(points(list(order))).low > 0 for order in permutations(map(float, range(count))))
    found = trend(points([0.0] * count))
    assert wrong == round((1 - found.confidence) * factorial(count))
    assert wrong <= 0.01 * factorial(count) or wrong == 1
    assert (found.confidence >= 0.99) == (count >= 5)


def test_arithmetic_is_the_same_on_both_sides_of_exactness() -> None:
    chance = random.Random(7)
    levels = [chance.gauss(0, 1) for _ in range(EXACT_POINTS + 1)]
    exact, normal = trend(points(levels[:-1])), trend(points(levels))
    assert normal.high - normal.low == pytest.approx(exact.high - exact.low, rel=0.2)


@pytest.mark.parametrize("count", [MAX_POINTS, MAX_POINTS + 1, 20 * MAX_POINTS])
def test_many_rounds_become_few_points(count: int) -> None:
    found = trend(points([3.0 * number for number in range(count)]))
    assert found.slope == pytest.approx(3)
    assert found.points <= MAX_POINTS


@pytest.mark.parametrize("given", [[], [(0.0, 1.0)], [(1.0, 0.0), (1.0, 1.0)], [(2.0, 0.0), (1.0, 1.0)]])
def test_too_few_or_out_of_order(given: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="two points"):
        trend(given)


@pytest.mark.parametrize(
    ("levels", "steady"),
    [
        ([0, 1, 2], True),
        ([0, 10, 16], True),
        ([0, 10, 15], False),  # each half as much as before: it warms up
        ([0, 8, 12, 14, 15], False),
        ([0, 0, 5, 5], False),
        ([0, 0, 0], False),
        ([3, 2, 1], False),
        (list(range(100)), True),
        ([0] * 50 + [9] * 50, False),
    ],
)
def test_steady(levels: list[float], steady: bool) -> None:
    assert is_steady(points(levels)) is steady

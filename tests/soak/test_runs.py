"""What a report draws: curves that keep their peaks, spans, and figures before, at most and after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.soak.runs import MAX_SPANS, MAX_STRETCHES, Extent, Run, Span, thinned
from tests.soak.series import MiB, sample


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=400), st.integers(1, 40))
def test_thinning_keeps_the_extremes_and_the_order(values: list[int], stretches: int) -> None:
    points = [(float(number), float(value)) for number, value in enumerate(values)]
    kept = thinned(points, stretches)
    assert len(kept) <= 2 * stretches
    assert kept == sorted(set(kept))
    assert set(kept) <= set(points)
    assert {min(y for _, y in kept), max(y for _, y in kept)} == {min(values), max(values)}


def run(*phases: tuple[str, str, int, float | None]) -> Run:
    """Of (scenario, phase, round, p99) once a second, from the fifth on."""
    samples = [
        sample(phase, number, (10 + at) * MiB, seconds=5.0 + at, scenario=scenario, honest_p99_ms=p99)
        for at, (scenario, phase, number, p99) in enumerate(phases)
    ]
    return Run("s", samples, {})


MADE = run(
    ("", "rest", 1, None),
    ("a", "baseline", 1, 1.0),
    ("a", "load", 1, 9.0),
    ("a", "rest", 1, 1.0),
    ("a", "baseline", 2, 1.0),
    ("a", "load", 2, None),
    ("a", "rest", 2, 2.0),
    ("b", "baseline", 1, 3.0),
    ("b", "load", 1, 4.0),
    ("b", "load", 1, 5.0),
    ("b", "rest", 1, 6.0),
)


def test_spans_reach_to_the_next() -> None:
    assert MADE.scenarios == [Span(1, 7, "a"), Span(7, 10, "b")]
    assert MADE.loads == [Span(2, 3, "load"), Span(5, 6, "load"), Span(8, 10, "load")]
    assert MADE.seconds == 10


def test_a_gap_is_no_line() -> None:
    assert MADE.curve(lambda one: one.honest_p99_ms) == [
        [(1, 1), (2, 9), (3, 1), (4, 1)],
        [(6, 2), (7, 3), (8, 4), (9, 5), (10, 6)],
    ]


def test_extent_of_a_scenario_and_of_all() -> None:
    assert MADE.extent(lambda one: one.honest_p99_ms, "a") == Extent(1, 9, 2)
    assert MADE.extent(lambda one: one.honest_p99_ms, "b") == Extent(3, 6, 6)
    assert MADE.extent(lambda one: one.honest_p99_ms, "c") is None
    assert MADE.extent(lambda one: None) is None
    assert MADE.under_load(lambda one: one.honest_p99_ms) == 5
    assert MADE.under_load(lambda one: None) is None
    assert MADE.memory(MADE.samples[0]) == 10 * MiB


@pytest.mark.slow
def test_what_is_drawn_is_bounded_however_long_the_run() -> None:
    count = 20_000
    made = run(*(("ab"[at % 2], "load", 1, None if at % 3 else 1.0) for at in range(count)))
    assert made.scenarios == []
    assert len(run(*(("ab"[at % 2], "load", 1, 1.0) for at in range(MAX_SPANS))).scenarios) == MAX_SPANS
    assert sum(map(len, made.curve(lambda one: one.honest_p99_ms))) <= 2 * MAX_STRETCHES
    assert sum(map(len, made.curve(made.memory))) <= 2 * MAX_STRETCHES


def test_a_run_is_of_one_server() -> None:
    with pytest.raises(ValueError, match="a run of s needs samples of s"):
        Run("s", [], {})
    with pytest.raises(ValueError, match="of no other"):
        Run("t", MADE.samples, {})

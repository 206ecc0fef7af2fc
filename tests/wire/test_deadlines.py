"""Minimum rates as arithmetic: who is cut, and who is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hardhttp.wire.deadlines import NEVER, Pace


def cut_at(made: Callable[[int], float], seconds: int, pace: Pace) -> int | None:
    """When someone who has made ``made(t)`` bytes by second ``t`` is cut, or ``None`` within ``seconds``."""
    for now in range(1, seconds + 1):
        pace.progress(now, int(made(now)))
        if now >= pace.deadline:
            return now
    return None


def test_never() -> None:
    assert min(NEVER, 1e300) == 1e300


def test_nothing_is_cut_at_the_end_of_the_window() -> None:
    assert cut_at(lambda now: 0, 1000, Pace(0, 60, 240)) == 60


def test_just_enough_and_one_byte_less() -> None:
    share = 60 * 240
    assert cut_at(lambda now: share * (now // 59), 6000, Pace(0, 60, 240)) is None
    assert cut_at(lambda now: (share - 1) * (now // 59), 6000, Pace(0, 60, 240)) == 60


def test_progress_at_the_deadline_itself_counts() -> None:
    pace = Pace(0, 60, 240)
    pace.progress(60, 60 * 240)
    assert pace.deadline == 120


def test_a_trickle_moves_nothing() -> None:
    """A byte a second is progress, and too little of it."""
    assert cut_at(lambda now: now, 100_000, Pace(0, 60, 240)) == 60


def test_a_burst_buys_one_window() -> None:
    """However large it was, whoever then stops is cut one window later."""
    for burst in (60 * 240, 10**12):
        assert cut_at(lambda now, burst=burst: burst if now >= 5 else 0, 1000, Pace(0, 60, 240)) == 65


def test_honest_and_slow_is_never_cut() -> None:
    """A month at twice the rate; and at once the rate, which takes each window to its end."""
    assert cut_at(lambda now: now * 480, 30 * 86_400, Pace(0, 60, 240)) is None
    assert cut_at(lambda now: now * 240, 86_400, Pace(0, 60, 240)) is None


def test_just_under_the_rate_is_cut() -> None:
    assert cut_at(lambda now: now * 239, 86_400, Pace(0, 60, 240)) == 60


def test_what_was_made_before_does_not_count() -> None:
    pace = Pace(0, 60, 240, total=1_000_000)
    pace.progress(30, 1_000_000 + 60 * 240 - 1)
    assert pace.deadline == 60
    pace.progress(30, 1_000_000 + 60 * 240)
    assert pace.deadline == 90


@pytest.mark.parametrize("rate", [0, 0.001])
def test_no_rate_asks_for_one_byte(rate: float) -> None:
    assert cut_at(lambda now: now // 59, 86_400, Pace(0, 60, rate)) is None
    assert cut_at(lambda now: 0, 86_400, Pace(0, 60, rate)) == 60

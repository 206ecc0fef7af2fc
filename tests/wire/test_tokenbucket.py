"""Token buckets: their arithmetic, and what a full table forgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.tokenbucket import LOOKS_FOR_ROOM, Rate, TokenBuckets

START = 1_700_000_000.0


def buckets(rate: str = "10/s", burst: int = 10, max_keys: int = 100) -> TokenBuckets:
    return TokenBuckets(Rate.parse(rate), burst, max_keys)


def drain(table: TokenBuckets, key: str, count: int, now: float = START) -> None:
    for _ in range(count):
        assert table.take(key, now).wait_seconds == 0


@pytest.mark.parametrize(
    ("text", "count", "seconds"),
    [("100/m", 100, 60), ("5/s", 5, 1), ("10/30s", 10, 30), ("1/2h", 1, 7200), ("7/d", 7, 86_400)],
)
def test_rates(text: str, count: int, seconds: float) -> None:
    assert Rate.parse(text) == Rate(count, seconds)


@pytest.mark.parametrize(
    "text",
    ["", "100", "0/s", "-1/s", "1/", "1/y", "1 / s", "1/0s", "1/00m", "1.5/s", "\u0661/s", "1/s\n", "9" * 10 + "/s"],
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="a rate is"):
        Rate.parse(text)


def test_a_bucket_empties_and_fills() -> None:
    table = buckets()
    assert [table.take("a", START).left for _ in range(10)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    refused = table.take("a", START)
    assert refused.wait_seconds == pytest.approx(0.1, abs=1e-4)
    assert refused.full_seconds == pytest.approx(1.0, abs=1e-4)
    assert table.take("a", START + 0.09).wait_seconds > 0
    assert table.take("a", START + 0.1).wait_seconds == 0
    assert table.take("a", START + 0.1).wait_seconds > 0
    assert table.take("a", START + 60).left == 9  # never more than the burst


def test_refused_tries_cost_nothing() -> None:
    table = buckets()
    drain(table, "a", 10)
    for _ in range(1000):
        assert table.take("a", START).wait_seconds == pytest.approx(0.1, abs=1e-4)


def test_keys_are_apart() -> None:
    table = buckets()
    drain(table, "a", 10)
    assert table.take("b", START).left == 9


def test_a_burst_of_one() -> None:
    table = buckets("1/s", burst=1)
    assert table.take("a", START).left == 0
    assert table.take("a", START + 0.5).wait_seconds == pytest.approx(0.5, abs=1e-4)
    assert table.take("a", START + 1).wait_seconds == 0


def test_full_buckets_are_forgotten_by_the_way() -> None:
    table = buckets(max_keys=1000)
    for n in range(500):
        table.take(f"key {n}", START)
    assert len(table) == 500
    for n in range(249):
        table.take("later", START + 60 + n)
    assert len(table) == 3  # two at a time
    for n in range(3):
        table.take("later", START + 400 + n)
    assert len(table) == 1
    assert table.forgotten == 0


def test_the_table_has_a_bound_and_forgets_the_fullest() -> None:
    table = buckets(max_keys=10)
    drain(table, "abuser", 10)
    drain(table, "busy", 5)
    for n in range(8):
        drain(table, f"light {n}", 2)
    assert (len(table), table.forgotten) == (10, 0)
    drain(table, "another", 1)  # at the bound, and one past it
    assert (len(table), table.forgotten) == (10, 1)
    for n in range(10_000):
        table.take(f"flood {n}", START)
    assert len(table) == 10
    assert len(table._order) == 10
    # The flood pushed out its own, the lightest; those that had taken more are remembered.
    assert table.take("abuser", START).wait_seconds > 0
    assert table.take("busy", START).left == 4


def test_to_have_a_bucket_forgotten_all_others_must_lack_as_much() -> None:
    table = buckets(max_keys=20)
    drain(table, "abuser", 10)
    # 19 accomplices, one token short of what the abuser lacks, and new ones to push it out.
    for n in range(19):
        drain(table, f"accomplice {n}", 9)
    for n in range(500):
        table.take(f"newcomer {n}", START)
    assert table.take("abuser", START).wait_seconds > 0


def test_stale_order_costs_a_bounded_look_and_forgets_none_of_the_emptiest() -> None:
    table = buckets(max_keys=200)
    for n in range(200):
        table.take(f"key {n:03}", START)
    for n in range(200):  # now every entry of the order is out of date
        drain(table, f"key {n:03}", 8 if n % (LOOKS_FOR_ROOM // 2) else 2)
    for n in range(20):
        table.take(f"new {n}", START)
    assert len(table) == 200
    assert sum(f"key {n:03}" not in table._full_at for n in range(200) if n % (LOOKS_FOR_ROOM // 2)) == 0


def test_a_clock_put_back_locks_nobody_out() -> None:
    table = buckets()
    drain(table, "a", 10)
    drain(table, "b", 10)
    assert table.take("a", START - 3600).left == 9
    assert table.take("b", START - 3600).left == 9
    assert len(table._order) == len(table) == 2


@pytest.mark.parametrize(("burst", "max_keys"), [(0, 1), (1, 0)])
def test_bounds_of_the_bounds(burst: int, max_keys: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        buckets(burst=burst, max_keys=max_keys)
    assert buckets(burst=1, max_keys=1).take("a", START).wait_seconds == 0


@given(
    st.lists(st.tuples(st.sampled_from("abcdefg"), st.floats(0, 3)), max_size=200),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_no_more_than_the_burst_and_the_rate(steps: list[tuple[str, float]], burst: int, max_keys: int) -> None:
    """Within any time, a key that is not forgotten has at most ``burst`` and what the rate brought."""
    table = TokenBuckets(Rate(2, 1.0), burst, 1000)
    small = TokenBuckets(Rate(2, 1.0), burst, max_keys)
    now, taken = START, dict.fromkeys("abcdefg", 0)
    for key, later in steps:
        now += later
        taken[key] += table.take(key, now).wait_seconds == 0
        small.take(key, now)
        assert taken[key] <= burst + 2 * (now - START) + 0.01
        assert len(small) <= max_keys
        assert sorted(key for _, key in small._order) == sorted(small._full_at)
        assert all(noted <= small._full_at[key] for noted, key in small._order)

"""When each of many is due: never early, at most a tick late, and nothing kept of what has left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hardhttp.sse.wheel import Wheel


def test_not_before_and_not_a_tick_after() -> None:
    wheel: Wheel[str] = Wheel(1.0, 100.5)
    wheel.put("a", 102.0)
    wheel.put("b", 102.9)
    wheel.put("past", 3.0)
    assert wheel.due(100.9) == []
    assert wheel.due(101.0) == ["past"]
    assert wheel.due(102.9) == []
    assert wheel.due(103.0) == ["a", "b"]
    assert len(wheel) == 0


def test_the_last_word_counts() -> None:
    wheel: Wheel[str] = Wheel(1.0, 0)
    wheel.put("a", 5)
    wheel.put("a", 50)
    wheel.put("b", 5)
    wheel.drop("b")
    wheel.drop("b")
    assert wheel.due(49) == []
    assert wheel.due(51) == ["a"]
    assert not wheel._slots


@given(st.lists(st.floats(0, 100), max_size=30), st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_each_once(times: list[float], steps: list[float]) -> None:
    wheel: Wheel[int] = Wheel(0.5, 0)
    for number, at in enumerate(times):
        wheel.put(number, at)
    now, seen = 0.0, []
    for step in [*steps, 200]:
        now += step
        for number in wheel.due(now):
            assert times[number] <= now
            seen.append(number)
        assert all(times[number] > now - 1 for number in set(range(len(times))) - set(seen))
    assert sorted(seen) == list(range(len(times)))


def test_a_clock_that_is_set_forward_by_years() -> None:
    wheel: Wheel[str] = Wheel(0.25, 0)
    for name, at in (("b", 7), ("a", 5), ("never", 1e15)):
        wheel.put(name, at)
    assert wheel.due(1e12) == ["a", "b"]  # it would not end, if it went from tick to tick
    assert (len(wheel), wheel.due(1e12 + 1)) == (1, [])
    wheel.put("c", 0)
    assert wheel.due(1e12 + 2) == ["c"]

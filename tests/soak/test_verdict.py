"""The judge: sound series are never called leaks, leaks of the stated size always; each bound at it and past it."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardhttp.soak.samples import Sample
from hardhttp.soak.verdict import Expectation, Kind, Measure, died, judge
from tests.soak.series import KiB, MiB, counted, sample, series

USUAL = Expectation()
SLOPE = USUAL.slope_bytes_per_round
# What a rest may be off by, for the promises to hold.
NOISE = SLOPE // 4


@st.composite
def sound(draw: st.DrawFn) -> tuple[list[float], random.Random, float]:
    """Warm-up of the first rounds, in any shape, then flat but for one step, all within what may be left."""
    rounds = draw(st.integers(1, 60))
    warm = draw(st.integers(0, max(2, rounds // 3)))
    room = 16 * MiB - 2 * NOISE
    shares = draw(st.lists(st.floats(0, 1), min_size=warm, max_size=warm))
    step_at, step = draw(st.integers(1, rounds)), draw(st.sampled_from([0.0, 0.5]))
    levels, level = [], 0.0
    for number in range(1, rounds + 1):
        if number <= warm:
            level += shares[number - 1] * room * (1 - step) / warm
        levels.append(level + (room * step if number >= step_at else 0))
    return levels, draw(st.randoms(use_true_random=False)), draw(st.floats(0, NOISE))


@pytest.mark.slow
@settings(max_examples=100)
@given(sound(), st.integers(15, 4000))
def test_a_sound_server_passes(made: tuple[list[float], random.Random, float], base: int) -> None:
    levels, chance, noise = made
    verdict = judge(series(levels, base * MiB, lambda: chance.uniform(-noise, noise)), USUAL)
    assert verdict.kind is Kind.PASS, verdict


@settings(max_examples=100)
@given(
    rounds=st.integers(3, 60),
    size=st.floats(0, 200),
    warm=st.floats(0, 40),
    base=st.integers(15, 4000),
    chance=st.randoms(use_true_random=False),
)
def test_a_leak_of_the_stated_size_is_found(
    rounds: int, size: float, warm: float, base: int, chance: random.Random
) -> None:
    size += 2 if rounds >= 7 else 3
    levels = [(warm * MiB if rounds > 3 else 0) + size * SLOPE * number for number in range(1, rounds + 1)]
    verdict = judge(series(levels, base * MiB, lambda: chance.choice([-NOISE, NOISE])), USUAL)
    left = next(finding for finding in verdict.findings if finding.measure is Measure.LEFT)
    sure = rounds >= 7 or left.kind is Kind.DRIFT
    assert (verdict.kind, verdict.measure) == (Kind.LEAK if sure else Kind.DRIFT, Measure.GROWTH), verdict
    assert verdict.figure == pytest.approx(size * SLOPE, abs=2 * NOISE)
    assert verdict.sentence.startswith("Each round of load leaves ")


@pytest.mark.slow
def test_thousands_of_sound_series_and_not_one_alarm() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        rounds = chance.randint(1, 20)
        noise, warm = chance.uniform(0, NOISE), chance.uniform(0, 14 * MiB)
        levels = [warm * (1 - 0.4**number) for number in range(1, rounds + 1)]
        verdict = judge(series(levels, 45 * MiB, lambda noise=noise: chance.uniform(-noise, noise), looks=2), USUAL)
        assert verdict.kind is Kind.PASS, (levels, verdict)


@pytest.mark.slow
def test_chance_alone_is_rarely_a_leak_however_wild() -> None:
    """Beyond what is promised: a collector that leaves megabytes lying about, now more, now fewer."""
    chance = random.Random(2)
    alarms = 0
    for _ in range(3000):
        levels = [chance.gauss(4 * MiB, 2 * MiB) for _ in range(chance.randint(3, 12))]
        alarms += judge(series(levels, 45 * MiB, looks=2), USUAL).kind is Kind.LEAK
    assert alarms <= 15  # one in 200


@pytest.mark.parametrize("rounds", [100, 400])
def test_over_many_rounds_a_slow_leak_is_found_before_it_has_used_up_what_may_be_left(rounds: int) -> None:
    chance = random.Random(3)
    leak = 2 * 16 * MiB / rounds
    assert leak < SLOPE
    made = series([leak * number for number in range(rounds)], noise=lambda: chance.uniform(-NOISE, NOISE), looks=2)
    assert judge(made, USUAL).kind is Kind.LEAK
    flat = series([4.0 * MiB] * rounds, noise=lambda: chance.uniform(-NOISE, NOISE), looks=2)
    assert judge(flat, USUAL).kind is Kind.PASS


def test_warming_up_is_no_leak() -> None:
    fading = judge(series([8 * MiB, 12 * MiB, 14 * MiB]), USUAL)
    assert fading.kind is Kind.PASS
    assert "warms up" in fading.sentence
    leak = judge(series([8 * MiB, 14 * MiB, 20 * MiB]), USUAL)
    assert leak.kind is Kind.LEAK
    assert leak.sentence == "Each round of load leaves 6 MiB behind: 20 MiB after 3 rounds."


def test_what_was_in_order_by_chance_was_not_there_since_the_baseline() -> None:
    assert judge(series([0, 2 * MiB, 4 * MiB]), USUAL).kind is Kind.PASS
    assert judge(series([2 * MiB, 4 * MiB, 6 * MiB]), USUAL).kind is Kind.DRIFT


@pytest.mark.parametrize(
    ("rounds", "each", "kind"), [(3, 5, Kind.DRIFT), (3, 6, Kind.LEAK), (6, 2, Kind.DRIFT), (7, 2, Kind.LEAK)]
)
def test_what_a_collector_may_leave_for_later_is_no_leak_in_a_few_rounds(rounds: int, each: int, kind: Kind) -> None:
    """Node's heap grew by 1.4 MiB in each of three rounds of a second, and by nothing in twelve."""
    verdict = judge(series([each * MiB * number for number in range(1, rounds + 1)]), USUAL)
    assert (verdict.kind, verdict.measure) == (kind, Measure.GROWTH)
    assert ("7 rounds would tell" in verdict.sentence) == (kind is Kind.DRIFT)


def test_growth_within_what_a_rest_fluctuates_by_is_none() -> None:
    chance = [-4 * MiB, 4 * MiB]

    def swing() -> float:
        chance.reverse()
        return float(chance[0])

    levels = [2.0 * MiB * number for number in range(1, 8)]
    assert judge(series(levels, noise=swing), USUAL).kind is Kind.PASS
    assert judge(series(levels), USUAL).kind is Kind.LEAK


def test_what_does_not_come_back_and_does_not_grow_is_drift() -> None:
    verdict = judge(series([30 * MiB] * 6), USUAL)
    assert (verdict.kind, verdict.measure) == (Kind.DRIFT, Measure.LEFT)
    assert verdict.sentence == "After the load 30 MiB more are held than before it, and do not come back."
    assert (verdict.figure_text, verdict.bound_text) == ("30 MiB", "16 MiB")
    two = judge(series([30 * MiB] * 2), USUAL)
    assert two.kind is Kind.DRIFT
    assert "three rounds or more would tell" in two.sentence


@pytest.mark.parametrize(("over", "kind"), [(0, Kind.PASS), (1, Kind.DRIFT)])
def test_what_may_be_left(over: int, kind: Kind) -> None:
    assert judge(series([16 * MiB + over] * 4), USUAL).kind is kind
    # A quarter of a large server's baseline is more than that.
    assert judge(series([25 * MiB + over] * 4, base=100 * MiB), USUAL).kind is kind
    assert judge(series([MiB + over] * 4), attrs.evolve(USUAL, left_bytes=MiB, left_percent=1)).kind is kind


@pytest.mark.parametrize(("over", "kind"), [(0, Kind.PASS), (1, Kind.LEAK)])
def test_slope_at_its_bound(over: int, kind: Kind) -> None:
    assert judge(series([(SLOPE + over) * number for number in range(1, 8)]), USUAL).kind is kind
    # Six rounds leave four to judge, which may be in order by chance.
    few = attrs.evolve(USUAL, left_bytes=5 * MiB, left_percent=1)
    growth = judge(series([(2 * SLOPE + over) * number for number in range(1, 7)]), few).findings[0]
    assert growth.kind is kind


@pytest.mark.parametrize(("over", "kind"), [(0, Kind.PASS), (1, Kind.DRIFT)])
def test_what_may_be_held_under_load(over: int, kind: Kind) -> None:
    made = series([0] * 3, peak=20 * MiB + over)
    verdict = judge(made, attrs.evolve(USUAL, held_bytes=20 * MiB))
    assert verdict.kind is kind
    assert judge(made, USUAL).kind is Kind.PASS


@pytest.mark.parametrize(
    ("name", "measure", "bound"), [("descriptors", Measure.DESCRIPTORS, 4), ("threads", Measure.THREADS, 4)]
)
def test_counts_come_back(name: str, measure: Measure, bound: int) -> None:
    assert judge(counted([12, 12 + bound, 12 + bound], name), USUAL).kind is Kind.PASS
    stays = judge(counted([12, 13 + bound, 13 + bound, 13 + bound], name), USUAL)
    assert (stays.kind, stays.measure, stays.figure, stays.bound) == (Kind.DRIFT, measure, bound + 1, bound)
    grows = judge(counted([12, 14, 16, 18], name), USUAL)
    assert (grows.kind, grows.measure) == (Kind.LEAK, measure)
    assert grows.sentence.endswith("6 more than before the load, and more with every round.")
    once = judge(counted([12, 30], name), USUAL)
    assert once.kind is Kind.DRIFT


def test_descriptors_that_are_lost_now_and_then_are_a_leak_in_the_end() -> None:
    assert judge(counted([12 + number // 5 for number in range(60)]), USUAL).kind is Kind.LEAK


def test_the_ledger_is_judged_where_there_is_one() -> None:
    assert judge(counted([0, 64 * KiB, 64 * KiB], "ledger_bytes"), USUAL).kind is Kind.PASS
    verdict = judge(counted([0, 64 * KiB, 128 * KiB, 192 * KiB], "ledger_bytes"), USUAL)
    assert (verdict.kind, verdict.measure, verdict.figure_text) == (Kind.LEAK, Measure.LEDGER, "192 KiB")


def test_memory_is_the_truest_figure_that_all_have() -> None:
    made = [attrs.evolve(one, rss_bytes=one.rss_bytes + one.round * 9 * MiB) for one in series([0] * 4)]
    assert judge(made, USUAL).kind is Kind.PASS
    without_uss = [attrs.evolve(one, uss_bytes=None) for one in made[:1]] + made[1:]
    assert judge(without_uss, USUAL).kind is Kind.PASS
    resident = [attrs.evolve(one, uss_bytes=None, pss_bytes=None) for one in made]
    assert judge(resident, USUAL).kind is Kind.LEAK


# -- the honest client -------------------------------------------------------------------------


def under_load(**given: object) -> list[Sample]:
    return series([0] * 3, looks=2, **given)


@pytest.mark.parametrize(("failures", "kind"), [(1, Kind.PASS), (2, Kind.DRIFT)])
def test_failures_of_an_honest_client(failures: int, kind: Kind) -> None:
    verdict = judge(under_load(honest_failures=failures), USUAL)
    assert verdict.kind is kind
    if kind:
        assert verdict.sentence == "12 of 600 requests of an honest client failed under load."
        assert (verdict.figure_text, verdict.bound_text) == ("2 %", "1 %")


def test_an_honest_client_that_is_never_answered() -> None:
    hung = {"honest_requests": 0, "honest_p99_ms": None}
    verdict = judge(under_load(**hung), USUAL)
    assert (verdict.kind, verdict.measure) == (Kind.DRIFT, Measure.HONEST_FAILURES)
    # Where there was none before either, nothing is said of one.
    silent = [attrs.evolve(one, honest_requests=0, honest_p99_ms=None) for one in under_load()]
    assert judge(silent, USUAL).kind is Kind.PASS


@pytest.mark.parametrize(("p99", "kind"), [(500.0, Kind.PASS), (500.1, Kind.DRIFT)])
def test_latency_of_an_honest_client(p99: float, kind: Kind) -> None:
    verdict = judge(under_load(honest_p99_ms=p99), USUAL)
    assert verdict.kind is kind
    slow_before = [attrs.evolve(one, honest_p99_ms=51.0) if one.phase == "baseline" else one for one in under_load()]
    slow = [attrs.evolve(one, honest_p99_ms=p99 + 10) if one.phase == "load" else one for one in slow_before]
    assert judge(slow, USUAL).kind is (Kind.PASS if p99 == 500 else Kind.DRIFT)


# -- and the rest ------------------------------------------------------------------------------


def test_the_worst_finding_is_the_verdict() -> None:
    made = [
        attrs.evolve(one, descriptors=12 + 10 * one.round) if one.phase == "rest" else one for one in series([0] * 4)
    ]
    made = [attrs.evolve(one, honest_failures=50) if one.phase == "load" else one for one in made]
    verdict = judge(made, USUAL)
    assert (verdict.kind, verdict.measure) == (Kind.LEAK, Measure.DESCRIPTORS)
    assert {finding.measure for finding in verdict.findings if finding.kind} == {
        Measure.DESCRIPTORS,
        Measure.HONEST_FAILURES,
    }


def test_a_pass_says_what_was_looked_at() -> None:
    verdict = judge(series([300 * KiB] * 5), USUAL)
    assert verdict.sentence == (
        "Memory does not grow from round to round (5 rounds). After the load 300 KiB more are held than before it."
    )
    assert (verdict.measure, verdict.figure_text, verdict.bound_text) == (
        Measure.GROWTH,
        "0 B a round",
        "1 MiB",
    )


def test_exactly_as_much() -> None:
    assert judge(series([0] * 5), USUAL).sentence.endswith(" After the load as much is held as before it.")
    assert judge(series([-KiB] * 5), USUAL).sentence.endswith(" After the load 1 KiB less are held than before it.")


def test_a_round_that_was_cut_off_is_left_out() -> None:
    made = [*series([0] * 3), sample("load", 4, 400 * MiB)]
    assert judge(made, USUAL).kind is Kind.PASS


def test_a_server_that_died() -> None:
    verdict = died("it was killed by SIGKILL")
    assert (verdict.kind, verdict.measure) == (Kind.DRIFT, Measure.ALIVE)
    assert verdict.sentence == "The server ended: it was killed by SIGKILL."


@pytest.mark.parametrize(
    "made",
    [
        [],
        [sample("baseline", 1, MiB)],
        [sample("rest", 1, MiB)],
        [sample("baseline", 1, MiB), sample("load", 1, MiB)],
        [sample("baseline", 1, MiB), sample("rest", 1, MiB, server="other")],
        [sample("baseline", 1, MiB), sample("rest", 1, MiB, scenario="idle")],
    ],
)
def test_what_cannot_be_judged(made: list[Sample]) -> None:
    with pytest.raises(ValueError, match="a verdict"):
        judge(made, USUAL)

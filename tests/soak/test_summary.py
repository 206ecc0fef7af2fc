"""What a server held and how it answered make one verdict."""

from __future__ import annotations

import attrs
import pytest

from hardhttp.soak.plan import Plan, Result, State
from hardhttp.soak.samples import Sample
from hardhttp.soak.summary import latest_attempt, rows, runs, too_short, worst_of
from hardhttp.soak.verdict import Kind, Measure
from tests.soak.series import sample, series

MiB = 1 << 20


def steady(scenario: str, rounds: int = 1, memory: int = 50 * MiB) -> list[Sample]:
    return [
        sample(phase, number, memory, server="a", scenario=scenario)
        for number in range(1, rounds + 1)
        for phase in ("baseline", "load", "rest")
        for _ in range(3)
    ]


def state(scenario: str, outcomes: dict[str, int], held: float = 0.0, load_seconds: float = 100.0) -> State:
    plan = Plan(("a",), (scenario,), 1, load_seconds / 0.55)
    return State(plan, results={("a", scenario): Result(outcomes, held)})


def test_a_sound_server_passes() -> None:
    (row,) = rows(state("oversized-length", {"413 body-bytes": 10, "held": 2}), steady("oversized-length"))
    assert row.kind is Kind.PASS
    assert row.verdict is not None
    assert row.verdict.findings[-1].sentence == "Every client was answered as it should be."


@pytest.mark.parametrize(("strange", "kind"), [(1, Kind.PASS), (2, Kind.DRIFT)])
def test_strange_answers_are_a_drift_past_their_bound(strange: int, kind: Kind) -> None:
    outcomes = {"413": 100 - strange, "invited 10 GiB": strange}
    (row,) = rows(state("oversized-length", outcomes), steady("oversized-length"))
    assert row.kind is kind
    if kind is Kind.DRIFT:
        assert row.verdict is not None
        assert row.verdict.measure is Measure.ANSWERS
        assert row.sentence == "What a sound server does not do: invited 10 GiB (2 times)."


def test_a_leak_is_worse_than_a_strange_answer() -> None:
    grown = [s for n in range(1, 8) for s in _round(n)]
    (row,) = rows(state("oversized-length", {"invited 10 GiB": 5}), grown)
    assert row.kind is Kind.LEAK
    assert row.verdict is not None
    assert row.verdict.measure is Measure.GROWTH


def makers(bytes_a_round: int) -> list[Sample]:
    """Eleven rounds of session-makers, each of which leaves so much, and 20,000 bytes in the ledger."""

    def told(one: Sample) -> int:
        return 20_000 * (one.round - (one.phase == "baseline"))

    return [
        attrs.evolve(one, server="a", scenario="session-makers", ledger_bytes=told(one))
        for one in series([number * bytes_a_round for number in range(1, 12)], peak=MiB)
    ]


@pytest.mark.parametrize(("each_bytes", "kind"), [(4 << 10, Kind.PASS), (6 << 10, Kind.LEAK)])
def test_sessions_are_rightly_held_until_they_expire(each_bytes: int, kind: Kind) -> None:
    """Each of eleven rounds makes a thousand, for twenty minutes: that is no leak. More than they take is one."""
    (row,) = rows(state("session-makers", {"a session": 11_000, "held": 44}), makers(1000 * each_bytes))
    assert row.kind is kind
    assert row.verdict is not None
    assert {finding.measure for finding in row.verdict.findings if finding.kind} <= {Measure.GROWTH}


def test_what_sessions_may_take_is_of_those_that_were_made() -> None:
    """The same growth by clients who were given none is a leak, also of the ledger."""
    (row,) = rows(state("session-makers", {"200": 11_000}), makers(1000 * (4 << 10)))
    assert row.kind is Kind.LEAK
    assert row.verdict is not None
    assert {finding.measure for finding in row.verdict.findings if finding.kind} == {Measure.GROWTH, Measure.LEDGER}


def _round(number: int) -> list[Sample]:
    before, after = (50 + 5 * (number - 1)) * MiB, (50 + 5 * number) * MiB
    figures = {"baseline": before, "load": after, "rest": after}
    return [sample(p, number, m, server="a", scenario="oversized-length") for p, m in figures.items() for _ in range(3)]


@pytest.mark.parametrize(
    ("held", "load", "kind"), [(90.0, 100, Kind.PASS), (90.1, 100, Kind.DRIFT), (90.1, 90, Kind.PASS)]
)
def test_whoever_earns_nothing_is_let_go(held: float, load: float, kind: Kind) -> None:
    """A load that is shorter than the bound proves nothing."""
    (row,) = rows(state("drip-head", {"408": 5}, held, load), steady("drip-head"))
    assert row.kind is kind


def test_what_was_not_run_says_why() -> None:
    at = state("lookers", {})
    at.results["a", "lookers"].skipped = "it has no path for: look"
    (row,) = rows(at, [])
    assert (row.kind, row.sentence) == (None, "Not run: it has no path for: look.")
    assert not row.undecided
    (row,) = rows(state("lookers", {}), [])
    assert row.sentence.startswith("No verdict: ")
    assert row.undecided
    assert worst_of([row], "a") is None


def test_a_server_that_ended_says_so() -> None:
    at = state("churn", {"200": 5})
    at.problems["a"] = "it was killed"
    (row,) = rows(at, steady("churn"))
    assert row.kind is Kind.DRIFT
    assert "it was killed" in row.sentence
    assert worst_of([row], "a") is Kind.DRIFT


def test_only_the_last_attempt_counts() -> None:
    """A run that was killed has half a scenario of another process in its file."""
    first = [sample("baseline", 1, 1), sample("load", 1, 2), sample("rest", 1, 3), sample("baseline", 2, 3)]
    again = [sample("baseline", 1, 7), sample("rest", 1, 8)]
    assert latest_attempt([*first, *again]) == again
    assert latest_attempt(first) == first


def test_what_a_load_is_too_short_to_tell_is_said() -> None:
    plan = Plan(("a",), ("churn", "drip-head"), 1, 10.0)
    assert list(too_short(plan)) == ["drip-head"]
    assert "load of 5.5 s is too short" in too_short(plan)["drip-head"]
    assert not too_short(Plan(("a",), ("drip-head",), 1, 1000.0))


def test_a_report_is_of_those_with_something_to_show() -> None:
    at, samples = state("churn", {"200": 5}), steady("churn")
    found = rows(at, samples)
    (run,) = runs(at, samples, found, {"a": "version 1"})
    assert (run.server, run.about, list(run.verdicts)) == ("a", "version 1", ["churn"])
    assert runs(at, [], [], {}) == []


def test_a_report_says_why_a_scenario_was_passed_over() -> None:
    at = State(Plan(("a",), ("churn", "lookers"), 1, 10.0))
    at.results["a", "churn"] = Result({"200": 5})
    at.results["a", "lookers"] = Result(skipped="it has no path for: look")
    samples = steady("churn")
    (run,) = runs(at, samples, rows(at, samples), {})
    assert dict(run.passed_over) == {"lookers": "It has no path for: look."}

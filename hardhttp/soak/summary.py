"""What a run has found: for each server and scenario the verdict on the process, and what its clients saw.

Samples tell what the server held; outcomes tell how it answered. A server that gives everything back
but keeps a dripping client for ever has not passed, so both are put together here: whatever is
strange among the answers makes a DRIFT of a PASS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from hardhttp.soak.catalogue import CATALOGUE
from hardhttp.soak.plan import Plan, Result, State
from hardhttp.soak.samples import PHASES, Sample
from hardhttp.soak.verdict import Kind, Verdict, died, judge

__all__ = ["Row", "latest_attempt", "rows", "worst_of"]

# A share of strange answers below this is a busy machine's.
STRANGE_SHARE = 0.01


@attrs.frozen
class Row:
    """``verdict`` is ``None`` where there is none; then ``sentence`` says why."""

    server: str
    scenario: str
    verdict: Verdict | None
    kind: Kind | None
    sentence: str
    outcomes: dict[str, int]


def latest_attempt(samples: Iterable[Sample]) -> list[Sample]:
    """The samples since the scenario was begun for the last time: a run that is gone on with begins it anew,
    at a server that has been started anew.
    """
    latest: list[Sample] = []
    for sample in samples:
        if latest and _place(sample) < _place(latest[-1]):
            latest = []
        latest.append(sample)
    return latest


def _place(sample: Sample) -> tuple[int, int]:
    return sample.round, PHASES.index(sample.phase)


def strange(result: Result, scenario: str, load_seconds: float) -> str | None:
    """What clients saw that a sound server does not do, in a sentence."""
    expectation = CATALOGUE[scenario].expectation
    odd = expectation.strange(result.outcomes)
    if sum(odd.values()) > STRANGE_SHARE * sum(result.outcomes.values()):
        listed = ", ".join(f"{outcome} ({count:,} times)" for outcome, count in sorted(odd.items()))
        return f"Its clients saw what a sound server does not do: {listed}."
    if expectation.held_seconds is not None and result.held_seconds > expectation.held_seconds:
        return (
            f"A client that earned nothing was kept for {result.held_seconds:.0f} s; "
            f"the bound is {expectation.held_seconds:.0f} s."
        )
    return None


def rows(state: State, samples: Iterable[Sample]) -> list[Row]:
    """A row for each server and scenario of the plan that was begun, in its order."""
    by_scenario: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        by_scenario.setdefault((sample.server, sample.scenario), []).append(sample)
    found: list[Row] = []
    for server in state.plan.servers:
        last = None
        for scenario in state.plan.scenarios:
            result = state.results.get((server, scenario))
            seen = latest_attempt(by_scenario.get((server, scenario), ()))
            if result is not None:
                last = len(found)
                found.append(_row(server, scenario, result, seen, state.plan))
        problem = state.problems.get(server)
        if problem is not None:
            found.append(_ended(server, found[last].scenario if last is not None else "", problem))
    return found


def _row(server: str, scenario: str, result: Result, samples: Sequence[Sample], plan: Plan) -> Row:
    if result.skipped is not None:
        return Row(server, scenario, None, None, f"Not run: {result.skipped}.", {})
    try:
        verdict = judge(samples, CATALOGUE[scenario].expectation)
    except ValueError as error:
        return Row(server, scenario, None, None, f"No verdict: {error}.", result.outcomes)
    odd = strange(result, scenario, plan.load_seconds)
    if odd is not None and verdict.kind is Kind.PASS:
        return Row(server, scenario, verdict, Kind.DRIFT, odd, result.outcomes)
    return Row(server, scenario, verdict, verdict.kind, verdict.sentence, result.outcomes)


def _ended(server: str, scenario: str, problem: str) -> Row:
    verdict = died(problem)
    return Row(server, scenario, verdict, verdict.kind, verdict.sentence, {})


def worst_of(found: Iterable[Row], server: str) -> Kind | None:
    """The worst verdict on ``server``; ``None`` when there is none at all."""
    return max((row.kind for row in found if row.server == server and row.kind is not None), default=None)

"""What a run has found: for each server and scenario the verdict on the process, and what its clients saw.

Samples tell what the server held; outcomes tell how it answered. A server that gives everything back
but keeps a dripping client for ever has not passed, so both are put together here: a strange answer
is one more finding of the verdict, and makes a DRIFT of a PASS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from hardhttp.soak.catalogue import CATALOGUE
from hardhttp.soak.plan import Plan, Result, State
from hardhttp.soak.runs import Run
from hardhttp.soak.samples import PHASES, Sample
from hardhttp.soak.verdict import Finding, Kind, Measure, Verdict, died, judge

__all__ = ["Row", "latest_attempt", "rows", "runs", "too_short", "worst_of"]

# A share of strange answers below this is a busy machine's.
STRANGE_SHARE = 0.01
NOT_RUN = "Not run: "


@attrs.frozen
class Row:
    """One scenario at one server. ``verdict`` is ``None`` where there is none; then ``sentence`` says why."""

    server: str
    scenario: str
    verdict: Verdict | None
    sentence: str
    outcomes: dict[str, int]

    @property
    def undecided(self) -> bool:
        """It was run, and there is no verdict."""
        return self.verdict is None and not self.sentence.startswith(NOT_RUN)

    @property
    def kind(self) -> Kind | None:
        return None if self.verdict is None else self.verdict.kind


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


def rows(state: State, samples: Iterable[Sample]) -> list[Row]:
    """A row for each server and scenario of the plan that was begun, in its order."""
    seen: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        seen.setdefault((sample.server, sample.scenario), []).append(sample)
    found: list[Row] = []
    for server in state.plan.servers:
        begun = [key for key in ((server, scenario) for scenario in state.plan.scenarios) if key in state.results]
        found += [_row(*key, state.results[key], latest_attempt(seen.get(key, ())), state.plan) for key in begun]
        problem = state.problems.get(server)
        if problem is not None:
            verdict = died(problem)
            last = begun[-1][1] if begun else state.plan.scenarios[0]
            found = [row for row in found if (row.server, row.scenario) != (server, last)]
            found.append(Row(server, last, verdict, verdict.sentence, {}))
    return found


def runs(state: State, samples: Sequence[Sample], found: Iterable[Row], about: Mapping[str, str]) -> list[Run]:
    """The servers as a report shows them; those of which there is nothing to show are left out."""
    found, made = list(found), []
    for server in state.plan.servers:
        own = [sample for sample in samples if sample.server == server]
        rows_of_it = [row for row in found if row.server == server]
        verdicts = {row.scenario: row.verdict for row in rows_of_it if row.verdict is not None}
        passed_over = {row.scenario: _why(row.sentence) for row in rows_of_it if row.verdict is None}
        if own and verdicts:
            made.append(Run(server, own, verdicts, about.get(server, ""), passed_over))
    return made


def _why(sentence: str) -> str:
    """The reason alone, where something else says that it was not run."""
    reason = sentence.removeprefix(NOT_RUN)
    return reason[:1].upper() + reason[1:]


def too_short(plan: Plan) -> dict[str, str]:
    """Scenarios of which a deadline could not be judged, each with the sentence that says so."""
    return {
        scenario: f"The load of {plan.load_seconds:.2g} s is too short to tell when such a client is let go: "
        f"that is judged from {bound:.0f} s on."
        for scenario in plan.scenarios
        if (bound := CATALOGUE[scenario].expectation.held_seconds) is not None and plan.load_seconds <= bound
    }


def worst_of(found: Iterable[Row], server: str) -> Kind | None:
    """The worst verdict on ``server``; ``None`` when there is none at all."""
    return max((row.kind for row in found if row.server == server and row.kind is not None), default=None)


def _row(server: str, scenario: str, result: Result, samples: Sequence[Sample], plan: Plan) -> Row:
    if result.skipped is not None:
        return Row(server, scenario, None, f"{NOT_RUN}{result.skipped}.", {})
    try:
        rounds = len({sample.round for sample in samples})
        verdict = judge(samples, CATALOGUE[scenario].expectation.after(result.outcomes, rounds))
    except ValueError as error:
        return Row(server, scenario, None, f"No verdict: {error}.", result.outcomes)
    verdict = _with(verdict, [*_answers(result, scenario), *_kept(result, scenario, plan.load_seconds)])
    return Row(server, scenario, verdict, verdict.sentence, result.outcomes)


def _with(verdict: Verdict, more: Sequence[Finding]) -> Verdict:
    """The verdict with further findings, the worst of which may be the worst of all."""
    verdict = attrs.evolve(verdict, findings=(*verdict.findings, *more))
    worst = max(more, key=lambda finding: finding.kind, default=None)
    if worst is None or worst.kind <= verdict.kind:
        return verdict
    return Verdict(worst.kind, worst.measure, worst.figure, worst.bound, worst.sentence, verdict.findings)


def _answers(result: Result, scenario: str) -> list[Finding]:
    """Whether clients were answered as a sound server does."""
    odd = CATALOGUE[scenario].expectation.strange(result.outcomes)
    total = sum(result.outcomes.values())
    if not CATALOGUE[scenario].expectation.answers or not total:
        return []
    share = sum(odd.values()) / total
    kind = Kind.DRIFT if share > STRANGE_SHARE else Kind.PASS
    listed = ", ".join(f"{outcome} ({count:,} times)" for outcome, count in sorted(odd.items()))
    said = f"What a sound server does not do: {listed}." if odd else "Every client was answered as it should be."
    return [Finding(Measure.ANSWERS, kind, share, STRANGE_SHARE, said)]


def _kept(result: Result, scenario: str, load_seconds: float) -> list[Finding]:
    """Whether clients that earn nothing were let go, where the load lasted long enough to tell."""
    bound = CATALOGUE[scenario].expectation.held_seconds
    if bound is None or load_seconds <= bound:
        return []
    kind = Kind.DRIFT if result.held_seconds > bound else Kind.PASS
    said = f"A client that earned nothing was kept for {result.held_seconds:.0f} s."
    return [Finding(Measure.KEPT, kind, result.held_seconds, bound, said)]

"""The plan of a run: which servers, which scenarios, how many rounds of each, how long everything lasts.

A scenario has all its rounds one after the other, so that what grows from round to round is its own
and not that of the scenario before. A round is a baseline, the load, and a rest. The plan and how
far it has come are kept in ``state.json``, written anew after every round, so that a run that was
ended by a power cut goes on with the round it was in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Plan", "Result", "State", "Step", "make_plan"]

# Of a round.
BASELINE_SHARE, LOAD_SHARE = 0.15, 0.55
LEAST_ROUND_SECONDS = 2.0
LONG_ROUND_SECONDS = 6.0
MOST_ROUNDS = 12
# Fewer show no trend.
TREND_ROUNDS = 3
LEAST_SAMPLE_SECONDS, MOST_SAMPLE_SECONDS = 0.2, 5.0
SAMPLES_PER_ROUND = 20


@attrs.frozen
class Step:
    """One round of one scenario at one server."""

    server: str
    scenario: str
    round: int


@attrs.frozen
class Plan:
    """``round_seconds``: a baseline, the load and a rest together. ``pairs``: how many of a server and a scenario that
    it has the paths for; all when that is not known.
    """

    servers: tuple[str, ...]
    scenarios: tuple[str, ...]
    rounds: int
    round_seconds: float
    scale: float = 1.0
    honest_per_second: float = 20.0
    pairs: int | None = None

    @property
    def baseline_seconds(self) -> float:
        return self.round_seconds * BASELINE_SHARE

    @property
    def load_seconds(self) -> float:
        return self.round_seconds * LOAD_SHARE

    @property
    def rest_seconds(self) -> float:
        return self.round_seconds - self.baseline_seconds - self.load_seconds

    @property
    def sample_seconds(self) -> float:
        return min(MOST_SAMPLE_SECONDS, max(LEAST_SAMPLE_SECONDS, self.round_seconds / SAMPLES_PER_ROUND))

    @property
    def seconds(self) -> float:
        """How long all of it lasts, starting of servers apart."""
        pairs = len(self.servers) * len(self.scenarios) if self.pairs is None else self.pairs
        return pairs * self.rounds * self.round_seconds

    def steps(self, server: str) -> Iterator[Step]:
        """What is done with a server, in order."""
        for scenario in self.scenarios:
            for number in range(1, self.rounds + 1):
                yield Step(server, scenario, number)


def make_plan(
    servers: tuple[str, ...],
    scenarios: tuple[str, ...],
    seconds: float,
    rounds: int | None = None,
    scale: float = 1.0,
    honest_per_second: float = 20.0,
    pairs: int | None = None,
) -> Plan:
    """A plan that takes ``seconds``; ``pairs`` as in ``Plan``. Raises ``ValueError`` when that is too short.

    Without ``rounds`` there is one where there is time for no more, three where there is for that,
    and up to twelve: from three on a trend can be told.
    """
    count = len(servers) * len(scenarios) if pairs is None else pairs
    each = seconds / count
    if rounds is None:
        rounds = int(min(MOST_ROUNDS, each / LONG_ROUND_SECONDS))
        rounds = max(rounds, TREND_ROUNDS if each >= TREND_ROUNDS * LEAST_ROUND_SECONDS else 1)
    if each / rounds < LEAST_ROUND_SECONDS:
        needed = count * rounds * LEAST_ROUND_SECONDS
        raise ValueError(
            f"--duration {seconds:g}s is too short for {len(scenarios)} scenarios on {len(servers)} servers in "
            f"{rounds} rounds: it takes {needed:g}s, or fewer of them"
        )
    return Plan(servers, scenarios, rounds, each / rounds, scale, honest_per_second, pairs)


@attrs.define
class Result:
    """What the clients of one scenario saw at one server, over all its rounds. ``skipped``: why it was not run."""

    outcomes: dict[str, int] = attrs.Factory(dict)
    held_seconds: float = 0.0
    skipped: str | None = None

    def add(self, outcomes: dict[str, int], held_seconds: float) -> None:
        """One round's."""
        for outcome, count in outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + count
        self.held_seconds = max(self.held_seconds, held_seconds)


@attrs.define
class State:
    """How far a run has come: the rounds that are done, the seconds it has taken, and what clients saw.

    ``problems``: servers that could not be started or have ended, and how. ``words``: the command line that began it,
    at ``began_epoch_seconds``.
    """

    plan: Plan
    done: set[Step] = attrs.Factory(set)
    seconds: float = 0.0
    results: dict[tuple[str, str], Result] = attrs.Factory(dict)
    problems: dict[str, str] = attrs.Factory(dict)
    words: list[str] = attrs.Factory(list)
    began_epoch_seconds: float | None = None

    def result(self, step: Step) -> Result:
        return self.results.setdefault((step.server, step.scenario), Result())

    def seen(self, server: str) -> bool:
        """Whether any of it was run."""
        return any(name == server for name, _ in self.results)

    def begin_again(self) -> None:
        """Forget rounds of scenarios that were not finished: a server that is started anew has another baseline. What
        went wrong with a server is forgotten too, so that it is tried again.
        """
        self.problems.clear()
        for server in self.plan.servers:
            for scenario in self.plan.scenarios:
                steps = {step for step in self.plan.steps(server) if step.scenario == scenario}
                if not steps <= self.done:
                    self.done -= steps
                    self.results.pop((server, scenario), None)

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        written = {
            "plan": attrs.asdict(self.plan),
            "done": sorted(attrs.astuple(step) for step in self.done),
            "seconds": self.seconds,
            "results": [[*key, attrs.asdict(result)] for key, result in self.results.items()],
            "problems": self.problems,
            "words": self.words,
            "began_epoch_seconds": self.began_epoch_seconds,
        }
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(written, indent=1), encoding="utf-8")
        os.replace(beside, path)

    @classmethod
    def load(cls, path: Path) -> State:
        """Raises ``OSError``, or ``ValueError`` for what ``save`` has not written."""
        try:
            read: dict[str, Any] = json.loads(path.read_text("utf-8"))
            plan = Plan(**{**read["plan"], "servers": tuple(read["plan"]["servers"])})
            plan = attrs.evolve(plan, scenarios=tuple(plan.scenarios))
            results = {(server, scenario): Result(**result) for server, scenario, result in read["results"]}
            done = {Step(*step) for step in read["done"]}
            began: float | None = read["began_epoch_seconds"]
            return cls(plan, done, read["seconds"], results, read["problems"], read["words"], began)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not the state of a run: {error!r}") from None

"""A plan fits its time, and a run that was interrupted knows where it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardhttp.soak.plan import Plan, Result, State, Step, make_plan

TWO = ("idle", "churn")


@pytest.mark.parametrize(
    ("seconds", "rounds", "each"),
    [(4, 1, 2.0), (11.9, 1, 5.95), (12, 3, 2.0), (36, 3, 6.0), (60, 5, 6.0), (144, 12, 6.0), (86_400, 12, 3600.0)],
)
def test_rounds_are_as_many_as_there_is_time_for(seconds: float, rounds: int, each: float) -> None:
    plan = make_plan(("server",), TWO, seconds)
    assert (plan.rounds, plan.round_seconds) == (rounds, pytest.approx(each))
    assert plan.seconds == pytest.approx(seconds)
    assert plan.baseline_seconds + plan.load_seconds + plan.rest_seconds == pytest.approx(plan.round_seconds)
    assert 0.2 <= plan.sample_seconds <= 5


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    make_plan(("a", "b"), TWO, 8)
    with pytest.raises(ValueError, match=r"too short for 2 scenarios on 2 servers in 1 rounds: it takes 8s"):
        make_plan(("a", "b"), TWO, 7.9)
    with pytest.raises(ValueError, match="in 10 rounds: it takes 20s"):
        make_plan(("a",), ("idle",), 19, rounds=10)


def test_time_is_for_what_is_run() -> None:
    """Scenarios that a server has no path for are passed over in no time."""
    plan = make_plan(("a", "b"), TWO, 60, pairs=3)
    assert (plan.rounds, plan.round_seconds, plan.seconds) == (3, pytest.approx(20 / 3), pytest.approx(60))


def test_a_scenario_has_its_rounds_one_after_the_other() -> None:
    steps = list(Plan(("a", "b"), TWO, 2, 6.0).steps("b"))
    assert [(step.scenario, step.round) for step in steps] == [("idle", 1), ("idle", 2), ("churn", 1), ("churn", 2)]


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = State(
        Plan(("a",), TWO, 2, 6.0), {Step("a", "idle", 1)}, 12.5, words=["--rounds=2"], began_epoch_seconds=7.5
    )
    state.result(Step("a", "idle", 1)).add({"408": 3}, 20.0)
    state.result(Step("a", "idle", 2)).add({"408": 2, "reset": 1}, 10.0)
    state.problems["a"] = "it ended"
    state.save(tmp_path / "state.json")
    read = State.load(tmp_path / "state.json")
    assert read == state
    assert read.results["a", "idle"] == Result({"408": 5, "reset": 1}, 20.0)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"plan": {}}'])
def test_what_is_no_state_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(ValueError):
        State.load(tmp_path / "state.json")


def test_a_scenario_that_was_not_finished_begins_anew() -> None:
    """Its server is another process by then, with another baseline; a server that failed is tried again."""
    state = State(Plan(("a",), TWO, 2, 6.0), {Step("a", "idle", 1), Step("a", "idle", 2), Step("a", "churn", 1)})
    state.problems["a"] = "it ended"
    for step in state.done:
        state.result(step).add({"held": 1}, 0.0)
    state.begin_again()
    assert state.done == {Step("a", "idle", 1), Step("a", "idle", 2)}
    assert list(state.results) == [("a", "idle")]
    assert state.problems == {}

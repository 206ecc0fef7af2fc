"""What is left for people and programs: the two files, from rows and samples."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from hardhttp.soak.results import REPORT, VERDICTS, runs_of, verdicts_of, write_results
from hardhttp.soak.verdict import Kind, Measure, Verdict
from tests.soak.pretend import SCENARIOS, leaking, run, sound


@attrs.frozen
class Found:
    server: str
    scenario: str
    verdict: Verdict | None
    kind: Kind | None
    sentence: str


MADE = run("hardhttp", sound), run("other", leaking)


def found() -> list[Found]:
    rows = [
        Found(each.server, name, verdict, verdict.kind, verdict.sentence)
        for each in MADE
        for name, verdict in each.verdicts.items()
    ]
    rows[1] = attrs.evolve(rows[1], kind=Kind.DRIFT, sentence="Its clients saw 500.")
    rows[2] = attrs.evolve(rows[2], verdict=None, kind=None, sentence="Not run: it has no path for: large.")
    return [*rows, Found("third", "idle", None, None, "No verdict: it did not start.")]


SAMPLES = [sample for each in MADE for sample in each.samples]


def test_runs_are_of_those_who_were_measured() -> None:
    runs = runs_of(found(), SAMPLES, {"other": "2.0"})
    assert [(each.server, each.about) for each in runs] == [("hardhttp", ""), ("other", "2.0")]
    first = runs[0]
    assert first.passed_over == {"stopped_reader": "Not run: it has no path for: large."}
    assert "stopped_reader" not in first.verdicts
    answered = first.verdicts["drip_body"]
    assert (answered.kind, answered.measure, answered.sentence) == (
        Kind.DRIFT,
        Measure.ANSWERS,
        "Its clients saw 500.",
    )
    assert answered.findings[:-1] == MADE[0].verdicts["drip_body"].findings
    assert runs[1].verdicts == MADE[1].verdicts


def test_verdicts_for_programs() -> None:
    told = verdicts_of(found())
    assert json.loads(json.dumps(told)) == told
    assert told["format"] == 1
    assert list(told["servers"]) == ["hardhttp", "other", "third"]
    leak = told["servers"]["other"]["stopped_reader"]
    assert (leak["kind"], leak["measure"]) == ("LEAK", "memory each round")
    assert leak["figure"] > leak["bound"] > 0
    assert leak["sentence"].startswith("Each round of load leaves")
    assert told["servers"]["hardhttp"]["drip_body"] == {
        "kind": "DRIFT",
        "sentence": "Its clients saw 500.",
        "measure": "answers",
        "figure": None,
        "bound": None,
    }
    assert told["servers"]["third"]["idle"] == {"kind": None, "sentence": "No verdict: it did not start."}


def test_both_files_are_written(tmp_path: Path) -> None:
    write_results(tmp_path, found(), SAMPLES, {"Machine": "mine"}, scenarios=SCENARIOS, about={"other": "2.0"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [REPORT, VERDICTS]
    assert json.loads((tmp_path / VERDICTS).read_text()) == verdicts_of(found())
    text = (tmp_path / REPORT).read_text("utf-8")
    assert "Not run: it has no path for: large." in text
    assert "Its clients saw 500." in text
    assert SCENARIOS["idle"] in text


@pytest.mark.parametrize("rows", [[], found()[-1:]])
def test_where_nothing_was_measured_there_is_no_report(tmp_path: Path, rows: list[Found]) -> None:
    write_results(tmp_path, rows, [], {})
    assert [path.name for path in tmp_path.iterdir()] == [VERDICTS]

"""The verdicts for programs."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from hardhttp.soak.results import VERDICTS, verdicts_of, write_verdicts
from hardhttp.soak.verdict import Expectation, Verdict, died, judge
from tests.soak.series import MiB, series


@attrs.frozen
class Found:
    server: str
    scenario: str
    verdict: Verdict | None
    sentence: str


LEAK = judge(series([2 * MiB * number for number in range(1, 8)]), Expectation())
DIED = died("it was killed")
ROWS = [
    Found("hardhttp", "idle", judge(series([0] * 3), Expectation()), "Flat."),
    Found("other", "idle", LEAK, LEAK.sentence),
    Found("other", "stopped-reader", None, "Not run: it has no path for: large."),
    Found("other", "drip-head", DIED, DIED.sentence),
]


def test_verdicts_for_programs() -> None:
    told = verdicts_of(ROWS)
    assert json.loads(json.dumps(told)) == told
    assert told["format"] == 1
    assert told["servers"]["hardhttp"]["idle"]["kind"] == "PASS"
    assert told["servers"]["other"] == {
        "idle": {
            "kind": "LEAK",
            "sentence": "Each round of load leaves 2 MiB behind: 14 MiB after 7 rounds.",
            "measure": "memory each round",
            "figure": 2 * MiB,
            "bound": MiB / 2,
        },
        "stopped-reader": {"kind": None, "sentence": "Not run: it has no path for: large."},
        "drip-head": {
            "kind": "DRIFT",
            "sentence": "The server ended: it was killed.",
            "measure": "the server",
            "figure": None,
            "bound": None,
        },
    }


def test_they_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / VERDICTS
    write_verdicts(path, ROWS[:1])
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_text", lambda *given: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_verdicts(path, ROWS)
    assert path.read_bytes() == before
    monkeypatch.undo()
    write_verdicts(path, ROWS)
    assert json.loads(path.read_text()) == verdicts_of(ROWS)
    assert [entry.name for entry in tmp_path.iterdir()] == [VERDICTS]

"""The table of ``tests.soak.alarms``: what it calls wrong, and that there is nothing of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardhttp.soak.summary import Row
from hardhttp.soak.verdict import Expectation, Kind, judge
from tests.soak import alarms
from tests.soak.alarms import SOUND, Run, table
from tests.soak.series import MiB, series
from tests.soak.test_broken import FOUND, INNOCENT


def row(scenario: str, *levels: float) -> Row:
    verdict = judge(series([level * MiB for level in levels]), Expectation())
    return Row("server", scenario, verdict, verdict.sentence, {})


def test_a_false_alarm_is_told_with_its_run() -> None:
    sound, leak = row("lookers", 0, 0, 0), row("lookers", 6, 12, 18)
    assert leak.kind is Kind.LEAK
    (line,) = table([Run(SOUND, 1, [sound]), Run(SOUND, 2, [leak])])
    assert (line.right, line.runs) == (1, 2)
    assert line.wrong == ["run 2: LEAK: Each round of load leaves 6 MiB behind: 18 MiB after 3 rounds."]
    assert line.nearest == "memory each round 6 MiB a round (bound 1 MiB)"


def test_a_leak_that_is_not_found_or_found_by_another_measure_is_told() -> None:
    leak, missed = row("lookers", 6, 12, 18), row("lookers", 0, 0, 0)
    by_another = row("broken-forms", 6, 12, 18)  # meant to be found by its descriptors
    lines = table([Run("session", 1, [leak, row(INNOCENT, 0, 0, 0)]), Run("session", 2, [missed])])
    assert [(line.scenario, line.expected, line.right, line.runs) for line in lines] == [
        ("lookers", Kind.LEAK, 1, 2),
        (INNOCENT, Kind.PASS, 1, 1),
    ]
    assert lines[0].nearest == "memory each round 0 B a round (bound 1 MiB)"
    (line,) = table([Run("descriptor", 1, [by_another])])
    assert len(line.wrong) == 1


def test_what_was_kept_is_judged_again_and_nothing_of_it_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert alarms.main([f"--judge={tmp_path}"]) == 0
    assert capsys.readouterr().out.startswith("server ")


@pytest.mark.soak
@pytest.mark.long
def test_twenty_runs_without_a_false_alarm_and_ten_in_which_each_leak_is_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert alarms.main([]) == 0, capsys.readouterr().out
    assert capsys.readouterr().out.count("20 of 20") == len(FOUND)

"""The run on a real server, where what matters cannot be seen from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import pytest_twisted

from hardhttp.soak.plan import Plan, State, make_plan
from hardhttp.soak.runner import SAMPLES, Runner
from hardhttp.soak.samples import read_samples
from hardhttp.soak.summary import rows
from hardhttp.soak.target import named
from hardhttp.soak.terminal import Lines
from hardhttp.soak.verdict import Kind
from tests.twistd_process import ROOT


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_phase_is_not_over_before_it_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine looks late; then a short baseline had no sample, and its scenario no verdict."""
    from twisted.internet import reactor

    monkeypatch.setattr(Plan, "sample_seconds", property(lambda self: 60.0))
    monkeypatch.chdir(ROOT)
    server = named(f"mine={sys.executable} -m tests.soak.broken {{port}} none", tmp_path)
    state = State(make_plan(("mine",), ("blank-lines",), 2.0))
    await Runner(reactor, state, {"mine": server}, tmp_path, Lines(state.plan)).run()
    samples = list(read_samples(tmp_path / SAMPLES))
    assert [sample.phase for sample in samples] == ["baseline", "rest"]
    (row,) = rows(state, samples)
    assert row.kind is Kind.PASS


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_an_admin_side_that_does_not_answer_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from twisted.internet import reactor

    monkeypatch.chdir(ROOT)
    server = named(f"mine={sys.executable} -m tests.soak.broken {{port}} none", tmp_path)
    server.admin_url = "http://127.0.0.1:1"
    state = State(make_plan(("mine",), ("blank-lines",), 2.0))
    await Runner(reactor, state, {"mine": server}, tmp_path, Lines(state.plan)).run()
    assert len(list(read_samples(tmp_path / SAMPLES))) > 2
    assert capsys.readouterr().out.count("mine: its admin side does not tell all: listed: ") == 1

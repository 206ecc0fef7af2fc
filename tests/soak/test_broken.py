"""The whole tool, by its command line: a server with one leak is found, by the scenario meant for it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardhttp.soak.plan import State
from hardhttp.soak.samples import read_samples
from hardhttp.soak.summary import rows
from hardhttp.soak.verdict import Kind, Measure
from tests.twistd_process import ENVIRONMENT, ROOT

PATHS = [f"--path={kind}=/{kind}" for kind in ("later", "upload", "look", "events")]
# The kind of leak, the scenario meant for it, what it is found by, and one that must not be blamed.
FOUND = [
    ("connection", "vanish-in-head", Measure.GROWTH),
    ("timer", "vanish-in-handling", Measure.GROWTH),
    ("buffer", "vanish-in-body", Measure.GROWTH),
    ("session", "lookers", Measure.GROWTH),
    ("subscriber", "subscriber-vanishes", Measure.GROWTH),
    ("descriptor", "broken-forms", Measure.DESCRIPTORS),
]
INNOCENT = "blank-lines"


def soak(into: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hardhttp.soak", f"--into={into}", *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def on(kind: str, into: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return soak(into, f"--command={sys.executable} -m tests.soak.broken {{port}} {kind}", *PATHS, *words)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "scenario", "measure"), FOUND, ids=[kind for kind, _, _ in FOUND])
def test_a_leak_is_found_and_named(tmp_path: Path, kind: str, scenario: str, measure: Measure) -> None:
    """Fails without the leak in ``broken.py``; the innocent scenario fails if leaks are blamed on whoever is next."""
    done = on(kind, tmp_path, "--rounds=3", "--duration=12s", f"--scenario={scenario}", f"--scenario={INNOCENT}")
    found = {
        row.scenario: row for row in rows(State.load(tmp_path / "state.json"), read_samples(tmp_path / "samples.csv"))
    }
    assert found[scenario].kind is Kind.LEAK, done.stdout + done.stderr
    assert found[scenario].verdict is not None
    assert found[scenario].verdict.measure is measure
    assert found[INNOCENT].kind is Kind.PASS, done.stdout + done.stderr
    assert done.returncode == 1


@pytest.mark.slow
def test_a_sound_server_passes(tmp_path: Path) -> None:
    scenarios = [f"--scenario={scenario}" for _, scenario, _ in FOUND]
    done = on("none", tmp_path, "--rounds=3", "--duration=36s", *scenarios)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") == len(FOUND)


@pytest.mark.slow
def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """Also when it was killed; its server does not outlive it."""
    words = ["--rounds=1", "--duration=8s", "--scenario=churn", "--scenario=blank-lines", "--scenario=idle"]
    command = f"--command={sys.executable} -m tests.soak.broken {{port}} none"
    first = subprocess.Popen(
        [sys.executable, "-m", "hardhttp.soak", f"--into={tmp_path}", command, *PATHS, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    for line in first.stdout:
        if "blank-lines, round 1" in line:
            break
    first.kill()
    first.wait()
    first.stdout.close()
    left = json.loads((tmp_path / "state.json").read_text())
    assert len(left["done"]) == 2
    done = on("none", tmp_path, "--resume")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "churn, round" not in done.stdout
    assert done.stdout.count("PASS") == 3
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and is_of(pid, str(tmp_path))]


def is_of(pid: str, text: str) -> bool:
    try:
        return text in Path("/proc", pid, "cmdline").read_text()
    except OSError:
        return False

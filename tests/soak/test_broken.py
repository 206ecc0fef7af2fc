"""The whole tool, by its command line: a server with one leak is found, by the scenario meant for it alone."""

from __future__ import annotations

import json
import os
import signal
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
        timeout=400,
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


@pytest.mark.slow
def test_who_interrupts_it_finds_nothing_running_and_a_status_for_it(tmp_path: Path) -> None:
    command = f"--command={sys.executable} -m tests.soak.broken {{port}} none"
    words = [command, "--duration=30s", "--scenario=idle", "--scenario=churn"]
    running = subprocess.Popen(
        [sys.executable, "-m", "hardhttp.soak", f"--into={tmp_path}", *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "round 1 of" in line:
            break
    mine = children(running.pid)
    assert len(mine) >= 2, "the server and the honest client"
    running.send_signal(signal.SIGINT)
    told = running.stdout.read()
    assert running.wait(20) == 130
    running.stdout.close()
    assert "go on with --resume" in told
    assert not [pid for pid in mine if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_a_server_that_dies_has_not_passed(tmp_path: Path) -> None:
    dies = "import sys, threading, os; threading.Timer(6, os._exit, [3]).start(); from tests.soak import broken; "
    command = f"--command={sys.executable} -c '{dies} broken.main()' {{port}} none"
    done = soak(tmp_path, command, "--duration=20s", "--rounds=1", "--scenario=idle")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "DRIFT" in done.stdout
    assert "The server ended: " in done.stdout


def children(of: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            if int(text.rpartition(")")[2].split()[1]) == of:
                found.append(int(entry))
    return found


def is_of(pid: str, text: str) -> bool:
    try:
        return text in Path("/proc", pid, "cmdline").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_a_server_that_does_not_start_is_not_judged(tmp_path: Path) -> None:
    done = soak(tmp_path, f"--command={sys.executable} -c 'raise SystemExit({{port}} and 3)'", "--scenario=idle")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "server has ended (3)" in done.stderr

"""The fixture as its user has it, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.twistd_process import ENVIRONMENT

TEST = """
import sys
import pytest

COMMAND = sys.executable + " -m tests.soak.broken {port} "

@pytest.mark.soak
def test_sound(soak):
    assert "PASS" in soak("churn", command=COMMAND + "none", duration="2s")

def test_leak(soak):
    paths = {"look": "/look"}
    soak("lookers", command=COMMAND + "session", paths=paths, duration="6s", rounds=3)

def test_wrong(soak):
    soak("drop", command=COMMAND + "none")
"""


@pytest.mark.slow
def test_it_passes_and_fails_with_the_verdicts(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["hardhttp.soak.pytest_plugin"]\n')
    (tmp_path / "test_shop.py").write_text(TEST)
    words = ["-q", "-p", "no:cacheprovider", "--strict-markers", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert "2 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "LEAK   server       lookers" in done.stdout
    assert "no scenario is called 'drop'" in done.stdout

"""What the README promises a newcomer is what continuous integration runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def command(name: str) -> str:
    """The one command in the fenced block right after ``<!-- name -->``."""
    found = re.search(rf"^<!-- {name} -->\s*```\w*\n(.*?)```", README, re.S | re.M)
    assert found, f"no fenced block after <!-- {name} -->"
    (line,) = found[1].strip().splitlines()
    return line


def test_run_installs_and_serves() -> None:
    steps = [shlex.split(step) for step in command("run").split("&&")]
    assert steps == [["pip", "install", "."], ["twistd", "-n", "hardhttp"]]


def test_test_installs_and_runs_the_quick_suite() -> None:
    install, pytest_run = (shlex.split(step) for step in command("test").split("&&"))
    assert install == ["pip", "install", "-e", ".[test]"]
    assert pytest_run == ["pytest", "-n", "auto", "--dist", "worksteal", "-m", "not slow and not browser and not soak"]


def test_continuous_integration_runs_the_readme() -> None:
    done = subprocess.run([ROOT / ".ci" / "run", "--show"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == command("test")


def test_tox_runs_the_same_suite() -> None:
    assert command("test").partition("&& ")[2] in (ROOT / "tox.ini").read_text("utf-8")


def test_figures_have_a_place_and_a_command() -> None:
    found = re.search(r"<!-- figures -->\n(.*?)<!-- /figures -->", README, re.S)
    assert found
    rows = [line for line in found[1].splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1, "every row has the same columns"
    assert "python -m benchmarks http" in README


def test_the_soaks_figures_are_those_of_its_evidence() -> None:
    servers = json.loads((ROOT / "docs" / "evidence" / "beside.json").read_text("utf-8"))["servers"]
    found = re.search(r"<!-- soak -->\n(.*?)<!-- /soak -->", README, re.S)
    assert found
    head, _, figures = ([cell.strip() for cell in line.split("|")[2:-1]] for line in found[1].splitlines())
    assert head == list(servers)
    for cell, verdicts in zip(figures, servers.values()):
        kinds = [verdict["kind"] for verdict in verdicts.values()]
        assert cell == f"{kinds.count('PASS')} of {len(kinds) - kinds.count(None)}"


def test_evidence_was_made_by_the_commands_that_are_printed_with_it() -> None:
    page = (ROOT / "docs" / "evidence.rst").read_text("utf-8")
    for name in ("hour", "deadlines", "beside"):
        report = (ROOT / "docs" / "evidence" / f"{name}.html").read_text("utf-8")
        (command,) = re.findall(r"<dt>Command</dt><dd>([^<]*)</dd>", report)
        assert f"   {command}\n" in page
        assert name != "beside" or command in " ".join(README.split())


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    targets = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in t]
    assert [t for t in targets if not (ROOT / t).exists()] == []

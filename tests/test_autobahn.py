"""The cases of the Autobahn test suite, as ``kosoku`` has them for Python 3: no section has a failed one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.twistd_process import ENVIRONMENT
from tests.websocket_process import port

__all__ = ["port"]

KOSOKU = Path(sys.executable).parent / "kosoku"
# How many there are of each; 12 and 13 are those of compression, a thousand messages a case.
CASES = {
    "1": 16,
    "2": 11,
    "3": 7,
    "4": 10,
    "5": 20,
    "6": 145,
    "7": 37,
    "9": 54,
    "10": 1,
    **{f"12.{number}": 18 for number in range(1, 6)},
    **{f"13.{number}": 18 for number in range(1, 8)},
}
# What is not against the rules: 6.4 and 7.1.6 say NON-STRICT where a fault is found later than it might be.
PASSES = {"OK", "NON-STRICT", "INFORMATIONAL"}
SECONDS = 280


def judged(port: int, folder: Path, *words: str) -> dict[str, tuple[str, str]]:
    """Each case's behaviour, and how it closed. The exit status says nothing: the index is read."""
    subprocess.run(
        [str(KOSOKU), *words, "-o", str(folder), f"127.0.0.1:{port}"],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=SECONDS,
    )
    (agent,) = json.loads((folder / "index.json").read_text("utf-8")).values()
    return {case: (found["behavior"], found["behaviorClose"]) for case, found in agent.items()}


def failed(cases: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    return {case: said for case, said in cases.items() if not set(said) <= PASSES}


@pytest.mark.soak
@pytest.mark.long
@pytest.mark.parametrize("section", CASES)
def test_no_case_fails(port: int, tmp_path: Path, section: str) -> None:
    cases = judged(port, tmp_path, "-p", "2", "-i", f"{section}.*")
    assert len(cases) == CASES[section]
    assert failed(cases) == {}


@pytest.mark.slow
def test_no_short_case_fails(port: int, tmp_path: Path) -> None:
    sections = ("1.*", "2.*", "3.*", "4.*", "5.1*", "7.*", "10.*", "12.1.1", "13.1.1")
    cases = judged(port, tmp_path, *(word for section in sections for word in ("-i", section)))
    assert len(cases) > 80
    assert failed(cases) == {}

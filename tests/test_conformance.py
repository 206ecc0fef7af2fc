"""The table of conformance in the documentation names tests that exist, and all of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tests_in(*files: Path) -> list[str]:
    pattern = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)
    return [name for file in files for name in pattern.findall(file.read_text("utf-8"))]


def test_the_table_is_of_the_tests() -> None:
    named = re.findall(r"``(test_\w+)``", (ROOT / "docs" / "conformance.rst").read_text("utf-8"))
    files = ("test_rfc9112.py", "test_rfc9110.py", "test_rfc9113.py", "sse/test_mercure_protocol.py")
    written = tests_in(*(ROOT / "tests" / file for file in files))
    assert len(written) == len(set(written))
    assert set(written) <= set(named)
    assert set(named) <= set(tests_in(*ROOT.glob("tests/**/test_*.py")))

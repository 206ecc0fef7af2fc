"""The table of conformance in the documentation names tests that exist, and all of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_table_is_of_the_tests() -> None:
    named = re.findall(r"``(test_\w+)``", (ROOT / "docs" / "conformance.rst").read_text("utf-8"))
    written = [
        name
        for file in ("test_rfc9112.py", "test_rfc9110.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", (ROOT / "tests" / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert len(written) == len(set(written))
    assert set(named) == set(written)

"""Two minutes of every scenario against ``twistd hardhttp``, by the tool's own command line: all of them pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardhttp.soak.catalogue import CATALOGUE
from tests.soak.test_broken import soak


@pytest.mark.soak
def test_two_minutes_of_everything(tmp_path: Path) -> None:
    done = soak(tmp_path, "--against=hardhttp", "--duration=2m")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nPASS ") == len(CATALOGUE)
    assert (tmp_path / "report.html").stat().st_size > 10_000

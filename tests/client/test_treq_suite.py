"""treq's own tests of a client pass on our agent: in clear, over TLS, and through a tunnel."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT


@pytest.mark.slow
def test_treqs_own_tests(tmp_path: Path) -> None:
    words = ["-m", "twisted.trial", "--temp-directory", str(tmp_path / "trial"), "tests.client.treq_suite"]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    passed = re.search(r"^PASSED \(successes=(\d+)\)$", done.stdout, re.M)
    assert passed is not None, done.stdout[-1000:]  # it says "skips" where there are any
    assert int(passed[1]) >= 4 * 22

"""With the collector off, HTTP/2 streams that end in every way leave nothing behind (P5)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT


@pytest.mark.parametrize("streams", [500, pytest.param(50_000, marks=pytest.mark.slow)])
def test_streams_leave_nothing(streams: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.http2_leaks", str(streams)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    left = json.loads(done.stdout)
    assert left["found"] == 0, left
    assert left["grown"] < 50, left

"""``tests.websocket_server`` in a process of its own, for clients and judges that are other programs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT

__all__ = ["port"]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.websocket_server"], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    yield int(server.stdout.readline())
    server.terminate()
    server.communicate()

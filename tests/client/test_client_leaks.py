"""With the collector off, requests of every kind leave nothing behind.

The client runs in a process of its own, because pytest-twisted keeps every Failure's traceback alive.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow  # thousands of requests

KINDS = ("kept", "closed", "chunked", "two", "bad", "cut", "silent", "moved", "gzip", "post", "tls")
KINDS2 = ("h2-kept", "h2-closed", "h2-bad", "h2-cut", "h2-silent", "h2-post", "h2-unread")
# An allocator's own unrest, over half of the requests.
GROWN_KIB = 1024
ONCE = 150


def measure(kind: str, requests: int, folder: Path) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.client.leak_client", kind, str(requests), str(folder)]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    result: dict[str, Any] = json.loads(done.stdout or f'"{done.returncode}"')
    assert isinstance(result, dict), done.stderr
    return result


def check(result: dict[str, Any]) -> None:
    # zope.interface makes a few things once, when TLS is first used; nothing grows with the requests.
    assert sum(result["found"].values()) < ONCE
    assert result["held"] == {}
    assert result["calls"] == 0


def test_hundreds_of_requests(tmp_path: Path) -> None:
    result = measure("cut", 500, tmp_path)
    check(result)
    assert result["found"] == {}


@pytest.mark.parametrize("kind", ["h2-kept", "h2-closed"])
def test_thousands_over_http2(kind: str, tmp_path: Path) -> None:
    check(measure(kind, 2000 if kind == "h2-kept" else 300, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, *KINDS2])
def test_thousands_of_requests(kind: str, tmp_path: Path) -> None:
    result = measure(kind, 3000, tmp_path)
    check(result)
    assert result["grown_kib"] < GROWN_KIB


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kept", "closed", "h2-kept"])
def test_a_hundred_thousand_requests(kind: str, tmp_path: Path) -> None:
    result = measure(kind, 100_000, tmp_path)
    check(result)
    assert result["grown_kib"] < GROWN_KIB
    assert result["statistics"]["requests"] >= 100_000

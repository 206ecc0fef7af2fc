"""The load of a report on .NET (twelve loops, TLS, a proxy that says ``Connection: close``) leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT

MIB = 1024 * 1024
MADE_ONCE = 400


def marks(folder: Path, number: int, seconds: float) -> list[dict[str, Any]]:
    """What is held at each mark; the last line says what the collector finds."""
    words = [sys.executable, "-m"]
    with subprocess.Popen(
        [*words, "tests.client.load_peers", str(folder)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as peers:
        assert peers.stdin is not None
        assert peers.stdout is not None
        said = json.loads(peers.stdout.readline())
        try:
            done = subprocess.run(
                [*words, "tests.client.load", said["origin"], said["proxy"], said["authority"], str(number)],
                cwd=ROOT,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        finally:
            peers.stdin.close()
            assert peers.wait(20) == 0
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_flat(told: list[dict[str, Any]], number: int) -> None:
    *rows, collected = told
    first, last = rows[0], rows[-1]
    assert last["done"] - first["done"] == number
    for row in rows:
        assert not row["failed"]
        assert not any(row["ledger"].values()), row
        assert row["descriptors"] <= first["descriptors"], row
    # Some hundred objects, of zope.interface's caches and of the loops: none that come with each request.
    assert max(row["objects"] for row in rows) - first["objects"] < MADE_ONCE, rows
    # The allocator has its share until the second mark.
    assert last["memory"] - rows[1]["memory"] < MIB, rows
    assert collected["found"] < MADE_ONCE


@pytest.mark.slow
def test_two_thousand(tmp_path: Path) -> None:
    is_flat(marks(tmp_path, 1980, 120), 1980)


@pytest.mark.soak
@pytest.mark.long
def test_a_hundred_thousand(tmp_path: Path) -> None:
    is_flat(marks(tmp_path, 99_960, 1800), 99_960)

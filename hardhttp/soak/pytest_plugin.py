"""Scenarios on one's own application, in pytest: the fixture ``soak``.

::

    # conftest.py
    pytest_plugins = ["hardhttp.soak.pytest_plugin"]

    # test_shop.py
    @pytest.mark.soak
    def test_the_shop_gives_everything_back(soak):
        soak("drip-*", "lookers", command="python shop.py {port}", paths={"look": "/cart"}, duration="30s")

The run is a process of its own, so it does not matter what the tests run on. What it leaves (samples,
report) is in the test's ``tmp_path``. Nothing here imports Twisted.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

__all__ = ["Soak", "soak"]


class Soak(Protocol):
    """What the fixture is."""

    def __call__(
        self,
        *scenarios: str,
        command: str | None = None,
        target: str | None = None,
        paths: Mapping[str, str] | None = None,
        duration: str = "30s",
        rounds: int | None = None,
        options: tuple[str, ...] = (),
    ) -> str:
        """Run ``scenarios`` (names or patterns; all without any) on what ``command`` starts, or on ``target``.

        Fails the test with the verdicts when one of them is not PASS, and with what was wrong when the run could
        not be made. Returns what was printed. ``options`` are further ones of ``hardhttp-soak``.
        """


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: runs for minutes under load")


@pytest.fixture
def soak(tmp_path: Path) -> Soak:
    """See ``Soak``."""

    def run(
        *scenarios: str,
        command: str | None = None,
        target: str | None = None,
        paths: Mapping[str, str] | None = None,
        duration: str = "30s",
        rounds: int | None = None,
        options: tuple[str, ...] = (),
    ) -> str:
        words = [f"--into={tmp_path / 'soak'}", f"--duration={duration}", *options]
        words += [f"--scenario={scenario}" for scenario in scenarios]
        words += [f"--path={kind}={path}" for kind, path in (paths or {}).items()]
        words += [f"--command={command}"] if command is not None else []
        words += [f"--target={target}"] if target is not None else []
        words += [f"--rounds={rounds}"] if rounds is not None else []
        done = subprocess.run([sys.executable, "-m", "hardhttp.soak", *words], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.fail(f"hardhttp-soak ended with {done.returncode}:\n{done.stdout}{done.stderr}", pytrace=False)
        return done.stdout

    return run

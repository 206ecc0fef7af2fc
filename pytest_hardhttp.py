"""The pytest plugin's door: a marker and two fixtures, and nothing else until one of them is asked for.

pytest imports every installed plugin into every run, also into those of people who have hardhttp for other reasons.
So this module stands outside of the package, whose import takes half a second, and imports pytest alone. What the
fixture does is in ``hardhttp.soak.pytest_plugin``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hardhttp.soak.pytest_plugin import Soak

MARKER = "hardhttp_soak"
OPTION = "--hardhttp-soak-seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("hardhttp").addoption(
        OPTION,
        type=float,
        metavar="N",
        help="how long each scenario takes that the fixture soak puts on a server, where the marker does not say "
        "(default: 9): the longer, the smaller a leak that is found",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(*scenarios, scenario_seconds=9, duration_seconds=..., rounds=3, scale=1.0): "
        "what the fixture soak puts on a server; hardhttp-soak --list tells what there is",
    )


@pytest.fixture(scope="session")
def soak_program() -> Sequence[str]:
    """The command that soaks. A project overrides it to soak with another Python than that of its tests."""
    return (sys.executable, "-m", "hardhttp.soak")


@pytest.fixture
def soak(request: pytest.FixtureRequest, tmp_path: Path, soak_program: Sequence[str]) -> Soak:
    """Put the scenarios of the marker on a server: ``soak(command="python shop.py {port}")``, or by url and pid."""
    from hardhttp.soak.pytest_plugin import Soak, SoakError

    marker = request.node.get_closest_marker(MARKER)
    if marker is None:
        raise SoakError(f'the fixture soak needs @pytest.mark.{MARKER}("drip-head", ...) to say what to put on')
    given = request.config.getoption(OPTION)
    usual = {} if given is None else {"usual_scenario_seconds": given}
    return Soak(marker.args, tmp_path, soak_program, **usual, **marker.kwargs)

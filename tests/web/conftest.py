"""The tests of what is above the connection run over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

from typing import Any

import pytest

from tests.overhttp2 import HTTP1_ALONE, OVER_BOTH, QUICK, protocol

__all__ = ["protocol"]


def pytest_generate_tests(metafunc: Any) -> None:
    module, name = metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__
    if hasattr(metafunc.function, "hypothesis"):
        return  # many examples each, and pytest-twisted runs those with parameters in a greenlet of its own
    if module in OVER_BOTH and name not in HTTP1_ALONE.get(module, ()):
        marks = () if module in QUICK else pytest.mark.slow
        metafunc.parametrize("protocol", ["http/1.1", pytest.param("http/2", marks=marks)], indirect=True)

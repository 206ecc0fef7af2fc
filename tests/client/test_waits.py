"""Waits within their bounds."""

from __future__ import annotations

from random import Random

import pytest

from hardhttp.client.waits import full_jitter, reconnect_seconds


class Ends(Random):
    def __init__(self, upper: bool) -> None:
        self.upper = upper

    def uniform(self, a: float, b: float) -> float:
        return b if self.upper else a


@pytest.mark.parametrize(("failures", "upper"), [(0, 1), (1, 2), (3, 8), (4, 10), (5000, 10)])
def test_full_jitter(failures: int, upper: float) -> None:
    assert full_jitter(Ends(False), 1, 10, failures) == 0
    assert full_jitter(Ends(True), 1, 10, failures) == upper


@pytest.mark.parametrize(
    ("base", "failures", "lower", "upper"),
    [(2, 0, 2, 3), (2, 1, 2, 6), (2, 2, 2, 12), (2, 3, 2, 15), (2, 5000, 2, 15), (99, 0, 10, 15), (0, 9, 0, 0)],
)
def test_reconnect(base: float, failures: int, lower: float, upper: float) -> None:
    assert reconnect_seconds(Ends(False), base, 10, failures) == lower
    assert reconnect_seconds(Ends(True), base, 10, failures) == upper

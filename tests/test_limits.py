"""The limits: each field inside its bounds, and what is said beyond them."""

from __future__ import annotations

import math

import attrs
import pytest

from hardhttp import Limits
from hardhttp.errors import LimitError

FIELDS = {field.name: field for field in attrs.fields(Limits)}


@pytest.mark.parametrize("name", FIELDS)
def test_each_is_held_at_its_bounds_and_refused_one_past_them(name: str) -> None:
    low, high = FIELDS[name].metadata["low"], FIELDS[name].metadata["high"]
    for value in (low, high):
        assert getattr(Limits(**{name: value}), name) == value
    for value in (low - 1, high + 1, math.nan, math.inf, True, "1"):
        with pytest.raises(LimitError) as raised:
            Limits(**{name: value})
        assert (raised.value.name, raised.value.low, raised.value.high) == (name, low, high)
        assert name in str(raised.value)


@pytest.mark.parametrize("name", FIELDS)
def test_each_has_a_reason_and_a_default_inside_its_bounds(name: str) -> None:
    field = FIELDS[name]
    assert field.metadata["help"]
    optional = field.metadata["optional"]
    assert (field.default is None) is optional
    if not optional:
        assert field.metadata["low"] <= field.default <= field.metadata["high"]


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.metadata["whole"]])
def test_a_count_is_whole(name: str) -> None:
    with pytest.raises(LimitError):
        Limits(**{name: FIELDS[name].metadata["low"] + 0.5})


def test_they_never_change() -> None:
    limits = Limits()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        limits.max_connections = 5  # type: ignore[misc]
    assert attrs.evolve(limits, max_connections=5).max_connections == 5
    assert limits.max_connections == 1000

"""Names with several values."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.errors import HTTPError
from hardhttp.web.multidict import MAX_DIGITS, MissingError, MultiDict

TWICE = MultiDict([("a", "1"), ("b", "2"), ("a", "3"), ("c", "")])


def test_a_mapping_of_first_values() -> None:
    assert dict(TWICE) == {"a": "1", "b": "2", "c": ""}
    assert list(TWICE) == ["a", "b", "c"]
    assert len(TWICE) == 3
    assert TWICE.get("a") == "1"
    assert TWICE.get("x") is None
    assert "a" in TWICE
    assert "x" not in TWICE


def test_every_value_in_order() -> None:
    assert TWICE.getlist("a") == ["1", "3"]
    assert TWICE.getlist("x") == []
    assert TWICE.pairs() == (("a", "1"), ("b", "2"), ("a", "3"), ("c", ""))


def test_it_does_not_change() -> None:
    TWICE.getlist("a").append("4")
    assert TWICE.getlist("a") == ["1", "3"]
    for change in ("__setitem__", "__delitem__", "update", "pop"):
        assert not hasattr(TWICE, change)
    assert MultiDict(TWICE.pairs()) == TWICE
    assert hash(TWICE) == hash(MultiDict(TWICE.pairs()))
    assert MultiDict([("a", "1"), ("a", "3")]) != MultiDict([("a", "3"), ("a", "1")])


def test_a_repr_shows_no_value() -> None:
    assert repr(MultiDict([("password", "hunter2")])) == "<MultiDict of 1 values>"


def test_what_is_missing_is_a_key_error_and_a_400() -> None:
    with pytest.raises(MissingError) as raised:
        TWICE["x"]
    error = raised.value
    assert isinstance(error, KeyError)
    assert isinstance(error, HTTPError)
    assert (error.status, error.detail, str(error)) == (400, "'x' is missing", "'x' is missing")


NUMBERS = MultiDict(
    [
        ("n", "12"),
        ("minus", "-3"),
        ("zero", "007"),
        ("empty", ""),
        ("word", "x"),
        ("sign", "-"),
        ("plus", "+1"),
        ("space", " 1"),
        ("under", "1_0"),
        ("other", "\u0661"),
        ("long", "9" * MAX_DIGITS),
        ("longer", "9" * (MAX_DIGITS + 1)),
    ]
)


NO_NUMBERS = ["empty", "word", "sign", "plus", "space", "under", "other", "longer"]


@pytest.mark.parametrize(
    ("name", "options", "number"),
    [
        ("n", {}, 12),
        ("n", {"low": 12, "high": 12}, 12),
        ("minus", {}, -3),
        ("zero", {}, 7),
        ("long", {}, int("9" * MAX_DIGITS)),
        ("x", {"default": 0}, 0),
    ],
)
def test_numbers(name: str, options: Any, number: int) -> None:
    assert NUMBERS.get_int(name, **options) == number


@pytest.mark.parametrize(
    ("name", "options", "detail"),
    [
        *((name, {"default": 1}, f"'{name}' must be a whole number") for name in NO_NUMBERS),
        ("n", {"low": 13}, "'n' must be at least 13"),
        ("n", {"high": 11}, "'n' must be at most 11"),
        ("n", {"low": 1, "high": 11}, "'n' must be at least 1 and at most 11"),
        ("x", {}, "'x' is missing"),
    ],
)
def test_what_is_no_such_number_is_a_400(name: str, options: Any, detail: str) -> None:
    with pytest.raises(HTTPError) as raised:
        NUMBERS.get_int(name, **options)
    assert (raised.value.status, raised.value.detail) == (400, detail)

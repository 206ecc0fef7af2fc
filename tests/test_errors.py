"""Faults: whose they are, and that they quote nobody."""

from __future__ import annotations

import re

import pytest

from hardhttp.errors import Fault, LimitError, LimitFault, OurFault, PeerFault, Reason


@pytest.mark.parametrize("kind", [PeerFault, LimitFault, OurFault])
def test_a_fault_carries_all_that_answers_it(kind: type[Fault]) -> None:
    fault = kind(400, Reason.BAD_HOST, "the Host field is missing")
    assert isinstance(fault, Fault)
    assert (fault.status, fault.reason, fault.detail) == (400, Reason.BAD_HOST, "the Host field is missing")
    assert str(fault) == "400 bad-host: the Host field is missing"


def test_reasons_are_fit_for_a_label() -> None:
    values = [reason.value for reason in Reason]
    assert len(set(values)) == len(values)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", value) for value in values)
    assert all(str(reason) == reason.value for reason in Reason)


def test_a_limit_error_names_field_value_and_bounds() -> None:
    error = LimitError("max_headers", 0, 1, 10_000)
    assert isinstance(error, ValueError)
    assert str(error) == "max_headers is 0; it must be a number from 1 to 10,000"

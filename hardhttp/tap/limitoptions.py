"""One option for each field of ``Limits``, made from the field itself, so that none can be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.python import usage

from hardhttp.errors import LimitError
from hardhttp.limits import Limits
from hardhttp.units import UnitError, format_seconds, format_size, parse_count, parse_seconds, parse_size

__all__ = ["FIELDS", "option_name", "reader", "written"]

FIELDS: tuple[attrs.Attribute[Any], ...] = attrs.fields(Limits)


def _units(name: str) -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """How a limit's value is read and written; its name ends in its unit."""
    if name.endswith("_seconds"):
        return parse_seconds, format_seconds
    if name.endswith(("_bytes", "_bytes_per_second")):
        return parse_size, format_size
    return parse_count, str


def option_name(field: attrs.Attribute[Any]) -> str:
    return field.name.replace("_", "-")


def written(field: attrs.Attribute[Any], value: Any = attrs.NOTHING) -> str:
    """The field's default, or ``value``, as one would type it."""
    value = field.default if value is attrs.NOTHING else value
    return "none" if value is None else _units(field.name)[1](value)


def _bounds(field: attrs.Attribute[Any]) -> str:
    low, high = field.metadata["low"], field.metadata["high"]
    write = _units(field.name)[1]
    if write is format_seconds:
        text = f"from {format_seconds(low)} to {format_seconds(high)}"
    else:
        text = f"from {low:,} to {high:,}" + (f" ({format_size(high)})" if write is format_size else "")
    return text + (", or none" if field.metadata["optional"] else "")


def reader(field: attrs.Attribute[Any]) -> Callable[[str], Any]:
    """What turns an option's text into the field's value; ``Limits`` itself is the judge of it."""
    parse = _units(field.name)[0]

    def read(text: str) -> Any:
        if field.metadata["optional"] and text.strip().lower() == "none":
            return None
        try:
            value = parse(text)
            Limits(**{field.name: value})
        except UnitError as error:
            raise usage.UsageError(f"--{option_name(field)}: {error}; it must be {_bounds(field)}") from None
        except LimitError:
            raise usage.UsageError(f"--{option_name(field)} is {text}; it must be {_bounds(field)}") from None
        return value

    return read

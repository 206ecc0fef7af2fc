"""Values as JSON text (RFC 8259), the same way everywhere.

Beside what JSON has itself: dataclasses and attrs instances are objects of their fields, any mapping
is an object, a set is an array in its members' order, an Enum its value; a datetime, date or time is
ISO 8601, a UUID and a Decimal their text, so that no digit is lost. Anything else is a ``TypeError``
that names the type, and NaN and the infinities, which JSON has not, are a ``ValueError``: no client is
sent a text that it cannot read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Set
from datetime import date, time
from decimal import Decimal
from enum import Enum
from json import JSONEncoder
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined] # both are there
from typing import Any, Final
from uuid import UUID

import attrs

__all__ = ["encode_json", "is_record"]


def is_record(value: object) -> bool:
    """Whether ``value`` is an object of named fields: a dataclass's or an attrs class's instance."""
    kind = type(value)
    return hasattr(kind, "__dataclass_fields__") or attrs.has(kind)


def _plainer(value: Any) -> Any:
    """``value`` as something nearer to JSON; the encoder asks again for what is in it."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(type(value), "__dataclass_fields__"):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON, and nothing says how it would be")


def _make_encoder() -> Callable[[Any], str]:
    """``JSONEncoder.encode`` makes its encoder in C anew for each value, which is half of its cost."""
    # What is circular is found by the interpreter's own bound on recursion, not by a table of all that was seen.
    encoder = JSONEncoder(
        separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False, default=_plainer
    )
    try:
        parts = c_make_encoder(None, _plainer, encode_basestring, None, ":", ",", False, False, False)
        if "".join(parts({"a": [1, "\u00e9"]}, 0)) != '{"a":[1,"\u00e9"]}':
            return encoder.encode
    except TypeError:  # another interpreter's
        return encoder.encode
    join = "".join
    return lambda value: join(parts(value, 0))


_encode: Final = _make_encoder()


def encode_json(value: Any) -> bytes:
    """``value`` as compact JSON in UTF-8.

    Raises ``TypeError`` for what has no JSON, ``ValueError`` for NaN, infinities and a text with half
    of a surrogate pair, ``RecursionError`` for what contains itself.
    """
    return _encode(value).encode("utf-8")

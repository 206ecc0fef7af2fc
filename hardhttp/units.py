"""Sizes and times as people write them: ``10MiB``, ``64k``, ``2m``, ``500ms``.

``parse_size`` gives whole bytes, ``parse_seconds`` seconds, ``parse_count`` a whole number; each
raises ``UnitError`` (a ``ValueError``) with a sentence that quotes what was given and says what
would do. ``format_size`` and ``format_seconds`` write a value back in the largest unit that
keeps it exact (times to the nanosecond): parsing what they wrote gives the same value again.

A bare ``k``, ``m``, ``g`` or ``t`` counts in 1024s, as in nginx and Apache; ``kB`` counts in
1000s and ``KiB`` in 1024s, as IEC 80000-13 has it. Case does not matter in sizes. In times it
does: ``m`` is minutes, and a capital ``M`` is refused rather than guessed at.
"""

from __future__ import annotations

import re
from fractions import Fraction

__all__ = ["UnitError", "format_seconds", "format_size", "parse_count", "parse_seconds", "parse_size"]


class UnitError(ValueError):
    """What was given is not a size, a time or a count."""


# Digits are bounded: int() refuses 5000 of them in words of its own, and nothing here needs 20.
_NUMBER = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?)\s?([A-Za-z]*)", re.ASCII)

_LETTERS = "kmgt"
_SIZES = {"": 1, "b": 1}
for _power, _letter in enumerate(_LETTERS, 1):
    _SIZES |= {_letter: 1024**_power, f"{_letter}ib": 1024**_power, f"{_letter}b": 1000**_power}

_SECONDS = {
    "": Fraction(1),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "min": Fraction(60),
    "h": Fraction(3600),
    "d": Fraction(86_400),
}


def _split(text: str, what: str) -> tuple[Fraction, str]:
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        raise UnitError(f"{_quote(text)} is not {what}")
    return Fraction(found[1]), found[2]


def _quote(text: str) -> str:
    """``text`` as a message may show it: escaped, and no longer than a line bears."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def parse_count(text: str) -> int:
    """A whole number, without a unit."""
    if re.fullmatch(r"[0-9]{1,20}", text.strip(), re.ASCII) is None:
        raise UnitError(f"{_quote(text)} is not a whole number such as 1000")
    return int(text)


def parse_size(text: str) -> int:
    """Bytes: a number alone, or with a unit (``10MiB``, ``64k``, ``10MB``, ``1.5GiB``)."""
    what = "a size such as 10MiB, 64k, 10MB or 1048576"
    number, unit = _split(text, what)
    if unit.lower() not in _SIZES:
        raise UnitError(f"{_quote(text)} is not {what}: there is no unit {unit!r}")
    size = number * _SIZES[unit.lower()]
    if size.denominator != 1:
        raise UnitError(f"{_quote(text)} is not a whole number of bytes")
    return int(size)


def parse_seconds(text: str) -> float:
    """Seconds: a number alone, or with a unit (``500ms``, ``90s``, ``2m``, ``1h``, ``1d``)."""
    what = "a time such as 90s, 2m, 1h, 500ms or 1.5"
    number, unit = _split(text, what)
    if unit not in _SECONDS:
        raise UnitError(f"{_quote(text)} is not {what}: there is no unit {unit!r}")
    return float(number * _SECONDS[unit])


def format_size(size: int) -> str:
    """``size`` bytes in the largest binary unit that divides it: ``10MiB``, ``240``."""
    for power in range(len(_LETTERS), 0, -1):
        if size and size % 1024**power == 0:
            letter = _LETTERS[power - 1].upper()
            return f"{size // 1024**power}{letter}iB"
    return str(size)


def format_seconds(seconds: float) -> str:
    """``seconds`` in the largest unit that divides them: ``2m``, ``1.5s``, ``10ms``."""
    if 0 < seconds < 1 and (seconds * 1000).is_integer():
        return f"{seconds * 1000:.0f}ms"
    for unit in ("d", "h", "m"):
        length = int(_SECONDS[unit])
        if seconds and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"

"""JSON as it comes from a peer (RFC 8259): bounded in depth, in the range of its numbers, and in UTF-8.

Python's parser recurses with the text, so depth is judged first, by passes over the bytes that never
leave C: escapes go, then all but quotes and brackets, then what is between quotes; what is left are
brackets, and each removal of ``[]`` takes off one level. Whatever is malformed is left to the parser,
which stops at it before it could go deeper than was judged.

What JSON leaves open (RFC 8259, 4, 6 and 8.2) is settled here: of equal names the last one counts,
unless ``unique_keys``; a number too large for a float, an integer past Python's 4300 digits, NaN,
Infinity and half a surrogate pair are refused.
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any, NoReturn

__all__ = ["JSONError", "deeper_than", "parse_json"]

BOM = b"\xef\xbb\xbf"
# At a time of text without escapes; what splitting it makes of it is some twenty times as large.
PIECE_BYTES = 64 * 1024

_BRACKETS = bytes.maketrans(b"{}", b"[]")
_STEPS = bytes.maketrans(b"[]", b"\x01\xff")  # as signed numbers, one up and one down
_NO_BRACKETS = bytes(set(range(256)) - set(b'"[]{}'))
# Half a pair: a high one without a low one behind it, or a low one without a high one before it.
_HALF_PAIR = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


class JSONError(ValueError):
    """The text is no JSON, or none that is taken. Says where, and quotes nothing of it."""


def parse_json(data: bytes, max_depth: int, *, unique_keys: bool = False) -> Any:
    """The value of a JSON text.

    ``max_depth`` bounds arrays and objects within each other. A byte order mark is passed over
    (RFC 8259, 8.1). With ``unique_keys`` an object with two equal names is refused.

    Raises ``JSONError``.
    """
    if data.startswith(BOM):
        data = data[len(BOM) :]
    if not data.strip(b" \t\r\n"):
        raise JSONError("the body is empty, not JSON")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JSONError(f"the body is not UTF-8 at byte {error.start + 1}") from None
    if deeper_than(data, max_depth):
        raise JSONError(f"the body has more than {max_depth} arrays and objects within each other")
    # What stands for an escaped backslash keeps two halves apart that have one between them.
    if b"\\u" in data and _HALF_PAIR.search(data.replace(b"\\\\", b" ")) is not None:
        raise JSONError("the body has half a surrogate pair")
    hook = _unique if unique_keys else None
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=hook)
    except JSONError:
        raise
    except json.JSONDecodeError as error:
        said = error.msg.partition(":")[0].removesuffix(" at").removesuffix(" starting")
        raise JSONError(f"the body is not JSON: line {error.lineno}, column {error.colno}: {said}") from None
    except ValueError:
        raise JSONError("the body has a number with too many digits") from None
    except RecursionError:  # the caller was deep already
        raise JSONError(f"the body has too many of {max_depth} arrays and objects within each other") from None


def deeper_than(data: bytes, max_depth: int) -> bool:
    """Whether a JSON text has more than ``max_depth`` arrays and objects within each other.

    Linear in ``data``. Of a malformed text it judges at least what is
    before the first mistake.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return False
    steps = memoryview(_brackets(data).translate(_STEPS)).cast("b")
    depth = 0
    for at in range(0, len(steps), PIECE_BYTES):
        depths = list(accumulate(steps[at : at + PIECE_BYTES], initial=depth))
        if max(depths) > max_depth:
            return True
        depth = depths[-1]
    return False


def _brackets(data: bytes) -> bytes:
    """The brackets of ``data`` outside of strings, all of one kind."""
    data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    data = data.translate(_BRACKETS, _NO_BRACKETS).replace(b'""', b"")
    outside: list[bytes] = []
    within = 0  # a string, at the beginning of the piece
    for at in range(0, len(data), PIECE_BYTES):
        parts = data[at : at + PIECE_BYTES].split(b'"')
        outside.append(b"".join(parts[within::2]))
        within = (within + len(parts) - 1) % 2
    return b"".join(outside)


def _no_number(name: str) -> NoReturn:
    raise JSONError("NaN and Infinity are not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise JSONError("the body has a number too large for a float")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JSONError("the body has an object with two equal names")
    return found

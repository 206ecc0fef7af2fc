"""What a client says of which response it wants first (RFC 9218): in a field of the request, or later in a frame."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

__all__ = ["USUAL_URGENCY", "Priority", "parse_priority"]

USUAL_URGENCY: Final = 3
# 4: two parameters are defined, and are a few bytes; what is longer is not looked at.
MAX_BYTES: Final = 64
_URGENCY: Final = re.compile(rb"u=([0-7])")


class Priority(NamedTuple):
    """``urgency`` is 0 (first) to 7 (last). One that is ``incremental`` is of use in parts, and so takes turns with
    others of its urgency; one that is not is sent to its end before the next."""

    urgency: int = USUAL_URGENCY
    incremental: bool = False


@lru_cache(maxsize=64)
def _parse(value: bytes) -> Priority:
    urgency, incremental = USUAL_URGENCY, False
    for member in value.split(b","):
        said = member.partition(b";")[0].strip(b" \t")
        found = _URGENCY.fullmatch(said)
        if found is not None:
            urgency = int(found[1])
        elif said in (b"i", b"i=?1"):
            incremental = True
        elif said == b"i=?0":
            incremental = False
    return Priority(urgency, incremental)


def parse_priority(value: bytes) -> Priority | None:
    """A ``Priority`` field's value; what cannot be understood in it is passed over (4). ``None``: it is too long."""
    return _parse(value) if len(value) <= MAX_BYTES else None

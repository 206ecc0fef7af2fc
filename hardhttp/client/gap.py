"""What an event hub of ours could not give: the events of a ``gap``.

A hub that no longer has what was missed says so by an event of type ``gap`` in the stream (``hardhttp.sse``). Other
servers may call their own events that; so only one whose data is a gap's is taken for one.
"""

from __future__ import annotations

import json

import attrs

from hardhttp.wire.eventstream import Event

__all__ = ["REASONS", "Gap", "gap_of"]

REASONS = frozenset({"evicted", "expired", "restart", "unknown", "overflow"})
_MEMBERS = {"reason", "first", "last", "count"}
# Two ids and a few words.
_MAX_CHARACTERS = 16_384


@attrs.frozen
class Gap:
    """Events that were lost on the way, and why.

    ``reason`` is one of ``REASONS``. ``first`` and ``last`` are the ids of the first and the last that are lost, None
    where nobody knows; ``count`` is how many, for ``overflow``. ``id`` is the last event id at this place.
    """

    reason: str
    first: str | None
    last: str | None
    count: int | None
    id: str


def gap_of(event: Event) -> Gap | None:
    """The gap that ``event`` tells of, or None where it is none."""
    if event.type != "gap" or len(event.data) > _MAX_CHARACTERS:
        return None
    try:
        said = json.loads(event.data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.keys() != _MEMBERS:
        return None
    reason, first, last, count = said["reason"], said["first"], said["last"], said["count"]
    if not isinstance(reason, str) or reason not in REASONS:
        return None
    if not all(end is None or isinstance(end, str) for end in (first, last)):
        return None
    if count is not None and type(count) is not int:
        return None
    return Gap(reason, first, last, count, event.id)

"""Who is subscribed to a hub, a page at a time.

A subscriber's id is no secret; its topics are shown as far as a row bears, and the claims it came with not at all.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

__all__ = ["subscriber_row", "subscribers_page"]

SHOWN_TOPICS = 10
SHOWN_CHARACTERS = 200


def subscribers_page(hub: Any, after: int = -1, limit: int = 100) -> dict[str, Any]:
    """Up to ``limit`` of ``hub``'s (an ``EventHub``) whose numbers are above ``after``, the oldest first."""
    now = hub.seconds()
    found = list(islice((each for each in hub.subscribers() if each.serial > after), limit + 1))
    return {
        "open": hub.subscriber_count,
        "waiting": len(hub.waiting),
        "queued_bytes": hub.queued_bytes,
        "refused": hub.refused,
        "ended": {end.value: count for end, count in hub.ends.items() if count},
        "subscribers": [subscriber_row(subscriber, now) for subscriber in found[:limit]],
        "next": found[limit - 1].serial if len(found) > limit else None,
    }


def subscriber_row(subscriber: Any, now: float) -> dict[str, Any]:
    lag = subscriber.lag()
    if subscriber.cursor is not None:
        state = "reads"  # what the history has
    else:
        state = "flows" if subscriber.flowing else "waits"
    return {
        "id": subscriber.id,
        "number": subscriber.serial,
        "state": state,
        "topics": _some(subscriber.topics),
        "topic_count": len(subscriber.topics),
        "user": None if subscriber.user is None else subscriber.user[:SHOWN_CHARACTERS],
        "groups": _some(sorted(subscriber.groups)),
        "connected_seconds": round(now - subscriber.connected_at, 3),
        "queued_events": lag.events,
        "queued_bytes": lag.bytes,
        "unsent_bytes": lag.unsent_bytes,
        "behind_seconds": round(lag.seconds, 3),
    }


def _some(names: Any) -> list[str]:
    return [name[:SHOWN_CHARACTERS] for name in islice(names, SHOWN_TOPICS)]

"""Two resources for those who run a hub: why someone did not get an event, and who is subscribed.

Both answer GET with JSON, and tell no token and no event's data. They tell users, topics and selectors,
so they are for operators: mount them behind a guard, never on a public port as they are.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from hardhttp.sse.explain import Outcome
from hardhttp.web.jsontext import encode_json

if TYPE_CHECKING:
    from hardhttp.sse.hub import EventHub
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["Explain", "Subscribers"]

DEFAULT_COUNT = 100
MAX_COUNT = 1000
# Of each subscriber so many topics are shown, and of each so many characters.
SHOWN_TOPICS = 10
SHOWN_CHARACTERS = 200


class Explain(Resource):
    """``?event=ID&subscriber=ID`` of ``hub``, as ``EventHub.explain`` says it.

    404 when either is not known, 400 when either is not named; the body says which.
    """

    isLeaf = True

    def __init__(self, hub: EventHub) -> None:
        super().__init__()
        self._hub = hub

    def render_GET(self, request: Any) -> bytes:
        asked = {name: _parameter(request, name) for name in ("event", "subscriber")}
        missing = [name for name, value in asked.items() if not value]
        if missing:
            return _answer(request, 400, {"error": f"missing in the query: {' and '.join(missing)}"})
        found = self._hub.explain(asked["event"], asked["subscriber"])
        known = found.outcome not in (Outcome.UNKNOWN_EVENT, Outcome.UNKNOWN_SUBSCRIBER)
        return _answer(request, 200 if known else 404, found.as_dict())


class Subscribers(Resource):
    """The open subscriptions of ``hub``, those first whose transports have been full longest.

    ``?count=`` is how many at most: 100 unless it is said, and never more than 1000.
    """

    isLeaf = True

    def __init__(self, hub: EventHub) -> None:
        super().__init__()
        self._hub = hub

    def render_GET(self, request: Any) -> bytes:
        text = _parameter(request, "count") or str(DEFAULT_COUNT)
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_COUNT):
            return _answer(request, 400, {"error": f"count must be a number from 1 to {MAX_COUNT}"})
        slow = self._hub.slowest(int(text))
        others = (each for each in self._hub.subscribers() if each.waiting_since is None)
        shown = islice(chain(slow, others), int(text))
        rows = [self._row(subscriber) for subscriber in shown]
        return _answer(request, 200, {"total": self._hub.subscriber_count, "subscribers": rows})

    def _row(self, subscriber: Subscriber) -> dict[str, Any]:
        topics = subscriber.topics
        return {
            "id": subscriber.id,
            "user": subscriber.user,
            "topics": [topic[:SHOWN_CHARACTERS] for topic in topics[:SHOWN_TOPICS]],
            "topic_count": len(topics),
            "connected_seconds": self._hub.seconds() - subscriber.connected_at,
            "lag": subscriber.lag(),
        }


def _parameter(request: Any, name: str) -> str:
    values = request.args.get(name.encode("ascii"), [b""])
    return str(values[0].decode("utf-8", "replace"))


def _answer(request: Any, status: int, value: Any) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Cache-Control", b"no-store")
    return encode_json(value)

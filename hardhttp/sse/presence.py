"""Who is subscribed, for those who are allowed to know: the begin and the end of each subscription, and who is there.

Mercure's *active subscriptions*: a private event for each topic of a subscriber when it comes and when it goes, and a
document of all who are there. ``LocalPresence`` is that of one process, and answers at once; with a broker there is
``hardhttp.sse.sharedpresence``, for the subscribers of all nodes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from hardhttp.errors import HTTPError
from hardhttp.web.jsontext import encode_json

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hardhttp.sse.hub import EventHub, Receipt
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["CONTEXT", "PATH", "Listing", "LocalPresence", "Present"]

PATH = "/.well-known/mercure"
CONTEXT = "https://mercure.rocks/"
# Of the text of all subscriptions that are asked for at once; past it one is to ask for those of a topic.
MAX_LISTED_BYTES = 8 << 20


@attrs.define(eq=False)
class Present:
    """A subscriber, as it is told of and remembered: ``id`` is not its hub's, and names it alone on all nodes."""

    id: str
    topics: tuple[str, ...] = ()
    payload: Any = attrs.field(default=None, repr=False)
    subscriber: Subscriber | None = None

    def documents(self, active: bool) -> list[dict[str, Any]]:
        """What is told of it, for each topic."""
        return [{"@context": CONTEXT, **self.subscription(topic, active)} for topic in self.topics]

    def subscription(self, topic: str, active: bool = True) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": f"{PATH}/subscriptions/{quote(topic, safe='')}/{quote(self.id, safe='')}",
            "type": "Subscription",
            "topic": topic,
            "subscriber": self.id,
            "active": active,
        }
        if self.payload is not None:
            found["payload"] = self.payload
        return found

    def pack(self) -> bytes:
        """What other nodes are to know of it."""
        return json.dumps([self.topics, self.payload], separators=(",", ":")).encode("ascii")

    @classmethod
    def unpack(cls, id: str, packed: bytes) -> Present:
        """Raises ``ValueError`` for what ``pack`` did not make."""
        topics, payload = json.loads(packed)
        if not (isinstance(topics, list) and all(isinstance(topic, str) for topic in topics)):
            raise ValueError("that is no record of who is present")
        return cls(id, tuple(topics), payload)


class Listing:
    """The subscriptions of ``path`` (nothing, a topic, or a topic and an id), of those who are ``add``ed."""

    def __init__(self, path: Sequence[str]) -> None:
        self._path = list(path)
        self.found: list[dict[str, Any]] = []
        self._size = 0

    def add(self, present: Present) -> None:
        """Raises ``HTTPError`` (503) when these are too many for one answer."""
        for topic in present.topics:
            if [topic, present.id][: len(self._path)] == self._path:
                subscription = present.subscription(topic)
                self._size += len(encode_json(subscription))
                if self._size > MAX_LISTED_BYTES:
                    raise HTTPError(
                        503, f"These subscriptions take more than {MAX_LISTED_BYTES} bytes: ask for those of one topic."
                    )
                self.found.append(subscription)


def tell(hub: EventHub, present: Present, active: bool) -> list[Receipt]:
    """Publish it. Raises ``BrokerAwayError``, maybe after some of it is published."""
    documents = present.documents(active)
    return [hub.publish(document["id"], document, private=True) for document in documents]


class LocalPresence:
    """Of ``hub`` alone."""

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._there: dict[str, Present] = {}

    def __len__(self) -> int:
        return len(self._there)

    def came(self, present: Present) -> None:
        """It is subscribed from now on. Raises ``ValueError`` for a topic too long to be told of."""
        self._there[present.id] = present
        tell(self._hub, present, True)

    def went(self, present: Present) -> None:
        """It is not there any more; told once, and only where it was told of."""
        if self._there.pop(present.id, None) is not None:
            with suppress(ValueError):  # a byte longer than its begin, and so too long
                tell(self._hub, present, False)

    def find(self, path: Sequence[str]) -> list[dict[str, Any]] | Deferred[list[dict[str, Any]]]:
        """The subscriptions of all, of a topic, or of a topic and a subscriber's id. Raises ``HTTPError``."""
        listing = Listing(path)
        for present in self._there.values():
            listing.add(present)
        return listing.found

"""For whom the events of some topics are, as long as nobody comes or goes.

A publisher that publishes often to the same topics is not made to look its subscribers up each time. What is
remembered is bounded by what it takes: a subscriber for whom a topic is, and a character of a topic, count as
one place each, because there may be many topics, each for thousands. Past the bound all is forgotten, and found
again when it is asked for.

The hub's subscriptions own it, and clear it when an audience may have changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from hardhttp.sse.queue import Policy
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["MAX_PLACES", "Audience", "Audiences"]

# A place takes some 50 bytes, so this is 10 MB.
MAX_PLACES: Final = 200_000
# What an audience of nobody takes, in places.
BARE_PLACES: Final = 10

# Who is to have an event, and what happens where there is no room.
Audience: TypeAlias = "tuple[frozenset[Subscriber], Policy]"


class Audiences:
    """Audiences by topics, and by whether the event is private. ``places`` is what they take."""

    __slots__ = ("_kept", "places")

    def __init__(self) -> None:
        self._kept: dict[tuple[tuple[str, ...], bool], Audience] = {}
        self.places = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, topics: tuple[str, ...], private: bool) -> Audience | None:
        return self._kept.get((topics, private))

    def keep(self, topics: tuple[str, ...], private: bool, audience: Audience) -> None:
        """Remember it; one that is too large by itself is remembered alone."""
        places = BARE_PLACES + len(audience[0]) + sum(map(len, topics))
        if self.places + places > MAX_PLACES:
            self.clear()
        self._kept[topics, private] = audience
        self.places += places

    def clear(self) -> None:
        self._kept.clear()
        self.places = 0

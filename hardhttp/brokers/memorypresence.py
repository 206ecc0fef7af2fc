"""Who is present at the nodes of an exchange in memory, within bounds for all of them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardhttp.brokers.counting import PAGE_POSTS
from hardhttp.interfaces import PresentPage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hardhttp.interfaces import BrokerBounds

__all__ = ["Records"]


class Records:
    """A record for each id, by node. ``gone`` are nodes that have left somebody behind; of those ``teller`` tells."""

    def __init__(self, bounds: BrokerBounds) -> None:
        self._bounds = bounds
        self._nodes: dict[str, dict[str, bytes]] = {}
        self.gone: dict[str, None] = {}
        self.teller: object = None

    def record(self, node: str, present: Mapping[str, bytes]) -> Collection[str] | None:
        """As ``IBroker.record``."""
        mine = self._nodes.get(node, {})
        fresh = present.keys() - mine.keys()
        if fresh:
            count = len(fresh) + sum(map(len, self._nodes.values()))
            others = (record for each in self._nodes.values() for id, record in each.items() if id not in present)
            size = sum(map(len, others)) + sum(map(len, present.values()))
            if count > self._bounds.max_present or size > self._bounds.max_present_bytes:
                return None
        self._nodes.setdefault(node, mine).update(present)
        return fresh

    def erase(self, node: str, ids: Collection[str]) -> None:
        theirs = self._nodes.get(node, {})
        for id in ids:
            theirs.pop(id, None)
        if not theirs:
            self._nodes.pop(node, None)
            self.gone.pop(node, None)

    def left_behind(self, node: str) -> bool:
        """It is gone; whether it has left somebody behind."""
        if node in self._nodes:
            self.gone[node] = None
        return node in self._nodes

    def departed(self) -> tuple[str, dict[str, bytes]] | None:
        """A node that is gone, and some of those it has left behind."""
        for node in self.gone:
            return node, dict(list(self._nodes[node].items())[:PAGE_POSTS])
        return None

    def page(self, word: bytes, id: str | None, place: object) -> PresentPage:
        """As ``IBroker.present``; a ``place`` is those who are still to come."""
        if isinstance(place, list):
            everybody = place
        else:
            everybody = [each for records in self._nodes.values() for each in records.items()]
        some, rest = everybody[:PAGE_POSTS], everybody[PAGE_POSTS:]
        found = {each: record for each, record in some if word in record and id in (None, each)}
        return PresentPage(found, rest or None)

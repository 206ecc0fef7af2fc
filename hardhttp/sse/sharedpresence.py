"""Who is subscribed at any node of a broker, and each node's part in telling of it.

A subscriber is recorded at the broker first and told of then; when it goes it is told of first and erased then. So
whoever was told to have come has a record, and when its node dies another one finds it there and tells that it has
gone: within ``BrokerBounds.lease_seconds`` and a third of that. Some of it may be told twice, and none is left out.

Nothing of that is in the way of a subscription: it is done a portion at a time, one after another. While the broker is
away it waits, and who has come and gone in the meantime is not told of at all. When the broker is back all who are
here are recorded again, and told of again if it did not know them any more.

The broker's bounds are for all nodes. Past them a subscriber is served, and neither listed nor told of, until there is
room: ``unlisted`` counts those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.errors import BrokerAwayError, HTTPError
from hardhttp.interfaces import BrokerState
from hardhttp.sse.presence import Listing, Present, tell

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

    from hardhttp.interfaces import IBroker
    from hardhttp.sse.hub import EventHub

__all__ = ["SharedPresence"]

# So many events are one portion, or those of one subscriber.
PORTION_EVENTS = 64
# When it is tried again after there was no room, or a failure while the broker was there all the time.
AGAIN_SECONDS = 2.0
FIND_SECONDS = 10.0


class SharedPresence:
    """Of ``hub``, with those of all other nodes of ``broker``."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, hub: EventHub, broker: IBroker) -> None:
        self._hub, self._broker = hub, broker
        self._there: dict[str, Present] = {}
        self._coming: dict[str, Present] = {}  # of them, to be recorded and told of
        self._going: dict[str, Present] = {}  # that may have a record, to be told of and erased
        self._recorded: set[str] = set()  # that may have one
        self._told: dict[str, bool] = {}  # of whom it may have been told that they came, and whether it surely was
        self._portion_events = PORTION_EVENTS
        self._at_work: Deferred[None] | None = None
        self._call: IDelayedCall | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._there)

    @property
    def unlisted(self) -> int:
        """Subscribers that other nodes do not know of, for want of room or because the broker is away."""
        return len(self._coming.keys() - self._recorded)

    # -- this node's --------------------------------------------------------------------------

    def came(self, present: Present) -> None:
        """It is subscribed from now on. Raises ``ValueError`` for a topic too long to be told of."""
        for document in present.documents(False):
            self._hub.check_data(document)
        self._there[present.id] = self._coming[present.id] = present
        self.look()

    def went(self, present: Present) -> None:
        """It is not there any more."""
        if self._there.pop(present.id, None) is not None:
            self._coming.pop(present.id, None)
            if present.id in self._recorded:
                self._going[present.id] = present
                self.look()

    def renew(self) -> None:
        """The broker may have lost sight of this node."""
        self._coming = dict(self._there)
        self.look()

    def look(self) -> None:
        """See what is to be told, in a turn of its own."""
        self._again(0)

    def close(self) -> None:
        """Who is still there is told of by other nodes."""
        self._is_closed = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        if self._at_work is not None:
            self._at_work.cancel()

    def _again(self, seconds: float) -> None:
        if self._is_closed or self._at_work is not None:
            return
        if self._call is not None and self._call.active():
            if self._call.getTime() <= self._hub.seconds() + seconds:
                return
            self._call.cancel()
        self._call = self._hub.clock.callLater(seconds, self._begin)

    def _begin(self) -> None:
        if self._broker.state is BrokerState.READY and (self._coming or self._going):
            work = self._at_work = Deferred.fromCoroutine(self._work())
            work.addBoth(self._worked)

    def _worked(self, became: object) -> None:
        self._at_work = None
        if isinstance(became, Failure) and not became.check(BrokerAwayError, CancelledError):
            self._log.failure("who is there could not be told", became)
        if self._coming or self._going:
            self._again(AGAIN_SECONDS)

    async def _work(self) -> None:
        while self._going or self._coming:
            if self._going:
                await self._let_go(self._portion(self._going.values()))
            elif not await self._bring(self._portion(self._coming.values())):
                return

    def _portion(self, waiting: Iterable[Present]) -> list[Present]:
        portion: list[Present] = []
        events = 0
        for present in waiting:
            events += len(present.topics)
            if portion and events > self._portion_events:
                break
            portion.append(present)
        return portion

    async def _bring(self, portion: list[Present]) -> bool:
        """Record these, and tell of them; false if there is no room for one."""
        before = {present.id for present in portion if present.id in self._recorded}
        self._recorded.update(present.id for present in portion)
        fresh = await self._broker.record({present.id: present.pack() for present in portion})
        if fresh is None:
            for present in portion:
                if present.id not in before:
                    self._recorded.discard(present.id)
                    self._going.pop(present.id, None)
            self._portion_events = max(1, self._portion_events // 2)
            return len(portion) > 1
        self._portion_events = min(PORTION_EVENTS, 2 * self._portion_events)
        untold = [each for each in portion if each.id in fresh or not self._told.get(each.id)]
        self._told.update((present.id, False) for present in untold)
        await self._tell(untold, True)
        self._told.update((present.id, True) for present in untold)
        for present in portion:
            self._coming.pop(present.id, None)
        return True

    async def _let_go(self, portion: list[Present]) -> None:
        await self._tell([present for present in portion if present.id in self._told], False)
        ids = [present.id for present in portion]
        await self._broker.erase(ids)
        for id in ids:
            del self._going[id]
            self._told.pop(id, None)
        self._recorded.difference_update(ids)

    async def _tell(self, portion: Iterable[Present], active: bool) -> None:
        for receipt in [receipt for present in portion for receipt in tell(self._hub, present, active)]:
            await receipt.when_published()

    # -- all nodes' ---------------------------------------------------------------------------

    async def departed(self, present: Mapping[str, bytes]) -> None:
        """A node is gone, and with it these."""
        await self._tell(list(self._read(present)), False)

    def find(self, path: Sequence[str]) -> Deferred[list[dict[str, Any]]]:
        """The subscriptions of all, of a topic, or of a topic and a subscriber's id; fails with ``HTTPError``."""
        return Deferred.fromCoroutine(self._find(path)).addTimeout(FIND_SECONDS, self._hub.clock, _too_slow)

    async def _find(self, path: Sequence[str]) -> list[dict[str, Any]]:
        listing, seen, place = Listing(path), set(), None
        word = json.dumps(path[0]).encode("ascii") if path else b""
        wanted = path[1] if len(path) > 1 else None
        while True:
            page = await self._broker.present(word, wanted, place)
            for present in self._read(page.present):
                if present.id not in seen:
                    seen.add(present.id)
                    listing.add(present)
            place = page.place
            if place is None:
                return listing.found

    def _read(self, records: Mapping[str, bytes]) -> Iterator[Present]:
        for id, packed in records.items():
            try:
                yield Present.unpack(id, packed)
            except (ValueError, TypeError):
                self._log.failure("a record of who is present is not readable")


def _too_slow(became: Any, seconds: float) -> Any:
    if isinstance(became, Failure) and became.check(CancelledError, DeferredTimeout):
        raise HTTPError(503, f"It took more than {seconds:g} seconds to ask who is there.")
    return became

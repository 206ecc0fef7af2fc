"""From an event that has its place to those it is for.

Its audience is found, a receipt is told how many they are, and the fan-out is handed the event with what is to happen
where there is no room. The hub comes here with what it publishes, and a broker with what all nodes do, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from hardhttp.interfaces import Kind, Update
from hardhttp.sse.audiences import Audience
from hardhttp.sse.coding import Secret
from hardhttp.sse.journal import For
from hardhttp.sse.queue import Entry, Policy
from hardhttp.sse.receipts import Receipt
from hardhttp.sse.subscriber import Subscriber
from hardhttp.sse.subscriptions import Subscriptions
from hardhttp.sse.topics import matches

if TYPE_CHECKING:
    from hardhttp.sse.brokered import Brokered

__all__ = ["HasHad", "Sending"]

# Whether a subscriber was sent an event before.
HasHad: TypeAlias = "Callable[[Subscriber], bool]"


class Sending(Subscriptions):
    """What ``EventHub`` sends, and to whom."""

    _policies: dict[str, Policy]
    _policy: Policy
    _brokered: Brokered | None = None
    has_loaded = True

    def subscriber(self, id: str) -> Subscriber | None:
        """The open subscription of this id. All are looked through."""
        serial = self.journal.serial_of(id)
        return next((each for each in self._subscribers if each.serial == serial), None)

    def _send(self, entry: Entry, members: frozenset[Subscriber]) -> None:
        self._fan_out.publish(entry, members)
        self._account()

    def _audience(self, topics: tuple[str, ...], private: bool) -> Audience:
        """Who is to have it, and what happens where there is no room."""
        found = self._audiences.find(topics, private)
        if found is None:
            wanting: Iterable[Subscriber] = self._index.matching(topics)
            if private:
                wanting = [subscriber for subscriber in wanting if subscriber.may_see(topics)]
            found = frozenset(wanting), self._policy_of(topics)
            self._audiences.keep(topics, private, found)
        return found

    def _policy_of(self, topics: tuple[str, ...]) -> Policy:
        for selector, policy in self._policies.items():
            if any(matches(selector, topic) for topic in topics):
                return policy
        return self._policy

    def _members(self, audience: For, name: str) -> frozenset[Subscriber]:
        if audience is For.ALL:
            if self._everyone is None:
                self._everyone = frozenset(self._subscribers)
            return self._everyone
        named = self._people.users if audience is For.USER else self._people.groups
        return frozenset(named.get(name, ()))

    def _send_directed(
        self,
        sequence: int,
        members: frozenset[Subscriber],
        audience: For,
        name: str,
        encoded: Secret,
        key: str | None,
        receipt: Receipt,
    ) -> None:
        self._sequence = sequence
        self.journal.publish(sequence, receipt.id, audience, (name,), self.seconds(), False)
        self._send_apart(sequence, members, encoded, key, receipt)

    def _send_apart(
        self, sequence: int, members: frozenset[Subscriber], encoded: Secret, key: str | None, receipt: Receipt
    ) -> None:
        """What no history has."""
        if members:
            policy = Policy.CLOSE if self._policy is Policy.PAUSE else self._policy
            policy = Policy.DROP_OLDEST if policy is Policy.LATEST and key is None else policy
            self._send(Entry(sequence, encoded, receipt, policy, (None, key), directed=True), members)

    # -- for the broker -----------------------------------------------------------------------

    def listen(self, subscriber: Subscriber) -> None:
        super().listen(subscriber)
        if self._brokered is not None:
            self._brokered.listened(subscriber)

    def unlisten(self, subscriber: Subscriber) -> None:
        super().unlisten(subscriber)
        if self._brokered is not None:
            self._brokered.unlistened(subscriber)

    @property
    def is_reading(self) -> bool:
        """Whether someone takes from the history just now."""
        return self._fan_out.is_reading

    def deliver_early(
        self, audience: For, names: tuple[str, ...], encoded: Secret, key: str | None, receipt: Receipt
    ) -> int:
        """Send what is not in the order of all nodes yet, under a number of this node's, which is returned."""
        if audience in (For.PUBLIC, For.PRIVATE):
            members = self._audience(names, audience is For.PRIVATE)[0]
        else:
            members = self._members(audience, names[0])
        self._sequence += 1
        self.journal.move(self.epoch, self._sequence)
        receipt.matched = len(members)
        self._send_apart(self._sequence, members, encoded, key, receipt)
        return self._sequence

    def arrived(self, update: Update, receipt: Receipt, own: bool, has_had: HasHad | None) -> None:
        """An event is next in the order of all nodes; ``own`` is whether its publisher gave it its id, and
        ``has_had`` tells who was sent it before."""
        sequence, topics = update.sequence, update.topics
        self._sequence = sequence
        self.history.append(update)
        self.grew(len(update.encoded))
        audience = For.PRIVATE if update.private else For.PUBLIC
        self.journal.publish(sequence, update.id, audience, topics, update.published_at, own)
        members, policy = self._audience(topics, update.private)
        members = _without(members, has_had, receipt)
        if members:
            self._send(
                Entry(sequence, update.encoded, receipt, policy, (topics[0], update.key), directed=False), members
            )

    def arrived_directed(
        self,
        sequence: int,
        audience: For,
        name: str,
        encoded: Secret,
        key: str | None,
        receipt: Receipt,
        has_had: HasHad | None,
    ) -> None:
        """As ``arrived``, for users and groups."""
        members = _without(self._members(audience, name), has_had, receipt)
        self._send_directed(sequence, members, audience, name, encoded, key, receipt)

    def close_here(self, kind: Kind, *names: str) -> None:
        """Another node has closed these."""
        if kind is Kind.CLOSE_ALL:
            super().close_all()
        elif kind is Kind.CLOSE_USER:
            super().close_user(*names)
        elif kind is Kind.CLOSE and (found := self.subscriber(*names)) is not None:
            self.close(found)

    def change_epoch(self, epoch: str, sequence: int) -> None:
        """Ids begin with ``epoch`` from now on, and numbers go on after ``sequence``."""
        self.epoch = epoch
        self._sequence = max(self._sequence, sequence)
        self.journal.move(epoch, self._sequence)

    def _knows_soon(self, last_event_id: str) -> bool:
        return self._brokered is not None and (not self.has_loaded or self.history.is_ahead(last_event_id))


def _without(members: frozenset[Subscriber], has_had: HasHad | None, receipt: Receipt) -> frozenset[Subscriber]:
    """Those of ``members`` that are still to have it; the receipt counts them."""
    if has_had is not None:
        members = frozenset(each for each in members if not has_had(each))
    receipt.matched += len(members)
    return members

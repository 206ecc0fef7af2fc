"""A hub that is one of several: its side of the broker.

What is published here goes to the broker, and comes back in the one order that all nodes have; only then is it
delivered, by the hub's own fan-out, to those who are subscribed here. So there is no second way to a subscriber, and
no second order. The history is a replica of what the broker keeps.

Receipts are completed in two steps: when the broker has the event (``published``), and when it comes back
(``matched``, and what follows from it). They know of this node's subscribers alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from hardhttp.interfaces import (
    BrokerEpoch,
    BrokerState,
    Delivery,
    IBrokerNode,
    Kind,
    Losses,
    Post,
    Posted,
    Update,
)
from hardhttp.sse.coding import Secret
from hardhttp.sse.early import Early
from hardhttp.sse.history import new_epoch
from hardhttp.sse.journal import For
from hardhttp.sse.outbox import Away, Outbox
from hardhttp.sse.receipts import BrokerReceipt, Receipt
from hardhttp.sse.replica import Replica

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from hardhttp.interfaces import IBroker
    from hardhttp.sse.hub import EventHub
    from hardhttp.sse.sharedpresence import SharedPresence
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["Brokered", "replica_of"]

# How often, and how many times at most, it is looked whether all have read what they missed.
READING_SECONDS, READING_TURNS = 0.05, 100
_AUDIENCES = {Kind.USER: For.USER, Kind.GROUP: For.GROUP, Kind.ALL: For.ALL}


def replica_of(broker: IBroker, clock: IReactorTime) -> Replica:
    """A history of the broker's bounds."""
    bounds = broker.bounds
    return Replica(
        clock,
        max_topic_updates=bounds.max_topic_updates,
        max_topic_bytes=bounds.max_topic_bytes,
        max_age_seconds=bounds.max_age_seconds,
        max_bytes=bounds.max_bytes,
        max_topics=bounds.max_updates,
    )


@implementer(IBrokerNode)
class Brokered:
    """``hub`` as one of the nodes of ``broker``; ``replica`` is its history."""

    _log = Logger(namespace="hardhttp")

    def __init__(
        self,
        hub: EventHub,
        broker: IBroker,
        replica: Replica,
        clock: IReactorTime,
        away: Away,
        max_unpublished_events: int,
        max_unpublished_bytes: int,
    ) -> None:
        self._hub, self.broker, self._replica = hub, broker, replica
        self.outbox = Outbox(broker, away, max_unpublished_events, max_unpublished_bytes)
        self._max_receipts = max_unpublished_events
        self._receipts: OrderedDict[int, BrokerReceipt] = OrderedDict()  # by number, of what has not come back
        self._number = 0
        self._early = Early()
        self.presence: SharedPresence | None = None
        self.name = new_epoch()
        self.epoch = ""
        # In the reactor's turn: whoever makes a hub may still fork.
        self._waiting: IDelayedCall | None = None
        self._start: IDelayedCall | None = clock.callLater(0, self._begin)

    def _begin(self) -> None:
        self._start = None
        self.broker.start(self)

    def close(self) -> Deferred[None]:
        for call in (self._start, self._waiting):
            if call is not None:
                call.cancel()
        self._start = self._waiting = None
        if self.presence is not None:
            self.presence.close()
        self.outbox.close()
        return self.broker.close()

    # -- out ----------------------------------------------------------------------------------

    def publish(self, kind: Kind, names: tuple[str, ...], body: bytes, now: float, **more: Any) -> BrokerReceipt:
        """Post an event. Raises ``BrokerAwayError``; nothing has happened then."""
        self.outbox.check()
        receipt, number = BrokerReceipt(str(more.get("id") or "")), self._number + 1
        self._receipts[number] = receipt
        if len(self._receipts) > self._max_receipts:
            self._receipts.popitem(last=False)

        def done(became: Posted | Exception) -> None:
            if isinstance(became, Exception) or became.repeated:
                self._receipts.pop(number, None)  # it will not come back
            elif not became.sequence and number in self._receipts:
                return  # it was done before, and its id comes back with it
            receipt.answer(became)

        self._post(kind, names, done, body=body, published_at=now, **more)
        away = self.broker.state is BrokerState.AWAY and self.outbox.away is Away.LOCAL
        if away and more.get("idempotency_key") is None:  # with a key, others may have published it already
            self._deliver_early(number, kind, names, body, receipt, **more)
        return receipt

    def _deliver_early(
        self, number: int, kind: Kind, names: tuple[str, ...], body: bytes, receipt: BrokerReceipt, **more: Any
    ) -> None:
        """To those who are subscribed here, before it is in the one order."""
        audience = _AUDIENCES.get(kind) or (For.PRIVATE if more.get("private") else For.PUBLIC)
        sequence = self._hub.deliver_early(audience, names, Secret(body), more.get("key"), receipt)
        self._early.add(number, sequence, self._hub.journal.begun)

    def tell(self, kind: Kind, *names: str) -> None:
        """Post a command. Raises ``BrokerAwayError``."""
        self.outbox.check()
        self._post(kind, names, self._told)

    def _told(self, became: Posted | Exception) -> None:
        if isinstance(became, Exception):
            self._log.warn("other nodes could not be told: {why}", why=str(became))

    def _post(
        self, kind: Kind, names: tuple[str, ...], done: Callable[[Posted | Exception], None], **more: Any
    ) -> None:
        self._number += 1
        resent = self.outbox.away is not Away.REFUSE
        self._hub.grew(len(more.get("body", b"")))
        self.outbox.put(Post(self.name, self._number, kind, names, resent=resent, **more), done)

    # -- in -----------------------------------------------------------------------------------

    @property
    def last_sequence(self) -> int:
        return self._replica.last_sequence

    @property
    def floor(self) -> int:
        return self._hub.journal.last_sequence

    def listened(self, subscriber: Subscriber) -> None:
        """It has joined those who are sent what comes."""
        self._early.listened(subscriber, self._hub.journal.last_sequence)

    def unlistened(self, subscriber: Subscriber) -> None:
        self._early.unlistened(subscriber, self._hub.journal.last_sequence)

    @property
    def subscriber_count(self) -> int:
        return len(self._hub.subscribers())

    def welcome(self, epochs: Sequence[BrokerEpoch]) -> None:
        before, last = self.epoch, self._replica.last_sequence
        if not self._replica.adopt(epochs) and before:
            return
        if before:  # the broker has lost something: nobody knows what
            self._hub.read_on(f"{before}-{last}")
            self._replica.pass_over(epochs[-1].first - 1)
        self.epoch = self._replica.epoch
        self._hub.change_epoch(self.epoch, self._replica.last_sequence)

    def load(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            post = delivery.post
            try:
                if post is not None and post.kind is Kind.EVENT:
                    self._replica.append(self._update(delivery.sequence, post))
            except Exception:
                self._log.failure("an event of the broker could not be kept")
            self._replica.pass_over(delivery.sequence)
        self._hub.change_epoch(self.epoch, self._replica.last_sequence)

    def lost(self, losses: Losses, to: int) -> None:
        place = self._replica.here
        is_loss = self._replica.lose(losses, place.sequence if self._hub.has_loaded else 0)
        if is_loss and self._hub.has_loaded:
            self._hub.read_on(place)
        self._replica.pass_over(to)
        self._hub.change_epoch(self.epoch, self._replica.last_sequence)

    def changed(self, state: BrokerState) -> None:
        if state is BrokerState.READY:
            self._hub.has_loaded = True
            self._resume(READING_TURNS if self._early else 0)
            if self.presence is not None:
                self.presence.renew()

    @property
    def tells_presence(self) -> bool:
        return self.presence is not None

    def departed(self, present: Mapping[str, bytes]) -> Deferred[None]:
        assert self.presence is not None  # it says so
        return Deferred.fromCoroutine(self.presence.departed(present))

    def _resume(self, turns: int) -> None:
        """Send what waits. What was sent here already comes back then, and is to find nobody at the history."""
        if self._waiting is not None and self._waiting.active():
            self._waiting.cancel()
        self._waiting = None
        if turns and self._hub.is_reading:
            self._waiting = self._hub.clock.callLater(READING_SECONDS, self._resume, turns - 1)
        else:
            self.outbox.resume()

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        deliveries = [each for each in deliveries if each.sequence > self._replica.last_sequence]
        used = [each for each in deliveries if each.sequence <= self.floor]
        if used and self._early:  # while this node was away it gave these numbers to others: they are to be read
            place = self._replica.here
            self.load(used)
            self._hub.read_on(place)
            deliveries = deliveries[len(used) :]
        for delivery in deliveries:
            if self.outbox.is_closed:
                return
            try:
                if delivery.post is not None:
                    self._take(delivery.sequence, delivery.post)
            except Exception:
                self._log.failure("an event of the broker could not be delivered")
            self._replica.pass_over(delivery.sequence)

    def _take(self, sequence: int, post: Post) -> None:
        if post.kind is Kind.EVENT:
            update = self._update(sequence, post)
            has_had = self._early.take(post.number, directed=False) if post.node == self.name else None
            self._hub.arrived(update, self._receipt(post, update.id), post.id is not None, has_had)
        elif post.kind in _AUDIENCES:
            receipt = self._receipt(post, self._replica.id_of(sequence))
            name, body = post.names[0], Secret(post.body)
            has_had = self._early.take(post.number, directed=True) if post.node == self.name else None
            self._hub.arrived_directed(sequence, _AUDIENCES[post.kind], name, body, post.key, receipt, has_had)
        elif post.node != self.name:  # here it was done at once
            self._hub.close_here(post.kind, *post.names)

    def _receipt(self, post: Post, id: str) -> Receipt:
        receipt = self._receipts.pop(post.number, None) if post.node == self.name else None
        if receipt is None:
            return Receipt(id, 0)
        receipt.came_back(id)
        return receipt

    def _update(self, sequence: int, post: Post) -> Update:
        id = self._replica.id_of(sequence) if post.id is None else post.id
        encoded = b"id: %b\n%b" % (id.encode("utf-8"), post.body)
        if post.private:
            encoded = Secret(encoded)
        return Update(sequence, id, post.names, post.private, post.key, encoded, post.published_at)

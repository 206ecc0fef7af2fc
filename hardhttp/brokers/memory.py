"""Several hubs of one process as one: the reference of what a broker promises, and what tests use.

An ``Exchange`` is what Redis is to the other broker: it puts posts in order and keeps some of them. Each hub has a
``MemoryBroker`` at it, which reads on from where it was, a page in each turn of the reactor. ``Exchange.away`` cuts
them all off and ``MemoryBroker.cut_off`` one of them, as a network does; ``Exchange.forget`` loses everything, as a
server without a disk does when it restarts.

What is kept is bounded by topic and in all, and the oldest goes. An update belongs to the first of its topics.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from hardhttp.brokers.counting import EPOCH_STEP, PAGE_POSTS, new_name, size_of, topic_of
from hardhttp.brokers.memorypresence import Records
from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import (
    BrokerBounds,
    BrokerEpoch,
    BrokerState,
    Delivery,
    Everywhere,
    IBroker,
    IBrokerNode,
    Losses,
    Post,
    Posted,
    PresentPage,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Exchange", "MemoryBroker"]


class Exchange:
    """The one order, and what is kept of it within ``bounds``. ``clock`` tells what is too old."""

    def __init__(self, clock: IReactorTime, bounds: BrokerBounds | None = None) -> None:
        self.clock = clock
        self.bounds = bounds or BrokerBounds()
        self.brokers: list[MemoryBroker] = []
        self.epochs: list[BrokerEpoch] = []
        self._away = False
        self.forget()

    def forget(self) -> None:
        """Lose everything that was kept."""
        self.epochs.clear()
        self.last_sequence = 0
        self.kept: OrderedDict[int, tuple[Post, int, float]] = OrderedDict()
        self._topics: dict[str, deque[int]] = {}
        self._topic_bytes: dict[str, int] = {}
        self._bytes = 0
        self._lost: dict[str, int] = {}
        self._forgotten_to = 0
        self._keys: OrderedDict[str, tuple[float, Posted]] = OrderedDict()
        self._done: dict[str, int] = {}
        self.present = Records(self.bounds)
        for broker in self.brokers:
            broker.look()

    @property
    def away(self) -> bool:
        """Whether nobody can reach it."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        for broker in self.brokers:
            broker.look()

    @property
    def losses(self) -> Losses:
        return Losses(self._forgotten_to, dict(self._lost))

    def hello(self, epoch: str, last_sequence: int, floor: int) -> None:
        """A node has come that was at ``last_sequence`` of ``epoch``, and has used numbers up to ``floor``."""
        self._hello(epoch, last_sequence)
        self.expire(self.clock.seconds())
        self.last_sequence = max(self.last_sequence, floor)

    def _hello(self, epoch: str, last_sequence: int) -> None:
        known = [each.name for each in self.epochs]
        lost = not known or (known[-1] == epoch and last_sequence > self.last_sequence)
        if not lost:
            return
        if self.epochs:
            last = self.epochs.pop()
            self.epochs.append(BrokerEpoch(last.name, last.first, self.last_sequence))
        if known or last_sequence:
            self.last_sequence = max(self.last_sequence, last_sequence) + EPOCH_STEP
        self.epochs.append(BrokerEpoch(new_name(), self.last_sequence + 1, None))

    def is_next(self, post: Post) -> bool:
        """Whether what the node resends is in order."""
        return not post.resent or post.number <= self._done.get(post.node, post.number - 1) + 1

    def post(self, post: Post) -> Posted:
        now, epoch = self.clock.seconds(), self.epochs[-1].name
        if post.resent and post.number <= self._done.get(post.node, 0):
            return Posted(0, epoch, post.id)
        if (key := post.idempotency_key) is not None:
            if (found := self._repeated(key, now)) is not None:
                if post.resent:
                    self._done[post.node] = post.number
                return found
            posted = Posted(self.last_sequence + 1, epoch, post.id, repeated=True)
            self._keys[key] = now + self.bounds.idempotency_seconds, posted
            if len(self._keys) > self.bounds.max_idempotency_keys:
                self._keys.popitem(last=False)
        self.last_sequence += 1
        if post.resent:
            self._done[post.node] = post.number
        self._keep(self.last_sequence, post, now)
        for broker in self.brokers:
            broker.look()
        return Posted(self.last_sequence, epoch, post.id)

    def _repeated(self, key: str, now: float) -> Posted | None:
        while self._keys and next(iter(self._keys.values()))[0] <= now:
            self._keys.popitem(last=False)
        found = self._keys.get(key)
        return None if found is None else found[1]

    def _keep(self, sequence: int, post: Post, now: float) -> None:
        topic, size = topic_of(post), size_of(post)
        self.kept[sequence] = post, size, now
        line = self._topics.setdefault(topic, deque())
        line.append(sequence)
        self._topic_bytes[topic] = self._topic_bytes.get(topic, 0) + size
        self._bytes += size
        bounds = self.bounds
        while self.kept[line[0]][2] <= now - bounds.read_seconds and (
            len(line) > bounds.max_topic_updates
            or (self._topic_bytes[topic] > bounds.max_topic_bytes and len(line) > 1)
        ):
            self._drop(line[0])
        while len(self.kept) > bounds.max_updates or (self._bytes > bounds.max_bytes and len(self.kept) > 1):
            self._drop(next(iter(self.kept)))
        self.expire(now)

    def expire(self, now: float) -> None:
        """Drop what is too old."""
        seconds = self.bounds.max_age_seconds
        while seconds is not None and self.kept and next(iter(self.kept.values()))[2] <= now - seconds:
            self._drop(next(iter(self.kept)))

    def _drop(self, sequence: int) -> None:
        post, size, _ = self.kept.pop(sequence)
        topic = topic_of(post)
        self._topics[topic].popleft()
        self._topic_bytes[topic] -= size
        self._bytes -= size
        self._lost[topic] = sequence
        if not self._topics[topic]:
            del self._topics[topic], self._topic_bytes[topic], self._lost[topic]
            self._forgotten_to = max(self._forgotten_to, sequence)

    def after(self, sequence: int) -> list[Delivery]:
        """The next page."""
        found: list[Delivery] = []
        for number in reversed(self.kept):
            if number <= sequence:
                break
            found.append(Delivery(number, self.kept[number][0]))
        return found[::-1][:PAGE_POSTS]


@implementer(IBroker)
class MemoryBroker:
    """One hub's place at ``exchange``: ``hardhttp.interfaces.IBroker`` says what is promised."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.bounds = exchange.bounds
        self.state = BrokerState.CONNECTING
        self._node: IBrokerNode | None = None
        self._call: IDelayedCall | None = None
        self._lease: IDelayedCall | None = None  # it ends, since this node is cut off
        self._telling: Deferred[None] | None = None
        self._cut_off = self._loaded = self._has_failed = False

    def __repr__(self) -> str:
        return f"<MemoryBroker {self.state}>"

    @property
    def why_away(self) -> str | None:
        return None if self.state is BrokerState.READY else "the exchange is away"

    @property
    def everywhere(self) -> Everywhere:
        nodes = [broker._node for broker in self._exchange.brokers if broker.state is BrokerState.READY]
        return Everywhere(len(nodes), sum(node.subscriber_count for node in nodes if node is not None))

    @property
    def cut_off(self) -> bool:
        """Whether this node alone cannot reach the exchange."""
        return self._cut_off

    @cut_off.setter
    def cut_off(self, cut_off: bool) -> None:
        self._cut_off = cut_off
        self._end_lease_later(cut_off)
        self.look()

    def start(self, node: IBrokerNode) -> None:
        if self._node is not None:
            raise ValueError("a broker is one hub's: make another MemoryBroker at the same Exchange")
        self._node = node
        self._exchange.brokers.append(self)
        self.look()

    def post(self, post: Post) -> Deferred[Posted]:
        if self.state is not BrokerState.READY or self._unreachable or self._begins_anew:
            self._has_failed = True
            self.look()
            return fail(BrokerAwayError("the exchange is away"))
        if not self._exchange.is_next(post):
            return fail(BrokerAwayError("an earlier event is not done"))
        return succeed(self._exchange.post(post))

    def close(self) -> Deferred[None]:
        if self in self._exchange.brokers:
            self._exchange.brokers.remove(self)
            self._end_lease_later(False)
            self._end_lease()
        self.state = BrokerState.AWAY
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._telling is not None:
            self._telling.cancel()
        return succeed(None)

    @property
    def _unreachable(self) -> bool:
        return self._cut_off or self._exchange.away

    @property
    def _begins_anew(self) -> bool:
        """Whether the exchange has lost what this node still has."""
        known = self._exchange.epochs
        return not known or self._node is None or known[-1].name != self._node.epoch

    def look(self) -> None:
        """Something may have changed: see what, in a turn of its own."""
        if self._call is None and self in self._exchange.brokers:
            self._call = self._exchange.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._call = None
        node, exchange = self._node, self._exchange
        assert node is not None  # it was started
        if self._unreachable:
            if self.state is BrokerState.READY:
                self._change(BrokerState.AWAY)
            return None
        exchange.hello(node.epoch, node.last_sequence, node.floor)
        if self.state is not BrokerState.READY or node.epoch != exchange.epochs[-1].name:
            self._has_failed = True  # the exchange may have lost what it had
            node.welcome(tuple(exchange.epochs))
        page = exchange.after(node.last_sequence)
        if not self._loaded:
            node.load(page)
            self._loaded = not page
            if page:
                return self.look()
            node.lost(exchange.losses, exchange.last_sequence)
        else:
            self._deliver(node, page)
        if page:
            self.look()
        elif self.state is not BrokerState.READY or self._has_failed:
            self._has_failed = False
            self._change(BrokerState.READY)
        if self.state is BrokerState.READY and exchange.present.gone and node.tells_presence and self._telling is None:
            self._telling = Deferred.fromCoroutine(self._tell(node))
            self._telling.addBoth(self._told)
        return None

    def _deliver(self, node: IBrokerNode, page: list[Delivery]) -> None:
        """Around each hole, what was lost there."""
        for delivery in page:
            if self not in self._exchange.brokers:
                return  # what was delivered has closed it
            if delivery.sequence != node.last_sequence + 1:
                node.lost(self._exchange.losses, delivery.sequence - 1)
            node.deliver((delivery,))
        if not page and node.last_sequence < self._exchange.last_sequence:
            node.lost(self._exchange.losses, self._exchange.last_sequence)

    def _change(self, state: BrokerState) -> None:
        if self not in self._exchange.brokers:
            return
        self.state = state
        assert self._node is not None
        self._node.changed(state)

    # -- who is present -----------------------------------------------------------------------

    def record(self, present: Mapping[str, bytes]) -> Deferred[Collection[str] | None]:
        node, records = self._node, self._exchange.present
        if node is None or self.state is not BrokerState.READY or self._unreachable:
            return fail(BrokerAwayError("the exchange is away"))
        if node.name in records.gone:
            self._has_failed = True
            return fail(BrokerAwayError("others are being told that this node had gone"))
        return succeed(records.record(node.name, present))

    def erase(self, ids: Collection[str]) -> Deferred[None]:
        node = self._node
        if node is None or self.state is not BrokerState.READY or self._unreachable:
            return fail(BrokerAwayError("the exchange is away"))
        self._exchange.present.erase(node.name, ids)
        return succeed(None)

    def present(self, word: bytes = b"", id: str | None = None, place: object = None) -> Deferred[PresentPage]:
        if self.state is not BrokerState.READY or self._unreachable:
            return fail(BrokerAwayError("the exchange is away"))
        return succeed(self._exchange.present.page(word, id, place))

    def _end_lease_later(self, later: bool) -> None:
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None
        if later:
            self._lease = self._exchange.clock.callLater(self.bounds.lease_seconds, self._end_lease)

    def _end_lease(self) -> None:
        """It is taken to be gone: another tells of those who were present here."""
        self._lease = None
        if self._node is not None and self._exchange.present.left_behind(self._node.name):
            for broker in self._exchange.brokers:
                broker.look()

    async def _tell(self, node: IBrokerNode) -> None:
        records = self._exchange.present
        while records.teller in (None, self) and (found := records.departed()) is not None:
            records.teller = self
            name, present = found
            try:
                await node.departed(present)
            finally:
                records.teller = None
            records.erase(name, present)

    def _told(self, became: object) -> None:
        self._telling = None
        for broker in self._exchange.brokers:
            broker.look()

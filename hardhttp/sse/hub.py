"""The hub: events by topic, user and group, to whoever is subscribed.

``publish`` encodes an event once, keeps it in the history if there is one, and hands it to the fan-out
with those it is for; all that happens before it returns, so what the caller does to its data afterwards,
or what a callback publishes, changes nothing that was published before (V10).

With a broker several hubs are one: what is published goes to it, and what it hands back, in the same order to each
hub, goes the same way (``hardhttp.sse.brokered``).

How subscriptions begin and end is in ``hardhttp.sse.subscriptions``. Who may publish or subscribe is asked
in neither: ``hardhttp.sse.mercure`` does, or the application.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import IBroker, IHistory, Kind, Update
from hardhttp.sse.brokered import Brokered, replica_of
from hardhttp.sse.coding import Secret
from hardhttp.sse.explain import Explanation, explain
from hardhttp.sse.history import EARLIEST, MemoryHistory
from hardhttp.sse.journal import For, Remembered
from hardhttp.sse.oneofseveral import OneOfSeveral
from hardhttp.sse.outbox import Away
from hardhttp.sse.presence import LocalPresence
from hardhttp.sse.queue import Entry, Policy, Room
from hardhttp.sse.receipts import Receipt, Repeats
from hardhttp.sse.sharedpresence import SharedPresence
from hardhttp.sse.subscriber import Ended, Subscriber
from hardhttp.wire.eventstream import MAX_RETRY_MS, EventTooLargeError, encode_event

__all__ = ["Away", "Ended", "EventHub", "Policy", "Receipt", "Subscriber"]

# Of an id that a publisher gives: it comes back in the head of a request.
MAX_ID_BYTES = 2048
# What the value of a field cannot hold (RFC 9110, 5.5).
_NO_FIELD = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_ABOVE_0 = (
    "max_subscribers",
    "max_queued_events",
    "max_queued_bytes",
    "max_waiting_bytes",
    "max_event_bytes",
    "heartbeat_seconds",
    "lifetime_seconds",
    "write_seconds",
    "max_idempotency_keys",
    "idempotency_seconds",
    "max_unpublished_events",
    "max_unpublished_bytes",
    "max_explained_events",
    "max_explained_subscribers",
    "max_explained_exceptions",
    "max_explained_bytes",
)
_SPANS = ("retry_seconds", "overload_seconds")
_MAY_BE_NONE = ("heartbeat_seconds", "lifetime_seconds", "retry_seconds")


def _check(given: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for a bound or a span of a hub that cannot be."""
    given = {name: value for name, value in given.items() if not (value is None and name in _MAY_BE_NONE)}
    for name in filter(given.__contains__, _ABOVE_0):
        if not given[name] > 0:
            raise ValueError(f"{name} is {given[name]!r}; it must be more than 0")
    for name in filter(given.__contains__, _SPANS):
        shorter, longer = given[name]
        if not 0 <= shorter <= longer <= MAX_RETRY_MS / 1000:
            what = f"a pair of seconds, the shorter one first, up to {MAX_RETRY_MS} ms"
            raise ValueError(f"{name} is {given[name]!r}; it must be {what}")


class EventHub(OneOfSeveral):
    """Events by topic, to whoever has subscribed. ``clock`` is an ``IReactorTime``, ``history`` an ``IHistory``.

    - ``max_subscribers``: one more is told to come back after ``overload_seconds`` (from, to);
    - ``max_queued_events``, ``max_queued_bytes``: what may wait for one subscriber; ``policy`` says what
      happens then, ``policies`` (by selector, the first that matches a topic) where it differs;
    - ``max_waiting_bytes``: what may wait for the fan-out before ``publish`` serves it itself;
    - ``heartbeat_seconds``: a comment goes to whoever was sent nothing for so long (``None``: never);
    - ``lifetime_seconds``: how long a subscription may last (``None``: without end);
    - ``retry_seconds`` (from, to): what each is told to wait before it reconnects, at random (``None``: nothing);
    - ``write_seconds``: one that takes nothing for so long is ended; the kernel is told the same;
    - ``max_event_bytes``; ``max_idempotency_keys``, each kept for ``idempotency_seconds``;
    - ``compressed``: whether clients that accept gzip get it. What is private or directed is not compressed.
    - what ``explain`` remembers: ``max_explained_events``, ``max_explained_subscribers`` (that have ended),
      ``max_explained_exceptions``, and ``max_explained_bytes`` of topics and selectors, each.

    - ``broker``: an ``IBroker`` that no other hub has; it keeps the history, in its own bounds. ``broker_away`` says
      what becomes of what is published while it is away (``Away``); ``max_unpublished_events`` and
      ``max_unpublished_bytes`` are what may wait for it.

    Raises ``ValueError`` for what cannot be, and for the policy ``pause`` without a history.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        history: IHistory | None = None,
        broker: IBroker | None = None,
        broker_away: Away | str = Away.REFUSE,
        max_unpublished_events: int = 4000,
        max_unpublished_bytes: int = 16 << 20,
        max_subscribers: int = 100_000,
        max_queued_events: int = 1000,
        max_queued_bytes: int = 1 << 20,
        max_waiting_bytes: int = 8 << 20,
        max_event_bytes: int = 1 << 20,
        policy: Policy | str = Policy.CLOSE,
        policies: Mapping[str, Policy | str] | None = None,
        heartbeat_seconds: float | None = 15.0,
        lifetime_seconds: float | None = None,
        write_seconds: float = 60.0,
        retry_seconds: tuple[float, float] | None = (1.0, 5.0),
        overload_seconds: tuple[float, float] = (5.0, 30.0),
        max_idempotency_keys: int = 10_000,
        idempotency_seconds: float = 600.0,
        compressed: bool = True,
        max_explained_events: int = 1000,
        max_explained_subscribers: int = 1000,
        max_explained_exceptions: int = 10_000,
        max_explained_bytes: int = 1 << 20,
    ) -> None:
        _check(locals())  # before anything but what was given has a name here
        self._policies = {selector: Policy(each) for selector, each in (policies or {}).items()}
        self._policy = Policy(policy)
        replica = None
        if broker is not None:
            if history is not None:
                raise ValueError("the broker keeps the history: leave history out, and give the broker its bounds")
            history = replica = replica_of(broker, clock)
        if history is None and Policy.PAUSE in (self._policy, *self._policies.values()):
            raise ValueError("the policy 'pause' needs a history")
        super().__init__(
            clock,
            history,
            Room(max_queued_events, max_queued_bytes),
            max_subscribers=max_subscribers,
            max_waiting_bytes=max_waiting_bytes,
            heartbeat_seconds=heartbeat_seconds,
            lifetime_seconds=lifetime_seconds,
            write_seconds=write_seconds,
            retry_seconds=retry_seconds,
            overload_seconds=overload_seconds,
            compressed=compressed,
            remembered=Remembered(
                max_explained_events, max_explained_subscribers, max_explained_exceptions, max_explained_bytes
            ),
        )
        self._max_event_bytes = max_event_bytes
        self._handed_over = False
        self._repeats = Repeats(max_idempotency_keys, idempotency_seconds)
        self.has_loaded = broker is None  # whether it is known what was published before
        if broker is not None and replica is not None:
            bounds = max_unpublished_events, max_unpublished_bytes
            self._brokered = Brokered(self, broker, replica, clock, Away(broker_away), *bounds)
            self.journal.node = self._brokered.name

    # -- what there is ------------------------------------------------------------------------

    @property
    def subscriber_count(self) -> int:
        """Open subscriptions."""
        return len(self._subscribers)

    @property
    def published(self) -> int:
        """Events of this hub since it was made."""
        return self._sequence - self._before

    @property
    def user_count(self) -> int:
        """Users with a subscription."""
        return len(self._people.users)

    @property
    def last_id(self) -> str:
        """The id of the last event."""
        return f"{self.epoch}-{self._sequence}" if self.history is None else str(self.history.last_id)

    def subscribers(self, topic: str | None = None) -> list[Subscriber]:
        """Who is subscribed, or subscribed to ``topic``."""
        if topic is None:
            return list(self._subscribers)
        return [subscriber for subscriber in self._subscribers if subscriber.wants((topic,))]

    def slowest(self, count: int = 10) -> list[Subscriber]:
        """Those whose transports have been full longest, the longest first."""
        return heapq.nsmallest(count, self.waiting, key=self.waiting.__getitem__)

    def presence(self) -> LocalPresence | SharedPresence:
        """What tells of subscribers that come and go, and who is there: of all nodes, with a broker. Once.

        Raises ``ValueError`` when it was asked for before.
        """
        if self._presence is not None:
            raise ValueError("this hub's subscriptions are told of already")
        if self._brokered is None:
            self._presence = LocalPresence(self)
        else:
            self._presence = self._brokered.presence = SharedPresence(self, self._brokered.broker)
        return self._presence

    def explain(self, event_id: str, subscriber: Subscriber | str) -> Explanation:
        """What became of an event at a subscriber, or at one that has ended, which may be given by its id.

        The event's id is that of its receipt, or its publisher's. What is remembered is bounded by the
        ``max_explained_...`` of this hub; what is not any more is said to be so, never guessed. Never raises.
        """
        id = subscriber if isinstance(subscriber, str) else subscriber.id
        found = self.journal.ended(id)
        if found is None and (there := self.subscriber(id)) is not None:
            found = self.journal.portrait(there)
        return explain(self.journal, event_id, id, found, self._keeps)

    def _keeps(self, event_id: str) -> bool:
        return self.history is not None and self.history.get(event_id) is not None

    def on_connect(self, callback: Callable[[Subscriber], object]) -> None:
        """Call ``callback`` before each subscription begins; ``False`` refuses it (403), as does ``HTTPError``.

        It must answer at once: what can only be awaited fails the subscription (500).
        """
        self._on_connect.append(callback)

    def on_close(self, callback: Callable[[Subscriber, Ended], object]) -> None:
        """Call ``callback`` once when a subscription ends that every ``on_connect`` had accepted."""
        self._on_close.append(callback)

    # -- users and groups ---------------------------------------------------------------------

    def bind_user(self, subscriber: Subscriber, user: str | None) -> None:
        """``subscriber`` is ``user``'s, and nobody else's; ``None`` is nobody. A user may have many."""
        if subscriber.is_open:
            self.journal.bound(subscriber, user)
            self._people.bind(subscriber, user)

    def join(self, subscriber: Subscriber, group: str) -> None:
        """``subscriber`` is in ``group`` too."""
        if subscriber.is_open:
            self.journal.grouped(subscriber, group, True)
            self._people.join(subscriber, group)

    def leave(self, subscriber: Subscriber, group: str) -> None:
        """``subscriber`` is not in ``group``."""
        if subscriber.is_open:
            self.journal.grouped(subscriber, group, False)
        self._people.leave(subscriber, group)

    # -- publishing ---------------------------------------------------------------------------

    def publish(
        self,
        topics: str | Iterable[str],
        data: Any,
        *,
        event: str | None = None,
        id: str | None = None,
        retry: float | None = None,
        private: bool = False,
        key: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Send an event to whoever wants one of ``topics``; the first is the one it is named by.

        ``data`` is encoded here and now. ``retry`` is in seconds. A ``private`` event goes to those alone
        whose ``allowed`` has a selector for it. ``key`` names what it is the latest state of. What was
        published with the same ``idempotency_key`` before is not sent again: its receipt is returned.
        Raises ``ValueError`` for no topic, an id that begins with ``#``, looks like one of ours or cannot stand
        in a header field of a request, too large an event, and as ``encode_event``; nothing has happened then.

        With a broker the receipt is completed later, and ``when_published`` says when all nodes have the event.
        Raises ``BrokerAwayError`` (503) where it is away and nothing waits for it, or enough does; without one, once
        the history is another process's.
        """
        names = (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
        if not names:
            raise ValueError("an event has at least one topic")
        now = self.seconds()
        if idempotency_key is not None and (repeated := self._repeats.find(idempotency_key, now)) is not None:
            return repeated
        if id is not None:
            self._check_id(id)
        if self._brokered is not None:
            body = self._encode(data, event, None, retry)
            more = {"id": id, "private": private, "key": key, "idempotency_key": idempotency_key}
            everywhere = self._brokered.publish(Kind.EVENT, names, body, now, **more)
            if idempotency_key is not None:
                self._repeat_unless_it_fails(idempotency_key, everywhere, now)
            return everywhere
        if self._handed_over:
            raise BrokerAwayError("this process is being replaced by another")
        sequence = self._sequence + 1
        known = f"{self.epoch}-{sequence}" if id is None else id
        encoded = self._encode(data, event, known, retry)
        if private:
            encoded = Secret(encoded)
        self._sequence = sequence
        if self.history is not None:
            self.history.append(Update(sequence, known, names, private, key, encoded, now))
            self.grew(len(encoded))
        self.journal.publish(sequence, known, For.PRIVATE if private else For.PUBLIC, names, now, id is not None)
        members, policy = self._audience(names, private)
        receipt = Receipt(known, len(members))
        if idempotency_key is not None:
            self._repeats.keep(idempotency_key, receipt, now)
        if members:
            place = names[0], key
            self._send(Entry(sequence, encoded, receipt, policy, place, directed=False), members)
        return receipt

    def _repeat_unless_it_fails(self, idempotency_key: str, receipt: Receipt, now: float) -> None:
        self._repeats.keep(idempotency_key, receipt, now)
        receipt.when_published().addErrback(lambda _: self._repeats.drop(idempotency_key, receipt))

    def _check_id(self, id: str) -> None:
        """A publisher's own id: its subscribers must be able to come back with it."""
        if not id or id == EARLIEST or id.startswith(("#", f"{self.epoch}-")):
            raise ValueError(f"an event's id cannot be {id[:100]!r}: it is empty, or of the hub's own kind")
        if _NO_FIELD.search(id) is not None or len(id.encode("utf-8")) > MAX_ID_BYTES:
            raise ValueError(f"an event's id has at most {MAX_ID_BYTES} bytes, and no control characters")

    def check_data(self, data: Any) -> None:
        """Raises ``ValueError`` for what is too large to be published."""
        self._encode(data, None, None, None)

    def _encode(self, data: Any, event: str | None, id: str | None, retry: float | None) -> bytes:
        encoded = encode_event(data, event, id, retry_seconds=retry)
        if len(encoded) > self._max_event_bytes:
            raise EventTooLargeError(f"an event has {len(encoded)} bytes; {self._max_event_bytes} are allowed")
        return encoded

    # -- directed, and kept in no history ------------------------------------------------------

    def to_user(self, user: str, data: Any, *, event: str | None = None, key: str | None = None) -> Receipt:
        """Send to the subscribers of ``user``, and to nobody when there are none. It is kept in no history."""
        return self._direct(For.USER, user, data, event, key)

    def to_group(self, group: str, data: Any, *, event: str | None = None, key: str | None = None) -> Receipt:
        """As ``to_user``, to the members of ``group``."""
        return self._direct(For.GROUP, group, data, event, key)

    def to_all(self, data: Any, *, event: str | None = None, key: str | None = None) -> Receipt:
        """As ``to_user``, to every subscriber, whatever its topics."""
        return self._direct(For.ALL, "", data, event, key)

    def _direct(self, audience: For, name: str, data: Any, event: str | None, key: str | None) -> Receipt:
        """Without an ``id`` in the stream: it could not be taken up after it."""
        encoded = Secret(self._encode(data, event, None, None))
        if self._brokered is not None:
            return self._brokered.publish(Kind(audience), (name,), encoded, self.seconds(), key=key)
        members = self._members(audience, name)
        receipt = Receipt(f"{self.epoch}-{self._sequence + 1}", len(members))
        self._send_directed(self._sequence + 1, members, audience, name, encoded, key, receipt)
        return receipt

    # -- closing ------------------------------------------------------------------------------

    def close_user(self, user: str) -> int:
        """Close the subscribers of ``user``, with a broker on all nodes; how many they were here.

        Raises ``BrokerAwayError`` when other nodes cannot be told; here they are closed then.
        """
        count = super().close_user(user)
        if self._brokered is not None:
            self._brokered.tell(Kind.CLOSE_USER, user)
        return count

    def close_all(self) -> int:
        """Close every subscriber there is, as ``close_user`` does. Here they go in slices, from the next turn on."""
        count = super().close_all()
        if self._brokered is not None:
            self._brokered.tell(Kind.CLOSE_ALL)
        return count

    def close_subscriber(self, id: str) -> bool:
        """Close the subscriber of this id, wherever it is; whether it was here."""
        found = self.subscriber(id)
        if found is not None:
            self.close(found)
        elif self._brokered is not None:
            self._brokered.tell(Kind.CLOSE, id)
        return found is not None

    def hand_over(self) -> Deferred[None]:
        """Let another process have the file of the history; fires when it may. Nothing is published here any more."""
        self._handed_over = self._brokered is None
        return self.history.hand_over() if isinstance(self.history, MemoryHistory) else succeed(None)

    def take_back(self) -> None:
        """That process has not come about."""
        if self._handed_over and isinstance(self.history, MemoryHistory):
            self.history.take_back()
        self._handed_over = False

    def stop(self) -> Deferred[None]:
        """Let go of the broker, and of the history. Subscribers are ended by the site that serves them."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        try:
            if self._brokered is not None:
                await self._brokered.close()
        finally:
            if self.history is not None:
                await self.history.close()

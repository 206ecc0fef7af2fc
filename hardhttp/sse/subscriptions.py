"""The subscriptions of a hub: one way in and one way out for all of them.

``subscribe`` begins a subscription whole or not at all: whatever fails on the way, everything is as it was
(V09). Every subscription ends in ``_end``, whoever ends it: the client, the application, a bound, a
deadline, a drain. ``on_close`` is told there, once, why (V15).

Subscribers are held here, by topic, user and group, and what waits for them; how much that is stands in the
ledger of the site that serves them. Timers are one tick for all, which stops with the last subscriber.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from inspect import isawaitable, iscoroutine
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import HTTPError
from hardhttp.interfaces import HistoryPlace, IHistory, Wanted
from hardhttp.net.budget import Keeper
from hardhttp.net.ledger import EVENTS, SUBSCRIBERS
from hardhttp.sse.audiences import Audiences
from hardhttp.sse.coding import GZIP, Coder, GzipStream
from hardhttp.sse.fanout import FanOut
from hardhttp.sse.history import EARLIEST, new_epoch
from hardhttp.sse.journal import Journal, Remembered
from hardhttp.sse.leaving import Leaving
from hardhttp.sse.overload import overloaded
from hardhttp.sse.people import People
from hardhttp.sse.queue import Room
from hardhttp.sse.subscriber import Ended, Subscriber
from hardhttp.sse.topics import EVERYTHING, Selectors, TopicIndex
from hardhttp.sse.wheel import Wheel
from hardhttp.web.beforehead import vary_on
from hardhttp.web.responding import Responding
from hardhttp.wire.eventstream import COMMENT, encode_retry
from hardhttp.wire.negotiation import preferred_coding

__all__ = ["WEIGHED_BYTES", "Subscriptions"]

TICK_SECONDS = 1.0
# What is queued, or new in the history, asks whether the process holds too much once it is so much.
WEIGHED_BYTES = 64 * 1024
# When one is to come back whose last event this node of several has not had yet.
SOON_SECONDS = 0.5, 2.0
# Heartbeats and lifetimes are this much shorter than was said, at random, so that they spread out.
JITTER = 0.25


class Subscriptions:
    """What ``EventHub`` says of them."""

    log = Logger(namespace="hardhttp")

    def __init__(
        self,
        clock: IReactorTime,
        history: IHistory | None,
        room: Room,
        *,
        max_subscribers: int,
        max_waiting_bytes: int,
        heartbeat_seconds: float | None,
        lifetime_seconds: float | None,
        write_seconds: float,
        retry_seconds: tuple[float, float] | None,
        overload_seconds: tuple[float, float],
        compressed: bool,
        remembered: Remembered,
    ) -> None:
        self.clock = clock
        self.seconds: Callable[[], float] = clock.seconds
        self.history: Any = history
        self.epoch: str = new_epoch() if history is None else history.epoch
        self._sequence = self._before = 0 if history is None else history.last_sequence
        self.max_subscribers = max_subscribers
        self._heartbeat_seconds = heartbeat_seconds
        self._lifetime_seconds = lifetime_seconds
        self._write_seconds = write_seconds
        self._retry_seconds = retry_seconds
        self._overload_seconds = overload_seconds
        self.room = room
        self._coder = Coder() if compressed else None
        self.journal = Journal(clock.seconds, self.epoch, self._sequence, remembered)
        self.waiting: dict[Subscriber, float] = {}  # for their transports, and since when; longest first
        self._subscribers: dict[Subscriber, None] = {}
        self._index: TopicIndex[Subscriber] = TopicIndex()
        self._audiences = Audiences()
        self._everyone: frozenset[Subscriber] | None = None
        self._people = People()
        self._fan_out = FanOut(clock, self._failed, self.close, self._account, max_waiting_bytes)
        self._leaving = Leaving(clock, self._tell_and_finish)
        tick = TICK_SECONDS if heartbeat_seconds is None else min(TICK_SECONDS, heartbeat_seconds / 4)
        self._wheel: Wheel[Subscriber] = Wheel(tick, clock.seconds())
        self._tick_seconds = tick
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock
        self._on_connect: list[Callable[[Subscriber], object]] = []
        self._on_close: list[Callable[[Subscriber, Ended], object]] = []
        self.ends: dict[Ended, int] = dict.fromkeys(Ended, 0)
        self.refused = 0  # over ``max_subscribers``
        self._server: Any = None  # of the site that serves this, when it is ours
        self._unweighed_bytes = 0  # that the history was given since

    # -- the way in ---------------------------------------------------------------------------

    def subscribe(
        self,
        request: Any,
        topics: str | Iterable[str],
        *,
        last_event_id: str | None = None,
        user: str | None = None,
        groups: Iterable[str] = (),
        allowed: Collection[str] | None = None,
        data: Any = None,
        expires_at: float | None = None,
    ) -> Any:
        """Answer ``request`` with a stream; what it returns is what ``render`` returns.

        ``allowed`` are selectors of the private events it may have (``None``: of none). With
        ``last_event_id`` (or ``earliest``) and a history, what came after it is sent first, and the
        answer's ``Last-Event-ID`` says where that begins. ``data`` is the application's own, kept on the
        subscriber; at ``expires_at``, on the hub's clock, the subscription ends as at the end of its
        lifetime. Raises ``HTTPError`` for a subscription that is
        refused.
        """
        names = (topics,) if isinstance(topics, str) else tuple(dict.fromkeys(topics))
        if len(self._subscribers) >= self.max_subscribers:
            self.refused += 1
            return overloaded(request, random.uniform(*self._overload_seconds))
        if last_event_id is not None and self._knows_soon(last_event_id):
            return overloaded(request, random.uniform(*SOON_SECONDS), "What came before is not known here yet.")
        subscriber = Subscriber(self, request, names, allowed or (), self._sequence)
        subscriber.data = data
        subscriber.expires_at = expires_at
        try:
            self._people.bind(subscriber, user)
            for group in groups:
                self._people.join(subscriber, group)
            for accepts in self._on_connect:
                _judge(accepts(subscriber))
                if not subscriber.is_open:
                    return NOT_DONE_YET  # it was closed there, and so answered
            subscriber.announced = True
            if request.method == b"HEAD":
                self._head(request, None)
                self._end(subscriber, Ended.CLOSED)
                return b""
            self._begin(subscriber, request, last_event_id)
        except BaseException:
            self._end(subscriber, Ended.FAILED)
            raise
        return NOT_DONE_YET

    def _knows_soon(self, last_event_id: str) -> bool:
        """Whether what came after this id can be told only in a moment."""
        return False

    def _head(self, request: Any, last_event_id: str | None) -> GzipStream | None:
        """The head of the answer, and how the stream is coded."""
        for name, value in (
            (b"Content-Type", b"text/event-stream"),
            (b"Cache-Control", b"no-store, no-transform"),
            (b"X-Accel-Buffering", b"no"),
            (b"Connection", b"close"),
        ):
            request.setHeader(name, value)
        if last_event_id is not None:
            request.setHeader(b"Last-Event-ID", last_event_id.encode("utf-8", "replace"))
        if self._coder is None:
            return None
        vary_on(request, (b"Accept-Encoding",))
        if preferred_coding(request.getHeader(b"accept-encoding"), (GZIP,)) != GZIP:
            return None
        request.setHeader(b"Content-Encoding", GZIP.encode("ascii"))
        return GzipStream(self._coder)

    def _begin(self, subscriber: Subscriber, request: Any, last_event_id: str | None) -> None:
        start = None
        if last_event_id is not None:
            start = self._start_reading(subscriber, last_event_id)
        coding = self._head(request, start)
        hello = COMMENT  # a browser's open event does not wait for the first one published
        if self._retry_seconds is not None:
            hello += encode_retry(random.uniform(*self._retry_seconds))
        ours = isinstance(request, Responding)
        if ours:
            request.watch(subscriber)
        else:
            request.notifyFinish().addBoth(subscriber.ended)
        if subscriber.is_open:
            subscriber.begin(coding, hello)
        if not subscriber.is_open:
            return  # it had gone before it came
        if ours:
            request.responseHeaders = None  # they have been sent: a fifth of what a subscriber costs
        request.registerProducer(subscriber, True)
        subscriber.bound_silence(self._write_seconds)
        self.counted_by(getattr(getattr(request, "site", None), "server", self._server))
        self._subscribers[subscriber] = None
        self.journal.begin(subscriber.serial)
        self._everyone = None
        now = self.seconds()
        if self._lifetime_seconds is not None:
            end = now + self._lifetime_seconds * random.uniform(1 - JITTER, 1)
            subscriber.expires_at = end if subscriber.expires_at is None else min(end, subscriber.expires_at)
        if not self._ticking.running:
            self._wheel.due(now)  # it has not turned since the last one left
            self._ticking.start(self._tick_seconds, now=False)
        self.schedule(subscriber, now)
        if subscriber.cursor is None:
            self.listen(subscriber)
        else:
            self.replay(subscriber)
        self._account()

    def _start_reading(self, subscriber: Subscriber, last_event_id: str) -> str:
        """Let it read what came after the id: the id before the first event it will be sent, or ``earliest``.

        Who compares that with what it asked for learns whether it has lost something (Mercure, 4.2).
        """
        if self.history is None:
            return EARLIEST
        if last_event_id == EARLIEST:
            subscriber.cursor = self.history.earliest()
            return EARLIEST
        subscriber.cursor = last_event_id
        gap = self.history.after(last_event_id, self.wanted(subscriber.topics), 1).gap
        return last_event_id if gap is None else gap.last_lost or EARLIEST

    def listen(self, subscriber: Subscriber) -> None:
        """It has read the history, if it wanted to: from now on it is live."""
        self._fan_out.catch_up(subscriber)
        subscriber.cursor = None
        for selector in subscriber.topics:
            self._index.add(selector, subscriber)
        self._audiences.clear()
        subscriber.settle()

    def unlisten(self, subscriber: Subscriber) -> None:
        """It takes from the history; or has ended."""
        for selector in subscriber.topics:
            self._index.remove(selector, subscriber)
        self._audiences.clear()

    def read_on(self, place: str | HistoryPlace) -> None:
        """Some may have missed something after ``place``: each reads on from there, and is told of it.

        That is rare, and takes a while for many subscribers: what is on its way goes first.
        """
        self._fan_out.finish()
        for subscriber in tuple(self._subscribers):
            subscriber.read_on(place)
        self._account()

    def replay(self, subscriber: Subscriber) -> None:
        self._fan_out.replay(subscriber)

    def wanted(self, topics: tuple[str, ...]) -> Wanted:
        """What to ask the history for."""
        if not any("{" in topic or topic == EVERYTHING for topic in topics):
            return topics
        selectors = Selectors(topics)
        return lambda topic: selectors.match((topic,))

    def place_before(self, sequence: int) -> str:
        """Where to read on in the history, to have the event of this number next."""
        return f"{self.epoch}-{sequence - 1}"

    def counted_by(self, server: Any) -> None:
        """What is held here, and in the history, counts to what ``server`` may hold."""
        if server is not self._server:
            self._server = server
            server.budget.keepers += self._keepers()

    def _keepers(self) -> list[Keeper]:
        if not hasattr(self.history, "shed"):
            return []
        return [Keeper("history", lambda: self.history.held_bytes, self.history.shed)]

    def grew(self, size: int) -> None:
        """So much more is kept here."""
        self._unweighed_bytes += size
        if self._unweighed_bytes >= WEIGHED_BYTES:
            self._weigh()

    # -- the way out --------------------------------------------------------------------------

    def shed(self) -> None:
        """The process holds too much: the one whose transport has been full longest goes."""
        for subscriber in self.waiting:
            self._abort(subscriber, Ended.OVERFLOW)
            return

    def close(self, subscriber: Subscriber) -> None:
        """End a subscription and its connection; what is on its way to it is sent first."""
        self._finish(subscriber, Ended.CLOSED)

    def close_user(self, user: str) -> int:
        """Close the subscribers of ``user``; how many they were."""
        subscribers = tuple(self._people.users.get(user, ()))
        for subscriber in subscribers:
            self.close(subscriber)
        return len(subscribers)

    def close_all(self) -> int:
        """Close every subscriber there is; how many they are. They go in slices, from the reactor's next turn on."""
        self._fan_out.close(self._subscribers)
        return len(self._subscribers)

    def overflow(self, subscriber: Subscriber) -> None:
        """Its queue is full."""
        self._abort(subscriber, Ended.OVERFLOW)

    def expire(self, subscriber: Subscriber) -> None:
        """It has lived long enough."""
        self._tell_and_finish(subscriber, Ended.LIFETIME)

    def drain(self, subscriber: Subscriber) -> None:
        """The server stops: it goes when its turn comes."""
        limits = getattr(getattr(subscriber.request, "site", None), "limits", None)
        self._leaving.add(subscriber, getattr(limits, "drain_seconds", 0.0))

    def _tell_and_finish(self, subscriber: Subscriber, reason: Ended = Ended.DRAINED) -> None:
        """It is to come back, not at the same time as all others."""
        if subscriber.is_open:
            with suppress(Exception):
                self._fan_out.catch_up(subscriber)
                subscriber.settle()
                subscriber.write(encode_retry(random.uniform(*(self._retry_seconds or (1.0, 5.0)))))
        self._finish(subscriber, reason)

    def _finish(self, subscriber: Subscriber, reason: Ended) -> None:
        """Send what there is to send, and end."""
        if not subscriber.is_open:
            return
        try:
            self._fan_out.catch_up(subscriber)
            if subscriber.is_open:
                subscriber.let_go()
            request = subscriber.finish()
            self._end(subscriber, reason)
            if request is not None:
                request.unregisterProducer()
                request.finish()
        except Exception:
            self._failed(subscriber)

    def _abort(self, subscriber: Subscriber, reason: Ended) -> None:
        subscriber.count_past()
        request = subscriber.request
        self._end(subscriber, reason)
        if request is not None:
            with suppress(Exception):
                request.unregisterProducer()
                # twisted.web's own channel has no abort
                owner = request.channel if hasattr(request.channel, "abortConnection") else request.transport
                owner.abortConnection()

    def _failed(self, subscriber: Subscriber) -> None:
        """What is being handled was raised in serving one: it costs that one."""
        self.log.failure("a subscriber could not be served")
        self._abort(subscriber, Ended.FAILED)

    def guarded_settle(self, subscriber: Subscriber) -> None:
        """Its transport has room."""
        try:
            subscriber.settle()
        except Exception:
            self._failed(subscriber)
        self._account()

    def _end(self, subscriber: Subscriber, reason: Ended) -> None:
        """The one way out."""
        if subscriber.reason is not None:
            return
        subscriber.reason = reason
        self.journal.end(subscriber, reason)
        subscriber.release()
        self._subscribers.pop(subscriber, None)
        self.unlisten(subscriber)
        self._everyone = None
        self._people.forget(subscriber)
        self.waiting.pop(subscriber, None)
        self._wheel.drop(subscriber)
        self._leaving.drop(subscriber)
        if not self._subscribers:
            self._fan_out.forget()
            if self._ticking.running:
                self._ticking.stop()
        self._account()
        if subscriber.announced:
            self.ends[reason] += 1
            for told in self._on_close:
                try:
                    told(subscriber, reason)
                except Exception:
                    self.log.failure("on_close failed")

    # -- time ---------------------------------------------------------------------------------

    def schedule(self, subscriber: Subscriber, now: float) -> None:
        """When it is due next: for a heartbeat, or its end."""
        at = subscriber.expires_at
        if self._heartbeat_seconds is not None:
            beat = now + self._heartbeat_seconds * random.uniform(1 - JITTER, 1)
            at = beat if at is None else min(at, beat)
        if at is not None:
            self._wheel.put(subscriber, at)

    def _tick(self) -> None:
        try:
            now = self.seconds()
            due = self._wheel.due(now)
            if due:
                self._fan_out.beat(due)
            for subscriber in self._overdue(now):
                if subscriber.takes():
                    self.waiting[subscriber] = now
                else:
                    self._abort(subscriber, Ended.WRITE_SECONDS)
            if self.history is not None:
                self.history.expire()
        except Exception:
            self.log.failure("a tick of the hub failed")

    def _overdue(self, now: float) -> Iterator[Subscriber]:
        """Those that have waited too long, each taken out of ``waiting``."""
        while self.waiting:
            subscriber, since = next(iter(self.waiting.items()))
            if now - since < self._write_seconds:
                return
            del self.waiting[subscriber]
            yield subscriber

    @property
    def queued_bytes(self) -> int:
        """Bytes of events that someone has not been handed yet, each counted once."""
        return self.room.held_bytes + self._fan_out.waiting_bytes

    def _weigh(self) -> None:
        """Have the server see whether the process holds too much."""
        self._unweighed_bytes = 0
        if self._server is not None:
            self._server.budget.weigh()

    def _account(self) -> None:
        """Say in the ledger what is held, and in the journal what is served."""
        if self.journal.served_to < self.journal.last_sequence:
            self.journal.served(self._fan_out.first_waiting)
        if self._server is not None:
            self._server.ledger.hold(self, SUBSCRIBERS, len(self._subscribers))
            queued = self.queued_bytes
            self._server.ledger.hold(self, EVENTS, queued)
            if queued >= WEIGHED_BYTES:
                self._weigh()
            self._server.statistics.bytes_out += self._fan_out.take_passed()


def _judge(answer: object) -> None:
    """What an ``on_connect`` said. One that will only say it later has not accepted anybody."""
    if answer is False:
        raise HTTPError(403, "This subscription is not allowed.")
    if answer is not None and isawaitable(answer):
        if iscoroutine(answer):
            answer.close()
        raise TypeError("on_connect must answer at once: it returned something to wait for")

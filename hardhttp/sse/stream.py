"""A stream of events, and everyone who listens.

``publish`` encodes once and appends to a short log; each subscriber has a place in it. Fan-out takes
the subscribers one after another to the log's end, for a few milliseconds at a time, so that ten
thousand of them never hold the reactor (P7); several events published together become one write.
Whoever does not read stays at its place until its transport has room again; when the log, bounded in
events and bytes, has moved past that place, it is closed: nobody else loses anything, and what a slow
reader costs is its own transport's queue.

There is one way a subscription ends, ``_end``, whoever ends it: the client, the reaper, a drain, or
``close``.
"""

from __future__ import annotations

import random
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp.net.ledger import EVENTS, SUBSCRIBERS
from hardhttp.wire.eventstream import COMMENT, encode_event, encode_retry
from hardhttp.wire.response import chunk

__all__ = ["EventStream"]

# How long fan-out may hold the reactor at a time, and after how many subscribers it looks at the clock.
SLICE_SECONDS = 0.002
LOOK_EVERY = 32
# Told to streams when the server stops, at random, so that not all come back at once.
RECONNECT_SECONDS = (1.0, 5.0)

# Events from a place to an end, as they are and as one chunk.
_Frames = dict[tuple[int, int], tuple[bytes, bytes]]


class EventStream(Resource):
    """Subscribe by GET, publish with ``publish``.

    ``heartbeat_seconds`` is how often a comment is sent (``None`` for never). A subscriber that falls
    ``max_queued_events`` or ``max_queued_bytes`` behind is closed. ``clock`` is an ``IReactorTime``.
    Raises ``ValueError`` for a bound that is not positive.
    """

    isLeaf = True
    log = Logger(namespace="hardhttp")

    def __init__(
        self,
        clock: IReactorTime,
        *,
        heartbeat_seconds: float | None = 15.0,
        max_queued_events: int = 1000,
        max_queued_bytes: int = 1 << 20,
    ) -> None:
        super().__init__()
        if heartbeat_seconds is not None and not heartbeat_seconds > 0:
            raise ValueError(f"heartbeat_seconds is {heartbeat_seconds!r}; it must be more than 0, or None for none")
        if max_queued_events < 1 or max_queued_bytes < 1:
            raise ValueError("max_queued_events and max_queued_bytes must be at least 1")
        self._clock = clock
        self._max_events = max_queued_events
        self._max_bytes = max_queued_bytes
        self._subscribers: dict[_Subscriber, None] = {}
        # Events first_number, first_number + 1, ... not yet taken by everyone.
        self._events: deque[bytes] = deque()
        self._event_bytes = 0
        self._first_number = 0
        self._round: deque[_Subscriber] = deque()
        self._beats: deque[_Subscriber] = deque()
        self._behind: set[_Subscriber] = set()  # those that wait, and have not taken all
        self._again = False
        self._serving = False  # a subscriber just now: whoever publishes within waits for the next round
        self._turn: IDelayedCall | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._heart = LoopingCall(self._beat)
        self._heart.clock = clock
        self.overflowed = 0
        self._ledger: Any = None  # of the site that serves this, when it is ours

    @property
    def subscriber_count(self) -> int:
        """Open subscriptions."""
        return len(self._subscribers)

    @property
    def queued_bytes(self) -> int:
        """Bytes of events that someone has not taken yet."""
        return self._event_bytes

    # -- subscribing ----------------------------------------------------------------------------

    def render_GET(self, request: Any) -> Any:
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-store, no-transform")
        request.setHeader(b"X-Accel-Buffering", b"no")
        request.setHeader(b"Connection", b"close")
        if request.method == b"HEAD":
            return b""
        # The end may have come already; then nothing is begun.
        subscriber = _Subscriber(self, request, self._first_number + len(self._events))
        request.notifyFinish().addBoth(subscriber.ended)
        request.write(COMMENT)
        if subscriber.open:
            request.registerProducer(subscriber, True)
            self._ledger = getattr(getattr(request, "site", None), "ledger", None)
            self._subscribers[subscriber] = None
            self._account()
            if hasattr(request, "notifyDrain"):
                request.notifyDrain().addCallback(subscriber.drain)
            if self._heartbeat_seconds is not None and not self._heart.running:
                self._heart.start(self._heartbeat_seconds, now=False)
        return NOT_DONE_YET

    def _end(self, subscriber: _Subscriber) -> None:
        """The one way out."""
        self._subscribers.pop(subscriber, None)
        self._behind.discard(subscriber)
        if not self._subscribers:
            if self._heart.running:
                self._heart.stop()
            if self._turn is not None:
                self._turn.cancel()
                self._turn = None
            self._round.clear()
            self._beats.clear()
            self._again = False
        self._forget_taken()

    def _account(self) -> None:
        """Say in the ledger what is held."""
        if self._ledger is not None:
            self._ledger.hold(self, SUBSCRIBERS, len(self._subscribers))
            self._ledger.hold(self, EVENTS, self._event_bytes)

    def close(self) -> None:
        """End every subscription and close its connection."""
        for subscriber in list(self._subscribers):
            self._guard(_Subscriber.close, subscriber)

    def _guard(self, call: Any, subscriber: _Subscriber, *args: Any) -> None:
        """What fails for one subscriber costs that one."""
        try:
            call(subscriber, *args)
        except Exception:
            self.log.failure("a subscriber could not be served")
            with suppress(Exception):
                subscriber.abort()

    def _beat(self) -> None:
        """Send a comment to whoever has been sent nothing since the last one."""
        if not self._beats:
            self._beats.extend(self._subscribers)
        if self._turn is None and not self._serving:
            self._serve_round()

    # -- publishing -----------------------------------------------------------------------------

    def publish(self, data: Any, event: str | None = None, id: str | None = None) -> None:
        """Send an event to whoever is subscribed now.

        ``data`` is ``str``, UTF-8 ``bytes``, or anything JSON can say; it is encoded here and now, so
        what happens to it afterwards changes nothing. Raises ``ValueError`` for a bad name or id.
        """
        encoded = encode_event(data, event, id)
        if not self._subscribers:
            return
        self._events.append(encoded)
        self._event_bytes += len(encoded)
        while len(self._events) > self._max_events or (self._event_bytes > self._max_bytes and len(self._events) > 1):
            self._forget(1)
        if self._turn is None and not self._serving:
            self._begin_round()
        else:
            self._again = True
            self._account()

    def _forget(self, count: int) -> None:
        for _ in range(count):
            self._event_bytes -= len(self._events.popleft())
        self._first_number += count

    def _forget_taken(self) -> None:
        if not (self._behind or self._round or self._again):
            self._forget(len(self._events))
        self._account()

    def _begin_round(self) -> None:
        self._again = False
        self._round.extend(self._subscribers)
        self._serve_round()

    def _serve_round(self) -> None:
        """Bring subscribers up to date for one slice of time, then send the beats that are due."""
        self._turn = None
        self._serving = True
        unserved = self._serve_slice()
        self._serving = False
        if unserved or self._again:
            self._turn = self._clock.callLater(0, self._serve_round if unserved else self._begin_round)
        self._forget_taken()

    def _serve_slice(self) -> bool:
        """Serve until the slice is over; whether there is someone left."""
        until = self._clock.seconds() + SLICE_SECONDS
        frames: _Frames = {}
        while pending := self._round or self._beats:
            for _ in range(LOOK_EVERY):
                if not pending:  # also when a subscriber's end has ended the round
                    break
                if pending is self._round:
                    self._guard(self._serve, pending.popleft(), frames)
                else:
                    self._guard(_Subscriber.beat, pending.popleft())
            if self._clock.seconds() >= until:
                break
        return bool(self._round or self._beats)

    def _serve(self, subscriber: _Subscriber, frames: _Frames) -> None:
        """Bring one subscriber to the end of the log; most are at the same place, so it is joined once."""
        end = self._first_number + len(self._events)
        place = subscriber.place
        if place == end or not subscriber.open:
            return
        if place < self._first_number:
            self.overflowed += 1
            subscriber.abort()
            return
        if subscriber.waits:
            self._behind.add(subscriber)
            return
        frame = frames.get((place, end))
        if frame is None:
            events = b"".join(islice(self._events, place - self._first_number, None))
            frame = frames[place, end] = events, chunk(events)
        subscriber.place = end
        subscriber.write(*frame)


@implementer(IPushProducer)
class _Subscriber:
    """One open subscription."""

    __slots__ = ("_beaten", "_request", "_stream", "place", "waits")

    def __init__(self, stream: EventStream, request: Any, place: int) -> None:
        self._stream = stream
        self._request = request
        self._beaten = place
        self.place = place
        self.waits = False  # for its transport's queue to empty

    @property
    def open(self) -> bool:
        return self._request is not None

    def write(self, events: bytes, framed: bytes) -> None:
        request = self._request
        if request is not None:
            send = getattr(request, "writeChunk", None)
            if send is None:
                request.write(events)
            else:
                send(events, framed)

    def beat(self) -> None:
        if self._request is not None and self._beaten == self.place and not self.waits:
            self._request.write(COMMENT)
        self._beaten = self.place

    def drain(self, _: object = None) -> None:
        """The server stops: say when to come back, and end."""
        if self._request is not None:
            self._request.write(encode_retry(random.uniform(*RECONNECT_SECONDS)))
            self.close()

    def close(self) -> None:
        """Send what there is to send, and end."""
        self._stream._serve(self, {})
        request = self._request
        if request is not None:
            request.unregisterProducer()
            request.finish()

    def abort(self) -> None:
        """It cannot be served, or is too far behind."""
        request = self._request
        if request is not None:
            self.ended(None)
            request.unregisterProducer()
            # twisted.web's own channel has no abort
            (request.channel if hasattr(request.channel, "abortConnection") else request.transport).abortConnection()

    def ended(self, _: object) -> None:
        """The response has ended, whoever ended it."""
        self._request = None
        self._stream._end(self)

    def pauseProducing(self) -> None:
        self.waits = True

    def resumeProducing(self) -> None:
        self.waits = False
        self._stream._behind.discard(self)
        self._stream._serve(self, {})
        self._stream._forget_taken()

    def stopProducing(self) -> None:
        pass

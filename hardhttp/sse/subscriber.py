"""One subscription: what it wants, what it has been sent, and what waits for it.

It is in one of three states. It *flows* when its transport takes what comes: the fan-out writes to it
without asking further. It *waits* while its transport's queue is long: events gather in its own queue,
inside its bounds. It *reads* while it takes from the history, page by page: then it is not in the index of
topics at all, and joins it in the same call that finds the history read to its end; so it gets each event
once, in order, however much is published meanwhile.

The hub owns it, and is told of its end by one way only: ``hardhttp.sse.subscriptions`` says more.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from hardhttp.interfaces import HistoryPage, HistoryPlace
from hardhttp.net.outbound import base_transport, unsent_bytes
from hardhttp.sse.coding import Secret, joined
from hardhttp.sse.outlet import Outlet
from hardhttp.sse.queue import Entry, Policy, Queue, encode_gap
from hardhttp.sse.topics import Selectors
from hardhttp.wire.eventstream import COMMENT

if TYPE_CHECKING:
    from hardhttp.sse.subscriptions import Subscriptions

__all__ = ["Ended", "Lag", "Subscriber"]

# One write of what waited, or of the history, is no longer than this, unless one event is.
WRITE_BYTES = 64 * 1024
PAGE_EVENTS = 64
# Most are in none, and share this.
NO_GROUPS: frozenset[str] = frozenset()


class Ended(StrEnum):
    """Why a subscription ended."""

    CLIENT = "client"  # it went, or the server ended its connection
    CLOSED = "closed"  # the application closed it
    OVERFLOW = "overflow"  # its queue was full
    WRITE_SECONDS = "write-seconds"  # it took nothing for so long
    LIFETIME = "lifetime"
    DRAINED = "drained"  # the server stopped
    FAILED = "failed"  # it could not be served


@attrs.frozen
class Lag:
    """How far a subscriber is behind: events and bytes in its queue, bytes in its transport's, and the
    seconds since its transport last was empty (0 while it flows)."""

    events: int
    bytes: int
    unsent_bytes: int
    seconds: float


@implementer(IPushProducer)
class Subscriber(Outlet):
    """An open subscription. ``data`` is the application's own; ``request`` is ``None`` after the end.

    ``topics`` are its selectors, ``allowed`` those for private events (or ``None``); ``user`` and ``groups`` are what
    the hub's ``bind_user``, ``join`` and ``leave`` made of them.
    """

    __slots__ = (
        "_beaten",
        "_hub",
        "_queue",
        "_unsent",
        "allowed",
        "announced",
        "connected_at",
        "cursor",
        "data",
        "expires_at",
        "flowing",
        "groups",
        "reason",
        "sent",
        "serial",
        "topics",
        "user",
        "waiting_since",
    )

    def __init__(
        self, hub: Subscriptions, request: Any, topics: tuple[str, ...], allowed: Collection[str], sequence: int
    ) -> None:
        super().__init__(request)
        self._hub = hub
        self._queue: Queue | None = None
        self._unsent = 0
        self._beaten = self.sent = sequence  # the number of the last event it was served
        self.topics = topics
        self.allowed = Selectors(allowed) if allowed else None
        self.user: str | None = None
        self.groups = NO_GROUPS
        self.data: Any = None
        self.connected_at = hub.seconds()
        self.expires_at: float | None = None
        self.flowing = False
        self.announced = False  # on_connect has accepted it, so on_close is told
        self.cursor: str | HistoryPlace | None = None  # how far it has read the history, while it does
        self.waiting_since: float | None = None  # for its transport's queue to empty
        self.reason: Ended | None = None
        self.serial: int = hub.journal.admit()

    def __repr__(self) -> str:
        return f"<Subscriber {self.id} {len(self.topics)} topics {self.reason or 'open'}>"

    @property
    def id(self) -> str:
        """Its public name, which no other subscriber of this hub has or will have. It is no secret."""
        return f"{self._hub.journal.node}-s{self.serial}"

    @property
    def is_open(self) -> bool:
        return self.request is not None

    @property
    def queue_length(self) -> int:
        """Events that wait in its queue."""
        return 0 if self._queue is None else len(self._queue)

    @property
    def queued_from(self) -> int | None:
        """The number of the first event that waits in its queue."""
        return None if self._queue is None else self._queue.first

    def lag(self) -> Lag:
        """How far it is behind, now."""
        queue, since = self._queue, self.waiting_since
        return Lag(
            0 if queue is None else len(queue),
            0 if queue is None else queue.size,
            self._unsent_bytes(),
            0.0 if since is None else self._hub.seconds() - since,
        )

    def wants(self, topics: Iterable[str]) -> bool:
        """Whether one of its selectors matches one of ``topics``."""
        return Selectors(self.topics).match(topics)

    def may_see(self, topics: Iterable[str]) -> bool:
        """Whether it may have a private event of these topics."""
        return self.allowed is not None and self.allowed.match(topics)

    # -- being served -------------------------------------------------------------------------

    def offer(self, entry: Entry) -> None:
        """An event for one that does not flow."""
        if self.request is None:
            entry.receipt.drop()
        elif self.cursor is not None and not entry.directed:
            entry.receipt.write()  # it will read it
        else:
            if self._queue is None:
                self._queue = Queue(self._hub.room, self._hub.journal, self.serial)
            if not self._queue.put(entry):
                if entry.policy is Policy.PAUSE:
                    self._pause()
                else:
                    self._hub.overflow(self)

    def _pause(self) -> None:
        """From now on the history has what it misses."""
        assert self._queue is not None
        first = self._queue.leave_to_history()
        if first is None:  # a directed event has no history to fall back to
            self._hub.overflow(self)
            return
        self.cursor = self._hub.place_before(first)
        self._hub.unlisten(self)

    def read_on(self, place: str | HistoryPlace) -> None:
        """What came after ``place`` is to be read from the history, if it is live."""
        if self.request is None or self.cursor is not None:
            return
        first = None if self._queue is None else self._queue.leave_to_history()
        self.cursor = place if first is None else self._hub.place_before(first)
        self.flowing = False
        self._hub.unlisten(self)
        self._hub.replay(self)

    def settle(self) -> None:
        """Write what waits, as far as the transport takes it."""
        queue = self._queue
        while queue and self.waiting_since is None and self.cursor is None and self.request is not None:
            self._write_queued(queue)
        self.flowing = not queue and self.waiting_since is None and self.cursor is None and self.request is not None
        if not queue:
            self._queue = None

    def _write_queued(self, queue: Queue) -> None:
        try:
            self.write(queue.take(WRITE_BYTES))
        except BaseException:
            self._hub.journal.failed(self.serial)
            raise

    def let_go(self) -> None:
        """Write all that waits, whether the transport has room or not: this is the end."""
        queue = self._queue
        while queue and self.request is not None:
            self._write_queued(queue)

    def replay_page(self) -> bool:
        """Take a page from the history; whether there is more to take now. At its end it is live."""
        cursor = self.cursor
        if cursor is None or self.request is None or self.waiting_since is not None:
            return False
        page = _fitting(self._hub.history.after(cursor, self._hub.wanted(self.topics), PAGE_EVENTS))
        pieces: list[bytes] = []
        if page.gap is not None:
            pieces.append(encode_gap(page.gap.reason, page.gap.first_lost, page.gap.last_lost, None))
        for update in page.updates:
            if not update.private:
                pieces.append(update.encoded)
            elif self.may_see(update.topics):
                pieces.append(Secret(update.encoded))
        if pieces:
            self.write(joined(pieces))
        self._hub.journal.read(self.serial, cursor, page)
        if self.request is not None:
            self.cursor = page.place
        if page.more or self.request is None or self.waiting_since is not None:
            return self.request is not None and self.waiting_since is None
        self._hub.listen(self)
        return False

    def due(self, now: float) -> None:
        """A heartbeat, if nothing was sent since the last one; or the end of its life."""
        if self.request is None:
            return
        if self.expires_at is not None and now >= self.expires_at:
            self._hub.expire(self)
            return
        if self._beaten == self.sent and self.waiting_since is None:
            self.write(COMMENT)
        self._beaten = self.sent
        if self.request is not None:
            self._hub.schedule(self, now)

    def drained(self) -> None:
        """The server stops."""
        if self.request is not None:
            self._hub.drain(self)

    def ended(self, _: object) -> None:
        """The response has ended, whoever ended it."""
        self._hub._end(self, Ended.CLIENT)

    def release(self) -> Any:
        """Let go of everything; the request it had."""
        request, self.request = self.request, None
        self.flowing = False
        self.waiting_since = self.cursor = self._coding = self._plain = None
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.clear()
        return request

    # -- its transport ------------------------------------------------------------------------

    def _unsent_bytes(self) -> int:
        transport = self._transport()
        return 0 if transport is None else unsent_bytes(transport)

    def _transport(self) -> Any:
        """What owns the socket."""
        channel = getattr(self.request, "channel", None)
        if channel is None:
            return None
        base = getattr(channel, "base", None)  # ours has it at hand
        return base_transport(channel.transport) if base is None else base

    def bound_silence(self, seconds: float) -> None:
        """Let the kernel end the connection when what was sent is not acknowledged for so long (RFC 5482)."""
        handle = getattr(self._transport(), "socket", None)
        if isinstance(handle, socket.socket) and handle.family in (socket.AF_INET, socket.AF_INET6):
            option = getattr(socket, "TCP_USER_TIMEOUT", None)
            if option is not None:
                handle.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))

    def takes(self) -> bool:
        """Whether its transport has got rid of something since this, or ``pauseProducing``, was last called."""
        before, self._unsent = self._unsent, self._unsent_bytes()
        return self._unsent < before

    def pauseProducing(self) -> None:
        self.flowing = False
        self._unsent = self._unsent_bytes()
        if self.waiting_since is None and self.request is not None:
            self.waiting_since = self._hub.seconds()
            self._hub.waiting[self] = self.waiting_since

    def resumeProducing(self) -> None:
        self.waiting_since = None
        self._hub.waiting.pop(self, None)
        if self.request is None:
            return
        if self.cursor is not None:
            self._hub.replay(self)
        else:
            self._hub.guarded_settle(self)

    def stopProducing(self) -> None:
        pass


def _fitting(page: HistoryPage) -> HistoryPage:
    """As much of a page as goes out in one write: then it is seen whether the transport has room for more."""
    size = 0
    for count, update in enumerate(page.updates):
        size += len(update.encoded)
        if size > WRITE_BYTES and count:
            place = attrs.evolve(page.place, sequence=page.updates[count - 1].sequence)
            return attrs.evolve(page, updates=page.updates[:count], place=place, more=True)
    return page

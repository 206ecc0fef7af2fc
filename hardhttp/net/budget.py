"""What all of a process may hold in memory together: ``Limits.max_buffered_bytes``.

It counts every kind in bytes of the ledger (heads, bodies, queues, messages, events) and what stores keep in
memory (sessions, a hub's history). Three things happen as it fills:

- *near* it, past four fifths, the largest bodies that come, and messages of WebSockets, are not read on; they wait, and
  their deadlines rest;
- *full*, past nineteen twentieths, new work is answered 503: new connections, and requests on open ones;
- *over* it, the heaviest and slowest are shed, until it is kept: what one holds, times the seconds in which it has
  made no progress, decides. A store that keeps more than a quarter of it gives up its oldest first.

Each has an end: below seven tenths all is as it was. Bodies that wait are read on second by second, the first first,
as many as there is room for if each grows to twice its size: all at once would fill it again. While it is full, those
who have neither taken nor sent their share for two seconds go, if that is enough to end it; and when it has been full
for ten, the heaviest and slowest are shed down to four fifths, lest whoever fills it keeps all others out. When a body
has waited for ten seconds, one a second is, for those who wait for one another would wait for ever. What is shed has
the reason ``buffered-bytes``, in the log and in the counts.

Requests pay nothing for this: the sum is the ledger's, and while work is refused another parser stands in the
place of the server's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from heapq import heapify, heappop, heappush, nlargest
from typing import TYPE_CHECKING, Any

import attrs

from hardhttp.errors import OurFault, Reason
from hardhttp.net.ledger import BODY, MESSAGES
from hardhttp.net.outbound import base_transport
from hardhttp.net.phase import Phase

if TYPE_CHECKING:
    from hardhttp.net.server import Server

__all__ = ["DETAIL", "Budget", "Keeper", "Pressure"]

NEAR_SHARE, FULL_SHARE, RELIEVED_SHARE = 0.80, 0.95, 0.70
KEEPER_SHARE = 0.25
WAIT_SECONDS = 10.0
STILL_SECONDS = 2.0
# A body is small that has less than this part of the largest.
SMALL = 2
# Which bodies are the largest is looked for again when this share more is held: there may be thousands, and each may
# send a byte at a time.
LOOK_SHARE = 0.001
DETAIL = "the server holds as much as it may"


class Pressure(IntEnum):
    NONE = 0
    NEAR = 1
    FULL = 2


@attrs.frozen
class Keeper:
    """A store in memory. ``held`` is what it keeps, ``shed(size)`` has it give up its oldest, so many bytes; one that
    has promised what it keeps to somebody has none, and a bound of its own."""

    kind: str
    held: Callable[[], int]
    shed: Callable[[int], object] | None


class Refusing:
    """A parser that refuses each request whose head is whole."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def parse(self, *arguments: Any) -> None:
        if self._parser.parse(*arguments) is not None:
            raise OurFault(503, Reason.BUFFERED_BYTES, DETAIL)


class Budget:
    """``server``'s. ``keepers`` are the stores that are counted, ``shed`` how often something was."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser, self._refusing = server.parser, Refusing(server.parser)
        self.pressure = Pressure.NONE
        self.keepers: list[Keeper] = []
        self.shed_count = self.held_back_count = 0
        self._full_since = 0.0
        self._waiting: dict[Any, float] = {}  # bodies and sockets that are not read on, and since when
        self._working = False  # what is shed gives back, and so asks again
        self._look_share = 0.0  # with so much held, the largest bodies are looked for
        self._growths = 0  # how often more was held since they were

    @property
    def held_bytes(self) -> int:
        held = self._server.ledger.held_bytes
        for keeper in self.keepers:
            held += keeper.held()
        return held

    @property
    def refuses(self) -> Reason | None:
        """Why new work is refused, if it is."""
        return Reason.BUFFERED_BYTES if self.pressure is Pressure.FULL else None

    def admit(self) -> None:
        """Raises ``OurFault`` (503) while new work is refused."""
        if self.pressure is Pressure.FULL:
            raise OurFault(503, Reason.BUFFERED_BYTES, DETAIL)

    def weigh(self) -> None:
        """More is held than before: do what there is to do about it."""
        most = self._server.limits.max_buffered_bytes
        held = self.held_bytes
        if self._working or (held <= NEAR_SHARE * most and self.pressure is Pressure.NONE):
            return
        self._shed_to(most)

    def _shed_to(self, size: float, still_seconds: float = 0.0) -> None:
        """Have no more than ``size`` held, if there are enough who made no progress for ``still_seconds``."""
        most = self._server.limits.max_buffered_bytes
        self._working = True
        try:
            if self.held_bytes > NEAR_SHARE * most:
                self._trim_keepers(most)
            if self.held_bytes > size:
                self._shed(size, still_seconds)
            self._press(self.held_bytes / most)
        finally:
            self._working = False

    def reap(self, now: float) -> None:
        """Called each second: stores fill without a word, and those who wait may have waited enough."""
        self.weigh()
        for body in [body for body in self._waiting if not body.body_is_paused]:
            del self._waiting[body]  # it has ended, or goes on
        most = self._server.limits.max_buffered_bytes
        if self.pressure is Pressure.FULL and now - self._full_since >= WAIT_SECONDS:
            self._shed_to(NEAR_SHARE * most)
        elif self.pressure is Pressure.FULL:
            still = sum(
                self._held_by(owner) for owner in self._server.ledger.owners() if self._stands(owner) >= STILL_SECONDS
            )
            if self.held_bytes - still <= NEAR_SHARE * most:  # without them work can be taken up again
                self._shed_to(RELIEVED_SHARE * most, STILL_SECONDS)
        elif not self._read_on() and self._waiting and now - next(iter(self._waiting.values())) >= WAIT_SECONDS:
            self._shed_to(self.held_bytes - 1)

    # -- how hard it is ---------------------------------------------------------------------------

    def _press(self, share: float) -> None:
        if share > FULL_SHARE or (share > NEAR_SHARE and self.pressure is Pressure.FULL):
            self._is(Pressure.FULL)
        elif share > NEAR_SHARE or (share > RELIEVED_SHARE and self.pressure is not Pressure.NONE):
            self._is(Pressure.NEAR)
        else:
            self._is(Pressure.NONE)
        self._look(share)

    def _look(self, share: float) -> None:
        """Hold back as many as came since the last time, where enough more is held than then."""
        if share <= NEAR_SHARE:
            self._look_share, self._growths = 0.0, 0
            return
        self._growths += 1
        if share < self._look_share:
            self._look_share = min(self._look_share, share + LOOK_SHARE)
            return
        self._look_share = share + LOOK_SHARE
        self._hold_back(self._growths)
        self._growths = 0

    def _is(self, pressure: Pressure) -> None:
        if self.pressure is not pressure:
            self._full_since = self._server.seconds()
        self.pressure = pressure
        self._server.parser = self._refusing if pressure is Pressure.FULL else self._parser

    def _hold_back(self, count: int) -> None:
        """The largest bodies or messages that come, and are read, are not read on, so many at most; small ones come to
        their end."""
        server = self._server
        bodies: list[Any] = []
        for owner in server.ledger.owners():
            channel = server.tracker.get(owner)
            held = server.ledger.held(owner)
            if channel is not None and (held.get(BODY) or held.get(MESSAGES)):
                bodies += _coming(channel)
        least = max(map(_size, bodies), default=0) / SMALL
        read = [body for body in bodies if not body.body_is_paused and _size(body) >= least]
        for body in nlargest(count, read, key=_size):
            body.pause_body()
            self._waiting[body] = server.seconds()
            self.held_back_count += 1

    def _read_on(self) -> bool:
        """Whether any that wait are: the first, where there is room; one in any case when all is as it was."""
        room = NEAR_SHARE * self._server.limits.max_buffered_bytes - self.held_bytes
        least = 1 if self.pressure is Pressure.NONE else 0
        for number, body in enumerate(list(self._waiting)):
            room -= _size(body)
            if room < 0 and number >= least:
                return number > 0
            del self._waiting[body]
            self._server.guard(body.resume_body)
        return True

    # -- who goes -----------------------------------------------------------------------------------

    def _trim_keepers(self, most: int) -> None:
        for keeper in self.keepers:
            above = keeper.held() - int(KEEPER_SHARE * most)
            if above > 0 and keeper.shed is not None:
                self._server.guard(keeper.shed, above)
                self._count(f"{keeper.kind} were given up")

    def _shed(self, size: float, still_seconds: float) -> None:
        """End what is heaviest and slowest, until no more than ``size`` is held. Each is weighed once: there may be
        thousands."""
        heap = [(-self._weight(owner), order, owner) for order, owner in enumerate(self._server.ledger.owners())]
        heapify(heap)
        while heap and self.held_bytes > size:
            _, order, owner = heappop(heap)
            if self._stands(owner) >= still_seconds and self._shed_one(owner):
                heappush(heap, (-self._weight(owner), order, owner))

    def _shed_one(self, owner: Any) -> bool:
        """End a connection, or the slowest of a store; whether more may be had from there."""
        ledger, holder, before = self._server.ledger, self._server.tracker.get(owner), self._server.ledger.held_bytes
        if holder is not None:
            base = base_transport(owner)
            holder.shed()
            _drop_unsent(base)
            ledger.release(owner)
            self.shed_count += 1
        elif hasattr(owner, "shed"):
            owner.shed()
            self._count("a slow subscriber was ended")
            return ledger.held_bytes < before
        return False

    def _weight(self, owner: Any) -> float:
        """Bytes, times the seconds without progress."""
        return self._held_by(owner) * self._stands(owner)

    def _held_by(self, owner: Any) -> int:
        held = self._server.ledger.held(owner).items()
        return sum(amount for kind, amount in held if kind.endswith("_bytes"))

    def _stands(self, owner: Any) -> float:
        """Seconds since a connection has made its last progress, at least one; of what is none, one."""
        holder, now = self._server.tracker.get(owner), self._server.seconds()
        paces = (getattr(holder, "_send_pace", None), getattr(holder, "_body_pace", None))
        return max([1.0, *(now - pace.since for pace in paces if pace is not None)])

    def _count(self, what: str) -> None:
        self.shed_count += 1
        self._server.refused(Reason.BUFFERED_BYTES, f"{DETAIL}: {what}")


def _coming(channel: Any) -> Iterator[Any]:
    """What comes on a connection, is kept here, and could wait: bodies, and messages of WebSockets.

    Each has ``body_is_paused``, ``pause_body`` and ``resume_body``; a WebSocket ``incoming_bytes`` too.
    """
    for each in channel.streams.values() if channel.multiplexed else (channel,):
        if each.phase is Phase.BODY and each.request is not None and not each.request.streams:
            yield each
        elif each.phase is Phase.UPGRADED and getattr(each._upgraded, "incoming_bytes", None):
            yield each._upgraded


def _size(body: Any) -> int:
    incoming = getattr(body, "incoming_bytes", None)
    return int(body.request.heldBytes if incoming is None else incoming)


def _drop_unsent(base: Any) -> None:
    """Free what a transport had queued, if it was aborted: it would keep that until the reactor's next turn, and more
    may be written in this one than the budget allows."""
    if getattr(base, "_aborting", False):
        base.dataBuffer, base.offset = b"", 0
        base._tempDataBuffer, base._tempDataLen = [], 0

"""The leak sentinel: after a quiet minute everything that work had taken must have been given back.

A minute is quiet when no connection came, none ended and no request was answered. What is counted then is what
*nobody accounts for*: entries of the ledger whose connection is gone; objects of ours beyond those that open
connections have; descriptors beyond theirs and the reactor's; timers of ours. The first quiet minute after work is the
baseline. What later stands above it by more than its slack is drift: one line in the log, and again when it has
grown as much once more, and a figure by kind in ``drift`` for as long as it lasts.

The ledger has no slack, for it is exact. The others have some, because a server in normal work opens a file of a
store or fills a bounded cache later than in its first minutes; a leak passes any slack.

Objects are counted without looking for them: an instance of a class holds a reference to the class, so how far a
class's count of references has risen is how many instances there are more.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import ITransport
from twisted.logger import Logger

from hardhttp.net.channel import Channel
from hardhttp.net.ledger import KINDS
from hardhttp.net.outbound import base_transport
from hardhttp.net.port import EagerServer, EagerUNIXServer
from hardhttp.net.refusal import Refusal
from hardhttp.net.server import Server
from hardhttp.ops.sources import Sources
from hardhttp.web.body import BodyStore
from hardhttp.web.request import Request

__all__ = ["QUIET_SECONDS", "Kind", "Sentinel", "kinds_of"]

QUIET_SECONDS = 60.0
# To look at more connections than these would hold the reactor.
MAX_COUNTED_CONNECTIONS = 5000
OBJECT_SLACK = TIMER_SLACK = 16
DESCRIPTOR_SLACK = 32


@attrs.frozen
class Kind:
    """Something that can leak: ``count`` is how much of it nobody accounts for, ``None`` when that cannot be told."""

    name: str
    count: Callable[[], int | None]
    slack: int


class Sentinel:
    """Judges ``kinds`` after each quiet minute of ``server``, which calls it each second.

    ``drift`` is what stood above the baseline, by kind, after the last one.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, server: Server, kinds: list[Kind]) -> None:
        self._server, self._kinds = server, kinds
        self._work = self._done()
        self._quiet_since = server.seconds()
        self._baseline: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self.drift: dict[str, int] = {kind.name: 0 for kind in kinds}

    def _done(self) -> tuple[int, int, int]:
        statistics = self._server.statistics
        return statistics.accepted, sum(statistics.closed.values()), statistics.requests

    def reap(self, now: float) -> None:
        """Called each second."""
        work = self._done()
        if work != self._work:
            self._work, self._quiet_since = work, now
        elif now - self._quiet_since >= QUIET_SECONDS:
            self._quiet_since = now
            if work[2]:  # before the first request nothing is as it will be
                self.judge()

    def judge(self) -> None:
        """Compare what there is with the baseline, now."""
        for kind in self._kinds:
            count = kind.count()
            if count is None:
                continue
            lowest = self._baseline[kind.name] = min(count, self._baseline.get(kind.name, count))
            above = count - lowest
            self.drift[kind.name] = above if above > kind.slack else 0
            self._tell(kind, above, count)

    def _tell(self, kind: Kind, above: int, count: int) -> None:
        told = self._told.get(kind.name, 0)
        if above <= kind.slack:
            self._told[kind.name] = 0
        elif above > told + kind.slack:
            self._told[kind.name] = above
            self._log.error(
                "leak: after a quiet minute there are {above} more {kind} than before ({count})",
                above=above,
                kind=kind.name,
                count=count,
            )


# -- what is counted ------------------------------------------------------------------------------


# Of each some would be there for every request or connection that is not let go of.
WATCHED: tuple[type, ...] = (Channel, EagerServer, EagerUNIXServer, Refusal, Request, BodyStore)


def kinds_of(sources: Sources, reactor: Any) -> list[Kind]:
    """Everything that is counted."""
    servers = [sources.server, *sources.others]
    return [
        *(_objects(servers, each) for each in WATCHED),
        *(_ledger(sources.server, kind) for kind in KINDS),
        Kind("timers", lambda: sum(map(_is_ours, reactor.getDelayedCalls())), TIMER_SLACK),
        Kind("descriptors", lambda: _descriptors(servers, reactor), DESCRIPTOR_SLACK),
    ]


def _objects(servers: list[Server], each: type) -> Kind:
    def count() -> int | None:
        if _too_many(servers):
            return None
        return sys.getrefcount(each) - sum(accounted(server)[each] for server in servers)

    return Kind(f"{each.__name__} objects", count, OBJECT_SLACK)


def _too_many(servers: list[Server]) -> bool:
    return sum(len(server.tracker) for server in servers) > MAX_COUNTED_CONNECTIONS


def _is_ours(call: Any) -> bool:
    """Whether a timer was set by this package; an application may have as many of its own as it likes."""
    function = call.func
    function = getattr(function, "f", getattr(function, "func", function))  # of a LoopingCall, of a partial
    owner = getattr(function, "__self__", None)
    module = type(owner).__module__ if owner is not None else getattr(function, "__module__", None)
    return str(module).startswith("hardhttp")


def accounted(server: Server) -> Counter[Any]:
    """References to classes that open connections have: their own, their transports', their requests'."""
    found: Counter[Any] = Counter()
    for channel in server.tracker:
        found[type(channel)] += 1
        found[type(getattr(channel, "base", None))] += 1
        found[getattr(channel, "request_factory", None)] += 1
        streams = channel.streams.values() if getattr(channel, "multiplexed", False) else (channel,)
        for request in (stream.request for stream in streams):
            found[type(request)] += 1
            found[type(getattr(request, "_store", None))] += 1
    for refusal in server.refusals:
        found[type(refusal)] += 1
        found[type(base_transport(refusal.transport))] += 1
    return found


def _ledger(server: Server, kind: str) -> Kind:
    return Kind(kind, lambda: orphaned(server)[kind], 0)


def orphaned(server: Server) -> Counter[str]:
    """What the ledger has for connections that are gone, by kind; all it has, when there is no connection."""
    found: Counter[str] = Counter()
    if not len(server.tracker) and not len(server.refusals):
        found.update({kind: amount for kind, amount in server.ledger.snapshot().items() if kind in KINDS})
        return found
    for owner in server.ledger.owners():
        gone: Any = server.tracker.get(owner) is None and server.refusals.get(owner) is None
        if gone and ITransport.providedBy(owner):
            found.update(server.ledger.held(owner))
    return found


def _descriptors(servers: list[Server], reactor: Any) -> int | None:
    """Descriptors that neither a connection has nor the reactor watches, as it does those of an application's own."""
    if _too_many(servers):
        return None
    try:
        there = {int(name) for name in os.listdir("/proc/self/fd")}
    except OSError:  # not Linux
        return None
    watched: set[Any] = {*reactor.getReaders(), *reactor.getWriters()}
    for server in servers:
        watched.update(channel.base for channel in server.tracker if getattr(channel, "base", None) is not None)
        watched.update(base_transport(refusal.transport) for refusal in server.refusals)
    return len(there - {each.fileno() for each in watched})

"""One scheme, host and port, as a pool knows it: its places, its connections at rest or shared, and who waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardhttp.client.connection import Connection
from hardhttp.client.endpoints import Route
from hardhttp.client.exchange import Exchange
from hardhttp.client.limits import ClientLimits

if TYPE_CHECKING:
    from hardhttp.client.http2 import Connection2

__all__ = ["Host", "Key"]

Key = tuple[str, str, int]


class Host:
    """One scheme, host and port: ``live`` places taken, connections at ``rest``, requests ``waiting``."""

    __slots__ = ("key", "live", "max_streams", "multiplexes", "resting", "route", "settling", "shared", "waiting")

    def __init__(self, key: Key, route: Route) -> None:
        self.key = key
        self.route = route
        self.live = 0
        self.settling = 0  # of ``live``: it is not known yet what is spoken on them
        self.multiplexes = False  # it is known to speak HTTP/2
        self.max_streams: int | None = None  # as it said last, on any connection
        self.shared: dict[Connection2, None] = {}  # HTTP/2, and not about to end
        self.resting: dict[Connection, None] = {}  # used last, last
        self.waiting: dict[Exchange, None] = {}  # in the order of their coming

    @property
    def oldest(self) -> int:
        """When the first that waits came: a number."""
        return next(iter(self.waiting)).number

    def has_place(self, limits: ClientLimits) -> bool:
        """Whether one more connection may be made for who waits, or comes.

        What HTTP/2 is known to be spoken on is not made twice: it will serve as many as it has streams.
        """
        streams = limits.max_streams if self.max_streams is None else min(limits.max_streams, self.max_streams)
        if self.multiplexes and self.settling and len(self.waiting) < self.settling * streams:
            return False
        return self.live < limits.max_connections_per_host

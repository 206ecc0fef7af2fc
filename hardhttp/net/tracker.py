"""Who is connected: one table, keyed by transport.

A transport is its own key, so nothing shifts when another leaves, and no response can go to the
wrong client. Beside it stands how many connections each address has; an address is in that table
only while it is connected, so the table is as bounded as the connections are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Generic, TypeVar

from twisted.internet import address
from twisted.internet.interfaces import ITransport

__all__ = ["Network", "Tracker", "address_key"]

C = TypeVar("C")


Network = IPv4Network | IPv6Network


def address_key(peer: object, exempt: Iterable[Network] = ()) -> str | None:
    """What a connection from ``peer`` is counted under; ``None`` where nothing is counted.

    Loopback and Unix sockets are not: what comes from there is a proxy or a local tool. An IPv6
    client owns a /64, so that is what is counted. Addresses in ``exempt`` are not counted either.
    """
    if not isinstance(peer, (address.IPv4Address, address.IPv6Address)):
        return None
    try:
        parsed = ip_address(peer.host.partition("%")[0])
    except ValueError:
        return peer.host
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_loopback or any(parsed in network for network in exempt):
        return None
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


class Tracker(Generic[C]):
    """The open connections."""

    def __init__(self) -> None:
        self._connections: dict[ITransport, tuple[C, str | None, int, float]] = {}
        self._per_address: dict[str, int] = {}
        self.peak = self.added = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[C]:
        """A copy's iterator: connections may end while it runs."""
        return iter([entry[0] for entry in self._connections.values()])

    def entries(self) -> Iterator[tuple[C, int, float]]:
        """Each connection, the oldest first, its number (no other has or had it), and when it was made."""
        return iter([(entry[0], *entry[2:]) for entry in self._connections.values()])

    def add(self, transport: ITransport, connection: C, key: str | None = None, now: float = 0.0) -> None:
        self.added += 1
        self._connections[transport] = connection, key, self.added, now
        if key is not None:
            self._per_address[key] = self._per_address.get(key, 0) + 1
        if len(self._connections) > self.peak:
            self.peak = len(self._connections)

    def remove(self, transport: ITransport) -> None:
        """Forget ``transport``; one that is not there is ignored."""
        key = self._connections.pop(transport, (None, None))[1]
        if key is not None:
            left = self._per_address[key] - 1
            if left:
                self._per_address[key] = left
            else:
                del self._per_address[key]

    def get(self, transport: object) -> C | None:
        """The connection over ``transport``."""
        entry = self._connections.get(transport)  # type: ignore[call-overload]
        return entry[0] if entry else None

    def from_address(self, key: str | None) -> int:
        """How many connections ``key`` (from ``address_key``) has."""
        return 0 if key is None else self._per_address.get(key, 0)

    @property
    def addresses(self) -> int:
        """How many addresses are in the table."""
        return len(self._per_address)

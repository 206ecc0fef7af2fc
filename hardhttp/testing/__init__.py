"""A kit for testing in memory: a site, its clock, and peers whose every byte one sees.

The transports are those that serve real sockets; only the socket under them is of memory, and the
reactor is a clock driven by hand. So what holds here of backpressure, producers, half-close and abort
holds of the real thing. What only a kernel knows is not here: how many bytes it still holds, whether
a peer has gone that nobody reads from, and TLS.

    with Rig(resource) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        (response,) = peer.responses()
        rig.advance(121)
        assert peer.closed

When the block ends all connections are ended, and then nothing may be left: no call on the clock, no
entry in the tracker or the ledger, no failure in the log that the test has not taken with ``flush``.

Its counterpart for clients is ``hardhttp.testing.misbehaving``. Nothing else in the package imports this part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

from twisted.internet.address import IPv4Address
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from zope.interface import implementer

from hardhttp.net.port import EagerServer
from hardhttp.testing.memory import MemoryReactor, MemorySocket
from hardhttp.testing.responses import Response, parse_responses
from hardhttp.web.site import Site

__all__ = ["MemoryReactor", "Peer", "Response", "Rig", "every_split", "parse_responses"]

# Where the clock starts: a Date is made of it.
START_SECONDS = 1_700_000_000
# Every deadline is judged once a second, so the clock never leaps further.
STEP_SECONDS = 1.0


def every_split(data: bytes) -> Iterator[list[bytes]]:
    """``data`` in pieces: whole, byte by byte, and in two at every place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


class Peer:
    """A client. ``protocol`` and ``transport`` are the server's.

    Whatever is asked of it is true once the server has done all it has to do at this instant.
    """

    def __init__(self, rig: Rig, address: tuple[str, int]) -> None:
        self._rig = rig
        self._socket = MemorySocket()
        self.transport: Any = None
        self.protocol = rig.site.buildProtocol(IPv4Address("TCP", *address))
        if self.protocol is None:
            self._socket.close()
            return
        number = len(rig.peers) + 1
        self.transport = rig.transport(self._socket, self.protocol, address, None, number, rig.clock)
        self.protocol.makeConnection(self.transport)
        rig.clock.turn()

    def send(self, *pieces: bytes) -> None:
        """Send ``pieces``, each of which is one read of the server's."""
        self._socket.incoming.extend(filter(None, pieces))
        self._rig.clock.turn()

    @property
    def unread(self) -> int:
        """Bytes sent that the server has not read."""
        return sum(map(len, self._socket.incoming))

    @property
    def received(self) -> bytes:
        """All that has come so far."""
        self._rig.clock.turn()
        return bytes(self._socket.sent)

    def responses(self, *methods: bytes) -> list[Response]:
        """What has come, as responses to requests of these methods; there must be nothing else."""
        responses, left = parse_responses(self.received, methods, closed=self.ended)
        if left:
            raise ValueError(f"half a response: {left[:200]!r}")
        return responses

    def take(self, size: int | None) -> None:
        """Take ``size`` more bytes and then none; ``None`` is without end, as it is at first."""
        self._socket.window = size
        self._rig.clock.turn()

    def half_close(self) -> None:
        """Say that nothing more will be sent; go on reading."""
        self._socket.ended = True
        self._rig.clock.turn()

    def reset(self) -> None:
        """Go at once, without a word."""
        self._socket.broken = True
        self._rig.clock.turn()

    @property
    def ended(self) -> bool:
        """Whether the server has said its last byte."""
        self._rig.clock.turn()
        return self._socket.shut

    @property
    def closed(self) -> bool:
        """Whether the server has let go of the connection."""
        self._rig.clock.turn()
        return self._socket.closed

    @property
    def aborted(self) -> bool:
        """Whether it did so without waiting for what was unsent."""
        self._rig.clock.turn()
        return self._socket.aborted


@implementer(ILogObserver)
class Rig:
    """A site in memory. ``options`` are ``Site``'s; ``transport`` makes the server's transports.

    ``clock`` is the site's reactor, ``peers`` all that have connected.
    """

    def __init__(self, resource: IResource, transport: Callable[..., Any] = EagerServer, **options: Any) -> None:
        self.clock = MemoryReactor()
        self.clock.advance(START_SECONDS)
        self.transport = transport
        self.site = Site(resource, reactor=self.clock, **options)
        self.peers: list[Peer] = []
        self._failures: list[Failure] = []
        self._before = self.site.ledger.snapshot()

    def connect(self, host: str = "127.0.0.1") -> Peer:
        """A new connection, from a port of its own."""
        peer = Peer(self, (host, 1024 + len(self.peers) % 64_000))
        self.peers.append(peer)
        return peer

    def exchange(self, *pieces: bytes, methods: Sequence[bytes] = ()) -> list[Response]:
        """The responses to ``pieces``, sent over a new connection."""
        peer = self.connect()
        peer.send(*pieces)
        return peer.responses(*methods)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        while seconds > 0:
            self.clock.advance(min(seconds, STEP_SECONDS))
            self.clock.turn()
            seconds -= STEP_SECONDS

    def flush(self) -> list[Failure]:
        """The failures logged since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def end(self) -> None:
        """End every connection; raise ``AssertionError`` for whatever is left then."""
        for peer in self.peers:
            if not peer.closed:
                peer.reset()
                peer.transport.abortConnection()  # where nothing is read, a reset is not seen
        self.site.cookie_sessions.forget()  # sessions outlive connections
        self.clock.turn()
        left = {
            "connections": [peer.protocol for peer in self.peers if not peer.closed],
            "in the tracker": [*self.site.server.tracker, *self.site.server.refusals],
            "in the ledger": sorted(self.site.ledger.snapshot().items() - self._before.items()),
            "on the clock": self.clock.getDelayedCalls(),
            "failures": [failure.getTraceback() for failure in self.flush()],
        }
        if any(left.values()):
            raise AssertionError("; ".join(f"{what}: {items}" for what, items in left.items() if items))

    def __enter__(self) -> Self:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.end()
        finally:
            globalLogPublisher.removeObserver(self)

    def __call__(self, event: dict[str, Any]) -> None:
        """Keep a failure that is logged."""
        failure = event.get("log_failure")
        if failure is not None:
            self._failures.append(failure)

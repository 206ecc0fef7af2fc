"""A resource on ``twisted.web``'s own Site, in memory, for what must work there too."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web import server
from twisted.web.resource import IResource

from hardhttp.testing import Response, parse_responses

__all__ = ["OnTwisted"]


class _Transport(StringTransport):
    """Knows of an abort, and tells the producer of the end as a real one does."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class OnTwisted:
    """One connection; ``clock`` is the site's reactor."""

    def __init__(self, resource: IResource) -> None:
        self.clock = Clock()
        self.site = server.Site(resource, reactor=self.clock)
        self.protocol: Any = self.site.buildProtocol(None)  # type: ignore[arg-type]
        self.transport = _Transport()
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self.turn()

    def turn(self, times: int = 50) -> None:
        """Let the reactor go round; idle connections end hours later."""
        for _ in range(times):
            self.clock.advance(0)

    def responses(self, *methods: bytes, closed: bool = False) -> list[Response]:
        responses, left = parse_responses(self.transport.value(), methods, closed=closed)
        if left:
            raise ValueError(f"half a response: {left[:200]!r}")
        return responses

    def lose(self) -> None:
        """The client goes."""
        from twisted.internet.error import ConnectionLost
        from twisted.python.failure import Failure

        if self.transport.producer is not None:
            self.transport.producer.stopProducing()
        self.protocol.connectionLost(Failure(ConnectionLost()))

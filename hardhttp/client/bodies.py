"""Response bodies that nobody wants, and how the connection they come by is let go, whoever's agent it is."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

__all__ = ["discard", "discarded", "drop"]


def drop(transport: Any) -> None:
    """End the connection a body comes by, at once where that is possible.

    A transport of ``twisted.web.client`` has only ``stopProducing``: over TLS that waits for the peer.
    """
    if transport is not None:
        (getattr(transport, "abortConnection", None) or transport.stopProducing)()


class _Discarded(Protocol):
    """Takes ``max_bytes`` of a body, so that its connection may serve again; then ends it."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self.done: Deferred[None] | None = None  # of whoever waits, until it has fired

    def connectionMade(self) -> None:
        if self._left <= 0:
            self.end()

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.end()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.transport = None
        done, self.done = self.done, None
        if done is not None:
            done.callback(None)

    def cancelled(self, _: Deferred[None]) -> None:
        self.done = None
        self.end()

    def end(self) -> None:
        transport, self.transport = self.transport, None
        drop(transport)


def discard(response: IResponse, max_bytes: int = 0) -> _Discarded:
    """Read ``response`` to its end, but ``max_bytes`` at most; ``end()`` of what is returned ends it sooner.

    A response whose body was never asked for holds its connection for ever.
    """
    # Where there is no body, its connection may already belong to another request.
    reading = _Discarded(1 if response.length == 0 else max_bytes)
    response.deliverBody(reading)
    return reading


def discarded(response: IResponse, max_bytes: int) -> Deferred[None]:
    """Fires when ``response`` has been discarded and its connection is free; cancelling it ends it at once."""
    reading = _Discarded(max_bytes)
    done = reading.done = Deferred(reading.cancelled)
    response.deliverBody(reading)
    return done

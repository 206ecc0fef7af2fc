"""Request bodies that can be sent again, and response bodies that nobody wants.

Both are small and use no clock: the cooperator that ``FileBodyProducer`` runs on would keep a call on the
global reactor.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer, IResponse
from zope.interface import implementer

__all__ = ["BytesBody", "discard", "drop"]


@implementer(IBodyProducer)
class BytesBody:
    """A body of bytes. ``again()`` gives the same one for another try."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def again(self) -> BytesBody:
        return BytesBody(self._data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


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

    def connectionMade(self) -> None:
        if self._left <= 0:
            self.end()

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.end()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.transport = None

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

"""A way to a server that can be cut, stopped or slowed down: what a network does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.listening import free_port

__all__ = ["Between"]


class _Line(ProxyServer):
    noisy = False

    def connectionMade(self) -> None:
        self.between: Between = self.factory.between  # type: ignore[attr-defined]
        self.between.lines.add(self)
        if self.between.is_stopped:
            self.transport.pauseProducing()
        else:
            super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if self.between.delay_seconds:
            self.reactor.callLater(self.between.delay_seconds, self._late, data)
        elif self.peer is not None:
            super().dataReceived(data)

    def _late(self, data: bytes) -> None:
        if self.peer is not None and self.transport.connected:
            super().dataReceived(data)

    def connectionLost(self, reason: Any) -> None:
        self.between.lines.discard(self)
        super().connectionLost(reason)

    def hold(self) -> None:
        for protocol in filter(None, (self, self.peer)):
            protocol.transport.pauseProducing()


class Between:
    """Listens on ``port`` and forwards to ``to``. At its end nothing is open."""

    def __init__(self, reactor: Any, to: int) -> None:
        self._reactor = reactor
        self._factory = ProxyFactory("127.0.0.1", to)
        self._factory.noisy = False
        self._factory.protocol = _Line
        self._factory.between = self  # type: ignore[attr-defined]
        self.lines: set[_Line] = set()
        self.is_stopped = False
        self.delay_seconds = 0.0
        self._listening = reactor.listenTCP(free_port(), self._factory, interface="127.0.0.1")
        self.port: int = self._listening.getHost().port

    def stop(self) -> None:
        """Nothing passes, and nobody is told: a partition."""
        self.is_stopped = True
        for line in self.lines:
            line.hold()

    def go(self) -> None:
        """What was held is lost, as after a long partition; what comes now passes."""
        self.is_stopped = False
        self.drop()

    def drop(self) -> None:
        for line in tuple(self.lines):
            line.transport.abortConnection()

    async def cut(self) -> None:
        """Connections are lost, and new ones refused."""
        await maybeDeferred(self._listening.stopListening)
        self.drop()

    def mend(self) -> None:
        self._listening = self._reactor.listenTCP(self.port, self._factory, interface="127.0.0.1")

    def close(self) -> Deferred[Any]:
        self.drop()
        return maybeDeferred(self._listening.stopListening)

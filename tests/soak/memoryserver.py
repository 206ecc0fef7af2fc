"""A server that is not there: what a scenario's clients send is recorded, and answered by a function, in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from hardhttp.soak.load import Load
from hardhttp.soak.scenario import PATHS, Scenario
from hardhttp.soak.where import Where

STEP_SECONDS = 0.05
WHERE = Where("http", "127.0.0.1", 8080, {kind: "/" if kind == "hello" else f"/{kind}" for kind in PATHS})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Transport(StringTransport):
    """One client's. ``sent`` is what came when; ``how`` is how the client went."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__()
        self.server = server
        self.sent: list[tuple[float, bytes]] = []
        self.protocol: Any = None
        self.how: str | None = None
        self.half_closed = False
        self.gone_seconds: float | None = None

    def write(self, data: bytes) -> None:
        self.sent.append((self.server.reactor.seconds(), data))
        self.server.waiting.append((self, data))

    def bytes_sent(self) -> bytes:
        return b"".join(data for _, data in self.sent)

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def loseConnection(self) -> None:
        self._gone("closed", ConnectionDone())

    def abortConnection(self) -> None:
        self._gone("reset", ConnectionAborted())

    def _gone(self, how: str, error: Exception) -> None:
        if self.how is None:
            self.how, self.gone_seconds = how, self.server.reactor.seconds()
            self.server.reactor.callLater(0, self.lose, error)

    def lose(self, error: Exception) -> None:
        if self.protocol is not None:
            protocol, self.protocol = self.protocol, None
            protocol.connectionLost(Failure(error))


class MemoryServer:
    """``answer(transport, data)`` gives the bytes that go back, or ``None`` to close."""

    def __init__(self, answer: Callable[[Transport, bytes], bytes | None] = lambda transport, data: OK) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.answer = answer
        self.transports: list[Transport] = []
        self.waiting: list[tuple[Transport, bytes]] = []
        self.most_open = 0
        self.accepts = True
        self.load: Any = None

    @property
    def open_count(self) -> int:
        return sum(transport.protocol is not None for transport in self.transports)

    def run(self, scenario: Scenario, seconds: float, scale: float = 1.0) -> Load:
        """Run ``scenario`` for virtual ``seconds``. Raises what it raised."""
        load = Load(self.reactor, WHERE, seconds, scale=scale)
        ended: list[Any] = []
        Deferred.fromCoroutine(load.run(scenario)).addBoth(ended.append)
        for _ in range(int(seconds / STEP_SECONDS) + 10):
            self.turn()
            if ended:
                break
        assert ended, "it did not end"
        if isinstance(ended[0], Failure):
            ended[0].raiseException()
        return load

    def turn(self) -> None:
        """Connect whoever wants to, answer what came, and let a little time pass."""
        while self.accepts and self.reactor.tcpClients:
            _, _, factory, _, _ = self.reactor.tcpClients.pop()
            protocol = factory.buildProtocol(None)
            if protocol is not None:  # None: who wanted to connect has given up
                transport = Transport(self)
                self.transports.append(transport)
                transport.protocol = protocol
                protocol.makeConnection(transport)
        self.most_open = max(self.most_open, self.open_count)
        waiting, self.waiting = self.waiting, []
        for transport, data in waiting:
            if transport.protocol is not None:
                said = self.answer(transport, data)
                if said is None:
                    transport.lose(ConnectionDone())
                elif said:
                    transport.protocol.dataReceived(said)
        self.reactor.advance(STEP_SECONDS)

"""An agent in memory: its clock, and servers whose every byte a test decides.

A connection's other end is a ``Server``: what was sent to it is ``received``, what it ``send``s is read,
each piece at once. Whatever ends is told in the next ``turn``. When the block ends the agent is closed,
and then nothing may be left: no call on the clock, no figure in the ledger that was not there before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectingCancelledError, ConnectionAborted, ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import IConsumer, ISSLTransport, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from hardhttp.client import Agent, ClientLimits, Route

__all__ = ["Body", "ClientRig", "Outcome", "Server"]


@implementer(ITransport, IConsumer)
class Wire:
    """A client's transport."""

    disconnecting = False

    wrappedProtocol: Any = None

    def __init__(self, rig: ClientRig) -> None:
        self.rig = rig
        self.sent = bytearray()
        self.paused = False
        self.polite = self.aborted = False
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.sent += data

    def loseConnection(self) -> None:
        self.polite = True
        self.rig.ending.append((self, ConnectionDone()))

    def abortConnection(self) -> None:
        self.aborted = True
        self.rig.ending.append((self, ConnectionAborted()))

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def getPeer(self) -> None:
        """Nobody in particular."""

    def getHost(self) -> None:
        """Nobody in particular."""


@implementer(ISSLTransport)
class SecureWire(Wire):
    """One that has a handshake before it, and may pass what it carries on to another protocol."""

    negotiatedProtocol: bytes | None = None

    def getPeerCertificate(self) -> None:
        """None."""


class Server:
    """The other end of a connection."""

    def __init__(self, protocol: Any, wire: Wire) -> None:
        self.first = protocol
        self.wire = wire
        self.open = True

    @property
    def protocol(self) -> Any:
        """Whoever has the connection now."""
        return getattr(self.wire, "wrappedProtocol", None) or self.first

    def send(self, *pieces: bytes) -> None:
        for piece in filter(None, pieces):
            if self.open and not (self.wire.aborted or self.wire.polite):
                assert not self.wire.paused
                self.protocol.dataReceived(piece)

    @property
    def received(self) -> bytes:
        """What has come since it was last asked."""
        data = bytes(self.wire.sent)
        self.wire.sent.clear()
        return data

    def lose(self, error: Exception | None = None) -> None:
        """End the connection."""
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(error or ConnectionDone()))


class Body(Protocol):
    """Whoever takes a body."""

    def __init__(self, on_data: Callable[[Body, bytes], object] | None = None) -> None:
        self.pieces: list[bytes] = []
        self.end: Failure | None = None
        self.on_data = on_data

    def dataReceived(self, data: bytes) -> None:
        assert self.end is None
        self.pieces.append(data)
        if self.on_data is not None:
            self.on_data(self, data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        assert self.end is None
        self.end = reason

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


class Outcome:
    """What became of a request."""

    def __init__(self, deferred: Deferred[Any], body: Body | None) -> None:
        self.deferred = deferred
        self.response: Any = None
        self.failure: Failure | None = None
        self.body = body
        deferred.addCallbacks(self._answered, self._failed)

    def _answered(self, response: Any) -> None:
        self.response = response
        if self.body is not None:
            response.deliverBody(self.body)

    def _failed(self, failure: Failure) -> None:
        self.failure = failure

    @property
    def error(self) -> Any:
        assert self.failure is not None
        return self.failure.value

    @property
    def pending(self) -> bool:
        return self.response is None and self.failure is None


@implementer(IStreamClientEndpoint)
class Memory:
    def __init__(self, rig: ClientRig, key: Any) -> None:
        self.rig = rig
        self.key = key

    def connect(self, factory: Any) -> Deferred[Any]:
        if self.rig.endpoint_fails:
            self.rig.on_fail()
            return fail(ConnectionRefusedError())
        deferred: Deferred[Any] = Deferred(self._cancelled)
        self.rig.dials.append((deferred, factory, self.key))
        if self.rig.answers:
            self.rig.connect()
        return deferred

    def _cancelled(self, deferred: Deferred[Any]) -> None:
        self.rig.dials = [dial for dial in self.rig.dials if dial[0] is not deferred]
        deferred.errback(ConnectingCancelledError(None))


class ClientRig:
    """An agent, its clock, and the servers it has connected to.

    With ``answers`` a connection is made as soon as it is wanted; else ``connect`` makes the first that waits.
    """

    server_class: type[Server] = Server

    def __init__(self, answers: bool = True, secure: bool = False, **limits: Any) -> None:
        self.clock = Clock()
        self.answers = answers
        self.endpoint_fails = False  # at once
        self.on_fail: Callable[[], object] = lambda: None
        self.secure = secure
        self.servers: list[Server] = []
        self.dials: list[Any] = []
        self.ending: list[tuple[Wire, Exception]] = []
        self.limits = ClientLimits(**limits)
        self.agent = Agent(self.clock, self.limits, routes=self)
        self._before = self.agent.ledger.snapshot()

    def route(self, scheme: str, host: str, port: int) -> Route:
        return Route(Memory(self, (scheme, host, port)))

    def connect(self) -> Server:
        deferred, factory, _ = self.dials.pop(0)
        protocol = factory.buildProtocol(None)
        wire = SecureWire(self) if self.secure else Wire(self)
        wire.wrappedProtocol = protocol
        server = self.server_class(protocol, wire)
        self.servers.append(server)
        protocol.makeConnection(wire)
        deferred.callback(protocol)
        return server

    def refuse(self, error: Exception) -> None:
        self.dials.pop(0)[0].errback(error)

    def ask(
        self,
        method: bytes = b"GET",
        uri: bytes = b"http://a.example/",
        fields: dict[bytes, list[bytes]] | None = None,
        producer: Any = None,
        body: Body | None = None,
        take: bool = True,
        **options: Any,
    ) -> Outcome:
        """Ask; the body is taken by a ``Body``, unless ``take`` is not so."""
        body = body or (Body() if take else None)
        return Outcome(self.agent.request(method, uri, Headers(fields or {}), producer, **options), body)

    def turn(self) -> None:
        """Let what ends be told."""
        self.clock.advance(0)
        while self.ending:
            wire, error = self.ending.pop(0)
            for server in self.servers:
                if server.wire is wire:
                    server.lose(error)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.turn()

    def held(self) -> dict[str, int]:
        """What is held beyond the beginning."""
        now = self.agent.ledger.snapshot()
        return {kind: now[kind] - n for kind, n in self._before.items() if now[kind] != n}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        ended = self.agent.close()
        self.turn()
        if kind is None:
            assert ended.called
            assert self.held() == {}
            assert self.clock.getDelayedCalls() == []
            assert self.dials == []

"""Whatever a server and an application do, in any order: in the end nothing is held, and all have been told.

A run is made of one seed. The server sends whole answers, halves and what is none, and hangs up; the application
asks, cancels, pauses, leaves, closes the agent and fails, also from within every callback it has.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from hardhttp.client import (
    BreakerAgent,
    BytesBody,
    DecodingAgent,
    RedirectAgent,
    RetryingAgent,
    RetryPolicy,
)
from hardhttp.client.response import Delivery
from tests.client.rig import Body, ClientRig
from tests.client.test_agent import Producer

GZIP = gzip.compress(b"x" * 300_000)
PIECES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"hello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Yes\r\n\r\n",
    b"HTTP/1.1 302 Moved\r\nLocation: http://b.example/x\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nbody",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(GZIP) + GZIP,
    b"nothing of the kind",
)
HOSTS = (b"http://a.example/", b"http://b.example/", b"http://c.example/")
LEAVE = ("pauseProducing", "resumeProducing", "loseConnection", "abortConnection", "stopProducing")


class Failed(Exception):
    """What a careless application raises."""


class Reader(Body):
    """A body's protocol that does anything whenever it is called."""

    def __init__(self, run: Run) -> None:
        super().__init__(lambda body, data: run.perhaps())
        self.run = run

    def connectionMade(self) -> None:
        self.run.perhaps()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        super().connectionLost(reason)
        self.run.perhaps()

    @property
    def untold(self) -> bool:
        """It was given a body that has gone on without it."""
        transport: Any = self.transport
        if transport is None or self.end is not None or getattr(transport, "_paused", False):
            return False
        return getattr(getattr(transport, "_response", None), "delivery", None) is not Delivery.PAUSED


class Run:
    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.rig = rig = ClientRig(
            answers=random.random() < 0.7,
            secure=random.random() < 0.2,
            max_connections=random.choice([1, 2, 5]),
            max_queued=random.choice([0, 3, 50]),
            max_idle_connections=random.choice([0, 1, 5]),
            first_byte_seconds=20,
            unread_seconds=10,
            body_idle_seconds=random.choice([None, 15]),
            total_seconds=random.choice([None, 40]),
        )
        policy = RetryPolicy(statuses={503}, retry_fresh=True)
        self.agents: list[Any] = [
            rig.agent,
            RedirectAgent(rig.agent),
            DecodingAgent(RedirectAgent(rig.agent)),
            RetryingAgent(DecodingAgent(rig.agent), clock=rig.clock, policy=policy),
            BreakerAgent(rig.agent, clock=rig.clock),
        ]
        self.asked: list[Deferred[Any]] = []
        self.told = 0
        self.readers: list[Reader] = []
        self.producers: list[Producer] = []
        self.closed: list[Deferred[None]] = []
        self.depth = 0

    # -- the application ------------------------------------------------------------------------

    def perhaps(self) -> None:
        """Anything, from within a callback."""
        if self.random.random() < 0.3 and self.depth < 5:
            self.depth += 1
            try:
                self.act()
            finally:
                self.depth -= 1

    def act(self) -> None:
        random = self.random
        what = random.random()
        if what < 0.5:
            self.ask()
        elif what < 0.65 and self.asked:
            random.choice(self.asked).cancel()
        elif what < 0.85 and self.readers:
            reader = random.choice(self.readers)
            if reader.transport is not None and reader.end is None:
                getattr(reader.transport, random.choice(LEAVE))()
        elif what < 0.88:
            self.closed.append(self.rig.agent.close())
        elif what > 0.9:
            raise Failed

    def ask(self) -> None:
        random = self.random
        method = random.choice([b"GET", b"HEAD", b"POST", b"PUT"])
        producer = None
        fields: dict[bytes, list[bytes]] = {}
        if method in (b"POST", b"PUT"):
            producer = random.choice([None, BytesBody(b"abc"), BytesBody(bytes(100_000)), Producer(), Producer(4)])
            if isinstance(producer, Producer):
                self.producers.append(producer)
            if random.random() < 0.3:
                fields[b"Expect"] = [b"100-continue"]
        elif random.random() < 0.1:
            fields[b"Upgrade"] = [b"x"]
        asked = random.choice(self.agents).request(method, random.choice(HOSTS), Headers(fields), producer)
        self.asked.append(asked)
        asked.addCallbacks(self.answered, self.failed).addErrback(lambda failure: failure.trap(Failed))

    def answered(self, response: Any) -> None:
        self.told += 1
        if self.random.random() < 0.8:
            reader = Reader(self)
            self.readers.append(reader)
            response.deliverBody(reader)
        self.perhaps()

    def failed(self, failure: Failure) -> None:
        self.told += 1
        self.perhaps()

    def produce(self) -> None:
        if not self.producers:
            return
        producer = self.random.choice(self.producers)
        if self.random.random() < 0.6:
            if producer.consumer is not None:
                producer.consumer.write(b"xy")  # also when it was told to stop
        elif not producer.done.called:
            producer.done.callback(None)

    # -- the server and the clock ---------------------------------------------------------------

    def serve(self) -> None:
        server = self.random.choice(self.rig.servers) if self.rig.servers else None
        if server is None or server.wire.paused:
            return
        if self.rig.secure:
            server.protocol.handshakeCompleted()
        data = self.random.choice(PIECES)
        server.send(data[: self.random.randrange(len(data))] if self.random.random() < 0.2 else data)

    def hang_up(self) -> None:
        if self.rig.servers:
            self.random.choice(self.rig.servers).lose()

    def dial(self) -> None:
        if not self.rig.dials:
            return
        if self.random.random() < 0.7:
            self.rig.connect()
        else:
            self.rig.refuse(ConnectionRefusedError())

    def wait(self) -> None:
        self.rig.advance(self.random.choice([0, 0.1, 1, 5, 11, 25, 50]))

    def step(self) -> None:
        acts: list[Callable[[], None]] = [self.act, self.produce, self.serve, self.hang_up, self.dial, self.wait]
        try:
            self.random.choices(acts, weights=[30, 5, 40, 5, 8, 8])[0]()
        except Failed:
            pass

    def end(self) -> None:
        rig = self.rig
        self.closed.append(rig.agent.close())
        rig.turn()
        rig.advance(100)  # retries have nobody to ask
        assert all(closed.called for closed in self.closed)
        assert self.told == len(self.asked)
        assert not any(reader.untold for reader in self.readers)
        assert rig.held() == {}
        assert rig.clock.getDelayedCalls() == []


@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_nothing_is_left(first: int) -> None:
    for seed in range(first, first + 30):
        run = Run(seed)
        for _ in range(run.random.randrange(5, 60)):
            run.step()
        run.end()


@pytest.mark.slow
def test_nothing_is_left_at_length() -> None:
    for seed in range(10_000, 20_000):
        run = Run(seed)
        for _ in range(run.random.randrange(5, 60)):
            run.step()
        run.end()

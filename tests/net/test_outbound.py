"""What is known of the bytes on their way out, of every kind of transport."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.task import Clock

from hardhttp.net.outbound import PullLoop, base_transport, peer_has_gone, unacknowledged_bytes, unsent_bytes
from tests.net.loopback import GET, Answer, Loopback, blocking, certificate, turn, until


@pytest.mark.parametrize("kind", ["fast", "stock", "tls"])
@blocking
def test_what_is_unsent_is_known(kind: str, tmp_path: Any) -> None:
    """With what the kernel holds and what the client has taken, it is all that was written."""
    body = b"x" * 8_000_000
    pem = certificate(tmp_path) if kind == "tls" else None
    with Loopback(Answer(lambda request: body), fast=kind != "stock", certificate=pem) as loop:
        client = loop.connect(receive_bytes=65536)
        client.send_all(GET)
        turn(0.2)
        (channel,) = loop.site.server.tracker
        base = base_transport(channel._transport)
        assert base is channel._base
        assert hasattr(base, "socket")
        unsent, unacknowledged = unsent_bytes(base), unacknowledged_bytes(base)
        assert unsent > 1_000_000
        assert 0 < unacknowledged < 7_000_000
        until(lambda: client.take() and len(client.received) > 2_000_000)
        turn(0.05)
        assert unsent_bytes(base) < unsent
        client.responses(1)
        until(lambda: unsent_bytes(base) == unacknowledged_bytes(base) == 0)


@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
def test_a_peer_that_has_gone_is_seen_without_reading(how: str) -> None:
    from tests.net.loopback import Client

    class Transport:
        socket: Any

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        Transport.socket, _ = listener.accept()
    with Transport.socket:
        assert not peer_has_gone(Transport)
        client.send(b"x" * 100_000)
        assert not peer_has_gone(Transport)
        client.shutdown(socket.SHUT_WR) if how == "shutdown" else getattr(Client(client), how)()
        assert peer_has_gone(Transport)
        assert len(Transport.socket.recv(10)) == 10 or how == "reset"
    client.close()


def test_a_transport_without_a_socket_says_nothing() -> None:
    class Memory:
        pass

    assert not peer_has_gone(Memory())
    assert unacknowledged_bytes(Memory()) == 0
    assert unsent_bytes(Memory()) == 0


class Turns(Clock):
    """A second is a turn of the reactor."""

    def callLater(self, delay: float, *args: Any, **kw: Any) -> Any:
        return super().callLater(delay or 1, *args, **kw)


class Producer:
    def __init__(self) -> None:
        self.asked = self.stopped = 0

    def resumeProducing(self) -> None:
        self.asked += 1

    def stopProducing(self) -> None:
        self.stopped += 1


def test_a_pull_producer_is_asked_once_a_turn_until_it_is_paused() -> None:
    clock, producer = Turns(), Producer()
    loop = PullLoop(clock, producer, lambda: None)
    assert producer.asked == 0
    clock.pump([1, 1, 1])
    assert producer.asked == 3
    loop.pauseProducing()
    loop.pauseProducing()
    clock.pump([1, 1])
    assert (producer.asked, clock.getDelayedCalls()) == (3, [])
    loop.resumeProducing()
    loop.resumeProducing()
    clock.advance(1)
    assert producer.asked == 4
    loop.stopProducing()
    clock.pump([1, 1])
    assert (producer.asked, producer.stopped, clock.getDelayedCalls()) == (4, 1, [])


def test_a_pull_producer_that_fails_is_asked_no_more() -> None:
    clock, failures = Turns(), []

    class Fails(Producer):
        def resumeProducing(self) -> None:
            super().resumeProducing()
            raise RuntimeError("as it should")

    producer = Fails()
    PullLoop(clock, producer, lambda: failures.append(1))
    clock.pump([1, 1])
    assert (producer.asked, failures, clock.getDelayedCalls()) == (1, [1], [])

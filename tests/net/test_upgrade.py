"""A connection that another protocol takes over stays in sight, bounded and paced."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import Protocol
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits
from hardhttp.testing import Peer, Rig
from tests.net.loopback import Answer
from tests.net.test_channel import GET


class Echo(Protocol):
    ends = 0

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())

    def connectionLost(self, reason: Any = None) -> None:
        self.ends += 1


def take_over(how: str, protocol: Echo, request: Any) -> Any:
    request.write(b"")
    channel = request.channel
    if how == "upgrade":
        channel.upgrade(protocol)
    else:  # as autobahn does
        transport, channel.transport = channel.transport, None
        transport.protocol = protocol
        protocol.makeConnection(transport)
    return NOT_DONE_YET


def upgraded(rig: Rig, behind: bytes = b"") -> Peer:
    peer = rig.connect()
    peer.send(GET + behind)
    return peer


@pytest.mark.parametrize("how", ["upgrade", "transport.protocol"])
class TestUpgrade:
    def test_what_arrives_goes_to_it_and_what_it_writes_goes_out(self, how: str) -> None:
        protocol = Echo()
        with Rig(Answer(lambda request: take_over(how, protocol, request))) as rig:
            peer = upgraded(rig, b"behind ")
            peer.send(b"and after")
            assert peer.received.endswith(b"BEHIND AND AFTER")
            assert ITransport.providedBy(protocol.transport)
            assert protocol.transport.getPeer().host == "127.0.0.1"
            assert rig.site.connection_count == 1
            peer.reset()
            assert protocol.ends == 1
            assert rig.site.connection_count == 0

    def test_it_has_no_deadline_but_that_of_sending(self, how: str) -> None:
        protocol = Echo()
        with Rig(Answer(lambda request: take_over(how, protocol, request)), limits=Limits(send_seconds=10)) as rig:
            peer = upgraded(rig)
            rig.advance(1000)
            assert not peer.closed
            peer.take(0)
            protocol.transport.write(b"x" * 10_000)
            rig.advance(11)
            assert peer.aborted
            assert protocol.ends == 1

    def test_what_it_writes_is_bounded(self, how: str) -> None:
        protocol = Echo()
        limits = Limits(max_unsent_bytes=1_000_000)
        with Rig(Answer(lambda request: take_over(how, protocol, request)), limits=limits) as rig:
            peer = upgraded(rig)
            peer.take(0)
            for _ in range(50):
                protocol.transport.write(b"x" * 100_000)
            rig.clock.turn()
            assert peer.closed

    @pytest.mark.parametrize("end", ["loseConnection", "abortConnection"])
    def test_it_may_close(self, how: str, end: str) -> None:
        protocol = Echo()
        with Rig(Answer(lambda request: take_over(how, protocol, request)), limits=Limits(abort_seconds=3)) as rig:
            peer = upgraded(rig)
            protocol.transport.write(b"bye")
            getattr(protocol.transport, end)()
            assert protocol.transport.disconnecting
            rig.clock.turn()
            assert peer.closed
            assert protocol.ends == 1

    def test_one_that_fails_at_its_end_costs_itself(self, how: str) -> None:
        class Broken(Echo):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost()
                raise RuntimeError("as it should")

        protocol = Broken()
        with Rig(Answer(lambda request: take_over(how, protocol, request))) as rig:
            peer = upgraded(rig)
            peer.reset()
            assert (protocol.ends, rig.site.connection_count) == (1, 0)
            assert len(rig.flush()) == 1

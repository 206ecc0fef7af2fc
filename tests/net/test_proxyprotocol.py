"""The PROXY protocol on ports: who must send it, what follows from it, and what it costs to leave it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits, Site
from hardhttp.errors import Reason
from hardhttp.net.proxyprotocol import HeaderFirst, ProxyProtocolFactory
from hardhttp.net.server import FIRST_REQUEST_SECONDS
from hardhttp.net.told import ToldTransport, half_closes, is_bare
from hardhttp.testing import Peer, Rig, every_split
from hardhttp.web.service import listen, service
from tests.net.loopback import GET, Answer, Client, Loopback, blocking, certificate, result_of, until
from tests.wire.test_proxyprotocol import binary

V1 = b"PROXY TCP4 192.0.2.43 198.51.100.7 4711 443\r\n"
V2 = binary()
LOCAL = binary(command=0x20, family=0, body=b"")
SAYS_WHO = Answer(lambda request: f"{request.getClientAddress().host} {request.client_info.seen}".encode())
PROXY = "10.0.0.7"


class Proxied(Peer):
    """A client of a port that takes PROXY headers."""

    def __init__(self, rig: Rig, host: str = PROXY, factory: Any = None) -> None:
        site, wrapped = rig.site, factory or ProxyProtocolFactory(rig.site)
        rig.site = wrapped
        try:
            super().__init__(rig, (host, 1024 + len(rig.peers)))
        finally:
            rig.site = site
        rig.peers.append(self)


class Kit(Rig):
    """A site that trusts ``PROXY``."""

    def __init__(self, resource: Any = SAYS_WHO, **limits: Any) -> None:
        super().__init__(resource, limits=Limits(**limits))
        self.site.trusted_proxies = ["10.0.0.0/8"]


@pytest.mark.parametrize("header", [V1, V2], ids=["1", "2"])
def test_the_address_told_is_the_peer_s_at_every_split(header: bytes) -> None:
    """Header and request in one read, in one byte each, and cut anywhere."""
    with Kit() as rig:
        for pieces in every_split(header + GET):
            peer = Proxied(rig)
            peer.send(*pieces)
            assert peer.responses()[0].body == b"192.0.2.43 10.0.0.7"
            peer.reset()
        assert rig.site.statistics.snapshot()["accepted"] == len(rig.peers)
        assert sum(rig.site.statistics.closed.values()) == len(rig.peers)


def test_the_destination_told_is_the_host() -> None:
    with Kit(Answer(lambda request: request.prePathURL() + b" " + str(request.getHost().port).encode())) as rig:
        peer = Proxied(rig)
        peer.send(V1 + GET)
        assert peer.responses()[0].body == b"http://localhost:443/ 443"


def test_many_requests_follow_one_header() -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        peer.send(V2)
        for _ in range(3):
            peer.send(GET + GET)
        assert [response.body for response in peer.responses()] == [b"192.0.2.43 10.0.0.7"] * 6
        assert peer.transport.protocol is not peer.protocol  # nothing stands between any more


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", binary(family=0x12)], ids=["LOCAL", "UNKNOWN", "UDP"])
def test_where_nothing_is_told_the_proxy_is_the_peer(header: bytes) -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        peer.send(header + GET)
        assert peer.responses()[0].body == b"10.0.0.7 10.0.0.7"


def test_from_anybody_else_it_is_no_request() -> None:
    with Kit() as rig:
        peer = Proxied(rig, "192.0.2.66")
        assert not isinstance(peer.protocol, HeaderFirst)
        peer.send(V1 + GET)
        assert peer.responses()[0].status == 400
        peer = Proxied(rig, "192.0.2.66")
        peer.send(GET)
        assert peer.responses()[0].body == b"192.0.2.66 192.0.2.66"


@pytest.mark.parametrize("data", [GET, b"\x16\x03\x01", V1[:-2] + b"x\r\n", binary(command=0x29)])
def test_a_trusted_proxy_that_begins_otherwise_is_closed(data: bytes) -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        peer.send(data, V1, GET)
        assert (peer.received, peer.closed) == (b"", True)
        assert rig.site.statistics.refused["bad-proxy-header"] == 1
        assert rig.site.statistics.closed["bad-proxy-header"] == 1


def test_the_access_log_is_told_of_it() -> None:
    with Kit() as rig:
        told: list[Any] = []
        rig.site.server.on_refused = lambda *said: told.append((said[0].host, *said[1:]))
        for _ in range(12):
            Proxied(rig).send(GET)
        # Ten a minute, as of everything that is refused.
        assert told == [(PROXY, None, 444, Reason.BAD_PROXY_HEADER, None)] * 10


def test_a_header_that_comes_after_the_end_is_too_late() -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        peer.protocol.abort(Reason.DRAIN_SECONDS)
        peer.protocol.dataReceived(V1 + GET)
        assert (peer.received, peer.closed) == (b"", True)
        assert rig.site.statistics.accepted == rig.site.statistics.closed["drain-seconds"] == 1


@pytest.mark.parametrize("sent", [b"", V1[:20], V2[:20]])
def test_the_header_must_come_in_time(sent: bytes) -> None:
    """No trickle moves the deadline; and from its end the head has its own."""
    with Kit(head_seconds=10) as rig:
        peer, slow = Proxied(rig), Proxied(rig)
        peer.send(sent)
        rig.advance(9)
        peer.send(V1[len(sent) :][:1] if sent == V1[:20] else b"")
        slow.send(V1)
        assert not peer.closed
        rig.advance(1)
        assert peer.closed
        assert rig.site.statistics.closed["head-seconds"] == 1
        rig.advance(8)
        assert not slow.closed
        rig.advance(1)
        assert slow.closed


def test_while_it_is_awaited_the_connection_counts() -> None:
    with Kit(max_connections=2) as rig:
        first, _ = Proxied(rig), Proxied(rig)
        assert rig.site.connection_count == 2
        assert rig.site.ledger.snapshot()["connections"] == 2
        assert rig.site.ledger.snapshot()["requests"] == 0
        for host in (PROXY, "192.0.2.66"):
            refused = Proxied(rig, host)
            assert refused.responses()[0].reason == "connections"
        first.send(V1 + GET)
        assert first.responses()[0].status == 200
        assert rig.site.connection_count == 2
        first.send(b"")
        assert repr(rig.peers[1].protocol) == "<HeaderFirst>"


def test_what_it_holds_is_in_the_ledger() -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        peer.send(V1[:30])
        assert rig.site.ledger.snapshot()["input_bytes"] == 30
        peer.send(V1[30:])
        assert rig.site.ledger.snapshot()["input_bytes"] == 0


def test_it_can_be_shed() -> None:
    with Kit(Answer(lambda request: NOT_DONE_YET), max_buffered_bytes=64 * 1024, max_pipelined_bytes=1 << 20) as rig:
        header = binary(body=bytes(4000), family=0x00)
        waiting = [Proxied(rig) for _ in range(20)]
        for peer in waiting:
            peer.send(header[:-1])
        assert rig.site.statistics.closed["buffered-bytes"] == 4
        assert sum(peer.closed for peer in waiting) == 4


@pytest.mark.parametrize(("how", "reason"), [("reset", "client-reset"), ("half_close", "client-closed")])
def test_a_client_may_go_while_it_is_awaited(how: str, reason: str) -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        peer.send(V1[:10])
        getattr(peer, how)()
        assert peer.closed
        assert rig.site.connection_count == 0
        assert rig.site.statistics.closed[reason] == 1
        assert not rig.site.server.reaper.running


def test_a_drain_does_not_wait_long_for_it() -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        done: list[Any] = []
        rig.site.drain().addCallback(done.append)
        rig.advance(FIRST_REQUEST_SECONDS - 0.5)
        assert not peer.closed
        rig.advance(1.5)
        assert peer.closed
        assert done == [None]
        assert rig.site.statistics.closed["drained"] == 1
        refused = Proxied(rig)
        assert refused.responses()[0].reason == "draining"


def test_a_request_behind_it_is_answered_though_a_drain_has_begun() -> None:
    with Kit() as rig:
        peer = Proxied(rig)
        rig.site.drain()
        peer.send(V1 + GET)
        (response,) = peer.responses()
        assert (response.status, response.get(b"connection")) == (200, b"close")
        peer.half_close()
        refused = Proxied(rig)
        assert refused.responses()[0].reason == "draining"
        refused.half_close()
        rig.advance(1)


def test_the_address_told_is_admitted_as_any_peer_s() -> None:
    asked: list[str] = []
    with Kit(max_connections_per_address=2) as rig:
        rig.site.on_accept = lambda peer: asked.append(peer.host)
        for _ in range(2):
            peer = Proxied(rig)
            peer.send(V1 + GET)
            assert peer.responses()[0].status == 200
        refused = Proxied(rig)
        refused.send(V1, GET)
        assert refused.responses()[0].reason == "connections-per-address"
        other = Proxied(rig)
        other.send(V1.replace(b"2.43", b"2.44") + GET)
        assert other.responses()[0].status == 200
        assert asked == ["192.0.2.43", "192.0.2.43", "192.0.2.44"]
        rig.peers[0].reset()
        again = Proxied(rig)
        again.send(V1 + GET)
        assert again.responses()[0].status == 200


def test_a_hook_refuses_the_address_told() -> None:
    with Kit() as rig:
        rig.site.on_accept = lambda peer: peer.host != "192.0.2.43"
        peer = Proxied(rig)
        peer.send(V2)
        assert peer.responses()[0].reason == "accept-hook"


def test_where_there_is_no_protocol_the_connection_ends() -> None:
    class Nobody(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    with Kit() as rig:
        peer = Proxied(rig, factory=ProxyProtocolFactory(Nobody(), rig.site.server))
        peer.send(V1 + GET)
        assert peer.closed
        assert rig.site.connection_count == 0


def test_a_refusal_after_the_header_is_read_to_its_end() -> None:
    """The connection lingers as one without a header does: it is no TLS."""
    with Kit(max_body_bytes=10) as rig:
        peer = Proxied(rig)
        peer.send(V1 + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
        assert peer.responses()[0].reason == "body-bytes"
        assert peer.ended
        assert not peer.closed
        peer.half_close()
        assert peer.closed


def test_a_transport_that_keeps_its_protocol_goes_through() -> None:
    """One that is no port's own hands what it reads to whom it was made for."""

    class Wrapper:
        """As ``TLSMemoryBIOProtocol``: its ``protocol`` is not what it feeds."""

        protocol = None

        def __init__(self) -> None:
            self.written: list[bytes] = []

        def getPeer(self) -> Any:
            return IPv4Address("TCP", PROXY, 1)

        def getHost(self) -> Any:
            return IPv4Address("TCP", "127.0.0.1", 80)

        def write(self, data: bytes) -> None:
            self.written.append(data)

        writeSequence = None

    lost: list[Any] = []

    class Echo(Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

        def connectionLost(self, reason: Any = None) -> None:
            lost.append(self.transport.getPeer().host)

    with Kit() as rig:
        factory = ProxyProtocolFactory(Factory.forProtocol(Echo), rig.site.server)
        protocol, transport = factory.buildProtocol(IPv4Address("TCP", PROXY, 1)), Wrapper()
        protocol.makeConnection(transport)
        protocol.dataReceived(V1 + b"a")
        protocol.dataReceived(b"b")
        protocol.connectionLost(None)
        assert transport.written == [b"a", b"b"]
        assert lost == ["192.0.2.43"]


def test_a_told_transport_is_the_transport_but_for_its_ends() -> None:
    class Bare:
        loseWriteConnection = write = writeSequence = staticmethod(lambda *args: "bare")

    class Over:
        write = writeSequence = None

        def __init__(self, transport: Any) -> None:
            self.transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self.transport, name)

    address = IPv4Address("TCP", "192.0.2.43", 1)
    told = ToldTransport(Bare(), address, address)
    assert told.write(b"") == told.loseWriteConnection() == "bare"
    assert (told.getPeer(), told.getHost()) == (address, address)
    assert is_bare(told)
    assert is_bare(Bare())
    assert half_closes(told)
    for above in (Over(told), Over(Bare()), ToldTransport(Over(Bare()), address, address)):
        assert not is_bare(above)
        assert not half_closes(above)
    assert not half_closes(object())


def test_unix_is_trusted_by_its_name() -> None:
    with Kit() as rig:
        factory = ProxyProtocolFactory(rig.site)
        assert not isinstance(factory.buildProtocol(UNIXAddress(None)), HeaderFirst)
        rig.site.trusted_proxies = ["unix"]
        assert isinstance(factory.buildProtocol(UNIXAddress(None)), HeaderFirst)
        assert rig.site.trusted_proxies == ("unix",)


# -- on sockets ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificate"))


class Behind(Loopback):
    """A site behind a proxy on loopback."""

    def __init__(self, kind: str, pem: Path, tmp_path: Path) -> None:
        super().__init__(SAYS_WHO, certificate=pem if "tls" in kind else None)
        self.site.trusted_proxies = ["127.0.0.1", "unix"]
        if kind == "unix":
            self.description = f"unix:{tmp_path / 'http'}"
        self._kind = kind

    def listen(self) -> None:
        if "stock" not in self._kind:
            self.port = result_of(listen(self.reactor, self.description, self.site, proxy_protocol=True))
        else:
            factory: Any = self.site
            if self._certificate is not None:
                options = PrivateCertificate.loadPEM(self._certificate.read_bytes()).options()
                factory = TLSMemoryBIOFactory(options, False, self.site)
            factory = ProxyProtocolFactory(factory, self.site.server)
            self.port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.find()

    def _secure(self, handle: Any) -> Any:
        return handle  # the header goes first


def speak(loop: Behind, client: Client) -> Client:
    """TLS where there is any, over a connection whose header has gone."""
    if loop._certificate is not None:
        client.socket = Loopback._secure(loop, client.socket)
    return client


KINDS = ["fast", "stock", "fast tls", "stock tls", "unix"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("header", [V1, V2], ids=["1", "2"])
@blocking
def test_on_every_port(kind: str, header: bytes, pem: Path, tmp_path: Path) -> None:
    with Behind(kind, pem, tmp_path) as loop:
        client = loop.connect()
        client.send_all(header)
        speak(loop, client)
        for number in range(3):
            client.send_all(GET)
            seen = b"unix" if kind == "unix" else b"127.0.0.1"
            assert client.responses(number + 1)[-1].body == b"192.0.2.43 " + seen
        assert loop.site.connection_count == 1
        client.close()
        until(lambda: not loop.site.connection_count)


@pytest.mark.parametrize("kind", KINDS)
@blocking
def test_on_every_port_without_a_header(kind: str, pem: Path, tmp_path: Path) -> None:
    with Behind(kind, pem, tmp_path) as loop:
        client = loop.connect()
        client.send_all(b"\x16\x03\x01\x00\x05hello" if "tls" in kind else GET)
        assert client.end() == b""
        until(lambda: not loop.site.connection_count)
        assert loop.site.statistics.closed["bad-proxy-header"] == 1


@pytest.mark.parametrize("kind", KINDS)
@blocking
def test_on_every_port_a_drain_ends_it(kind: str, pem: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Behind(kind, pem, tmp_path) as loop:
        client = loop.connect()
        client.send_all(V1[:10])
        loop.accepted(1)
        monkeypatch.setattr("hardhttp.net.proxyprotocol.FIRST_REQUEST_SECONDS", 0)
        done = loop.site.drain()
        loop.site.cleanup_idle_connections()
        result_of(done)
        assert client.end() == b""


@blocking
def test_a_header_byte_by_byte_over_a_socket() -> None:
    with Behind("fast", Path(), Path()) as loop:
        client = loop.connect()
        for byte in V2 + GET:
            client.send_all(bytes([byte]))
            loop.accepted(1)
        assert client.responses(1)[0].body == b"192.0.2.43 127.0.0.1"


@blocking
def test_a_service_takes_headers_at_each_of_its_ports() -> None:
    from twisted.internet import reactor

    site = Site(SAYS_WHO, reactor=reactor)
    site.trusted_proxies = ["127.0.0.1"]
    running = service(site, "tcp:0:interface=127.0.0.1", reactor=reactor, proxy_protocol=True)
    result_of(running.startService())
    loop = Loopback(site)
    loop.port = running.ports[0]
    loop.find()
    client = loop.connect()
    client.send_all(V1 + GET)
    assert client.responses(1)[0].body == b"192.0.2.43 127.0.0.1"
    result_of(running.stopService())
    assert client.end().endswith(b"192.0.2.43 127.0.0.1")


@blocking
def test_files_go_by_sendfile_behind_a_header_too() -> None:
    able: list[bool] = []

    def answer(request: Any) -> bytes:
        able.append(request.channel.sends_files)
        return b""

    with Behind("fast", Path(), Path()) as loop:
        loop.site.resource = Answer(answer)
        client = loop.connect()
        client.send_all(V1 + GET)
        client.responses(1)
        assert able == [True]


def test_factories_start_and_stop_with_what_they_wrap() -> None:
    with Kit() as rig:
        factory = ProxyProtocolFactory(rig.site)
        factory.doStart()
        assert rig.site.server.started
        factory.doStop()
        assert not rig.site.server.started
        assert factory.logPrefix() == "hardhttp"

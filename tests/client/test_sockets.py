"""The agent over real sockets: TCP, Unix and TLS, names, and what is not there."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectionAborted,
    ConnectionRefusedError,
    DNSLookupError,
    NoProtocol,
    UserError,
)
from twisted.internet.interfaces import IResolutionReceiver
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.web.client import BrowserLikePolicyForHTTPS, FileBodyProducer, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Site
from hardhttp.client import Agent, BytesBody, ClientLimits, TLSFailed, reason_of
from hardhttp.net.dial import DialEndpoint, HostEndpoint
from tests.certificates import Authority
from tests.client.rig import Body


class Echo(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        if request.uri == b"/large":
            return b"x" * 3_000_000
        if request.uri == b"/never":
            return NOT_DONE_YET
        return request.uri

    def render_POST(self, request: Any) -> bytes:
        return b"%d %d" % (len(request.content.read()), request.transport.getPeer().port)


@pytest.fixture
def port() -> Iterator[Any]:
    listening = reactor.listenTCP(0, Site(Echo()), interface="127.0.0.1")
    yield listening.getHost().port
    pytest_twisted.blockon(listening.stopListening())


@pytest_twisted.async_yield_fixture
async def agent() -> AsyncIterator[Agent]:
    agent = Agent(reactor)
    before = agent.ledger.snapshot()
    yield agent
    await agent.close()
    assert agent.ledger.snapshot() == before


@pytest_twisted.ensureDeferred
async def test_requests_one_after_another(agent: Agent, port: int) -> None:
    for number in range(5):
        response = await agent.request(b"GET", b"http://127.0.0.1:%d/%d" % (port, number))
        assert await readBody(response) == b"/%d" % number
    assert agent.statistics.opened == 1
    assert agent.statistics.reused == 4


@pytest_twisted.ensureDeferred
async def test_a_body_longer_than_any_buffer(agent: Agent, port: int) -> None:
    response = await agent.request(b"GET", b"http://127.0.0.1:%d/large" % port)
    assert len(await readBody(response)) == 3_000_000
    slow = Body(lambda body, data: (body.transport.pauseProducing(), later(body)))

    def later(body: Body) -> None:
        reactor.callLater(0, body.transport.resumeProducing)

    response = await agent.request(b"GET", b"http://127.0.0.1:%d/large" % port)
    response.deliverBody(slow)
    while slow.end is None:
        await deferLater(reactor, 0.001)
    assert len(slow.data) == 3_000_000
    assert agent.statistics.opened == 1


@pytest_twisted.ensureDeferred
async def test_bodies_of_ours(agent: Agent, port: int, tmp_path: Path) -> None:
    url = b"http://127.0.0.1:%d/" % port
    response = await agent.request(b"POST", url, None, BytesBody(b"x" * 2_000_000))
    size, peer = (await readBody(response)).split()
    assert size == b"2000000"
    path = tmp_path / "file"
    path.write_bytes(b"y" * 1_000_000)
    with path.open("rb") as file:
        response = await agent.request(b"POST", url, None, FileBodyProducer(file))
        assert (await readBody(response)).split() == [b"1000000", peer]  # over the same connection


@pytest_twisted.ensureDeferred
async def test_names_and_addresses(agent: Agent, port: int) -> None:
    response = await agent.request(b"GET", b"http://localhost:%d/name" % port)
    assert await readBody(response) == b"/name"
    for url in (b"http://127.0.0.1:1/", b"http://[::1]:1/", b"http://localhost:1/"):
        with pytest.raises(ConnectionRefusedError) as caught:
            await agent.request(b"GET", url)
        assert reason_of(caught.value) == "connect-refused"


@pytest_twisted.ensureDeferred
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listening = reactor.listenUNIX(path, Site(Echo()))
    for agent, url in (
        (Agent(reactor, unix_socket=path), b"http://example.com/a"),
        (Agent(reactor), b"http+unix://%b/a" % path.replace("/", "%2F").encode()),
    ):
        response = await agent.request(b"GET", url)
        assert await readBody(response) == b"/a"
        await agent.close()
    await listening.stopListening()
    with pytest.raises(ConnectError) as caught:
        await Agent(reactor, unix_socket=path).request(b"GET", b"http://a/")
    assert reason_of(caught.value) == "connect"


@pytest_twisted.ensureDeferred
async def test_cancelled_while_it_waits(agent: Agent, port: int) -> None:
    for url in (b"http://127.0.0.1:%d/never", b"http://localhost:%d/never"):
        asked = agent.request(b"GET", url % port)
        if b"localhost" not in url:
            while agent.statistics.bytes_out == 0:
                await deferLater(reactor, 0.001)
        asked.cancel()
        with pytest.raises(CancelledError):
            await asked


class TLSSite:
    def __init__(self, folder: Path, *names: str) -> None:
        self.authority = Authority(folder)
        issued = self.authority.issue(*names)
        options = PrivateCertificate.loadPEM(issued.certificate + issued.key).options()
        self.listening = reactor.listenSSL(0, Site(Echo()), options, interface="127.0.0.1")
        self.port = self.listening.getHost().port
        self.trust = trustRootFromCertificates([Certificate.loadPEM(self.authority.path.read_bytes())])


@pytest_twisted.ensureDeferred
async def test_tls(tmp_path: Path) -> None:
    site = TLSSite(tmp_path, "localhost")
    good = Agent(reactor, trust_root=site.trust)
    policy = Agent(reactor, tls_policy=BrowserLikePolicyForHTTPS(trustRoot=site.trust))
    stranger = Agent(reactor)
    for agent in (good, policy):
        for path in (b"/a", b"/b"):
            response = await agent.request(b"GET", b"https://localhost:%d%b" % (site.port, path))
            assert await readBody(response) == path
        assert agent.statistics.opened == 1
        response = await agent.request(b"GET", b"https://localhost:%d/large" % site.port)
        assert len(await readBody(response)) == 3_000_000
    for agent, host in ((good, b"127.0.0.1"), (policy, b"127.0.0.1"), (stranger, b"localhost")):
        with pytest.raises(TLSFailed) as caught:
            await agent.request(b"GET", b"https://%b:%d/a" % (host, site.port))
        assert caught.value.reason.value == "tls"
        assert not caught.value.sent
    plain = reactor.listenTCP(0, Site(Echo()), interface="127.0.0.1")
    with pytest.raises(TLSFailed):
        await good.request(b"GET", b"https://localhost:%d/" % plain.getHost().port)
    await plain.stopListening()
    for agent in (good, policy, stranger):
        await agent.close()
        assert agent.ledger.snapshot()["connections"] == 0
    await site.listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_an_address_has_a_certificate_too(tmp_path: Path) -> None:
    site = TLSSite(tmp_path, "127.0.0.1")
    agent = Agent(reactor, trust_root=site.trust)
    response = await agent.request(b"GET", b"https://127.0.0.1:%d/a" % site.port)
    assert await readBody(response) == b"/a"
    with pytest.raises(TLSFailed):
        await agent.request(b"GET", b"https://localhost:%d/a" % site.port)
    await agent.close()
    await site.listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_server_that_answers_before_it_is_asked(port: int) -> None:
    """Its bytes wait in the kernel when the connection is wanted: it is not used."""
    from twisted.internet.protocol import Factory, Protocol

    class Eager(Protocol):
        def dataReceived(self, data: bytes) -> None:
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
            self.transport.write(answer + b"1")
            servers.append(self)

    servers: list[Eager] = []
    listening = reactor.listenTCP(0, Factory.forProtocol(Eager), interface="127.0.0.1")
    agent = Agent(reactor, ClientLimits(total_seconds=5))
    url = b"http://127.0.0.1:%d/" % listening.getHost().port
    await readBody(await agent.request(b"GET", url))
    assert servers[0].transport is not None
    os.write(servers[0].transport.fileno(), b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
    assert await readBody(await agent.request(b"GET", url)) == b"1"
    assert len(servers) == 2
    await agent.close()
    await listening.stopListening()


# -- one address after another -----------------------------------------------------------------


class Resolver:
    """Answers with ``addresses``."""

    def __init__(self, *addresses: Any) -> None:
        self.addresses = addresses

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, **_: Any) -> None:
        assert IResolutionReceiver.providedBy(receiver)
        receiver.resolutionBegan(None)
        for address in self.addresses:
            receiver.addressResolved(address)
        receiver.resolutionComplete()


class Resolving:
    """The reactor, with a resolver of its own."""

    def __init__(self, *addresses: Any) -> None:
        self.nameResolver = Resolver(*addresses)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


def attempts() -> list[Any]:
    """Sockets that are being connected."""
    return [watched for watched in reactor.getWriters() if type(watched).__name__ == "_Attempt"]


def factory() -> Any:
    from twisted.internet.protocol import Factory

    made = Factory.forProtocol(Body)
    made.noisy = False
    return made


@pytest_twisted.ensureDeferred
async def test_the_next_address_is_tried_when_one_fails(port: int) -> None:
    dead, alive = IPv6Address("TCP", "::1", 1), IPv4Address("TCP", "127.0.0.1", port)
    protocol: Any = await HostEndpoint(Resolving(dead, dead, alive), "x", port).connect(factory())
    assert protocol.transport.getPeer() == alive
    protocol.transport.abortConnection()
    with pytest.raises(ConnectionRefusedError):
        await HostEndpoint(Resolving(dead, dead), "x", 1).connect(factory())
    with pytest.raises(DNSLookupError):
        await HostEndpoint(Resolving(), "x", 1).connect(factory())
    await deferLater(reactor, 0)


@pytest_twisted.ensureDeferred
async def test_the_next_address_is_tried_when_one_is_silent(port: int) -> None:
    silent, alive = IPv4Address("TCP", "192.0.2.1", 9), IPv4Address("TCP", "127.0.0.1", port)
    protocol: Any = await HostEndpoint(Resolving(silent, alive), "x", port).connect(factory())
    assert protocol.transport.getPeer() == alive
    protocol.transport.abortConnection()
    assert attempts() == []
    asked = HostEndpoint(Resolving(silent, silent), "x", port).connect(factory())
    assert len(attempts()) == 1
    asked.cancel()
    with pytest.raises(UserError):
        await asked
    assert attempts() == []
    await deferLater(reactor, 0)


@pytest_twisted.ensureDeferred
async def test_a_local_address_may_be_chosen(port: int) -> None:
    endpoint = DialEndpoint(reactor, IPv4Address("TCP", "127.0.0.1", port), ("127.0.0.3", 0))
    protocol: Any = await endpoint.connect(factory())
    assert protocol.transport.getHost().host == "127.0.0.3"
    protocol.transport.abortConnection()
    with pytest.raises(ConnectBindError):
        await DialEndpoint(reactor, IPv4Address("TCP", "127.0.0.1", port), ("192.0.2.1", 0)).connect(factory())
    await deferLater(reactor, 0)


class Made:
    """A factory whose protocol is no good in one way."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.connecting: Any = None
        self.protocol: Any = None

    def buildProtocol(self, address: Any) -> Any:
        if self.how == "none":
            return None
        if self.how == "cancels early":
            self.connecting.cancel()
        self.protocol = protocol = Body()
        protocol.connectionMade = self.connected  # type: ignore[method-assign]
        return protocol

    def connected(self) -> None:
        if self.how == "raises":
            raise ZeroDivisionError
        self.connecting.cancel()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("none", NoProtocol),
        ("raises", ZeroDivisionError),
        ("cancels", UserError),
        ("cancels early", UserError),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_protocol_that_is_no_good(port: int, how: str, error: Any, named: bool) -> None:
    factory: Any = Made(how)
    endpoint: Any = HostEndpoint(Resolving(IPv4Address("TCP", "127.0.0.1", port)), "x", port)
    if not named:
        endpoint = DialEndpoint(reactor, IPv4Address("TCP", "127.0.0.1", port))
    factory.connecting = endpoint.connect(factory)
    with pytest.raises(error):
        await factory.connecting
    for _ in range(2):
        await deferLater(reactor, 0)
    assert attempts() == []
    if how in ("raises", "cancels"):
        assert factory.protocol.end.check(ConnectionAborted)


@pytest_twisted.ensureDeferred
async def test_an_address_of_no_link() -> None:
    for endpoint in (
        DialEndpoint(reactor, IPv6Address("TCP", "fe80::1%nowhere", 1)),
        HostEndpoint(Resolving(IPv6Address("TCP", "fe80::1%nowhere", 1)), "x", 1),
    ):
        with pytest.raises(ConnectError):
            await endpoint.connect(factory())


@pytest.mark.parametrize(
    "uri", [b"http://127.0.0.1:80/", b"http://[::1]:80/", b"https://127.0.0.1/", b"http+unix://%2Frun%2Fs/"]
)
def test_a_reactor_of_memory_connects_nowhere(uri: bytes) -> None:
    """Applications try themselves on Twisted's: what would connect stands in its lists, and no socket is made."""
    clock = MemoryReactorClock()
    agent = Agent(clock)
    asked = agent.request(b"GET", uri)
    asked.addErrback(lambda failure: failure.trap(CancelledError))
    (connecting,) = [*clock.tcpClients, *clock.unixClients]
    assert not clock.readers
    assert not clock.writers
    protocol = connecting[1 if b"unix" in uri else 2].buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    if not uri.startswith(b"https"):
        assert transport.value().startswith(b"GET / HTTP/1.1\r\n")
        protocol.dataReceived(b"HTTP/1.1 204 Yes\r\n\r\n")
        assert asked.result.code == 204  # type: ignore[attr-defined]
    asked.cancel()
    agent.close()
    clock.advance(100)
    assert clock.getDelayedCalls() == []

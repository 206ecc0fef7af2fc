"""The tunnel, in memory: every answer at every split, every end at every moment."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.address import HostnameAddress
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hardhttp.client.errors import ClientReason
from hardhttp.client.proxies import Proxy
from hardhttp.client.tunnel import MAX_BODY_PIECE_BYTES, TunnelEndpoint
from hardhttp.errors import Reason
from hardhttp.testing import every_split

PROXY = Proxy.parse("http://user:hunter2@proxy:3128")
SECONDS = 10
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Socket(StringTransport):
    """Says whether it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


@implementer(IStreamClientEndpoint)
class Via:
    """The way to the proxy: reached when told."""

    def __init__(self) -> None:
        self.cancelled = False
        self.socket = Socket()
        self.attempt: Deferred[Any] = Deferred(self._cancel)
        self.outer: Any = None

    def _cancel(self, _: Any) -> None:
        self.cancelled = True

    def connect(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.attempt

    def reach(self) -> None:
        self.outer = self.factory.buildProtocol(None)
        self.outer.makeConnection(self.socket)
        self.attempt.callback(self.outer)


class Inner(Protocol):
    """What is inside a tunnel, and what became of it."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Any = None
        self.half: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Inner):
    def readConnectionLost(self) -> None:
        self.half.append("read")

    def writeConnectionLost(self) -> None:
        self.half.append("write")


class InnerFactory(Factory):
    noisy = False

    def __init__(self, make: Any = Inner) -> None:
        self.make = make
        self.addresses: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        self.addresses.append(addr)
        return self.make()


class Try:
    """One attempt through one tunnel."""

    def __init__(self, proxy: Proxy = PROXY, host: str = "origin", make: Any = Inner, **options: Any) -> None:
        self.clock = Clock()
        self.via = Via()
        self.factory = InnerFactory(make)
        self.endpoint = TunnelEndpoint(self.clock, proxy, host, 443, SECONDS, via=self.via, **options)
        self.results: list[Any] = []
        self.opened = self.endpoint.connect(self.factory)
        self.opened.addBoth(self.results.append)

    @property
    def socket(self) -> Socket:
        return self.via.socket

    def answer(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.socket.disconnecting:
                return
            self.via.outer.dataReceived(piece)

    @property
    def error(self) -> Any:
        (failure,) = self.results
        return failure.value

    @property
    def inner(self) -> Any:
        (inner,) = self.results
        assert isinstance(inner, Inner), inner
        return inner

    def end(self) -> None:
        """The socket has ended; then nothing may be left."""
        if self.via.outer is not None:
            self.via.outer.connectionLost(Failure(ConnectionDone()))
        assert self.clock.getDelayedCalls() == []
        assert self.factory.numPorts == 0
        assert len(self.results) == 1


@contextmanager
def reached(**options: Any) -> Iterator[Try]:
    tried = Try(**options)
    tried.via.reach()
    yield tried
    tried.end()


# -- what is asked


def test_request() -> None:
    with reached() as tried:
        credentials = base64.b64encode(b"user:hunter2")
        assert tried.socket.value() == (
            b"CONNECT origin:443 HTTP/1.1\r\nHost: origin:443\r\nProxy-Authorization: Basic "
            + credentials
            + b"\r\n\r\n"
        )
        tried.answer(OK)
    with reached(proxy=Proxy.parse("proxy"), host="2001:db8::1") as tried:
        assert tried.socket.value() == b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
        tried.answer(OK)


@pytest.mark.parametrize("host", ["", "a b", "a\r\nX: y", "a/b", "a@b", "[::1]", "h\xf6st", "a\0"])
def test_host_that_cannot_be_asked_for(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        TunnelEndpoint(Clock(), PROXY, host, 443, SECONDS, via=Via())


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_port_that_cannot_be_asked_for(port: int) -> None:
    with pytest.raises(ValueError):
        TunnelEndpoint(Clock(), PROXY, "origin", port, SECONDS, via=Via())


def test_no_secret_is_shown() -> None:
    with reached() as tried:
        tried.answer(b"HTTP/1.1 407 No\r\n\r\nhunter2")
        for text in (repr(tried.endpoint), str(tried.error), repr(tried.error), tried.results[0].getTraceback()):
            assert "hunter2" not in text
            assert base64.b64encode(b"user:hunter2").decode() not in text
    assert verifyObject(IStreamClientEndpoint, tried.endpoint)


# -- tunnels that open

OPENING = [
    OK,
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 200\r\n\r\n",
    b"HTTP/1.1 299 \r\nVia: 1.1 a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",  # RFC 9110, 9.3.6: to be ignored
    b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 7 + OK,
]


@pytest.mark.parametrize("answer", OPENING)
def test_opens_at_every_split(answer: bytes) -> None:
    for pieces in every_split(answer):
        with reached() as tried:
            tried.answer(*pieces[:-1])
            assert tried.results == []
            tried.answer(pieces[-1])
            inner = tried.inner
            assert tried.factory.addresses == [HostnameAddress(b"origin", 443)]
            assert tried.clock.getDelayedCalls() == []
            tried.answer(b"one", b"two")
            assert inner.received == b"onetwo"
            inner.transport.write(b"mine")
            assert tried.socket.value().endswith(b"\r\n\r\nmine")
            assert inner.lost is None
        assert inner.lost.check(ConnectionDone)


def test_bytes_behind_the_answer() -> None:
    """They are the tunnel's only where the peer inside speaks first; else there is none."""
    for pieces in every_split(OK + b"220 hello"):
        with reached(peer_speaks_first=True) as tried:
            tried.answer(*pieces)
            assert tried.inner.received == b"220 hello"
    with reached() as tried:
        tried.answer(OK + b"H")
        assert tried.error.reason is ClientReason.PROXY_EARLY
        assert tried.error.body == b"H"
        assert tried.socket.aborted


def test_told() -> None:
    told: list[Any] = []
    with reached(told=told.append) as tried:
        tried.answer(b"HTTP/1.1 200 OK\r\nProxy-Connection: keep-alive, Close\r\nVia:  a \r\n\r\n")
    (answer,) = told
    assert answer.closes
    assert answer.get(b"via") == [b"a"]
    with reached(told=told.append) as tried:
        tried.answer(OK)
    assert not told[1].closes


def test_half_close_reaches_those_who_know_it() -> None:
    with reached(make=HalfCloseable) as tried:
        tried.answer(OK)
        assert IHalfCloseableProtocol.providedBy(tried.via.outer)
        tried.via.outer.readConnectionLost()
        tried.via.outer.writeConnectionLost()
        assert tried.inner.half == ["read", "write"]
    with reached() as tried:
        tried.answer(OK)
        assert not IHalfCloseableProtocol.providedBy(tried.via.outer)


def test_socks_opens_at_every_split() -> None:
    for pieces in every_split(b"\5\0\0\1\0\0\0\0\0\0"):
        with reached(proxy=Proxy.parse("socks5h://user:hunter2@proxy")) as tried:
            tried.answer(b"\5\2", b"\1\0")
            assert tried.socket.value() == b"\5\2\0\2" + b"\1\4user\7hunter2" + b"\5\1\0\3\6origin\1\xbb"
            tried.answer(*pieces)
            tried.answer(b"one", b"two")
            assert tried.inner.received == b"onetwo"
            assert tried.clock.getDelayedCalls() == []


def test_socks_of_a_peer_that_speaks_first() -> None:
    with reached(proxy=Proxy.parse("socks5://proxy"), peer_speaks_first=True) as tried:
        tried.answer(b"\5\0", b"\5\0\0\1\0\0\0\0\0\0" + b"220 hello")
        assert tried.inner.received == b"220 hello"
    with reached(proxy=Proxy.parse("socks5://proxy")) as tried:
        tried.answer(b"\5\0", b"\5\0\0\1\0\0\0\0\0\0" + b"220 hello")
        assert tried.error.reason is ClientReason.PROXY_EARLY
        assert tried.socket.aborted


# -- tunnels that do not

REFUSALS: list[tuple[bytes, Any, int | None]] = [
    (b"HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close\r\n\r\n", ClientReason.PROXY_REFUSED, 407),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nbody!", ClientReason.PROXY_REFUSED, 403),
    (b"HTTP/1.1 302 Found\r\nLocation: https://evil/\r\n\r\n", ClientReason.PROXY_REFUSED, 302),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\n\r\n", ClientReason.PROXY_REFUSED, 503),
    (b"HTTP/1.1 101 Switching\r\n\r\n", Reason.BAD_HEADER, None),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, Reason.HEADERS, None),
    (b"HTTP/2 200 OK\r\n\r\n", Reason.BAD_VERSION, None),
    (b"SSH-2.0-OpenSSH_9.2\r\n", Reason.BAD_VERSION, None),
    (b"\r\nHTTP/1.1 200 OK\r\n\r\n", Reason.BAD_VERSION, None),
    (b"HTTP/1.1 20 OK\r\n\r\n", Reason.BAD_VERSION, None),
    (b"HTTP/1.1 2000 OK\r\n\r\n", Reason.BAD_VERSION, None),
    (b"HTTP/1.1 600 OK\r\n\r\n", Reason.BAD_VERSION, None),
    (b"HTTP/1.1 200 O\0K\r\n\r\n", Reason.BAD_VERSION, None),
    (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", Reason.BAD_HEADER, None),
    (b"HTTP/1.1 200 OK\r\nName : x\r\n\r\n", Reason.BAD_HEADER, None),
    (b"HTTP/1.1 200 OK\r\nName: \nx\r\n\r\n", Reason.BAD_HEADER, None),
]


@pytest.mark.parametrize(("answer", "reason", "status"), REFUSALS)
def test_refused_at_every_split(answer: bytes, reason: Any, status: int | None) -> None:
    for pieces in every_split(answer):
        with reached() as tried:
            tried.answer(*pieces)
            assert (tried.error.reason, tried.error.status) == (reason, status)
            assert tried.error.proxy is PROXY
            assert tried.socket.aborted
            assert tried.clock.getDelayedCalls() == []
            assert tried.factory.addresses == []


def test_refusal_tells_what_it_knows() -> None:
    with reached() as tried:
        fields = b'Proxy-Authenticate: Basic realm="x"\r\n'
        tried.answer(b"HTTP/1.1 407 No\r\n" + fields + b"\r\n" + b"x" * (MAX_BODY_PIECE_BYTES + 1))
        assert tried.error.body == b"x" * MAX_BODY_PIECE_BYTES
        assert tried.error.fields == ((b"proxy-authenticate", b'Basic realm="x"'),)
        assert str(tried.error) == (
            "proxy-refused: no tunnel through http://proxy:3128: the answer was 407"
        )  # fmt: skip


@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_head_at_its_bound_and_one_past_it(interim: bytes) -> None:
    def answer(size: int) -> bytes:
        begin = interim + b"HTTP/1.1 200 OK\r\nX: "
        return begin + b"x" * (size - len(begin) - 4) + b"\r\n\r\n"

    for pieces in every_split(answer(90)):
        with reached(max_head_bytes=90) as tried:
            tried.answer(*pieces)
            assert tried.inner
    for pieces in every_split(answer(91)):
        with reached(max_head_bytes=90) as tried:
            tried.answer(*pieces)
            assert tried.error.reason is Reason.HEAD_BYTES
            assert tried.socket.aborted


def test_head_without_end_is_refused_at_the_bound() -> None:
    with reached(max_head_bytes=100) as tried:
        tried.answer(b"HTTP/1.1 200 OK\r\nX: ".ljust(100, b"x"))
        assert tried.results == []
        tried.answer(b"x")
        assert tried.error.reason is Reason.HEAD_BYTES


@pytest.mark.parametrize("size", range(len(OK)))
def test_proxy_that_ends_in_its_answer(size: int) -> None:
    tried = Try()
    tried.via.reach()
    tried.answer(*([OK[:size]] if size else []))
    tried.via.outer.connectionLost(Failure(ConnectionLost()))
    assert tried.error.reason is ClientReason.PROXY_CLOSED
    assert isinstance(tried.error.__cause__, ConnectionLost)
    assert tried.clock.getDelayedCalls() == []
    assert tried.factory.numPorts == 0


def test_proxy_that_is_not_reached() -> None:
    tried = Try()
    tried.via.attempt.errback(ConnectionRefusedError())
    assert tried.error.reason is ClientReason.PROXY_UNREACHED
    assert isinstance(tried.error.__cause__, ConnectionRefusedError)
    tried.end()


@pytest.mark.parametrize("said", [None, b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_deadline_that_a_trickle_cannot_move(said: bytes | None) -> None:
    tried = Try()
    if said is not None:
        tried.via.reach()
        for byte in said:
            tried.answer(bytes([byte]))
    tried.clock.advance(SECONDS - 0.01)
    assert tried.results == []
    tried.clock.advance(0.01)
    assert tried.error.reason is ClientReason.PROXY_SECONDS
    assert tried.via.cancelled is (said is None)
    assert tried.socket.aborted is (said is not None)
    tried.end()


def test_each_phase_has_a_deadline_of_its_own() -> None:
    tried = Try(connect_seconds=3)
    tried.clock.advance(2.9)
    tried.via.reach()
    tried.clock.advance(SECONDS - 0.1)
    assert tried.results == []
    tried.clock.advance(0.1)
    assert "no whole answer within 10 seconds" in str(tried.error)
    tried.end()
    tried = Try(connect_seconds=3)
    tried.clock.advance(3)
    assert "not reached within 3 seconds" in str(tried.error)
    assert tried.via.cancelled
    tried.end()


@pytest.mark.parametrize("size", [None, *range(len(OK))])
def test_cancelled_at_every_moment(size: int | None) -> None:
    tried = Try()
    if size is not None:
        tried.via.reach()
        tried.answer(*([OK[:size]] if size else []))
    tried.opened.cancel()
    assert isinstance(tried.error, CancelledError)
    assert tried.via.cancelled is (size is None)
    assert tried.socket.aborted is (size is not None)
    assert tried.clock.getDelayedCalls() == []
    if size is not None:
        tried.via.outer.dataReceived(OK[size:])  # what was on its way
    tried.end()
    assert tried.factory.addresses == []


def test_reached_in_the_moment_of_the_cancel() -> None:
    """A way that cannot be cancelled any more: what it brings is not taken, or closed."""
    for built in (False, True):
        tried = Try()
        tried.via.attempt._canceller = None
        outer = tried.via.factory.buildProtocol(None) if built else None
        tried.opened.cancel()
        if outer is None:
            assert tried.via.factory.buildProtocol(None) is None
        else:
            outer.makeConnection(tried.socket)
            assert tried.socket.aborted
            assert tried.socket.value() == b""
            tried.via.outer = outer
        tried.end()


# -- what is inside misbehaves


def test_factory_without_a_protocol() -> None:
    with reached(make=lambda: None) as tried:
        tried.answer(OK)
        assert isinstance(tried.error, NoProtocol)
        assert tried.socket.aborted


class Raises(Inner):
    def connectionMade(self) -> None:
        raise RuntimeError("made")


def test_what_raises_costs_its_tunnel() -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("made")

    for options in ({"make": fail}, {"told": fail}, {"make": Raises}):
        with reached(**options) as tried:
            tried.answer(OK)
            assert str(tried.error) == "made"
            assert tried.socket.aborted


def test_cancelled_by_what_is_told_or_built_or_made() -> None:
    tried: Any = None

    class Cancels(Inner):
        def connectionMade(self) -> None:
            tried.opened.cancel()

    def told(_: Any) -> None:
        tried.opened.cancel()

    never = Inner()

    def built() -> Inner:
        tried.opened.cancel()
        return never

    for options in ({"told": told}, {"make": built}, {"make": Cancels}):
        tried = Try(**options)
        tried.via.reach()
        tried.answer(OK)
        assert isinstance(tried.error, CancelledError)
        assert tried.socket.aborted
        tried.end()
    assert never.transport is None
    assert never.lost is None


def test_way_that_raises() -> None:
    class Broken(Via):
        def connect(self, factory: Any) -> Deferred[Any]:
            raise RuntimeError("no way")

    results: list[Any] = []
    clock = Clock()
    TunnelEndpoint(clock, PROXY, "origin", 443, SECONDS, via=Broken()).connect(InnerFactory()).addBoth(results.append)
    assert results[0].value.reason is ClientReason.PROXY_UNREACHED
    assert clock.getDelayedCalls() == []


def test_way_that_answers_at_once() -> None:
    """Everything may happen within ``connect``."""

    class Immediate(Via):
        def connect(self, factory: Any) -> Deferred[Any]:
            outer = factory.buildProtocol(None)
            outer.makeConnection(self.socket)
            outer.dataReceived(OK)
            self.outer = outer
            return succeed(outer)

    results: list[Any] = []
    clock = Clock()
    TunnelEndpoint(clock, PROXY, "origin", 443, SECONDS, via=Immediate()).connect(InnerFactory()).addBoth(
        results.append
    )
    assert isinstance(results[0], Inner)
    assert clock.getDelayedCalls() == []

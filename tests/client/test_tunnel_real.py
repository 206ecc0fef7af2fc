"""The tunnel over real sockets: through the kit's proxies, through TLS in TLS, and through real programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.web.client import readBody

from hardhttp.client import Agent
from hardhttp.client.errors import ClientReason
from hardhttp.client.proxies import Proxy
from hardhttp.client.tunnel import TunnelEndpoint, TunnelError
from hardhttp.errors import Reason
from hardhttp.testing.misbehaving import Peer, serve
from tests.client.trust import Trust
from tests.listening import free_port

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10.0
PATIENCE_TURNS = 2000


class Inside(Protocol):
    """Asks once, and keeps what comes."""

    transport: Any = None

    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(GET)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)


async def turns(condition: Any) -> None:
    for _ in range(PATIENCE_TURNS):
        if condition():
            return
        await deferLater(reactor, 0.001)
    raise AssertionError("it does not come about")


@asynccontextmanager
async def peers(trust: Trust, name: str, *, proxy_tls: bool = False) -> AsyncIterator[tuple[Peer, Peer]]:
    """An origin that speaks TLS, and a proxy that behaves as ``name`` says."""
    origin = serve(reactor, "sound", context=trust.server)
    proxy = serve(reactor, name, context=trust.server if proxy_tls else None)
    try:
        yield origin, proxy
        await turns(lambda: proxy.connections.open == 0 and origin.connections.open == 0)
    finally:
        await proxy.stop()
        await origin.stop()


def through(proxy: str, trust: Trust, host: str, port: int, seconds: float = SECONDS) -> Any:
    """TLS to ``host:port`` in a tunnel."""
    parsed = Proxy.parse(proxy)
    tunnel = TunnelEndpoint(reactor, parsed, host, port, seconds, tls=trust.to(parsed.host))
    return wrapClientTLS(trust.to(host), tunnel)


async def ask(endpoint: Any) -> bytes:
    """What an origin answers; the connection is closed."""
    inside = await connectProtocol(endpoint, Inside())
    await turns(lambda: inside.received.endswith(b"hello"))
    inside.transport.loseConnection()
    await inside.lost
    return bytes(inside.received)


@pytest.mark.parametrize("name", ["tunnel", "tunnel-closing"])
@pytest.mark.parametrize("proxy_tls", [False, True])
@ensureDeferred
async def test_through(name: str, proxy_tls: bool, tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    async with peers(trust, name, proxy_tls=proxy_tls) as (origin, proxy):
        url = proxy.url.replace("://", "://user:hunter2@")
        assert (await ask(through(url, trust, "127.0.0.1", origin.port))).startswith(b"HTTP/1.1 200")
        (asked,) = proxy.requests
        assert asked.method == b"CONNECT"
        assert asked.get(b"proxy-authorization") == Proxy.parse(url).authorization
        assert [request.fields for request in origin.requests] == [((b"host", b"a"),)]


FAILURES: list[tuple[str, Any]] = [
    ("connect-407-held", ClientReason.PROXY_REFUSED),
    ("connect-refused-endlessly", ClientReason.PROXY_REFUSED),
    ("connect-cut", ClientReason.PROXY_CLOSED),
    ("connect-reset", ClientReason.PROXY_CLOSED),
    ("connect-endless", Reason.HEAD_BYTES),
    ("connect-informational", Reason.HEADERS),
    ("connect-with-body", ClientReason.PROXY_EARLY),
    ("connect-silent", ClientReason.PROXY_SECONDS),
    ("connect-half", ClientReason.PROXY_SECONDS),
    ("connect-trickled", ClientReason.PROXY_SECONDS),
]
SOCKS_FAILURES: list[tuple[str, Any]] = [
    ("socks-refused-held", ClientReason.PROXY_REFUSED),
    ("socks-no-way", ClientReason.PROXY_REFUSED),
    ("socks-unoffered", Reason.BAD_HEADER),
    ("socks-other-version", Reason.BAD_VERSION),
    ("socks-early", Reason.BAD_HEADER),
    ("socks-cut", ClientReason.PROXY_CLOSED),
    ("socks-silent", ClientReason.PROXY_SECONDS),
    ("socks-half", ClientReason.PROXY_SECONDS),
    ("socks-trickled", ClientReason.PROXY_SECONDS),
]


@pytest.mark.parametrize(
    ("name", "reason", "proxy_tls"),
    [(*failure, proxy_tls) for failure in FAILURES for proxy_tls in (False, True)]
    + [(*failure, False) for failure in SOCKS_FAILURES],
)
@ensureDeferred
async def test_no_way_through(name: str, reason: Any, proxy_tls: bool, tmp_path: Path) -> None:
    """The connection is gone by itself, and the proxy has not closed it."""
    trust = Trust(tmp_path)
    async with peers(trust, name, proxy_tls=proxy_tls) as (origin, proxy):
        seconds = 0.1 if reason is ClientReason.PROXY_SECONDS else SECONDS
        with pytest.raises(TunnelError) as raised:
            await ask(through(proxy.url, trust, "127.0.0.1", origin.port, seconds))
        assert raised.value.reason is reason
        await turns(lambda: proxy.connections.open == 0)
        assert origin.connections.ever == 0


@ensureDeferred
async def test_proxy_that_nobody_vouches_for(tmp_path: Path) -> None:
    trust, other = Trust(tmp_path), Trust(tmp_path)
    async with peers(trust, "tunnel", proxy_tls=True) as (origin, proxy):
        with pytest.raises(TunnelError) as raised:
            await ask(through(proxy.url, other, "127.0.0.1", origin.port))
        assert raised.value.reason is ClientReason.PROXY_CLOSED
        assert "certificate" in str(raised.value.__cause__)
        assert not proxy.requests


@ensureDeferred
async def test_proxy_that_is_not_there(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    gone = serve(reactor, "sound")
    await gone.stop()
    with pytest.raises(TunnelError) as raised:
        await ask(through(gone.url, trust, "127.0.0.1", 1))
    assert raised.value.reason is ClientReason.PROXY_UNREACHED


# -- real programs


@pytest.fixture
def running() -> Iterator[Any]:
    """Starts programs, and ends them."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(*words: str) -> None:
        processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    yield run
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def listening(port: int) -> None:
    for _ in range(1000):
        try:
            protocol = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", port), Protocol())
        except Exception:
            await deferLater(reactor, 0.01)
        else:
            protocol.transport.loseConnection()  # type: ignore[union-attr]
            return
    raise AssertionError("the program does not listen")


def program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path is not None, f"apt-get install {name}"
    return path


@pytest.mark.slow
@ensureDeferred
async def test_tinyproxy(running: Any, tmp_path: Path) -> None:
    trust, port = Trust(tmp_path), free_port()
    configuration = tmp_path / "tinyproxy.conf"
    configuration.write_text(f"Port {port}\nListen 127.0.0.1\nTimeout 60\nBasicAuth user hunter2\n")
    running(program("tinyproxy"), "-d", "-c", str(configuration))
    await listening(port)
    origin = serve(reactor, "sound", context=trust.server)
    answer = await ask(through(f"http://user:hunter2@127.0.0.1:{port}", trust, "127.0.0.1", origin.port))
    assert answer.startswith(b"HTTP/1.1 200")
    for wrong in ("", "user:wrong@"):
        with pytest.raises(TunnelError) as raised:
            await ask(through(f"http://{wrong}127.0.0.1:{port}", trust, "127.0.0.1", origin.port))
        # tinyproxy says 401 to credentials that are wrong, and 407 where there are none.
        assert raised.value.status in (401, 407)
    await origin.stop()
    with pytest.raises(TunnelError) as raised:
        await ask(through(f"http://user:hunter2@127.0.0.1:{port}", trust, "127.0.0.1", origin.port))
    assert raised.value.status == 500


SQUID = """\
http_port 127.0.0.1:{port}
https_port 127.0.0.1:{secure} tls-cert={pem}
pid_filename {folder}/squid.pid
cache_log {folder}/cache.log
access_log none
cache deny all
coredump_dir {folder}
visible_hostname proxy.example
shutdown_lifetime 0 seconds
pinger_enable off
acl closed port {closed}
http_access deny closed
http_access allow all
"""


@pytest.mark.slow
@ensureDeferred
async def test_squid(running: Any, tmp_path: Path) -> None:
    """In clear and over TLS; what it forbids is 403, and its page says so."""
    trust = Trust(tmp_path)
    port, secure, closed = free_port(), free_port(), free_port()
    tmp_path.chmod(0o777)  # it gives up root for a user of its own
    for above in (*tmp_path.parents,):
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    trust.pem.chmod(0o644)
    configuration = tmp_path / "squid.conf"
    configuration.write_text(SQUID.format(port=port, secure=secure, closed=closed, pem=trust.pem, folder=tmp_path))
    running(program("squid"), "-N", "-f", str(configuration))
    await listening(port)
    origin = serve(reactor, "sound", context=trust.server)
    for proxy in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"):
        assert (await ask(through(proxy, trust, "127.0.0.1", origin.port))).startswith(b"HTTP/1.1 200")
        with pytest.raises(TunnelError) as raised:
            await ask(through(proxy, trust, "127.0.0.1", closed))
        assert raised.value.status == 403
        assert (b"x-squid-error", b"ERR_ACCESS_DENIED 0") in raised.value.fields
    plain = serve(reactor, "sound")
    for proxy in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}"):
        agent = Agent(reactor, trust_root=trust.root, proxy=proxy)
        for peer in (plain, origin, plain, origin):
            response = await agent.request(b"GET", peer.url.encode())
            assert await readBody(response) == b"hello"
        assert all(asked.get(b"via") for asked in plain.requests)
        assert not any(asked.get(b"via") for asked in origin.requests)
        await agent.close()
    await plain.stop()
    await origin.stop()


@pytest.mark.slow
@ensureDeferred
async def test_microsocks(running: Any, tmp_path: Path) -> None:
    """A tunnel and an agent's requests, to a name and to addresses of both kinds; what it refuses is told."""
    trust, port, closed = Trust(tmp_path), free_port(), free_port()
    running(program("microsocks"), "-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "hunter2")
    await listening(port)
    plain, origin = serve(reactor, "sound"), serve(reactor, "sound", context=trust.server)
    url = f"socks5://user:hunter2@127.0.0.1:{port}"
    assert (await ask(through(url, trust, "127.0.0.1", origin.port))).startswith(b"HTTP/1.1 200")
    for wrong, said in (("", "it wants a user and a password"), ("user:wrong@", "not those it knows")):
        with pytest.raises(TunnelError, match=said) as raised:
            await ask(through(f"socks5h://{wrong}127.0.0.1:{port}", trust, "127.0.0.1", origin.port))
        assert raised.value.reason is ClientReason.PROXY_REFUSED
    with pytest.raises(TunnelError, match="the connection is refused"):
        await ask(through(url, trust, "127.0.0.1", closed))
    agent = Agent(reactor, trust_root=trust.root, proxy=url)
    for _ in range(2):
        for asked in (plain.url, origin.url, plain.url.replace("127.0.0.1", "localhost")):
            assert await readBody(await agent.request(b"GET", asked.encode())) == b"hello"
    assert (plain.connections.ever, origin.connections.ever) == (2, 2)  # one of each host's, and the tunnel above
    await agent.close()
    await plain.stop()
    await origin.stop()


# -- nothing waits for the collector

COLLECTOR = """
import gc, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.task import react, deferLater
from twisted.internet.defer import Deferred
from tests.client.test_tunnel_real import TunnelError, Trust, ask, peers, through, turns

async def work():
    trust = Trust(Path(sys.argv[1]))
    gc.collect(); gc.freeze(); gc.disable()
    for name in ("tunnel", "connect-407-held", "connect-cut", "connect-silent", "connect-with-body", "socks",
                 "socks-wrong-password", "socks-early", "socks-silent"):
        async with peers(trust, name) as (origin, proxy):
            url = proxy.url.replace("://", "://user:hunter2@")
            for _ in range(3):
                try:
                    await ask(through(url, trust, "127.0.0.1", origin.port, 0.05 if "silent" in name else 10))
                except TunnelError:
                    pass
            await turns(lambda: proxy.connections.open == 0)
    await deferLater(reactor, 0)
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    kinds = {type(o) for o in gc.garbage if type(o).__module__.startswith("hardhttp.")}
    ours = {kind.__name__ for kind in kinds if not kind.__module__.startswith("hardhttp.testing.")}
    print("left:", sorted(ours))

react(lambda reactor: Deferred.fromCoroutine(work()))
"""


@pytest.mark.slow
def test_nothing_waits_for_the_collector(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECTOR, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "left: []\n", done.stdout + done.stderr

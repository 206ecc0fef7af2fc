"""The misbehaving peer: every behaviour is talked to and stopped, every bound of it reached, and nothing is left."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from hardhttp.testing.misbehaving import CATALOGUE, Conversation, Peer, Role, answer, bodies, serve
from hardhttp.testing.misbehaving.__main__ import Options, listing
from hardhttp.testing.misbehaving.catalogue import behaviour
from tests.client.trust import Trust

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CONNECT = b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"
SOCKS = b"\5\1\0" + b"\5\1\0\1\x7f\0\0\1\0\1"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
BEGINS = {Role.ORIGIN: GET, Role.PROXY: CONNECT, Role.SOCKS: SOCKS, Role.HTTP2: PREFACE + b"\0\0\1\1\5\0\0\0\1\x82"}
ROOT = Path(__file__).resolve().parents[2]


class Client(Protocol):
    """Sends, and keeps what comes."""

    transport: Any = None

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: Deferred[None] = Deferred()
        self.ended = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = True
        self.lost.callback(None)


async def turns(condition: Any, patience: int = 2000) -> None:
    """Let the reactor turn until ``condition()`` holds."""
    for _ in range(patience):
        if condition():
            return
        await deferLater(reactor, 0.001)
    raise AssertionError("it does not come about")


@asynccontextmanager
async def talking(behaviour: Any, **options: Any) -> AsyncIterator[tuple[Peer, Client]]:
    peer = serve(reactor, behaviour, **options)
    client = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", peer.port), Client())
    try:
        yield peer, client
    finally:
        client.transport.resumeProducing()
        await peer.stop()
        await client.lost
    assert peer.connections.open == 0
    await peer.stop()


@pytest.mark.parametrize("name", CATALOGUE)
@ensureDeferred
async def test_each_is_talked_to_and_stopped(name: str) -> None:
    async with talking(name) as (peer, client):
        client.transport.write(BEGINS[CATALOGUE[name].role])
        if name != "h2-settings-never":  # it does not even read
            await turns(lambda: peer.requests or client.received or client.ended)
        assert peer.connections.ever == 1
        if client.received and CATALOGUE[name].role not in (Role.HTTP2, Role.SOCKS):
            assert client.received.startswith(b"HTTP/1.")


@pytest.mark.parametrize("name", CATALOGUE)
@ensureDeferred
async def test_each_is_stopped_before_it_begins(name: str) -> None:
    async with talking(name):
        pass


@pytest.mark.parametrize("name", ["head-endless", "body-large", "bomb-gzip", "connect-refused-endlessly"])
@ensureDeferred
async def test_client_that_does_not_read(name: str) -> None:
    """The peer waits for it, holds a bounded amount, and can be stopped."""
    async with talking(name) as (peer, client):
        client.transport.pauseProducing()
        client.transport.write(GET)
        await turns(lambda: peer.connections.sent_bytes > 100_000)
        assert peer.connections.sent_bytes < 16 * 1024 * 1024


def test_each_is_described() -> None:
    text = listing()
    for name, entry in CATALOGUE.items():
        assert name in text
        assert entry.does.endswith((".", "with."))
        assert entry.sound.startswith("A sound client ")
        assert entry.is_possible
    assert len(CATALOGUE) >= 60


def test_what_is_not_described_is_refused() -> None:
    async def undescribed(talk: Conversation) -> None:
        """It does something."""

    async def sound(talk: Conversation) -> None:
        """It does something else.

        A sound client is not confused.
        """

    for talk, said in ((undescribed, "say what"), (sound, "there already")):
        with pytest.raises(ValueError, match=said):
            behaviour()(talk)
    assert CATALOGUE["sound"].talk is not sound


def test_unknown_name() -> None:
    with pytest.raises(LookupError, match="connect-silent"):
        serve(reactor, "connect-silence")


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardhttp.testing.misbehaving.catalogue.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="bomb-br needs brotli"):
        serve(reactor, "bomb-br")


@ensureDeferred
async def test_one_of_ones_own() -> None:
    async def echo(talk: Conversation) -> None:
        asked = await talk.request()
        talk.send(answer(asked.method + b" " + asked.body, b"X-Was: " + (asked.get(b"x") or b"")))

    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: 1\r\nX: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    sized = b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
    for request, expected in ((chunked, b"POST 2\r\nhi\r\n0\r\n\r\n"), (sized, b"PUT hi")):
        async with talking(echo) as (peer, client):
            client.transport.write(request)
            await client.lost
            client.lost = Deferred()
            client.lost.callback(None)
            assert client.received.endswith(b"\r\n\r\n" + expected)
            assert (peer.connections.received_bytes, peer.connections.sent_bytes) == (
                len(request),
                len(client.received),
            )


@pytest.mark.parametrize(
    "request_", [b"x" * 70_000, b"GET / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 2**21]
)
@ensureDeferred
async def test_client_that_sends_too_much(request_: bytes) -> None:
    async with talking("sound") as (_, client):
        client.transport.write(request_)
        await turns(lambda: client.ended)


@ensureDeferred
async def test_time_of_a_connection_is_bounded() -> None:
    async with talking("head-silent", max_seconds=0.05) as (peer, client):
        client.transport.write(GET)
        await turns(lambda: client.ended)
        assert peer.connections.open == 0


@ensureDeferred
async def test_long_pause_ends_with_the_connection() -> None:
    """Or its timer would be found after this test."""

    async def sleeps(talk: Conversation) -> None:
        await talk.pause(1000)

    async with talking(sleeps) as (peer, _):
        await turns(lambda: peer.connections.open == 1)


@ensureDeferred
async def test_bytes_of_a_connection_are_bounded() -> None:
    async with talking("head-endless", max_bytes=200_000) as (_, client):
        client.transport.write(GET)
        await turns(lambda: client.ended)
        assert len(client.received) <= 200_000


@ensureDeferred
async def test_connections_are_bounded() -> None:
    async with talking("head-silent", max_connections=1) as (peer, _client):
        second = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", peer.port), Client())
        await second.lost
        assert peer.connections.ever == 2
        assert peer.connections.open == 1


@ensureDeferred
async def test_over_tls(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    peer = serve(reactor, "sound", context=trust.server)
    assert peer.url == f"https://127.0.0.1:{peer.port}/"
    endpoint = wrapClientTLS(trust.to("127.0.0.1"), HostnameEndpoint(reactor, "127.0.0.1", peer.port))
    client = await connectProtocol(endpoint, Client())
    client.transport.write(GET)
    await turns(lambda: client.received)
    await peer.stop()
    await client.lost


@ensureDeferred
async def test_second_origin() -> None:
    async with talking("redirect-across-origins") as (peer, client):
        client.transport.write(GET)
        await turns(lambda: client.received)
        assert f"Location: {peer.elsewhere_url}there".encode() in client.received
        assert peer.elsewhere_url != peer.url


@ensureDeferred
async def test_proxies_that_work() -> None:
    origin = serve(reactor, "sound")
    connect = b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % origin.port
    for name in ("tunnel", "tunnel-closing"):
        async with talking(name) as (_, client):
            client.transport.write(connect + GET)
            await turns(lambda: client.received.endswith(b"hello"))
            assert (b"Connection: close" in client.received) is (name == "tunnel-closing")
        await turns(lambda: origin.connections.open == 0)
    async with talking("forward") as (_, client):
        client.transport.write(
            b"GET %sa?b HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic x\r\n\r\n" % origin.url.encode()
        )
        await turns(lambda: client.received.endswith(b"hello"))
        asked = origin.requests[-1]
        assert (asked.target, asked.get(b"proxy-authorization")) == (b"/a?b", None)
    await turns(lambda: origin.connections.open == 0)
    await origin.stop()
    async with talking("tunnel") as (_, client):
        client.transport.write(connect)
        await turns(lambda: client.received.startswith(b"HTTP/1.1 502"))


def length(reader: Any) -> int:
    return sum(len(piece) for piece in iter(lambda: reader.read(1 << 20), b""))


@pytest.mark.slow
def test_bombs_are_as_large_as_they_say() -> None:
    size = bodies.BOMB_MIB * bodies.MIB
    assert len(bodies.gzip_bomb()) < 320_000
    with gzip.open(io.BytesIO(bodies.gzip_bomb())) as gunzipped:
        assert length(gunzipped) == size
    with zstandard.ZstdDecompressor().stream_reader(bodies.zstandard_bomb()) as reader:
        assert length(reader) == size
    assert len(zlib.decompress(bodies.deflate_bomb())) == size
    assert len(brotli.decompress(bodies.brotli_bomb())) == size


@pytest.mark.slow
def test_command() -> None:
    words = [sys.executable, "-m", "hardhttp.testing.misbehaving"]
    listed = subprocess.run([*words, "--list"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout == listing()
    unknown = subprocess.run([*words, "nothing"], cwd=ROOT, capture_output=True, text=True)
    assert unknown.returncode != 0
    assert "no behaviour is called 'nothing'" in unknown.stderr
    with subprocess.Popen([*words, "answer-then-400"], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        asked = subprocess.run(["curl", "-s", "-m", "10", url], capture_output=True)
        assert asked.stdout == b"first"
        process.terminate()
        assert process.wait(10) is not None


def test_command_line() -> None:
    options = Options()
    options.parseOptions(["--port", "80", "--seconds", "5", "sound"])
    assert (options["port"], options["seconds"], options["name"]) == (80, 5.0, "sound")

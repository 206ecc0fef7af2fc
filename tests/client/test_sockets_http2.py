"""HTTP/2 by the agent over real sockets: our own site, and the servers of others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq.client
from OpenSSL.crypto import X509, PKey
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.internet.error import ConnectError
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.web.client import FileBodyProducer, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Site
from hardhttp.client import Agent, BytesBody, ClientError, EventLimits, EventSource, HTTPClient
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.testing.misbehaving import serve
from tests.certificates import Authority
from tests.client.rig import Body
from tests.listening import free_port
from tests.sse.subscribing import Subscribes

HTTP2 = (b"HTTP", 2, 0)


class Echo(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        if request.uri == b"/large":
            return b"x" * 3_000_000
        if request.uri == b"/never":
            return NOT_DONE_YET
        if request.uri == b"/host":
            return request.getHeader(b"host")
        return request.uri

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


@pytest.fixture(scope="module")
def pki(tmp_path_factory: Any) -> Any:
    authority = Authority(tmp_path_factory.mktemp("pki"))
    issued = authority.issue("127.0.0.1", "localhost")
    trust = trustRootFromCertificates([Certificate.loadPEM(authority.path.read_bytes())])
    options = CertificateOptions(
        privateKey=PKey.from_cryptography_key(issued.private),
        certificate=X509.from_cryptography(issued.leaf),
        acceptableProtocols=[b"h2", b"http/1.1"],
    )
    return options, trust


@pytest.fixture
def port(pki: Any) -> Iterator[int]:
    listening = reactor.listenSSL(0, Site(Echo()), pki[0], interface="127.0.0.1")
    yield listening.getHost().port
    pytest_twisted.blockon(listening.stopListening())


@pytest_twisted.async_yield_fixture
async def agent(pki: Any) -> AsyncIterator[Agent]:
    agent = Agent(reactor, trust_root=pki[1])
    before = agent.ledger.snapshot()
    yield agent
    await agent.close()
    assert agent.ledger.snapshot() == before


async def get(agent: Agent, url: bytes) -> tuple[Any, bytes]:
    response = await agent.request(b"GET", url)
    return response, await readBody(response)


@pytest_twisted.ensureDeferred
async def test_requests_one_after_another(agent: Agent, port: int) -> None:
    for number in range(5):
        response, body = await get(agent, b"https://127.0.0.1:%d/%d" % (port, number))
        assert (response.version, response.code, response.phrase, body) == (HTTP2, 200, b"OK", b"/%d" % number)
    assert agent.statistics.opened == 1
    assert agent.statistics.reused == 4


@pytest_twisted.ensureDeferred
async def test_host_is_the_authority(agent: Agent, port: int) -> None:
    assert (await get(agent, b"https://localhost:%d/host" % port))[1] == b"localhost:%d" % port


@pytest_twisted.ensureDeferred
async def test_many_at_once_share_a_connection(agent: Agent, port: int) -> None:
    url = b"https://127.0.0.1:%d/" % port
    await get(agent, url)
    answers = await gatherResults([ensureDeferred(get(agent, url)) for _ in range(300)])
    assert {response.version for response, _ in answers} == {HTTP2}
    assert agent.statistics.opened <= 4  # a hundred streams each


@pytest_twisted.ensureDeferred
async def test_bodies_longer_than_any_window(agent: Agent, port: int) -> None:
    url = b"https://127.0.0.1:%d/large" % port
    assert len((await get(agent, url))[1]) == 3_000_000
    slow = Body(lambda body, data: (body.transport.pauseProducing(), later(body)))

    def later(body: Body) -> None:
        reactor.callLater(0, body.transport.resumeProducing)

    response = await agent.request(b"GET", url)
    response.deliverBody(slow)
    while slow.end is None:
        await deferLater(reactor, 0)
    assert len(slow.data) == 3_000_000


@pytest_twisted.ensureDeferred
async def test_bodies_are_sent(agent: Agent, port: int, tmp_path: Path) -> None:
    url = b"https://127.0.0.1:%d/" % port
    (tmp_path / "body").write_bytes(b"x" * 1_000_000)
    for producer in (BytesBody(b""), BytesBody(b"x" * 1_000_000), FileBodyProducer((tmp_path / "body").open("rb"))):
        response = await agent.request(b"POST", url, None, producer)
        assert response.version == HTTP2
        assert await readBody(response) == b"%d" % producer.length


@pytest_twisted.ensureDeferred
async def test_cancelled(agent: Agent, port: int) -> None:
    asked = agent.request(b"GET", b"https://127.0.0.1:%d/never" % port)
    await deferLater(reactor, 0.02)
    asked.cancel()
    with pytest.raises((CancelledError, ClientError)):
        await asked
    assert (await get(agent, b"https://127.0.0.1:%d/" % port))[1] == b"/"


@pytest_twisted.ensureDeferred
async def test_off_by_option(pki: Any, port: int) -> None:
    agent = Agent(reactor, trust_root=pki[1], http2=False)
    response, _ = await get(agent, b"https://127.0.0.1:%d/" % port)
    assert response.version == (b"HTTP", 1, 1)
    await agent.close()


# -- what stands around an agent


@pytest.mark.parametrize("behaviour", ["tunnel", "tunnel-closing"])
@pytest_twisted.ensureDeferred
async def test_through_a_tunnel(pki: Any, port: int, behaviour: str) -> None:
    proxy = serve(reactor, behaviour)
    agent = Agent(reactor, trust_root=pki[1], proxy=proxy.url)
    for _ in range(3):
        response, body = await get(agent, b"https://localhost:%d/a" % port)
        assert (response.version, body) == (HTTP2, b"/a")
    assert proxy.connections.ever == (3 if behaviour == "tunnel-closing" else 1)
    await agent.close()
    assert not any(agent.ledger.snapshot().values())
    await proxy.stop()


@pytest_twisted.ensureDeferred
async def test_treq_and_ours(agent: Agent, port: int) -> None:
    url = f"https://127.0.0.1:{port}/x"
    for client in (treq.client.HTTPClient(agent), HTTPClient(agent)):
        response = await client.get(url, params={"a": "b"}, headers={"Accept": "*/*"}, cookies={"c": "d"})
        assert (response.version, await response.text()) == (HTTP2, "/x?a=b")
        response = await client.post(url, data={"a": "b"})
        assert await response.content() == b"3"


@pytest_twisted.ensureDeferred
async def test_an_event_source(pki: Any) -> None:
    """It follows a stream, and begins anew when the connection is cut."""
    hub = EventHub(reactor, history=MemoryHistory(reactor), heartbeat_seconds=None)
    site = Site(Subscribes(hub), reactor=reactor)
    listening = reactor.listenSSL(0, site, pki[0], interface="127.0.0.1")
    agent = Agent(reactor, trust_root=pki[1])
    url = f"https://localhost:{listening.getHost().port}/?topic=t"
    quick = EventLimits(retry_seconds=0.02, min_retry_seconds=0.02, max_retry_seconds=0.02)
    got: list[str] = []
    source = EventSource(agent, url, clock=reactor, limits=quick, last_event_id="earliest")
    source.deliver(lambda event: got.append(event.data))

    async def until(holds: Any) -> None:
        for _ in range(2000):
            if holds():
                return
            await deferLater(reactor, 0.002)
        raise AssertionError("it does not come about")

    for number in range(2):
        await until(lambda: hub.subscriber_count == 1)
        hub.publish("t", str(number))
        await until(lambda: len(got) == number + 1)  # noqa: B023
        for channel in site.server.tracker:
            assert type(channel).__name__ == "Channel2"
            channel.transport.abortConnection()
        await until(lambda: hub.subscriber_count == 0)
    await until(lambda: hub.subscriber_count == 1)
    assert got == ["0", "1"]
    source.close()
    await until(lambda: hub.subscriber_count == 0)  # its stream was reset; the connection stays
    await agent.close()
    assert not any(agent.ledger.snapshot().values())
    await listening.stopListening()


# -- the servers of others


@pytest.fixture(scope="module")
def pem(tmp_path_factory: Any) -> tuple[Path, Path, Any]:
    """Key, certificate, and trust in it."""
    folder = tmp_path_factory.mktemp("pem")
    authority = Authority(folder)
    issued = authority.issue("127.0.0.1", "localhost")
    (folder / "key.pem").write_bytes(issued.key)
    (folder / "cert.pem").write_bytes(issued.certificate)
    trust = trustRootFromCertificates([Certificate.loadPEM(authority.path.read_bytes())])
    return folder / "key.pem", folder / "cert.pem", trust


class Running:
    """Another program that serves."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self._process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def end(self) -> None:
        self._process.terminate()
        self._process.wait(10)


async def answered(agent: Agent, url: bytes) -> Any:
    """The first response, as soon as the server is there."""
    for _ in range(500):
        try:
            return await get(agent, url)
        except ConnectError:
            await deferLater(reactor, 0.02)
    raise AssertionError("the server did not begin")


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_nghttpd(pem: Any, tmp_path: Path) -> None:
    program = shutil.which("nghttpd") or shutil.which("nghttpd", path="/usr/sbin")
    if program is None:
        pytest.fail("needs nghttpd, of nghttp2-server")
    key, certificate, trust = pem
    (tmp_path / "large").write_bytes(bytes(600_000))
    port = free_port()
    words = [program, "-d", str(tmp_path), "-a", "127.0.0.1", "--echo-upload", "-m", "10", "--trailer", "a: b"]
    running = Running([*words, str(port), str(key), str(certificate)], tmp_path)
    agent = Agent(reactor, trust_root=trust)
    try:
        url = b"https://127.0.0.1:%d/large" % port
        response, body = await answered(agent, url)
        assert (response.version, len(body)) == (HTTP2, 600_000)
        answers = await gatherResults([ensureDeferred(get(agent, url)) for _ in range(15)])
        assert [len(body) for _, body in answers] == [600_000] * 15
        response = await agent.request(b"POST", url, None, BytesBody(b"x" * 500_000))
        assert await readBody(response) == b"x" * 500_000
    finally:
        await agent.close()
        await running.end()
    assert not any(agent.ledger.snapshot().values())


APPLICATION = """
async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    size = 0
    while True:
        event = await receive()
        size += len(event.get("body", b""))
        if not event.get("more_body"):
            break
    fields = [(b"x-version", scope["http_version"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"%d" % size})
"""


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_hypercorn(pem: Any, tmp_path: Path) -> None:
    key, certificate, trust = pem
    (tmp_path / "served.py").write_text(APPLICATION)
    port = free_port()
    words = [sys.executable, "-m", "hypercorn", "--keyfile", str(key), "--certfile", str(certificate)]
    running = Running([*words, "-b", f"127.0.0.1:{port}", "served:application"], tmp_path)
    agent = Agent(reactor, trust_root=trust)
    try:
        url = b"https://127.0.0.1:%d/" % port
        response, _ = await answered(agent, url)
        assert response.headers.getRawHeaders("x-version") == ["2"]
        posts = [agent.request(b"POST", url, None, BytesBody(b"x" * 200_000)) for _ in range(10)]
        assert [await readBody(await post) for post in posts] == [b"200000"] * 10
        assert agent.statistics.opened == 1
    finally:
        await agent.close()
        await running.end()
    assert not any(agent.ledger.snapshot().values())

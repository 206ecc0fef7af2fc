"""HTTP/2 by the agent over real sockets: our own site, and the servers of others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from OpenSSL.crypto import X509, PKey
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, ensureDeferred, gatherResults
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.web.client import FileBodyProducer, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Site
from hardhttp.client import Agent, BytesBody, ClientError
from tests.certificates import Authority
from tests.client.rig import Body

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

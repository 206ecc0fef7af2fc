"""treq on the agent: both treq's own client and ours."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
import pytest_twisted
import treq.client
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, succeed
from twisted.web.client import ResponseFailed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Site
from hardhttp.client import Agent, BodyTimeout, ClientLimits, HTTPClient, ResponseTimeout, ResponseTooLarge
from hardhttp.errors import LimitError
from tests.client.rig import ClientRig

BOMB = gzip.compress(bytes(5 << 20))


class Things(Resource):
    isLeaf = True

    def render(self, request: Any) -> Any:
        path = request.path
        if path == b"/to":
            request.redirect(b"/")
            return b"moved"
        if path == b"/round":
            request.redirect(b"/round")
            return b"moved"
        if path == b"/cookie":
            request.addCookie(b"a", b"b")
        if path == b"/later":
            request.redirect(b"/later")
            reactor.callLater(0.2, request.finish)
            return NOT_DONE_YET
        if path == b"/never":
            return NOT_DONE_YET
        if path == b"/half":
            request.setHeader(b"Content-Length", b"10")
            request.write(b"half")
            return NOT_DONE_YET
        if path in (b"/gzip", b"/bomb"):
            request.setHeader(b"Content-Encoding", b"gzip")
            return BOMB if path == b"/bomb" else gzip.compress(b"text")
        said = {
            "method": request.method.decode(),
            "path": request.uri.decode(),
            "body": request.content.read().decode("latin-1"),
            "type": request.getHeader("content-type"),
            "cookie": request.getHeader("cookie"),
            "authorization": request.getHeader("authorization"),
        }
        request.setHeader(b"Content-Type", b"application/json")
        return json.dumps(said).encode()


@pytest_twisted.async_yield_fixture(params=["treq's", "ours"])
async def client(request: Any) -> AsyncIterator[Any]:
    listening = reactor.listenTCP(0, Site(Things()), interface="127.0.0.1")
    agent = Agent(reactor, ClientLimits(max_decoded_bytes=1 << 20))
    before = agent.ledger.snapshot()
    client: Any = (treq.client.HTTPClient if request.param == "treq's" else HTTPClient)(agent)
    client.base = f"http://127.0.0.1:{listening.getHost().port}"
    client.agent = agent
    client.ours = request.param == "ours"
    yield client
    await agent.close()
    assert agent.ledger.snapshot() == before
    await listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_get_and_params(client: Any) -> None:
    response = await client.get(client.base + "/a", params={"x": ["1", "ü"]})
    said = await response.json()
    assert (said["method"], said["path"]) == ("GET", "/a?x=1&x=%C3%BC")
    assert response.headers.getRawHeaders("content-type") == ["application/json"]
    assert (await (await client.get(client.base + "/a")).json())["path"] == "/a"


@pytest_twisted.ensureDeferred
async def test_bodies(client: Any) -> None:
    said = await (await client.post(client.base + "/", json={"a": 1})).json()
    assert (said["body"], said["type"]) == ('{"a":1}', "application/json; charset=UTF-8")
    said = await (await client.post(client.base + "/", data={"a": "b"})).json()
    assert (said["body"], said["type"]) == ("a=b", "application/x-www-form-urlencoded")
    said = await (await client.put(client.base + "/", data=b"bytes")).json()
    assert (said["method"], said["body"]) == ("PUT", "bytes")
    said = await (await client.post(client.base + "/", data=BytesIO(b"file"))).json()
    assert said["body"] == "file"
    files = {"f": ("name.txt", BytesIO(b"inside"))}
    said = await (await client.post(client.base + "/", files=files, data={"a": "b"})).json()
    assert "inside" in said["body"]
    assert said["type"].startswith("multipart/form-data")
    assert client.agent.statistics.opened == 1


@pytest_twisted.ensureDeferred
async def test_redirects(client: Any) -> None:
    response = await client.get(client.base + "/to")
    assert (await response.json())["path"] == "/"
    assert [past.code for past in response.history()] == [302]
    response = await client.get(client.base + "/to", allow_redirects=False)
    assert response.code == 302
    await response.content()
    with pytest.raises(ResponseFailed):
        await client.get(client.base + "/round")
    if client.ours:
        assert client.agent.statistics.opened == 1


@pytest_twisted.ensureDeferred
async def test_cookies(client: Any) -> None:
    await (await client.get(client.base + "/cookie")).content()
    assert (await (await client.get(client.base + "/")).json())["cookie"] == "a=b"
    said = await (await client.get(client.base + "/", cookies={"c": "d"})).json()
    assert sorted(said["cookie"].split("; ")) == ["a=b", "c=d"]


@pytest.mark.parametrize("kept", [{}, {"x": "y"}])
def test_a_cookie_that_is_not_ascii_costs_itself_alone(kept: dict[str, str]) -> None:
    with ClientRig() as rig:
        ours = HTTPClient(rig.agent)
        answered: list[Any] = []
        ours.get("http://a.example/", cookies=kept).addCallback(answered.append)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
        rig.servers[0].send(head + b"Set-Cookie: a=\xff\r\nSet-Cookie: b=c; Path=/\xff\r\nSet-Cookie: d=e\r\n\r\n")
        assert [response.code for response in answered] == [200]
        ours.get("http://a.example/").addErrback(lambda _: None)
        assert (b"x=y; d=e" if kept else b"Cookie: d=e") in rig.servers[0].received


@pytest.mark.parametrize("kept", [{}, {"x": "y"}])
def test_a_redirect_to_an_international_name(kept: dict[str, str]) -> None:
    with ClientRig() as rig:
        ours = HTTPClient(rig.agent)
        answered: list[Any] = []
        ours.get("http://a.example/", cookies=kept).addBoth(answered.append)
        to = "http://bücher.example/ü".encode()
        rig.servers[0].send(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to)
        assert answered == []
        assert rig.servers[1].received.startswith(b"GET /%C3%BC HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n")


@pytest_twisted.ensureDeferred
async def test_auth(client: Any) -> None:
    said = await (await client.get(client.base + "/", auth=("u", "p"))).json()
    assert said["authorization"] == "Basic dTpw"


@pytest_twisted.ensureDeferred
async def test_streaming_and_decoding(client: Any) -> None:
    pieces: list[bytes] = []
    response = await client.get(client.base + "/gzip", unbuffered=True)
    await treq.collect(response, pieces.append)
    assert b"".join(pieces) == b"text"

    def fail(piece: bytes) -> None:
        raise OSError("the disk")

    with pytest.raises(OSError):
        await treq.collect(await client.get(client.base + "/gzip", unbuffered=True), fail)


@pytest_twisted.ensureDeferred
async def test_the_bounds_hold(client: Any) -> None:
    if client.ours:
        with pytest.raises(ResponseTooLarge):
            await (await client.get(client.base + "/bomb")).content()
        with pytest.raises(LimitError):
            await client.get(client.base + "/", timeout=0)
        with pytest.raises(ResponseTimeout):
            await client.get(client.base + "/never", timeout=0.05)
        with pytest.raises(BodyTimeout):
            await (await client.get(client.base + "/half", timeout=0.05)).content()
        with pytest.raises(ResponseTimeout):
            await client.get(client.base + "/later", timeout=0.3)  # each step takes 0.2
    else:
        with pytest.raises(CancelledError):
            await client.get(client.base + "/never", timeout=0.05)


def test_one_that_is_kept_is_asked_by_both_names() -> None:
    import hardhttp.client

    assert hardhttp.client.HTTPClient is HTTPClient
    with pytest.raises(AttributeError):
        hardhttp.client.Nothing  # noqa: B018
    assert succeed(None).called

"""treq as a client: its pool, forms, files, streams and cookies."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import treq
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web import static
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.resource import Resource

from hardhttp import EventStream
from tests.serving import KINDS, serve
from tests.web.saying import Says


def tree(files: Path) -> Resource:
    def echo(request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"application/json")
        args = {name.decode(): [value.decode() for value in values] for name, values in request.args.items()}
        body = request.content.read().decode("latin-1")
        return json.dumps({"args": args, "body": body, "method": request.method.decode()}).encode()

    def pieces(request: Any) -> Any:
        async def write() -> None:
            for i in range(100):
                request.write(b"%d " % i)
                if i % 10 == 0:
                    await deferLater(reactor, 0)

        return write()

    def cookie(request: Any) -> bytes:
        request.addCookie("seen", "yes")
        return b"%s" % (request.getCookie(b"seen") or b"no")

    root = Resource()
    root.putChild(b"echo", Says(echo))
    root.putChild(b"pieces", Says(pieces))
    root.putChild(b"cookie", Says(cookie))
    root.putChild(b"files", static.File(str(files)))
    return root


@pytest.mark.parametrize("kind", KINDS)
@ensureDeferred
async def test_treq(kind: str, tmp_path: Path) -> None:
    large = os.urandom(1 << 20)
    (tmp_path / "large").write_bytes(large)
    pool = HTTPConnectionPool(reactor)
    client = treq.client.HTTPClient(Agent(reactor, pool=pool))
    async with serve(kind, tree(tmp_path)) as site:
        said = await (await client.get(f"{site.url}/echo", params={"a": ["1", "\u00fc"]})).json()
        assert said == {"args": {"a": ["1", "\u00fc"]}, "body": "", "method": "GET"}
        said = await (await client.post(f"{site.url}/echo", data={"b": "2"})).json()
        assert (said["args"], said["body"]) == ({"b": ["2"]}, "b=2")
        uploaded = await client.post(f"{site.url}/echo", files={"f": ("name", io.BytesIO(b"content"))}, data={"c": "3"})
        assert (await uploaded.json())["args"] == {"c": ["3"], "f": ["content"]}
        whole = await (await client.get(f"{site.url}/pieces")).content()
        assert whole == b"".join(b"%d " % i for i in range(100))
        assert await (await client.get(f"{site.url}/files/large")).content() == large
        first = await client.get(f"{site.url}/cookie")
        assert await first.content() == b"no"
        again = await client.get(f"{site.url}/cookie", cookies=first.cookies())
        assert await again.content() == b"yes"
        head = await client.head(f"{site.url}/files/large")
        assert head.headers.getRawHeaders(b"content-length") == [b"1048576"]
        lost = await client.get(f"{site.url}/nothing")
        assert lost.code == 404
        for response in (head, lost):  # read, so that their connections go back to the pool
            await response.content()
        assert site.site.statistics.accepted <= 2  # the pool's connections are kept alive
        await pool.closeCachedConnections()


@pytest.mark.parametrize("kind", KINDS)
@ensureDeferred
async def test_treq_reads_an_event_stream(kind: str) -> None:
    stream = EventStream(reactor)
    async with serve(kind, stream) as site:
        response = await treq.get(site.url, persistent=False)
        assert response.headers.getRawHeaders(b"content-type") == [b"text/event-stream"]
        received: list[bytes] = []
        reading = treq.collect(response, received.append)
        for i in range(5):
            stream.publish(i)
        await site.wait_for(lambda: b"data: 4\n\n" in b"".join(received))
        stream.close()
        await reading
        assert b"".join(received) == b":\n" + b"".join(b"data: %d\n\n" % i for i in range(5))

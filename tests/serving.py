"""A site on real sockets, and a client that is not Twisted's, for the tests that need the real thing.

The client is the standard library's, each exchange in a thread; what it cannot say is sent by hand.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.resource import IResource

from hardhttp import Site, listen

__all__ = ["KINDS", "Answer", "Serving", "serve"]

PATIENCE_SECONDS = 10.0
TURN_SECONDS = 0.005
# The two ports a site may be on: ours, and the reactor's own.
KINDS = ("fast", "plain")


@attrs.frozen
class Answer:
    """A response; ``headers`` of one name are joined by ``", "``."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: tuple[str, ...] = ()


class Serving:
    """A site that listens on a port of the loopback interface until ``end``."""

    def __init__(self, site: Site, kind: str) -> None:
        self.site = site
        self._kind = kind
        self._port: Any = None
        self._before = site.ledger.snapshot()

    async def begin(self) -> None:
        if self._kind == "fast":
            self._port = await listen(reactor, "tcp:0:interface=127.0.0.1", self.site)
        else:
            self._port = reactor.listenTCP(0, self.site, interface="127.0.0.1")

    @property
    def port(self) -> int:
        return int(self._port.getHost().port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)

    def ask_on(self, client: http.client.HTTPConnection, method: str, path: str, body: Any, headers: Any) -> Answer:
        """One exchange, blocking: for a thread."""
        client.request(method, path, body=body, headers=headers)
        response = client.getresponse()
        joined = {name.lower(): ", ".join(response.headers.get_all(name, ())) for name in response.headers}
        cookies = tuple(response.headers.get_all("Set-Cookie", ()))
        return Answer(response.status, joined, response.read(), cookies)

    async def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One exchange over a connection of its own; ``_`` in a header's name stands for ``-``."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        client = self.connect()
        try:
            answer: Answer = await deferToThread(self.ask_on, client, method, path, body, fields)
            return answer
        finally:
            client.close()

    async def say(self, *pieces: bytes, until: Callable[[bytes], bool] | None = None) -> bytes:
        """Send by hand; what came until ``until`` says so, or the server hung up."""

        def exchange() -> bytes:
            received = b""
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as client:
                for piece in pieces:
                    client.sendall(piece)
                while until is None or not until(received):
                    data = client.recv(65536)
                    if not data:
                        break
                    received += data
            return received

        received: bytes = await deferToThread(exchange)
        return received

    async def wait_for(self, condition: Callable[[], Any], what: str = "it") -> None:
        """Turn the reactor until ``condition`` holds."""
        for _ in range(int(PATIENCE_SECONDS / TURN_SECONDS)):
            if condition():
                return
            await deferLater(reactor, TURN_SECONDS)
        raise AssertionError(f"{what} did not come about")

    async def end(self) -> None:
        """Stop; every connection must go by itself, its client having gone, and leave nothing."""
        await self._port.stopListening()
        site = self.site
        for channel in site.server.tracker:
            if channel.request is None:
                channel.drain()  # only kept alive
        await self.wait_for(lambda: not site.connection_count, "the last connection's end")
        site.cookie_sessions.forget()
        await self.wait_for(lambda: site.ledger.snapshot() == self._before, f"the ledger of {self._before}")


@asynccontextmanager
async def serve(kind: str, resource: IResource | Site, **options: Any) -> AsyncIterator[Serving]:
    """A site on the port of that ``kind``, while the block runs."""
    site = resource if isinstance(resource, Site) else Site(resource, reactor=reactor, **options)
    serving = Serving(site, kind)
    await serving.begin()
    try:
        yield serving
    finally:
        await serving.end()

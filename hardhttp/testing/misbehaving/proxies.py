"""Proxies that speak HTTP: three that do their work, and those that refuse, fall silent, or answer by halves.

Their URL is a proxy's: give it to a client as such. What a proxy was asked stands in ``peer.requests``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.protocol import ClientFactory, Protocol

from hardhttp.testing.misbehaving.catalogue import Role, behaviour
from hardhttp.testing.misbehaving.conversation import Asked, Conversation, answer

PIECE = bytes(32 * 1024)
TRICKLE_SECONDS = 0.05
WAY_SECONDS = 10
OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
NO_WAY = answer(b"no way", status=b"502 Bad Gateway")
OPENED_CLOSING = b"HTTP/1.1 200 Connection established\r\nProxy-Connection: close\r\nConnection: close\r\n\r\n"


# -- three that work


class _Far(Protocol):
    """The connection to an origin: what it sends goes to the client, and backwards, each at the other's pace."""

    transport: Any = None

    def __init__(self, talk: Conversation, made: Deferred[_Far]) -> None:
        self._talk, self._made = talk, made
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        if self._talk.transport is not None:
            self._talk.peer.connections.sent_bytes += len(data)
            self._talk.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self._talk.taken = None
        self.ended.callback(None)


class _Way(ClientFactory):
    noisy = False

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk
        self.made: Deferred[_Far] = Deferred()

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Far(self._talk, self.made)

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:
        self.made.errback(reason)


async def _reach(talk: Conversation, host: str, port: int) -> _Far | None:
    """The connection to an origin, if there is one."""
    way = _Way(talk)
    talk.peer.reactor.connectTCP(host, port, way, timeout=WAY_SECONDS)
    try:
        far = await way.made
    except (ConnectError, DNSLookupError):
        return None
    if talk.transport is None:
        far.transport.abortConnection()
        return None
    return far


async def _join(talk: Conversation, far: _Far) -> None:
    """Pass bytes both ways until either end goes."""
    # Each transport pauses the other when its buffer is full.
    talk.transport.unregisterProducer()
    talk.transport.registerProducer(far.transport, True)
    far.transport.registerProducer(talk.transport, True)
    talk.taken = far.transport
    far.transport.write(talk.take())
    await far.ended


async def connect(talk: Conversation, host: str, port: int, opened: bytes, refused: bytes) -> None:
    """Pass bytes on to an origin once ``opened`` is said, or say ``refused``."""
    far = await _reach(talk, host, port)
    if far is None:
        talk.send(refused)
        return
    talk.send(opened)
    await _join(talk, far)


async def _tunnel(talk: Conversation, opened: bytes) -> None:
    asked = await talk.request()
    host, _, port = asked.target.decode("latin-1").rpartition(":")
    await connect(talk, host.strip("[]"), int(port) if port.isdigit() else 0, opened, NO_WAY)


@behaviour(Role.PROXY)
async def tunnel(talk: Conversation) -> None:
    """A proxy that opens tunnels, as it should.

    A sound client asks it by CONNECT, and sends nothing of an ``https`` request outside the tunnel.
    """
    await _tunnel(talk, OPENED)


@behaviour(Role.PROXY)
async def tunnel_closing(talk: Conversation) -> None:
    """A proxy that opens tunnels, and says ``Connection: close`` each time.

    A sound client uses the tunnel for what it asked it for, and then closes it; none stays behind.
    """
    await _tunnel(talk, OPENED_CLOSING)


@behaviour(Role.PROXY)
async def forward(talk: Conversation) -> None:
    """A proxy for plain ``http`` requests, one for each connection, answered with ``Connection: close`` by the origin.

    A sound client sends it the whole URL as the target (RFC 9112, 3.2.2).
    """
    asked = await talk.request()
    url = urlsplit(asked.target.decode("latin-1"))
    if url.scheme != "http" or not url.hostname:
        talk.send(answer(b"not a proxy's request", status=b"400 Bad Request"))
        return
    far = await _reach(talk, url.hostname, url.port or 80)
    if far is None:
        talk.send(NO_WAY)
        return
    far.transport.write(_passed_on(asked, url.path or "/", url.query))
    await _join(talk, far)


def _passed_on(asked: Asked, path: str, query: str) -> bytes:
    hop = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te")
    target = f"{path}?{query}" if query else path
    lines = [b"%s %s HTTP/1.1" % (asked.method, target.encode("latin-1"))]
    lines += [b"%s: %s" % field for field in asked.fields if field[0] not in hop]
    return b"\r\n".join([*lines, b"connection: close", b"", asked.body])


# -- those that do not


@behaviour(Role.PROXY)
async def connect_407_held(talk: Conversation) -> None:
    """CONNECT is refused with 407 and ``Connection: close``, and the proxy holds the socket open.

    A sound client closes the connection at once, and says 407.
    """
    await talk.request()
    fields = b'Proxy-Authenticate: Basic realm="proxy"', b"Connection: close"
    talk.send(answer(b"who are you?", *fields, status=b"407 Proxy Authentication Required"))
    await talk.silence()


@behaviour(Role.PROXY)
async def connect_silent(talk: Conversation) -> None:
    """CONNECT is read, and nothing is said.

    A sound client has a deadline for CONNECT of its own, and closes the connection when it is over.
    """
    await talk.request()
    await talk.silence()


@behaviour(Role.PROXY)
async def connect_half(talk: Conversation) -> None:
    """Half of a 200 to CONNECT comes, and then nothing.

    A sound client closes the connection when its deadline for CONNECT is over.
    """
    await talk.request()
    talk.send(OPENED[:30])
    await talk.silence()


@behaviour(Role.PROXY)
async def connect_cut(talk: Conversation) -> None:
    """The connection is closed in the middle of the answer to CONNECT.

    A sound client fails the request at once.
    """
    await talk.request()
    talk.send(OPENED[:30])


@behaviour(Role.PROXY)
async def connect_reset(talk: Conversation) -> None:
    """The connection is reset when CONNECT has been read.

    A sound client fails the request at once.
    """
    await talk.request()
    talk.reset()


@behaviour(Role.PROXY)
async def connect_trickled(talk: Conversation) -> None:
    """The answer to CONNECT comes a byte at a time, and does not end.

    A sound client has a deadline for CONNECT that a trickle does not move.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.pieces(b"X: x\r\n", TRICKLE_SECONDS)


@behaviour(Role.PROXY)
async def connect_endless(talk: Conversation) -> None:
    """The head of the answer to CONNECT does not end, and comes as fast as it is taken.

    A sound client bounds it in bytes, and closes the connection there.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.send_all(b"X: x\r\n" * 5000)


@behaviour(Role.PROXY)
async def connect_informational(talk: Conversation) -> None:
    """CONNECT is answered with 100 Continue without end.

    A sound client bounds their number, and closes the connection there.
    """
    await talk.request()
    while True:
        await talk.send_all(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


@behaviour(Role.PROXY)
async def connect_with_body(talk: Conversation) -> None:
    """CONNECT is answered with a 200 that has a body: a page, in place of a tunnel.

    A sound client gives the page to nobody and fails the request: a 2xx to CONNECT has no body (RFC 9110, 9.3.6).
    """
    await talk.request()
    talk.send(answer(b"<h1>Welcome to our hotel</h1>", b"Content-Type: text/html"))
    await talk.silence()


@behaviour(Role.PROXY)
async def connect_refused_endlessly(talk: Conversation) -> None:
    """CONNECT is refused with 403, and the page that says why does not end.

    A sound client closes the connection at once, and shows a bounded part of the page.
    """
    await talk.request()
    talk.send(answer(b"", b"Transfer-Encoding: chunked", status=b"403 Forbidden", sized=False))
    while True:
        await talk.send_all(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))


@behaviour(Role.PROXY)
async def connect_early(talk: Conversation) -> None:
    """The proxy says 200 as soon as the connection is open, then that the tunnel it is asked for is refused.

    A sound client does not take the first for the answer, or fails when what is in the tunnel is not TLS.
    """
    talk.send(OPENED)
    await talk.request()
    talk.send(answer(b"no", status=b"403 Forbidden"))
    await talk.silence()


@behaviour(Role.PROXY)
async def tunnel_reset(talk: Conversation) -> None:
    """The tunnel opens, and is reset as soon as something is sent through it.

    A sound client fails the request at once.
    """
    await talk.request()
    talk.send(OPENED)
    await talk.more()
    talk.reset()


@behaviour(Role.PROXY)
async def tunnel_silent(talk: Conversation) -> None:
    """The tunnel opens and leads nowhere: what is sent is swallowed.

    A sound client has a deadline for TLS inside the tunnel.
    """
    await talk.request()
    talk.send(OPENED)
    while True:
        await talk.more()

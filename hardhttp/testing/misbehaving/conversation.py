"""One connection of a misbehaving peer, as its behaviour sees it: read, write, wait, in straight lines.

    async def half_an_answer(talk: Conversation) -> None:
        await talk.request()
        talk.send(b"HTTP/1.1 200 O")
        await talk.silence()

Each wait ends with ``Gone`` when the client goes, when the connection's time or bytes are used up, or when the peer
is stopped; a behaviour lets it pass. When the function returns, the connection is closed as one politely does.

Bounded: what a client sends without a request's end (``MAX_HEAD_BYTES``, ``MAX_BODY_BYTES``), what it is sent
(``max_bytes`` of the peer), and how long it all takes (``max_seconds``). Past a bound it is reset.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from hardhttp.testing.misbehaving.peer import Peer

__all__ = ["Asked", "Conversation", "Gone", "answer"]

log = Logger()

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 1024 * 1024


class Gone(Exception):
    """There is nobody to talk to any more."""


@attrs.frozen
class Asked:
    """One request. ``fields`` are (lower-case name, value); ``elsewhere`` says that it came to the second origin."""

    method: bytes
    target: bytes
    version: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    elsewhere: bool = False

    def get(self, name: bytes) -> bytes | None:
        """The value of the field ``name`` (lower case); several are joined by ``", "``."""
        values = [value for key, value in self.fields if key == name]
        return b", ".join(values) if values else None


def answer(
    body: bytes = b"hello", *fields: bytes, status: bytes = b"200 OK", version: bytes = b"1.1", sized: bool = True
) -> bytes:
    """A response with these field lines, and with a Content-Length if it is ``sized``."""
    lines = [b"HTTP/%s %s" % (version, status), *fields]
    if sized:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


@implementer(IPushProducer)
class Conversation(Protocol):
    """A connection. ``peer`` is who it is of, ``asked`` the number of requests read on it."""

    transport: Any = None

    def __init__(self, peer: Peer, elsewhere: bool) -> None:
        self.peer, self.elsewhere = peer, elsewhere
        self.asked = 0
        self.taken: Any = None  # whoever takes the bytes instead of us: a tunnel's other end
        self._buffer = bytearray()
        self._waiting: Deferred[None] | None = None
        self._timer: Any = None
        self._sent_bytes = 0
        self._full = self._gone = False

    # -- for behaviours

    async def request(self) -> Asked:
        """The next request, with its body."""
        await self._until(lambda: b"\r\n\r\n" in self._buffer, MAX_HEAD_BYTES)
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        line, *lines = head.split(b"\r\n")
        method, target, version = (*line.split(b" ", 2), b"", b"")[:3]
        pairs = (field.partition(b":") for field in lines)
        fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
        asked = Asked(method, target, version, fields, elsewhere=self.elsewhere)
        asked = attrs.evolve(asked, body=await self._body(asked))
        self.asked += 1
        self.peer.requests.append(asked)
        return asked

    async def _body(self, asked: Asked) -> bytes:
        if b"chunked" in (asked.get(b"transfer-encoding") or b"").lower():
            await self._until(lambda: self._buffer.endswith(b"0\r\n\r\n"), MAX_BODY_BYTES)
            return self.take()
        length = asked.get(b"content-length") or b"0"
        return await self.exactly(int(length) if length.isdigit() else 0)

    async def exactly(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        await self._until(lambda: len(self._buffer) >= size, MAX_BODY_BYTES)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def more(self) -> bytes:
        """Whatever comes next, at least one byte."""
        await self._until(lambda: bool(self._buffer))
        return self.take()

    def take(self) -> bytes:
        """All that has come and was not read."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        self._buffer[:0] = data

    def send(self, data: bytes) -> None:
        """Send ``data``; what the client does not take is kept."""
        self._sent_bytes += len(data)
        if self._gone or self._sent_bytes > self.peer.max_bytes:
            self.reset()
            raise Gone
        self.peer.connections.sent_bytes += len(data)
        self.transport.write(data)

    async def send_all(self, data: bytes) -> None:
        """Send ``data``, and wait until the client has taken most of it."""
        self.send(data)
        await self._until(lambda: not self._full)

    async def pieces(self, data: bytes, seconds: float, size: int = 1) -> None:
        """Send ``data`` in pieces of ``size`` bytes, each after a pause."""
        for begin in range(0, len(data), size):
            await self.pause(seconds)
            self.send(data[begin : begin + size])

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        call = self.peer.reactor.callLater(seconds, self._wake)
        try:
            await self._until(lambda: not call.active())
        finally:
            if call.active():
                call.cancel()

    async def silence(self) -> None:
        """Say nothing any more. It ends with ``Gone``."""
        await self._until(lambda: False)

    def deaf(self) -> None:
        """Read nothing any more."""
        self.transport.pauseProducing()

    def reset(self) -> None:
        """Go without a word (RST)."""
        if self.transport is not None:
            self.transport.abortConnection()

    async def _until(self, holds: Callable[[], bool], max_bytes: int | None = None) -> None:
        while not holds():
            if self._gone:
                raise Gone
            if max_bytes is not None and len(self._buffer) > max_bytes:
                self.reset()
                raise Gone
            self._waiting = Deferred()
            await self._waiting

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    # -- what the transport says

    def connectionMade(self) -> None:
        if not self.peer.admit(self):
            self._gone = True
            self.reset()
            return
        self.transport.setTcpNoDelay(True)  # a piece is a segment
        self.transport.registerProducer(self, True)
        self._timer = self.peer.reactor.callLater(self.peer.max_seconds, self.reset)
        Deferred.fromCoroutine(self._talk()).addErrback(
            lambda failure: log.failure("a behaviour failed", failure=failure)
        )

    async def _talk(self) -> None:
        try:
            await self.peer.behaviour(self)
        except Gone:
            return
        finally:
            if not self._gone:
                self.transport.unregisterProducer()
                self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self.peer.connections.received_bytes += len(data)
        if self.taken is not None:
            self.taken.write(data)
        else:
            self._buffer += data
            self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._gone = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self.taken is not None:
            self.taken.abortConnection()
            self.taken = None
        self.transport = None
        self._wake()
        self.peer.lost(self)

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        self._wake()

    def stopProducing(self) -> None:
        pass  # connectionLost follows

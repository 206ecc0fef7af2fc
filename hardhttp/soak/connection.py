"""One client's connection: bytes out as it pleases, answers in as HTTP/1.1 has them.

It is a plain Twisted protocol whose every wait is an ``await``, so that a scenario reads as what its
client does. What comes in is parsed by httptools and kept only as far as ``KEPT_BYTES``: a client
that makes a server send gigabytes stays small itself. A connection has one waiter at a time, and
every wait ends when the connection does.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import attrs
import httptools
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from hardhttp.soak.load import Load

__all__ = ["Answer", "Connection", "ConnectionEnded"]

KEPT_BYTES = 64 * 1024
# Answers that nobody has taken.
MOST_ANSWERS = 1000
TCP_ESTABLISHED = 1


class ConnectionEnded(Exception):
    """The connection ended before what was waited for. Its text is how: ``closed`` or ``reset``."""


@attrs.define
class Answer:
    """A response: ``body`` is its beginning, ``body_bytes`` how much came of it."""

    status: int
    headers: dict[bytes, list[bytes]]
    body: bytes = b""
    body_bytes: int = 0

    def header(self, name: bytes) -> bytes | None:
        """The first field of that name, in lower case."""
        values = self.headers.get(name)
        return values[0] if values else None

    @property
    def outcome(self) -> str:
        """How it is counted: its status, and hardhttp's reason code where there is one."""
        refused = self.header(b"x-refused")
        return f"{self.status} {refused.decode('ascii', 'replace')[:40]}" if refused else str(self.status)


@implementer(IPushProducer)
class Flow:
    """Knows whether a transport wants no more."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self._connection.wake()

    def stopProducing(self) -> None:
        self.paused = False


class Connection(Protocol):
    """A connection to the server under load. Made by ``Load.connect``."""

    transport: Any

    def __init__(self, load: Load) -> None:
        self._load = load
        self._waiter: Deferred[None] | None = None
        self._parser: Any = None
        self._answer: Answer | None = None
        self._answers: list[Answer] = []
        self.ended: str | None = None
        self.received_bytes = 0
        # A 100 Continue came.
        self.invited = False
        self._flow: Flow | None = None
        # What came last: of a protocol that is not HTTP/1.1, where nothing else is known of it.
        self.tail = b""
        # Whether what comes is HTTP/1.1. After an upgrade, and in HTTP/2, it is not.
        self.parses = True

    # -- from Twisted ----------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._load.opened(self)

    def dataReceived(self, data: bytes) -> None:
        self.received_bytes += len(data)
        self.tail = (self.tail + data)[-KEPT_BYTES:]
        if self.parses:
            self._parse(data)
        self.wake()

    def connectionLost(self, reason: Failure = Failure(ConnectionEnded())) -> None:  # noqa: B008 - Twisted's own form
        self.ended = "closed" if reason.check(ConnectionDone) else "reset"
        if self._answer is not None and self._answer.status >= 200 and self.ended == "closed":
            self._complete()  # a body that lasts until the close
        self._parser = self._flow = None
        self._load.closed(self)
        self.wake()

    def _is_over(self) -> bool:
        return self.ended is not None

    def wake(self) -> None:
        """Let whoever waits look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:  # the load's end may have come first
            waiter.callback(None)

    # -- answers ---------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.parses = False
        except httptools.HttpParserError:
            self._load.count("not HTTP")
            self.parses = False

    def on_message_begin(self) -> None:
        self._answer = Answer(0, {})

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None:
            self._answer.headers.setdefault(name.lower(), []).append(value)

    def on_headers_complete(self) -> None:
        if self._answer is not None:
            self._answer.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        answer = self._answer
        if answer is not None:
            answer.body_bytes += len(data)
            answer.body += data[: KEPT_BYTES - len(answer.body)]

    def on_message_complete(self) -> None:
        self._complete()

    def _complete(self) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if answer.status >= 200 or answer.status == 101:
            self._answers.append(answer)
            del self._answers[:-MOST_ANSWERS]
        elif answer.status == 100:
            self.invited = True

    @property
    def answered(self) -> bool:
        """Whether a whole response waits for ``answer``."""
        return bool(self._answers)

    # -- what a client does ----------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Write; nothing when the connection has ended."""
        if self.ended is None:
            self.transport.write(data)

    def get(self, path: str | None = None, *fields: str, method: str = "GET", body: bytes | None = None) -> None:
        """Send a whole request, with these header lines beside Host."""
        self.send(self.head(path, *fields, method=method, length=None if body is None else len(body)) + (body or b""))

    def head(self, path: str | None = None, *fields: str, method: str = "GET", length: int | None = None) -> bytes:
        where = self._load.where
        lines = [f"{method} {path or where.paths['hello']} HTTP/1.1", f"Host: {where.authority}", *fields]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    async def more(self) -> None:
        """Wait until anything comes. Raises ``ConnectionEnded``."""
        if self.ended is not None:
            raise ConnectionEnded(self.ended)
        self._waiter = Deferred()
        await self._load.wait(self._waiter)
        if self._is_over() and not self._answers:
            raise ConnectionEnded(self.ended)

    async def answer(self) -> Answer:
        """The next response that is not 1xx, whole. Raises ``ConnectionEnded`` when there will be none."""
        while True:
            if self._answers:
                return self._answers.pop(0)
            await self.more()

    async def begun(self) -> int:
        """Wait for the head of a response; its status. For those whose body is not to be waited for."""
        while self._answer is None or not self._answer.status:
            if self._answers:
                return self._answers[-1].status
            await self.more()
        return self._answer.status

    async def drained(self) -> None:
        """Wait while much of what was sent has not left, and nothing comes."""
        if self._flow is None and self.ended is None:
            self._flow = Flow(self)
            self.transport.registerProducer(self._flow, True)
        elif self._flow is not None and self._flow.paused and not self._answers:
            await self.more()

    async def end(self) -> str:
        """Wait until the server has ended the connection; how it did: what it said, ``closed`` or ``reset``."""
        try:
            while True:
                await self.more()
                if self._is_over():
                    break
        except ConnectionEnded:
            pass
        return self._answers[-1].outcome if self._answers else self.ended or "closed"

    async def drip(self, data: bytes, every_seconds: float) -> None:
        """Send one byte after another, until they are out or the server says anything. Raises ``ConnectionEnded``."""
        before = self.received_bytes
        for place in range(len(data)):
            if self.ended is not None and not self._answers:
                raise ConnectionEnded(self.ended)
            if self.received_bytes != before:
                return
            self.send(data[place : place + 1])
            await self._load.sleep(every_seconds)

    def stop_reading(self, receive_bytes: int = 4096) -> None:
        """Take no more, and let the system take little."""
        self.pause()
        raw = getattr(self.transport, "socket", None)
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)

    def pause(self) -> None:
        if self.ended is None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        if self.ended is None:
            self.transport.resumeProducing()

    def gone(self) -> bool:
        """Whether the server has gone, as the system knows it: who does not read is not told (Linux)."""
        raw = getattr(self.transport, "socket", None)
        if self.ended is not None or raw is None:
            return self.ended is not None
        state: int = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state != TCP_ESTABLISHED

    def half_close(self) -> None:
        """Send FIN, and go on reading."""
        if self.ended is None:
            self.transport.loseWriteConnection()

    def close(self) -> None:
        """Close politely."""
        if self.ended is None:
            if self._flow is not None:
                self.transport.unregisterProducer()
            self.transport.loseConnection()

    def reset(self) -> None:
        """Go with RST, as a client does whose process has died."""
        if self.ended is None:
            self.transport.abortConnection()

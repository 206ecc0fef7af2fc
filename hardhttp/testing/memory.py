"""A reactor and sockets of memory, as much of them as Twisted's own transports ask for."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.task import Clock

__all__ = ["MemoryReactor", "MemorySocket"]

# Calls at one instant that are more than any test's.
RESTLESS_CALLS = 100_000


class MemoryReactor(_DisconnectSelectableMixin, Clock):
    """A ``Clock`` that also reads and writes, when told to ``turn``."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[Any, None] = {}
        self.writers: dict[Any, None] = {}

    def addReader(self, reader: Any) -> None:
        self.readers[reader] = None

    def addWriter(self, writer: Any) -> None:
        self.writers[writer] = None

    def removeReader(self, reader: Any) -> None:
        self.readers.pop(reader, None)

    def removeWriter(self, writer: Any) -> None:
        self.writers.pop(writer, None)

    def getReaders(self) -> list[Any]:
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        return list(self.writers)

    def advance(self, amount: float) -> None:
        """As ``Clock``'s, but calls that schedule one another without end fail and do not hang."""
        self.rightNow += amount
        for _ in range(RESTLESS_CALLS):
            self.calls.sort(key=lambda call: call.getTime())
            if not self.calls or self.calls[0].getTime() > self.rightNow:
                return
            call = self.calls.pop(0)
            call.called = True
            call.func(*call.args, **call.kw)
        raise AssertionError(f"the reactor does not come to rest: {self.calls}")

    def turn(self) -> None:
        """Do all there is to do at this instant."""
        busy = True
        while busy:
            busy = False
            self.advance(0)
            for transport in [t for t in self.readers if t.socket.readable]:
                if transport in self.readers:
                    busy = True
                    self._after(transport, transport.doRead(), True)
            for transport in [t for t in self.writers if t.socket.writable]:
                if transport in self.writers:
                    busy = True
                    self._after(transport, transport.doWrite(), False)

    def _after(self, transport: Any, why: Any, reading: bool) -> None:
        if why:
            self._disconnectSelectable(transport, why, reading)


class MemorySocket:
    """The server's end of a connection. It keeps pieces apart: each is one read."""

    def __init__(self) -> None:
        self.incoming: deque[bytes] = deque()
        self.ended = self.broken = False  # by the peer: no more will come; reset
        self.sent = bytearray()
        self.window: int | None = None  # how much more the peer takes
        self.shut = self.closed = self.aborted = False  # by the server

    @property
    def readable(self) -> bool:
        return bool(self.incoming) or self.ended or self.broken

    @property
    def writable(self) -> bool:
        return self.window is None or self.window > 0 or self.broken

    def recv(self, size: int) -> bytes:
        if self.broken:
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        if not self.incoming:
            if self.ended:
                return b""
            raise BlockingIOError(errno.EWOULDBLOCK, "nothing to read")
        piece = self.incoming.popleft()
        if len(piece) > size:
            self.incoming.appendleft(piece[size:])
        return piece[:size]

    def send(self, data: bytes) -> int:
        if self.broken or self.shut:
            raise BrokenPipeError(errno.EPIPE, "nobody reads")
        size = len(data) if self.window is None else min(len(data), self.window)
        if not size and data:
            raise BlockingIOError(errno.EWOULDBLOCK, "full")
        if self.window is not None:
            self.window -= size
        self.sent += data[:size]
        return size

    def shutdown(self, how: int) -> None:
        self.shut = True

    def close(self) -> None:
        self.shut = self.closed = True

    def setsockopt(self, *args: Any) -> None:
        self.aborted = True  # the one option Twisted sets: SO_LINGER of 0 seconds, before an abort

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 80

    def setblocking(self, flag: bool) -> None:
        pass

    def fileno(self) -> int:
        return -1

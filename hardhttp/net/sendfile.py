"""Files on their way out: from the kernel's cache to the socket, without passing through Python.

``SendsFiles`` is what a fast transport can do: one ``sendfile`` of a bounded number of bytes, and to be
resumed when the socket takes more. ``FileProducer`` is who uses it: it sends the pieces of one response,
in turns, so that one fast client cannot hold the reactor, and closes the file whatever happens. Where
the transport cannot (TLS, a stock transport, ``twisted.web``'s own Site) it reads and writes.

Reading blocks for as long as the disk takes for one turn's bytes, as it does in nginx without aio: of
what is in the page cache that is microseconds.

An open file is in the ledger, under its own name and not its connection's: one that is not closed when
its connection ends stays there to be seen.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from hardhttp.errors import Reason
from hardhttp.net.connection import Connection
from hardhttp.net.ledger import FILES, Ledger
from hardhttp.wire.ranges import Span

__all__ = ["TURN_BYTES", "FileProducer", "OpenFile", "SendsFiles", "read_span"]

# What one client may take in one turn of the reactor; nginx's sendfile_max_chunk is 2 MiB.
TURN_BYTES = 512 * 1024
# What is read and written at once where there is no sendfile.
PIECE_BYTES = 128 * 1024

_WOULD_BLOCK = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS, errno.ENOMEM})
_PEER_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.ECONNABORTED})
# A file system, or a socket, that has no sendfile.
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class SendsFiles:
    """``sendfile`` for Twisted's stream transports; mixed into the fast ones."""

    socket: Any
    dataBuffer: bytes
    _tempDataBuffer: list[bytes]
    producer: Any
    producerPaused: bool
    connected: int
    TLS: bool
    startWriting: Any

    @property
    def sends_files(self) -> bool:
        return hasattr(os, "sendfile") and not self.TLS and isinstance(self.socket, socket.socket)

    def sendFile(self, descriptor: int, offset: int, count: int, more: bool) -> int | None:
        """Send up to ``count`` bytes of an open file; how many the kernel took.

        ``None`` when it takes none now, 0 at the file's end. When fewer than ``count`` went, or there
        is ``more`` to come, the registered push producer is resumed as soon as the socket takes more.
        Raises ``OSError`` for what is wrong with the file; what is wrong with the socket others
        meet by themselves.
        """
        if not self.connected:
            return None
        sent = None
        if not self.dataBuffer and not self._tempDataBuffer:
            try:
                sent = self._take_from(descriptor, offset, min(count, TURN_BYTES))
            except OSError as error:
                if error.errno in _PEER_GONE:
                    return None  # reading will tell, or the reaper: writing on would only turn in a circle
                if error.errno not in _WOULD_BLOCK:
                    raise
        if sent is None or (sent and (more or sent < count)):
            self.resumeWhenWritable()
        return sent

    def _take_from(self, descriptor: int, offset: int, count: int) -> int:
        return os.sendfile(self.socket.fileno(), descriptor, offset, count)

    def resumeWhenWritable(self) -> None:
        """Resume the registered push producer when the queue is empty and the socket takes bytes."""
        self.producerPaused = True
        self.startWriting()


class OpenFile:
    """A descriptor that somebody owns; ``close`` may be called more than once."""

    __slots__ = ("_ledger", "descriptor")

    def __init__(self, descriptor: int, ledger: Ledger | None = None) -> None:
        self.descriptor = descriptor
        self._ledger = ledger
        if ledger is not None:
            ledger.hold(self, FILES, 1)

    def close(self) -> None:
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
            if self._ledger is not None:
                self._ledger.hold(self, FILES, 0)

    def __del__(self) -> None:
        """Whoever lets go of it without closing it must not cost the process a descriptor for ever."""
        self.close()


def read_span(descriptor: int, span: Span) -> bytes:
    """The bytes of ``span``; fewer when the file ends before."""
    data = os.pread(descriptor, span.length, span.start)
    if len(data) < span.length:
        parts = [data]
        start, left = span.start + len(data), span.length - len(data)
        while left and (more := os.pread(descriptor, left, start)):
            parts.append(more)
            start, left = start + len(more), left - len(more)
        data = b"".join(parts)
    return data


@implementer(IPushProducer, IPullProducer)
class FileProducer:
    """The body of a response, of pieces of one open file and bytes between them; then it finishes the request.

    ``request`` is any ``IRequest`` whose head says the length of it all; the file is closed at the end,
    whatever that is. A file that has become shorter than it was ends the connection: what is missing
    cannot be made up (RFC 9112, 8). One that has grown is sent as long as was said.
    """

    __slots__ = ("_by_kernel", "_file", "_left", "_offset", "_pieces", "_request")

    _log = Logger(namespace="hardhttp")

    def __init__(self, request: Any, file: OpenFile, pieces: Iterable[bytes | Span]) -> None:
        self._request = request
        self._file = file
        self._pieces = deque(pieces)
        self._offset = self._left = 0  # of the span being sent
        self._by_kernel = False  # known when the head has gone

    def start(self) -> None:
        """Send; the head goes first if it has not gone."""
        try:
            self._request.write(b"")
            self._by_kernel = bool(getattr(self._request, "sends_files", False))
            self._request.registerProducer(self, self._by_kernel)
        except BaseException:
            self._file.close()
            raise
        if self._by_kernel:
            self.resumeProducing()

    # -- producers ----------------------------------------------------------------------------

    def resumeProducing(self) -> None:
        """Send what one turn may."""
        if self._request is None:
            return
        try:
            if not self._left and not self._next():
                self._end()
            elif self._by_kernel:
                self._send()
            else:
                self._write()
        except OSError as error:
            self._give_up(f"it cannot be read: {os.strerror(error.errno or 0)}")

    def pauseProducing(self) -> None:
        """What is sent was measured by what the socket takes, so there is nothing to hold back."""

    def stopProducing(self) -> None:
        """Nobody waits for the rest."""
        self._request = None
        self._file.close()

    # -- sending ------------------------------------------------------------------------------

    def _next(self) -> bool:
        """Go on to the next span; bytes before it are written."""
        while self._pieces and not self._left:
            piece = self._pieces.popleft()
            if isinstance(piece, Span):
                self._offset, self._left = piece.start, piece.length
            else:
                self._request.write(piece)
                if self._request is None:
                    return True  # it ended over the write
        return self._left > 0

    def _send(self) -> None:
        """By ``sendfile``, until the turn is over or the socket is full: then the transport resumes us."""
        try:
            sent = self._request.sendFile(self._file.descriptor, self._offset, self._left, bool(self._pieces))
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            self._by_kernel = False
            request = self._request
            request.unregisterProducer()
            request.registerProducer(self, False)
            return
        if sent is None:
            return
        if not sent:
            self._give_up("it became shorter")
            return
        self._offset += sent
        self._left -= sent
        if not self._left and not self._pieces:
            self._end()

    def _write(self) -> None:
        data = read_span(self._file.descriptor, Span(self._offset, min(self._left, PIECE_BYTES)))
        if not data:
            self._give_up("it became shorter")
            return
        self._offset += len(data)
        self._left -= len(data)
        self._request.write(data)
        if not self._left and not self._pieces and self._request is not None:
            self._end()

    # -- ends ---------------------------------------------------------------------------------

    def _end(self) -> None:
        request, self._request = self._request, None
        self._file.close()
        if request is not None:
            request.unregisterProducer()
            request.finish()

    def _give_up(self, why: str) -> None:
        """Half a response must not look like a whole one."""
        request, self._request = self._request, None
        self._file.close()
        if request is None:
            return
        self._log.warn("a file was being sent and {why}; its connection is aborted", why=why)
        request.unregisterProducer()
        channel = request.channel
        if isinstance(channel, Connection):
            channel.abort(Reason.SHORT_RESPONSE)
        else:
            request.transport.abortConnection()

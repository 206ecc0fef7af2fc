r"""One line for each finished request, in the combined log format.

::

    ADDRESS - - [DAY/MON/YEAR:TIME +0000] "METHOD TARGET VERSION" STATUS BYTES "REFERER" "AGENT" SECONDS ID

It promises that a request is one line whatever its peer sent: every byte outside printable
ASCII, every quote and every backslash is written ``\xNN``. Authorization and cookies are never
written; the target is written whole. ``SECONDS`` runs from the request to its end, ``ID`` is the
one that an error page and the log of its traceback bear, ``-`` where there was no need of one.

Lines are buffered: written within a second, or at 64 KiB, and at ``close``. What cannot be written
(a full disk, a reader of the pipe that has stopped) is kept up to 1 MiB; after that lines are
lost, and their number is logged. Nothing here blocks on a pipe or a terminal. A file that is
moved away or removed is opened anew under its name within a second, so it can be rotated with no
signal; ``reopen`` does so at once.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["AccessLog"]

FLUSH_SECONDS = 1.0
FLUSH_BYTES = 64 * 1024
MAX_BUFFER_BYTES = 1024 * 1024

_UNSAFE = re.compile(rb'[^\x20-\x7e]|["\\]')
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _safe(raw: bytes | None) -> bytes:
    """``raw`` as a quoted field may hold it; ``-`` for nothing."""
    return _UNSAFE.sub(lambda found: b"\\x%02x" % found[0][0], raw) if raw else b"-"


class AccessLog:
    """A file of requests: call it with each finished one.

    ``path`` is a file's, or ``-`` for standard output; ``clock`` an ``IReactorTime`` whose
    ``seconds`` count from the epoch, as a reactor's do. ``open`` raises ``OSError``. A call before
    ``open`` or after ``close`` does nothing; it may be opened again.
    """

    _log = Logger()

    def __init__(self, path: str, clock: IReactorTime) -> None:
        self.path, self._clock = path, clock
        self._fd: int | None = None
        self._whole_writes = False  # a regular file takes what it is given
        self._buffer = bytearray()
        self._flushing: IDelayedCall | None = None
        self._failure = ""  # why lines wait
        self._second, self._date = -1, b""
        self.lost_lines = 0

    def open(self) -> None:
        """Begin to write; does nothing when open already."""
        if self._fd is None:
            self._take(self._descriptor())

    def close(self) -> None:
        """Write what can be written at once and let go of the file."""
        self.flush()
        self.lost_lines += self._buffer.count(b"\n")
        self._buffer.clear()
        self._report_lost()
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def reopen(self) -> None:
        """Go on in a new file of the same name; in the old one when that raises ``OSError``."""
        if self._fd is not None:
            fresh = self._descriptor()
            os.close(self._fd)
            self._take(fresh)

    def __call__(self, request: Any) -> None:
        if self._fd is None:
            return
        line = self._line(request)
        if len(self._buffer) + len(line) > MAX_BUFFER_BYTES:
            self.lost_lines += 1
            return
        self._buffer += line
        if len(self._buffer) >= FLUSH_BYTES and not self._failure:
            self.flush()
        elif self._flushing is None:
            self._flushing = self._clock.callLater(FLUSH_SECONDS, self._flush_later)

    def flush(self) -> None:
        """Write as much of the buffer as can be without waiting; the rest is tried in a second."""
        if self._fd is None:
            return
        failure = ""
        for step in (self._follow, self._drain):
            try:
                step()
            except OSError as error:
                failure = str(error)
        if failure and failure != self._failure:  # said once: the next thousand would say the same
            self._log.error("access log {path} cannot be written: {error}", path=self.path, error=failure)
        self._failure = failure
        if self._buffer and self._flushing is None:
            self._flushing = self._clock.callLater(FLUSH_SECONDS, self._flush_later)
        elif not self._buffer:
            self._report_lost()

    def _flush_later(self) -> None:
        self._flushing = None
        self.flush()

    def _follow(self) -> None:
        """Reopen when the name no longer leads to the file being written."""
        if self._fd is None or self.path == "-":
            return
        if not os.path.exists(self.path) or not os.path.samestat(os.stat(self.path), os.fstat(self._fd)):
            self.reopen()

    def _drain(self) -> None:
        if self._fd is None:
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        # A pipe that polls writable takes PIPE_BUF bytes without blocking (POSIX).
        while self._buffer and (self._whole_writes or poll.poll(0)):
            piece = self._buffer if self._whole_writes else self._buffer[: select.PIPE_BUF]
            del self._buffer[: os.write(self._fd, piece)]

    def _line(self, request: Any) -> bytes:
        address = getattr(request.getClientAddress(), "host", None) or ""
        return b'%s - - [%s] "%s %s %s" %d %d "%s" "%s" %.6f %s\n' % (
            _safe(address.encode("utf-8", "backslashreplace")),
            self._now(),
            _safe(request.method),
            _safe(request.uri),
            _safe(request.clientproto),
            request.code,
            request.sentLength,
            _safe(request.getHeader(b"referer")),
            _safe(request.getHeader(b"user-agent")),
            request.elapsed_seconds,
            _safe(vars(request).get("request_id", "").encode("utf-8", "backslashreplace")),
        )

    def _now(self) -> bytes:
        second = int(self._clock.seconds())
        if second != self._second:
            self._second, at = second, time.gmtime(second)
            # The month is ours: strftime's speaks the locale's language.
            self._date = time.strftime(f"%d/{_MONTHS[at.tm_mon - 1]}/%Y:%H:%M:%S +0000", at).encode("ascii")
        return self._date

    def _descriptor(self) -> int:
        if self.path == "-":
            return os.dup(1)
        # O_NONBLOCK: opening a pipe nobody reads fails instead of waiting for a reader.
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o640)

    def _take(self, fd: int) -> None:
        self._fd, self._whole_writes = fd, stat.S_ISREG(os.fstat(fd).st_mode)

    def _report_lost(self) -> None:
        if self.lost_lines:
            self._log.warn("access log {path}: {lines} lines were lost", path=self.path, lines=self.lost_lines)
            self.lost_lines = 0

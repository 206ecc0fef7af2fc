r"""One line for each request, in the combined log format, or as JSON.

::

    ADDRESS - - [DAY/MON/YEAR:TIME +0000] "METHOD TARGET VERSION" STATUS BYTES "REFERER" "AGENT" SECONDS ID REASON

It promises that a request is one line whatever its peer sent, and that no secret of it is written; how, and
what a line of JSON holds, is in ``hardhttp.web.loglines``. ``SECONDS`` runs from the request to its end. ``ID``
is the one that an error page and the log of its traceback bear, or a trusted proxy gave; ``-`` where there was
no need of one. ``REASON`` (``hardhttp.errors.Reason``) says why a request was refused or its response never
whole; ``-`` for all others. A status of 499 is a client that left before it was answered, 444 a connection
that the server closed without an answer (nginx's ways to say so). What was refused before it was a request has
``-`` for what is not known, and at most ten lines a minute for each reason, as in the server's own log: a flood
of bad heads fills no disk. ``Statistics.refused`` has the whole number.

Lines are buffered: written within a second, or at 64 KiB, and at ``close``. What cannot be written
(a full disk, a reader of the pipe that has stopped) is kept up to 1 MiB; after that lines are
lost, and their number is logged. Nothing here blocks on a pipe or a terminal. A file that is
moved away or removed is opened anew under its name within a second, so it can be rotated with no
signal; ``reopen`` does so at once, ``hang_up`` is for SIGHUP. It can also rotate by itself: before a file
would grow past ``rotate_bytes`` it becomes ``.1``, and ``.1`` becomes ``.2``, up to ``rotate_count``.

Several processes may write one file: what each writes at once is whole, and one of them rotates for all.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from hardhttp.errors import Reason
from hardhttp.web.loglines import FORMATS, Entry, Lines, entry, refused_entry
from hardhttp.wire.head import Head

__all__ = ["AccessLog"]

FLUSH_SECONDS = 1.0
FLUSH_BYTES = 64 * 1024
MAX_BUFFER_BYTES = 1024 * 1024
# Entries that are made lines of together: 128 take well below a millisecond.
BATCH_ENTRIES = 128
MIN_ROTATE_BYTES = 64 * 1024
MAX_ROTATE_COUNT = 1000


class AccessLog:
    """A file of requests: call it with each finished one.

    ``path`` is a file's, or ``-`` for standard output; ``clock`` an ``IReactorTime`` whose
    ``seconds`` count from the epoch, as a reactor's do. ``format`` is ``combined`` or ``json``.
    ``rotate_bytes`` (at least 64 KiB; ``None`` for never) is a file's largest size, but for lines that are
    more than that at once, and ``rotate_count`` how many full ones are kept. Raises ``ValueError`` for other
    values; ``open`` raises ``OSError``. A call before ``open`` or after ``close`` does nothing; it may be
    opened again.
    """

    _log = Logger()

    def __init__(
        self,
        path: str,
        clock: IReactorTime,
        *,
        format: str = "combined",
        rotate_bytes: int | None = None,
        rotate_count: int = 7,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(f"format is {format!r}; it must be one of {', '.join(FORMATS)}")
        if rotate_bytes is not None and rotate_bytes < MIN_ROTATE_BYTES:
            raise ValueError(f"rotate_bytes is {rotate_bytes!r}; it must be at least {MIN_ROTATE_BYTES}, or None")
        if not 0 <= rotate_count <= MAX_ROTATE_COUNT:
            raise ValueError(f"rotate_count is {rotate_count!r}; it must be from 0 to {MAX_ROTATE_COUNT}")
        self.path, self._clock = path, clock
        self.rotate_bytes, self.rotate_count = rotate_bytes, rotate_count
        self._lines = Lines(format)
        self._fd: int | None = None
        self._whole_writes = False  # a regular file takes what it is given
        self._cut = False  # the file ends in the middle of a line
        self._entries: list[Entry] = []  # not lines yet
        self._entries_bytes = 0  # of the heads they hold
        self._buffer = bytearray()
        self._flushing: IDelayedCall | None = None
        self._failure = ""  # why lines wait
        self.lost_lines = 0

    # -- what is logged -----------------------------------------------------------------------

    def __call__(self, request: Any) -> None:
        """``request`` has been answered."""
        if self._fd is not None:
            self._add(entry(self._clock.seconds(), request, request.code))

    def unfinished(self, request: Any, status: int, reason: Reason) -> None:
        """``request``'s connection ended before its response was whole."""
        if self._fd is not None:
            self._add(entry(self._clock.seconds(), request, status, reason))

    def refused(self, address: str, head: Head | None, status: int, reason: Reason, request_id: str | None) -> None:
        """What ``address`` sent was refused before it was a request."""
        if self._fd is not None:
            self._add(refused_entry(self._clock.seconds(), address, head, status, reason, request_id))

    def _add(self, item: Entry) -> None:
        self._entries.append(item)
        head = item[3]
        if head is not None:
            self._entries_bytes += len(head.lines) + len(head.target)
        if len(self._entries) >= BATCH_ENTRIES or self._entries_bytes >= FLUSH_BYTES:
            self._write_lines()
            if len(self._buffer) >= FLUSH_BYTES and not self._failure:
                self.flush()
        if self._flushing is None and (self._entries or self._buffer):
            self._flushing = self._clock.callLater(FLUSH_SECONDS, self._flush_later)

    def _write_lines(self) -> None:
        """Make lines of what is noted, as far as the buffer has room."""
        entries, self._entries, self._entries_bytes = self._entries, [], 0
        lines = self._lines.batch(entries)
        room = MAX_BUFFER_BYTES - len(self._buffer)
        if len(lines) > room:
            kept = lines[: lines.rfind(b"\n", 0, room) + 1]
            self.lost_lines += len(entries) - kept.count(b"\n")
            lines = kept
        self._buffer += lines

    # -- the file -----------------------------------------------------------------------------

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
            cut = self._cut and os.path.samestat(os.fstat(fresh), os.fstat(self._fd))
            if self._cut and not cut:
                # The rest of a line would pass for a line, with a beginning that its peer has chosen.
                del self._buffer[: self._buffer.find(b"\n") + 1]
                self.lost_lines += 1
            os.close(self._fd)
            self._take(fresh)
            self._cut = cut

    def hang_up(self) -> None:
        """What SIGHUP asks for: write what there is to the old file, go on in a new one. Never raises."""
        self._write_lines()
        self._attempt(self._rotate, self._drain, self.reopen)

    def flush(self) -> None:
        """Write as much as can be without waiting; the rest is tried in a second."""
        if self._fd is None:
            return
        self._write_lines()
        self._attempt(self._follow, self._rotate, self._drain)
        if self._buffer and self._flushing is None:
            self._flushing = self._clock.callLater(FLUSH_SECONDS, self._flush_later)
        elif not self._buffer:
            self._report_lost()

    def _flush_later(self) -> None:
        self._flushing = None
        self.flush()

    def _attempt(self, *steps: Any) -> None:
        failure = ""
        for step in steps:
            try:
                step()
            except OSError as error:
                failure = str(error)
        if failure and failure != self._failure:  # said once: the next thousand would say the same
            self._log.error("access log {path} cannot be written: {error}", path=self.path, error=failure)
        self._failure = failure

    def _follow(self) -> None:
        """Reopen when the name no longer leads to the file being written."""
        if self._fd is not None and self.path != "-" and not self._has_its_name(self._fd):
            self.reopen()

    def _has_its_name(self, fd: int) -> bool:
        return os.path.exists(self.path) and os.path.samestat(os.stat(self.path), os.fstat(fd))

    def _drain(self) -> None:
        if self._fd is None:
            return
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        # A pipe that polls writable takes PIPE_BUF bytes without blocking (POSIX).
        while self._buffer and (self._whole_writes or poll.poll(0)):
            piece = self._buffer if self._whole_writes else self._buffer[: select.PIPE_BUF]
            written = os.write(self._fd, piece)
            self._cut = piece[written - 1] != 0x0A
            del self._buffer[:written]

    def _rotate(self) -> None:
        """Begin a new file when this one has no room for the buffer; never within a line."""
        if self.rotate_bytes is None or self._fd is None or not self._whole_writes or self._cut:
            return
        size = os.fstat(self._fd).st_size
        if not size or size + len(self._buffer) <= self.rotate_bytes or not self._has_its_name(self._fd):
            return
        try:
            # Another process may write the same file, and find it as large. Closing it gives the lock back.
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # it begins the new file; we follow
        if self._has_its_name(self._fd):
            self._shift()
        self.reopen()

    def _shift(self) -> None:
        names = [self.path, *(f"{self.path}.{number}" for number in range(1, self.rotate_count + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1])):
            if os.path.exists(newer):
                os.replace(newer, older)
        if not self.rotate_count:
            os.unlink(self.path)

    def _descriptor(self) -> int:
        if self.path == "-":
            return os.dup(1)
        # O_NONBLOCK: opening a pipe nobody reads fails instead of waiting for a reader.
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o640)

    def _take(self, fd: int) -> None:
        self._fd, self._whole_writes = fd, stat.S_ISREG(os.fstat(fd).st_mode)
        self._cut = False

    def _report_lost(self) -> None:
        if self.lost_lines:
            self._log.warn("access log {path}: {lines} lines were lost", path=self.path, lines=self.lost_lines)
            self.lost_lines = 0

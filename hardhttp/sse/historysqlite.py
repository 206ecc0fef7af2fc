"""A history that outlives its process: in memory, and written behind into an SQLite file.

Readers are served from memory, so the disk is never waited for. What is appended, what is dropped, and what each
topic has lost are gathered and written by a thread: one batch at a time, each one transaction, and what comes
meanwhile makes the next. The bounds of ``MemoryHistory`` bound the file as well, and whatever waits.

What the disk refuses is kept and tried again: ``degraded`` says why, the log says so once, and again when the
file has caught up. Nothing is lost by that but what a restart in the meantime loses. No timer waits for
room: each append, page and ``expire`` may try, at most every ``RETRY_SECONDS``.

After ``close`` the next start goes on as if nothing had been. After ``kill -9`` what was not written yet is gone.
How much that is tells a small file beside the other, ``PATH-last``: the last number given, written over
in place before anybody is told of it. The next start takes a new epoch, numbers on after it, and whoever comes
back from before is told of a ``restart`` gap if there is one. (After a loss of power that file may be old; the new
epoch still keeps ids apart.)
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from hardhttp.errors import StoreError
from hardhttp.interfaces import Lost, Update
from hardhttp.sse.history import READ_SLICE, Epoch, MemoryHistory
from hardhttp.sse.historyindex import TopicLog
from hardhttp.stores.database import Schema, open_database
from hardhttp.stores.databasethread import DatabaseThread, complaint

if TYPE_CHECKING:
    from hardhttp.stores.databasethread import ReactorWithThreads

__all__ = ["SQLiteHistory"]

# "hhev"
SCHEMA = Schema(
    "history",
    0x68686576,
    1,
    """
CREATE TABLE updates (
    sequence INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    topics TEXT NOT NULL,
    private INTEGER NOT NULL,
    key BLOB,
    encoded BLOB NOT NULL,
    published_at REAL NOT NULL
);
CREATE TABLE topics (name BLOB PRIMARY KEY, lost_to INTEGER NOT NULL, lost_why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs (name TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, kept INTEGER NOT NULL);
CREATE TABLE state (
    epoch TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    last_id BLOB NOT NULL,
    closed INTEGER NOT NULL,
    forgotten_to INTEGER NOT NULL,
    forgotten_why TEXT NOT NULL
)
""",
)
# How long another process may keep the file, and how long the disk may take.
BUSY_SECONDS = 5.0
ANSWER_SECONDS = 30.0
RETRY_SECONDS = 5.0
# Of one transaction.
MAX_BATCH_UPDATES = 1000
MAX_BATCH_BYTES = 4 << 20
# Numbers to be deleted that may wait; past it, only those below the oldest are, and a start ignores the others.
MAX_GONE = 50_000
# How many numbers to leave out after an end that left no note of the last one.
UNKNOWN_NUMBERS = 1_000_000
MAX_EPOCHS = 64


class Owner(Enum):
    """Whose the file is; nobody's while it is being closed for another process."""

    US = auto()
    NOBODY = auto()
    ANOTHER = auto()


@attrs.frozen
class _Batch:
    updates: dict[int, Update]
    gone: list[int]
    oldest: int
    marks: dict[str, tuple[int, Lost] | None]
    state: tuple[int, bytes, int, Lost]  # last, last_id, forgotten_to, forgotten_why

    def write(self, connection: sqlite3.Connection) -> None:
        """The losses of topics come first: what is deleted is never silently so."""
        kept = [(_blob(name), *mark) for name, mark in self.marks.items() if mark is not None]
        connection.executemany("INSERT OR REPLACE INTO topics VALUES (?, ?, ?)", kept)
        forgotten = [(_blob(name),) for name, mark in self.marks.items() if mark is None]
        connection.executemany("DELETE FROM topics WHERE name = ?", forgotten)
        connection.execute("UPDATE state SET last = ?, last_id = ?, forgotten_to = ?, forgotten_why = ?", self.state)
        connection.executemany("DELETE FROM updates WHERE sequence = ?", [(sequence,) for sequence in self.gone])
        connection.execute("DELETE FROM updates WHERE sequence < ?", (self.oldest,))
        connection.executemany(
            "INSERT OR REPLACE INTO updates VALUES (?, ?, ?, ?, ?, ?, ?)", map(_row, self.updates.values())
        )


def _blob(text: str) -> bytes:
    """Any text, a lone surrogate too: what the disk refuses would be tried for ever."""
    return text.encode("utf-8", "surrogatepass")


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")


def _row(update: Update) -> tuple[Any, ...]:
    topics = json.dumps(update.topics)
    key = None if update.key is None else _blob(update.key)
    return update.sequence, _blob(update.id), topics, update.private, key, update.encoded, update.published_at


def _update(row: tuple[Any, ...]) -> Update:
    key = None if row[4] is None else _text(row[4])
    return Update(row[0], _text(row[1]), tuple(json.loads(row[2])), bool(row[3]), key, row[5], row[6])


def _mark_closed(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE state SET closed = 1")


class _LastNumber:
    """The file that notes the last number given; ``None`` when it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # the file itself will complain of a place that is none

    def read(self, epoch: str) -> int | None:
        if self._file is not None:
            name, _, number = os.pread(self._file, 64, 0).partition(b" ")
            if name == epoch.encode() and len(number) == 20 and number[:19].isdigit():
                return int(number)
        return None

    def write(self, epoch: str, sequence: int) -> None:
        if self._file is not None:
            try:
                os.pwrite(self._file, b"%s %019d\n" % (epoch.encode(), sequence), 0)
            except OSError:  # the disk is full, and was when the file was made
                pass

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class SQLiteHistory(MemoryHistory):
    """A ``MemoryHistory`` that the file at ``path`` keeps for the next start; ``bounds`` are the same.

    The file is read here and now, before anything is served, and belongs to this process until ``close``.
    ``reactor`` is the clock as well; it must count seconds since the epoch, or ages are wrong after a restart.

    Raises ``StoreError`` for a place or a file that cannot be used, or that another process uses. A disk that is
    full does not raise: see ``degraded``.
    """

    log = Logger(namespace="hardhttp")

    def __init__(
        self, path: str | Path, reactor: ReactorWithThreads, *, busy_seconds: float = BUSY_SECONDS, **bounds: Any
    ) -> None:
        super().__init__(reactor, **bounds)
        self._path = Path(path).absolute()  # a daemon changes its directory
        self._busy_seconds = busy_seconds
        self._new: dict[int, Update] = {}
        self._gone: list[int] = []
        self._marks: dict[str, tuple[int, Lost] | None] = {}
        self._writing = False
        self._owner = Owner.US
        self._retry_at = 0.0
        self._waiters: list[Deferred[None]] = []
        self._ready: sqlite3.Connection | None = None
        self._thread = DatabaseThread(
            self._path, "BEGIN IMMEDIATE", self._connect, reactor, ANSWER_SECONDS, SCHEMA.what
        )
        self._note: _LastNumber | None = None
        try:
            self._ready = self._open()
            self._note = _LastNumber(Path(f"{self._path}-last"))
            self._begin(self._ready)
            self._note.write(self.epoch, self.last_sequence)
        except (sqlite3.Error, OSError, StoreError, ValueError) as error:
            if self._ready is not None:
                self._ready.close()
                self._ready = None
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                self._let_go()
                raise complaint(self._path, error, SCHEMA.what) from error
            self._degrade(str(complaint(self._path, error, SCHEMA.what)))

    def __repr__(self) -> str:
        return f"<SQLiteHistory {str(self._path)!r}>"

    def _open(self) -> sqlite3.Connection:
        return open_database(self._path, self._busy_seconds, writes=True, schema=SCHEMA, alone=True)

    def _connect(self) -> sqlite3.Connection:
        """For the thread: the connection that is open already, else another."""
        ready, self._ready = self._ready, None
        if ready is None:
            ready = self._open()
            try:
                ready.execute("BEGIN IMMEDIATE")
                self._claim(ready)  # there may have been no room for it at the start
                ready.execute("COMMIT")
            except BaseException:
                ready.close()
                raise
        return ready

    # -- at the start -------------------------------------------------------------------------

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take up what is in the file, and note in it that it is in use."""
        assert self._note is not None
        connection.execute("BEGIN IMMEDIATE")
        state = connection.execute("SELECT * FROM state").fetchone()
        if state is not None:
            self._restore(connection, state, self._note.read(state[0]))
        self._claim(connection)
        connection.execute("COMMIT")

    def _claim(self, connection: sqlite3.Connection) -> None:
        """Note that the file is in use, and by which epoch."""
        if connection.execute("SELECT count(*) FROM state").fetchone()[0] == 0:
            connection.execute("INSERT INTO state VALUES ('', 0, 0, x'', 0, 0, 'evicted')")
        before = self._first_sequence - 1
        connection.execute(
            "UPDATE state SET epoch = :epoch, first = :first, closed = 0, last = max(last, :before),"
            " last_id = CASE WHEN last <= :before AND epoch != :epoch THEN :last_id ELSE last_id END",
            {
                "epoch": self.epoch,
                "first": self._first_sequence,
                "before": before,
                "last_id": _blob(f"{self.epoch}-{before}"),
            },
        )
        connection.execute("DELETE FROM epochs")
        connection.executemany("INSERT INTO epochs VALUES (?, ?, ?, ?)", map(attrs.astuple, self._past))

    def _restore(self, connection: sqlite3.Connection, state: tuple[Any, ...], noted: int | None) -> None:
        epoch, first, last, last_id, closed, self._forgotten_to, self._forgotten_why = state
        past = connection.execute("SELECT name, first, last, kept FROM epochs ORDER BY first")
        self._past = [Epoch(*row) for row in past]
        if closed and (noted is None or noted <= last):
            self.epoch, self._first_sequence, self.last_sequence, self.last_id = epoch, first, last, _text(last_id)
        else:
            given = last + UNKNOWN_NUMBERS if noted is None else max(noted, last)
            self._past = [*self._past, Epoch(epoch, first, given, last)][-MAX_EPOCHS:]
            self._first_sequence, self.last_sequence = given + 1, given
            self.last_id = f"{self.epoch}-{given}"
        for blob, lost_to, why in connection.execute("SELECT * FROM topics ORDER BY lost_to"):
            name = _text(blob)
            self._topics[name] = TopicLog(name, lost_to, why, 0)
        for update in self._rows(connection):
            logs = [self._topics[name] for name in dict.fromkeys(update.topics) if self._holds(name, update.sequence)]
            if logs:
                self._insert(update, logs)
                for log in logs:
                    self._topics.move_to_end(log.name)
            else:
                self._gone.append(update.sequence)
        self._hold_bounds(list(self._topics.values()))  # they may be narrower than they were

    def _rows(self, connection: sqlite3.Connection) -> Iterator[Update]:
        return map(_update, connection.execute("SELECT * FROM updates ORDER BY sequence"))

    # -- as it changes ------------------------------------------------------------------------

    def append(self, update: Update) -> None:
        super().append(update)
        self._write()

    def expire(self, most: int = READ_SLICE) -> bool:
        more = super().expire(most)
        self._write()
        return more

    def _appended(self, update: Update) -> None:
        if self._note is not None:
            self._note.write(self.epoch, update.sequence)
        self._new[update.sequence] = update

    def _dropped(self, update: Update) -> None:
        if self._new.pop(update.sequence, None) is None:
            if len(self._gone) >= MAX_GONE:
                self._gone.clear()
            self._gone.append(update.sequence)

    def _marked(self, name: str, log: TopicLog | None) -> None:
        self._marks[name] = None if log is None else (log.lost_to, log.lost_why)

    # -- to the file --------------------------------------------------------------------------

    @property
    def _behind(self) -> bool:
        return bool(self._new or self._gone or self._marks)

    def _write(self) -> None:
        """Have the next batch written, unless one is being written or the disk is to be left alone."""
        if self._writing or self._owner is Owner.ANOTHER or not self._behind:
            return
        if self.degraded is not None and self._clock.seconds() < self._retry_at:
            return
        batch = self._take()
        self._writing = True
        self._thread.ask(batch.write).addCallbacks(
            self._written, self._failed, callbackArgs=(), errbackArgs=(batch,)
        ).addErrback(lambda failure: self.log.failure("the history could not go on", failure))

    def _take(self) -> _Batch:
        updates: dict[int, Update] = {}
        held_bytes = 0
        for sequence, update in self._new.items():
            updates[sequence] = update
            held_bytes += update.held_bytes
            if len(updates) == MAX_BATCH_UPDATES or held_bytes >= MAX_BATCH_BYTES:
                break
        for sequence in updates:
            del self._new[sequence]
        last, last_id = self.last_sequence, self.last_id
        if self._new:
            newest = updates[next(reversed(updates))]
            last, last_id = newest.sequence, newest.id
        oldest = self._all.oldest()
        batch = _Batch(
            updates,
            self._gone,
            self.last_sequence + 1 if oldest is None else oldest.sequence,
            self._marks,
            (last, _blob(last_id), self._forgotten_to, self._forgotten_why),
        )
        self._gone, self._marks = [], {}
        return batch

    def _written(self, _: Any) -> None:
        self._writing = False
        if self.degraded is not None:
            self.degraded = None
            self.log.info("the history is written to {path} again", path=str(self._path))
        self._write()
        self._tell_waiters()

    def _failed(self, failure: Any, batch: _Batch) -> None:
        """Put the batch back before what has come since."""
        self._writing = False
        back = {sequence: update for sequence, update in batch.updates.items() if self._all.get(sequence) is update}
        self._new = {**back, **self._new}
        self._gone = (batch.gone + self._gone)[-MAX_GONE:]
        self._marks = {**batch.marks, **self._marks}
        self._degrade(failure.getErrorMessage())
        self._tell_waiters()

    def _degrade(self, reason: str) -> None:
        if self.degraded is None:
            self.log.error("the history is kept in memory alone: {reason}", reason=reason)
        self.degraded = reason
        self._retry_at = self._clock.seconds() + RETRY_SECONDS

    # -- the end ------------------------------------------------------------------------------

    def _tell_waiters(self) -> None:
        if not self._writing:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def flush(self) -> Deferred[None]:
        """Fires when the file has all that was appended, or has refused it once more."""
        self._retry_at = 0.0
        self._write()
        if not self._writing:
            return succeed(None)
        self._waiters.append(Deferred())
        return self._waiters[-1]

    def hand_over(self) -> Deferred[None]:
        """Close the file for another process; readers are served from memory on. ``close`` leaves it alone then."""
        self._owner = Owner.NOBODY

        def closed(result: None) -> None:
            if self._owner is Owner.NOBODY:
                self._owner = Owner.ANOTHER
            else:
                self.take_back()  # it was wanted back before it was closed

        return self.close().addCallback(closed)

    def take_back(self) -> None:
        """The file is this process's again."""
        self._owner = Owner.US
        if self._note is None:
            self._note = _LastNumber(Path(f"{self._path}-last"))

    def close(self) -> Deferred[None]:
        if self._owner is Owner.ANOTHER:
            return succeed(None)

        async def close() -> None:
            await self.flush()
            if not self._behind:
                try:
                    await self._thread.ask(_mark_closed)
                except StoreError as error:
                    self._degrade(str(error))
            await self._thread.stop()
            self._let_go()

        return Deferred.fromCoroutine(close())

    def _let_go(self) -> None:
        if self._ready is not None:
            self._ready.close()
            self._ready = None
        if self._note is not None:
            self._note.close()
            self._note = None

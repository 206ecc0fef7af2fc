"""The file an SQLite store keeps its sessions in: how it is opened, and the work done on it.

Everything here runs in a store's own threads (``databasethread``), never in the reactor's. A function that
takes an open connection is called within a transaction.

A session is a row of ``sessions`` for what is looked at often, and one of ``texts`` for what may be large, so
that noting an access writes few bytes. The totals are kept by triggers: whoever changes a row, in whatever
process, changes them in the same transaction, so they cannot drift.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from hardhttp.errors import SessionTooLargeError, StoreError
from hardhttp.interfaces import SessionRecord, SessionTimes
from hardhttp.limits import Limits
from hardhttp.stores.databasethread import is_busy
from hardhttp.stores.packing import encode, pack, unpack

__all__ = [
    "SESSIONS",
    "Schema",
    "check_place",
    "count",
    "delete",
    "evict",
    "load",
    "open_database",
    "rename",
    "save",
    "sweep",
    "touch",
]

TABLES = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    created_at REAL NOT NULL,
    last_accessed_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    held_bytes INTEGER NOT NULL
);
CREATE INDEX sessions_by_access ON sessions (last_accessed_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE TABLE texts (id INTEGER PRIMARY KEY, packed BLOB NOT NULL);
CREATE TABLE totals (number INTEGER NOT NULL, held_bytes INTEGER NOT NULL);
INSERT INTO totals VALUES (0, 0);
CREATE TRIGGER session_made AFTER INSERT ON sessions BEGIN
    UPDATE totals SET number = number + 1, held_bytes = held_bytes + new.held_bytes;
END;
CREATE TRIGGER session_changed AFTER UPDATE OF held_bytes ON sessions BEGIN
    UPDATE totals SET held_bytes = held_bytes + new.held_bytes - old.held_bytes;
END;
CREATE TRIGGER session_gone AFTER DELETE ON sessions BEGIN
    UPDATE totals SET number = number - 1, held_bytes = held_bytes - old.held_bytes;
    DELETE FROM texts WHERE id = old.id;
END
"""


@attrs.frozen
class Schema:
    """What a kind of file is called, and how it is known and made.

    ``application_id`` tells it from another application's, for ``file(1)`` too.
    """

    what: str
    application_id: int
    version: int
    tables: str


SESSIONS = Schema("session store", 0x68687373, 1, TABLES)  # "hhss"
# Rows that one transaction deletes at most: some milliseconds of work, then it is another's turn.
STEP_ROWS = 500
# Pages (of 4 KiB) that one sweep gives back to the file system at most.
STEP_PAGES = 1000
# What the log beside the file may keep when it has been written back.
MAX_IDLE_LOG_BYTES = 4 * 1024 * 1024
RETRY_SECONDS = 0.02

_making = threading.Lock()


def check_place(path: Path, what: str = SESSIONS.what) -> None:
    """Raise ``StoreError`` where no file could be at ``path``."""
    if not path.parent.is_dir():
        raise StoreError(f"{what} {str(path)!r}: there is no directory {str(path.parent)!r}")
    if path.exists() and not path.is_file():
        raise StoreError(f"{what} {str(path)!r} is not a file")


def open_database(
    path: Path, busy_seconds: float, *, writes: bool, schema: Schema = SESSIONS, alone: bool = False
) -> sqlite3.Connection:
    """A connection to the file at ``path``, which is made if need be, for its owner alone.

    With ``alone`` no other connection may use the file as long as this one does, and it may be handed from one
    thread to another. Raises ``StoreError``, ``OSError`` or ``sqlite3.Error``.
    """
    check_place(path, schema.what)
    # Never opened by us when it is there: closing a descriptor drops SQLite's locks on the same file (POSIX, fcntl).
    with _making:
        if not path.exists():
            try:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except FileExistsError:
                pass  # another process was faster
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=not alone)
    try:
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _prepare(connection, path, busy_seconds, schema)
        if not writes:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, busy_seconds: float, schema: Schema) -> None:
    _check_ours(connection, path, schema)
    if _one(connection, "PRAGMA user_version") == 0:
        _make(connection, path, busy_seconds, schema)
    connection.execute("PRAGMA synchronous = NORMAL")  # with a log: safe from kill -9 without a sync for each commit
    connection.execute(f"PRAGMA journal_size_limit = {MAX_IDLE_LOG_BYTES}")


def _make(connection: sqlite3.Connection, path: Path, busy_seconds: float, schema: Schema) -> None:
    """Mode and tables, which stay with the file: asking for them again would wait for whoever writes."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # heeded while the file is empty
    (mode,) = _patiently(connection, "PRAGMA journal_mode = WAL", busy_seconds)
    if mode != "wal":
        raise StoreError(f"{schema.what} {str(path)!r}: its file system bears no write-ahead log")
    with _transaction(connection):
        if _one(connection, "PRAGMA user_version") == 0:  # and nobody else has made them meanwhile
            _make_tables(connection, schema)


def _check_ours(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Refuse a file that is another's before anything in it is changed."""
    version = _one(connection, "PRAGMA user_version")
    application = _one(connection, "PRAGMA application_id")
    empty = _one(connection, "SELECT count(*) FROM sqlite_schema") == 0
    if not empty and application != schema.application_id:
        raise StoreError(f"{schema.what} {str(path)!r} is a database of another application")
    if version > schema.version:
        raise StoreError(f"{schema.what} {str(path)!r} has version {version}; {schema.version} is known")


def _make_tables(connection: sqlite3.Connection, schema: Schema) -> None:
    statement = ""
    for line in schema.tables.strip().splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    connection.execute(statement or "SELECT 1")
    connection.execute(f"PRAGMA application_id = {schema.application_id}")
    connection.execute(f"PRAGMA user_version = {schema.version}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _patiently(connection: sqlite3.Connection, statement: str, busy_seconds: float) -> tuple[str]:
    """SQLite does not wait by itself for the lock that a change of the journal needs."""
    waited = 0.0
    while True:
        try:
            row: tuple[str] = connection.execute(statement).fetchone()
            return row
        except sqlite3.OperationalError as error:
            if not is_busy(error) or waited >= busy_seconds:
                raise
        time.sleep(RETRY_SECONDS)
        waited += RETRY_SECONDS


def _one(connection: sqlite3.Connection, statement: str, *values: object) -> int:
    number: int = connection.execute(statement, values).fetchone()[0]
    return number


# -- the work of a store ---------------------------------------------------------------------


def load(connection: sqlite3.Connection, key: bytes, now: float) -> SessionRecord | None:
    row = connection.execute(
        "SELECT created_at, last_accessed_at, expires_at, packed FROM sessions JOIN texts USING (id)"
        " WHERE key = ? AND expires_at > ?",
        (key, now),
    ).fetchone()
    return None if row is None else SessionRecord(unpack(row[3]), SessionTimes(*row[:3]))


def save(
    connection: sqlite3.Connection,
    key: bytes,
    changes: Mapping[str, str | None],
    times: SessionTimes,
    limits: Limits,
    create: bool,
) -> tuple[bool, int, bool]:
    """Whether it is saved, how many were given up for it, and whether more must be."""
    row = connection.execute(
        "SELECT id, expires_at, held_bytes, packed FROM sessions JOIN texts USING (id) WHERE key = ?", (key,)
    ).fetchone()
    there = row is not None and row[1] > times.last_accessed_at
    if not there and not create:
        return False, 0, False
    texts = unpack(row[3]) if there else {}
    before = row[2] if there else 0
    size = before + _merge(texts, changes)
    most = min(limits.max_session_bytes, limits.max_sessions_bytes)
    if size > most and size > before:
        raise SessionTooLargeError(f"the session would hold {size} bytes; at most {most} are allowed")
    if there:
        connection.execute(
            "UPDATE sessions SET last_accessed_at = ?, expires_at = ?, held_bytes = ? WHERE id = ?",
            (times.last_accessed_at, times.expires_at, size, row[0]),
        )
        if changes:
            connection.execute("UPDATE texts SET packed = ? WHERE id = ?", (pack(texts), row[0]))
    else:
        if row is not None:
            connection.execute("DELETE FROM sessions WHERE id = ?", (row[0],))
        made = connection.execute(
            "INSERT INTO sessions (key, created_at, last_accessed_at, expires_at, held_bytes) VALUES (?, ?, ?, ?, ?)",
            (key, times.created_at, times.last_accessed_at, times.expires_at, size),
        )
        connection.execute("INSERT INTO texts VALUES (?, ?)", (made.lastrowid, pack(texts)))
    return True, *evict(connection, limits, key)


def _merge(texts: dict[str, str], changes: Mapping[str, str | None]) -> int:
    """Change ``texts``; by how many bytes it has grown."""
    growth = 0
    for name, text in changes.items():
        old = texts.pop(name, None)
        if old is not None:
            growth -= len(encode(name)) + len(encode(old))
        if text is not None:
            texts[name] = text
            growth += len(encode(name)) + len(encode(text))
    return growth


def evict(connection: sqlite3.Connection, limits: Limits, saved: bytes) -> tuple[int, bool]:
    """Give up the oldest until the limits hold, ``saved`` last; how many those were, and whether more must be."""
    number, held_bytes = connection.execute("SELECT number, held_bytes FROM totals").fetchone()
    if number <= limits.max_sessions and held_bytes <= limits.max_sessions_bytes:
        return 0, False
    given_up = []
    rows = connection.execute(
        "SELECT id, held_bytes, key = ? FROM sessions ORDER BY last_accessed_at LIMIT ?", (saved, STEP_ROWS + 1)
    ).fetchall()
    rows.sort(key=lambda row: bool(row[2]))
    for row_id, size, _ in rows[:STEP_ROWS]:
        if number <= limits.max_sessions and held_bytes <= limits.max_sessions_bytes:
            break
        given_up.append((row_id,))
        number -= 1
        held_bytes -= size
    connection.executemany("DELETE FROM sessions WHERE id = ?", given_up)
    return len(given_up), number > limits.max_sessions or held_bytes > limits.max_sessions_bytes


def touch(connection: sqlite3.Connection, key: bytes, times: SessionTimes) -> bool:
    done = connection.execute(
        "UPDATE sessions SET last_accessed_at = ?, expires_at = ? WHERE key = ? AND expires_at > ?",
        (times.last_accessed_at, times.expires_at, key, times.last_accessed_at),
    )
    return done.rowcount > 0


def rename(connection: sqlite3.Connection, old: bytes, new: bytes) -> bool:
    row = connection.execute("SELECT id FROM sessions WHERE key = ?", (old,)).fetchone()
    if row is None:
        return False
    connection.execute("DELETE FROM sessions WHERE key = ? AND id != ?", (new, row[0]))
    connection.execute("UPDATE sessions SET key = ? WHERE id = ?", (new, row[0]))
    return True


def delete(connection: sqlite3.Connection, key: bytes) -> bool:
    return connection.execute("DELETE FROM sessions WHERE key = ?", (key,)).rowcount > 0


def sweep(connection: sqlite3.Connection, now: float) -> tuple[int, bool]:
    """How many are forgotten, and whether there are more."""
    rows = connection.execute(
        "SELECT id FROM sessions WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, STEP_ROWS)
    ).fetchall()
    connection.executemany("DELETE FROM sessions WHERE id = ?", rows)
    if len(rows) == STEP_ROWS:
        return STEP_ROWS, True
    # One page a statement: Python's sqlite3 takes one step of a statement that has no rows.
    for _ in range(min(STEP_PAGES, _one(connection, "PRAGMA freelist_count"))):
        connection.execute("PRAGMA incremental_vacuum(1)")
    return len(rows), False


def count(connection: sqlite3.Connection) -> int:
    return _one(connection, "SELECT number FROM totals")

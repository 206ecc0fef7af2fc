"""Sessions in an SQLite file: they outlive the process, and several processes may share them.

What is answered is in the file: after ``kill -9`` it is all there. (After a loss of power the last moments
may be missing; the file is whole.) The reactor never waits for the disk or for another process: one thread
writes and one reads, each with a connection of its own, and the log that SQLite writes ahead lets them not
wait for each other. The saves of one turn of the reactor share a transaction.

This file owns the two threads and turns their answers into an ``ISessionStore``'s; ``database`` knows
the tables, ``databasethread`` the threads. The file is to be on a local disk, and is not to be removed while
a process uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from zope.interface import implementer

from hardhttp.interfaces import ISessionStore, SessionRecord, SessionTimes
from hardhttp.stores import database
from hardhttp.stores.databasethread import DatabaseThread

if TYPE_CHECKING:
    from hardhttp.limits import Limits
    from hardhttp.stores.databasethread import ReactorWithThreads

__all__ = ["SQLiteStore"]

# As long as Python's sqlite3 waits for a lock by itself.
BUSY_SECONDS = 5.0
# Some more for the transaction before it.
ANSWER_SECONDS = 10.0


@implementer(ISessionStore)
class SQLiteStore:
    """Sessions in the file at ``path``, which is made for its owner alone (mode 0600) when it is first needed.

    ``busy_seconds`` is how long a call waits while another process holds the file's lock,
    ``answer_seconds`` how long in all; after that it fails with ``StoreError``, and so it does at once
    while thousands of calls wait. ``evicted`` counts the sessions this process gave up to stay within
    the limits.

    Raises ``StoreError`` when there is no directory for the file.
    """

    def __init__(
        self,
        path: str | Path,
        reactor: ReactorWithThreads,
        *,
        busy_seconds: float = BUSY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._path = Path(path).absolute()  # a daemon changes its directory
        database.check_place(self._path)
        self.evicted = 0

        def thread(begin: str, writes: bool) -> DatabaseThread:
            connect = partial(database.open_database, self._path, busy_seconds, writes=writes)
            return DatabaseThread(self._path, begin, connect, reactor, answer_seconds)

        self._writer = thread("BEGIN IMMEDIATE", True)
        self._reader = thread("BEGIN", False)

    def __repr__(self) -> str:
        return f"<SQLiteStore {str(self._path)!r}>"

    def load(self, key: bytes, now: float) -> Deferred[SessionRecord | None]:
        return self._reader.ask(lambda connection: database.load(connection, key, now))

    def save(
        self, key: bytes, changes: Mapping[str, str | None], times: SessionTimes, limits: Limits, create: bool
    ) -> Deferred[bool]:
        changes = dict(changes)  # the caller may go on changing his own
        saved = self._writer.ask(lambda connection: database.save(connection, key, changes, times, limits, create))
        return saved.addCallback(self._saved, limits, key)

    def _saved(self, answer: tuple[bool, int, bool], limits: Limits, key: bytes) -> bool | Deferred[bool]:
        done, given_up, more = answer
        self.evicted += given_up
        if not more:
            return done

        def evicted(given_up: int) -> bool:
            self.evicted += given_up
            return done

        return self._step_by_step(lambda connection: database.evict(connection, limits, key)).addCallback(evicted)

    def touch(self, key: bytes, times: SessionTimes) -> Deferred[bool]:
        return self._writer.ask(lambda connection: database.touch(connection, key, times))

    def rename(self, old: bytes, new: bytes) -> Deferred[bool]:
        return self._writer.ask(lambda connection: database.rename(connection, old, new))

    def delete(self, key: bytes) -> Deferred[bool]:
        return self._writer.ask(lambda connection: database.delete(connection, key))

    def sweep(self, now: float) -> Deferred[int]:
        return self._step_by_step(lambda connection: database.sweep(connection, now))

    def count(self) -> Deferred[int]:
        return self._reader.ask(database.count)

    def close(self) -> Deferred[None]:
        """Write what was asked for, and end the threads. The next call starts them anew."""
        return gatherResults([self._writer.stop(), self._reader.stop()]).addCallback(lambda _: None)

    def _step_by_step(self, step: Callable[..., tuple[int, bool]]) -> Deferred[int]:
        """Run ``step`` until it says that there is no more; others' jobs come in between."""

        async def run() -> int:
            done, more = 0, True
            while more:
                number, more = await self._writer.ask(step)
                done += number
            return done

        return Deferred.fromCoroutine(run())

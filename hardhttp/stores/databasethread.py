"""A thread with an SQLite connection of its own.

Jobs are functions of the connection. They come from the reactor's thread and are answered there, in their
order. All that wait when the thread is free share one transaction, so the more there is to do the less a
commit costs each. A job that fails undoes only itself: when a shared transaction breaks, each of its jobs is
tried once more alone.

The thread starts with the first job and ends with ``stop``; a job that comes later starts another. It is a
daemon: a program that forgets to stop it can still end, and what was answered is in the file all the same.

Nothing here knows what the tables hold; its owner does: ``sqlite``, or the history of a hub.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime

from hardhttp.errors import SessionTooLargeError, StoreError
from hardhttp.remote.pending import Pending

__all__ = ["DatabaseThread", "Job", "ReactorWithThreads", "complaint"]

Job: TypeAlias = Callable[[sqlite3.Connection], Any]
# What is to be done for a call; None ends the thread.
_Task: TypeAlias = tuple["Deferred[Any]", Job | None]

# Of one transaction: few enough that another process is not kept waiting.
MAX_JOBS = 256
# That may wait: some for each of a thousand connections.
MAX_PENDING = 4096

if TYPE_CHECKING:

    class ReactorWithThreads(IReactorTime, IReactorFromThreads):
        """What a store needs of a reactor."""


def complaint(path: Path, error: Exception, what: str = "session store") -> StoreError:
    """``error`` of SQLite or of the system, as ``what`` says it."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
    else:
        # Any other's words could quote what is stored.
        reason = str(error) if isinstance(error, sqlite3.Error) else type(error).__name__
    return StoreError(f"{what} {str(path)!r}: {reason}")


def is_busy(error: Exception) -> bool:
    """Whether another connection held the lock for longer than we wait."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class DatabaseThread:
    """Runs jobs between ``begin`` and ``COMMIT``, on the connection that ``connect`` makes in the thread.

    What is asked is answered within ``answer_seconds`` in any case: with a ``StoreError`` when the disk
    does not, though the job may be done later all the same.
    """

    def __init__(
        self,
        path: Path,
        begin: str,
        connect: Callable[[], sqlite3.Connection],
        reactor: ReactorWithThreads,
        answer_seconds: float,
        what: str = "session store",
    ) -> None:
        self._what = what
        self._path, self._begin, self._connect, self._reactor = path, begin, connect, reactor
        self._answer_seconds = answer_seconds
        self._pending = Pending(reactor, answer_seconds, MAX_PENDING, self._overdue)
        self._thread: Thread | None = None
        self._tasks: SimpleQueue[_Task] = SimpleQueue()

    # -- in the reactor's thread --------------------------------------------------------------

    def ask(self, job: Job) -> Deferred[Any]:
        """Have ``job`` done; its result."""
        try:
            call = self._pending.add()
        except StoreError as error:
            return fail(error)
        if self._thread is None:
            self._tasks = SimpleQueue()  # a thread that is still ending keeps its own
            self._thread = Thread(target=self._run, args=(self._tasks,), name="hardhttp-sqlite", daemon=True)
            self._thread.start()
        self._tasks.put((call, job))
        return call

    def stop(self) -> Deferred[None]:
        """Do what was asked for, close the connection, end the thread; or give it up when it hangs."""
        thread, self._thread = self._thread, None
        if thread is None:
            return succeed(None)

        def ended(_: Any) -> None:
            thread.join()  # nothing is left for it to do but return

        call = self._pending.add(bounded=False)
        self._tasks.put((call, None))
        return call.addCallbacks(ended, lambda failure: failure.trap(StoreError) and None)

    def _overdue(self) -> None:
        ends = []
        try:
            while True:  # a thread that hangs must not gather what nobody waits for
                task = self._tasks.get_nowait()
                if task[1] is None:
                    ends.append(task)
        except Empty:
            pass
        for task in ends:
            self._tasks.put(task)
        self._pending.fail(
            f"{self._what} {str(self._path)!r}: the disk did not answer within {self._answer_seconds:g} s"
        )

    def _answer(self, answers: list[tuple[Deferred[Any], Any]]) -> None:
        for call, answer in answers:
            self._pending.answer(call, answer)

    # -- in its own ---------------------------------------------------------------------------

    def _run(self, tasks: SimpleQueue[_Task]) -> None:
        connection: sqlite3.Connection | None = None
        end: Deferred[Any] | None = None
        while end is None:
            calls, jobs = [], []
            call, job = tasks.get()
            while True:
                if job is None:
                    end = call
                    break
                calls.append(call)
                jobs.append(job)
                if len(jobs) == MAX_JOBS:
                    break
                try:
                    call, job = tasks.get_nowait()
                except Empty:
                    break
            connection, answers = self._transact(connection, jobs)
            self._reactor.callFromThread(self._answer, list(zip(calls, answers, strict=True)))
            del call, job, calls, jobs, answers  # nothing is kept while it waits
        if connection is not None:
            _let_go(connection)
        self._reactor.callFromThread(self._answer, [(end, None)])

    def _transact(
        self, connection: sqlite3.Connection | None, jobs: list[Job]
    ) -> tuple[sqlite3.Connection | None, list[Any]]:
        """The jobs' results, or exceptions in their places; and the connection, if it is still good."""
        if not jobs:
            return connection, []
        try:
            if connection is None:
                connection = self._connect()
            connection.execute(self._begin)
            answers = [_done(job, connection) for job in jobs]
            connection.execute("COMMIT")
            return connection, answers
        except Exception as error:  # whatever it is must not end the thread
            # Closing rolls back, and the next transaction finds a connection that owes nothing to this one.
            if connection is not None:
                _let_go(connection)
            if len(jobs) == 1 or is_busy(error) or connection is None:
                return None, [complaint(self._path, error, self._what) for _ in jobs]
        connection, answers = None, []
        for job in jobs:
            connection, alone = self._transact(connection, [job])
            answers += alone
        return connection, answers


def _done(job: Job, connection: sqlite3.Connection) -> Any:
    """The job's result. What it refuses before it has written anything is an answer too."""
    try:
        return job(connection)
    except SessionTooLargeError as error:
        return error.with_traceback(None)


def _let_go(connection: sqlite3.Connection) -> None:
    try:
        connection.close()
    except sqlite3.Error:
        pass

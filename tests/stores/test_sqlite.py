"""What is a file's own: its place and mode, other processes, a disk that fails, threads that end."""

from __future__ import annotations

import math
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater

from hardhttp.errors import StoreError
from hardhttp.interfaces import SessionTimes
from hardhttp.limits import Limits
from hardhttp.stores import database, databasethread
from hardhttp.stores.sqlite import SQLiteStore

ROOT = Path(__file__).resolve().parent.parent.parent
LIMITS = Limits()
TIMES = SessionTimes(1000.0, 1000.0, 2000.0)
WORKER = [sys.executable, str(Path(__file__).with_name("worker.py"))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)])}
# Holds the file's lock from the moment it says so until its input ends.
LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def store_at(path: Path, **options: Any) -> SQLiteStore:
    from twisted.internet import reactor

    return SQLiteStore(path, reactor, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    store = store_at(path)
    yield store
    pytest_twisted.blockon(store.close())
    assert not threads()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "hardhttp-sqlite"]


async def turns(number: int) -> None:
    from twisted.internet import reactor

    for _ in range(number):
        await deferLater(reactor, 0)


def worker(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*WORKER, str(path), *arguments], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)


class Locker:
    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOCKER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"locked\n"

    def release(self) -> None:
        self.process.communicate()


# -- the file --------------------------------------------------------------------------------


@ensureDeferred
async def test_the_file_is_its_owners_alone(store: SQLiteStore, path: Path) -> None:
    assert not path.exists()  # nothing before the first call
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    modes = {other.name: stat.S_IMODE(other.stat().st_mode) for other in path.parent.iterdir()}
    assert modes == {"sessions.db": 0o600, "sessions.db-wal": 0o600, "sessions.db-shm": 0o600}
    await store.close()
    assert [other.name for other in path.parent.iterdir()] == ["sessions.db"]


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no directory '.*nowhere'"):
        store_at(tmp_path / "nowhere" / "sessions.db")
    with pytest.raises(StoreError, match="is not a file"):
        store_at(tmp_path)


@ensureDeferred
async def test_the_directory_goes_away(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    store = store_at(tmp_path / "d" / "sessions.db")
    (tmp_path / "d").rmdir()
    for _ in range(2):
        with pytest.raises(StoreError, match="there is no directory"):
            await store.load(b"k", 1.0)
    (tmp_path / "d").mkdir()
    assert await store.load(b"k", 1.0) is None
    await store.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
@ensureDeferred
async def test_a_corrupt_file(store: SQLiteStore, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"sessions\.db.*(not a database|malformed)"):
        await store.load(b"k", 1.0)
    with pytest.raises(StoreError):
        await store.save(b"k", {}, TIMES, LIMITS, True)
    assert path.read_bytes() == content


@ensureDeferred
async def test_another_applications_database_is_left_alone(store: SQLiteStore, path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of another application"):
        await store.save(b"k", {}, TIMES, LIMITS, True)
    assert path.read_bytes() == before


@ensureDeferred
async def test_a_newer_version_is_left_alone(store: SQLiteStore, path: Path) -> None:
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(StoreError, match="has version 2; 1 is known"):
        await store.load(b"k", 1.0)


@ensureDeferred
async def test_a_file_that_may_not_be_written() -> None:
    """Root may write anything, so root steps down for the time."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory) / "sessions.db"
        store = store_at(path)
        await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
        await store.close()
        path.chmod(0o444)
        Path(directory).chmod(0o555)
        if root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(StoreError, match=r"readonly|unable to open"):
                await store.save(b"k", {"a": "2"}, TIMES, LIMITS, True)
            await store.close()
            assert not threads()
        finally:
            if root:
                os.seteuid(0)
            Path(directory).chmod(0o755)
            path.chmod(0o600)
        assert await store.save(b"k", {"a": "2"}, TIMES, LIMITS, True) is True
        await store.close()


@pytest.mark.slow
def test_a_full_disk(path: Path) -> None:
    process = worker(path, "full")
    said = process.communicate(timeout=60)[0].splitlines()
    assert said[0].startswith("failed True session store"), said
    assert said[1:] == ["still there True", "again True"]


@ensureDeferred
async def test_the_file_gives_back_what_it_does_not_need(store: SQLiteStore, path: Path) -> None:
    await gatherResults([store.save(b"%d" % n, {"n": "x" * 4000}, TIMES, LIMITS, True) for n in range(800)])
    assert await store.sweep(math.inf) == 800
    await store.close()
    assert path.stat().st_size < 200_000
    assert not path.with_name("sessions.db-wal").exists()


@ensureDeferred
async def test_the_totals_are_the_sums(store: SQLiteStore, path: Path) -> None:
    for n in range(30):
        await store.save(b"%d" % (n % 7), {f"é{n % 5}": "x" * n}, TIMES, LIMITS, True)
        await store.rename(b"%d" % (n % 7), b"%d" % (n % 3))
        await store.save(b"%d" % (n % 4), {f"é{n % 3}": None}, TIMES, LIMITS, True)
        if n % 6 == 0:
            await store.delete(b"%d" % (n % 5))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM sessions WHERE key = (SELECT min(key) FROM sessions)")  # someone by hand
        kept = connection.execute("SELECT count(*), sum(held_bytes) FROM sessions").fetchone()
        assert connection.execute("SELECT * FROM totals").fetchone() == kept
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == kept[:1]
        keys = [key for (key,) in connection.execute("SELECT key FROM sessions")]
    texts = [(await store.load(key, 1000.0)).values for key in keys]
    assert kept[1] == sum(len(text.encode()) for one in texts for pair in one.items() for text in pair)


# -- other processes -------------------------------------------------------------------------


@ensureDeferred
async def test_a_lock_held_by_another_does_not_stop_the_reactor(store: SQLiteStore, path: Path) -> None:
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    locker = Locker(path)
    saved = store.save(b"k", {"b": "2"}, TIMES, LIMITS, True)
    await turns(500)
    for _ in range(50):  # and readers do not wait for writers
        assert (await store.load(b"k", 1000.0)).values == {"a": "1"}
    assert not saved.called
    locker.release()
    assert await saved is True
    assert (await store.load(b"k", 1000.0)).values == {"a": "1", "b": "2"}


@ensureDeferred
async def test_a_lock_held_for_too_long(path: Path) -> None:
    store = store_at(path, busy_seconds=0.05)
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    locker = Locker(path)
    saves = [store.save(b"%d" % n, {}, TIMES, LIMITS, True) for n in range(3)]
    for save in saves:
        with pytest.raises(StoreError, match="database is locked"):
            await save
    locker.release()
    assert await store.save(b"k", {"b": "2"}, TIMES, LIMITS, True) is True
    assert await store.count() == 1
    await store.close()
    assert not threads()


@pytest.mark.slow
@ensureDeferred
async def test_many_processes_lose_nothing(path: Path) -> None:
    workers = [worker(path, "hammer", name, "60") for name in "abcd"]
    assert [one.communicate(timeout=60)[0] for one in workers] == ["done\n"] * 4
    store = store_at(path)
    names: set[str] = set()
    for number in range(3):
        names |= (await store.load(b"shared%d" % number, 1000.0)).values.keys()
    await store.close()
    assert names == {f"{name}-{n}" for name in "abcd" for n in range(60)}


@pytest.mark.slow
@ensureDeferred
async def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    process = worker(path, "endless")
    assert process.stdout is not None
    for _ in range(100):
        acknowledged = int(process.stdout.readline())
    process.kill()
    acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    process.stdout.close()
    store = store_at(path)
    records = [await store.load(b"%d" % n, 1000.0) for n in range(acknowledged)]
    await store.close()
    assert acknowledged >= 500
    assert [record and record.values for record in records] == [{"n": str(n)} for n in range(acknowledged)]


# -- threads ---------------------------------------------------------------------------------


@ensureDeferred
async def test_threads_end_with_close(path: Path) -> None:
    store = store_at(path)
    assert not threads()
    await store.save(b"k", {}, TIMES, LIMITS, True)
    await store.load(b"k", 1000.0)
    assert len(threads()) == 2
    await store.close()
    assert not threads()
    await store.count()
    assert len(threads()) == 1
    await store.close()
    assert not threads()


@ensureDeferred
async def test_saves_of_one_turn_share_a_transaction(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    transact = databasethread.DatabaseThread._transact

    def counted(self: Any, connection: Any, jobs: list[Any]) -> Any:
        sizes.append(len(jobs))
        return transact(self, connection, jobs)

    monkeypatch.setattr(databasethread.DatabaseThread, "_transact", counted)
    await store.count()
    locker = Locker(path)
    first = store.save(b"first", {}, TIMES, LIMITS, True)
    await turns(100)
    saves = [store.save(b"%d" % n, {}, TIMES, LIMITS, True) for n in range(600)]
    locker.release()
    assert await first is True
    assert await gatherResults(saves) == [True] * 600
    assert sum(sizes) == 602  # with the count and the first
    assert len(sizes) <= 5


@ensureDeferred
async def test_a_job_that_breaks_costs_itself_alone(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real = database.touch

    def broken(connection: sqlite3.Connection, key: bytes, times: SessionTimes) -> bool:
        real(connection, key, times)
        if key == b"bad":
            raise ZeroDivisionError("with a secret in it")
        return True

    monkeypatch.setattr(database, "touch", broken)
    await store.save(b"bad", {}, TIMES, LIMITS, True)
    calls = [store.save(b"%d" % n, {"n": "1"}, TIMES, LIMITS, True) for n in range(5)]
    bad = store.touch(b"bad", SessionTimes(0, 1500, 9999))
    calls += [store.save(b"%d" % n, {"m": "1"}, TIMES, LIMITS, True) for n in range(5)]
    with pytest.raises(StoreError, match=r"ZeroDivisionError$"):
        await bad
    assert await gatherResults(calls) == [True] * 10
    assert (await store.load(b"4", 1000.0)).values == {"n": "1", "m": "1"}
    assert (await store.load(b"bad", 1000.0)).times == TIMES


@ensureDeferred
async def test_a_disk_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail in time, nothing gathers meanwhile, and the store recovers when the disk does."""
    monkeypatch.setattr(databasethread, "MAX_PENDING", 5)
    store = store_at(path, answer_seconds=0.1)
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    hanging = threading.Event()
    release = threading.Event()

    def hang(*_: Any) -> None:
        hanging.set()
        release.wait(60)

    monkeypatch.setattr(database, "delete", hang)
    stuck = store.delete(b"k")
    hanging.wait(60)
    waiting = [store.save(b"%d" % n, {}, TIMES, LIMITS, True) for n in range(4)]
    with pytest.raises(StoreError, match="5 calls wait"):
        await store.save(b"one more", {}, TIMES, LIMITS, True)
    for call in [stuck, *waiting]:
        with pytest.raises(StoreError, match=r"the disk did not answer within 0\.1 s"):
            await call
    assert store._writer._tasks.qsize() == 0
    assert (await store.load(b"k", 1000.0)).values == {"a": "1"}  # the reader is another
    release.set()
    assert await store.save(b"k", {"b": "2"}, TIMES, LIMITS, True) is True
    assert await store.count() == 1
    await store.close()
    assert not threads()


@ensureDeferred
async def test_close_gives_up_a_thread_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(path, answer_seconds=0.1)
    await store.save(b"k", {"a": "1"}, TIMES, LIMITS, True)
    release = threading.Event()
    monkeypatch.setattr(database, "delete", lambda *_: release.wait(60))
    stuck = store.delete(b"k").addErrback(lambda failure: failure.trap(StoreError))
    (hung,) = threads()
    await store.close()
    assert await stuck is StoreError
    assert hung.is_alive()
    assert (await store.load(b"k", 1000.0)).values == {"a": "1"}
    release.set()
    hung.join(60)
    assert not hung.is_alive()
    await store.close()
    assert not threads()

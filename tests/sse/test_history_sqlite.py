"""The history in a file: restarts, kill -9, a full disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface.verify import verifyObject

from hardhttp.errors import StoreError
from hardhttp.interfaces import Gap, IHistory
from hardhttp.sse import historysqlite
from hardhttp.sse.historysqlite import RETRY_SECONDS, SQLiteHistory
from hardhttp.sse.update import OVERHEAD_BYTES, Update
from tests.sse.history_model import update
from tests.sse.thread_clock import ThreadClock

WORKER = Path(__file__).with_name("history_worker.py")
ROOT = Path(__file__).resolve().parents[2]


class Service:
    """Starts a history at one path again and again, as restarts of a service do."""

    def __init__(self, path: Path) -> None:
        self.path, self.clock = path, ThreadClock()
        self.running: list[SQLiteHistory] = []

    def start(self, **bounds: Any) -> SQLiteHistory:
        history = SQLiteHistory(self.path, self.clock, busy_seconds=0.05, **bounds)  # type: ignore[arg-type]
        self.running.append(history)
        return history

    def stop(self) -> None:
        self.clock.wait(self.running.pop().close())

    def crash(self, *, written: bool = True) -> None:
        """As kill -9 leaves the file: the connection goes, and nothing is said."""
        history = self.running.pop()
        if written:
            self.clock.wait(history.flush())
        self.clock.wait(history._thread.stop())
        history._let_go()

    def restart(self, **bounds: Any) -> SQLiteHistory:
        self.stop()
        return self.start(**bounds)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "history.db")
    yield service
    while service.running:
        service.stop()
    assert service.clock.getDelayedCalls() == []
    assert not [thread for thread in threading.enumerate() if thread.name == "hardhttp-sqlite"]


def add(history: SQLiteHistory, number: int, *topics: str, **kwargs: Any) -> None:
    for _ in range(number):
        sequence = history.last_sequence + 1
        history.append(update(sequence, *topics, id=f"{history.epoch}-{sequence}", **kwargs))


def read(history: SQLiteHistory, last: str = "earliest", wanted: Any = ("t",)) -> list[int]:
    return [u.sequence for u in history.after(last, wanted, 10_000).updates]


def test_is_a_history(service: Service) -> None:
    assert verifyObject(IHistory, service.start())


def test_restart_goes_on_as_if_nothing_had_been(service: Service) -> None:
    history = service.start()
    kept = Update(1, "own id", ("t", "ü\ud800", "t"), True, "key\ud800", b"\x00\xff", 12.5)
    history.append(kept)
    add(history, 2)
    epoch, last_id = history.epoch, history.last_id
    history = service.restart()
    assert (history.epoch, history.last_sequence, history.last_id) == (epoch, 3, last_id)
    assert history.after("own id", ["t"], 9).updates[0].sequence == 2
    page = history.after(f"{epoch}-0", ["t"], 9)
    assert (page.gap, page.updates[0]) == (None, kept)
    assert history.get("own id") == kept
    add(history, 1)
    assert read(history, f"{epoch}-2") == [3, 4]
    assert read(history, "earliest", ["ü\ud800"]) == [1]


def test_file_is_its_owners_alone(service: Service) -> None:
    service.start()
    for name in (service.path, Path(f"{service.path}-last")):
        assert stat.S_IMODE(name.stat().st_mode) == 0o600


def test_what_was_lost_is_known_after_a_restart(service: Service) -> None:
    history = service.start(max_topic_updates=2, max_topics=2)
    add(history, 5)
    add(history, 1, "other")
    epoch = history.epoch
    before = history.after(f"{epoch}-1", ["t"], 9).gap
    assert before == Gap(f"{epoch}-2", f"{epoch}-3", "evicted")
    history = service.restart(max_topic_updates=2, max_topics=2)
    assert history.after(f"{epoch}-1", ["t"], 9).gap == before
    assert history.after(f"{epoch}-1", ["other"], 9).gap is None
    add(history, 1, "third")  # t is forgotten
    history = service.restart(max_topic_updates=2, max_topics=2)
    assert read(history) == []
    assert history.after(f"{epoch}-1", ["t"], 9).gap == Gap(f"{epoch}-2", f"{epoch}-5", "evicted")


def test_what_one_topic_has_dropped_another_keeps_over_a_restart(service: Service) -> None:
    history = service.start(max_topic_updates=1)
    add(history, 1, "a", "b")
    add(history, 1, "a")
    history = service.restart(max_topic_updates=10)
    assert read(history, "earliest", ["a"]) == [2]
    assert read(history, "earliest", ["b"]) == [1]


def test_narrower_bounds_hold_at_once(service: Service) -> None:
    add(service.start(), 10)
    history = service.restart(max_topic_updates=3)
    assert read(history) == [8, 9, 10]
    history = service.restart(max_bytes=2 * OVERHEAD_BYTES)
    assert read(history) == [9, 10]


def test_the_file_is_bounded(service: Service) -> None:
    add(service.start(max_topic_updates=10), 500, size=1000)
    service.stop()
    with sqlite3.connect(service.path) as file:
        assert file.execute("SELECT count(*) FROM updates").fetchone() == (10,)


def test_age_counts_on_over_a_restart(service: Service) -> None:
    add(service.start(max_age_seconds=10.0), 3)
    service.stop()
    service.clock.advance(10.0)
    history = service.start(max_age_seconds=10.0)
    assert history.after(f"{history.epoch}-1", ["t"], 9).gap == Gap(
        f"{history.epoch}-2", f"{history.epoch}-3", "expired"
    )
    history = service.restart()
    assert read(history) == []
    assert history.last_sequence == 3


def test_crash_after_all_was_written_costs_nothing(service: Service) -> None:
    history = service.start()
    add(history, 3)
    old = history.epoch
    service.crash()
    history = service.start()
    assert history.epoch != old
    assert history.last_sequence == 3
    page = history.after(f"{old}-1", ["t"], 9)
    assert (page.found, page.gap, [u.sequence for u in page.updates]) == (True, None, [2, 3])
    add(history, 1)
    assert read(history, f"{old}-3") == [4]
    assert read(history, f"{history.epoch}-3") == [4]
    assert history.after(f"{old}-4", ["t"], 9).gap == Gap(None, None, "unknown")


def test_crash_tells_what_was_not_written(service: Service) -> None:
    history = service.start()
    add(history, 3)
    service.clock.wait(history.flush())
    old = history.epoch
    history._writing = True  # the disk is slow
    add(history, 2)
    history._writing = False
    service.crash(written=False)
    history = service.start()
    assert history.last_sequence == 5  # no number is given twice
    lost = Gap(f"{old}-4", f"{old}-5", "restart")
    for last, gap in ((1, lost), (3, lost), (4, Gap(f"{old}-5", f"{old}-5", "restart")), (5, None)):
        page = history.after(f"{old}-{last}", ["t"], 1)
        assert (page.found, page.gap) == (True, gap)
    add(history, 1)
    page = history.after(f"{old}-2", ["t"], 1)
    assert (page.gap, [u.sequence for u in page.updates]) == (lost, [3])
    page = history.after(page.place, ["t"], 9)
    assert (page.gap, [u.sequence for u in page.updates]) == (None, [6])
    history = service.restart()
    assert history.after(f"{old}-2", ["t"], 1).gap == lost


@pytest.mark.parametrize("note", [b"", b"aaaaaaaa 0000000000000000009\n", b"\xff" * 64])
def test_crash_without_a_note_of_the_last_number(service: Service, note: bytes) -> None:
    history = service.start()
    add(history, 3)
    old = history.epoch
    service.crash()
    Path(f"{service.path}-last").write_bytes(note)
    history = service.start()
    page = history.after(f"{old}-5", ["t"], 9)
    assert page.found
    assert page.gap is not None
    assert page.gap.reason == "restart"
    assert read(history, f"{old}-2") == [3]
    assert history.last_sequence == 3 + historysqlite.UNKNOWN_NUMBERS


def test_a_file_put_back_from_a_copy_gives_no_number_twice(service: Service) -> None:
    history = service.start()
    add(history, 3)
    service.stop()
    copy = service.path.read_bytes()
    add(service.start(), 3)
    service.stop()
    service.path.write_bytes(copy)
    old = history.epoch
    history = service.start()
    assert (history.epoch != old, history.last_sequence) == (True, 6)


def test_epochs_are_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historysqlite, "MAX_EPOCHS", 2)
    names = []
    for _ in range(4):
        history = service.start()
        add(history, 1)
        names.append(history.epoch)
        service.crash()
    history = service.start()
    assert [epoch.name for epoch in history._past] == names[2:]
    assert read(history, f"{names[2]}-3") == [4]
    assert history.after(f"{names[0]}-0", ["t"], 9).gap == Gap(f"{names[0]}-1", None, "restart")
    assert read(history, f"{names[0]}-1") == [2, 3, 4]  # its update is still there


def test_another_process_may_not_use_the_file(service: Service) -> None:
    service.start()
    with pytest.raises(StoreError, match=r"history .*history.db.*locked"):
        SQLiteHistory(service.path, service.clock, busy_seconds=0.01)  # type: ignore[arg-type]


def test_files_that_are_not_ours(service: Service, tmp_path: Path) -> None:
    service.path.write_bytes(b"something else" * 100)
    with pytest.raises(StoreError, match=r"history .*not a database"):
        service.start()
    assert service.path.read_bytes() == b"something else" * 100
    with pytest.raises(StoreError, match="there is no directory"):
        SQLiteHistory(tmp_path / "no" / "x", service.clock)  # type: ignore[arg-type]


def limit_pages(monkeypatch: pytest.MonkeyPatch, pages: list[int]) -> None:
    """Files may have so many pages, as on a disk of that size."""
    opened = historysqlite.open_database

    def limited(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = opened(*args, **kwargs)
        connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        return connection

    monkeypatch.setattr(historysqlite, "open_database", limited)


def test_a_full_disk_costs_nothing_but_the_disk(
    service: Service, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    pages = [40]
    limit_pages(monkeypatch, pages)
    history = service.start()
    messages: list[str] = []
    request.addfinalizer(lambda: globalLogPublisher.removeObserver(observe))

    def observe(event: Any) -> None:
        if "the history is" in (formatEvent(event) or ""):
            messages.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    for _ in range(3):
        add(history, 100, size=1000)
        service.clock.wait(history.flush())
    assert history.degraded is not None
    assert "full" in history.degraded
    assert read(history) == list(range(1, 301))
    assert ["memory alone" in message and "full" in message for message in messages] == [True]
    pages[0] = 10_000
    add(history, 1)  # too soon to try
    assert not history._writing
    service.clock.advance(RETRY_SECONDS)
    history.expire()
    assert history._writing
    service.clock.wait(history.flush())
    assert history.degraded is None
    assert "again" in messages[1]
    epoch = history.epoch
    history = service.restart()
    assert (history.epoch, read(history)) == (epoch, list(range(1, 302)))


def test_a_disk_that_is_full_from_the_start(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(historysqlite, "open_database", full)
        history = service.start()
        assert history.degraded is not None
        add(history, 3)
        service.clock.wait(history.flush())
        assert read(history) == [1, 2, 3]
    epoch = history.epoch
    service.clock.wait(history.flush())
    assert history.degraded is None
    history = service.restart()
    assert (history.epoch, read(history)) == (epoch, [1, 2, 3])


def test_a_start_on_a_disk_that_has_become_full(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot even note that the file is in use; and then it is killed."""
    add(service.start(), 3)
    service.stop()

    def full(self: SQLiteHistory, connection: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteHistory, "_claim", full)
        history = service.start()
        assert read(history) == [1, 2, 3]
        add(history, 2)
        old = history.epoch
        service.crash()
    history = service.start()
    assert history.last_sequence == 5
    assert history.after(f"{old}-3", ["t"], 9).gap == Gap(f"{old}-4", f"{old}-5", "restart")


def test_what_waits_for_a_full_disk_is_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historysqlite, "MAX_GONE", 50)
    pages = [30]
    limit_pages(monkeypatch, pages)
    history = service.start(max_topic_updates=20)
    for _ in range(30):
        add(history, 20, size=5000)
        service.clock.wait(history.flush())
    assert history.degraded
    assert len(history._new) <= 20
    assert len(history._gone) <= 50
    assert len(history._marks) == 1
    pages[0] = 10_000
    service.clock.wait(history.flush())
    assert read(service.restart()) == list(range(581, 601))


def test_large_amounts_go_in_several_batches(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historysqlite, "MAX_BATCH_UPDATES", 7)
    history = service.start(max_topic_updates=60)
    add(history, 100)
    assert read(service.restart()) == list(range(41, 101))


def run_worker(path: Path, *deed: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(path), *deed],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 5, 20])
def test_kill_9(service: Service, lines: int) -> None:
    """Whoever had a number is never told wrong: what comes after it is there, or in a gap."""
    process = run_worker(service.path, "endless")
    assert process.stdout is not None
    for _ in range(lines):
        epoch, given, flushed = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().splitlines()
    process.wait()
    for line in rest:
        if len(line.split()) == 3 and line.endswith("."):
            epoch, given, flushed = line.split()
    flushed = flushed.rstrip(".")
    history = service.start(max_topic_updates=10**6)
    kept = read(history)
    assert history.epoch != epoch
    assert kept == list(range(1, len(kept) + 1))
    assert int(flushed) <= len(kept) <= history.last_sequence
    assert history.last_sequence >= int(given)
    page = history.after(f"{epoch}-{given}", ["t"], 10**6)
    assert page.found
    if int(given) < history.last_sequence and len(kept) < history.last_sequence:
        first = max(int(given), len(kept)) + 1
        assert page.gap == Gap(f"{epoch}-{first}", f"{epoch}-{history.last_sequence}", "restart")
    else:
        assert page.gap is None
    assert [u.sequence for u in page.updates] == kept[int(given) :]


@pytest.mark.slow
def test_a_file_that_may_not_grow(service: Service) -> None:
    process = run_worker(service.path, "full")
    output, _ = process.communicate(timeout=30)
    assert output.split() == ["degraded", "recovered"]
    assert process.returncode == 0
    assert read(service.start()) == list(range(1, 402))


# -- for a successor ----------------------------------------------------------------------------


def test_a_history_is_handed_over_while_its_process_lives(service: Service) -> None:
    first = service.start()
    for number in range(1, 3000):
        first.append(update(number, id=f"{first.epoch}-{number}"))
    service.clock.wait(first.hand_over())
    second = service.start()
    assert (second.epoch, second.last_sequence) == (first.epoch, first.last_sequence)
    assert second.get(f"{first.epoch}-2999") is not None
    assert first.get(f"{first.epoch}-2999") is not None, "readers are served on"
    first.shed(1 << 30)  # what it forgets is nothing to write any more
    service.clock.wait(first.flush())
    service.clock.wait(first.close())
    assert first.degraded is None
    second.append(update(3000, id=f"{second.epoch}-3000"))
    service.stop()
    service.running.remove(first)
    third = service.start()
    assert (third.epoch, third.last_sequence) == (first.epoch, 3000)


def test_a_history_is_taken_back_when_no_successor_came(service: Service) -> None:
    history = service.start()
    history.append(update(1, id=f"{history.epoch}-1"))
    service.clock.wait(history.hand_over())
    service.start()
    service.stop()
    history.take_back()
    history.append(update(2, id=f"{history.epoch}-2"))
    service.crash()
    again = service.start()
    assert again.last_sequence == 2
    assert again.get(f"{history.epoch}-2") is not None


def test_a_history_may_be_wanted_back_before_it_is_closed(service: Service) -> None:
    history = service.start()
    add(history, 3000)  # several batches
    closed = history.hand_over()
    history.take_back()
    service.clock.wait(closed)
    add(history, 1)
    service.crash()
    again = service.start()
    assert again.last_sequence == 3001
    assert again.get(f"{history.epoch}-3001") is not None

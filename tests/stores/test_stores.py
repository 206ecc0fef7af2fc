"""A store by its URL; and the parts the stores share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from hardhttp.errors import StoreError
from hardhttp.remote.pending import Pending
from hardhttp.stores import open_store
from hardhttp.stores.memory import MemoryStore
from hardhttp.stores.packing import pack, unpack
from hardhttp.stores.redis import RedisStore
from hardhttp.stores.sqlite import SQLiteStore

ROOT = Path(__file__).resolve().parent.parent.parent


def opened(url: str) -> Any:
    from twisted.internet import reactor

    return open_store(url, reactor)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("memory://", MemoryStore),
        ("sqlite:sessions.db", SQLiteStore),
        ("sqlite:./a b?c=d.db", SQLiteStore),
        ("SQLite:sessions.db", SQLiteStore),
        ("redis://127.0.0.1:6379/0", RedisStore),
        ("rediss://127.0.0.1", RedisStore),
        ("unix:/run/redis.sock", RedisStore),
    ],
)
def test_open(url: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert type(opened(url)) is kind
    assert not list(tmp_path.iterdir())  # nothing that would have to be undone


def test_open_absolute(tmp_path: Path) -> None:
    for url in (f"sqlite:{tmp_path}/s.db", f"sqlite://{tmp_path}/s.db"):
        assert repr(opened(url)) == f"<SQLiteStore '{tmp_path}/s.db'>"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "it should be memory:, sqlite:PATH, redis:"),
        ("memory", "it should be memory:"),
        ("mysql://u:secret@h/d", "it should be memory:"),
        ("secret", "it should be memory:"),
        ("memory:secret", "takes nothing behind memory:"),
        ("sqlite:", "needs the path of a file, such as sqlite:sessions.db"),
        ("sqlite::memory:", "needs the path of a file"),
        ("redis:secret", "it should be such as redis://127"),
    ],
)
def test_open_says_what_would_do(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        opened(url)
    assert "secret" not in str(caught.value)


def test_open_without_a_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no directory"):
        opened(f"sqlite:{tmp_path}/nowhere/s.db")


@pytest.mark.slow
def test_memory_needs_neither_library() -> None:
    """Who keeps sessions in memory loads no database."""
    script = (
        "import sys\n"
        "from hardhttp.stores import open_store\n"
        "open_store('memory:', None)\n"
        "print([name for name in ('sqlite3', 'txredisapi', 'twisted.internet.reactor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


# -- packing ---------------------------------------------------------------------------------


@given(st.dictionaries(st.text(st.characters(categories=None)), st.text(st.characters(categories=None))))
def test_packing(texts: dict[str, str]) -> None:
    packed = pack(texts)
    assert unpack(packed) == texts
    if packed != b"\n":
        for broken in (packed[:-1], packed + b"x", b"1 " + packed):
            with pytest.raises(ValueError):
                unpack(broken)


def test_packing_is_what_the_scripts_write() -> None:
    assert pack({"a": "42", "é": ""}) == b"1 2 2 0\na42\xc3\xa9"
    for broken in (b"", b"1 -1\n", b"1\na", b"1 x\nab"):
        with pytest.raises(ValueError):
            unpack(broken)


# -- calls that wait -------------------------------------------------------------------------


class Waiting:
    def __init__(self, most: int = 10) -> None:
        self.clock = Clock()
        self.pending = Pending(self.clock, 2.0, most, lambda: self.pending.fail("overdue"))


def test_no_alarm_without_a_call() -> None:
    waiting = Waiting()
    call = waiting.pending.add()
    assert len(waiting.clock.getDelayedCalls()) == 1
    waiting.pending.add()
    assert len(waiting.clock.getDelayedCalls()) == 1
    got: list[int] = []
    call.addCallback(got.append)
    waiting.pending.answer(call, 5)
    waiting.pending.answer(call, 6)
    assert got == [5]
    (other,) = waiting.pending._due
    other.addErrback(lambda _: None)
    other.cancel()
    assert waiting.clock.getDelayedCalls() == []
    waiting.pending.answer(other, 7)


def test_the_oldest_is_due_first() -> None:
    waiting = Waiting()
    answered = waiting.pending.add()
    waiting.clock.advance(1.5)
    failures: list[Any] = []
    late = waiting.pending.add().addErrback(failures.append)
    waiting.pending.answer(answered, 1)
    waiting.clock.advance(1.9)
    assert not late.called
    waiting.clock.advance(0.1)
    assert failures[0].type is StoreError
    assert waiting.clock.getDelayedCalls() == []


def test_waiting_is_bounded() -> None:
    waiting = Waiting(most=2)
    calls = [waiting.pending.add() for _ in range(2)]
    with pytest.raises(StoreError, match="2 calls wait"):
        waiting.pending.add()
    waiting.pending.answer(calls[0], 1)
    waiting.pending.add().addErrback(lambda _: None)
    calls[1].addErrback(lambda _: None)
    waiting.pending.fail("enough")
    assert len(waiting.pending) == 0


def test_settled_when_nothing_waits() -> None:
    waiting = Waiting()
    assert waiting.pending.settled().called
    call = waiting.pending.add()
    settled = waiting.pending.settled()
    assert not settled.called
    waiting.pending.answer(call, 1)
    assert settled.called


def test_who_asks_again_when_he_failed_waits_anew() -> None:
    waiting = Waiting()
    again: list[Any] = []
    waiting.pending.add().addErrback(lambda _: again.append(waiting.pending.add()))
    waiting.clock.advance(2.0)
    assert len(waiting.pending) == 1
    failed: list[Any] = []
    again[0].addErrback(failed.append)
    waiting.clock.advance(1.9)
    assert not failed
    waiting.clock.advance(0.1)
    assert failed

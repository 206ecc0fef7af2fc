"""Every store against a plain dict, by sequences of calls that Hypothesis thinks up."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pytest_twisted import ensureDeferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from hardhttp.errors import SessionTooLargeError
from hardhttp.interfaces import SessionTimes
from hardhttp.limits import Limits
from hardhttp.stores.memory import MemoryStore
from hardhttp.stores.redis import RedisStore
from hardhttp.stores.sqlite import SQLiteStore
from tests.stores.redis_process import RedisProcess

KEYS = st.sampled_from([b"a", b"b", b"\0", b"\xff\n", b"sizes", b"e"])
NAMES = st.sampled_from(["", "a", "v:", "\0", "é", "\ud800", "a b"])
TEXTS = st.one_of(st.none(), st.text(st.characters(categories=None), max_size=40))
SESSION_BYTES, SESSIONS, ALL_BYTES = 64, 4, 1024
NARROW = Limits(max_session_bytes=SESSION_BYTES, max_sessions=SESSIONS, max_sessions_bytes=ALL_BYTES)

_names = count()


def weight(texts: dict[str, str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for pair in texts.items() for text in pair)


class Model(RuleBasedStateMachine):
    """Time goes on with every step, so no two accesses are at once."""

    store: Any

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.sessions: dict[bytes, tuple[dict[str, str], SessionTimes]] = {}
        self.evicted_before = self.store.evicted
        self.evicted = 0
        for key in [b"a", b"b", b"\0", b"\xff\n", b"sizes", b"e"]:
            self.call("delete", key)

    def call(self, name: str, *arguments: Any) -> Any:
        from twisted.internet import reactor

        return blockingCallFromThread(reactor, getattr(self.store, name), *arguments)

    def alive(self, key: bytes) -> bool:
        return key in self.sessions and self.sessions[key][1].expires_at > self.now

    @rule(key=KEYS, changes=st.dictionaries(NAMES, TEXTS, max_size=3), idle=st.integers(1, 20), create=st.booleans())
    def save(self, key: bytes, changes: dict[str, str | None], idle: int, create: bool) -> None:
        self.now += 1
        self.sweep(0)  # what has expired may be gone or not, and would make the difference who is given up
        times = SessionTimes(self.now, self.now, self.now + idle)
        there = self.alive(key)
        texts, before = self.sessions[key] if there else ({}, times)
        after = {name: text for name, text in {**texts, **changes}.items() if text is not None}
        allowed = weight(after) <= SESSION_BYTES or weight(after) <= weight(texts)
        if (there or create) and not allowed:
            with pytest.raises(SessionTooLargeError):
                self.call("save", key, changes, times, NARROW, create)
            return
        assert self.call("save", key, changes, times, NARROW, create) is (there or create)
        if there or create:
            created = SessionTimes(before.created_at, times.last_accessed_at, times.expires_at)
            self.sessions[key] = (after, created)
            while len(self.sessions) > SESSIONS:
                del self.sessions[min(self.sessions, key=lambda key: self.sessions[key][1].last_accessed_at)]
                self.evicted += 1

    @rule(key=KEYS)
    def load(self, key: bytes) -> None:
        record = self.call("load", key, self.now)
        if self.alive(key):
            assert (record.values, record.times) == self.sessions[key]
        else:
            assert record is None

    @rule(key=KEYS, idle=st.integers(1, 20))
    def touch(self, key: bytes, idle: int) -> None:
        self.now += 1
        assert self.call("touch", key, SessionTimes(0, self.now, self.now + idle)) is self.alive(key)
        if self.alive(key):
            texts, times = self.sessions[key]
            self.sessions[key] = (texts, SessionTimes(times.created_at, self.now, self.now + idle))

    @rule(old=KEYS, new=KEYS)
    def rename(self, old: bytes, new: bytes) -> None:
        """As an application does it: with an access, which a store in memory counts a rename as."""
        self.now += 1
        times = SessionTimes(0, self.now, self.now + 10)
        if not self.alive(old):
            return
        assert self.call("touch", old, times) is True
        assert self.call("rename", old, new) is True
        texts, before = self.sessions.pop(old)
        self.sessions[new] = (texts, SessionTimes(before.created_at, self.now, self.now + 10))

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        if key not in self.sessions or self.alive(key):  # of what has expired it need not know
            assert self.call("delete", key) is (key in self.sessions)
            self.sessions.pop(key, None)

    @rule(later=st.integers(0, 30))
    def sweep(self, later: int) -> None:
        self.now += later
        gone = [key for key, (_, times) in self.sessions.items() if times.expires_at <= self.now]
        # A store may have forgotten it before, when it was asked for it.
        assert self.call("sweep", self.now) <= len(gone)
        for key in gone:
            del self.sessions[key]
        assert self.call("count") == len(self.sessions)

    @rule()
    def close(self) -> None:
        self.call("close")

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "sessions"):
            assert self.store.evicted - self.evicted_before == self.evicted
            assert self.call("count") <= SESSIONS

    def teardown(self) -> None:
        self.call("close")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
@ensureDeferred
async def test_like_a_dict(kind: str, shared_redis: RedisProcess) -> None:
    from twisted.internet import reactor

    with tempfile.TemporaryDirectory() as directory:

        class OfKind(Model):
            def __init__(self) -> None:
                super().__init__()
                number = next(_names)
                if kind == "memory":
                    self.store = MemoryStore()
                elif kind == "sqlite":
                    self.store = SQLiteStore(Path(directory) / f"{number}.db", reactor)
                else:
                    self.store = RedisStore(shared_redis.url, reactor, prefix=f"{{model}}:{number}:")

        await deferToThread(
            run_state_machine_as_test,
            OfKind,
            settings=settings(
                max_examples=100 if kind == "memory" else 25,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

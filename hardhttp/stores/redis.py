"""Sessions in Redis: shared by many processes and machines.

What Redis promises about keeping data is what these sessions get: with its append-only file they outlive its
restart, without it they are as fresh as its last snapshot.

While Redis is away every call fails with ``StoreError``: at once when that is known, within ``answer_seconds``
when it is found out, and the store works again by itself when Redis is back (``redisconnection``). Each call is
one script that Redis runs as one step (``redisscripts``), so two processes that save the same session lose
nothing of each other's. A call that failed may have been done all the same: the answer was lost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from hardhttp.errors import SessionTooLargeError, StoreError
from hardhttp.interfaces import ISessionStore, SessionRecord, SessionTimes
from hardhttp.remote.redisaddress import RedisAddress
from hardhttp.remote.redisconnection import RedisConnection
from hardhttp.stores import redisscripts
from hardhttp.stores.packing import encode, unpack

if TYPE_CHECKING:
    from hardhttp.limits import Limits
    from hardhttp.remote.script import Script

__all__ = ["RedisStore"]

ANSWER_SECONDS = 2.0
PREFIX = "{hardhttp}:"
# Sessions that one script forgets at most: about a millisecond, in which Redis serves nobody else.
STEP_SESSIONS = 100
# Expiry is judged by the caller's time; Redis's own is for sessions that nobody sweeps any more.
TTL_SLACK_SECONDS = 60.0
MAX_TTL_SECONDS = 10 * 366 * 86_400.0


@implementer(ISessionStore)
class RedisStore:
    """Sessions in the Redis at ``url`` (see ``redisaddress``), under keys that begin with ``prefix``.

    Nothing is connected before the first call. ``evicted`` counts the sessions this process gave up to stay
    within the limits.

    Raises ``ValueError`` for a URL it cannot use, and ``StoreError`` when txredisapi is not installed.
    """

    def __init__(self, url: str, reactor: Any, *, prefix: str = PREFIX, answer_seconds: float = ANSWER_SECONDS) -> None:
        try:
            import txredisapi  # noqa: F401
        except ImportError:
            raise StoreError("sessions in Redis need txredisapi: pip install 'hardhttp[redis]'") from None
        self._address = RedisAddress.parse(url)
        self._connection = RedisConnection(self._address, reactor, answer_seconds)
        names = (prefix + name for name in ("accessed", "expires", "sizes", "s:"))
        self._keys = [b"3", *(name.encode("utf-8") for name in names)]
        self._cursor = b"0"
        self.evicted = 0

    def __repr__(self) -> str:
        return f"<RedisStore {self._address}, {self._connection.phase.value}>"

    def load(self, key: bytes, now: float) -> Deferred[SessionRecord | None]:
        return self._run(redisscripts.LOAD, key, _number(now)).addCallback(_record)

    def save(
        self, key: bytes, changes: Mapping[str, str | None], times: SessionTimes, limits: Limits, create: bool
    ) -> Deferred[bool]:
        texts, removals = [], []
        for name, text in changes.items():
            if text is None:
                removals.append(encode(name))
            else:
                texts += [encode(name), encode(text)]
        saved = self._run(
            redisscripts.SAVE,
            key,
            _number(times.created_at),
            *_access(times),
            b"%d" % create,
            b"%d" % min(limits.max_session_bytes, limits.max_sessions_bytes),
            *_bounds(limits),
            b"%d" % (len(texts) // 2),
            *texts,
            *removals,
        )
        return saved.addCallback(self._saved, limits, key)

    def _saved(self, answer: tuple[int, int, int], limits: Limits, key: bytes) -> bool | Deferred[bool]:
        done, given_up, more = answer
        if done < 0:
            raise SessionTooLargeError(f"the session would hold {given_up} bytes; at most {more} are allowed")
        self.evicted += given_up
        return Deferred.fromCoroutine(self._evict(limits, key)) if more else bool(done)

    async def _evict(self, limits: Limits, key: bytes) -> bool:
        more = 1
        while more:
            given_up, more = await self._run(redisscripts.EVICT, key, *_bounds(limits))
            self.evicted += given_up
        return True

    def touch(self, key: bytes, times: SessionTimes) -> Deferred[bool]:
        return self._run(redisscripts.TOUCH, key, *_access(times)).addCallback(bool)

    def rename(self, old: bytes, new: bytes) -> Deferred[bool]:
        return self._run(redisscripts.RENAME, old, new).addCallback(bool)

    def delete(self, key: bytes) -> Deferred[bool]:
        return self._run(redisscripts.DELETE, key).addCallback(bool)

    def sweep(self, now: float) -> Deferred[int]:
        return Deferred.fromCoroutine(self._sweep(now))

    async def _sweep(self, now: float) -> int:
        done, more = 0, 1
        while more:
            number, more = await self._run(redisscripts.SWEEP, _number(now), b"%d" % STEP_SESSIONS)
            done += number
        self._cursor = await self._run(redisscripts.MEND, self._cursor, b"%d" % STEP_SESSIONS)
        return done

    def count(self) -> Deferred[int]:
        return self._run(redisscripts.COUNT)

    def close(self) -> Deferred[None]:
        """Wait for the answers that are due, and let go of the connection. The next call connects again."""
        return Deferred.fromCoroutine(self._connection.close())

    def _run(self, script: Script, *arguments: bytes) -> Deferred[Any]:
        return self._connection.run(script, (*self._keys, *arguments))


def _record(answer: bytes | None) -> SessionRecord | None:
    if answer is None:
        return None
    times, _, packed = answer.partition(b"\n")
    return SessionRecord(unpack(packed), SessionTimes(*map(float, times.split())))


def _number(seconds: float) -> bytes:
    """So that it comes back as it was."""
    return repr(float(seconds)).encode("ascii")


def _access(times: SessionTimes) -> tuple[bytes, bytes, bytes]:
    left = min(max(times.expires_at - times.last_accessed_at, 0.0), MAX_TTL_SECONDS) + TTL_SLACK_SECONDS
    return _number(times.last_accessed_at), _number(times.expires_at), b"%d" % math.ceil(left * 1000)


def _bounds(limits: Limits) -> tuple[bytes, bytes, bytes]:
    return b"%d" % limits.max_sessions, b"%d" % limits.max_sessions_bytes, b"%d" % STEP_SESSIONS

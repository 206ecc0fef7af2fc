"""Sessions in the memory of one process.

Bounded in number and in bytes: past a bound the session whose last access is oldest goes first, and is
counted. There is no timer for a session and no scan of all of them: they are kept in the order of their
last access, which is the order of giving up, and their keys lie in bins by the time they expire, so a
sweep looks at what has expired and at one bin more.

Every method answers at once. Time is the caller's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from hardhttp.errors import SessionTooLargeError
from hardhttp.interfaces import ISessionStore, SessionRecord, SessionTimes

if TYPE_CHECKING:
    from hardhttp.limits import Limits

__all__ = ["MemoryStore"]

# What expires within the same quarter of a minute lies together.
BIN_SECONDS = 16.0


class _Entry:
    """One session, and what it weighs."""

    __slots__ = ("held_bytes", "times", "values")

    def __init__(self, times: SessionTimes) -> None:
        self.times = times
        self.values: dict[str, str] = {}
        self.held_bytes = 0


def _text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


@implementer(ISessionStore)
class MemoryStore:
    """Sessions that live as long as the process.

    ``held_bytes`` is the sum of all sessions' bytes, ``evicted`` how many were given up to stay within
    the bounds. ``len(store)`` counts the sessions.
    """

    answers_at_once = True

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()  # the one accessed longest ago first
        self._bins: dict[float, set[bytes]] = {}
        self.held_bytes = 0
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._entries)} sessions, {self.held_bytes} bytes>"

    def load(self, key: bytes, now: float) -> Deferred[SessionRecord | None]:
        found = self.load_now(key, now)
        return succeed(None if found is None else SessionRecord(found[0], found[1]))

    def load_now(self, key: bytes, now: float) -> tuple[dict[str, str], SessionTimes, int] | None:
        """What ``load`` answers, with its size and without a Deferred: it is asked with every request."""
        entry = self._alive(key, now)
        return None if entry is None else (entry.values.copy(), entry.times, entry.held_bytes)

    def save(
        self, key: bytes, changes: Mapping[str, str | None], times: SessionTimes, limits: Limits, create: bool
    ) -> Deferred[bool]:
        try:
            return succeed(self.save_now(key, changes, times, limits, create))
        except SessionTooLargeError as error:
            return fail(error.with_traceback(None))

    def save_now(
        self, key: bytes, changes: Mapping[str, str | None], times: SessionTimes, limits: Limits, create: bool
    ) -> bool:
        """What ``save`` answers, or raises."""
        entry = self._alive(key, times.last_accessed_at)
        if entry is None and not create:
            return False
        held = {} if entry is None else entry.values
        growth = 0
        for name, text in changes.items():
            old = held.get(name)
            if old is None:
                growth += 0 if text is None else _text_bytes(name) + _text_bytes(text)
            else:
                growth += (-_text_bytes(name) if text is None else _text_bytes(text)) - _text_bytes(old)
        size = growth if entry is None else entry.held_bytes + growth
        if growth > 0 and size > (most := min(limits.max_session_bytes, limits.max_sessions_bytes)):
            # One that would not fit alone must not cost all the others.
            raise SessionTooLargeError(f"the session would hold {size} bytes; at most {most} are allowed")
        if entry is None:
            entry = self._entries[key] = _Entry(times)
            self._bin_of(times.expires_at).add(key)
        elif entry.times is not times:
            self._accessed(key, entry, times)
        for name, text in changes.items():
            if text is None:
                entry.values.pop(name, None)
            else:
                entry.values[name] = text
        entry.held_bytes = size
        self.held_bytes += growth
        self._keep_within(limits)
        return True

    def touch(self, key: bytes, times: SessionTimes) -> Deferred[bool]:
        entry = self._alive(key, times.last_accessed_at)
        if entry is not None:
            self._accessed(key, entry, times)
        return succeed(entry is not None)

    def rename(self, old: bytes, new: bytes) -> Deferred[bool]:
        entry = self._forget(old)
        if entry is None:
            return succeed(False)
        self._forget(new)
        self._entries[new] = entry  # now the last in the order: a rename is an access
        self._bin_of(entry.times.expires_at).add(new)
        self.held_bytes += entry.held_bytes
        return succeed(True)

    def delete(self, key: bytes) -> Deferred[bool]:
        return succeed(self._forget(key) is not None)

    def sweep(self, now: float) -> Deferred[int]:
        expired = [
            key
            for begins_at, keys in self._bins.items()
            if begins_at <= now
            for key in keys
            if self._entries[key].times.expires_at <= now
        ]
        for key in expired:
            self._forget(key)
        return succeed(len(expired))

    def count(self) -> Deferred[int]:
        return succeed(len(self._entries))

    def close(self) -> Deferred[None]:
        """Nothing is open; the sessions stay."""
        return succeed(None)

    # -- keeping the account ------------------------------------------------------------------

    def _alive(self, key: bytes, now: float) -> _Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.times.expires_at <= now:
            self._forget(key)
            return None
        return entry

    def _accessed(self, key: bytes, entry: _Entry, times: SessionTimes) -> None:
        before = entry.times
        if times.created_at != before.created_at:
            times = SessionTimes(before.created_at, times.last_accessed_at, times.expires_at)
        entry.times = times
        self._entries.move_to_end(key)
        if before.expires_at // BIN_SECONDS != times.expires_at // BIN_SECONDS:
            self._leave_bin(key, before.expires_at)
            self._bin_of(times.expires_at).add(key)

    def _keep_within(self, limits: Limits) -> None:
        while len(self._entries) > limits.max_sessions or self.held_bytes > limits.max_sessions_bytes:
            self._forget(next(iter(self._entries)))
            self.evicted += 1

    def shed(self, size: int) -> None:
        """Give up the sessions whose last access is oldest, ``size`` bytes of them: memory is short."""
        until = max(0, self.held_bytes - size)
        while self._entries and self.held_bytes > until:
            self._forget(next(iter(self._entries)))
            self.evicted += 1

    def _forget(self, key: bytes) -> _Entry | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.held_bytes -= entry.held_bytes
            self._leave_bin(key, entry.times.expires_at)
        return entry

    def _bin_of(self, expires_at: float) -> set[bytes]:
        begins_at = expires_at // BIN_SECONDS * BIN_SECONDS
        keys = self._bins.get(begins_at)
        if keys is None:
            keys = self._bins[begins_at] = set()
        return keys

    def _leave_bin(self, key: bytes, expires_at: float) -> None:
        begins_at = expires_at // BIN_SECONDS * BIN_SECONDS
        keys = self._bins[begins_at]
        keys.discard(key)
        if not keys:
            del self._bins[begins_at]

"""Token buckets, many of them, in bounded memory: pure arithmetic, told the time.

A bucket is one number, the moment at which it will be full again (the "theoretical arrival time" of
ITU-T I.371's GCRA). So a bucket that is full says nothing, and forgetting it costs nothing.

When more keys are active than there is room for, the bucket nearest to full is forgotten, because
that gives back the least. So whoever has many addresses cannot make the table grow, cannot take
anything from another's bucket, and cannot have a bucket of its own forgotten that lacks *k* tokens
without making every other bucket lack as many first. What no table of buckets can do is limit the sum over
addresses: each new one begins with a full bucket.

The order is kept by a heap whose entries may be out of date: buckets only ever empty further, so an
entry's time is a lower bound, and is put right when it comes to the top. How many are put right in one
call has a bound; past it the fullest of those seen is forgotten.
"""

from __future__ import annotations

import heapq
import re

import attrs

__all__ = ["Rate", "Taken", "TokenBuckets"]

# Out-of-date entries put right in one call that needs room, and in one that does not.
LOOKS_FOR_ROOM = 16
LOOKS = 2

_RATE = re.compile(r"([0-9]{1,9})/([0-9]{0,6})(s|m|h|d)", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@attrs.frozen
class Rate:
    """``count`` tokens every ``seconds``."""

    count: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Rate:
        """``"100/m"``, ``"5/s"``, ``"10/30s"``; the units are s, m, h and d. Raises ``ValueError``."""
        found = _RATE.fullmatch(text)
        if found is None or int(found[1]) < 1 or int(found[2] or 1) < 1:
            raise ValueError(f"a rate is {text[:60]!r}; it must be like 100/m, 5/s or 10/30s")
        return cls(int(found[1]), float(int(found[2] or 1) * _UNIT_SECONDS[found[3]]))

    @property
    def token_seconds(self) -> float:
        """How long one token takes to come."""
        return self.seconds / self.count


@attrs.frozen
class Taken:
    """What came of taking one token.

    ``wait_seconds`` is 0 when it was there, else the time until it will be; ``left`` whole tokens are
    left, and after ``full_seconds`` the bucket is full.
    """

    wait_seconds: float
    left: int
    full_seconds: float


class TokenBuckets:
    """Buckets of ``burst`` tokens that fill at ``rate``, for at most ``max_keys`` keys at a time."""

    def __init__(self, rate: Rate, burst: int, max_keys: int) -> None:
        if burst < 1 or max_keys < 1:
            raise ValueError(f"burst is {burst!r} and max_keys {max_keys!r}; both must be at least 1")
        self.rate = rate
        self.burst = burst
        self.max_keys = max_keys
        self.forgotten = 0  # buckets that were not full
        self._token_seconds = rate.token_seconds
        self._burst_seconds = burst * self._token_seconds
        # Of a clock that counts from 1970 in doubles, with room for a few sums.
        self._rounding_seconds = max(self._token_seconds / 1000, 1e-6)
        self._full_at: dict[str, float] = {}
        self._order: list[tuple[float, str]] = []  # one entry a key, none later than its bucket's time

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, now: float) -> Taken:
        """Take a token from ``key``'s bucket, if there is one, at ``now`` (seconds, of any clock)."""
        full_at = self._full_at.get(key)
        lacking = 0.0 if full_at is None else max(full_at - now, 0.0)
        rounding = self._rounding_seconds
        if lacking > self._burst_seconds + rounding:
            # No bucket can lack so much: the clock was put back, and nobody is to wait for it to come again.
            self._full_at.clear()
            self._order.clear()
            full_at, lacking = None, 0.0
        lacks_then = lacking + self._token_seconds
        wait = lacks_then - self._burst_seconds
        if wait > rounding:
            self._tidy(now)
            return Taken(wait, 0, lacking)
        self._tidy(now)
        if key not in self._full_at:
            if len(self._full_at) >= self.max_keys:
                self._forget_one(now)
            heapq.heappush(self._order, (now + lacks_then, key))
        self._full_at[key] = now + lacks_then
        left = int((self._burst_seconds - lacks_then + rounding) / self._token_seconds)
        return Taken(0.0, left, lacks_then)

    def _tidy(self, now: float) -> None:
        """Forget as full, or put right, what stands first."""
        order, full_at = self._order, self._full_at
        for _ in range(LOOKS):
            if not order:
                return
            noted, key = order[0]
            true = full_at[key]
            if true <= now:
                heapq.heappop(order)
                del full_at[key]
            elif true > noted:
                heapq.heapreplace(order, (true, key))
            else:
                return

    def _forget_one(self, now: float) -> None:
        """Room for one more key."""
        order, seen = self._order, []
        for _ in range(min(LOOKS_FOR_ROOM, len(order))):
            noted, key = heapq.heappop(order)
            true = self._full_at[key]
            seen.append((true, key))
            if true == noted:
                break  # none of those not seen is fuller
        full_at, fullest = min(seen)
        seen.remove((full_at, fullest))
        for entry in seen:
            heapq.heappush(order, entry)
        del self._full_at[fullest]
        if full_at > now:
            self.forgotten += 1

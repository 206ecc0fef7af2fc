"""What the dashboard shows, as plain data: counters as they stand, and a look at every connection.

Counters only grow; whoever wants a rate takes two snapshots and divides by the time between their ``at``. So nothing
is counted here, and no request pays for it.

To look at a connection takes a microsecond or two, and there may be a hundred thousand. So a ``Census`` looks at
them in pieces, each as long as its caller can spare (P7). What it found is of the time in which it looked, not of one
moment. Everything in a snapshot is bounded: reasons, phases and kinds are closed sets, rows are few.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from hardhttp import __version__
from hardhttp.net.latency import BOUNDS
from hardhttp.net.phase import Phase
from hardhttp.net.portrait import portrait, unanswered_seconds, waited_seconds
from hardhttp.net.server import Server
from hardhttp.ops.connections import connection_row
from hardhttp.ops.health import Verdict
from hardhttp.ops.sources import Sources
from hardhttp.ops.subscribers import subscriber_row

__all__ = ["MAX_ROWS", "Census", "snapshot"]

MAX_ROWS = 10
LOOK_EVERY = 32
# Phases as they are shown: those that say the same to who looks after a server are one.
SHOWN_AS = {phase: phase.name.lower() for phase in Phase} | {
    Phase.DISPATCH: "handling",
    Phase.LINGERING: "closing",
    Phase.CLOSED: "closing",
}


class Census:
    """A look at every connection that ``server`` has when it begins.

    ``phases`` are how many are in each, ``unanswered_seconds`` is the longest that a request has waited for the first
    byte of its answer.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rest = server.tracker.entries()
        self._slowest: list[tuple[float, float, int, Any]] = []  # a heap: waited, age, number
        self.phases = dict.fromkeys(SHOWN_AS.values(), 0)
        self.unanswered_seconds = 0.0

    def look(self, until: float) -> bool:
        """Go on until the clock says ``until``; whether there is more to look at."""
        while batch := list(islice(self._rest, LOOK_EVERY)):
            now = self._server.seconds()
            for connection, number, made in batch:
                self._count(connection, number, made, now)
            if self._server.seconds() >= until:
                return True
        return False

    def _count(self, connection: Any, number: int, made: float, now: float) -> None:
        phase = getattr(connection, "phase", Phase.HEAD)  # without one, its PROXY header is awaited
        self.phases[SHOWN_AS[phase]] += 1
        self.unanswered_seconds = max(self.unanswered_seconds, unanswered_seconds(connection))
        entry = waited_seconds(connection, made, now), now - made, number, connection
        if len(self._slowest) < MAX_ROWS:
            heapq.heappush(self._slowest, entry)
        else:
            heapq.heappushpop(self._slowest, entry)

    def slowest(self) -> list[dict[str, Any]]:
        """Rows of those that are waited for longest, then of the oldest."""
        now, rows = self._server.seconds(), []
        for waited, age, number, connection in sorted(self._slowest, reverse=True):
            seen = portrait(connection)
            if seen is not None:
                rows.append({**connection_row(seen, number, age, now), "waited_seconds": round(waited, 3)})
        return rows


def snapshot(sources: Sources, census: Census, verdict: Verdict | None) -> dict[str, Any]:
    """All of it. ``verdict`` is ``None`` while nothing is known yet."""
    server = sources.server
    statistics = server.statistics
    return {
        "at": server.seconds(),
        "version": __version__,
        "uptime_seconds": statistics.uptime_seconds,
        "ready": None if verdict is None else verdict.ready,
        "problems": [] if verdict is None else list(verdict.problems),
        "notes": [*([] if verdict is None else verdict.notes), *_leaks(sources)],
        "connections": {
            "open": len(server.tracker),
            "max": server.limits.max_connections,
            "accepted": statistics.accepted,
            "phases": census.phases,
            "slowest": census.slowest(),
        },
        "requests": {
            "total": statistics.requests,
            "by_status": {f"{digit}xx": statistics.classes[digit] for digit in range(1, 6)},
            "failed": statistics.errors,
            "unanswered_seconds": round(census.unanswered_seconds, 3),
            "first_byte": {"bounds": BOUNDS, "counts": statistics.latency.all_to_first().counts},
        },
        "bytes_in": statistics.bytes_in,
        "bytes_out": statistics.bytes_out,
        "memory": _memory(server),
        "refusals": {reason.value: count for reason, count in statistics.refused.items() if count},
        "reactor": _reactor(sources),
        "hub": None if sources.hub is None else _hub(sources.hub),
    }


def _leaks(sources: Sources) -> list[str]:
    drift = {} if sources.sentinel is None else sources.sentinel.drift
    return [f"after a quiet minute there are {above} more {kind} than before" for kind, above in drift.items() if above]


def _memory(server: Server) -> dict[str, Any]:
    budget = server.budget
    kinds = {kind.removesuffix("_bytes"): n for kind, n in server.ledger.totals().items() if kind.endswith("_bytes")}
    kinds |= {keeper.kind: keeper.held() for keeper in budget.keepers}
    return {
        "resident_bytes": resident_bytes(),
        "held_bytes": budget.held_bytes,
        "max_bytes": server.limits.max_buffered_bytes,
        "kinds": kinds,
        "pressure": budget.pressure.name.lower(),
        "shed": budget.shed_count,
    }


def resident_bytes(read: Callable[[], str] = Path("/proc/self/statm").read_text) -> int | None:
    """What this process has in memory (proc(5)); ``None`` where the system does not say."""
    try:
        return int(read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, IndexError):
        return None


def _reactor(sources: Sources) -> dict[str, Any]:
    stalls = sources.stalls
    if stalls is None:
        return {"late_seconds": None, "stalls": 0, "worst_seconds": 0.0}
    return {
        "late_seconds": round(stalls.last_late_seconds, 4),
        "stalls": stalls.count,
        "worst_seconds": round(stalls.worst_seconds, 3),
    }


def _hub(hub: Any) -> dict[str, Any]:
    """The first of ``waiting`` has waited longest."""
    now = hub.seconds()
    return {
        "subscribers": hub.subscriber_count,
        "waiting": len(hub.waiting),
        "queued_bytes": hub.queued_bytes,
        "published": hub.published,
        "behind_seconds": round(next((now - since for since in hub.waiting.values()), 0.0), 3),
        "slowest": [subscriber_row(subscriber, now) for subscriber in islice(hub.waiting, MAX_ROWS)],
        "ended": {end.value: count for end, count in hub.ends.items() if count},
        "unpublished": hub.unpublished,
    }

"""Workers as JSON says them: those that there are, and why those before them ended. All of it is bounded."""

from __future__ import annotations

from typing import Any

from hardhttp.ops.worker import Worker
from hardhttp.ops.workers import Workers

__all__ = ["workers_view"]


def workers_view(workers: Workers, now: float) -> dict[str, Any]:
    return {
        "wanted": workers.wanted,
        "ready": workers.ready,
        "stopping": workers.stopping,
        "ends": dict(workers.ends),
        "workers": [_row(workers, workers.alive[number], now) for number in sorted(workers.alive)],
        "ended": [
            {"number": each.number, "cause": each.cause, "how": each.how, "seconds_ago": round(now - each.at, 1)}
            for each in reversed(workers.ended)
        ],
    }


def _row(workers: Workers, worker: Worker, now: float) -> dict[str, Any]:
    last = next((each for each in reversed(workers.ended) if each.number == worker.number), None)
    return {
        "number": worker.number,
        "pid": worker.pid,
        "state": worker.state.value,
        "age_seconds": round(now - worker.born, 1),
        "rss_bytes": worker.rss_bytes,
        "unanswered_pings": max(0, worker.unanswered - 1),
        "restarts": workers.starts[worker.number] - 1,
        "last_end": None if last is None else f"{last.cause}: {last.how}",
    }

"""A process that keeps a history: ``python history_worker.py PATH DEED``; what it prints the tests read."""

from __future__ import annotations

import resource
import signal
import sys

from hardhttp.sse.historysqlite import SQLiteHistory
from tests.sse.history_model import update
from tests.sse.thread_clock import ThreadClock


def add(history: SQLiteHistory, number: int, size: int) -> None:
    for _ in range(number):
        sequence = history.last_sequence + 1
        history.append(update(sequence, id=f"{history.epoch}-{sequence}", size=size))


def endless(history: SQLiteHistory, clock: ThreadClock) -> None:
    """Append without end; say what was given, and what the file had before."""
    flushed = 0
    while True:
        add(history, 50, 100)
        print(history.epoch, history.last_sequence, f"{flushed}.", flush=True)
        before = history.last_sequence
        done = history.flush()
        add(history, 3, 100)
        clock.wait(done)
        flushed = before if not history._writing and not history._behind else flushed


def full(history: SQLiteHistory, clock: ThreadClock) -> None:
    """Append when no file may grow any more; then make room."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    add(history, 1, 1000)
    clock.wait(history.flush())
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    for _ in range(4):
        add(history, 100, 1000)
        clock.wait(history.flush())
    print("degraded" if history.degraded else "not full", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    clock.wait(history.flush())
    print("recovered" if not history.degraded else history.degraded, flush=True)
    clock.wait(history.close())


if __name__ == "__main__":
    clock = ThreadClock()
    history = SQLiteHistory(sys.argv[1], clock, max_topic_updates=10**6)  # type: ignore[arg-type]
    {"endless": endless, "full": full}[sys.argv[2]](history, clock)

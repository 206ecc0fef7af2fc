"""A process that uses an SQLite store: ``python worker.py PATH DEED ...``; what it prints the tests read."""

from __future__ import annotations

import resource
import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from hardhttp.errors import StoreError
from hardhttp.interfaces import SessionTimes
from hardhttp.limits import Limits
from hardhttp.stores.sqlite import SQLiteStore

LIMITS = Limits()
TIMES = SessionTimes(1000.0, 1000.0, 2000.0)


async def hammer(store: SQLiteStore, name: str, number: str) -> None:
    """Write keys of one's own into sessions all share; each save waits for the one before."""
    for n in range(int(number)):
        await store.save(b"shared%d" % (n % 3), {f"{name}-{n}": "1"}, TIMES, LIMITS, True)
        await store.load(b"shared%d" % (n % 3), 1000.0)
    print("done", flush=True)


async def endless(store: SQLiteStore) -> None:
    """Save without end, and say what has been acknowledged."""
    n = 0
    while True:
        await gatherResults([store.save(b"%d" % (n + i), {"n": str(n + i)}, TIMES, LIMITS, True) for i in range(5)])
        n += 5
        print(n, flush=True)


async def full(store: SQLiteStore) -> None:
    """Save until the disk is full (no file may grow further), then make room."""
    await store.save(b"before", {"n": "1"}, TIMES, LIMITS, True)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    failed = 0
    for n in range(100):
        try:
            await store.save(b"%d" % n, {"n": "x" * 10_000}, TIMES, LIMITS, True)
        except StoreError as error:
            failed += 1
            last = str(error)
    print("failed", failed > 50, last, flush=True)
    print("still there", (await store.load(b"before", 1000.0)) is not None, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print("again", await store.save(b"after", {"n": "1"}, TIMES, LIMITS, True), flush=True)


DEEDS: dict[str, Any] = {"hammer": hammer, "endless": endless, "full": full}


def main(path: str, deed: str, *arguments: str) -> None:
    from twisted.internet import reactor

    store = SQLiteStore(path, reactor)

    async def run() -> None:
        try:
            await DEEDS[deed](store, *arguments)
            await store.close()
        except Exception as error:
            print("failed:", error, flush=True)
        reactor.stop()

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

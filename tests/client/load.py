"""Twelve loops through a proxy that closes, with the collector off.

    python -m tests.client.load ORIGIN PROXY AUTHORITY REQUESTS

It is the load of a report on .NET's ``HttpWebRequest``, whose tunnels stayed in the pool: memory was used up in half a
minute. At each fifth of the way, and when all is done, a line of JSON says what is held: resident memory, descriptors,
objects that Python's collector knows, and the agent's ledger.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.task import deferLater, react
from twisted.web.client import readBody

from hardhttp.client import Agent

LOOPS = 12
MARKS = 5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def held(agent: Agent, done: int) -> dict[str, Any]:
    return {
        "done": done,
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()),
        "ledger": agent.ledger.snapshot(),
        "failed": dict(agent.statistics.failed),
    }


async def work(origin: str, proxy: str, authority: str, number: int) -> None:
    root = trustRootFromCertificates([Certificate.loadPEM(Path(authority).read_bytes())])
    agent = Agent(reactor, trust_root=root, proxy=proxy)
    done = 0

    async def loop(count: int) -> None:
        nonlocal done
        for _ in range(count):
            response = await agent.request(b"GET", origin.encode())
            assert await readBody(response) == b"hello"
            done += 1

    async def burst(count: int) -> None:
        await gatherResults([Deferred.fromCoroutine(loop(count // LOOPS)) for _ in range(LOOPS)])
        while agent.ledger.snapshot()["connections"]:
            await deferLater(reactor, 0.001)

    await burst(20 * LOOPS)  # what is made once is made
    gc.collect()
    gc.freeze()
    gc.disable()
    for _ in range(MARKS):
        print(json.dumps(held(agent, done)), flush=True)
        await burst(number // MARKS)
    await agent.close()
    print(json.dumps(held(agent, done)), flush=True)
    print(json.dumps({"found": gc.collect()}), flush=True)


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(work(*sys.argv[1:4], number=int(sys.argv[4]))))

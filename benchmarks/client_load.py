"""One client of the ``client`` rows, in a process of its own: it asks as fast as it can and says how fast that was.

    python -m benchmarks.client_load NAME --url http://127.0.0.1:8080/a/b --seconds 3 --connections 20 [--closed]

The answer is one line of JSON: requests, seconds, and processor time of this process. Each answer is read
whole and compared. With ``--closed`` every request has a connection of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.messages import HELLO

__all__ = ["CLIENTS", "main"]

WARM_SECONDS = 0.5
Ask = Callable[[], Awaitable[bytes]]


def _stock_agent(options: argparse.Namespace) -> Any:
    from twisted.internet import reactor
    from twisted.web.client import Agent, HTTPConnectionPool

    pool = HTTPConnectionPool(reactor, persistent=not options.closed)
    pool.maxPersistentPerHost = options.connections
    return Agent(reactor, pool=pool)


def _our_agent(options: argparse.Namespace) -> Any:
    from twisted.internet import reactor

    from hardhttp.client import Agent, ClientLimits

    idle = 0 if options.closed else options.connections
    return Agent(reactor, ClientLimits(max_connections_per_host=options.connections, max_idle_connections=idle))


def _by_agent(make: Callable[[argparse.Namespace], Any]) -> Callable[[argparse.Namespace], Ask]:
    def client(options: argparse.Namespace) -> Ask:
        from twisted.web.client import readBody

        agent, url = make(options), options.url.encode()

        async def ask() -> bytes:
            return await readBody(await agent.request(b"GET", url))

        return ask

    return client


def _by_treq(make: Callable[[argparse.Namespace], Any], ours: bool = False) -> Callable[[argparse.Namespace], Ask]:
    def client(options: argparse.Namespace) -> Ask:
        import treq.client

        from hardhttp.client import HTTPClient

        client = (HTTPClient if ours else treq.client.HTTPClient)(make(options))

        async def ask() -> bytes:
            return await (await client.get(options.url)).content()

        return ask

    return client


async def _in_turn(ask: Ask, until: float) -> int:
    """Ask again and again; how often."""
    asked = 0
    while time.monotonic() < until:
        if await ask() != HELLO:
            raise SystemExit("a wrong answer")
        asked += 1
    return asked


def _result(asked: int, begun: float, cpu: float) -> dict[str, float]:
    return {"requests": asked, "seconds": time.monotonic() - begun, "cpu_seconds": time.process_time() - cpu}


def _twisted(client: Callable[[argparse.Namespace], Ask]) -> Callable[[argparse.Namespace], dict[str, float]]:
    def run(options: argparse.Namespace) -> dict[str, float]:
        from twisted.internet import reactor
        from twisted.internet.defer import ensureDeferred, gatherResults

        found: dict[str, float] = {}

        async def measure() -> None:
            ask = client(options)

            async def together(seconds: float) -> int:
                until = time.monotonic() + seconds
                loops = [ensureDeferred(_in_turn(ask, until)) for _ in range(options.connections)]
                return sum(await gatherResults(loops))

            await together(WARM_SECONDS)
            begun, cpu = time.monotonic(), time.process_time()
            found.update(_result(await together(options.seconds), begun, cpu))

        def begin() -> None:
            ensureDeferred(measure()).addErrback(lambda failure: failure.printTraceback()).addBoth(
                lambda _: reactor.stop()
            )

        reactor.callWhenRunning(begin)
        reactor.run()
        return found

    return run


def _asyncio(client: Callable[..., Awaitable[Any]]) -> Callable[[argparse.Namespace], dict[str, float]]:
    def run(options: argparse.Namespace) -> dict[str, float]:
        async def together(ask: Ask, seconds: float) -> int:
            until = time.monotonic() + seconds
            return sum(await asyncio.gather(*[_in_turn(ask, until) for _ in range(options.connections)]))

        async def measure(ask: Ask) -> dict[str, float]:
            await together(ask, WARM_SECONDS)
            begun, cpu = time.monotonic(), time.process_time()
            return _result(await together(ask, options.seconds), begun, cpu)

        return asyncio.run(client(options, measure))  # type: ignore[arg-type]

    return run


async def _httpx(options: argparse.Namespace, measure: Callable[[Ask], Awaitable[Any]]) -> Any:
    import httpx

    kept = 0 if options.closed else options.connections
    limits = httpx.Limits(max_connections=options.connections, max_keepalive_connections=kept)
    async with httpx.AsyncClient(limits=limits) as client:

        async def ask() -> bytes:
            return (await client.get(options.url)).content

        return await measure(ask)


async def _aiohttp(options: argparse.Namespace, measure: Callable[[Ask], Awaitable[Any]]) -> Any:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=options.connections, force_close=options.closed)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask() -> bytes:
            async with session.get(options.url) as response:
                return await response.read()

        return await measure(ask)


CLIENTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "hardhttp-treq": _twisted(_by_treq(_our_agent, ours=True)),
    "treq-hardhttp": _twisted(_by_treq(_our_agent)),
    "treq": _twisted(_by_treq(_stock_agent)),
    "hardhttp": _twisted(_by_agent(_our_agent)),
    "twisted": _twisted(_by_agent(_stock_agent)),
    "httpx": _asyncio(_httpx),
    "aiohttp": _asyncio(_aiohttp),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="one client, as fast as it can")
    parser.add_argument("name", choices=sorted(CLIENTS))
    parser.add_argument("--url", required=True)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--closed", action="store_true")
    options = parser.parse_args()
    print(json.dumps(CLIENTS[options.name](options)))


if __name__ == "__main__":
    main()

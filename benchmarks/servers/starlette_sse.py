"""Starlette on uvicorn, a queue for each subscriber: ``StreamingResponse``, or with ``--sse-starlette`` that package's.

``python -m benchmarks.servers.starlette_sse PORT [--sse-starlette]``
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from benchmarks.messages import EVENTS_PATH, HELLO, HELLO_PATH, HOLDS_PATH, PUBLISH_PATH
from benchmarks.servers.options import parse
from benchmarks.servers.sse_holds import Holds
from benchmarks.servers.uvicorn_asgi import serve

__all__ = ["app"]

queues: set[asyncio.Queue[str]] = set()
holds: list[Holds] = []


async def taken(queue: asyncio.Queue[str]) -> AsyncIterator[str]:
    """What comes, until the client goes."""
    try:
        while True:
            yield await queue.get()
    finally:
        queues.discard(queue)


async def encoded(queue: asyncio.Queue[str]) -> AsyncIterator[str]:
    async for data in taken(queue):
        yield f"data: {data}\n\n"


async def events(request: Request) -> Response:
    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    return StreamingResponse(encoded(queue), media_type="text/event-stream")


async def events_by_package(request: Request) -> Response:
    from sse_starlette.sse import EventSourceResponse

    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    return EventSourceResponse({"data": data} async for data in taken(queue))


async def publish(request: Request) -> Response:
    data = (await request.body()).decode()
    for queue in queues:
        queue.put_nowait(data)
    return Response(status_code=204)


async def hello(request: Request) -> Response:
    if not holds:
        holds.append(Holds(asyncio.get_running_loop().call_later))
    return PlainTextResponse(HELLO)


async def held(request: Request) -> Response:
    return Response(holds[0].report(), media_type="application/json")


def app(stream) -> Starlette:
    """The application, with ``stream`` as the handler of events."""
    return Starlette(
        routes=[
            Route(HELLO_PATH, hello),
            Route(EVENTS_PATH, stream),
            Route(PUBLISH_PATH, publish, methods=["POST"]),
            Route(HOLDS_PATH, held),
        ]
    )


def main() -> None:
    by_package = "--sse-starlette" in sys.argv
    options = parse([each for each in sys.argv[1:] if each != "--sse-starlette"])
    serve(app(events_by_package if by_package else events), options)


if __name__ == "__main__":
    main()

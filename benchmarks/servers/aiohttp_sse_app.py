"""aiohttp-sse on uvloop, a queue for each subscriber."""

from __future__ import annotations

import asyncio

import uvloop
from aiohttp import web
from aiohttp_sse import sse_response

from benchmarks.messages import EVENTS_PATH, HELLO, HELLO_PATH, HOLDS_PATH, PUBLISH_PATH
from benchmarks.servers.options import parse
from benchmarks.servers.sse_holds import Holds

queues: set[asyncio.Queue[str]] = set()
HOLDS = web.AppKey("holds", Holds)


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=HELLO, content_type="text/plain")


async def events(request: web.Request) -> web.StreamResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    try:
        async with sse_response(request) as response:
            while response.is_connected():
                await response.send(await queue.get())
    finally:
        queues.discard(queue)
    return response


async def publish(request: web.Request) -> web.Response:
    data = await request.text()
    for queue in queues:
        queue.put_nowait(data)
    return web.Response(status=204)


async def held(request: web.Request) -> web.Response:
    return web.Response(body=request.app[HOLDS].report(), content_type="application/json")


async def begin(app: web.Application) -> None:
    app[HOLDS] = Holds(asyncio.get_running_loop().call_later)


def main() -> None:
    options = parse()
    app = web.Application()
    app.on_startup.append(begin)
    app.add_routes([web.get(HELLO_PATH, hello), web.get(EVENTS_PATH, events), web.get(HOLDS_PATH, held)])
    app.router.add_post(PUBLISH_PATH, publish)
    web.run_app(
        app,
        host="127.0.0.1",
        port=options.port,
        backlog=4096,
        keepalive_timeout=600,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()

"""aiohttp on uvloop: WebSockets without compression."""

from __future__ import annotations

import uvloop
from aiohttp import WSMsgType, web

from benchmarks.messages import HELLO, HELLO_PATH
from benchmarks.servers.options import parse

EVERYONE: set = set()


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=HELLO)


async def opened(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    crowd = request.path == "/crowd"
    EVERYONE.add(socket)
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                for each in list(EVERYONE) if crowd else (socket,):
                    await each.send_str(message.data)
    finally:
        EVERYONE.discard(socket)
    return socket


def main() -> None:
    options = parse()
    app = web.Application()
    app.add_routes([web.get(HELLO_PATH, hello), web.get("/echo", opened), web.get("/crowd", opened)])
    web.run_app(
        app,
        host="127.0.0.1",
        port=options.port,
        backlog=4096,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()

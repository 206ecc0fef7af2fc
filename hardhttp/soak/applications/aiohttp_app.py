"""aiohttp: ``python -m hardhttp.soak.applications.aiohttp_app PORT``."""

from __future__ import annotations

import asyncio
from typing import Any

from hardhttp.soak.applications.contents import HELLO, LARGE, port


def main() -> None:
    from aiohttp import WSMsgType, web

    async def hello(request: Any) -> Any:
        return web.Response(body=HELLO)

    async def large(request: Any) -> Any:
        return web.Response(body=LARGE)

    async def upload(request: Any) -> Any:
        size = 0
        async for piece in request.content.iter_any():
            size += len(piece)
        return web.Response(text=str(size))

    async def later(request: Any) -> Any:
        await asyncio.sleep(86_400)

    async def events(request: Any) -> Any:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b"data: tick\n\n")
            await asyncio.sleep(1)

    async def websocket(request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    application = web.Application()
    for path, handler in (("/", hello), ("/large", large), ("/later", later), ("/events", events)):
        application.router.add_get(path, handler)
    application.router.add_get("/websocket", websocket)
    application.router.add_post("/upload", upload)
    web.run_app(application, host="127.0.0.1", port=port(), print=lambda *_: None)


if __name__ == "__main__":
    main()

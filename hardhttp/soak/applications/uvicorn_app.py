"""uvicorn: ``python -m hardhttp.soak.applications.uvicorn_app PORT``."""

from __future__ import annotations

import asyncio
from typing import Any

from hardhttp.soak.applications.contents import HELLO, LARGE, port


async def respond(send: Any, body: bytes, kind: bytes = b"text/plain", status: int = 200) -> None:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def upload(receive: Any, send: Any) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await respond(send, b"%d" % size)


async def events(send: Any) -> None:
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
        await asyncio.sleep(1)


async def until_gone(receive: Any, work: Any) -> None:
    """Run ``work`` until it is done, or the client has gone."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            message = await receive()
            if message["type"] == "http.disconnect":
                break
    finally:
        task.cancel()


async def websocket(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        told = {key: message[key] for key in ("text", "bytes") if message.get(key) is not None}
        await send({"type": "websocket.send", **told})


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await websocket(receive, send)
        return
    path = scope["path"]
    if path == "/large":
        await respond(send, LARGE)
    elif path == "/upload":
        await upload(receive, send)
    elif path == "/events":
        await until_gone(receive, events(send))
    elif path == "/later":
        await until_gone(receive, asyncio.sleep(86_400))
    elif path == "/":
        await respond(send, HELLO)
    else:
        await respond(send, b"not found", status=404)


def main() -> None:
    import uvicorn

    uvicorn.run(application, host="127.0.0.1", port=port(), lifespan="off", access_log=False, log_level="warning")


if __name__ == "__main__":
    main()

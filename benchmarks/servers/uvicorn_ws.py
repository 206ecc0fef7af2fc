"""uvicorn with websockets: a bare ASGI callable, uvloop, compression off as it is for the others."""

from __future__ import annotations

import uvicorn

from benchmarks.messages import HELLO
from benchmarks.servers.options import parse

EVERYONE: set = set()


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(HELLO))]})
        await send({"type": "http.response.body", "body": HELLO})
        return
    await receive()
    await send({"type": "websocket.accept"})
    crowd = scope["path"] == "/crowd"
    EVERYONE.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for each in list(EVERYONE) if crowd else (send,):
                await each({"type": "websocket.send", "text": event["text"]})
    finally:
        EVERYONE.discard(send)


def main() -> None:
    options = parse()
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="websockets",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        backlog=4096,
    )


if __name__ == "__main__":
    main()

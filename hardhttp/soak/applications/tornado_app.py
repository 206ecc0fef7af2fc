"""tornado: ``python -m hardhttp.soak.applications.tornado_app PORT``."""

from __future__ import annotations

import asyncio

from hardhttp.soak.applications.contents import HELLO, LARGE, port


async def serve(number: int) -> None:
    from tornado import iostream, web, websocket

    class Hello(web.RequestHandler):
        def get(self) -> None:
            self.write(HELLO)

    class Large(web.RequestHandler):
        def get(self) -> None:
            self.write(LARGE)

    class Upload(web.RequestHandler):
        def post(self) -> None:
            self.write(str(len(self.request.body)))

    class Later(web.RequestHandler):
        async def get(self) -> None:
            await asyncio.sleep(86_400)

    class Events(web.RequestHandler):
        async def get(self) -> None:
            self.set_header("Content-Type", "text/event-stream")
            try:
                while True:
                    self.write("data: tick\n\n")
                    await self.flush()
                    await asyncio.sleep(1)
            except iostream.StreamClosedError:
                pass

    class Echo(websocket.WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            self.write_message(message, binary=isinstance(message, bytes))

    application = web.Application(
        [
            ("/", Hello),
            ("/large", Large),
            ("/upload", Upload),
            ("/later", Later),
            ("/events", Events),
            ("/websocket", Echo),
        ]
    )
    application.listen(number, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(port()))

"""A server for WebSocket clients and judges that are other programs: ``/`` echoes, ``/handler`` too, by a coroutine.

It prints its port and serves until it is ended. Its bounds are wide enough for messages of 16 MiB in frames of 64
bytes, which the Autobahn cases send; it sends no pings, which some of them do not expect.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource

from hardhttp import Limits, Site, WebSocketResource, listen
from hardhttp.web.websocket import Deflate, WebSocket

MiB = 1 << 20
LIMITS = Limits(
    max_websocket_message_bytes=32 * MiB,
    max_websocket_frames=1 << 20,
    max_websocket_unsent_bytes=64 * MiB,
    max_unsent_bytes=64 * MiB,
    websocket_ping_seconds=3600,
)


def echo(socket: WebSocket, message: Any) -> None:
    socket.send(message)


async def echoing(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


def main() -> None:
    root = Resource()
    root.putChild(b"", WebSocketResource(on_message=echo, deflate=Deflate(window_bits=15, memory_level=8)))
    root.putChild(b"handler", WebSocketResource(echoing, deflate=True, subprotocols=["echo"]))
    site = Site(root, limits=LIMITS)
    listening = listen(reactor, "tcp:0:interface=127.0.0.1", site)
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))
    reactor.run()


if __name__ == "__main__":
    main()

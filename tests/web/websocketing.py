"""A rig whose tree is a WebSocket, and clients that send and show frames as they are (RFC 6455, 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.web.resource import Resource

from hardhttp import Limits
from hardhttp.net.ledger import MESSAGES, WEBSOCKETS
from hardhttp.testing import Peer, Rig
from hardhttp.web.websocket import WebSocket, WebSocketResource
from tests.web.saying import say
from tests.wire.framing import BINARY, CLOSE, PING, PONG, TEXT, closing, frame, parse

__all__ = ["BINARY", "CLOSE", "KEY", "PING", "PONG", "TEXT", "Client", "Sockets", "closing", "frame", "handshake"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
OPENING = {"Upgrade": b"websocket", "Connection": b"Upgrade", "Sec_WebSocket_Version": b"13", "Sec_WebSocket_Key": KEY}


def handshake(target: bytes = b"/", method: bytes = b"GET", **headers: bytes | None) -> bytes:
    """The opening, with some fields otherwise; ``None`` leaves one out."""
    fields = {name: value for name, value in {**OPENING, **headers}.items() if value is not None}
    return say(method, target, **fields)


class Client:
    """One that has asked for a WebSocket."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def send(self, *frames: bytes) -> None:
        """Each is one read of the server's."""
        self.peer.send(*frames)

    def say(self, *messages: str | bytes) -> None:
        for message in messages:
            self.send(frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message))

    @property
    def head(self) -> bytes:
        """The answer's, its fields' names in lower case."""
        line, *fields = self.peer.received.partition(b"\r\n\r\n")[0].split(b"\r\n")
        named = [field.partition(b": ") for field in fields]
        return b"\r\n".join([line, *(name.lower() + b": " + value for name, _, value in named)])

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """What has come, as first bytes and payloads; there must be nothing else."""
        return parse(self.peer.received.partition(b"\r\n\r\n")[2])

    @property
    def messages(self) -> list[str | bytes]:
        return [
            payload.decode() if first == TEXT else payload for first, payload in self.frames if first in (TEXT, BINARY)
        ]

    @property
    def close(self) -> tuple[int, str] | None:
        """What the server's Close says; 1005 without a code."""
        for first, payload in self.frames:
            if first == CLOSE:
                return int.from_bytes(payload[:2], "big") or 1005, payload[2:].decode()
        return None


class Sockets:
    """A rig with a ``WebSocketResource`` at its root. At its end nothing is held and nobody is kept."""

    def __init__(self, handler: Any = None, *, limits: Limits | None = None, **options: Any) -> None:
        self.rig = Rig(Resource(), limits=limits)
        self.ended: list[WebSocket] = []
        given = options.pop("on_close", None)

        def on_close(socket: WebSocket) -> None:
            self.ended.append(socket)
            if given is not None:
                given(socket)

        self.resource = WebSocketResource(handler, on_close=on_close, **options)
        self.rig.site.resource = self.resource

    def open(self, **headers: bytes) -> Client:
        peer = self.rig.connect()
        peer.send(handshake(**headers))
        return Client(peer)

    @property
    def newest(self) -> WebSocket:
        return self.resource.sockets()[-1]

    @property
    def reasons(self) -> Sequence[str]:
        for peer in self.rig.peers:
            _ = peer.received  # over HTTP/2 a client has something to say to each end
        return [str(socket.reason) for socket in self.ended]

    @property
    def closed(self) -> dict[str, int]:
        """Why connections ended."""
        return {str(reason): count for reason, count in self.rig.site.statistics.closed.items() if count}

    def held(self) -> tuple[int, int]:
        figures = self.rig.site.ledger.snapshot()
        return figures[WEBSOCKETS], figures[MESSAGES]

    def __enter__(self) -> Sockets:
        self.rig.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.rig.__exit__(*raised)
        if raised[0] is None:
            assert self.resource.socket_count == 0
            assert self.held() == (0, 0)
            assert len({id(socket) for socket in self.ended}) == len(self.ended)  # each once
            assert sum(self.resource.ends.values()) == len(self.ended)


def echo() -> Callable[[WebSocket, str | bytes], None]:
    def on_message(socket: WebSocket, message: str | bytes) -> None:
        socket.send(message)

    return on_message

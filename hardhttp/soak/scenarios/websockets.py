"""WebSockets: messages that never end, handshakes that are none, and sockets that say or take nothing."""

from __future__ import annotations

import base64
import itertools

from hardhttp.soak.connection import Connection
from hardhttp.soak.load import Load
from hardhttp.soak.scenario import MIB, Expectation, Scenario

__all__ = ["BadHandshakes", "EndlessFragments", "SilentSocket", "SocketVanishes", "frame"]

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
FIN = 0x80
# Sixteen bytes, in Base64 (RFC 6455, 4.1). What they are does not matter here.
KEY = base64.b64encode(bytes(16)).decode("ascii")
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A client's frame (RFC 6455, 5.2), under a mask of zeros, which leaves the payload as it is."""
    size = len(payload)
    first = opcode | (FIN if fin else 0)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


async def open_socket(load: Load) -> Connection:
    """An open WebSocket. What was answered instead is counted, and the connection ended."""
    connection = await load.connect()
    connection.get(load.where.paths["websocket"], *UPGRADE)
    answer = await connection.answer()
    connection.parses = False
    if answer.status != 101:
        load.count(answer.outcome)
        connection.close()
    return connection


class EndlessFragments(Scenario):
    """A message in fragments that never ends, as fast as they are taken. A sound server closes it (1009) at its bound,
    and its work is linear in what came.
    """

    name = "endless-fragments"
    rows = ("E06",)
    needs = frozenset({"websocket"})
    connections = 4
    per_second = 4.0
    expectation = Expectation(held_bytes=200 * MIB)
    answered_by = ("max_websocket_message_bytes", "max_websocket_frames")

    async def client(self, load: Load) -> None:
        connection = await open_socket(load)
        connection.send(frame(BINARY, b"x", fin=False))
        before = connection.received_bytes
        # 64 MiB: more than anybody's bound, and not more than a run can bear.
        for _ in range(1024):
            if (
                connection.ended is not None
                or connection.tail[-2:] == b"\x03\xf1"
                or connection.received_bytes != before
            ):
                break
            connection.send(frame(CONTINUATION, b"x" * 65536, fin=False))
            await connection.drained()
        closed = connection.received_bytes != before or connection.ended is not None
        load.count("closed at a bound" if closed else "64 MiB taken")
        connection.reset()


class BadHandshakes(Scenario):
    """Handshakes that are none: no key, version 8, a key of three bytes, POST, no Connection. A sound server refuses
    each whole, by its head, before it makes anything.
    """

    name = "bad-handshakes"
    rows = ("E03",)
    needs = frozenset({"websocket"})
    expectation = Expectation(
        answers=frozenset({"400", "403", "404", "405", "426", "500", "501", "200", "closed", "reset"})
    )

    def __init__(self) -> None:
        upgrade, connection, key, version = UPGRADE
        self._kinds = itertools.cycle(
            (
                (upgrade, connection, version),
                (upgrade, connection, key, "Sec-WebSocket-Version: 8"),
                (upgrade, connection, "Sec-WebSocket-Key: YWJj", version),
                (upgrade, key, version),
            )
        )

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get(load.where.paths["websocket"], *next(self._kinds))
        load.count((await connection.answer()).outcome)
        connection.reset()


class SilentSocket(Scenario):
    """A WebSocket that says nothing and answers no ping. A sound server pings, and lets it go."""

    name = "silent-socket"
    rows = ("V02", "E06")
    needs = frozenset({"websocket"})
    expectation = Expectation(held_seconds=130)
    answered_by = ("websocket_ping_seconds", "websocket_pong_seconds")

    async def client(self, load: Load) -> None:
        connection = await open_socket(load)
        load.count(await connection.end())


class SocketVanishes(Scenario):
    """A WebSocket whose client goes in the middle of a frame, by RST. A sound server ends its handler."""

    name = "socket-vanishes"
    rows = ("E03", "E04", "V08")
    needs = frozenset({"websocket"})
    connections = 10
    per_second = 100.0

    async def client(self, load: Load) -> None:
        connection = await open_socket(load)
        connection.send(frame(TEXT, b"hello") + frame(BINARY, b"x" * 1000)[:500])
        await load.sleep(0.02)
        connection.reset()
        load.count("vanished")

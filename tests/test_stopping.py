"""SIGTERM, all of it at once: what a server owes everybody who is connected, over real sockets."""

from __future__ import annotations

import re
import signal
import socket
import textwrap
import time
from pathlib import Path

import pytest

from hardhttp.wire.http2 import LAST_STREAM, goaway_frame
from tests.restart_load import Connection
from tests.twistd_process import PATIENCE_SECONDS, Server, ended_as_twistd_does

pytestmark = pytest.mark.slow

KEY = "a key of no less than two hundred and fifty-six bits"
APP = """
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    from twisted.web.resource import Resource
    from hardhttp.web.websocket import WebSocketResource

    class Slow(Resource):
        isLeaf = True

        async def render_GET(self, request):
            await deferLater(reactor, 1.0, lambda: None)
            return b"slow"

    class Never(Resource):
        isLeaf = True

        async def render_GET(self, request):
            request.write(b"begun")
            await deferLater(reactor, 600, lambda: None)

    async def talk(socket):
        async for message in socket:
            await socket.send(message)

    root = Resource()
    root.putChild(b"slow", Slow())
    root.putChild(b"never", Never())
    root.putChild(b"socket", WebSocketResource(talk))
"""
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SUBSCRIBE = b"/.well-known/mercure?topic=/a"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"  # and its SETTINGS
GOING_AWAY = b"\x88"


def connect(server: Server, said: bytes, until: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
    client.sendall(said)
    received = b""
    while until not in received:
        received += client.recv(1 << 16)
    return client


def end(client: socket.socket) -> bytes:
    """All that comes until the server hangs up; an abort shows as what it is."""
    received = b""
    while True:
        try:
            data = client.recv(1 << 16)
        except ConnectionResetError:
            return received + b"RESET"
        if not data:
            return received
        received += data


def test_everybody_is_told_in_his_own_protocol(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    server = Server(
        tmp_path,
        "--app=shop:root",
        "--admin=tcp:0:interface=127.0.0.1",
        "--drain-seconds=4s",
        "--abort-seconds=1s",
        f"--mercure-publisher-key={KEY}",
        "--anonymous",
    )
    try:
        admin = int(server.wait_for(r"the admin side is at port (\d+)")[1])
        idle = Connection(server.port)
        assert idle.ask("GET", "/none")[0] == 404
        streams = [connect(server, GET % (SUBSCRIBE, b"Accept-Encoding: identity\r\n"), b"\r\n\r\n") for _ in range(8)]
        talk = connect(server, GET % (b"/socket", UPGRADE), b"\r\n\r\n")
        http2 = connect(server, PREFACE, b"\0\0\0\x04\x01")  # its acknowledgement of our SETTINGS
        never = connect(server, GET % (b"/never", b""), b"begun")
        slow = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
        slow.sendall(GET % (b"/slow", b""))
        ready = Connection(admin)
        assert ready.ask("GET", "/readyz")[0] == 200
        ready.close()
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)

        assert server.wait_for(r"draining: 1[0-9] open, 4 s at most")
        assert end(idle.socket) == b""
        answer = end(slow)
        assert b"\r\nConnection: close\r\n" in answer
        assert answer.endswith(b"slow")
        ready = Connection(admin)  # the admin side tells of it to the end
        status, _, body = ready.ask("GET", "/readyz")
        assert (status, b"the server is draining" in body) == (503, True)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
        told = [int(re.search(rb"retry: (\d+)\n", end(stream))[1]) for stream in streams]  # type: ignore[index]
        assert len(set(told)) > 1, "all would come back at once"
        assert all(1000 <= retry <= 5000 for retry in told)
        closed = end(talk)
        assert (closed[:1], int.from_bytes(closed[2:4])) == (GOING_AWAY, 1001)
        assert goaway_frame(LAST_STREAM, 0) in end(http2)
        assert end(never).endswith(b"RESET")
        took = time.monotonic() - began
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))
        assert 3.5 < took < 15
    finally:
        server.close()

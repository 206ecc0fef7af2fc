"""SIGTERM, all of it at once: what a server owes everybody who is connected, over real sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import textwrap
import time
from pathlib import Path

import pytest

from hardhttp.tap.signals import AGAIN_SECONDS
from hardhttp.wire.http2 import LAST_STREAM, goaway_frame
from tests.listening import listens
from tests.restart_load import Connection
from tests.twistd_process import PATIENCE_SECONDS, Server, ended_as_twistd_does

pytestmark = pytest.mark.slow

KEY = "a key of no less than two hundred and fifty-six bits"
APP = """
    import time
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    from twisted.web.resource import Resource
    from hardhttp.web.websocket import WebSocketResource

    class Slow(Resource):
        isLeaf = True

        async def render_GET(self, request):
            await deferLater(reactor, 1.0, lambda: None)
            return b"slow"

    class Held(Resource):
        isLeaf = True

        def render_GET(self, request):
            time.sleep(1.0)
            return b"held"

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
    root.putChild(b"held", Held())
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
        assert listens(server.port, server.process.pid)
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
        assert not listens(server.port, server.process.pid)
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


WORKERS = ("--workers=2", "--session-store=sqlite:sessions.db")


@pytest.mark.parametrize("options", [(), WORKERS])
def test_who_has_connected_is_served(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Connections that wait to be accepted would be reset when the last process closes the socket."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    server = Server(tmp_path, "--app=shop:root", "--admin=none", *options)
    try:
        held = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) for _ in range(6)]
        for each in held:
            each.sendall(GET % (b"/held", b""))
            time.sleep(0.05)
        late = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) for _ in range(20)]
        for each in late:
            each.sendall(GET % (b"/slow", b""))
        server.process.send_signal(signal.SIGTERM)
        assert [end(each)[-4:] for each in (*held, *late)] == [b"held"] * 6 + [b"slow"] * 20
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))
    finally:
        server.close()


def begun(tmp_path: Path, *options: str) -> tuple[Server, socket.socket]:
    """A server that drains for one request, which never ends by itself."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    server = Server(tmp_path, "--app=shop:root", "--admin=none", "--drain-seconds=60s", *options)
    return server, connect(server, GET % (b"/never", b""), b"begun")


@pytest.mark.parametrize("options", [(), WORKERS])
def test_other_signals_harm_no_response_in_flight(tmp_path: Path, options: tuple[str, ...]) -> None:
    """A log is rotated, a supervisor says it twice: the default of each signal ends a process at once."""
    server, never = begun(tmp_path, f"--access-log={tmp_path}/access.log", *options)
    try:
        slow = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
        slow.sendall(GET % (b"/slow", b""))
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("draining: ")
        (tmp_path / "access.log").rename(tmp_path / "access.log.1")
        for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            server.process.send_signal(number)
        assert end(slow).endswith(b"slow")
        server.wait_for("SIGTERM again: the process ends already")
        log = server.log.read_text()
        assert server.process.poll() is None
        assert "Traceback" not in log
        if not options:
            server.wait_for("a restart is asked for, but this process is leaving already")
            assert (tmp_path / "access.log").exists()
        never.close()
        assert ended_as_twistd_does(server.process.wait(PATIENCE_SECONDS))
    finally:
        server.close()


@pytest.mark.parametrize("options", [(), WORKERS])
def test_signals_for_others_harm_nobody(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Whoever rotates logs, or restarts, may send his signal to every process of a group."""
    server, never = begun(tmp_path, *options)
    try:
        pids = [int(server.wait_for(rf"worker {n} is ready, process (\d+)")[1]) for n in (1, 2) if options]
        slow = [socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) for _ in range(6)]
        for each in slow:
            each.sendall(GET % (b"/slow", b"Connection: close\r\n"))
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
            os.kill(pid, signal.SIGUSR2)
        server.process.send_signal(signal.SIGUSR1)
        assert {end(each)[-4:] for each in slow} == {b"slow"}
        server.wait_for("SIGUSR1 changes nothing: the log has no file of ours")
        if options:
            server.wait_for("SIGUSR2 changes nothing: it is for the parent, process")
            assert "has ended" not in server.log.read_text()
        never.close()
        assert ended_as_twistd_does(server.stop())
    finally:
        server.close()


@pytest.mark.parametrize("options", [(), WORKERS])
def test_ctrl_c_again_ends_the_drain(tmp_path: Path, options: tuple[str, ...]) -> None:
    server, never = begun(tmp_path, *options)
    try:
        server.process.send_signal(signal.SIGINT)
        server.wait_for("draining: ")
        time.sleep(AGAIN_SECONDS + 0.2)
        server.process.send_signal(signal.SIGINT)
        assert end(never).endswith(b"RESET")
        server.process.wait(PATIENCE_SECONDS)
        log = server.log.read_text()
        assert "SIGINT again: what is left is aborted" in log
        assert "Traceback" not in log
    finally:
        server.close()

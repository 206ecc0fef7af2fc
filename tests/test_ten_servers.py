"""What ten servers leave open, closed here: ``twistd hardhttp`` in a process of its own.

Others hold a client that drips a head or a body, or that stops reading, for minutes or for ever; none
refuses a body of 10 GiB before inviting it; at the descriptor limit most burn a core or fill a disk.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.twistd_process import PATIENCE_SECONDS, Server

LARGE_BYTES = 64_000_000
SHORT = ("--head-seconds=1", "--body-seconds=1", "--send-seconds=2", "--abort-seconds=1", "--idle-seconds=60")

APP = """
    from twisted.web.resource import Resource
    from twisted.web.server import NOT_DONE_YET

    class Large(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"x" * 64_000_000

    class Pulled(Resource):
        '''The same, from a pull producer.'''
        isLeaf = True

        def render_GET(self, request):
            request.setHeader(b"Content-Length", b"64000000")
            request.registerProducer(Producer(request), False)
            return NOT_DONE_YET

    class Producer:
        def __init__(self, request):
            self.request, self.left = request, 1000

        def resumeProducing(self):
            self.request.write(b"x" * 64_000)
            self.left -= 1
            if not self.left:
                self.request.unregisterProducer()
                self.request.finish()

        def stopProducing(self):
            pass

    class Root(Resource):
        def getChild(self, name, request):
            return self

        def render_GET(self, request):
            return b"here"

        def render_POST(self, request):
            return b"%d" % len(request.content.read())

    root = Root()
    root.putChild(b"large", Large())
    root.putChild(b"pulled", Pulled())
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))

    def begin(*options: str) -> Server:
        started.append(Server(tmp_path, "--app=shop:root", *options))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the limits as they come, for whoever only asks."""
    cwd = tmp_path_factory.mktemp("default")
    (cwd / "shop.py").write_text(textwrap.dedent(APP))
    server = Server(cwd, "--app=shop:root")
    yield server
    server.close()


def connect(server: Server, receive_bytes: int | None = None) -> socket.socket:
    client = socket.socket()
    if receive_bytes is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(PATIENCE_SECONDS)
    client.connect(("127.0.0.1", server.port))
    return client


def read_all(client: socket.socket) -> bytes:
    received = b""
    try:
        while data := client.recv(1 << 20):
            received += data
    except (ConnectionResetError, BrokenPipeError):
        pass
    return received


def drip(client: socket.socket, data: bytes, pause_seconds: float = 0.1) -> tuple[bytes, float]:
    """Send one byte after another until there is an answer; it, and how long that took."""
    began = time.monotonic()
    client.settimeout(pause_seconds)
    for i in range(len(data)):
        try:
            client.send(data[i : i + 1])
        except OSError:
            break
        try:
            client.recv(1, socket.MSG_PEEK)
            break
        except TimeoutError:
            pass
    elapsed = time.monotonic() - began
    client.settimeout(PATIENCE_SECONDS)
    return read_all(client), elapsed


# -- drips -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dripped_head_is_answered_408(start) -> None:
    """Fails without: the head's deadline (a byte moves it, or there is none)."""
    server = start(*SHORT)
    with connect(server) as client:
        answer, elapsed = drip(client, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"X-Refused: head-seconds" in answer
    assert 0.9 < elapsed < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framing", "data"),
    [(b"Content-Length: 10000", b"x" * 1000), (b"Transfer-Encoding: chunked", b"1\r\nx\r\n" * 200)],
    ids=["length", "chunked"],
)
def test_a_dripped_body_is_answered_408(start, framing: bytes, data: bytes) -> None:
    server = start(*SHORT)
    with connect(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
        answer, elapsed = drip(client, data)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"X-Refused: body-rate" in answer
    assert 0.9 < elapsed < 5


@pytest.mark.slow
def test_a_body_that_drips_above_the_minimum_is_cut_at_its_hard_cap(start) -> None:
    server = start(*SHORT, "--body-bytes-per-second=1", "--max-body-seconds=2")
    with connect(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n")
        answer, elapsed = drip(client, b"x" * 1000)
    assert b"X-Refused: body-seconds" in answer
    assert 1.9 < elapsed < 6


@pytest.mark.slow
def test_a_silent_client_is_let_go(start) -> None:
    server = start("--head-seconds=0.2")
    began = time.monotonic()
    with connect(server) as client:
        assert read_all(client) == b""
    assert time.monotonic() - began < 5


# -- clients that do not read ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/large", "/pulled"])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_a_stopped_reader_is_gone(start, connection: str, path: str) -> None:
    """Within ``send_seconds`` and two sweeps (and two seconds of a busy machine); others hold it for ever."""
    server = start(*SHORT)
    with connect(server) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n".encode())
        began = time.monotonic()
        server.wait_for("send-rate")
        assert time.monotonic() - began < 2 + 2 + 2
        assert 0 < len(read_all(client)) < LARGE_BYTES
    assert server.get("/")[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/large", "/pulled"])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_an_honest_slow_download_is_not_cut(start, connection: str, path: str) -> None:
    """It lasts three times ``send_seconds``, and longer than every other deadline, above the minimum rate."""
    server = start("--send-seconds=2", "--send-bytes-per-second=1M", "--idle-seconds=1", "--abort-seconds=1")
    with connect(server, receive_bytes=65536) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n".encode())
        began = time.monotonic()
        received = client.recv(65536)
        size = len(received) - received.index(b"\r\n\r\n") - 4
        while size < LARGE_BYTES:
            data = client.recv(1 << 20)
            assert data, f"cut at {size}"
            size += len(data)
            ahead = size / (LARGE_BYTES / 6.5) - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)
        assert time.monotonic() - began > 6
        if connection == "close":
            assert read_all(client) == b""


# -- bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"], ids=["", "Expect"])
@pytest.mark.parametrize("gib", [10, 10_000_000_000])
def test_a_body_of_10_gib_is_refused_before_it_is_invited(default: Server, gib: int, expects: bytes) -> None:
    with connect(default) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n" % (gib << 30, expects))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


def test_chunks_are_counted(start) -> None:
    server = start("--max-body-bytes=1M")
    with connect(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(20):
                client.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            pass
        assert read_all(client).startswith(b"HTTP/1.1 413 ")


# -- caps --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_connections_over_the_cap_are_answered_503(start) -> None:
    server = start("--max-connections=50")
    clients = [connect(server) for _ in range(50)]
    clients[-1].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert clients[-1].recv(12) == b"HTTP/1.1 200"
    more = [connect(server) for _ in range(100)]
    for client in more:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 503 ")
        client.close()
    for client in clients[:-1]:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    clients.pop(0).close()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.get("/")[0] != 200:  # its end may be seen after who comes next
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for client in clients:
        client.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_at_the_descriptor_limit(start) -> None:
    """128 descriptors, 200 clients: quiet, whoever is connected is served, and it goes on by itself."""
    server = start("--idle-seconds=60", "--head-seconds=60")
    pid = server.process.pid
    first = [connect(server) for _ in range(20)]
    for client in first:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (128, 128))
    log_before, cpu_before, began = server.log.stat().st_size, cpu_seconds(pid), time.monotonic()
    others = [connect(server) for _ in range(180)]
    refused, answers = 0, 0
    for round in range(30):
        client = first[round % len(first)]
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        asked = time.monotonic()
        while b"here" not in client.recv(65536):
            pass
        assert time.monotonic() - asked < 0.5
        answers += 1
        time.sleep(0.1)
    share = (cpu_seconds(pid) - cpu_before) / (time.monotonic() - began)
    log_bytes = server.log.stat().st_size - log_before
    for client in others:
        client.setblocking(False)
        try:
            refused += client.recv(100).startswith(b"HTTP/1.1 503 ")
        except BlockingIOError:
            pass
    print(f"{share:.1%} of a core, {log_bytes} bytes of log, {refused} of {len(others)} told so")
    assert answers == 30
    assert share < 0.05
    assert log_bytes < 100_000
    assert refused > 50
    assert len(os.listdir(f"/proc/{pid}/fd")) <= 128
    assert re.search("no descriptor is left", server.log.read_text())
    for client in others:
        client.close()
    began = time.monotonic()
    while server.get("/")[0] != 200:
        assert time.monotonic() - began < 2
        time.sleep(0.05)
    # A chunked body needs no descriptor of its own.
    with connect(server) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    for client in first:
        client.close()

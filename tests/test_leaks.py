"""With the collector off, requests of every kind leave nothing behind (P1, P5; rows V05 and V17).

The server runs in a process of its own, because pytest-twisted keeps every Failure's traceback alive.
What is asked of it, and what it is asked afterwards, is here.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT

PATIENCE_SECONDS = 20.0
GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
# How long the last connection may take to go.
SETTLED_SECONDS = 6.0


class Subject:
    """The process under test."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.leak_server"],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.ports: list[int] = self.ask("ports")["ports"]

    def ask(self, command: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", random.choice(self.ports)), PATIENCE_SECONDS)

    def settled(self, ledger: dict[str, int]) -> dict[str, Any]:
        """What is held once the last connection has gone."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while True:
            held = self.ask("look")
            if held["ledger"] == ledger or time.monotonic() > deadline:
                return held
            time.sleep(0.05)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def subject() -> Iterator[Subject]:
    started = Subject()
    yield started
    started.close()


def read(client: socket.socket, count: int = 1) -> None:
    """``count`` responses with a length, or all there is."""
    received = b""
    while True:
        while received.count(b"\r\n\r\n") >= 1:
            head, _, rest = received.partition(b"\r\n\r\n")
            lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            if b"content-length" not in lines or len(rest) < int(lines[b"content-length"]):
                break
            received = rest[int(lines[b"content-length"]) :]
            count -= 1
            if not count:
                return
        data = client.recv(65536)
        if not data:
            return
        received += data


def read_all(client: socket.socket) -> bytes:
    received = b""
    try:
        while data := client.recv(1 << 20):
            received += data
    except ConnectionResetError:
        pass
    return received


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# Each makes some requests over connections of its own, and returns how many they were.


def keep_alive(subject: Subject) -> int:
    with subject.connect() as client:
        for path in (b"", b"headers", b"headers?a=1", b"", b""):
            client.sendall(GET % path)
            read(client)
    return 5


def closed(subject: Subject) -> int:
    with subject.connect() as client:
        client.sendall(CLOSE % b"headers")
        read_all(client)
    return 1


def pipelined(subject: Subject) -> int:
    with subject.connect() as client:
        client.sendall(GET % b"" * 100)
        read(client, 100)
    return 100


def pipelined_behind_a_slow_one(subject: Subject) -> int:
    with subject.connect() as client:
        client.sendall(GET % b"coroutine" + GET % b"" * 10 + CLOSE % b"inline" + GET % b"")
        assert read_all(client).count(b"HTTP/1.1 200 OK") == 12
    return 12


def with_a_body(subject: Subject) -> int:
    form = b"&".join(b"a%d=b" % n for n in range(9))
    with subject.connect() as client:
        for size in (10, 1000, 50_000):
            client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            read(client)
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Content-Length: %d\r\n\r\n" % len(form) + form
        )
        read(client)
    return 4


def chunked(subject: Subject) -> int:
    with subject.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" + GET % b"written" + GET % b"" + CLOSE % b"written")
        assert read_all(client).count(b"HTTP/1.1 200 OK") == 4
    return 4


def expected(subject: Subject) -> int:
    with subject.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        read(client)
    return 1


REFUSED = {
    400: b"GET / HTTP/1.1\r\n\r\n",
    404: b"",
    413: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n",
    414: b"GET /" + b"x" * 1001 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    417: b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
    431: b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    501: b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    505: b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
}


def refused(subject: Subject) -> int:
    for status, data in REFUSED.items():
        if data:
            with subject.connect() as client:
                client.sendall(data)
                assert b"HTTP/1.1 %d " % status in read_all(client)
    fields = b"&".join(b"a%d=b" % n for n in range(11))
    with subject.connect() as client:
        client.sendall(GET % (b"headers?" + fields))
        assert b"HTTP/1.1 413 " in read_all(client)
    with subject.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld")
        assert b"HTTP/1.1 400 " in read_all(client)
    with subject.connect() as client:
        client.sendall(b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n")
        read(client)
    return 10


def failed(subject: Subject) -> int:
    with subject.connect() as client:
        for path in (b"fails", b"coroutine?fail=1", b"inline?fail=1"):
            client.sendall(GET % path)
            read(client)
        client.sendall(GET % b"halfway")
        read_all(client)
    return 4


def aborted(subject: Subject) -> int:
    """The client goes at every moment: in a head, in a body, while it is answered, while it is sent to."""
    moments = [
        b"GET / HT",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * 30_000,
        b"POST /streamed HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + b"x" * 30_000,
        GET % b"waits",
        GET % b"never",
        GET % b"never" + GET % b"" * 3000,
        GET % b"large",
        GET % b"produced",
        GET % b"events",
        GET % b"",
        GET % b"coroutine",
    ]
    for data in moments:
        for leave in (socket.socket.close, reset):
            client = subject.connect()
            client.sendall(data)
            if random.random() < 0.5:
                time.sleep(0.002)
            leave(client)
    return 2 * len(moments) - 2


def streamed(subject: Subject) -> int:
    with subject.connect() as client:
        for _ in range(2):
            client.sendall(b"POST /streamed HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n" + b"x" * 30_000)
            while b"\r\n0\r\n\r\n" not in client.recv(65536):
                pass
        client.sendall(CLOSE % b"produced")
        assert read_all(client).count(b"y") >= 200_000
    return 3


def subscribed(subject: Subject) -> int:
    clients = [subject.connect() for _ in range(5)]
    for client in clients:
        client.sendall(GET % b"events")
    for client in clients:
        while b"tick" not in client.recv(65536):
            pass
        client.close()
    return len(clients)


def timed_out(subject: Subject) -> int:
    """Every deadline once; all of them run at the same time."""
    moments = {
        b"": b"",
        b"GET / HT": b"HTTP/1.1 408 ",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx": b"HTTP/1.1 408 ",
        GET % b"waits": b"HTTP/1.1 503 ",
        GET % b"never": b"HTTP/1.1 503 ",
        GET % b"": b"HTTP/1.1 200 ",
    }
    clients = [subject.connect() for _ in moments]
    for client, data in zip(clients, moments):
        client.sendall(data)
    stopped = subject.connect()
    stopped.sendall(GET % b"large")
    for client, answer in zip(clients, moments.values()):
        received = read_all(client)
        assert received.startswith(answer), (answer, received[:100])
        client.close()
    time.sleep(0.5)
    stopped.close()
    return len(moments)


QUICK: list[Callable[[Subject], int]] = [
    keep_alive,
    closed,
    pipelined,
    pipelined_behind_a_slow_one,
    with_a_body,
    chunked,
    expected,
    refused,
    failed,
    aborted,
    streamed,
    subscribed,
]


def load(subject: Subject, requests: int) -> int:
    """About ``requests`` of every kind; the timeouts take their time beside the others."""
    with ThreadPoolExecutor() as beside:
        slow = beside.submit(timed_out, subject)
        made = others(subject, requests)
        return made + slow.result()


def others(subject: Subject, requests: int) -> int:
    made = 0
    while made < requests:
        for kind in QUICK:
            made += kind(subject)
        for _ in range(10):
            made += keep_alive(subject) + pipelined(subject)
    return made


def ours(found: dict[str, int]) -> dict[str, int]:
    """What the collector found that is of the package, or that is known to keep a request alive."""
    marks = ("hardhttp", "Failure", "Deferred", "frame", "coroutine", "generator", "traceback", "leak_server", "Error")
    return {name: count for name, count in found.items() if any(mark in name for mark in marks)}


def check(subject: Subject, requests: int, peak_bytes: int) -> None:
    """``peak_bytes``: what the timeouts beside the others may need for a while, and the allocator keeps."""
    others(subject, 500)
    before = subject.settled(dict.fromkeys(subject.ask("look")["ledger"], 0))
    assert not any(before["ledger"].values()), before["ledger"]
    subject.ask("collect")
    first = subject.ask("look")
    half = load(subject, requests // 2)
    middle = subject.settled(before["ledger"])
    made = half + load(subject, requests - half)
    after = subject.settled(before["ledger"])
    print(f"{made} requests; resident {first['resident_bytes']}, {middle['resident_bytes']}, {after['resident_bytes']}")
    assert after["ledger"] == before["ledger"]
    assert after["subscribers"] == 0
    assert after["descriptors"] == before["descriptors"]
    assert after["live"] == before["live"]
    statistics = after["statistics"]
    assert sum(statistics["closed_by_reason"].values()) == statistics["accepted"]
    assert statistics["requests"] >= made * 0.9
    found = subject.ask("collect")["found"]
    assert not ours(found), found
    assert sum(found.values()) < 100, found  # nothing of anybody's grows with requests
    # The kernel takes pages back where memory is short: of the two the one that had most.
    growth = after["resident_bytes"] - max(first["resident_bytes"], middle["resident_bytes"])
    assert growth < max(peak_bytes, 20 * (made - half)), growth
    left = subject.ask("stop")
    assert left == {"pending": [], "readers": []}


@pytest.mark.slow
def test_v05_nothing_is_left_to_the_collector(subject: Subject) -> None:
    check(subject, 5_000, 8 << 20)  # on two busy cores


@pytest.mark.slow
def test_v05_v17_nothing_is_left_of_200_000_requests(subject: Subject) -> None:
    check(subject, 200_000, 4 << 20)  # of this the allocator's share differs by 3 from run to run

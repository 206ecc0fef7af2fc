"""A process is offered ten times its budget, by every kind at once, and keeps within it."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from hardhttp.sse.subscriptions import WEIGHED_BYTES
from tests.twistd_process import ENVIRONMENT, PATIENCE_SECONDS, ROOT

MiB = 1 << 20
BUDGET = 64 * MiB


class Client:
    """It sends its pieces one by one, as far as it is let."""

    def __init__(self, port: int, pieces: list[bytes], receives: int | None) -> None:
        self.pieces = deque(pieces)
        self.size = sum(map(len, pieces))
        self.socket = socket.socket()
        if receives is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    def step(self) -> None:
        if self.pieces:
            piece = self.pieces.popleft()
            try:
                left = piece[self.socket.send(piece) :]
            except BlockingIOError:
                left = piece
            except OSError:
                self.pieces.clear()
                return
            if left:
                self.pieces.appendleft(left)

    def wait(self, size: int) -> bytes:
        self.socket.settimeout(PATIENCE_SECONDS)
        return self.socket.recv(size)


class Subject:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.budget_server", str(BUDGET // MiB)],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._line())
        self.clients: list[Client] = []

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def ask(self, order: str = "look") -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(order.encode() + b"\n")
        self.process.stdin.flush()
        said: dict[str, Any] = json.loads(self._line())
        return said

    def begin(self, *pieces: bytes, receives: int | None = None) -> Client:
        """A client that stays, and has sent the first of ``pieces``."""
        client = Client(self.port, [*pieces], receives)
        self.clients.append(client)
        client.step()
        return client

    def let_go(self) -> None:
        for client in self.clients:
            client.socket.close()
        self.clients.clear()

    def close(self) -> None:
        self.let_go()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def subject() -> Iterator[Subject]:
    started = Subject()
    yield started
    started.close()


# -- every kind ------------------------------------------------------------------------------------

PIECE = os.urandom(50_000)


def pieces(size: int) -> list[bytes]:
    return [PIECE] * (size // len(PIECE))


def takes_nothing(subject: Subject) -> int:
    subject.begin(b"", b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", receives=4096)
    return 4 * MiB


def half_a_body(subject: Subject) -> int:
    head = b"POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * MiB)
    return subject.begin(head, *pieces(3 * MiB // 2)).size


def half_a_head(subject: Subject) -> int:
    return subject.begin(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", *[b"x" * 10_000] * 3).size


def half_a_message(subject: Subject) -> int:
    key = base64.b64encode(os.urandom(16))
    head = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    frame = b"\x02" + bytes([0x80 | 127]) + struct.pack("!Q", 1_000_000) + b"\0\0\0\0"
    return subject.begin(head + b"Sec-WebSocket-Key: " + key + b"\r\n\r\n", frame, *pieces(900_000)).size


def half_a_body_of_http2(subject: Subject) -> int:
    """As much as may be sent without an answer to each of a hundred requests."""
    http2 = H2Connection(H2Configuration(client_side=True))
    http2.initiate_connection()
    sent = [http2.data_to_send()]
    for number in range(1, 200, 2):
        http2.send_headers(number, [(":method", "POST"), (":path", "/post"), (":scheme", "http"), (":authority", "a")])
        while size := min(http2.local_flow_control_window(number), http2.max_outbound_frame_size):
            http2.send_data(number, os.urandom(size))
        sent.append(http2.data_to_send())
    return subject.begin(b"".join(sent[:2]), *sent[2:]).size


def a_session(subject: Subject) -> int:
    subject.begin(b"", b"GET /session HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return 48 * 1024


def a_subscriber_that_takes_nothing(subject: Subject) -> int:
    subject.begin(b"GET /hub?topic=t HTTP/1.1\r\nHost: a\r\n\r\n", receives=4096)
    return 0


ONE_OF_EACH: list[tuple[Callable[[Subject], int], int]] = [
    (a_subscriber_that_takes_nothing, 30),
    (takes_nothing, 60),
    (half_a_body, 240),
    (half_a_head, 300),
    (half_a_message, 110),
    (half_a_body_of_http2, 30),
    (a_session, 500),
]
ROUNDS = 40
PUBLISHED = 50


@pytest.mark.slow
@pytest.mark.parametrize(
    "times",
    [pytest.param(1, id="once"), pytest.param(40, id="forty times", marks=[pytest.mark.soak, pytest.mark.long])],
)
def test_ten_times_the_budget_by_every_kind_at_once(subject: Subject, times: int) -> None:
    for act, _ in ONE_OF_EACH:
        act(subject)
    for _ in range(ROUNDS):
        for client in subject.clients:
            client.step()
        subject.ask("publish 2 10000")
    subject.let_go()
    time.sleep(1)
    base = None
    for number in range(times):
        before, after, most = ten_times_the_budget(subject)
        if base is None:
            base = before["rss"]
            kinds = ("input_bytes", "body_bytes", "unsent_bytes", "event_bytes", "message_bytes", "sessions", "history")
            assert [kind for kind in kinds if not most[kind]] == []
        used = (after["peak"] - base) / BUDGET
        print(json.dumps({"base": base, "used": used, "before": before, "after": after}))
        # The highest of all times. Pieces that were given back lie between what stays (connections, sessions, history)
        # and fit nothing that comes later: the allocator takes more then, though what is held never is more.
        assert used <= (1.2 if number == 0 else 1.75)
        back_to_normal(subject)


def ten_times_the_budget(subject: Subject) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """What is said before, with the connections there are, and after; and the most that was held, by kind."""
    offered = sum(act(subject) for act, times in ONE_OF_EACH for _ in range(times))
    before = subject.ask()  # with the connections, whose number has a bound of its own
    most: dict[str, int] = {}
    for _ in range(ROUNDS):
        for client in subject.clients:
            client.step()
        now = subject.ask(f"publish {PUBLISHED} 10000")
        offered += PUBLISHED * 10_000
        for kind, amount in {**now["kinds"], "held": now["held"]}.items():
            most[kind] = max(most.get(kind, 0), amount)
    after = subject.ask()
    print(json.dumps({"offered": offered / BUDGET, "most": most}))
    assert offered >= 10 * BUDGET
    assert most["held"] <= BUDGET + WEIGHED_BYTES
    assert after["shed"] > before["shed"]
    assert after["refused"] > before["refused"]
    return before, after, most


def back_to_normal(subject: Subject) -> None:
    """Everybody goes; then new work is done again."""
    subject.let_go()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := subject.ask())["pressure"] or now["kinds"]["connections"]:  # what their kernels still had is read
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
    client = subject.begin(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.wait(15) == b"HTTP/1.1 200 OK"
    subject.let_go()

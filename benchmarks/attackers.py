"""Dishonest clients: heads that never end, heads that are wrong, readers that do not read.

Runs as a process of its own, ``python -m benchmarks.attackers PORT DRIPS STOPPED FLOOD SECONDS``:
prints ``ready`` when all connections stand, goes on until its standard input ends or SECONDS have
passed, then prints one line of JSON with what became of them. Only ever to 127.0.0.1.
"""

from __future__ import annotations

import collections
import json
import select
import socket
import sys
import time

from benchmarks.crowd import RESET
from benchmarks.messages import BIG_PATH, HELLO_PATH, bare_get

__all__ = ["BAD_HEADS", "Attack"]

TICK_SECONDS = 0.01
# Connections of the flood open at once, and how long one waits for its refusal.
FLOOD_OPEN = 500
FLOOD_SECONDS = 2.0
MOST_REFUSED = 20
AGAIN_SECONDS = 1.0

_LINE = f"GET {HELLO_PATH} HTTP/1.1\r\n".encode()
BAD_HEADS = (
    _LINE + b"\r\n",
    _LINE + b"Host: a\r\nHost: b\r\n\r\n",
    _LINE + b"Host: a\r\nBad Name : x\r\n\r\n",
    _LINE + b"Host: a\r\nX: a\x00b\r\n\r\n",
    _LINE + b"Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    _LINE.replace(b"1.1", b"9.9") + b"Host: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    _LINE + b"Host: a\r\nX: " + b"x" * 65536 + b"\r\n\r\n",
)


class Attack:
    """Everything at once, from one thread.

    ``drips`` connections get one byte of a head each second; ``stopped`` ask for ``/big`` through a
    small window and never read; ``flood`` bad heads are sent each second, a connection for each.
    Whatever the server cuts is counted, and opened again a second later.
    """

    def __init__(self, port: int, drips: int, stopped: int, flood: int) -> None:
        self.port = port
        self.flood = flood
        self.counts: collections.Counter[str] = collections.Counter()
        self.poll = select.epoll()
        self.sockets: dict[int, tuple[str, socket.socket]] = {}
        self.started: dict[int, float] = {}  # of the flood
        self.turn: collections.deque[int] = collections.deque()  # whose drip is next
        self.again: collections.deque[tuple[float, str]] = collections.deque()  # when to open what
        self.sent = 0.0
        self.dripped = 0.0
        self.drips = drips
        for kind, count in (("drip", drips), ("stopped", stopped)):
            for _ in range(count):
                # A server that takes no more is not worth waiting for.
                if self.counts[f"{kind} refused"] < MOST_REFUSED:
                    self._open(kind)

    def _open(self, kind: str) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if kind == "stopped":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Loopback accepts at once while the backlog has room; when it has none, waiting is not worth it.
        connection.settimeout(0.5)
        try:
            connection.connect(("127.0.0.1", self.port))
            connection.setblocking(False)
            connection.send(self._first(kind))
        except OSError:
            self.counts[f"{kind} refused"] += 1
            connection.close()
            if kind != "flood":
                self.again.append((time.monotonic() + AGAIN_SECONDS, kind))
            return
        number = connection.fileno()
        self.sockets[number] = kind, connection
        self.poll.register(number, 0 if kind == "stopped" else select.EPOLLIN)
        if kind == "drip":
            self.turn.append(number)
        elif kind == "flood":
            self.started[number] = time.monotonic()

    def _first(self, kind: str) -> bytes:
        if kind == "drip":
            return _LINE + b"Host: 127.0.0.1\r\nX-Drip: "
        if kind == "stopped":
            return bare_get(BIG_PATH)
        return BAD_HEADS[self.counts["flood sent"] % len(BAD_HEADS)]

    def _close(self, number: int) -> str:
        kind, connection = self.sockets.pop(number)
        self.started.pop(number, None)
        connection.close()
        return kind

    def _cut(self, number: int) -> None:
        kind = self._close(number)
        self.counts[f"{kind} cut"] += 1
        self.again.append((time.monotonic() + AGAIN_SECONDS, kind))

    def tick(self) -> None:
        """What falls due, then what the server answered; takes about ``TICK_SECONDS``."""
        start = time.monotonic()
        while self.again and self.again[0][0] <= start:
            self._open(self.again.popleft()[1])
        self.dripped += self.drips * TICK_SECONDS
        while self.dripped >= 1:
            self.dripped -= 1
            self._drip()
        self.sent += self.flood * TICK_SECONDS
        while self.sent >= 1:
            self.sent -= 1
            if len(self.started) < FLOOD_OPEN:
                self._open("flood")
                self.counts["flood sent"] += 1
            else:
                self.counts["flood held back"] += 1
        while True:
            left = start + TICK_SECONDS - time.monotonic()
            for number, _ in self.poll.poll(max(0.0, left)):
                self._event(number)
            if left <= 0:
                break
        for number in [number for number, since in self.started.items() if start - since > FLOOD_SECONDS]:
            self._close(number)
            self.counts["flood unanswered"] += 1

    def _drip(self) -> None:
        for _ in range(len(self.turn)):
            number = self.turn.popleft()
            if number in self.sockets and self.sockets[number][0] == "drip":
                try:
                    self.sockets[number][1].send(b"x")
                except OSError:
                    self._cut(number)
                else:
                    self.turn.append(number)
                return

    def _event(self, number: int) -> None:
        if number not in self.sockets:
            return
        kind, connection = self.sockets[number]
        if kind == "flood":
            try:
                status = connection.recv(65536)[:12].decode("latin-1") or "closed"
            except OSError:
                status = "reset"
            self.counts[f"flood {status}"] += 1
            self._close(number)
        else:
            self._cut(number)

    def close(self) -> None:
        """Drop every connection."""
        for number in list(self.sockets):
            self._close(number)


def main() -> None:
    port, drips, stopped, flood, seconds = map(int, sys.argv[1:])
    end = time.monotonic() + seconds
    attack = Attack(port, drips, stopped, flood)
    print("ready", flush=True)
    told = select.poll()
    told.register(sys.stdin, select.POLLIN | select.POLLHUP)
    try:
        while time.monotonic() < end and not told.poll(0):
            attack.tick()
    finally:
        held = collections.Counter(kind for kind, _ in attack.sockets.values())
        attack.close()
        print(json.dumps({**attack.counts, **{f"{kind} held": count for kind, count in held.items()}}), flush=True)


if __name__ == "__main__":
    main()

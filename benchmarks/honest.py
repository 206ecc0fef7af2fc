"""An honest client that times its answers: requests at a fixed rate over a few keep-alive connections.

Runs as a process of its own, ``python -m benchmarks.honest PORT RATE CONNECTIONS SECONDS``, and
prints one line of JSON. A request that finds every connection busy waits, and its wait counts: a
server that stalls is charged for every request that would have been sent meanwhile.
"""

from __future__ import annotations

import collections
import gc
import json
import select
import socket
import sys
import time

from benchmarks.figures import percentile
from benchmarks.messages import HELLO_PATH, bare_get, is_whole_hello

__all__ = ["Honest"]

# What is unanswered after this is given up and counted.
PATIENCE_SECONDS = 10.0


class Honest:
    """``connections`` to 127.0.0.1:``port``, over which ``rate`` requests a second are sent."""

    def __init__(self, port: int, rate: float, connections: int) -> None:
        self.port = port
        self.interval = 1 / rate
        self.poll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.since: dict[int, float] = {}  # busy: when the request was due
        self.idle: collections.deque[int] = collections.deque()
        self.waiting: collections.deque[float] = collections.deque()
        self.times: list[float] = []
        self.errors = 0
        self.request = bare_get(HELLO_PATH)
        for _ in range(connections):
            self._connect()

    def _connect(self) -> None:
        try:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        except OSError:
            self.errors += 1
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sockets[connection.fileno()] = connection
        self.poll.register(connection, select.EPOLLIN)
        self.idle.append(connection.fileno())

    def _lost(self, number: int) -> None:
        self.errors += 1
        self.since.pop(number, None)
        if number in self.idle:
            self.idle.remove(number)
        self.sockets.pop(number).close()
        self._connect()

    def run(self, seconds: float) -> dict[str, float]:
        """Send for ``seconds``, wait for what is still out, and return the figures in milliseconds."""
        start = time.monotonic()
        due, end = start, start + seconds
        while True:
            now = time.monotonic()
            while due <= now and due < end:
                # Lateness of this process alone is not the server's.
                self.waiting.append(due if self.waiting or not self.idle else now)
                due += self.interval
            self._send()
            if due >= end and not (self.since or self.waiting):
                break
            if now > end + PATIENCE_SECONDS:
                self.errors += len(self.since) + len(self.waiting)
                break
            for number, _ in self.poll.poll(max(0.0, min(due - now, 0.05)) if due < end else 0.05):
                self._receive(number)
        if not self.times:
            return {"requests": 0, "errors": self.errors}
        return {
            "requests": len(self.times),
            "errors": self.errors,
            "p50": percentile(self.times, 50) * 1000,
            "p99": percentile(self.times, 99) * 1000,
            "max": max(self.times) * 1000,
        }

    def _send(self) -> None:
        while self.waiting and self.idle:
            number = self.idle.popleft()
            self.since[number] = self.waiting.popleft()
            try:
                self.sockets[number].send(self.request)
            except OSError:
                self._lost(number)

    def _receive(self, number: int) -> None:
        if number not in self.sockets:
            return
        try:
            answer = self.sockets[number].recv(65536)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        # A hello of a few hundred bytes comes in one piece, or its last piece ends it.
        if not answer or number not in self.since:
            self._lost(number)
        elif is_whole_hello(answer):
            self.times.append(time.monotonic() - self.since.pop(number))
            self.idle.append(number)


def main() -> None:
    port, rate, connections, seconds = map(float, sys.argv[1:])
    gc.disable()
    client = Honest(int(port), rate, int(connections))
    print(json.dumps(client.run(seconds)))


if __name__ == "__main__":
    main()

"""The client of ``ws``: sockets of its own, frames made once, answers counted by their bytes.

What is sent is always the same, so what comes back is known by its length; that it is the same was checked before.
One thread and one ``epoll``, some 5 us a message: less than what any server here takes for one.
"""

from __future__ import annotations

import select
import socket
import statistics
import time
from types import TracebackType

from benchmarks.processes import Failed
from benchmarks.wrk import Load

__all__ = ["Crowd", "answer", "frame"]

PATIENCE_SECONDS = 20
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def frame(text: bytes) -> bytes:
    """A client's: masked, by zeros, which costs a server the same."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + text


def answer(text: bytes) -> bytes:
    """A server's."""
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


class Crowd:
    """``count`` open WebSockets. A context manager. Raises ``Failed`` for one that is not opened."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        ).encode()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
            self._sockets[client.fileno()] = client
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(request)
            received = b""
            while b"\r\n\r\n" not in received:
                data = client.recv(4096)
                if not data:
                    raise Failed(f"{path} was not opened: {received[:60]!r}")
                received += data
            if not received.startswith(b"HTTP/1.1 101"):
                raise Failed(f"{path} was not opened: {received[:60]!r}")
            self._poll.register(client.fileno(), select.EPOLLIN)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *raised: type[BaseException] | BaseException | TracebackType | None) -> None:
        for client in self._sockets.values():
            client.close()
        self._poll.close()

    def check(self, text: bytes) -> None:
        """One message is answered by itself, to whoever is here."""
        first = next(iter(self._sockets.values()))
        first.sendall(frame(text))
        received = b""
        while len(received) < len(answer(text)):
            received += first.recv(65536)
        if received != answer(text):
            raise Failed(f"a message was answered {received[:60]!r}")

    def echo(self, text: bytes, seconds: float) -> Load:
        """Each sends ``text`` again as soon as it has come back."""
        sent, size = frame(text), len(answer(text))
        missing = dict.fromkeys(self._sockets, size)
        began = dict.fromkeys(self._sockets, 0.0)
        delays: list[float] = []
        start = time.perf_counter()
        until = start + seconds
        for number, client in self._sockets.items():
            began[number] = time.perf_counter()
            client.sendall(sent)
        left = len(self._sockets)
        while left:
            ready = self._poll.poll(PATIENCE_SECONDS)
            if not ready:
                raise Failed("an echo did not come")
            for number, _ in ready:
                client = self._sockets[number]
                data = client.recv(65536)
                if not data:
                    raise Failed("a socket was closed")
                missing[number] -= len(data)
                if missing[number]:
                    continue
                now = time.perf_counter()
                delays.append(now - began[number])
                if now >= until:
                    left -= 1
                    continue
                missing[number] = size
                began[number] = now
                client.sendall(sent)
        return _load(len(delays), time.perf_counter() - start, len(delays) * size, delays)

    def broadcast(self, text: bytes, seconds: float) -> Load:
        """One says ``text``, and says it again when everybody has it."""
        sent, size = frame(text), len(answer(text))
        first = next(iter(self._sockets.values()))
        delays: list[float] = []
        start = time.perf_counter()
        until = start + seconds
        rounds = 0
        while time.perf_counter() < until:
            began = time.perf_counter()
            first.sendall(sent)
            missing = size * len(self._sockets)
            while missing:
                ready = self._poll.poll(PATIENCE_SECONDS)
                if not ready:
                    raise Failed("a broadcast did not come")
                for number, _ in ready:
                    data = self._sockets[number].recv(65536)
                    if not data:
                        raise Failed("a socket was closed")
                    missing -= len(data)
            delays.append(time.perf_counter() - began)
            rounds += 1
        count = rounds * len(self._sockets)
        return _load(count, time.perf_counter() - start, count * size, delays)


def _load(count: int, seconds: float, size: int, delays: list[float]) -> Load:
    cuts = statistics.quantiles(delays, n=100) if len(delays) > 1 else [*delays, *[0.0] * 99]
    p50, p99, longest = (round(each * 1e6) for each in (cuts[49], cuts[-1], max(delays)))
    return Load(count, round(seconds * 1e6), size, 0, 0, 0, 0, 0, p50, p99, longest)

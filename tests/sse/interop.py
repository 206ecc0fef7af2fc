"""A hub in a process of its own, and what the tests of foreign clients need around it.

``Hub`` is ``twistd hardhttp`` on a port of its own, which it keeps when it is started again. ``Wire`` stands before
that port and cuts connections as a network does. ``Stream`` is one subscription over a raw socket, which never blocks:
for tests that need thousands of them, or one that does not read.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jwt

from hardhttp.wire.eventstream import Event, Parser
from tests.listening import free_port
from tests.twistd_process import PATIENCE_SECONDS, Server, ended_as_twistd_does

__all__ = ["PATH", "SECRET", "Hub", "Publisher", "Stream", "Wire", "token", "wire_to"]

PATH = "/.well-known/mercure"
SECRET = "a secret of more than thirty-two bytes, for tests"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


def token(**claims: Any) -> str:
    return jwt.encode({"mercure": claims or {"publish": ["*"], "subscribe": ["*"]}}, SECRET, algorithm="HS256")


class Hub:
    """``twistd hardhttp`` with a hub for everyone; it may be started again, on the same port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        keys = (f"--mercure-publisher-key={SECRET}", f"--mercure-subscriber-key={SECRET}", "--anonymous")
        self._options = (*keys, *options)
        self.port = free_port()
        self.start_again()

    @property
    def url(self) -> str:
        return self.server.url + PATH

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.server.close()

    def asked(self, *topics: str, port: int | None = None, **more: str) -> str:
        """The URL that subscribes to ``topics``, at another port if there is something between."""
        query = urlencode([("topic", topic) for topic in topics] + list(more.items()))
        return f"http://127.0.0.1:{port or self.port}{PATH}?{query}"

    def publish(self, topic: str, data: str, **fields: Any) -> str:
        """The id it has got."""
        with Publisher(self.port) as publisher:
            return publisher.publish(topic, data, **fields)

    def figures(self) -> tuple[dict[str, int], int, int]:
        """The ledger, the connections and the descriptors there are, but for those of the question."""
        status, said = self.server.get("/figures")
        assert status == 200
        figures = json.loads(said)
        descriptors = len(os.listdir(f"/proc/{self.server.process.pid}/fd"))
        return figures["ledger"], figures["statistics"]["connections"], descriptors

    def end(self, number: int = signal.SIGTERM) -> None:
        ended = self.server.stop(number)
        assert ended == -signal.SIGKILL if number == signal.SIGKILL else ended_as_twistd_does(ended)

    def start_again(self) -> None:
        self.server = Server(self._folder, *self._options, port=self.port)


class Publisher:
    """One connection that publishes, one event after another."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._headers = {
            "Authorization": f"Bearer {token()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._connection.close()

    def publish(self, topic: str, data: str, **fields: Any) -> str:
        """The id it has got."""
        body = urlencode({"topic": topic, "data": data, **fields})
        self._connection.request("POST", PATH, body, self._headers)
        response = self._connection.getresponse()
        said = response.read().decode()
        assert response.status == 200, said
        return said


class Stream:
    """A subscription; ``take`` never blocks. ``last_event_id`` is what a reconnect should send.

    ``greeted``: the hub's answer has come, and its hello, so whatever is published from now on is for it.
    """

    def __init__(
        self, port: int, topic: str, last_event_id: str = "", *, accepts_gzip: bool = False, bearer: str = ""
    ) -> None:
        self._parser = Parser(last_event_id=last_event_id)
        self._inflater: Any = None  # when the answer is in gzip
        self._head: bytes | None = b""
        self._chunks = b""
        self.greeted = self.over = False
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        fields = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id else ""
        fields += "Accept-Encoding: gzip\r\n" if accepts_gzip else ""
        fields += f"Authorization: Bearer {bearer}\r\n" if bearer else ""
        target = f"{PATH}?topic={quote(topic, safe='')}"
        self.socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n{fields}\r\n".encode("ascii")
        )
        self.socket.setblocking(False)

    @property
    def last_event_id(self) -> str:
        return self._parser.last_event_id

    def fileno(self) -> int:
        return self.socket.fileno()

    def take(self) -> list[Event]:
        """The events that have come; ``over`` when there will be no more."""
        found: list[Event] = []
        try:
            while data := self.socket.recv(1 << 18):
                found += self._read(data)
            self.over = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.over = True
        return found

    def wait(self, count: int) -> list[Event]:
        """``count`` events, however long they take; fewer when the stream ends before."""
        found: list[Event] = []
        while len(found) < count and not self.over:
            assert self.wait_until_readable(), f"{len(found)} events of {count} came"
            found += self.take()
        return found

    def wait_for_hello(self) -> Stream:
        while not self.greeted:
            assert self.wait_until_readable(), "no hello came"
            assert self.take() == []
        return self

    def wait_until_readable(self) -> bool:
        """Whether there is something to take, within our patience."""
        poll = select.poll()  # select has no room for large descriptors
        poll.register(self, select.POLLIN)
        return bool(poll.poll(PATIENCE_SECONDS * 1000))

    def _read(self, data: bytes) -> list[Event]:
        if self._head is not None:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return []
            assert head.startswith(b"HTTP/1.1 200 "), head
            if b"\r\ncontent-encoding: gzip" in head.lower():
                self._inflater = zlib.decompressobj(wbits=31)
            self._head = None
        self._chunks += data
        found: list[Event] = []
        while True:
            size, end, rest = self._chunks.partition(b"\r\n")
            length = int(size, 16) if end else 0
            if not length or len(rest) < length + 2:
                return found
            self.greeted = True
            piece = rest[:length]
            found += self._parser.feed(piece if self._inflater is None else self._inflater.decompress(piece))
            self._chunks = rest[length + 2 :]

    def reset(self) -> None:
        """Be gone, by an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Wire:
    """A relay before a port: ``cut`` resets every connection that goes through it, ``connections`` counts them."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
            thread = threading.Thread(target=self._carry, args=(near,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _carry(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        other = {near: far, far: near}
        with self._lock:
            self._open |= set(other)
        try:
            while True:
                for each in select.select(list(other), [], [])[0]:
                    data = each.recv(65536)
                    if not data:
                        return
                    other[each].sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open -= set(other)
            for each in other:
                each.close()

    def cut(self) -> int:
        """Reset every connection; how many there were."""
        with self._lock:
            open_now = list(self._open)
            for each in open_now:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                each.shutdown(socket.SHUT_RD)  # wakes its thread, whose close then sends the RST
        return len(open_now) // 2

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()

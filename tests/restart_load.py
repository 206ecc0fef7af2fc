"""Clients that ask without a pause, and count what they were owed and did not get.

Lost is what a client could not know of or help: a connection that is refused, an answer that is cut off, a first
request without an answer. A keep-alive connection may be closed between two requests, and then the request is the
client's to repeat (RFC 9112, 9.3.1); who may not publish for a moment is told so (503, Retry-After).
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urlencode

TIMEOUT_SECONDS = 20.0
END = 1_000_000


class Lost(Exception):
    """Something was owed and did not come."""


class Ended(Exception):
    """The connection was closed between two requests."""


class Connection:
    """One connection of HTTP/1.1. ``Lost`` where the server breaks its word."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        except OSError as error:
            raise Lost(f"refused: {error}") from None
        self.answered = 0
        self.closes = False
        self._data = b""

    def ask(self, method: str, path: str, body: bytes = b"", **fields: str) -> tuple[int, dict[str, str], bytes]:
        if body:
            fields["Content-Length"] = str(len(body))
            fields.setdefault("Content-Type", "application/x-www-form-urlencoded")
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        try:
            self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body)
        except OSError as error:
            self._nothing(error)
        status, head = self.head()
        content = self._take(int(head["content-length"]))
        self.answered += 1
        self.closes = head.get("connection") == "close"
        return status, head, content

    def head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._data:
            self._receive()
        block, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = block.decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            self._receive(within=True)
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _receive(self, within: bool = False) -> None:
        try:
            data = self.socket.recv(65536)
        except OSError as error:
            if within:
                raise Lost(f"an answer was cut off: {error}") from None
            self._nothing(error)
        if not data:
            if within:
                raise Lost("an answer was cut off")
            self._nothing("closed")
        self._data += data

    def _nothing(self, why: object) -> None:
        if self._data:
            raise Lost(f"a head was cut off: {why}")
        if self.answered and not self.closes:
            raise Ended
        raise Lost(f"no answer to the first request of a connection: {why}")

    def close(self) -> None:
        self.socket.close()


class Load:
    """Threads that run until ``end``; ``lost`` says what each was owed."""

    def __init__(self, port: int, tls_port: int, tls: ssl.SSLContext) -> None:
        self.port, self.tls_port, self.tls = port, tls_port, tls
        self.lost: list[str] = []
        self.answers = self.repeats = self.refused_events = self.retries = 0
        self.acknowledged = 0
        self.cookie = ""
        self.published: list[int] = []
        self.received: list[int] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        def body() -> None:
            try:
                work()
            except Exception as error:
                self.lost.append(f"{work.__name__}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=body, daemon=True)
        self._threads.append(thread)
        thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)
            assert not thread.is_alive(), self.lost

    # -- the kinds ------------------------------------------------------------------------------

    def keep_alive(self) -> None:
        self._ask_on(lambda: Connection(self.port))

    def keep_alive_tls(self) -> None:
        self._ask_on(lambda: Connection(self.tls_port, self.tls))

    def _ask_on(self, connect: Callable[[], Connection]) -> None:
        connection = connect()
        while not self._over.is_set():
            try:
                status, _, body = connection.ask("GET", "/hello")
                self._count(status == 200 and body == b"hello", f"{status} {body!r}")
            except Ended:
                with self._lock:
                    self.repeats += 1
                connection.closes = True
            except Lost as lost:
                self.lost.append(f"keep-alive: {lost}")
                connection.closes = True
            if connection.closes:
                connection.close()
                connection = connect()
            time.sleep(0.005)
        connection.close()

    def one_request(self) -> None:
        while not self._over.is_set():
            try:
                connection = Connection(self.port)
                status, _, body = connection.ask("GET", "/slow", Connection="close")
                self._count(status == 200 and body == b"slow" * 1000, f"{status} {len(body)}")
                connection.close()
            except Lost as lost:
                self.lost.append(f"one request: {lost}")
            time.sleep(0.005)

    def one_request_tls(self) -> None:
        while not self._over.is_set():
            try:
                connection = Connection(self.tls_port, self.tls)
                status, _, body = connection.ask("GET", "/hello", Connection="close")
                self._count(status == 200 and body == b"hello", f"{status} {body!r}")
                connection.close()
            except Lost as lost:
                self.lost.append(f"one request over TLS: {lost}")
            time.sleep(0.01)

    def hesitant(self) -> None:
        """Connects, and thinks for a moment."""
        while not self._over.is_set():
            try:
                connection = Connection(self.port)
                time.sleep(0.05)
                status, _, body = connection.ask("GET", "/hello")
                self._count(status == 200 and body == b"hello", f"{status} {body!r}")
                connection.close()
            except Lost as lost:
                self.lost.append(f"hesitant: {lost}")

    def session(self) -> None:
        """Counts in its session; ``acknowledged`` is the number it was told last."""
        connection = Connection(self.port)
        while not self._over.is_set():
            try:
                status, head, body = connection.ask("GET", "/count", Cookie=self.cookie)
                self.cookie = head.get("set-cookie", self.cookie).partition(";")[0]
                self.acknowledged += 1
                number = json.loads(body)["n"] if status == 200 else None
                self._count(number == self.acknowledged, f"session: {status} {body!r}, not {self.acknowledged}")
            except Ended:
                connection.closes = True
            if connection.closes:
                connection.close()
                connection = Connection(self.port)
            time.sleep(0.01)
        connection.close()

    def publish(self, token: str) -> Callable[[], None]:
        def publisher() -> None:
            """Numbers one after another; one that is refused with Retry-After is published again."""
            number, connection = 1, Connection(self.port)
            while self.published[-1:] != [END]:
                if self._over.is_set():
                    number = END
                body = urlencode({"topic": "/numbers", "data": str(number)}).encode()
                try:
                    status, head, _ = connection.ask(
                        "POST", "/.well-known/mercure", body, Authorization=f"Bearer {token}"
                    )
                except Ended:
                    connection.closes = True
                else:
                    if status == 503 and "retry-after" in head:
                        self.refused_events += 1
                    elif status == 200:
                        self.published.append(number)
                        number += 1
                    else:
                        raise Lost(f"publishing: {status}")
                if connection.closes:
                    connection.close()
                    connection = Connection(self.port)
                time.sleep(0.01)
            connection.close()

        return publisher

    def subscriber(self) -> None:
        """Comes back with the id of the last event, when it was told to; until it has read ``END``."""
        last_id = "earliest"
        while self.received[-1:] != [END]:
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
            client.request("GET", "/.well-known/mercure?topic=/numbers", headers={"Last-Event-ID": last_id})
            response = client.getresponse()
            if response.status != 200:
                raise Lost(f"subscribing: {response.status}")
            told = b""
            while self.received[-1:] != [END] and (told := response.readline() or told):
                name, _, value = told.decode().strip().partition(": ")
                if name == "id":
                    last_id = value
                elif name == "data":
                    self.received.append(int(value))
                elif name == "retry":
                    self.retries += 1
                if response.isclosed():
                    break
            client.close()

    def _count(self, good: bool, what: str) -> None:
        with self._lock:
            self.answers += 1
            if not good:
                self.lost.append(what)

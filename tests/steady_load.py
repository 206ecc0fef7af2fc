"""Clients that count what is lost, while servers come and go.

Each asks again and again, some requests on a connection and then another connection. Lost is a connection that is
refused or reset, a response that is cut off, and a request without an answer. A request on a connection that had been
answered before, which the server closes between two requests, is the client's to repeat (RFC 9112, 9.3.1): that is no
loss, and is counted apart.
"""

from __future__ import annotations

import http.client
import threading
from collections import Counter

PATIENCE_SECONDS = 20.0


class Load:
    """``clients`` threads that ask ``path`` of ``port``, ``each`` requests on a connection, until ``end``."""

    def __init__(self, port: int, clients: int = 4, each: int = 5, path: str = "/") -> None:
        self._port, self._each, self._path = port, each, path
        self.lost: list[str] = []
        self.answers: Counter[bytes] = Counter()
        self.repeated = 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    @property
    def count(self) -> int:
        return sum(self.answers.values())

    def _run(self) -> None:
        while not self._ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
            try:
                self._converse(connection)
            finally:
                connection.close()

    def _converse(self, connection: http.client.HTTPConnection) -> None:
        for number in range(self._each):
            try:
                connection.request("GET", self._path)
                response = connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine) as error:
                if number:
                    self.repeated += 1
                else:
                    self.lost.append(f"request {number} of a connection: {error!r}")
                return
            except OSError as error:
                self.lost.append(f"request {number} of a connection: {error!r}")
                return
            try:
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(f"a response was cut off: {error!r}")
                return
            if response.status != 200:
                self.lost.append(f"status {response.status}")
            self.answers[body] += 1
            if response.will_close or self._ended.is_set():
                return

"""What hardhttp's admin side says of itself: its ledger, its connections, the garbage collector, tracemalloc.

The server that is asked is under attack, so an answer is bounded in bytes and has a deadline that a trickle cannot
move, and no answer is no error: the figures are None, and ``trouble`` says why. Each question is a connection of
its own, asked as HTTP/1.0 and read to its end, so that nothing stays open between two looks.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import attrs

__all__ = ["AdminFigures", "AdminSide", "check_admin_url", "check_token"]

MAX_ANSWER_BYTES = 4 << 20
# What is read of /metrics, in the order of AdminFigures; of each the sum over its labels.
METRICS = ("hardhttp_held_bytes", "hardhttp_connections", "python_gc_objects_collected", "hardhttp_traced_bytes")


@attrs.frozen
class AdminFigures:
    """Each None where it is not said. ``collected`` is since the process began."""

    ledger_bytes: int | None = None  # all that the ledger counts in bytes
    connections: int | None = None
    collected: int | None = None  # objects that only the garbage collector could free
    traced_bytes: int | None = None  # what Python has allocated, while tracemalloc traces


def check_admin_url(url: str) -> SplitResult:
    """Its parts. Raises ``ValueError``."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{url[:100]!r} is no admin side; one looks like http://127.0.0.1:8081")
    return parts


def check_token(token: str) -> None:
    """Raises ``ValueError`` for what cannot be sent in a header."""
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("the admin side's token is of visible ASCII characters")


class _Answered:
    """Bytes that have come, in the shape of the socket that ``http.client`` reads."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *args: Any, **kwargs: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


class AdminSide:
    """Asks ``url`` (``http://127.0.0.1:8081``). Raises ``ValueError`` for another kind of URL or token."""

    def __init__(
        self, url: str, token: str | None, deadline_seconds: float, monotonic_seconds: Callable[[], float]
    ) -> None:
        parts = check_admin_url(url)
        if token is not None:
            check_token(token)
        self._host = parts.hostname
        self._port = parts.port or 80
        self._authority = parts.netloc
        self._path = parts.path.rstrip("/")
        self._token = token
        self._deadline_seconds = deadline_seconds
        self._seconds = monotonic_seconds
        self.trouble: str | None = None

    def look(self) -> AdminFigures:
        """What it says now; None for what it does not."""
        self.trouble = None
        figures: AdminFigures = self._tried(self._metrics) or AdminFigures()
        listed = self._tried(self._listed)
        return figures if listed is None else attrs.evolve(figures, connections=listed)

    def _tried(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (OSError, http.client.HTTPException, ValueError, ImportError) as error:
            self.trouble = f"{question.__name__[1:]}: {error or type(error).__name__}"
            return None

    def _metrics(self) -> AdminFigures:
        from prometheus_client.parser import text_string_to_metric_families

        text = self._ask("/metrics", "text/plain; version=0.0.4").decode("utf-8")
        sums = {
            family.name: int(sum(sample.value for sample in family.samples))
            for family in text_string_to_metric_families(text)
            if family.name in METRICS
        }
        return AdminFigures(*map(sums.get, METRICS))

    def _listed(self) -> int:
        """``open`` of ``/connections``: of the server alone, without the admin side's own."""
        answer = json.loads(self._ask("/connections?limit=1", "application/json"))
        if not isinstance(answer, dict) or not isinstance(answer.get("open"), int):
            raise ValueError("/connections does not say how many are open")
        return int(answer["open"])

    def _ask(self, path: str, accept: str) -> bytes:
        """The body of a 200. Raises ``OSError``, ``HTTPException`` or ``ValueError``."""
        until = self._seconds() + self._deadline_seconds
        lines = [f"GET {self._path}{path} HTTP/1.0", f"Host: {self._authority}", f"Accept: {accept}"]
        if self._token is not None:
            lines.append(f"Authorization: Bearer {self._token}")
        with socket.create_connection((self._host, self._port), self._deadline_seconds) as connection:
            connection.sendall("\r\n".join([*lines, "\r\n"]).encode("ascii"))
            response = http.client.HTTPResponse(_Answered(self._read(connection, until)))  # type: ignore[arg-type]
        with response:
            response.begin()
            if response.status != 200:
                raise ValueError(f"{path} was answered {response.status} {response.reason}")
            return response.read()

    def _read(self, connection: socket.socket, until: float) -> bytes:
        received = bytearray()
        while True:
            left = until - self._seconds()
            if left <= 0:
                raise TimeoutError(f"no whole answer within {self._deadline_seconds:g} s")
            connection.settimeout(left)
            data = connection.recv(65536)
            if not data:
                return bytes(received)
            received += data
            if len(received) > MAX_ANSWER_BYTES:
                raise ValueError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")

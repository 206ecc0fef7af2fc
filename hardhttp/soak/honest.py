"""An honest client: one page after another at an even pace, and how long each took.

It is a process of its own, ``python -m hardhttp.soak.honest URL PER_SECOND``, because the process that
puts the load on is busy, and its own slowness is not the server's. It prints what it saw a few
times a second, and ends when its standard input does. ``HonestClient`` starts it and adds up.

A request is timed from when it was due, so a server that stalls is charged for everybody who would
have come meanwhile. A kept connection that the server closed between two requests is opened again,
as every client does, and is no failure; a refusal of new connections, a broken answer, a status of
500 and more, 429, and silence for ``PATIENCE_SECONDS`` are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import select
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from hardhttp.soak.where import Where

__all__ = ["Honest", "HonestClient", "Suffered", "percentile"]

PATIENCE_SECONDS = 10.0
TELL_SECONDS = 0.1
# How far behind its pace the client stays: who has waited longer has gone elsewhere.
BEHIND_SECONDS = 10.0
MOST_TIMES = 100_000


@attrs.frozen
class Suffered:
    """What the honest client saw since it was last asked."""

    p50_ms: float | None
    p99_ms: float | None
    requests: int
    failures: int


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank: the smallest value that ``percent`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


class HonestClient(ProcessProtocol):
    """The process, as its parent sees it: ``take`` is what it saw since the last time."""

    def __init__(self, reactor: Any, where: Where, per_second: float) -> None:
        self._times: list[float] = []
        self._failures = 0
        self._rest = b""
        self.ended: str | None = None
        self._said = b""
        words = [sys.executable, "-m", "hardhttp.soak.honest", where.url, str(per_second)]
        reactor.spawnProcess(self, sys.executable, words, env=None)

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            failures, times = json.loads(line)
            self._failures += failures
            self._times = (self._times + times)[-MOST_TIMES:]

    def errReceived(self, data: bytes) -> None:
        self._said = (self._said + data)[-500:]

    def processEnded(self, reason: Failure) -> None:
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended = self._said.decode("utf-8", "replace").strip() or str(reason.value)

    def take(self) -> Suffered:
        """What it saw since the last time; its counts begin again."""
        times, self._times = self._times, []
        failures, self._failures = self._failures, 0
        if not times:
            return Suffered(None, None, failures, failures)
        return Suffered(percentile(times, 50), percentile(times, 99), len(times) + failures, failures)

    def close(self) -> None:
        """End it."""
        if self.transport is not None and self.ended is None:
            with contextlib.suppress(ProcessExitedAlready):
                self.transport.closeStdin()
                self.transport.signalProcess("KILL")


class Honest:
    """The client itself. ``host``, ``port``, ``path``; blocking."""

    def __init__(self, where: Where) -> None:
        self._where = where
        self._connection: http.client.HTTPConnection | None = None
        self._used = False

    def ask(self) -> bool:
        """Send one request; whether it was answered as it should be."""
        for _ in range(2):
            reused = self._used
            try:
                return self._ask()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # Closed while idle, unless it was a wait.
                if not reused or isinstance(error, TimeoutError):
                    return False
        return False

    def _ask(self) -> bool:
        if self._connection is None:
            self._connection = self._open()
        self._connection.request("GET", self._where.paths["hello"])
        answer = self._connection.getresponse()
        answer.read()
        self._used = not answer.will_close
        if answer.will_close:
            self.close()
        return answer.status < 500 and answer.status != 429

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._where.host, self._where.port
        if not self._where.tls:
            return http.client.HTTPConnection(host, port, timeout=PATIENCE_SECONDS)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=PATIENCE_SECONDS, context=context)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self._used = False
        if connection is not None:
            connection.close()


def main() -> None:
    where = Where.of(sys.argv[1], own=_host(sys.argv[1]))
    interval = 1 / float(sys.argv[2])
    client = Honest(where)
    told = due = time.monotonic()
    times: list[float] = []
    failures = 0
    while True:
        now = time.monotonic()
        if now - told >= TELL_SECONDS and (times or failures):
            print(json.dumps([failures, times]), flush=True)
            told, times, failures = now, [], 0
        if now < due:
            # Its parent's end is the end of its standard input.
            if select.select([sys.stdin], [], [], due - now)[0]:
                return
            continue
        due = max(due, now - BEHIND_SECONDS)
        if client.ask():
            times.append(round((time.monotonic() - due) * 1000, 3))
        else:
            failures += 1
        due += interval


def _host(url: str) -> str:
    """Its parent was told whose it is."""
    return Where.of(url, own=url.partition("://")[2].partition("/")[0].rpartition(":")[0].strip("[]")).host


if __name__ == "__main__":
    main()

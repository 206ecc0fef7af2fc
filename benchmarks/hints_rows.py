"""``python -m benchmarks hints``: what early hints cost a request, in time and in memory.

No socket, no load: one connection in this process, and a transport that throws away what it is given. The
cases run in turn, as servers do in the other commands.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource

from benchmarks import machine, report
from benchmarks.messages import BROWSER_HEADERS
from benchmarks.options import count
from hardhttp import Site
from hardhttp.web.hints import Hints
from hardhttp.wire.links import Link

__all__ = ["CASES", "add_options", "measure", "run"]

LINKS = (
    Link("/static/app.css", "preload", {"as": "style"}),
    Link("/static/app.js", "preload", {"as": "script"}),
    Link("/static/text.woff2", "preload", {"as": "font", "type": "font/woff2", "crossorigin": True}),
    Link("https://cdn.example", "preconnect"),
)
NAVIGATE = b"Sec-Fetch-Mode: navigate\r\n"
TRACED = 200


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"hello, world\n"


class Hinting(Page):
    def render_GET(self, request: Any) -> bytes:
        request.hints(LINKS)
        return b"hello, world\n"


def get(path: bytes, more: bytes = b"") -> bytes:
    fields = {name: value for name, value in BROWSER_HEADERS.items() if name.lower() != "sec-fetch-mode"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "a", **fields}.items())
    return b"GET " + path + b" HTTP/1.1\r\n" + lines.encode() + more + b"\r\n"


def wrapped() -> Any:
    return Hints(Page(), {"/page": LINKS})


# Name, what it is, its tree, and the request.
CASES: tuple[tuple[str, str, Callable[[], Any], bytes], ...] = (
    ("none", "no hints at all", Page, get(b"/page", NAVIGATE)),
    ("other", "Hints around it, none for this path", wrapped, get(b"/other", NAVIGATE)),
    ("final", "four links on the final response alone", wrapped, get(b"/page")),
    ("103", "the same, and a 103 before it", wrapped, get(b"/page", NAVIGATE)),
    ("call", "the same by request.hints in the handler", Hinting, get(b"/page", NAVIGATE)),
)


class Connection:
    """One connection to a site, whose every answer is thrown away."""

    def __init__(self, resource: Any, request: bytes) -> None:
        self.site = Site(resource, reactor=Clock())
        self.site.server.start()
        self.protocol = self.site.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.request = request

    def ask(self, times: int) -> None:
        receive, request, clear = self.protocol.dataReceived, self.request, self.transport.clear
        for _ in range(times):
            receive(request)
            clear()

    def answer(self) -> bytes:
        """What one request is answered."""
        self.protocol.dataReceived(self.request)
        answer = bytes(self.transport.value())
        self.transport.clear()
        return answer

    def close(self) -> None:
        self.transport.loseConnection()
        self.site.server.stop()


def measure(rounds: int, requests: int) -> dict[str, dict[str, Any]]:
    """By case: microseconds for a request (median and best of the rounds), its ratio to the first case taken
    inside each round, the most bytes a request holds at once, and objects left behind by a thousand."""
    connections = {name: Connection(tree(), request) for name, _, tree, request in CASES}
    times: dict[str, list[float]] = {name: [] for name in connections}
    for connection in connections.values():
        connection.ask(requests // 2)  # warm
    for _ in range(rounds):
        for name, connection in connections.items():
            begun = time.perf_counter()
            connection.ask(requests)
            times[name].append((time.perf_counter() - begun) / requests * 1e6)
    base = times[CASES[0][0]]
    result = {}
    for name, connection in connections.items():
        result[name] = {
            "microseconds": median(times[name]),
            "best_microseconds": min(times[name]),
            "ratio": median(mine / its for mine, its in zip(times[name], base)),
            "peak_bytes": peak_bytes(connection),
            "blocks_left": blocks_left(connection),
            "answer_bytes": len(connection.answer()),
        }
        connection.close()
    return result


def peak_bytes(connection: Connection) -> int:
    """The most that one request holds at a time, beyond what was there before it."""
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(TRACED):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            connection.ask(1)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return int(median(peaks))


def blocks_left(connection: Connection, requests: int = 1000) -> int:
    """Allocated blocks that so many requests leave behind."""
    connection.ask(10)
    before = sys.getallocatedblocks()
    connection.ask(requests)
    return sys.getallocatedblocks() - before


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``hints`` understands."""
    parser.add_argument("--pairs", type=count(1, 1000), default=21, help="rounds (default 21)")
    parser.add_argument("--requests", type=count(10, 1_000_000), default=2000, help="in each round (default 2,000)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Measure every case; 0 when nothing was left behind."""
    if options.list:
        for name, title, _, _ in CASES:
            print(f"{name:8} {title}")
        return 0
    figures = measure(options.pairs, options.requests)
    if options.json != "-":
        print(f"{'case':8} {'us each':>8} {'best':>8} {'to none':>8} {'peak bytes':>10} {'left':>6}  what")
        for name, title, _, _ in CASES:
            one = figures[name]
            print(
                f"{name:8} {one['microseconds']:8.1f} {one['best_microseconds']:8.1f} {one['ratio']:8.2f}"
                f" {one['peak_bytes']:10,} {one['blocks_left']:6}  {title}"
            )
    if options.json:
        report.write_json({"machine": machine.describe(), "rows": figures}, options.json)
    return 0 if all(one["blocks_left"] < 100 for one in figures.values()) else 1

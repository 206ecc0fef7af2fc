"""Whether memory grows with the number of requests, the collector being off.

Nearly all requests are plain ones over keep-alive connections, each of which serves a thousand;
of every fifty, one is out of the ordinary: pipelined, chunked, closed, refused, failed in the
handler, or left by its client half way. At the end the server collects once and says what only
the collector could free.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.crowd import RESET
from benchmarks.figures import slope
from benchmarks.messages import (
    BIG_PATH,
    FAIL_PATH,
    HELLO,
    HELLO_PATH,
    OBJECTS_PATH,
    POST_PATH,
    bare_get,
    is_whole_hello,
)
from benchmarks.peers import Peer
from benchmarks.processes import Failed, Server
from benchmarks.rounds import Plan, Series, in_turn, progress, serving
from benchmarks.targets import AT_MOST

__all__ = ["ODD", "exchange", "measure_requests", "send_many"]

SAMPLE_EVERY = 50_000
AT_ONCE = 50
ODD_EVERY = 50
# The first samples are of a server that is still filling its pools and caches.
WARM_SAMPLES = 2

_HOST = b"Host: 127.0.0.1\r\n"
_POST = f"POST {POST_PATH} HTTP/1.1\r\n".encode() + _HOST

# What is sent, and how the last answer ends; None: the client leaves without waiting for one.
ODD: dict[str, tuple[bytes, bytes | None]] = {
    "closed": (bare_get(HELLO_PATH, "Connection: close\r\n"), HELLO),
    "pipelined": (bare_get(HELLO_PATH) * 7 + bare_get(HELLO_PATH, "Connection: close\r\n"), HELLO),
    "chunked": (
        _POST
        + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nabcde\r\n5\r\nfghij\r\n0\r\nT: u\r\n\r\n",
        b"10",
    ),
    "posted": (_POST + b"Connection: close\r\nContent-Length: 5\r\n\r\nabcde", b"5"),
    "refused": (bare_get(HELLO_PATH, "Bad Name : x\r\n"), b""),
    "failed": (bare_get(FAIL_PATH, "Connection: close\r\n"), b""),
    "half a head": (bare_get(HELLO_PATH)[:-4], None),
    "half a body": (_POST + b"Content-Length: 50\r\n\r\nabcde", None),
    "half read": (bare_get(BIG_PATH), None),
}


def measure_requests(peers: Sequence[Peer], plan: Plan, requests: int) -> dict[str, Any]:
    """One run for each peer: resident memory over the number of requests, and its slope."""

    def measure(peer: Peer) -> dict[str, Any]:
        with serving(peer, plan, collector=False) as server:
            return _run(server, requests)

    def say(sample: dict[str, Any]) -> str:
        return f"{sample['rss'][0] / 2**20:.1f} to {sample['rss'][-1] / 2**20:.1f} MiB"

    series = in_turn("requests", peers, 1, measure, say)
    return {
        "row": "requests",
        "kind": "requests",
        "title": f"resident memory over {requests:,} requests with gc.disable()",
        "pairs": 1,
        "requests": requests,
        "sample_every": SAMPLE_EVERY,
        "warm_samples": WARM_SAMPLES,
        "peers": {name: _entry(name, each) for name, each in series.items()},
    }


def _run(server: Server, requests: int) -> dict[str, Any]:
    done, counts, rss = [], Counter(), []
    total = 0
    every = min(SAMPLE_EVERY, max(1000, requests // 10))
    # The warm samples come before the million, not out of it.
    while total < requests + WARM_SAMPLES * every:
        counts += send_many(server.port, every)
        total += every
        done.append(total)
        rss.append(server.memory()["rss"])
        progress(f"requests {server.peer.name}: {total:,} done, {rss[-1] / 2**20:.1f} MiB resident")
    server.check()
    objects = json.loads(server.ask(OBJECTS_PATH, timeout=60))
    return {
        "done": done[WARM_SAMPLES:],
        "rss": rss[WARM_SAMPLES:],
        "warm_rss": rss[:WARM_SAMPLES],
        "counts": counts,
        "objects": objects,
    }


def send_many(port: int, requests: int) -> Counter[str]:
    """Send ``requests`` requests over fresh connections; how many of each kind were answered as they should be."""
    counts: Counter[str] = Counter()
    odd = requests // ODD_EVERY
    for kind in itertools.islice(itertools.cycle(ODD), odd):
        sent, end = ODD[kind]
        counts[kind if exchange(port, sent, end) else f"WRONG {kind}"] += 1
    plain = requests - odd
    connections = [_connect(port) for _ in range(min(AT_ONCE, plain))]
    try:
        request = bare_get(HELLO_PATH)
        left = plain
        while left > 0:
            batch = connections[:left]
            for connection in batch:
                connection.sendall(request)
            for connection in batch:
                counts["plain" if _answer(connection, is_whole_hello) else "WRONG plain"] += 1
            left -= len(batch)
    finally:
        for connection in connections:
            connection.close()
    return counts


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _answer(connection: socket.socket, whole: Callable[[bytes], bool]) -> bool:
    """Read until ``whole``; ``False`` when the connection ends before."""
    answer = b""
    while True:
        data = connection.recv(65536)
        answer += data
        if not data:
            raise Failed(f"a plain request was answered {answer[:60]!r}")
        if whole(answer):
            return answer.startswith(b"HTTP/1.1 200 ")


def exchange(port: int, sent: bytes, end: bytes | None) -> bool:
    """One connection for one odd request; whether it was answered, to the end and with ``end`` last.

    A server may keep open what it could have closed: a quarter second of silence is an end too.
    """
    with _connect(port) as connection:
        connection.sendall(sent)
        if end is None:
            return True
        connection.settimeout(0.25)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except (TimeoutError, ConnectionResetError):
            pass
    return answer.startswith(b"HTTP/1.1 ") and answer.endswith(end)


def _entry(name: str, each: Series[dict[str, Any]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"failure": each.failure, "errors": {}, "valid": each.failure is None}
    for sample in each.taken:
        wrong = {kind: count for kind, count in sample["counts"].items() if kind.startswith("WRONG")}
        entry |= {
            "errors": wrong,
            "valid": each.failure is None and not wrong,
            "requests": sum(sample["counts"].values()),
            "counts": dict(sample["counts"]),
            "done": sample["done"],
            "rss": sample["rss"],
            "warm_rss": sample["warm_rss"],
            "objects": sample["objects"],
        }
        growth = slope(sample["done"], sample["rss"])
        entry["slope"] = growth.as_dict()
        if name.startswith("hardhttp"):
            flat = growth.flat or growth.high < AT_MOST["requests"]
            good = flat and not sample["objects"]["ours"]
            entry["verdict"] = f"flat, none of its own {'met' if good else 'MISSED'}"
    return entry

"""``python -m benchmarks coding``: what compressing streams of events saves, and what it costs.

No server and no load: the coder and a subscriber's outlet, timed where they run. Saving is in bytes of the
stream, framing included, against the same events as they are. Beside gzip stands zstd, a frame for each
write, so that one sees why it is not offered. Costs are microseconds of the processor: for the first
subscriber of an event, who has it compressed, and for each of the others, who takes what is there.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from hardhttp.sse.coding import Coder, GzipStream
from hardhttp.sse.outlet import Outlet
from hardhttp.wire.eventstream import encode_event
from hardhttp.wire.response import chunk

__all__ = ["add_options", "measure", "run"]

ROUNDS = 7
TURNS = 200
# So much fits into any socket.
ROOM_BYTES = 64 * 1024
_WORDS = ["event", "user", "sent", "to", "each", "who", "is", "there", "come", "again", "with", "what", "had"]


def _quote(noise: random.Random) -> dict[str, Any]:
    return {"symbol": noise.choice(["ABC", "DEF", "XYZ"]), "bid": noise.randint(1, 10**6) / 100, "size": 100}


def _message(noise: random.Random, words: int) -> dict[str, Any]:
    text = " ".join(noise.choices(_WORDS, k=words))
    return {"id": noise.getrandbits(48), "author": "someone", "at": "2026-01-01T12:00:00Z", "text": text}


def _document(noise: random.Random) -> dict[str, Any]:
    return {"@context": "https://schema.org", "items": [_message(noise, 12) for _ in range(20)]}


SAMPLES: dict[str, Callable[[random.Random], Any]] = {
    "a quote": _quote,
    "a message": lambda noise: _message(noise, 20),
    "a list of 20": _document,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``coding`` understands."""
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Measure and print; 0."""
    if options.list:
        print("\n".join(SAMPLES))
        return 0
    report = measure()
    if options.json:
        text = json.dumps(report, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text)
    print(f"{'':26}{'bytes':>8}{'gzip':>7}{'zstd':>7}{'first us':>10}{'others us':>11}{'uncoded us':>12}")
    for name, row in report.items():
        print(
            f"{name:26}{row['bytes']:8,.0f}{row['gzip']:7.2f}{row['zstd']:7.2f}"
            f"{row['first_us']:10.1f}{row['other_us']:11.2f}{row['uncoded_us']:12.2f}"
        )
    return 0


def measure() -> dict[str, dict[str, float]]:
    """For each sample, one at a time and eight together: sizes as parts of the uncoded, and microseconds."""
    report = {}
    for name, make in SAMPLES.items():
        for together in (1, 8):
            noise = random.Random(1)
            writes = [
                b"".join(encode_event(make(noise), None, f"abcdefgh-{number * 8 + i}") for i in range(together))
                for number in range(50)
            ]
            report[name if together == 1 else f"{name}, 8 together"] = _row(writes)
    return report


def _row(writes: list[bytes]) -> dict[str, float]:
    import zstandard

    plain = sum(len(chunk(data)) for data in writes)
    frames = sum(len(chunk(zstandard.ZstdCompressor().compress(data))) for data in writes)
    coded = sum(len(Coder().encode(data)[1]) for data in writes)
    with _outlet() as outlet:
        uncoded = _microseconds(lambda: outlet.take(writes[0], chunk(writes[0])), outlet, len(writes[0]))
        outlet._coding = GzipStream(Coder())
        other = _microseconds(lambda: outlet.take(writes[0], b""), outlet, len(writes[0]))
    first = min(_first(writes) for _ in range(ROUNDS))
    return {
        "bytes": plain / len(writes),
        "gzip": coded / plain,
        "zstd": frames / plain,
        "first_us": first,
        "other_us": other,
        "uncoded_us": uncoded,
    }


def _first(writes: list[bytes]) -> float:
    coder = Coder()
    begun = perf_counter()
    for data in writes:
        coder.encode(data)
    return (perf_counter() - begun) / len(writes) * 1e6


class _Plain:
    """A socket whose other end is read when it is full."""

    dataBuffer = b""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.socket, self.theirs = ours, theirs


@contextmanager
def _outlet() -> Iterator[Any]:
    ours, theirs = socket.socketpair()
    outlet = Outlet(None)
    outlet._plain = _Plain(ours, theirs)
    try:
        yield outlet
    finally:
        ours.close()
        theirs.close()


def _microseconds(call: Callable[[], object], outlet: Any, size: int) -> float:
    """For one call, the best of some rounds; the socket is read before it can be full of ``size`` bytes each."""
    together = max(1, min(10, ROOM_BYTES // size))
    theirs = outlet._plain.theirs
    best = float("inf")
    for _ in range(ROUNDS):
        spent = 0.0
        for _ in range(TURNS):
            begun = perf_counter()
            for _ in range(together):
                call()
            spent += perf_counter() - begun
            while select.select([theirs], [], [], 0)[0]:
                theirs.recv(1 << 20)
        best = min(best, spent / TURNS / together * 1e6)
    return best

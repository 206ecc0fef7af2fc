"""``python -m benchmarks sse``: events to everyone who listens, beside other hubs and frameworks.

A row is a number of subscribers. Each sample takes a fresh server: its memory before and after the
subscriptions, then events one at a time (each is published when everyone has had the one before: nothing
can be joined), then several out at once, which a server may join in one write. Both are as fast as the
server can, and no queue grows longer than what is out. See ``sse_load.c`` for how it is done.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import ratios, spread
from benchmarks.messages import HOLDS_PATH
from benchmarks.options import chosen, count, counts
from benchmarks.peers import PEERS, Peer, Setting, missing
from benchmarks.processes import Failed, Server, cores, pin, raise_descriptors
from benchmarks.rounds import Plan, Series, base_of, in_turn, serving
from benchmarks.rows import run_rows
from benchmarks.servers import nchan_sse
from benchmarks.sse_client import Load, Phase, compiled
from benchmarks.targets import AT_MOST, verdict
from benchmarks.throughput import SPARE

__all__ = ["SSE_PEERS", "Sample", "add_options", "measure_sse", "run", "summarise"]

SIZES = [100, 1000, 8000]
EVENT_BYTES = 200
WINDOW = 8
WARM_MS = 300
PAGES_PER_SECOND = 200
# A tenth of the subscriptions, but no more than these, come and go before memory is read for the first time.
WARM_SUBSCRIBERS = 100
SETTLE_SECONDS = 0.5
# Where the client has used all of its core and the server has not, the figure is the client's.
LOAD_IS_BUSY, SERVER_IS_NOT = 0.95, 0.85


def _peer(like: str, name: str, title: str, module: str, *words: str, **changes: Any) -> Peer:
    def command(setting: Setting) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.servers.{module}", *setting.arguments(), *words]

    changes.setdefault("command", command)
    return replace(PEERS[like], name=name, title=title, tree=False, **changes)


def _nchan(setting: Setting) -> list[str]:
    words = setting.arguments()
    words.insert(1, str(setting.directory))
    return [sys.executable, "-m", "benchmarks.servers.nchan_sse", *words]


SSE_PEERS = {
    peer.name: peer
    for peer in (
        _peer("hardhttp", "hardhttp", "hardhttp.EventStream on hardhttp.listen", "hardhttp_sse"),
        _peer(
            "nginx",
            "nchan",
            "nchan 1.3 in nginx, one process",
            "",
            command=_nchan,
            install="apt install nginx-light libnginx-mod-nchan",
        ),
        _peer("starlette", "starlette", "StreamingResponse on uvicorn, a queue each", "starlette_sse"),
        _peer(
            "starlette",
            "sse-starlette",
            "EventSourceResponse on uvicorn, a queue each",
            "starlette_sse",
            "--sse-starlette",
            modules=("sse_starlette", "starlette", "uvicorn", "uvloop", "httptools"),
            packages=("sse-starlette", "starlette", "uvicorn"),
            install="pip install sse-starlette starlette uvicorn uvloop httptools",
        ),
        _peer(
            "aiohttp",
            "aiohttp-sse",
            "sse_response on uvloop, a queue each",
            "aiohttp_sse_app",
            modules=("aiohttp_sse", "aiohttp", "uvloop"),
            packages=("aiohttp-sse", "aiohttp", "uvloop"),
            install="pip install aiohttp-sse aiohttp uvloop",
        ),
        _peer("twisted.web", "twisted.web", "request.write to each", "twisted_sse"),
    )
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``sse`` understands."""
    parser.add_argument("--sizes", type=counts(1, 100_000), default=SIZES, help="subscribers; commas between")
    parser.add_argument(
        "--peers", type=chosen(SSE_PEERS), default=list(SSE_PEERS), help=f"of {', '.join(SSE_PEERS)}; commas between"
    )
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=3, help="of each half of a sample (default 3)")
    parser.add_argument(
        "--bytes", type=count(10, 100_000), default=EVENT_BYTES, help="of an event's data (default 200)"
    )
    parser.add_argument("--window", type=count(1, 64), default=WINDOW, help="events out at once (default 8)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Measure what was asked for; 0 when all of it is valid."""
    reasons = {name: missing_for_sse(SSE_PEERS[name]) for name in options.peers}
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    present = [SSE_PEERS[name] for name in options.peers if name not in absent]
    if options.list:
        for name in options.peers:
            print(f"{name:14} {SSE_PEERS[name].title}: {absent.get(name, 'present')}")
        return 0
    if not present:
        raise Failed("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    program = compiled(directory)
    raise_descriptors(max(options.sizes) + SPARE)
    server_core, load_core = (None, None) if options.no_pin else cores()
    pin(load_core)
    plan = Plan(options.pairs, options.seconds, 0, directory, server_core, load_core)
    names = {f"sse-{size}": size for size in options.sizes}

    def measure(name: str) -> dict[str, Any]:
        return measure_sse(name, present, plan, names[name], program, options.bytes, options.window)

    return run_rows(options, present, absent, names, measure)


def missing_for_sse(peer: Peer) -> str | None:
    """Why ``peer`` cannot take part; ``None`` when it can."""
    if peer.name == "nchan" and nchan_sse.find_module() is None:
        return f"not installed: {peer.install}"
    return missing(peer)


@dataclass(frozen=True)
class Sample:
    """One server, once: what the load saw in either phase, and what the server used and held.

    The processor's figures are of the first phase, ``single``. ``held_ms`` is ``None`` where the
    server cannot tell.
    """

    bytes_each: float
    base_bytes: int
    single: dict[str, Any]
    several: dict[str, Any]
    cpu_seconds: float
    cpu_share: float
    held_ms: float | None

    @property
    def rate(self) -> float:
        """Deliveries a second, one event at a time."""
        return self.single["rate"]

    @property
    def cpu_microseconds(self) -> float:
        """Of the server's processor, for each delivery."""
        return self.cpu_seconds * 1e6 / max(1, self.single["deliveries"])

    @property
    def errors(self) -> Counter[str]:
        found = Counter(self.single["errors"]) + Counter(self.several["errors"])
        if self.single["load_cpu_share"] > LOAD_IS_BUSY and self.cpu_share < SERVER_IS_NOT:
            found["limited by the load"] = 1
        return found

    def __str__(self) -> str:
        note = f", ERRORS {dict(self.errors)}" if self.errors else ""
        held = "" if self.held_ms is None else f", held {self.held_ms:.1f} ms"
        return (
            f"{self.rate:,.0f} deliveries/s, {self.several['rate']:,.0f} with several out, "
            f"fan-out {self.single['last_ms']['p50']:.1f} ms{held}, "
            f"{self.bytes_each:,.0f} bytes each{note}"
        )


def measure_sse(
    row: str, peers: Sequence[Peer], plan: Plan, size: int, program: Path, event_bytes: int, window: int
) -> dict[str, Any]:
    """Run the row and return its part of the report."""
    milliseconds = plan.seconds * 1000
    once = Phase(1, 5000, events=1)
    single, several = (
        Phase(out, milliseconds + WARM_MS, warm_ms=WARM_MS, pages_per_second=PAGES_PER_SECOND) for out in (1, window)
    )

    def load(server: Server, count: int) -> Load:
        return Load(program, server.port, count, event_bytes, plan.load_core)

    def measure(peer: Peer) -> Sample:
        # hardhttp keeps its default limits but for the number of connections.
        with serving(peer, plan, max_connections=size + SPARE) as server:
            for _ in range(2):
                with load(server, max(1, min(size // 10, WARM_SUBSCRIBERS))) as few:
                    few.run(once)
            time.sleep(SETTLE_SECONDS)
            base = server.memory()["pss"]
            with load(server, size) as everyone:
                # Everyone has had an event by the time that memory is read.
                first = everyone.run(once)
                if first["deliveries"] != size:
                    raise Failed(f"the first event reached {first['deliveries']:,} of {size:,}")
                time.sleep(SETTLE_SECONDS)
                bytes_each = (server.memory()["pss"] - base) / size
                _held(server)
                before, begun = server.cpu_seconds(), time.monotonic()
                one_at_a_time = everyone.run(single)
                used, took = server.cpu_seconds() - before, time.monotonic() - begun
                several_at_once = everyone.run(several)
                held = _held(server)
            server.check()
        return Sample(bytes_each, base, one_at_a_time, several_at_once, used, used / took, held)

    series = in_turn(row, peers, plan.pairs, measure, str)
    return {
        "row": row,
        "kind": "sse",
        "title": f"{size:,} subscribers, events of {event_bytes:,} bytes, one at a time and {window} out at once",
        "window": window,
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "subscribers": size,
        **summarise(row, series, plan.base),
    }


def _held(server: Server) -> float | None:
    """The longest hold of the server's loop since it was last asked, in milliseconds."""
    if server.peer.name == "nchan":
        return None
    return json.loads(server.ask(HOLDS_PATH))["longest_ms"]


def summarise(row: str, series: dict[str, Series[Sample]], wanted: str) -> dict[str, Any]:
    """Medians for each peer, and the base's ratio to it, round by round."""
    base = base_of(series, wanted)
    rates = {peer: [s and s.rate for s in each.samples] for peer, each in series.items()}
    joined = {peer: [s and s.several["rate"] for s in each.samples] for peer, each in series.items()}
    by_cpu = {peer: [s and 1 / max(s.cpu_microseconds, 1e-6) for s in each.samples] for peer, each in series.items()}
    peers: dict[str, Any] = {}
    for peer, each in series.items():
        errors = sum((sample.errors for sample in each.taken), Counter())
        entry: dict[str, Any] = {
            "failure": each.failure,
            "errors": dict(errors),
            "valid": each.failure is None and not errors,
        }
        if each.taken:
            entry.update(_figures(each.taken))
            entry["rates"] = [rate and round(rate, 1) for rate in rates[peer]]
        pairs = ratios(rates[base], rates[peer]) if base and peer != base else []
        if pairs:
            entry["ratio"] = spread(pairs).as_dict()
            entry["cpu_ratio"] = spread(ratios(by_cpu[base], by_cpu[peer])).as_dict()
            entry["several_ratio"] = spread(ratios(joined[base], joined[peer])).as_dict()
            # The harder of both.
            least = min(entry["ratio"]["median"], entry["several_ratio"]["median"])
            entry["verdict"] = verdict(row, peer, least) if base == "hardhttp" else None
        if peer == "hardhttp" and each.taken:
            entry["verdict"] = _verdicts(row, entry)
        peers[peer] = entry
    return {"base": base, "peers": peers}


def _figures(taken: Sequence[Sample]) -> dict[str, Any]:
    def median(values: Sequence[float]) -> float:
        return statistics.median(values)

    def times(phase: str, which: str) -> dict[str, float]:
        seen = [getattr(sample, phase)[which] for sample in taken]
        return {name: median([each[name] for each in seen]) for name in ("p50", "p99", "max")}

    held = [sample.held_ms for sample in taken if sample.held_ms is not None]
    return {
        "rate": spread([sample.rate for sample in taken]).as_dict(),
        "several_rate": spread([sample.several["rate"] for sample in taken]).as_dict(),
        "cpu_share": median([sample.cpu_share for sample in taken]),
        "load_cpu_share": median([sample.single["load_cpu_share"] for sample in taken]),
        "cpu_microseconds": median([sample.cpu_microseconds for sample in taken]),
        "bytes_each": median([sample.bytes_each for sample in taken]),
        "base_bytes": median([sample.base_bytes for sample in taken]),
        "held_ms": median(held) if held else None,
        # To each subscriber, and to the last of them.
        "each_ms": times("single", "each_ms"),
        "last_ms": times("single", "last_ms"),
        "page_ms": times("single", "page_ms"),
        "several_each_ms": times("several", "each_ms"),
        "several_page_ms": times("several", "page_ms"),
    }


def _verdicts(row: str, entry: dict[str, Any]) -> str | None:
    """What is set for hardhttp itself, with what was missed."""
    said = []
    for key, figure, unit in (
        ("hold", entry["held_ms"], "ms"),
        ("page", max(entry["page_ms"]["p99"], entry["several_page_ms"]["p99"]), "ms"),
        ("bytes", entry["bytes_each"], "B"),
    ):
        bound = AT_MOST.get(f"{row}-{key}")
        if bound is not None and figure is not None:
            said.append(f"{key} <= {bound:,g} {unit} {'met' if figure <= bound else 'MISSED'}")
    return ", ".join(said) or None

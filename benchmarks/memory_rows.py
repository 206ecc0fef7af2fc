"""``python -m benchmarks memory``: bytes for an idle connection, and whether memory grows with requests."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.crowd import Crowd
from benchmarks.figures import spread
from benchmarks.million import measure_requests
from benchmarks.options import available, chosen, count, counts
from benchmarks.peers import PEERS, Peer
from benchmarks.processes import Failed, cores, pin, raise_descriptors
from benchmarks.rounds import Plan, Series, in_turn, serving
from benchmarks.targets import AT_MOST
from benchmarks.throughput import SPARE

__all__ = ["add_options", "run"]

WARM_CONNECTIONS = 200
SETTLE_SECONDS = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``memory`` understands."""
    parser.add_argument(
        "--connections", type=counts(1, 30_000), default=[1000, 10_000], help="idle at once; commas between"
    )
    parser.add_argument(
        "--requests", type=count(0, 100_000_000), default=1_000_000, help="without the collector; 0: leave this out"
    )
    parser.add_argument(
        "--peers", type=chosen(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}; commas between"
    )
    parser.add_argument("--pairs", type=count(1, 100), default=3, help="rounds for idle connections (default 3)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Measure what was asked for; 0 when all of it is valid."""
    present, absent = available(options.peers)
    if options.list:
        for name in options.peers:
            print(f"{name:20} {PEERS[name].title}: {absent.get(name, 'present')}")
        return 0
    if not present:
        raise Failed("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    server_core, load_core = (None, None) if options.no_pin else cores()
    pin(load_core)
    plan = Plan(options.pairs, 0, 0, directory, server_core, load_core)
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(present),
        "absent": absent,
        "rows": [measure_idle(present, plan, options.connections)],
    }
    if options.requests:
        result["rows"].append(measure_requests([peer for peer in present if peer.tree], plan, options.requests))
    result["machine"]["load_average_at_end"] = machine.load_average()
    if options.json != "-":
        report.write_machine(result["machine"], result["versions"], absent)
        for row in result["rows"]:
            report.write_row(row)
    if options.json:
        report.write_json(result, options.json)
    return 0 if all(entry["valid"] for row in result["rows"] for entry in row["peers"].values()) else 1


def measure_idle(peers: Sequence[Peer], plan: Plan, sizes: Sequence[int]) -> dict[str, Any]:
    """What a connection that has had its answer costs while it waits, in proportional bytes (PSS).

    The base is a server that has served and lost some hundreds of connections. What the kernel
    holds for a socket is not the server's and not counted.
    """
    raise_descriptors(max(sizes) + SPARE)

    def measure(peer: Peer) -> dict[str, Any]:
        sample: dict[str, Any] = {"bytes": {}, "base": [], "lost": 0}
        for size in sizes:
            with serving(peer, plan, max_connections=max(sizes) + SPARE) as server:
                for _ in range(2):
                    with Crowd(server.port, WARM_CONNECTIONS):
                        pass
                time.sleep(SETTLE_SECONDS)
                base = server.memory()["pss"]
                with Crowd(server.port, size) as crowd:
                    time.sleep(SETTLE_SECONDS)
                    sample["bytes"][size] = (server.memory()["pss"] - base) / size
                    sample["lost"] += crowd.lost()
                sample["base"].append(base)
        return sample

    def say(sample: dict[str, Any]) -> str:
        return ", ".join(f"{size:,}: {each:,.0f} bytes" for size, each in sample["bytes"].items())

    series = in_turn("idle", peers, plan.pairs, measure, say)
    return {
        "row": "idle",
        "kind": "idle",
        "title": "bytes for each open keep-alive connection that has had one answer",
        "pairs": plan.pairs,
        "sizes": list(sizes),
        "peers": {name: _idle_entry(name, each, sizes) for name, each in series.items()},
    }


def _idle_entry(name: str, each: Series[dict[str, Any]], sizes: Sequence[int]) -> dict[str, Any]:
    lost = sum(sample["lost"] for sample in each.taken)
    entry: dict[str, Any] = {
        "failure": each.failure,
        "errors": {"lost": lost} if lost else {},
        "valid": each.failure is None and not lost,
    }
    if each.taken:
        entry["base_bytes"] = statistics.median(base for sample in each.taken for base in sample["base"])
        entry["bytes"] = {
            str(size): spread([sample["bytes"][size] for sample in each.taken]).as_dict() for size in sizes
        }
        if name == "hardhttp":
            bound = AT_MOST["idle-connection"]
            worst = max(each["median"] for each in entry["bytes"].values())
            entry["verdict"] = f"<= {bound:,} {'met' if worst <= bound else 'MISSED'}"
    return entry

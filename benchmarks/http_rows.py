"""``python -m benchmarks http``: choose rows and peers, run them in turn, report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.attack import Force, measure_attack
from benchmarks.certificate import make_certificate
from benchmarks.crowd import measure_growth
from benchmarks.options import available, chosen, count, counts
from benchmarks.peers import PEERS, find_program
from benchmarks.processes import Failed
from benchmarks.rows import make_plan, run_rows
from benchmarks.throughput import RATE_ROWS, measure_rate

__all__ = ["add_options", "run"]

ROWS = {
    **{name: row.title for name, row in RATE_ROWS.items()},
    "connections": "the cost of a request beside 100, 1,000 and 10,000 open connections",
    "attack": "what honest clients feel of drips, stopped readers and bad heads",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``http`` understands."""
    parser.add_argument(
        "--rows", type=chosen(ROWS), default=list(RATE_ROWS), help=f"of {', '.join(ROWS)}, or all; commas between"
    )
    parser.add_argument(
        "--peers", type=chosen(PEERS), default=list(PEERS), help=f"of {', '.join(PEERS)}; commas between"
    )
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=3, help="of each sample (default 3)")
    parser.add_argument("--connections", type=count(1, 10_000), default=50, help="that are active (default 50)")
    parser.add_argument(
        "--sizes", type=counts(50, 30_000), default=[100, 1000, 10_000], help="row connections: how many are open"
    )
    parser.add_argument("--drips", type=count(0, 10_000), default=1000, help="row attack: endless heads (1000)")
    parser.add_argument("--stopped", type=count(0, 1000), default=100, help="row attack: stopped readers (100)")
    parser.add_argument("--flood", type=count(0, 10_000), default=1000, help="row attack: bad heads a second (1000)")
    parser.add_argument("--base", default="hardhttp", help="whose ratio to the others is printed (default hardhttp)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name, title in ROWS.items():
            print(f"{name:20} {title}")
        print()
    present, absent = available(options.peers)
    if options.list:
        for name in options.peers:
            print(f"{name:20} {PEERS[name].title}: {absent.get(name, 'present')}")
        return 0
    if find_program("wrk") is not None and not present:
        raise Failed("; ".join(f"{name}: {reason}" for name, reason in absent.items()))
    certificate = make_certificate(directory) if "tls" in options.rows else None
    plan = make_plan(options, directory, tls=certificate, base=options.base)

    def measure(name: str) -> dict[str, Any]:
        if name == "connections":
            return measure_growth(present, plan, options.sizes)
        if name == "attack":
            return measure_attack(present, plan, Force(options.drips, options.stopped, options.flood))
        return measure_rate(RATE_ROWS[name], present, plan)

    return run_rows(options, present, absent, options.rows, measure)

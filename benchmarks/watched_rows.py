"""``python -m benchmarks watched``: what it costs to be looked after.

The same server twice: with metrics, leak sentinel, ledger and admin side, and with none of them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.messages import BROWSER_HEADERS
from benchmarks.options import chosen, count
from benchmarks.peers import PEERS, Peer, Setting
from benchmarks.peers import missing as why_missing
from benchmarks.processes import Failed
from benchmarks.rows import make_plan, run_rows
from benchmarks.throughput import RateRow, measure_rate

__all__ = ["ROWS", "WATCHED", "add_options", "run"]

ROWS = {
    row.name: row
    for row in (
        RateRow("watched", "13 bytes from a tree, a request with ten browser headers", headers=BROWSER_HEADERS),
        RateRow("watched-bare", "the same, a request with Host alone"),
    )
}


def _peer(name: str, title: str, *words: str) -> Peer:
    def command(setting: Setting) -> list[str]:
        return [sys.executable, "-m", "benchmarks.servers.hardhttp_watched", *setting.arguments(), *words]

    modules = ("hardhttp", "prometheus_client")
    return replace(PEERS["hardhttp"], name=name, title=title, command=command, modules=modules)


WATCHED = (
    _peer("hardhttp", "with metrics, sentinel, ledger and admin side"),
    _peer("unwatched", "with none of them", "--unwatched"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``watched`` understands."""
    parser.add_argument("--rows", type=chosen(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; commas between")
    parser.add_argument("--pairs", type=count(1, 100), default=9, help="rounds (default 9)")
    parser.add_argument("--seconds", type=count(1, 600), default=5, help="of each sample (default 5)")
    parser.add_argument("--connections", type=count(1, 10_000), default=50, help="that are active (default 50)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name in options.rows:
            print(f"{name:12} {ROWS[name].title}: {', '.join(peer.name for peer in WATCHED)}")
        return 0
    for peer in WATCHED:
        if (reason := why_missing(peer)) is not None:
            raise Failed(f"{peer.name}: {reason}")
    plan = make_plan(options, directory)
    return run_rows(options, WATCHED, {}, options.rows, lambda name: measure_rate(ROWS[name], WATCHED, plan))

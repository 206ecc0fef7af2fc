"""``python -m benchmarks workers``: two worker processes beside one, and beside a server without any.

Servers may run on every core, and so may the load: with two cores it takes from two workers what it needs. So rows
have more and more work in a request, as applications have; with a millisecond of it the load is a hundredth of what
the servers use, and two workers can show what they are. The row without work is there to be honest: there the load
generator and the kernel need as much as the servers do. ``by cpu`` compares requests for each second of processor time,
which two workers cannot raise: what falls below 1 there is what they cost.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.options import chosen, count
from benchmarks.peers import PEERS, Peer, Setting
from benchmarks.rows import make_plan, run_rows
from benchmarks.throughput import RateRow, measure_rate

__all__ = ["PEERS_BY_NAME", "ROWS", "add_options", "run"]

_TWISTD = "from twisted.scripts.twistd import run; run()"


def _twistd(name: str, title: str, *words: str) -> Peer:
    def command(setting: Setting) -> list[str]:
        store = f"sqlite:{setting.directory}/{name}-{setting.port}.db"
        return [
            *(sys.executable, "-c", _TWISTD, "--nodaemon", "--pidfile=", "hardhttp", "--admin=none"),
            *(f"--listen=tcp:{setting.port}:interface=127.0.0.1", "--app=benchmarks.servers.worker_app:root"),
            *(f"--session-store={store}", *words),
        ]

    return replace(PEERS["hardhttp"], name=name, title=title, command=command, tree=False)


PEERS_BY_NAME = {
    peer.name: peer
    for peer in (
        _twistd("hardhttp", "twistd hardhttp --workers 2", "--workers=2"),
        _twistd("one-worker", "twistd hardhttp --workers 1", "--workers=1"),
        _twistd("no-workers", "twistd hardhttp"),
    )
}
ROWS = {
    row.name: row
    for row in (
        RateRow("work-0", "13 bytes, without any work"),
        RateRow("work-1", "a document of 4 KiB is encoded as JSON", "/work/1"),
        RateRow("work-10", "a document of 4 KiB is encoded as JSON, ten times", "/work/10"),
    )
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``workers`` understands."""
    parser.add_argument("--rows", type=chosen(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; commas between")
    parser.add_argument(
        "--peers", type=chosen(PEERS_BY_NAME), default=list(PEERS_BY_NAME), help=f"of {', '.join(PEERS_BY_NAME)}"
    )
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=3, help="of each sample (default 3)")
    parser.add_argument("--connections", type=count(1, 10_000), default=50, help="that are active (default 50)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name, row in ROWS.items():
            print(f"{name:20} {row.title}")
        print()
        for peer in PEERS_BY_NAME.values():
            print(f"{peer.name:20} {peer.title}")
        return 0
    options.no_pin = True  # two workers on one core are one
    plan = make_plan(options, directory)

    def measure(name: str) -> dict[str, Any]:
        return measure_rate(ROWS[name], [PEERS_BY_NAME[each] for each in options.peers], plan)

    return run_rows(options, [PEERS_BY_NAME[each] for each in options.peers], {}, options.rows, measure)

"""``python -m benchmarks h2``: requests a second over HTTP/2, by TLS and ALPN, ten connections of ten streams."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import h2load
from benchmarks.certificate import make_certificate
from benchmarks.messages import BROWSER_HEADERS
from benchmarks.options import chosen, count
from benchmarks.peers import PEERS, Peer, Setting, missing
from benchmarks.rows import make_plan, run_rows
from benchmarks.throughput import RateRow, measure_rate

__all__ = ["H2_PEERS", "ROWS", "add_options", "run"]

STREAMS = 10
ROWS = {
    row.name: row
    for row in (
        RateRow("h2", "13 bytes over HTTP/2 and TLS, ten streams a connection", tls=True, streams=STREAMS),
        RateRow(
            "h2-browser",
            "the same with ten browser headers",
            headers=BROWSER_HEADERS,
            tls=True,
            streams=STREAMS,
        ),
    )
}


def _program(module: str, *words: str) -> Any:
    def command(setting: Setting) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.servers.{module}", *setting.arguments(), *words]

    return command


H2_PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        replace(PEERS["hardhttp"], modules=("hardhttp", "h2"), packages=("hardhttp", "twisted", "h2", "hpack")),
        Peer(
            "hypercorn",
            "a bare ASGI callable, uvloop",
            "pip install hypercorn uvloop",
            _program("hypercorn_asgi"),
            ("hypercorn", "uvloop"),
            packages=("hypercorn", "uvloop", "h2"),
        ),
        replace(
            PEERS["twisted.web"],
            install="pip install 'twisted[tls,http2]'",
            modules=("twisted.web", "OpenSSL", "h2", "priority"),
        ),
        replace(PEERS["granian"], command=_program("granian_asgi", "--http2")),
    )
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``h2`` understands."""
    parser.add_argument("--rows", type=chosen(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; commas between")
    parser.add_argument(
        "--peers", type=chosen(H2_PEERS), default=list(H2_PEERS), help=f"of {', '.join(H2_PEERS)}; commas between"
    )
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=3, help="of each sample (default 3)")
    parser.add_argument("--connections", type=count(1, 1000), default=10, help="of ten streams each (default 10)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name in options.rows:
            print(f"{name:12} {ROWS[name].title}: {', '.join(H2_PEERS)}")
        return 0
    plan = make_plan(options, directory, ("h2load", h2load.INSTALL), tls=make_certificate(directory))
    reasons = {name: missing(H2_PEERS[name]) for name in options.peers}
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    present = [H2_PEERS[name] for name in options.peers if name not in absent]
    return run_rows(options, present, absent, options.rows, lambda name: measure_rate(ROWS[name], present, plan))

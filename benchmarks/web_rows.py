"""``python -m benchmarks web``: what applications are made of, beside what others make of it.

Each row has peers of its own, because not all of them have sessions, or files, or a router.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.messages import (
    BROWSER_HEADERS,
    LARGE_FILE,
    LARGE_FILE_BYTES,
    SMALL_FILE,
    SMALL_FILE_BYTES,
    USER_JSON,
    USER_PATH,
    file_bytes,
)
from benchmarks.options import chosen, count
from benchmarks.peers import PEERS, Peer, Setting, missing
from benchmarks.rows import make_plan, run_rows
from benchmarks.throughput import RateRow, measure_rate

__all__ = ["ROWS", "add_options", "run"]


def _hardhttp(name: str, title: str, *words: str) -> Peer:
    def command(setting: Setting) -> list[str]:
        return [sys.executable, "-m", "benchmarks.servers.hardhttp_web", *setting.arguments(), *words]

    return replace(PEERS["hardhttp"], name=name, title=title, command=command, tree=False)


def _static_file(setting: Setting) -> list[str]:
    return [sys.executable, "-m", "benchmarks.servers.twisted_files", *setting.arguments()]


ROUTER = _hardhttp("hardhttp", "a Router on hardhttp.Site")
FILES = (
    ROUTER,
    replace(PEERS["nginx"], title="root, sendfile, no cache of open files"),
    replace(PEERS["starlette"], title="StaticFiles on uvicorn"),
    replace(PEERS["aiohttp"], title="add_static, sendfile"),
    replace(PEERS["twisted.web"], title="static.File", command=_static_file, tree=False),
)

ROWS: dict[str, tuple[RateRow, tuple[Peer, ...]]] = {
    row.name: (row, peers)
    for row, peers in (
        (
            RateRow(
                "json",
                "JSON by a route with one parameter, ten browser headers",
                USER_PATH,
                headers=BROWSER_HEADERS,
                answer=USER_JSON,
            ),
            (ROUTER, *(PEERS[name] for name in ("starlette", "klein", "aiohttp"))),
        ),
        (
            RateRow(
                "session",
                "the same with a session read and written, in memory",
                USER_PATH,
                headers=BROWSER_HEADERS,
                answer=USER_JSON,
                keeps_cookies=True,
            ),
            (
                _hardhttp("hardhttp", "a session read and written", "--session"),
                _hardhttp("without", "the same route without a session"),
            ),
        ),
        (
            RateRow("routes", "the same among 10, 100 and 1,000 routes", USER_PATH, answer=USER_JSON),
            tuple(
                _hardhttp(name, f"{number:,} routes", "--routes", str(number))
                for name, number in (("1000 routes", 1000), ("100 routes", 100), ("10 routes", 10))
            ),
        ),
        (
            RateRow("static-1k", "a file of 1 KiB", f"/files/{SMALL_FILE}", answer=file_bytes(SMALL_FILE_BYTES)),
            FILES,
        ),
        (
            RateRow("static-10m", "a file of 10 MiB", f"/files/{LARGE_FILE}", answer=file_bytes(LARGE_FILE_BYTES)),
            FILES,
        ),
    )
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``web`` understands."""
    parser.add_argument("--rows", type=chosen(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; commas between")
    names = list(dict.fromkeys(peer.name for _, peers in ROWS.values() for peer in peers))
    parser.add_argument("--peers", type=chosen(names), default=names, help=f"of {', '.join(names)}; commas between")
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=3, help="of each sample (default 3)")
    parser.add_argument("--connections", type=count(1, 10_000), default=50, help="that are active (default 50)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name in options.rows:
            row, peers = ROWS[name]
            print(f"{name:12} {row.title}: {', '.join(peer.name for peer in peers)}")
        return 0
    plan = make_plan(options, directory)
    make_files(directory / "root" / "files")
    wanted = {name: [peer for peer in ROWS[name][1] if peer.name in options.peers] for name in options.rows}
    reasons = {peer.name: missing(peer) for peers in wanted.values() for peer in peers}
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    present = [PEERS[name] for name in reasons if name in PEERS and name not in absent]

    def measure(name: str) -> dict[str, Any]:
        return measure_rate(ROWS[name][0], [peer for peer in wanted[name] if peer.name not in absent], plan)

    return run_rows(options, present, absent, wanted, measure)


def make_files(directory: Path) -> None:
    """What is served as files; the peers find it by ``$FILES``, nginx below its own root."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / SMALL_FILE).write_bytes(file_bytes(SMALL_FILE_BYTES))
    (directory / LARGE_FILE).write_bytes(file_bytes(LARGE_FILE_BYTES))
    os.environ["FILES"] = str(directory)

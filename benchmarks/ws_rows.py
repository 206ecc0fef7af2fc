"""``python -m benchmarks ws``: messages a second over WebSocket, echoed and to everybody."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.options import chosen, count
from benchmarks.peers import PEERS, Peer, Setting, missing
from benchmarks.processes import cores, pin, raise_descriptors
from benchmarks.rounds import Plan, in_turn, serving
from benchmarks.rows import run_rows
from benchmarks.throughput import SPARE, RateSample, summarise
from benchmarks.ws_client import Crowd

__all__ = ["ROWS", "WS_PEERS", "add_options", "run"]

# Row, title, path, bytes of text.
ROWS = {
    "ws-echo": ("a text of 100 bytes and back", "/echo", 100),
    "ws-broadcast": ("a text of 200 bytes to everyone; deliveries a second", "/crowd", 200),
}
WARM_SECONDS = 0.5


def _peer(name: str, title: str, module: str, install: str, *needs: str) -> Peer:
    def command(setting: Setting) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.servers.{module}", *setting.arguments()]

    return Peer(name, title, install, command, needs, packages=needs)


WS_PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        replace(
            _peer("hardhttp", "WebSocketResource, WebSocketGroup", "hardhttp_ws", "pip install -e '.[websocket]'"),
            modules=("hardhttp", "wsproto"),
            packages=("hardhttp", "twisted", "wsproto"),
        ),
        _peer(
            "uvicorn",
            "a bare ASGI callable, websockets, uvloop",
            "uvicorn_ws",
            "pip install 'uvicorn[standard]'",
            "uvicorn",
            "websockets",
            "uvloop",
        ),
        _peer("autobahn", "autobahn on Twisted", "autobahn_ws", "pip install 'autobahn[twisted]'", "autobahn"),
        _peer("aiohttp", "aiohttp.web on uvloop", "aiohttp_ws", "pip install aiohttp uvloop", "aiohttp", "uvloop"),
    )
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``ws`` understands."""
    parser.add_argument("--rows", type=chosen(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; commas between")
    parser.add_argument("--peers", type=chosen(WS_PEERS), default=list(WS_PEERS), help=f"of {', '.join(WS_PEERS)}")
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=3, help="of each sample (default 3)")
    parser.add_argument("--connections", type=count(1, 10_000), default=50, help="that echo (default 50)")
    parser.add_argument("--members", type=count(1, 10_000), default=900, help="of the broadcast (default 900)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name in options.rows:
            print(f"{name:14} {ROWS[name][0]}: {', '.join(options.peers)}")
        return 0
    server_core, load_core = (None, None) if options.no_pin else cores()
    pin(load_core)
    plan = Plan(options.pairs, options.seconds, options.connections, directory, server_core, load_core)
    reasons = {name: missing(WS_PEERS[name]) for name in options.peers}
    absent = {name: reason for name, reason in reasons.items() if reason is not None}
    present = [WS_PEERS[name] for name in options.peers if name not in absent]

    def measure(name: str) -> dict[str, Any]:
        return _measure(name, present, plan, options.members if name == "ws-broadcast" else options.connections)

    return run_rows(options, [PEERS["hardhttp"], *present[1:]], absent, options.rows, measure)


def _measure(name: str, peers: list[Peer], plan: Plan, size: int) -> dict[str, Any]:
    title, path, length = ROWS[name]
    text = b"x" * length
    raise_descriptors(size + SPARE)

    def sample(peer: Peer) -> RateSample:
        with serving(peer, plan) as server:
            with Crowd(server.port, path, 1) as alone:
                alone.check(text)
            with Crowd(server.port, path, size) as crowd:
                load = crowd.broadcast if name == "ws-broadcast" else crowd.echo
                load(text, WARM_SECONDS)
                before = server.cpu_seconds()
                done = load(text, plan.seconds)
                return RateSample(done, server.cpu_seconds() - before)

    series = in_turn(name, peers, plan.pairs, sample, str)
    return {
        "row": name,
        "kind": "rate",
        "title": title,
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "connections": size,
        **summarise(name, series, plan.base),
    }

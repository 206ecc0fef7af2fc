"""``python -m benchmarks client``: requests a second that a client makes, and what each costs it.

Here the load is what is measured: each client runs in a process of its own on the load's core, in turn,
against one server on the other. The server is nginx where there is one, so that it is the client that
waits for nobody. treq on hardhttp is compared with treq on ``twisted.web.client``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.client_load import CLIENTS
from benchmarks.figures import ratios, spread
from benchmarks.messages import HELLO_PATH
from benchmarks.options import chosen, count
from benchmarks.peers import PEERS, Peer, missing
from benchmarks.processes import ROOT, Failed, cores, prepare
from benchmarks.rounds import Plan, Series, in_turn, serving

__all__ = ["ROWS", "TARGET", "add_options", "run"]

ROWS = {
    "client": "13 bytes over kept connections",
    "client-closed": "13 bytes, a connection for each",
}
_PACKAGES = {
    "hardhttp-treq": ("hardhttp.client.HTTPClient", ("hardhttp", "treq", "twisted")),
    "treq-hardhttp": ("treq's own client on hardhttp.client.Agent", ("hardhttp", "treq", "twisted")),
    "treq": ("treq on twisted.web.client", ("treq", "twisted")),
    "hardhttp": ("hardhttp.client.Agent and readBody", ("hardhttp", "twisted")),
    "twisted": ("twisted.web.client.Agent and readBody", ("twisted",)),
    "httpx": ("httpx.AsyncClient", ("httpx",)),
    "aiohttp": ("aiohttp.ClientSession", ("aiohttp",)),
}
BASE = "hardhttp-treq"
# By processor time: how many times as fast the base must be.
TARGET = ("treq", 2.0)
# Beyond the seconds asked for: to start, to warm up and to end.
GRACE_SECONDS = 30


def _client(name: str) -> Peer:
    said, packages = _PACKAGES[name]
    modules = tuple(package for package in packages if package != "hardhttp")
    return Peer(name, said, f"pip install {' '.join(modules)}", lambda _: [], modules, packages=packages)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``client`` understands."""
    parser.add_argument("--rows", type=chosen(ROWS), default=list(ROWS), help=f"of {', '.join(ROWS)}; commas between")
    parser.add_argument(
        "--peers", type=chosen(CLIENTS), default=list(CLIENTS), help=f"of {', '.join(CLIENTS)}; commas between"
    )
    parser.add_argument("--pairs", type=count(1, 100), default=5, help="rounds (default 5)")
    parser.add_argument("--seconds", type=count(1, 600), default=2, help="of each sample (default 2)")
    parser.add_argument("--connections", type=count(1, 1000), default=20, help="at once (default 20)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace, directory: Path) -> int:
    """Run what was asked for; 0 when all of it is valid."""
    if options.list:
        for name, title in ROWS.items():
            print(f"{name:14} {title}: {', '.join(CLIENTS)}")
        return 0
    server_core, load_core = (None, None) if options.no_pin else cores()
    plan = Plan(options.pairs, options.seconds, options.connections, directory, server_core, load_core, base=BASE)
    clients = [_client(name) for name in options.peers]
    absent = {peer.name: reason for peer in clients if (reason := missing(peer)) is not None}
    present = [peer for peer in clients if peer.name not in absent]
    server = PEERS["nginx"] if missing(PEERS["nginx"]) is None else PEERS["hardhttp"]
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions([*present, server]),
        "absent": absent,
        "server": server.name,
        "rows": [_row(name, present, server, plan) for name in options.rows],
    }
    if options.json != "-":
        report.write_machine(result["machine"], result["versions"], absent)
        for row in result["rows"]:
            _write(row)
    if options.json:
        report.write_json(result, options.json)
    return 0 if all(entry["valid"] for row in result["rows"] for entry in row["peers"].values()) else 1


def _row(name: str, clients: list[Peer], server: Peer, plan: Plan) -> dict[str, Any]:
    """Every client in turn, against a server that stays."""
    with serving(server, plan) as running:
        url = running.url + HELLO_PATH
        series = in_turn(
            name,
            clients,
            plan.pairs,
            lambda peer: _load(peer.name, url, name == "client-closed", plan),
            lambda found: f"{found['requests'] / found['seconds']:,.0f} requests/s, {_cost(found):.1f} us each",
        )
    return {
        "row": name,
        "title": ROWS[name],
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "connections": plan.connections,
        "server": server.name,
        "peers": _summary(series),
    }


def _load(name: str, url: str, closed: bool, plan: Plan) -> dict[str, float]:
    """What one client has to say. Raises ``Failed``."""
    words = [sys.executable, "-m", "benchmarks.client_load", name, "--url", url]
    words += ["--seconds", str(plan.seconds), "--connections", str(plan.connections), *["--closed"] * closed]
    try:
        done = subprocess.run(
            words,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=plan.seconds + GRACE_SECONDS,
            preexec_fn=prepare(plan.load_core),
        )
        found: dict[str, float] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        raise Failed(f"{name} said nothing") from None
    if not found.get("requests"):
        raise Failed(f"{name} had no answer: {done.stderr[-300:]}")
    return found


def _cost(found: dict[str, float]) -> float:
    return found["cpu_seconds"] / found["requests"] * 1e6


def _summary(series: dict[str, Series[dict[str, float]]]) -> dict[str, Any]:
    """Medians for each client, and the base's ratios to it, round by round."""
    rates = {name: [s and s["requests"] / s["seconds"] for s in each.samples] for name, each in series.items()}
    by_cpu = {name: [s and 1 / _cost(s) for s in each.samples] for name, each in series.items()}
    peers: dict[str, Any] = {}
    for name, each in series.items():
        entry: dict[str, Any] = {"failure": each.failure, "valid": each.failure is None}
        if each.taken:
            entry["rate"] = spread([s["requests"] / s["seconds"] for s in each.taken]).as_dict()
            entry["cpu_microseconds"] = spread([_cost(s) for s in each.taken]).median
            if name != BASE and BASE in series and series[BASE].taken:
                entry["ratio"] = spread(ratios(rates[BASE], rates[name])).as_dict()
                entry["cpu_ratio"] = spread(ratios(by_cpu[BASE], by_cpu[name])).as_dict()
        peers[name] = entry
    return peers


def _write(row: dict[str, Any]) -> None:
    print(f"\n{row['row']}: {row['title']}")
    print(
        f"median of {row['pairs']} rounds of {row['seconds']} s, {row['connections']} at once, asking {row['server']}"
    )
    lines = []
    for name, entry in row["peers"].items():
        if entry["failure"]:
            lines.append((name, "", "", "", f"FAILED: {entry['failure']}"))
            continue
        ratio, by_cpu = entry.get("ratio"), entry.get("cpu_ratio")
        reach = TARGET[1] if name == TARGET[0] else None
        verdict = (
            "" if reach is None or by_cpu is None else f"{reach} {'ok' if by_cpu['median'] >= reach else 'MISSED'}"
        )
        lines.append(
            (
                name,
                f"{entry['rate']['median']:,.0f}",
                f"{entry['cpu_microseconds']:.1f}",
                f"{ratio['median']:.2f}" if ratio else "1",
                f"{by_cpu['median']:.2f} {verdict}".rstrip() if by_cpu else "1",
            )
        )
    print(report.table(("", "requests/s", "us each", f"{BASE} to it", "by cpu"), lines))

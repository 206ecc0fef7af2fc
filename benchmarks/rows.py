"""What the commands share: where servers and load run, what stands at the head of a result, how it is told."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, report, wrk
from benchmarks.peers import Peer, find_program
from benchmarks.processes import Failed, cores, pin
from benchmarks.rounds import Plan

__all__ = ["make_plan", "run_rows"]


def make_plan(
    options: argparse.Namespace, directory: Path, load: tuple[str, str] = ("wrk", wrk.INSTALL), **more: Any
) -> Plan:
    """The plan that ``options`` ask for; this process goes to the load's core.

    ``load`` is the program that makes it, and how to install it. Raises ``Failed`` when it is not there.
    """
    if find_program(load[0]) is None:
        raise Failed(load[1])
    server_core, load_core = (None, None) if options.no_pin else cores()
    pin(load_core)
    return Plan(options.pairs, options.seconds, options.connections, directory, server_core, load_core, **more)


def run_rows(
    options: argparse.Namespace,
    present: Sequence[Peer],
    absent: dict[str, str],
    names: Iterable[str],
    measure: Callable[[str], dict[str, Any]],
) -> int:
    """Measure each row and tell of it as it comes; 0 when all of it is valid."""
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(present),
        "absent": absent,
        "rows": [],
    }
    quiet = options.json == "-"
    if not quiet:
        report.write_machine(result["machine"], result["versions"], absent)
    for name in names:
        row = measure(name)
        result["rows"].append(row)
        if not quiet:
            report.write_row(row)
    result["machine"]["load_average_at_end"] = machine.load_average()
    if options.json:
        report.write_json(result, options.json)
    return 0 if all(entry["valid"] for row in result["rows"] for entry in row["peers"].values()) else 1

"""Tables for people and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["table", "write_json", "write_machine", "write_rate"]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need: the first to the left, the rest to the right."""
    rows = [list(head), *map(list, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    text = []
    for row in rows:
        cells = [cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def write_machine(machine: dict[str, Any], versions: dict[str, str], absent: dict[str, str]) -> None:
    """What it ran on, and who did not take part."""
    print(f"{machine['processor']}, {machine['cores']} cores; {machine['system']}; {machine['python']}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    for name, reason in absent.items():
        print(f"{name}: {reason}")


def write_rate(row: dict[str, Any]) -> None:
    """A row of requests a second."""
    print(f"\n{row['row']}: {row['title']}")
    print(f"{row['connections']} connections, median of {row['pairs']} rounds of {row['seconds']} s")
    base = row["base"]
    head = ("peer", "requests/s", "p99 ms", "cpu", "us/request", f"{base} to it", "range", "by cpu", "errors", "to reach")
    print(table(head, (_rate_line(name, entry, base) for name, entry in row["peers"].items())))


def _rate_line(name: str, entry: dict[str, Any], base: str) -> tuple[str, ...]:
    if "rate" not in entry:
        return name, "-", "", "", "", "", "", "", "INVALID", entry["failure"] or ""
    ratio, by_cpu = entry.get("ratio"), entry.get("cpu_ratio")
    return (
        name,
        f"{entry['rate']['median']:,.0f}",
        f"{entry['p99_ms']:.2f}",
        f"{entry['cpu_share']:.0%}",
        f"{entry['cpu_microseconds']:.1f}",
        f"{ratio['median']:.2f}" if ratio else "1",
        f"{ratio['low']:.2f}..{ratio['high']:.2f}" if ratio else "",
        f"{by_cpu['median']:.2f}" if by_cpu else "1",
        "0" if entry["valid"] else f"INVALID {entry['failure'] or entry['errors']}",
        entry.get("verdict") or "",
    )


def write_json(report: dict[str, Any], where: str) -> None:
    """To the file ``where``, or to standard output for ``-``."""
    text = json.dumps(report, indent=2)
    if where == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(where).write_text(text + "\n")

"""Tables for people and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["table", "write_json", "write_machine", "write_row"]


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need: the first to the left, the rest to the right."""
    rows = [list(head), *map(list, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    text = []
    for row in rows:
        cells = [
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def write_machine(machine: dict[str, Any], versions: dict[str, str], absent: dict[str, str]) -> None:
    """What it ran on, and who did not take part."""
    print(f"{machine['processor']}, {machine['cores']} cores; {machine['system']}; {machine['python']}")
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    for name, reason in absent.items():
        print(f"{name}: {reason}")


def write_row(row: dict[str, Any]) -> None:
    """A row of any kind, with what it was measured with."""
    print(f"\n{row['row']}: {row['title']}")
    head, line, note = _KINDS[row["kind"]]
    print(f"median of {row['pairs']} rounds{note(row)}")
    columns = head(row)
    lines = []
    for name, entry in row["peers"].items():
        if entry.get("failure"):
            lines.append((name, *[""] * (len(columns) - 2), f"FAILED: {entry['failure']}"))
        else:
            lines.append((name, *line(row, entry)))
    print(table(columns, lines))


def _rate_head(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        "",
        "requests/s",
        "p99 ms",
        "cpu",
        "us each",
        f"{row['base']} to it",
        "range",
        "by cpu",
        "errors",
        "to reach",
    )


def _rate_line(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    ratio, by_cpu = entry.get("ratio"), entry.get("cpu_ratio")
    return (
        f"{entry['rate']['median']:,.0f}",
        f"{entry['p99_ms']:.2f}",
        f"{entry['cpu_share']:.0%}",
        f"{entry['cpu_microseconds']:.1f}",
        f"{ratio['median']:.2f}" if ratio else "1",
        f"{ratio['low']:.2f}..{ratio['high']:.2f}" if ratio else "",
        f"{by_cpu['median']:.2f}" if by_cpu else "1",
        _errors(entry),
        entry.get("verdict") or "",
    )


def _growth_head(row: dict[str, Any]) -> tuple[str, ...]:
    return ("", *(f"us at {size:,}" for size in row["sizes"]), "grows", "range", "by clock", "errors", "to reach")


def _growth_line(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    growth = entry["cost_growth"]
    return (
        *(f"{entry['cpu_microseconds'][str(size)]['median']:.1f}" for size in row["sizes"]),
        f"{growth['median']:.2f}",
        f"{growth['low']:.2f}..{growth['high']:.2f}",
        f"{entry['time_growth']['median']:.2f}",
        _errors(entry),
        entry.get("verdict") or "",
    )


def _attack_head(row: dict[str, Any]) -> tuple[str, ...]:
    return ("", "p99 ms calm", "attacked", "max", "at onset", "times", "range", "cpu", "MiB", "errors", "to reach")


def _attack_line(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    growth = entry["growth"]
    return (
        f"{entry['p99_ms_calm']['median']:.2f}",
        f"{entry['p99_ms_attacked']['median']:.2f}",
        f"{entry['max_ms_attacked']:.1f}",
        f"{entry['max_ms_onset']:.0f}",
        f"{growth['median']:.1f}",
        f"{growth['low']:.1f}..{growth['high']:.1f}",
        f"{entry['cpu_share']:.0%}",
        f"{entry['pss_bytes'] / 2**20:.0f}",
        _errors(entry),
        entry.get("verdict") or "",
    )


def _idle_head(row: dict[str, Any]) -> tuple[str, ...]:
    return ("", "base MiB", *(f"bytes at {size:,}" for size in row["sizes"]), "range", "lost", "to reach")


def _idle_line(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    largest = entry["bytes"][str(row["sizes"][-1])]
    return (
        f"{entry['base_bytes'] / 2**20:.1f}",
        *(f"{entry['bytes'][str(size)]['median']:,.0f}" for size in row["sizes"]),
        f"{largest['low']:,.0f}..{largest['high']:,.0f}",
        _errors(entry),
        entry.get("verdict") or "",
    )


def _requests_head(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        "",
        "requests",
        "MiB first",
        "MiB last",
        "bytes a request",
        "95 % of it",
        "garbage",
        "its own",
        "errors",
        "to reach",
    )


def _requests_line(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    slope, objects = entry["slope"], entry["objects"]
    return (
        f"{entry['requests']:,}",
        f"{entry['rss'][0] / 2**20:.1f}",
        f"{entry['rss'][-1] / 2**20:.1f}",
        f"{slope['median']:.2f}",
        f"{slope['low']:.2f}..{slope['high']:.2f}",
        f"{objects['unreachable']:,}",
        f"{sum(objects['ours'].values()):,}",
        _errors(entry),
        entry.get("verdict") or "",
    )


def _sse_head(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        "",
        "deliveries/s",
        f"{row['base']} to it",
        "range",
        "by cpu",
        "cpu",
        "load",
        "us each",
        f"{row['window']} out: /s",
        "to it",
        "each p50 ms",
        "p99",
        "last p50",
        "p99",
        "page p50",
        "p99",
        f"{row['window']} out: p99",
        "hold",
        "bytes",
        "errors",
        "to reach",
    )


def _sse_line(row: dict[str, Any], entry: dict[str, Any]) -> tuple[str, ...]:
    ratio, by_cpu, several = (entry.get(name) for name in ("ratio", "cpu_ratio", "several_ratio"))
    return (
        f"{entry['rate']['median']:,.0f}",
        f"{ratio['median']:.2f}" if ratio else "1",
        f"{ratio['low']:.2f}..{ratio['high']:.2f}" if ratio else "",
        f"{by_cpu['median']:.2f}" if by_cpu else "1",
        f"{entry['cpu_share']:.0%}",
        f"{entry['load_cpu_share']:.0%}",
        f"{entry['cpu_microseconds']:.1f}",
        f"{entry['several_rate']['median']:,.0f}",
        f"{several['median']:.2f}" if several else "1",
        *(f"{entry[name][part]:.1f}" for name in ("each_ms", "last_ms", "page_ms") for part in ("p50", "p99")),
        f"{entry['several_page_ms']['p99']:.1f}",
        "" if entry["held_ms"] is None else f"{entry['held_ms']:.1f}",
        f"{entry['bytes_each']:,.0f}",
        _errors(entry),
        entry.get("verdict") or "",
    )


def _errors(entry: dict[str, Any]) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in entry["errors"].items())
    return "0" if not found else found if entry["valid"] else f"INVALID: {found}"


def _active(row: dict[str, Any]) -> str:
    return f" of {row['seconds']} s, {row['connections']} active connections"


def _honest(row: dict[str, Any]) -> str:
    return f" of {row['seconds']} s, {row['honest_rate']} honest requests a second"


def _phases(row: dict[str, Any]) -> str:
    return f" of {row['seconds']} s one event at a time and {row['seconds']} s with {row['window']} out"


def _nothing(row: dict[str, Any]) -> str:
    return ""


_KINDS = {
    "rate": (_rate_head, _rate_line, _active),
    "growth": (_growth_head, _growth_line, _active),
    "attack": (_attack_head, _attack_line, _honest),
    "sse": (_sse_head, _sse_line, _phases),
    "idle": (_idle_head, _idle_line, _nothing),
    "requests": (_requests_head, _requests_line, _nothing),
}


def write_json(report: dict[str, Any], where: str) -> None:
    """To the file ``where``, or to standard output for ``-``."""
    text = json.dumps(report, indent=2)
    if where == "-":
        sys.stdout.write(text + "\n")
    else:
        Path(where).write_text(text + "\n")

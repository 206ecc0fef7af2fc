"""Progress on the terminal: the figures of the moment while a run lasts, and the verdicts when it is over.

On a terminal, and where rich is installed, a table stands still and its figures change; otherwise a
line is printed for each round, which is what a log of CI can use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from hardhttp.soak.plan import Plan
from hardhttp.soak.runner import Now
from hardhttp.soak.samples import Sample
from hardhttp.soak.summary import Row
from hardhttp.soak.verdict import Kind
from hardhttp.soak.wording import bytes_text

__all__ = ["Lines", "Table", "print_rows", "watcher"]

BARS = "▁▂▃▄▅▆▇█"
SHOWN_LEVELS = 60
SHOWN_OUTCOMES = 5
COLOURS = {Kind.PASS: "green", Kind.DRIFT: "yellow", Kind.LEAK: "bold red"}


def sparkline(values: list[int]) -> str:
    """``values`` as bars, the lowest as the smallest."""
    low, high = min(values), max(values)
    span = max(1, high - low)
    return "".join(BARS[min(len(BARS) - 1, (value - low) * len(BARS) // span)] for value in values)


def outcomes_text(outcomes: Mapping[str, int]) -> str:
    """The commonest first."""
    commonest = sorted(outcomes.items(), key=lambda item: -item[1])[:SHOWN_OUTCOMES]
    return ", ".join(f"{outcome} {count:,}" for outcome, count in commonest) or "-"


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


class Lines:
    """A line for each scenario and round, and for whatever is said."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._told: tuple[str, str, int] | None = None

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def sampled(self, now: Now, sample: Sample) -> None:
        step = (now.step.server, now.step.scenario, now.step.round)
        if now.phase == "rest" and step != self._told:
            self._told = step
            self.said(
                f"{step[0]}: {step[1]}, round {step[2]} of {self._plan.rounds}: {bytes_text(sample.rss_bytes)}, "
                f"{sample.descriptors} descriptors, honest p99 {milliseconds(sample.honest_p99_ms)}"
            )

    def said(self, text: str) -> None:
        print(text, flush=True)


class Table:
    """The same as a table that stands still, by rich."""

    def __init__(self, plan: Plan) -> None:
        from rich.console import Console
        from rich.live import Live

        self._plan = plan
        self._levels: list[int] = []
        self._last: tuple[float, float] | None = None
        self._cpu_percent: float | None = None
        self._live = Live(console=Console(), refresh_per_second=4, transient=True)

    def __enter__(self) -> Table:
        self._live.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._live.__exit__(*failure)

    def said(self, text: str) -> None:
        self._live.console.print(text, highlight=False, markup=False)

    def sampled(self, now: Now, sample: Sample) -> None:
        from rich.table import Table as Grid

        self._levels = [*self._levels, sample.rss_bytes][-SHOWN_LEVELS:]
        if self._last is not None and sample.seconds > self._last[0]:
            self._cpu_percent = 100 * (sample.cpu_seconds - self._last[1]) / (sample.seconds - self._last[0])
        self._last = sample.seconds, sample.cpu_seconds
        plan, step = self._plan, now.step
        grid = Grid.grid(padding=(0, 2))
        percent = min(100.0, 100 * sample.seconds / max(1.0, plan.seconds))
        place = plan.scenarios.index(step.scenario) + 1
        lines = {
            "run": f"{percent:.0f} % of {plan.seconds / 60:.0f} min",
            "server": step.server,
            "scenario": f"[bold]{step.scenario}[/] ({place} of {len(plan.scenarios)}), "
            f"round {step.round} of {plan.rounds}, {now.phase}",
            "memory": f"{bytes_text(sample.rss_bytes)}  {sparkline(self._levels)}",
            "descriptors": f"{sample.descriptors}   threads {sample.threads}   processes {sample.processes}   "
            + ("" if self._cpu_percent is None else f"processor {self._cpu_percent:.0f} %"),
            "honest client": f"p50 {milliseconds(sample.honest_p50_ms)}   p99 {milliseconds(sample.honest_p99_ms)}   "
            f"failed {sample.honest_failures} of {sample.honest_requests}",
            "clients": f"{now.open_count} open; {outcomes_text(now.outcomes)}",
        }
        for name, text in lines.items():
            grid.add_row(f"[dim]{name}[/]", text)
        self._live.update(grid)


def watcher(plan: Plan) -> Lines | Table:
    """The one that this terminal can show."""
    if not sys.stdout.isatty():
        return Lines(plan)
    try:
        return Table(plan)
    except ImportError:
        return Lines(plan)


def print_rows(found: Iterable[Row]) -> None:
    """The verdicts, one a line."""
    for row in found:
        word = "-" if row.kind is None else row.kind.name
        print(f"{word:6} {row.server:12} {row.scenario:24} {row.sentence}")

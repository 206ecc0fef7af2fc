"""What a run leaves for people and for programs: ``report.html`` and ``verdicts.json``, beside its samples.

``verdicts.json`` is for CI: by server and scenario the kind, the figure, its bound and the sentence, each a plain
value. ``kind`` is null where there is no verdict, and the sentence says why. Its ``format`` is 1; fields may be
added to it, and what is there keeps its meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hardhttp.soak.report import write_report
from hardhttp.soak.runs import Run
from hardhttp.soak.samples import Sample
from hardhttp.soak.verdict import Kind, Verdict, overruled

__all__ = ["FORMAT", "REPORT", "VERDICTS", "Row", "runs_of", "verdicts_of", "write_results"]

REPORT, VERDICTS = "report.html", "verdicts.json"
FORMAT = 1


class Row(Protocol):
    """What was found of one scenario at one server. Its ``kind`` may be worse than its verdict's."""

    @property
    def server(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def verdict(self) -> Verdict | None: ...
    @property
    def kind(self) -> Kind | None: ...
    @property
    def sentence(self) -> str: ...


def write_results(
    directory: Path,
    rows: Sequence[Row],
    samples: Iterable[Sample],
    facts: Mapping[str, str],
    *,
    scenarios: Mapping[str, str] | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write both files, each whole or not at all; no report where nothing was measured.

    ``facts`` are of the machine and the run, ``scenarios`` says in a sentence what each does, ``about`` what each
    server is. Raises ``OSError``.
    """
    beside = directory / f"{VERDICTS}.new"
    beside.write_text(json.dumps(verdicts_of(rows), indent=1) + "\n", "utf-8")
    os.replace(beside, directory / VERDICTS)
    runs = runs_of(rows, samples, about or {})
    if runs:
        write_report(directory / REPORT, runs, facts, scenarios=scenarios)


def runs_of(rows: Sequence[Row], samples: Iterable[Sample], about: Mapping[str, str]) -> list[Run]:
    """A run for each server that was measured, in the order of ``rows``."""
    by_server: dict[str, list[Sample]] = {row.server: [] for row in rows}
    for sample in samples:
        by_server.setdefault(sample.server, []).append(sample)
    runs = []
    for server, seen in by_server.items():
        if not seen:
            continue
        of_it = [row for row in rows if row.server == server]
        verdicts = {row.scenario: found for row in of_it if (found := _final(row)) is not None}
        passed_over = {row.scenario: row.sentence for row in of_it if row.scenario not in verdicts}
        runs.append(Run(server, seen, verdicts, about.get(server, ""), passed_over))
    return runs


def verdicts_of(rows: Sequence[Row]) -> dict[str, Any]:
    """What ``verdicts.json`` holds."""
    servers: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        verdict = _final(row)
        told: dict[str, Any] = {"kind": None, "sentence": row.sentence}
        if verdict is not None:
            told = {
                "kind": verdict.kind.name,
                "sentence": verdict.sentence,
                "measure": verdict.measure.value,
                "figure": verdict.figure if verdict.measure.has_figure else None,
                "bound": verdict.bound if verdict.measure.has_figure else None,
            }
        servers.setdefault(row.server, {})[row.scenario] = told
    return {"format": FORMAT, "servers": servers}


def _final(row: Row) -> Verdict | None:
    if row.verdict is None or row.kind is None or row.kind is row.verdict.kind:
        return row.verdict
    return overruled(row.verdict, row.sentence)

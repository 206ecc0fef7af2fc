"""What a run leaves for programs: ``verdicts.json``, beside its samples and its report.

By server and scenario it has the kind, the figure, its bound and the sentence, each a plain value. ``kind`` is null
where there is no verdict, and the sentence says why. Its ``format`` is 1; fields may be added to it, and what is there
keeps its meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from hardhttp.soak.verdict import Measure, Verdict

__all__ = ["FORMAT", "VERDICTS", "Row", "verdicts_of", "write_verdicts"]

VERDICTS = "verdicts.json"
FORMAT = 1


class Row(Protocol):
    """What was found of one scenario at one server. Without a verdict the sentence says why there is none."""

    @property
    def server(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def verdict(self) -> Verdict | None: ...
    @property
    def sentence(self) -> str: ...


def write_verdicts(path: Path | str, rows: Iterable[Row]) -> None:
    """Write them to ``path``, whole or not at all. Raises ``OSError``."""
    path = Path(path)
    beside = path.with_name(path.name + ".new")
    beside.write_text(json.dumps(verdicts_of(rows), indent=1) + "\n", "utf-8")
    os.replace(beside, path)


def verdicts_of(rows: Iterable[Row]) -> dict[str, Any]:
    """What the file holds."""
    servers: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        told: dict[str, Any] = {"kind": None, "sentence": row.sentence}
        if row.verdict is not None:
            has_figure = row.verdict.measure is not Measure.ALIVE
            told |= {
                "kind": row.verdict.kind.name,
                "measure": row.verdict.measure.value,
                "figure": row.verdict.figure if has_figure else None,
                "bound": row.verdict.bound if has_figure else None,
            }
        servers.setdefault(row.server, {})[row.scenario] = told
    return {"format": FORMAT, "servers": servers}

"""Directives that read the package, so that no page repeats what it says and none goes stale.

``limits-table:: CLASS``    every field of a class of limits, ``hardhttp.Limits`` where none is named, in the groups
                            of its source
``reasons-table``           every ``hardhttp.errors.Reason``, in the groups of its source
``misbehaviours-table``     every behaviour of ``hardhttp.testing.misbehaving``, by the modules of its source
``soak-scenarios``          every scenario of ``hardhttp-soak``, with the paths it needs
``command-output:: ARGS``   what a command of this environment prints, run from the project's root
"""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.testing.misbehaving import CATALOGUE
from hardhttp.units import format_seconds, format_size

ROOT = Path(__file__).resolve().parent.parent.parent


def annotated(cls: type, opens: str, member: str) -> Iterator[tuple[str, str, str]]:
    """(group, member, comment) of a class body, told by the first group of each pattern.

    ``opens`` matches a comment line that opens a group. Any other comment belongs to the member
    below it; one behind a member takes its place.
    """
    group, above = "", []
    for line in inspect.getsource(cls).splitlines():
        text = line.strip()
        if text.startswith("# "):
            opened = re.match(opens, text[2:])
            if opened:
                group, above = opened[1], []
            else:
                above.append(text[2:])
            continue
        found = re.match(member, line)
        if found:
            _, _, behind = text.partition("  # ")
            yield group, found[1], behind or " ".join(above)
        above = []


def table(headings: list[str], rows: list[list[nodes.Node | str]], widths: list[int]) -> nodes.table:
    def row(cells: list[Any]) -> nodes.row:
        made = nodes.row()
        for cell in cells:
            inside = cell if isinstance(cell, nodes.Node) else nodes.Text(cell)
            made += nodes.entry("", nodes.paragraph("", "", inside))
        return made

    group = nodes.tgroup(cols=len(headings))
    group += [nodes.colspec(colwidth=width) for width in widths]
    group += nodes.thead("", row(headings))
    body = nodes.tbody()
    body += [row(cells) for cells in rows]
    group += body
    return nodes.table("", group, classes=["colwidths-given"])


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def shown(name: str, value: float | None) -> str:
    """A limit as its option takes it."""
    if value is None:
        return "off"
    if name.endswith("_seconds"):
        return format_seconds(value)
    if name.endswith("_bytes"):
        return format_size(int(value))
    if name.endswith("_bytes_per_second"):
        return f"{format_size(int(value))}/s"
    return f"{int(value):,}"


class LimitsTable(Directive):
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        cls = pydoc.locate(self.arguments[0]) if self.arguments else Limits
        if not isinstance(cls, type):
            raise self.error(f"there is no class {self.arguments[0]}")
        fields = {field.name: field for field in attrs.fields(cls)}
        groups: dict[str, list[list[nodes.Node | str]]] = {}
        for group, name, why in annotated(cls, r"-- (.*?) -+$", r"    (\w+): .* = _\w+\("):
            field = fields.pop(name)
            low, high = (shown(name, field.metadata[bound]) for bound in ("low", "high"))
            groups.setdefault(group, []).append(
                [
                    nodes.literal(text=name),
                    shown(name, field.default),
                    f"{low} to {high}",
                    f"{sentence(field.metadata['help'])}. {why}".strip(),
                ]
            )
        if fields:
            raise self.error(f"not found in the source of {cls.__name__}: {', '.join(fields)}")
        made: list[nodes.Node] = []
        for group, rows in groups.items():
            made += [
                nodes.rubric(text=sentence(group)),
                table(["Limit", "Default", "From, to", "What it bounds, and why there"], rows, [25, 10, 20, 45]),
            ]
        return made


class ReasonsTable(Directive):
    def run(self) -> list[nodes.Node]:
        rows: dict[str, list[tuple[str, str]]] = {}
        for group, code, remark in annotated(Reason, r"(.+)$", r'    [A-Z_]+ = "([a-z0-9-]+)"'):
            rows.setdefault(group, []).append((code, remark))
        missing = {reason.value for reason in Reason} - {code for codes in rows.values() for code, _ in codes}
        if missing:
            raise self.error(f"not found in the source of Reason: {', '.join(sorted(missing))}")
        made: list[nodes.Node] = []
        for group, codes in rows.items():
            made.append(nodes.rubric(text=sentence(group)))
            items = nodes.bullet_list()
            for code, remark in codes:
                text = nodes.paragraph("", "", nodes.literal(text=code))
                if remark:
                    text += nodes.Text(f": {remark}")
                items += nodes.list_item("", text)
            made.append(items)
        return made


class MisbehavioursTable(Directive):
    def run(self) -> list[nodes.Node]:
        groups: dict[str, list[list[nodes.Node | str]]] = {}
        for entry in CATALOGUE.values():
            about = inspect.getdoc(sys.modules[entry.talk.__module__]) or ""
            cells: list[nodes.Node | str] = [nodes.literal(text=entry.name), plain(entry.does), plain(entry.sound)]
            groups.setdefault(about.partition("\n\n")[0].replace("\n", " "), []).append(cells)
        made: list[nodes.Node] = []
        for about, rows in groups.items():
            made += [
                nodes.rubric(text=about.rstrip(".")),
                table(["Name", "What it does", "What a sound client does"], rows, [25, 38, 37]),
            ]
        return made


def plain(text: str) -> str:
    return text.replace("``", "")


class SoakScenarios(Directive):
    def run(self) -> list[nodes.Node]:
        from hardhttp.soak.catalogue import CATALOGUE

        rows: list[list[nodes.Node | str]] = [
            [
                nodes.literal(text=name),
                " ".join((kind.__doc__ or "").split()).replace("``", ""),
                ", ".join(sorted(kind.needs)),
            ]
            for name, kind in CATALOGUE.items()
        ]
        return [table(["Scenario", "What it does, and what a sound server does", "Needs"], rows, [20, 65, 15])]


class CommandOutput(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        command = shlex.split(self.arguments[0])
        binary = Path(sys.executable).parent / command[0]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            [str(binary), *command[1:]], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise self.error(f"{self.arguments[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        # The page is built anew each time, for its source may not have changed while the output has.
        self.env.note_reread()
        return [nodes.literal_block(text=done.stdout.strip("\n"), language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("limits-table", LimitsTable)
    app.add_directive("reasons-table", ReasonsTable)
    app.add_directive("misbehaviours-table", MisbehavioursTable)
    app.add_directive("soak-scenarios", SoakScenarios)
    app.add_directive("command-output", CommandOutput)
    return {"parallel_read_safe": True}

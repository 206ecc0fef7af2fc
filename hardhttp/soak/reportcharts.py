"""The pictures of a report: each subject a row of charts, one for each server, all on the same scales.

The same figures follow as a table, scenario by scenario, for those who do not see the pictures or want to copy them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import attrs

from hardhttp.soak.charts import Band, Curve, Scale, bytes_scale, chart, count_scale, log_scale
from hardhttp.soak.reportverdicts import style_of, word_of
from hardhttp.soak.runs import Extent, Run
from hardhttp.soak.samples import Sample
from hardhttp.soak.verdict import Kind
from hardhttp.soak.wording import bytes_text, count_text, milliseconds_text, seconds_text

__all__ = ["SUBJECTS", "Subject", "pictures"]

Figure = Callable[[Sample], float | None]


@attrs.frozen
class Subject:
    """What one row of charts is about."""

    name: str  # its identifier in the page
    title: str
    lead: str
    text: Callable[[float], str]
    scale: Callable[[float, float], Scale]
    figures: Callable[[Run], Sequence[Figure]]


SUBJECTS = (
    Subject(
        "memory",
        "Memory over time",
        "What the server's processes have of the machine's memory. A sound server comes down again after each load, "
        "or stays where its first loads took it. A staircase is a leak.",
        bytes_text,
        lambda most, least: bytes_scale(most),
        lambda run: [run.memory],
    ),
    Subject(
        "descriptors",
        "Descriptors over time",
        "Open connections and files. Each load opens many; after it the curve must be back at its floor.",
        count_text,
        lambda most, least: count_scale(most),
        lambda run: [lambda sample: sample.descriptors],
    ),
    Subject(
        "latency",
        "How long an honest client waits",
        "All the while, an honest client asks for a page. The strong line is its slowest hundredth (p99), the fine one "
        "its middle (p50). Each line of the grid is ten times the one below. A gap: no answer at all.",
        milliseconds_text,
        lambda most, least: log_scale(most, least, milliseconds_text),
        lambda run: [lambda sample: sample.honest_p99_ms, lambda sample: sample.honest_p50_ms],
    ),
    Subject(
        "ledger",
        "What the server says it holds",
        "hardhttp enters all it holds of requests, responses, sessions and messages in a ledger, and was asked for the "
        "sum. After each load it must be back at its floor.",
        bytes_text,
        lambda most, least: bytes_scale(most),
        lambda run: [lambda sample: sample.ledger_bytes],
    ),
)


def pictures(subject: Subject, runs: Sequence[Run], numbers: Mapping[str, int]) -> str:
    """Of those that have such figures; nothing where none has."""
    runs = [run for run in runs if run.extent(subject.figures(run)[0]) is not None]
    curves = {run.server: [run.curve(figure) for figure in subject.figures(run)] for run in runs}
    values = [value for each in curves.values() for curve in each for piece in curve for _, value in piece]
    if not values:
        return ""
    scale = subject.scale(max(values), min(values))
    seconds = max(run.seconds for run in runs)
    figures = []
    for run in runs:
        extent = run.extent(subject.figures(run)[0])
        drawn = [
            Curve(pieces, "first" if number == 0 else "second", filled=number == 0 and subject.name != "latency")
            for number, pieces in enumerate(curves[run.server])
        ]
        said = "no figures" if extent is None else _extent_text(extent, subject.text)
        text = f"{subject.title}, {run.server}: {said}, in {seconds_text(run.seconds)}"
        loads = [(span.begin, span.end) for span in run.loads]
        picture = chart(drawn, scale, seconds, _bands(run, numbers), loads, text)
        figures.append(
            f"<figure><figcaption><b>{escape(run.server)}</b> <span>{said}</span></figcaption>{picture}</figure>"
        )
    # Where loads are too many to be marked, none is.
    loaded = '<span><i class="loaded"></i> load is on</span>' if any(run.loads for run in runs) else ""
    return (
        f'<section class="panel" id="{subject.name}"><h2>{subject.title}</h2><p class="lead">{subject.lead}</p>'
        f'<div class="charts">{"".join(figures)}</div>'
        '<p class="key"><span><i></i> a scenario, by its number</span><span><i class="drift"></i> DRIFT</span>'
        f'<span><i class="leak"></i> LEAK</span>{loaded}</p>'
        f"{_figures_table(subject, runs, numbers)}</section>"
    )


def _extent_text(extent: Extent, text: Callable[[float], str]) -> str:
    return f"{text(extent.before)} before, {text(extent.most)} at most, {text(extent.after)} after"


def _bands(run: Run, numbers: Mapping[str, int]) -> list[Band]:
    bands = []
    for index, span in enumerate(run.scenarios):
        verdict = run.verdicts.get(span.name)
        title = span.name if verdict is None else f"{span.name}: {word_of(verdict)}. {verdict.sentence}"
        style = "even" if index % 2 else "odd"
        flawed = verdict is not None and verdict.kind is not Kind.PASS
        if verdict is not None and flawed:
            style += f" {style_of(verdict)}"
        bands.append(Band(span.begin, span.end, numbers.get(span.name, 0), f"band {style}", title, flawed))
    return bands


def _figures_table(subject: Subject, runs: Sequence[Run], numbers: Mapping[str, int]) -> str:
    head = "".join(f'<th scope="col">{escape(run.server)}</th>' for run in runs)
    rows = []
    for name in numbers:
        cells = ""
        for run in runs:
            extent = run.extent(subject.figures(run)[0], name)
            cells += f"<td>{'' if extent is None else _extent_text(extent, subject.text)}</td>"
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f"<details><summary>The same as a table</summary><div class='wide' tabindex='0' role='region' "
        f"aria-label='{subject.title}, as a table'><table><thead><tr><th scope=\"col\">Scenario</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )

"""The verdicts of a report, as tables and as sentences: each is a word, a sign and a colour, never a colour alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from hardhttp.soak.runs import Run
from hardhttp.soak.verdict import Measure, Verdict

__all__ = ["SIGNS", "findings_table", "marked", "style_of", "verdict_table", "what_was_found", "word_of"]

# Words from the best to the worst, each with its sign and its colour in report.css.
SIGNS = {
    "PASS": ("\N{CHECK MARK}", "pass"),
    "DRIFT": ("~", "drift"),
    "LEAK": ("\N{BLACK UP-POINTING TRIANGLE}", "leak"),
    "DIED": ("\N{MULTIPLICATION X}", "leak"),
}


def marked(word: str, count: int | None = None) -> str:
    """A verdict's word with its sign, in its colour; a count of none has no colour."""
    sign, style = SIGNS[word]
    style = "none" if count == 0 else style
    number = "" if count is None else f"{count} "
    return f'<span class="word {style}"><span class="sign" aria-hidden="true">{sign}</span> {number}{word}</span>'


def word_of(verdict: Verdict) -> str:
    return "DIED" if verdict.measure is Measure.ALIVE else verdict.kind.name


def style_of(verdict: Verdict) -> str:
    return SIGNS[word_of(verdict)][1]


def verdict_table(
    runs: Sequence[Run], numbers: Mapping[str, int], said: Mapping[str, str], notes: Mapping[str, str]
) -> str:
    head = "".join(f'<th scope="col">{escape(run.server)}</th>' for run in runs)
    rows = []
    for name, number in numbers.items():
        cells = "".join(_cell(run, name) for run in runs)
        what = f"<small>{escape(said[name].replace('``', ''))}</small>" if name in said else ""
        what += f'<small class="note">{escape(notes[name])}</small>' if name in notes else ""
        rows.append(
            f'<tr id="s{number}"><th scope="row"><div class="named"><span class="number">{number}</span>'
            f"<div>{escape(name)}{what}</div></div></th>{cells}</tr>"
        )
    return (
        '<section class="panel" id="verdicts"><h2>Verdicts</h2><p class="lead">'
        f"{marked('PASS')} all within bounds. {marked('DRIFT')} out of bounds, but not growing. "
        f"{marked('LEAK')} every round adds to it. Below each word: the figure that decided, and what is allowed. Less "
        "than nothing is left where a server gave back more than it took.</p>"
        f'<table class="verdicts"><thead><tr><th scope="col">Scenario</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _cell(run: Run, scenario: str) -> str:
    label = f'<span class="whose" aria-hidden="true">{escape(run.server)}</span>'
    verdict = run.verdicts.get(scenario)
    if verdict is None:
        why = run.passed_over.get(scenario, "")
        return f'<td class="none">{label}<div>not run<small>{escape(why)}</small></div></td>'
    figures = ""
    if verdict.measure is not Measure.ALIVE:
        figures = f"{verdict.figure_text} <span>({verdict.bound_text} allowed)</span>"
    return (
        f'<td class="{style_of(verdict)}">{label}<div>{marked(word_of(verdict))}'
        f"<small><em>{verdict.measure.value}</em> {figures}</small></div></td>"
    )


def what_was_found(runs: Sequence[Run], numbers: Mapping[str, int]) -> str:
    parts = []
    for run in runs:
        items = "".join(
            f'<li><b class="word {style_of(verdict)}">{word_of(verdict)}</b> '
            f'<a href="#s{numbers[name]}">{escape(name)}</a>: {escape(verdict.sentence)}</li>'
            for name, verdict in run.verdicts.items()
            if verdict.kind
        )
        if items:
            parts.append(f"<h3>{escape(run.server)}</h3><ul>{items}</ul>")
    text = "".join(parts) or "<p>Nothing: every scenario passes at every server.</p>"
    return f'<section class="panel found" id="found"><h2>What was found</h2>{text}</section>'


def findings_table(runs: Sequence[Run]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(run.server)}</th><td>{escape(name)}</td><td>{finding.measure.value}</td>'
        f"<td>{finding.figure_text}</td><td>{finding.bound_text}</td>"
        f'<td class="word {finding.kind.name.lower()}">{finding.kind.name}</td></tr>'
        for run in runs
        for name, verdict in run.verdicts.items()
        for finding in verdict.findings
        if finding.measure is not Measure.ALIVE
    )
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("Server", "Scenario", "What", "Figure", "Bound", "Finding")
    )
    return (
        '<section class="panel" id="all"><h2>Every figure</h2><p class="lead">A verdict is the worst of its findings; '
        "here they all are.</p><details><summary>Show them</summary><div class='wide' tabindex='0' role='region' "
        f"aria-label='Every figure'><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>"
        "</section>"
    )

"""The report of a run: one HTML file that holds all it needs, for people who were not there.

It answers in the order in which people ask. Is all well: one sentence, and a card for each server. What was not: the
table of verdicts, and what was found, in sentences. How did it look: memory, descriptors and an honest client's
latency over time, each server beside the others on the same scales, the scenarios marked by their numbers in the
table. How was it made: the machine, the versions, the command.

There is no script in it and nothing comes from elsewhere: its own policy forbids both. Every verdict is a word and a
sign besides its colour, and every chart's figures follow as a table. What is a name or a fact is escaped.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from hardhttp.soak.charts import bytes_scale
from hardhttp.soak.reportcharts import SUBJECTS, pictures
from hardhttp.soak.reportverdicts import SIGNS, findings_table, marked, verdict_table, what_was_found, word_of
from hardhttp.soak.runs import Extent, Run
from hardhttp.soak.verdict import Kind
from hardhttp.soak.wording import bytes_text, count_text, milliseconds_text

__all__ = ["Run", "report_text", "write_report"]

_CSS = Path(__file__).with_name("static") / "report.css"
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Cpath d='M16 2 28 9v14l-12 7L4 23V9z' fill='%230d8a72'/%3E"
    "%3Cpath d='M11 9v14M21 9v14M11 16h10' stroke='%23fff' stroke-width='3' fill='none'/%3E%3C/svg%3E"
)
_LOGO = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><path d="M16 2 28 9v14l-12 7L4 23V9z" class="hex"/>'
    '<path d="M11 9v14M21 9v14M11 16h10" stroke="#fff" stroke-width="3" fill="none"/></svg>'
)


def write_report(
    path: Path | str,
    runs: Sequence[Run],
    facts: Mapping[str, str],
    *,
    title: str = "Is everything given back?",
    scenarios: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write ``report_text`` to ``path``, whole or not at all."""
    path = Path(path)
    beside = path.with_name(path.name + ".new")
    beside.write_text(report_text(runs, facts, title=title, scenarios=scenarios, notes=notes), "utf-8")
    os.replace(beside, path)


def report_text(
    runs: Sequence[Run],
    facts: Mapping[str, str],
    *,
    title: str = "Is everything given back?",
    scenarios: Mapping[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> str:
    """The page. The first run is the one it is about, any others are beside it.

    ``facts`` are said of the machine and of how the run was made, in their order; ``scenarios`` says in a sentence
    what each does, ``notes`` what of it this run could not tell. Raises ``ValueError`` without runs.
    """
    if not runs:
        raise ValueError("a report needs a run")
    names = list(dict.fromkeys(name for run in runs for name in (*run.verdicts, *run.passed_over)))
    numbers = {name: number for number, name in enumerate(names, 1)}
    body = [
        f"<header>{_LOGO}<div><h1>{escape(title)}</h1><p>{_conclusion(runs)}</p></div></header>",
        f'<section class="cards" aria-label="Servers">{"".join(map(_card, runs))}</section>',
        _given_back(runs),
        verdict_table(runs, numbers, scenarios or {}, notes or {}),
        what_was_found(runs, numbers),
        *(pictures(subject, runs, numbers) for subject in SUBJECTS),
        findings_table(runs),
        _facts(facts),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'\">\n"
        f'<title>{escape(title)}</title>\n<link rel="icon" href="{_ICON}">\n'
        f"<style>\n{_CSS.read_text('utf-8')}</style>\n</head>\n<body>\n<main>\n" + "\n".join(body) + "\n</main>\n"
        "</body>\n</html>\n"
    )


# -- is all well -------------------------------------------------------------------------------


def _conclusion(runs: Sequence[Run]) -> str:
    said = []
    for run in runs:
        counts, total = _counts(run), len(run.verdicts)
        passed, leaks = counts["PASS"], counts["LEAK"]
        text = f"<strong>{escape(run.server)}</strong> passes "
        text += f"all {total}" if passed == total else f"{passed} of {total}"
        text += f" ({len(run.passed_over)} not run)" if run.passed_over else ""
        text += f", leaks in {leaks}" if leaks else ""
        said.append(text + (f", dies in {counts['DIED']}" if counts["DIED"] else ""))
    return (
        f"{'; '.join(said)}. Each scenario is a kind of client that misbehaves, many at once, round after round. Then "
        "it leaves, and the server must hold no more than before. All the while an honest visitor asks for a page, and "
        "must not notice."
    )


def _counts(run: Run) -> Counter[str]:
    return Counter(map(word_of, run.verdicts.values()))


def _card(run: Run) -> str:
    counts = _counts(run)
    bar = "".join(
        f'<i class="{SIGNS[word][1]}" style="flex-grow:{counts[word]}"></i>' for word in SIGNS if counts[word]
    )
    words = " ".join(marked(word, counts[word]) for word in SIGNS if counts[word] or word == "PASS")
    rows = [("Memory, before to after", _arrow(run.extent(run.memory), bytes_text))]
    rows.append(("Open connections and files", _arrow(run.extent(lambda sample: sample.descriptors), count_text)))
    waits = run.under_load(lambda sample: sample.honest_p99_ms)
    rows.append(("An honest visitor waits (slowest 1 %)", "no answer" if waits is None else milliseconds_text(waits)))
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in rows)
    about = f'<p class="about">{escape(run.about)}</p>' if run.about else ""
    return (
        f'<article class="card"><h2>{escape(run.server)}</h2>{about}<div class="bar" aria-hidden="true">{bar}</div>'
        f'<p class="counts">{words}</p><dl>{listed}</dl></article>'
    )


def _arrow(extent: Extent | None, text: Callable[[float], str]) -> str:
    if extent is None:
        return "not measured"
    return f'{text(extent.before)} <span class="to">to</span> {text(extent.after)}'


def _given_back(runs: Sequence[Run]) -> str:
    """Each server's memory as a bar: before, at most, after."""
    extents = [(run, extent) for run in runs if (extent := run.extent(run.memory)) is not None]
    scale = bytes_scale(max(extent.most for _, extent in extents))
    rows = []
    for run, extent in extents:
        before, most, after = (100 * scale.place(value) for value in (extent.before, extent.most, extent.after))
        style = max((verdict.kind for verdict in run.verdicts.values()), default=Kind.PASS).name.lower()
        more = extent.after - extent.before
        text = (
            f"{bytes_text(abs(more))} {'more' if more >= 0 else 'less'} than before, {bytes_text(extent.most)} at most"
        )
        rows.append(
            f'<div class="row {style}"><b>{escape(run.server)}</b><div class="track" aria-hidden="true">'
            f'<i class="most" style="width:{most:.2f}%"></i>'
            f'<i class="left" style="left:{min(before, after):.2f}%;width:{abs(after - before):.2f}%"></i>'
            f'<i class="dot hollow" style="left:{before:.2f}%"></i><i class="dot" style="left:{after:.2f}%"></i></div>'
            f"<small>{text}</small></div>"
        )
    return (
        '<section class="panel" id="back"><h2>What is held before and after</h2><p class="lead">The hollow dot is the '
        "memory before the first load, the full one after the last rest; the pale bar reaches to the most that was "
        f'held. Where the dots meet, all was given back.</p><div class="back">{"".join(rows)}</div></section>'
    )


# -- and how was it made -----------------------------------------------------------------------


def _facts(facts: Mapping[str, str]) -> str:
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<section class="panel" id="made"><h2>How it was made</h2><dl class="facts">{listed}</dl></section>'

"""The report's text: everything in it, everything escaped, nothing from elsewhere; and its scales."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import attrs
import pytest

from hardhttp.soak.charts import Band, bytes_scale, chart, count_scale, log_scale
from hardhttp.soak.report import report_text, write_report
from hardhttp.soak.runs import Run
from hardhttp.soak.verdict import Expectation, died, judge
from hardhttp.soak.wording import milliseconds_text
from tests.soak.pretend import FACTS, SCENARIOS, run, several, sound
from tests.soak.series import MiB, sample, series

VOID = {"meta", "link", "br"}


class Checked(HTMLParser):
    """Tags in their order, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def checked(text: str) -> Checked:
    parser = Checked()
    parser.feed(text)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def text() -> str:
    return report_text(several(), FACTS, scenarios=SCENARIOS)


def test_it_is_whole_and_needs_nothing(text: str) -> None:
    page = checked(text)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "<script" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert "default-src 'none'" in text


def test_what_a_run_could_not_tell_stands_with_the_scenario() -> None:
    (first, *_) = SCENARIOS
    text = report_text(several(), FACTS, scenarios=SCENARIOS, notes={first: "Too short <for> it."})
    assert text.count('<small class="note">Too short &lt;for&gt; it.</small>') == 1


def test_every_verdict_is_a_word(text: str) -> None:
    table = text[text.index('<table class="verdicts">') :]
    table = table[: table.index("</table>")]
    words = re.findall(r"</span> (PASS|DRIFT|LEAK|DIED)</span>", table)
    assert {word: words.count(word) for word in set(words)} == {"PASS": 8 + 4 + 7, "LEAK": 4 + 2, "DRIFT": 1, "DIED": 1}
    assert table.count("not run") == 5
    assert "<strong>hardhttp</strong> passes all 8;" in text
    assert "passes 0 of 3, leaks in 2, dies in 1" in text
    assert "1.9 MiB a round <span>(512 KiB allowed)</span>" in table


def test_what_was_found_is_said(text: str) -> None:
    assert 'href="#s3">stopped_reader</a>: Each round of load leaves 6 MiB behind' in text
    assert "The server ended: it was killed by SIGKILL" in text
    passed = report_text([run("hardhttp", sound)], FACTS)
    assert "Nothing: every scenario passes at every server." in passed


def test_names_and_facts_are_escaped() -> None:
    evil = '<img src=x onerror="1">&'
    made = run(evil, sound)
    made = Run(evil, made.samples, {**made.verdicts, "idle": died(evil)}, evil, {evil: evil})
    text = report_text([made], {evil: evil}, title=evil, scenarios={"drip_head": evil})
    assert "<img" not in text
    assert 'onerror="1">' not in text
    assert evil in "".join(checked(text).texts)


def test_facts_stand_in_their_order(text: str) -> None:
    places = [text.index(f"<dt>{name}</dt><dd>{value}</dd>") for name, value in FACTS.items()]
    assert places == sorted(places)


def test_servers_without_an_honest_client_have_no_latency() -> None:
    samples = [sample(one.phase, one.round, 9 * MiB, honest_p50_ms=None, honest_p99_ms=None) for one in series([0] * 3)]
    made = Run("s", samples, {"drip_head": judge(series([0] * 3), Expectation())})
    text = report_text([made], {})
    assert "no answer" in text
    assert 'id="latency"' not in text
    assert 'id="memory"' in text


@pytest.mark.slow
def test_the_legend_says_of_loads_only_where_they_are_marked(text: str) -> None:
    assert text.count("load is on") == 3
    assert "load is on" not in report_text([run("s", sound, rounds=60)], FACTS)


def test_only_who_tells_of_its_ledger_has_a_picture_of_it(text: str) -> None:
    assert 'id="ledger"' not in text
    told, untold = run("told", sound), run("untold", sound)
    told = Run("told", [attrs.evolve(one, ledger_bytes=5 * MiB) for one in told.samples], told.verdicts)
    page = report_text([told, untold], FACTS)
    section = page[page.index('id="ledger"') :]
    section = section[: section.index("</section>")]
    assert section.count("<figure>") == 1
    assert "5 MiB before, 5 MiB at most, 5 MiB after" in section
    assert "untold" not in section


@pytest.mark.slow
def test_three_days_make_a_report_as_small_as_minutes() -> None:
    long = run("s", sound, rounds=400)
    assert len(long.samples) > 50_000
    assert len(report_text([long], FACTS)) < 400_000


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("the last one")
    monkeypatch.setattr(Path, "write_text", lambda *given: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_report(path, [run("s", sound)], {})
    assert path.read_bytes() == b"the last one"
    monkeypatch.undo()
    write_report(path, [run("s", sound)], {})
    assert path.read_text("utf-8") == report_text([run("s", sound)], {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_report_needs_a_run() -> None:
    with pytest.raises(ValueError, match="needs a run"):
        report_text([], {})


# -- scales ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "texts"),
    [
        (0, ["0 MiB", "1 MiB"]),
        (3 * MiB, ["0 MiB", "1 MiB", "2 MiB", "3 MiB"]),
        (41 * MiB, ["0 MiB", "20 MiB", "40 MiB", "60 MiB"]),
        (1000 * MiB, ["0 MiB", "500 MiB", "1,000 MiB"]),
        (8 << 30, ["0 GiB", "2 GiB", "4 GiB", "6 GiB", "8 GiB"]),
    ],
)
def test_a_scale_of_bytes(most: int, texts: list[str]) -> None:
    scale = bytes_scale(most)
    assert [text for _, text in scale.ticks] == texts
    assert scale.ticks[-1][0] == 1
    assert 0 <= scale.place(most) <= 1


def test_a_scale_of_counts_and_of_decades() -> None:
    assert [text for _, text in count_scale(12).ticks] == ["0", "5", "10", "15"]
    scale = log_scale(230.0, 0.4, milliseconds_text)
    assert [text for _, text in scale.ticks] == ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s"]
    assert [scale.place(value) for value in (0, 0.1, 10, 1000, 1e9)] == [0, 0, 0.5, 1, 1]
    assert [text for _, text in log_scale(1, 1, milliseconds_text).ticks] == ["1 ms", "10 ms"]


# -- scenarios in plenty -----------------------------------------------------------------------


def test_what_was_passed_over_says_why() -> None:
    made = several()[0]
    verdicts = {name: verdict for name, verdict in made.verdicts.items() if name != "idle"}
    text = report_text([Run(made.server, made.samples, verdicts, passed_over={"idle": "It has no path."})], {})
    assert "not run<small>It has no path.</small>" in text


def test_numbers_never_stand_on_each_other() -> None:
    bands = [Band(at, at + 1, at + 1, "band", "", flawed=at == 21) for at in range(60)]
    text = chart([], count_scale(1), 60, bands, [], "")
    marks = [(float(place), int(number)) for place, number in re.findall(r'left:([\d.]+)%">(\d+)<', text)]
    places = [place for place, _ in marks]
    assert all(other - one >= 2.99 for one, other in pairwise(places))
    assert len(marks) >= 25
    assert 22 in [number for _, number in marks]
    few = chart([], count_scale(1), 60, bands[:3], [], "")
    assert re.findall(r'left:[\d.]+%">(\d+)<', few) == ["1", "3"]

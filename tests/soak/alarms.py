"""How often the tool is wrong: the short form of a soak, many times over, on servers of which it is known what they do.

``python -m tests.soak.alarms`` soaks the sound server of ``tests.soak.broken`` twenty times, with the scenarios and
the durations of ``test_broken``, and each of the broken ones ten times. Any verdict but PASS on the sound one is a
false alarm; a broken one must be a LEAK in the scenario meant for it, by the right measure, and a PASS in the other.
It prints a table with the figures that came nearest to their bounds, and its status is 1 when anything was wrong.

``--judge DIRECTORY`` judges again what another run has kept there: a rule can be tried on the same samples.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from hardhttp.soak.plan import State
from hardhttp.soak.samples import read_samples
from hardhttp.soak.summary import Row, rows
from hardhttp.soak.verdict import Kind, Measure
from tests.soak.test_broken import FOUND, INNOCENT, on

SOUND_TIMES, BROKEN_TIMES = 20, 10
SOUND = "none"


@attrs.frozen
class Run:
    """One soak: of which server, the how manieth, and what was found."""

    kind: str
    number: int
    found: Sequence[Row]


@attrs.frozen
class Line:
    """One scenario on one kind of server, over all its runs. ``nearest`` is the finding closest to its bound, or of
    a leak that must be found the one that was least above it."""

    kind: str
    scenario: str
    expected: Kind
    right: int
    runs: int
    nearest: str
    wrong: Sequence[str]

    def __str__(self) -> str:
        right = f"{self.right} of {self.runs}"
        kind = "sound" if self.kind == SOUND else self.kind
        text = f"{kind:12} {self.scenario:22} {self.expected.name:8} {right:10} {self.nearest}"
        return "\n".join([text, *(f"    {each}" for each in self.wrong)])


def soak_all(directory: Path, sound_times: int, broken_times: int) -> Iterator[Run]:
    """Soak every server so many times, one after the other; samples and states stay in ``directory``."""
    words = ["--rounds=3", "--duration=36s", *(f"--scenario={scenario}" for _, scenario, _ in FOUND)]
    for number in range(1, sound_times + 1):
        yield soak_one(directory, SOUND, number, *words)
    for number in range(1, broken_times + 1):
        for kind, scenario, _ in FOUND:
            words = ["--rounds=3", "--duration=12s", f"--scenario={scenario}", f"--scenario={INNOCENT}"]
            yield soak_one(directory, kind, number, *words)


def soak_one(directory: Path, kind: str, number: int, *words: str) -> Run:
    into = directory / f"{kind}-{number}"
    done = on(kind, into, *words)
    if not (into / "samples.csv").exists():
        raise SystemExit(done.stdout + done.stderr)
    return judged(into)


def judged(into: Path) -> Run:
    """What was kept there, by the verdict's rules of now."""
    kind, _, number = into.name.rpartition("-")
    return Run(kind, int(number), rows(State.load(into / "state.json"), read_samples(into / "samples.csv")))


def table(runs: Iterable[Run]) -> list[Line]:
    """A line for each kind of server and scenario, in the order in which they came."""
    meant = {(kind, scenario): measure for kind, scenario, measure in FOUND}
    seen: dict[tuple[str, str], list[tuple[int, Row]]] = {}
    for run in runs:
        for row in run.found:
            seen.setdefault((run.kind, row.scenario), []).append((run.number, row))
    return [_line(*key, meant.get(key), found) for key, found in seen.items()]


def _line(kind: str, scenario: str, measure: Measure | None, found: Sequence[tuple[int, Row]]) -> Line:
    expected = Kind.PASS if measure is None else Kind.LEAK
    wrong = [
        f"run {number}: {'-' if row.kind is None else row.kind.name}: {row.sentence}"
        for number, row in found
        if row.kind is not expected or (measure is not None and row.verdict and row.verdict.measure is not measure)
    ]
    shares = [
        (finding.figure / finding.bound, f"{finding.measure.value} {finding.figure_text} (bound {finding.bound_text})")
        for _, row in found
        if row.verdict is not None
        for finding in row.verdict.findings
        if finding.bound > 0 and (measure is None or finding.measure is measure)
    ]
    nearest = (max if measure is None else min)(shares, default=(0.0, "-"))[1]
    return Line(kind, scenario, expected, len(found) - len(wrong), len(found), nearest, wrong)


def main(words: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser("python -m tests.soak.alarms", description=__doc__.partition("\n")[0])
    parser.add_argument("--sound", type=int, default=SOUND_TIMES, help="runs on the sound server (%(default)s)")
    parser.add_argument("--broken", type=int, default=BROKEN_TIMES, help="runs on each broken one (%(default)s)")
    parser.add_argument("--into", type=Path, help="keep samples and states there")
    parser.add_argument("--judge", type=Path, help="judge again what was kept there, and run nothing")
    asked = parser.parse_args(words)
    if asked.judge is not None:
        kept = sorted(asked.judge.iterdir(), key=lambda path: (path.name != SOUND, path.stat().st_mtime))
        lines = table(judged(each) for each in kept if (each / "state.json").exists())
    else:
        directory = asked.into or Path(tempfile.mkdtemp(prefix="hardhttp-alarms-"))
        try:
            lines = table(_told(soak_all(directory, asked.sound, asked.broken)))
        finally:
            if asked.into is None:
                shutil.rmtree(directory)
    print(f"{'server':12} {'scenario':22} {'expected':8} {'right':10} nearest to its bound")
    print(*lines, sep="\n")
    return int(any(line.wrong for line in lines))


def _told(runs: Iterable[Run]) -> Iterator[Run]:
    for run in runs:
        print(f"{run.kind} {run.number}", file=sys.stderr, flush=True)
        yield run


if __name__ == "__main__":
    sys.exit(main())

"""A run as a report shows it: one server's samples with its verdicts, and what can be drawn of them.

Curves are thinned to what a screen can show. Of each stretch of time both the least and the most are kept, so that
no peak gets lost, and three days make no larger a report than two minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from statistics import median

import attrs

from hardhttp.soak.samples import Sample
from hardhttp.soak.verdict import Kind, Verdict, memory_of

__all__ = ["Extent", "Run", "Span", "thinned"]

Point = tuple[float, float]
MAX_STRETCHES = 360
MAX_SPANS = 400


@attrs.frozen
class Span:
    """A time with one name, in seconds since the server's first sample."""

    begin: float
    end: float
    name: str


@attrs.frozen
class Extent:
    """What a figure was before all load, at most, and at the end."""

    before: float
    most: float
    after: float


@attrs.define(frozen=True, slots=False)
class Run:
    """One server's part of a report.

    ``samples`` are all of this server, in order; ``verdicts`` are by scenario, in the order they were run.
    ``about`` is what more is to be said of the server: its version, its command. ``passed_over`` are scenarios that
    were not run at it, each with the reason.
    Raises ``ValueError`` without samples or with those of another server.
    """

    server: str
    samples: Sequence[Sample] = attrs.field()
    verdicts: Mapping[str, Verdict]
    about: str = ""
    passed_over: Mapping[str, str] = attrs.field(factory=dict)

    @samples.validator
    def _check(self, attribute: attrs.Attribute[Sequence[Sample]], samples: Sequence[Sample]) -> None:
        if not samples or any(sample.server != self.server for sample in samples):
            raise ValueError(f"a run of {self.server} needs samples of {self.server}, and of no other")

    @cached_property
    def memory(self) -> Callable[[Sample], float]:
        return memory_of(self.samples)

    @property
    def seconds(self) -> float:
        return self.samples[-1].seconds - self.samples[0].seconds

    def count(self, kind: Kind) -> int:
        return sum(verdict.kind is kind for verdict in self.verdicts.values())

    def curve(self, figure: Callable[[Sample], float | None]) -> list[list[Point]]:
        """(seconds, figure), thinned, in pieces: between two of them there was no figure."""
        begin = self.samples[0].seconds
        pieces: list[list[Point]] = []
        gap = True
        for sample in self.samples:
            value = figure(sample)
            if value is not None:
                if gap:
                    pieces.append([])
                pieces[-1].append((sample.seconds - begin, value))
            gap = value is None
        if len(pieces) > MAX_STRETCHES:
            pieces = [[point for piece in pieces for point in piece]]  # more gaps than can be shown
        total = sum(map(len, pieces))
        return [thinned(piece, max(1, MAX_STRETCHES * len(piece) // total)) for piece in pieces]

    def extent(self, figure: Callable[[Sample], float | None], scenario: str | None = None) -> Extent | None:
        """Of the whole run, or of one scenario; None where nothing was measured."""
        told = [
            (sample.phase, value)
            for sample in self.samples
            if (scenario is None or sample.scenario == scenario) and (value := figure(sample)) is not None
        ]
        if not told:
            return None
        begun = next((n for n, (phase, _) in enumerate(told) if phase != "baseline"), len(told))
        ended = next((n for n, (phase, _) in enumerate(reversed(told)) if phase != "rest"), len(told))
        before = [value for _, value in told[: max(begun, 1)]]
        after = [value for _, value in told[len(told) - max(ended, 1) :]]
        settled = after[len(after) // 2 :]
        return Extent(median(before[len(before) // 2 :]), max(value for _, value in told), median(settled))

    def under_load(self, figure: Callable[[Sample], float | None], scenario: str | None = None) -> float | None:
        """The median while there was load."""
        told = [
            value
            for sample in self.samples
            if sample.phase == "load"
            and (scenario is None or sample.scenario == scenario)
            and (value := figure(sample)) is not None
        ]
        return median(told) if told else None

    @cached_property
    def scenarios(self) -> list[Span]:
        """When which scenario was on; none when they changed too often to be shown."""
        return self._spans(lambda sample: sample.scenario)

    @cached_property
    def loads(self) -> list[Span]:
        return [span for span in self._spans(lambda sample: sample.phase) if span.name == "load"]

    def _spans(self, name: Callable[[Sample], str]) -> list[Span]:
        begin = self.samples[0].seconds
        spans: list[Span] = []
        for key, group in groupby(self.samples, name):
            seconds = [sample.seconds - begin for sample in group]
            # A span lasts until the next one begins.
            if spans:
                spans[-1] = attrs.evolve(spans[-1], end=seconds[0])
            spans.append(Span(seconds[0], seconds[-1], key))
        found = [span for span in spans if span.name]
        return found if len(found) <= MAX_SPANS else []


def thinned(points: Sequence[Point], stretches: int = MAX_STRETCHES) -> list[Point]:
    """At most two points for each of so many stretches of x: its least and its most, in their order."""
    if len(points) <= 2 * stretches:
        return list(points)
    begin, end = points[0][0], points[-1][0]
    width = (end - begin) / stretches or 1.0
    kept: list[Point] = []
    for _, group in groupby(points, lambda point: min(int((point[0] - begin) / width), stretches - 1)):
        stretch = list(group)
        low, high = min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])
        kept += sorted({low, high})
    return kept

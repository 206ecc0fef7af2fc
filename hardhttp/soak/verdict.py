"""The verdict on one scenario at one server: PASS, DRIFT or LEAK, with the figure, its bound and a sentence.

- **LEAK**: it grows with every round. Of memory that is a trend (``hardhttp.soak.trend``) that is surely above its
  bound, about as steep in each third of the rounds, and more than what a resting server fluctuates by.
- **DRIFT**: it is not as it should be, but that is no proof of a leak: more is left than was there before, and
  it does not grow; or more was held under load, or an honest client suffered.
- **PASS**: all within bounds.

An allocator takes what it needs at first and keeps it. So the first third of the rounds is not asked for its trend
(one of four or five, none of three), and growth that fades is none. Fewer than three rounds show no trend at all:
they are judged by what is left alone.

What is judged is the second half of each rest, when what ends late has ended, against the first baseline. Memory is
USS, where every sample has it, else PSS, else what is resident.

What can be relied on, as long as a rest's figure is within a quarter of ``slope_bytes_per_round`` of the truth: what
does not grow is never called a leak; a leak of twice that slope is always found in seven rounds or more, one of three
times that slope in three or more: as a LEAK where more is left by then than may be, else as a DRIFT.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median, median_low

import attrs

from hardhttp.soak.samples import Sample
from hardhttp.soak.trend import STEADY_SHARE, Point, is_steady, trend
from hardhttp.soak.wording import bytes_text, count_text, milliseconds_text, seconds_text, share_text

__all__ = ["Expectation", "Finding", "Kind", "Measure", "Verdict", "died", "judge", "memory_of"]

MiB = 1 << 20
# Rounds too few to be sure by their order must show so many times the growth.
UNSURE_TIMES = 2
# So many are sure by their order: seven, of which two are not asked.
SURE_ROUNDS = 7


class Kind(enum.IntEnum):
    """Ordered: the worst finding is the verdict."""

    PASS = 0
    DRIFT = 1
    LEAK = 2


class Measure(enum.Enum):
    """What is judged. The value is what a report calls it."""

    ALIVE = "the server"
    GROWTH = "memory each round"
    LEFT = "memory left"
    HELD = "memory under load"
    DESCRIPTORS = "descriptors left"
    THREADS = "threads left"
    LEDGER = "ledger left"
    HONEST_FAILURES = "honest failures"
    HONEST_LATENCY = "honest p99"
    ANSWERS = "strange answers"
    KEPT = "idle client kept"


_TEXTS: dict[Measure, Callable[[float], str]] = {
    Measure.GROWTH: lambda value: bytes_text(value) + " a round",
    Measure.LEFT: bytes_text,
    Measure.HELD: bytes_text,
    Measure.LEDGER: bytes_text,
    Measure.HONEST_FAILURES: share_text,
    Measure.HONEST_LATENCY: milliseconds_text,
    Measure.ANSWERS: share_text,
    Measure.KEPT: seconds_text,
}


@attrs.frozen(kw_only=True)
class Expectation:
    """The bounds. A figure at its bound is within it.

    Of ``left_bytes`` and ``left_percent`` (of the baseline) the greater holds, of ``honest_p99_ms`` and
    ``honest_p99_times`` (its baseline) too. ``held_bytes`` is above the baseline while the load lasts; ``None``
    is not judged. ``honest_failures`` is a share of the honest client's requests under load.
    """

    slope_bytes_per_round: int = MiB // 2
    left_bytes: int = 16 * MiB
    left_percent: float = 25.0
    left_descriptors: int = 4
    left_threads: int = 4
    left_ledger_bytes: int = MiB // 16
    held_bytes: int | None = None
    honest_failures: float = 0.01
    honest_p99_ms: float = 500.0
    honest_p99_times: float = 10.0
    confidence: float = 0.99


@attrs.frozen
class Finding:
    """One figure beside its bound."""

    measure: Measure
    kind: Kind
    figure: float
    bound: float
    sentence: str

    @property
    def figure_text(self) -> str:
        return _TEXTS.get(self.measure, count_text)(self.figure)

    @property
    def bound_text(self) -> str:
        return _TEXTS.get(self.measure, count_text)(self.bound).removesuffix(" a round")


@attrs.frozen
class Verdict:
    """The worst finding, and behind it all that were made, in the order of ``Measure``."""

    kind: Kind
    measure: Measure
    figure: float
    bound: float
    sentence: str
    findings: tuple[Finding, ...]

    @property
    def figure_text(self) -> str:
        return _TEXTS.get(self.measure, count_text)(self.figure)

    @property
    def bound_text(self) -> str:
        return _TEXTS.get(self.measure, count_text)(self.bound).removesuffix(" a round")


@attrs.frozen
class _Round:
    number: int
    load: Sequence[Sample]
    rest: Sequence[Sample]  # its settled half


def judge(samples: Sequence[Sample], expectation: Expectation) -> Verdict:
    """The verdict on the samples of one scenario at one server, in the order they were taken.

    Raises ``ValueError`` without a baseline or a rest, or when the samples are of several.
    """
    if len({(sample.server, sample.scenario) for sample in samples}) > 1:
        raise ValueError("a verdict is of one scenario at one server")
    first = min((sample.round for sample in samples if sample.phase == "baseline"), default=0)
    baseline = _settled([sample for sample in samples if sample.phase == "baseline" and sample.round == first])
    rounds = [each for each in _rounds(samples) if each.rest]
    if not baseline or not rounds:
        raise ValueError("a verdict needs samples of a baseline and of a rest")
    memory = memory_of(samples)
    findings = [
        *_memory(baseline, rounds, memory, expectation),
        *_held(baseline, rounds, memory, expectation),
        _count(baseline, rounds, Measure.DESCRIPTORS, lambda s: s.descriptors, expectation.left_descriptors),
        _count(baseline, rounds, Measure.THREADS, lambda s: s.threads, expectation.left_threads),
        *_ledger(baseline, rounds, expectation),
        *_honest(baseline, rounds, expectation),
    ]
    worst = max(findings, key=lambda finding: finding.kind)  # the first of the worst
    sentence = worst.sentence if worst.kind else " ".join(finding.sentence for finding in findings[:2])
    return Verdict(worst.kind, worst.measure, worst.figure, worst.bound, sentence, tuple(findings))


def died(why: str) -> Verdict:
    """The verdict on a server that ended while it was looked at; ``why`` is a clause: ``it was killed by ...``."""
    finding = Finding(Measure.ALIVE, Kind.DRIFT, 0, 1, f"The server ended: {why}.")
    return Verdict(finding.kind, finding.measure, finding.figure, finding.bound, finding.sentence, (finding,))


def memory_of(samples: Sequence[Sample]) -> Callable[[Sample], int]:
    """Which of a sample's three figures of memory all these have, the truest first."""
    if all(sample.uss_bytes is not None for sample in samples):
        return lambda sample: sample.uss_bytes or 0
    if all(sample.pss_bytes is not None for sample in samples):
        return lambda sample: sample.pss_bytes or 0
    return lambda sample: sample.rss_bytes


def _rounds(samples: Sequence[Sample]) -> list[_Round]:
    load: dict[int, list[Sample]] = {}
    rest: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.phase != "baseline":
            (load if sample.phase == "load" else rest).setdefault(sample.round, []).append(sample)
    return [_Round(number, load.get(number, []), _settled(rest.get(number, []))) for number in sorted({*load, *rest})]


def _settled(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[len(samples) // 2 :]


def _memory(
    baseline: Sequence[Sample], rounds: Sequence[_Round], memory: Callable[[Sample], int], expectation: Expectation
) -> list[Finding]:
    """What each round adds, where there are rounds enough to tell, and what is left after the last."""
    before = median(map(memory, baseline))
    levels = [(float(each.number), median(map(memory, each.rest))) for each in rounds]
    left = levels[-1][1] - before
    allowed = max(float(expectation.left_bytes), before * expectation.left_percent / 100)
    findings = []
    if len(levels) >= 3:
        fluctuation = median(max(map(memory, each.rest)) - min(map(memory, each.rest)) for each in rounds)
        findings.append(_growth(before, levels, allowed, fluctuation, expectation))
    drifts = left > allowed
    if drifts:
        said = f"After the load {bytes_text(left)} more are held than before it"
        said += ", and do not come back." if findings else "; whether it grows, three rounds or more would tell."
    else:
        more = f"{bytes_text(abs(left))} {'more' if left > 0 else 'less'} are held than"
        said = f"After the load {more if abs(left) >= 1 else 'as much is held as'} before it."
    findings.append(Finding(Measure.LEFT, Kind.DRIFT if drifts else Kind.PASS, left, allowed, said))
    return findings


def _growth(
    before: float, levels: Sequence[Point], allowed: float, fluctuation: float, expectation: Expectation
) -> Finding:
    """Whether the levels of three rests or more grow with every round."""
    judged = levels[len(levels) // 3 if len(levels) > 5 else int(len(levels) > 3) :]
    rounds = judged[-1][0] - judged[0][0]
    # Over many rounds even a slow leak would use up all that may be left.
    bound = min(float(expectation.slope_bytes_per_round), allowed / rounds)
    found = trend(judged, expectation.confidence)
    unsure = found.confidence < expectation.confidence
    if unsure:
        bound *= UNSURE_TIMES
    grows = found.low > bound
    leaks = grows and is_steady(judged) and judged[-1][1] - judged[0][1] > 2 * fluctuation
    if unsure:
        # So few rounds may be in order by chance; a leak has been there since the baseline.
        leaks = leaks and judged[0][1] - before >= STEADY_SHARE * found.slope
    kind = Kind.LEAK if leaks else Kind.PASS
    if leaks and unsure and levels[-1][1] - before <= allowed:
        # A heap that is collected now and then grows in between, as steadily as a leak, but to less.
        kind = Kind.DRIFT
        said = (
            f"Each round of load leaves {bytes_text(found.slope)} behind; whether that is a leak or a collector that "
        )
        said += f"takes its time, {SURE_ROUNDS} rounds would tell."
    elif leaks:
        left = bytes_text(levels[-1][1] - before)
        said = f"Each round of load leaves {bytes_text(found.slope)} behind: {left} after {len(levels)} rounds."
    elif grows:
        said = f"Memory grew unevenly, as it does while a server warms up ({len(levels)} rounds)."
    else:
        said = f"Memory does not grow from round to round ({len(levels)} rounds)."
    return Finding(Measure.GROWTH, kind, found.slope, bound, said)


def _held(
    baseline: Sequence[Sample], rounds: Sequence[_Round], memory: Callable[[Sample], int], expectation: Expectation
) -> list[Finding]:
    under_load = [memory(sample) for each in rounds for sample in each.load]
    if expectation.held_bytes is None or not under_load:
        return []
    held = max(under_load) - median(map(memory, baseline))
    kind = Kind.DRIFT if held > expectation.held_bytes else Kind.PASS
    said = f"Under load {bytes_text(abs(held))} {'more' if held > 0 else 'less'} were held than before it."
    return [Finding(Measure.HELD, kind, held, expectation.held_bytes, said)]


def _count(
    baseline: Sequence[Sample],
    rounds: Sequence[_Round],
    measure: Measure,
    figure: Callable[[Sample], int],
    bound: int,
) -> Finding:
    """What should be back exactly, and never grows while it warms up. ``bound`` is for what comes and goes."""
    levels = [median_low(map(figure, baseline)), *(median_low(map(figure, each.rest)) for each in rounds)]
    left = levels[-1] - levels[0]
    text = _TEXTS.get(measure, count_text)
    what = measure.value.removesuffix(" left")
    if left <= bound:
        return Finding(measure, Kind.PASS, left, bound, f"{what.capitalize()}: {text(left)} more than before.")
    grows = len(levels) > 2 and (
        all(one < other for one, other in pairwise(levels))
        or trend([(float(number), float(level)) for number, level in enumerate(levels)]).low > 0
    )
    held = f"{what.capitalize()}: {text(left)} more than before the load"
    said = f"{held}, and more with every round." if grows else f"{held}, and they do not go away."
    return Finding(measure, Kind.LEAK if grows else Kind.DRIFT, left, bound, said)


def _ledger(baseline: Sequence[Sample], rounds: Sequence[_Round], expectation: Expectation) -> list[Finding]:
    seen = [*baseline, *(sample for each in rounds for sample in each.rest)]
    if any(sample.ledger_bytes is None for sample in seen):
        return []
    return [_count(baseline, rounds, Measure.LEDGER, lambda s: s.ledger_bytes or 0, expectation.left_ledger_bytes)]


def _honest(baseline: Sequence[Sample], rounds: Sequence[_Round], expectation: Expectation) -> list[Finding]:
    under_load = [sample for each in rounds for sample in each.load]
    asked = sum(max(sample.honest_requests, sample.honest_failures) for sample in under_load)
    failed = sum(sample.honest_failures for sample in under_load)
    if not asked:
        if not under_load or not any(sample.honest_requests for sample in baseline):
            return []
        said = "An honest client was not answered once while the load lasted."
        return [Finding(Measure.HONEST_FAILURES, Kind.DRIFT, 1.0, expectation.honest_failures, said)]
    share = failed / asked
    said = f"{count_text(failed)} of {count_text(asked)} requests of an honest client failed under load."
    kind = Kind.DRIFT if share > expectation.honest_failures else Kind.PASS
    findings = [Finding(Measure.HONEST_FAILURES, kind, share, expectation.honest_failures, said)]
    loaded = [sample.honest_p99_ms for sample in under_load if sample.honest_p99_ms is not None]
    if loaded:
        before = [sample.honest_p99_ms for sample in baseline if sample.honest_p99_ms is not None]
        usual = median(before) if before else 0.0
        bound = max(expectation.honest_p99_ms, expectation.honest_p99_times * usual)
        p99 = median(loaded)
        said = f"The slowest hundredth of an honest client's requests took {milliseconds_text(p99)} under load"
        said += f", {milliseconds_text(usual)} before." if before else "."
        findings.append(Finding(Measure.HONEST_LATENCY, Kind.DRIFT if p99 > bound else Kind.PASS, p99, bound, said))
    return findings

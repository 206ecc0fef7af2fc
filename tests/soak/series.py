"""Samples of servers that never were: sound ones, and ones that leak so much a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hardhttp.soak.samples import Sample

MiB = 1 << 20
KiB = 1 << 10


def sample(phase: str, number: int, memory: float, **given: object) -> Sample:
    figures: dict[str, object] = {
        "seconds": 0.0,
        "server": "s",
        "scenario": "drip_head",
        "round": number,
        "phase": phase,
        "rss_bytes": int(memory) + 9 * MiB,
        "pss_bytes": int(memory) + 5 * MiB,
        "uss_bytes": int(memory),
        "descriptors": 12,
        "threads": 1,
        "cpu_seconds": 0.1,
        "processes": 1,
        "honest_p50_ms": 1.0,
        "honest_p99_ms": 2.0,
        "honest_requests": 100,
        "honest_failures": 0,
        "ledger_bytes": None,
        "connections": None,
        "collected": None,
        "traced_bytes": None,
    }
    return Sample(**{**figures, **given})  # type: ignore[arg-type]


def series(
    levels: Sequence[float],
    base: float = 40 * MiB,
    noise: Callable[[], float] = lambda: 0.0,
    peak: float = 30 * MiB,
    looks: int = 4,
    **given: object,
) -> list[Sample]:
    """``levels``: what is held above the base at rest, round by round."""
    made = [sample("baseline", 1, base + noise()) for _ in range(looks)]
    for number, level in enumerate(levels, 1):
        made += [sample("load", number, base + level + peak, **given) for _ in range(looks)]
        # What ends late is still there in the first half of a rest.
        made += [sample("rest", number, base + level + peak / 2) for _ in range(looks // 2)]
        made += [sample("rest", number, base + level + noise()) for _ in range(looks - looks // 2)]
    return made


def counted(levels: Sequence[int], name: str = "descriptors") -> list[Sample]:
    """``levels``: a count at the baseline, and at the end of each round."""
    made = [sample("baseline", 1, 40 * MiB, **{name: levels[0]})]
    for number, level in enumerate(levels[1:], 1):
        made.append(sample("load", number, 60 * MiB, **{name: level + 1000}))
        made.append(sample("rest", number, 40 * MiB, **{name: level}))
    return made

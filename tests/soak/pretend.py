"""Runs of servers that never were, for reports: a sound one, one that drifts, one that leaks, one that dies."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from hardhttp.soak.runs import Run
from hardhttp.soak.samples import Sample
from hardhttp.soak.verdict import Expectation, Verdict, died, judge
from tests.soak.series import MiB, sample

SCENARIOS = {
    "drip_head": "Clients send a request's head one byte at a time.",
    "drip_body": "Clients promise a body and send it one byte at a time.",
    "stopped_reader": "Clients ask for a large page and stop reading.",
    "vanish": "Clients are cut off in every phase of a request.",
    "idle": "Clients connect and say nothing.",
    "oversized": "Heads and bodies that are larger than any server should take.",
    "session_makers": "Visitors who never send their cookie back.",
    "sse_stop": "Subscribers who stop reading.",
}
FACTS = {
    "Command": "hardhttp-soak --against twisted.web --duration 10m",
    "Machine": "2 cores, 8 GiB, Linux 6.1",
    "Versions": "Python 3.11, hardhttp 0.1.0",
}

Shape = Callable[[str, int], float]  # scenario and round to bytes left


def run(
    server: str, left: Shape, *, base: float = 38 * MiB, p99: float = 9.0, dies_in: str = "", rounds: int = 7
) -> Run:
    """``left`` says what a round of a scenario leaves behind, in bytes."""
    chance = random.Random(server)
    seconds, held = 0.0, 0.0
    samples: list[Sample] = []
    verdicts: dict[str, Verdict] = {}
    for scenario in SCENARIOS:
        begin = len(samples)
        for number in range(1, rounds + 1):
            for phase, looks in (("baseline", 4 if number == 1 else 0), ("load", 10), ("rest", 6)):
                for step in range(looks):
                    seconds += 1
                    loaded = math.sin((step + 1) / 11 * math.pi) ** 0.4 if phase == "load" else 0.0
                    wait = (2 + p99 * loaded) * math.exp(chance.gauss(0, 0.25))
                    samples.append(
                        sample(
                            phase,
                            number,
                            base + held + loaded * 26 * MiB + chance.uniform(0, 90_000),
                            server=server,
                            scenario=scenario,
                            seconds=seconds,
                            descriptors=12 + int(loaded * 400),
                            honest_p50_ms=wait / 4,
                            honest_p99_ms=wait,
                            honest_requests=50,
                        )
                    )
                if phase == "load":
                    held += left(scenario, number)
        if scenario == dies_in:
            verdicts[scenario] = died("it was killed by SIGKILL, as Linux does when memory runs out")
            break
        verdicts[scenario] = judge(samples[begin:], Expectation())
    return Run(server, samples, verdicts, about=f"{server} 1.0")


def sound(scenario: str, number: int) -> float:
    return 1.5 * MiB if scenario == "drip_head" and number == 1 else 0.0


def leaking(scenario: str, number: int) -> float:
    return {"drip_head": 1.4, "drip_body": 1.9, "stopped_reader": 6.0, "session_makers": 3.1}.get(scenario, 0) * MiB


def drifting(scenario: str, number: int) -> float:
    return 22.0 * MiB if scenario == "oversized" and number == 1 else sound(scenario, number)


def several() -> list[Run]:
    return [
        run("hardhttp", sound),
        run("twisted.web", leaking, base=33 * MiB, p99=40),
        run("uvicorn", drifting, base=29 * MiB, p99=160),
        run("node <20>", leaking, base=52 * MiB, p99=20, dies_in="stopped_reader"),
    ]

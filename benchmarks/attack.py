"""The row ``attack``: what honest clients feel of an attack, before it and during it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.figures import spread
from benchmarks.peers import Peer
from benchmarks.processes import ROOT, Failed, Server, prepare, raise_descriptors
from benchmarks.rounds import Plan, Series, in_turn, serving
from benchmarks.targets import AT_MOST
from benchmarks.throughput import SPARE

__all__ = ["Force", "measure_attack"]

HONEST_CONNECTIONS = 10
# Yields the processor to the honest client, whose times are taken on the same core.
ATTACKERS_NICE = 10
ONSET_SECONDS = 2


@dataclass(frozen=True)
class Force:
    """How many attack, and at what rate the honest ask."""

    drips: int = 1000
    stopped: int = 100
    flood: int = 1000
    honest_rate: int = 500

    @property
    def connections(self) -> int:
        """Open at once, at most."""
        return self.drips + self.stopped + 500 + 2 * HONEST_CONNECTIONS


@dataclass(frozen=True)
class AttackSample:
    """Milliseconds from due to answered, calm and attacked; what became of the attackers."""

    calm: dict[str, float]
    onset: dict[str, float]
    attacked: dict[str, float]
    attackers: dict[str, int]
    memory: dict[str, int]
    cpu_share: float

    @property
    def growth(self) -> float:
        return self.attacked["p99"] / self.calm["p99"]

    @property
    def errors(self) -> int:
        return int(self.calm["errors"] + self.onset["errors"] + self.attacked["errors"])


def measure_attack(peers: Sequence[Peer], plan: Plan, force: Force) -> dict[str, object]:
    """Run the row and return its part of the report.

    The honest have their connections before the attack begins. hardhttp's ``max_connections`` is
    raised above the number of attackers: all come from one address, loopback, which its cap per
    address leaves alone.
    """
    raise_descriptors(force.connections + SPARE)

    def measure(peer: Peer) -> AttackSample:
        with serving(peer, plan, max_connections=2 * force.connections) as server:
            _honest(server, plan, force, 1)
            calm = _honest(server, plan, force, plan.seconds)
            with _attackers(server, plan, force) as stop:
                # What the honest feel of the onset is its length; of the attack, what follows.
                onset = _honest(server, plan, force, ONSET_SECONDS)
                before, start = server.cpu_seconds(), time.monotonic()
                attacked = _honest(server, plan, force, plan.seconds)
                used = (server.cpu_seconds() - before) / (time.monotonic() - start)
                memory = server.memory()
                attackers = stop()
            server.check()
            if "p99" not in calm or "p99" not in attacked:
                raise Failed("no honest request was answered")
            return AttackSample(calm, onset, attacked, attackers, memory, used)

    def say(sample: AttackSample) -> str:
        return (
            f"p99 {sample.calm['p99']:.2f} ms calm, {sample.attacked['p99']:.2f} ms attacked: {sample.growth:.1f} x"
            f", {sample.errors} errors; {sample.attackers}"
        )

    series = in_turn("attack", peers, plan.pairs, measure, say)
    return {
        "row": "attack",
        "kind": "attack",
        "title": f"honest clients beside {force.drips:,} drips, {force.stopped:,} stopped readers"
        f" and {force.flood:,} bad heads a second",
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "connections": HONEST_CONNECTIONS,
        "honest_rate": force.honest_rate,
        "peers": {name: _entry(name, each) for name, each in series.items()},
    }


def _honest(server: Server, plan: Plan, force: Force, seconds: int) -> dict[str, float]:
    words = [server.port, force.honest_rate, HONEST_CONNECTIONS, seconds]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.honest", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds + 60,
        preexec_fn=prepare(plan.load_core),
    )
    if done.returncode:
        raise Failed(f"the honest client failed: {done.stderr.strip()[-300:]}")
    return json.loads(done.stdout)


@contextmanager
def _attackers(server: Server, plan: Plan, force: Force) -> Iterator:
    words = [server.port, force.drips, force.stopped, force.flood, plan.seconds + 120]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.attackers", *map(str, words)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare(plan.load_core, ATTACKERS_NICE),
    )

    def stop() -> dict[str, int]:
        try:
            printed, complaint = process.communicate("", timeout=20)
        except subprocess.TimeoutExpired:
            raise Failed("the attackers do not end") from None
        if process.returncode:
            raise Failed(f"the attackers failed: {complaint.strip()[-300:]}")
        return json.loads(printed.splitlines()[-1])

    try:
        # One that cannot open its connections fails, or reaches its own bound in seconds.
        if process.stdout.readline() != "ready\n":
            raise Failed(f"the attackers did not get ready: {process.stderr.read()[-300:]}")
        yield stop
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


def _entry(name: str, each: Series[AttackSample]) -> dict[str, object]:
    errors = sum(sample.errors for sample in each.taken)
    entry: dict[str, object] = {
        "failure": each.failure,
        "errors": {"honest": errors} if errors else {},
        # An honest request that failed is what was to be found out, not a fault of the measurement.
        "valid": each.failure is None,
    }
    if each.taken:
        growth = spread([sample.growth for sample in each.taken])
        entry["p99_ms_calm"] = spread([sample.calm["p99"] for sample in each.taken]).as_dict()
        entry["p99_ms_attacked"] = spread([sample.attacked["p99"] for sample in each.taken]).as_dict()
        entry["max_ms_onset"] = max(sample.onset.get("max", math.inf) for sample in each.taken)
        entry["max_ms_attacked"] = max(sample.attacked["max"] for sample in each.taken)
        entry["growth"] = growth.as_dict()
        entry["cpu_share"] = spread([sample.cpu_share for sample in each.taken]).median
        entry["pss_bytes"] = max(sample.memory["pss"] for sample in each.taken)
        entry["attackers"] = each.taken[-1].attackers
        if name == "hardhttp":
            bound = AT_MOST["attack"]
            entry["verdict"] = f"<= {bound:g} {'met' if growth.median <= bound and not errors else 'MISSED'}"
    return entry

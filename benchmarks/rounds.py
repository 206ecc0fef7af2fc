"""Programs in turn, A B C A B C: every sample from a fresh process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from benchmarks.peers import Peer, Setting
from benchmarks.processes import Failed, Server, free_port

__all__ = ["Plan", "Series", "base_of", "in_turn", "progress", "serving"]

Sample = TypeVar("Sample")


@dataclass(frozen=True)
class Plan:
    """How long and how often; where servers and load run; where files go."""

    pairs: int
    seconds: int
    connections: int
    directory: Path
    server_core: int | None
    load_core: int | None
    tls: tuple[Path, Path] | None = None
    base: str = "hardhttp"

    def setting(self, **changes: object) -> Setting:
        """What the next server is started with."""
        return replace(Setting(free_port(), self.directory), **changes)  # type: ignore[arg-type]


@dataclass
class Series(Generic[Sample]):
    """One peer's samples, a place for each round; ``None`` where there is none.

    ``failure`` says why it was given up.
    """

    peer: Peer
    samples: list[Sample | None]
    failure: str | None = None

    @property
    def taken(self) -> list[Sample]:
        return [each for each in self.samples if each is not None]


def progress(text: str) -> None:
    """Tell whoever watches."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def serving(peer: Peer, plan: Plan, **changes: object):
    """A fresh server for the length of a ``with`` block."""
    with Server(peer, plan.setting(**changes), plan.server_core) as server:
        yield server


def in_turn(
    row: str,
    peers: Sequence[Peer],
    pairs: int,
    measure: Callable[[Peer], Sample],
    say: Callable[[Sample], str],
) -> dict[str, Series[Sample]]:
    """Take ``pairs`` rounds of one sample from each peer.

    A peer that fails is given up and the reason kept; the others go on.
    """
    series: dict[str, Series[Sample]] = {peer.name: Series(peer, []) for peer in peers}
    for number in range(1, pairs + 1):
        for each in series.values():
            if each.failure is not None:
                each.samples.append(None)
                continue
            try:
                sample = measure(each.peer)
            except (Failed, OSError) as error:
                each.failure = str(error)
                each.samples.append(None)
                progress(f"{row} {number}/{pairs} {each.peer.name}: FAILED: {error}")
            else:
                each.samples.append(sample)
                progress(f"{row} {number}/{pairs} {each.peer.name}: {say(sample)}")
    return series


def base_of(series: dict[str, Series[Sample]], wanted: str) -> str | None:
    """Whose figures are divided by the others': ``wanted``, or the first that has any."""
    have = [name for name, each in series.items() if each.taken]
    return wanted if wanted in have else next(iter(have), None)

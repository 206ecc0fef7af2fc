"""The metrics of all workers, for Prometheus: each sample with the label ``worker``.

They are not summed: counters of a worker that was replaced begin at 0, and a sum that falls looks like a restart of
everything. ``sum without (worker) (rate(...))`` is the way to say it, and what one worker does alone is to be seen. The
label is a worker's number (bounded by how many there are), or ``parent`` for what the parent has to say of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hardhttp.ops.gathering import Gathered
from hardhttp.ops.workers import Workers
from hardhttp.ops.workerstates import State

__all__ = ["exposition"]

PARENT = "parent"


def exposition(gathered: Gathered, workers: Workers, accept: str) -> tuple[bytes, str]:
    """The text, and its type, in the form that ``accept`` prefers."""
    texts = [(str(said.worker.number), str(said.value)) for said in gathered.good]
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All([*texts, (PARENT, _own())], workers, gathered.missing))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _own() -> str:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    return generate_latest(registry).decode("utf-8")


class _All(Collector):
    def __init__(self, texts: Iterable[tuple[str, str]], workers: Workers, missing: tuple[int, ...]) -> None:
        self._texts, self._workers, self._missing = texts, workers, missing

    def collect(self) -> Iterator[Metric]:
        yield from self._of_workers()
        families: dict[str, Metric] = {}
        for worker, text in self._texts:
            for found in text_string_to_metric_families(text):
                if found.name.endswith("_created"):
                    continue  # of a counter or a histogram, and no family of its own elsewhere than in this format
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    family.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
        yield from families.values()

    def _of_workers(self) -> Iterator[Metric]:
        workers = self._workers
        states = GaugeMetricFamily("hardhttp_workers", "Worker processes, by state", labels=["state"])
        for state in State:
            if state is not State.GONE:
                alive = sum(each.state is state for each in workers.alive.values())
                states.add_metric([state.value], alive)
        yield states
        yield GaugeMetricFamily("hardhttp_workers_wanted", "How many there are to be", value=workers.wanted)
        yield GaugeMetricFamily("hardhttp_workers_silent", "Those that are left out here", value=len(self._missing))
        ends = CounterMetricFamily("hardhttp_worker_ends", "Workers that ended, by why", labels=["cause"])
        for cause, count in workers.ends.items():
            ends.add_metric([cause], count)
        yield ends

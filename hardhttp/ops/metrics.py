"""The server's figures as Prometheus reads them.

Nothing is counted here, and no request pays for it: a scrape asks the server's own counters, the ledger and
whatever else is handed in. Names and units are the field's: ``_total`` counts up, ``_bytes`` and ``_seconds`` are
whole units. Every label's value comes from a closed set (reason codes, methods of the registry, phases, kinds), so
no peer can make a new one.

The registry is one's own: what else in the process uses ``prometheus_client`` is not mixed in.
"""

from __future__ import annotations

import platform
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted import copyright as twisted_copyright

from hardhttp import __version__
from hardhttp.net.latency import Timed
from hardhttp.net.phase import Phase
from hardhttp.ops.limitsview import REASONS, hits
from hardhttp.ops.sources import Sources

__all__ = ["Metrics"]

# An owner of connections that are no HTTP yet, or not any more.
OTHER_PHASE = "proxy"


class Metrics(Collector):
    """What a scrape gets. ``sources`` says of what."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text, and its type, in the form that ``accept`` (a field of the request) prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._connections()
        yield from self._requests()
        yield from self._held()
        yield from self._limits()
        yield from self._sessions()
        yield from self._reactor()
        yield from self._hub()

    def _process(self) -> Iterator[Metric]:
        labels = {"version": __version__, "python": platform.python_version(), "twisted": twisted_copyright.version}
        info = GaugeMetricFamily("hardhttp_info", "What runs; always 1", labels=list(labels))
        info.add_metric([*labels.values()], 1)
        yield info
        yield _gauge("hardhttp_draining", "1 while the server stops", int(self._sources.server.draining))
        if tracemalloc.is_tracing():  # PYTHONTRACEMALLOC=1
            traced, most = tracemalloc.get_traced_memory()
            yield _gauge("hardhttp_traced_bytes", "What Python has allocated, by tracemalloc", traced)
            yield _gauge("hardhttp_traced_peak_bytes", "Most at once, since tracemalloc began", most)

    def _connections(self) -> Iterator[Metric]:
        server = self._sources.server
        statistics = server.statistics
        phases = dict.fromkeys([*(phase.name.lower() for phase in Phase), OTHER_PHASE], 0)
        for channel in server.tracker:
            phase = getattr(channel, "phase", None)
            phases[OTHER_PHASE if phase is None else phase.name.lower()] += 1
        yield _gauges("hardhttp_connections", "Open connections by phase", "phase", phases)
        yield _gauge("hardhttp_connections_peak", "Most at once, by the second", statistics.peak)
        yield _counter("hardhttp_connections_accepted", "Connections admitted", statistics.accepted)
        yield _counter("hardhttp_connections_rejected", "Connections refused or let go", statistics.rejected)
        closed = {reason.value: count for reason, count in statistics.closed.items()}
        yield _counters("hardhttp_connections_closed", "Connections that ended, by why", "reason", closed)
        yield _counter("hardhttp_received_bytes", "Bytes received", statistics.bytes_in)
        yield _counter("hardhttp_sent_bytes", "Bytes given to connections", statistics.bytes_out)

    def _requests(self) -> Iterator[Metric]:
        statistics = self._sources.server.statistics
        methods = {name.decode("ascii"): count for name, count in statistics.methods.items()}
        yield _counters("hardhttp_requests", "Requests answered, by method", "method", methods)
        codes = {f"{digit}xx": statistics.classes[digit] for digit in range(1, 6)}
        yield _counters("hardhttp_responses", "Responses, by the class of their status", "code", codes)
        latency = statistics.latency
        first = {f"{digit}xx": latency.to_first(digit) for digit in range(1, 6)}
        last = {f"{digit}xx": latency.to_last(digit) for digit in range(1, 6)}
        text = "From a request's head to the {} byte of its answer, by the class of its status"
        yield _histograms("hardhttp_first_byte_seconds", text.format("first"), first)
        yield _histograms("hardhttp_response_seconds", text.format("last"), last)
        refused = {reason.value: count for reason, count in statistics.refused.items()}
        yield _counters("hardhttp_refusals", "What was refused, by why", "reason", refused)
        yield _counter("hardhttp_handler_errors", "Handlers that failed", statistics.errors)
        yield _counter("hardhttp_ignored_writes", "Writes to requests that had ended", statistics.ignored_writes)
        yield _counter("hardhttp_hints_sent", "103 (Early Hints) sent", statistics.hints_sent)

    def _held(self) -> Iterator[Metric]:
        ledger = self._sources.server.ledger
        figures = ledger.snapshot()
        held = {kind.removesuffix("_bytes"): n for kind, n in figures.items() if kind.endswith("_bytes")}
        budget = self._sources.server.budget
        held |= {keeper.kind: keeper.held() for keeper in budget.keepers}
        yield _gauges("hardhttp_held_bytes", "Bytes in memory, by kind", "kind", held)
        yield _gauge("hardhttp_buffered_bytes", "What max_buffered_bytes bounds", budget.held_bytes)
        yield _gauge("hardhttp_memory_pressure", "0: none, 1: near the budget, 2: full", int(budget.pressure))
        yield _counter("hardhttp_shed", "What was ended or given up to keep the budget", budget.shed_count)
        yield _counter("hardhttp_held_back", "Bodies not read on while memory was short", budget.held_back_count)
        counts = {kind: n for kind, n in figures.items() if not kind.endswith("_bytes")}
        yield _gauges("hardhttp_held", "What the ledger holds besides bytes, by kind", "kind", counts)

    def _limits(self) -> Iterator[Metric]:
        server = self._sources.server
        found = {name: hits(server.statistics, reason) for name, reason in REASONS.items()}
        yield _counters("hardhttp_limit_hits", "How often a limit was hit", "limit", found)
        yield _gauge("hardhttp_max_connections", "The limit", server.limits.max_connections)
        yield _gauge("hardhttp_max_buffered_bytes", "The limit", server.limits.max_buffered_bytes)

    def _sessions(self) -> Iterator[Metric]:
        sessions = self._sources.sessions
        if sessions is None:
            return
        yield _counter("hardhttp_session_store_failures", "What the store failed to do", sessions.failures)
        evicted = sessions.store.evicted if sessions.has_store else 0
        yield _counter("hardhttp_sessions_evicted", "Sessions given up for a limit", evicted)

    def _reactor(self) -> Iterator[Metric]:
        stalls, sentinel = self._sources.stalls, self._sources.sentinel
        if stalls is not None:
            yield _gauge("hardhttp_reactor_late_seconds", "How late the last beat was", stalls.last_late_seconds)
            yield _counter("hardhttp_reactor_stalls", "Times the reactor was held for 0.1 s or more", stalls.count)
            yield _counter("hardhttp_reactor_stalled_seconds", "For how long altogether", stalls.total_seconds)
        if sentinel is not None:
            yield _gauges("hardhttp_leaked", "Above the baseline, after a quiet minute", "kind", dict(sentinel.drift))

    def _hub(self) -> Iterator[Metric]:
        hub = self._sources.hub
        if hub is None:
            return
        yield _gauge("hardhttp_subscribers", "Open subscriptions", hub.subscriber_count)
        yield _gauge("hardhttp_subscribers_waiting", "Those whose connections are full", len(hub.waiting))
        yield _gauge("hardhttp_queued_event_bytes", "Bytes of events not handed on yet", hub.queued_bytes)
        yield _counter("hardhttp_events_published", "Events of this hub", hub.published)
        yield _counter("hardhttp_subscriptions_refused", "Over the bound of subscribers", hub.refused)
        ends = {end.value: count for end, count in hub.ends.items()}
        yield _counters("hardhttp_subscriptions_ended", "Subscriptions that ended, by why", "reason", ends)
        if hub.outbox is not None:
            yield from _broker(hub)


def _broker(hub: Any) -> Iterator[Metric]:
    outbox, bounds = hub.outbox, hub.broker_bounds
    yield _gauge("hardhttp_broker_ready", "1 while the broker can be reached", int(hub.broker_state == "ready"))
    yield _gauge("hardhttp_unpublished_events", "That wait for the broker, or its answer", len(outbox))
    yield _gauge("hardhttp_max_unpublished_events", "The limit", outbox.max_events)
    yield _gauge("hardhttp_max_unpublished_bytes", "The limit of what waits", outbox.max_bytes)
    yield _counter("hardhttp_events_refused", "Not published because the broker was away", outbox.refused)
    yield _gauge("hardhttp_max_history_bytes", "The limit of what is kept of the broker's events", bounds.max_bytes)
    yield _gauge("hardhttp_nodes", "Nodes of the broker; 0 while it is away", hub.everywhere.nodes)
    yield _gauge("hardhttp_nodes_subscribers", "Open subscriptions of all of them", hub.everywhere.subscribers)
    yield _gauge("hardhttp_unlisted_subscribers", "That should be told of, and are not", hub.unlisted)


def _histograms(name: str, text: str, timed: dict[str, Timed]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["code"])
    for code, found in timed.items():
        family.add_metric([code], found.buckets, found.seconds)
    return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _gauges(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    return _labelled(GaugeMetricFamily, name, text, label, values)


def _counters(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    return _labelled(CounterMetricFamily, name, text, label, values)


def _labelled(family: Callable[..., Any], name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    metric: Metric = family(name, text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)  # type: ignore[attr-defined]
    return metric

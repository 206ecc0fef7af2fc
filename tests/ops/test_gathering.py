"""The admin side of a parent: two workers that answer in memory, or do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError

from hardhttp.limits import Limits
from hardhttp.ops.admin import ADMIN_LIMITS
from hardhttp.ops.dashboard import FIGURES_SECONDS
from hardhttp.ops.gatheredadmin import Levels, gathered_resource
from hardhttp.ops.gathering import ASK_SECONDS, SERIALS, Gathering, summed
from hardhttp.ops.guard import Guarded
from hardhttp.ops.logs import Logs
from hardhttp.ops.stalls import Stall, StallWatch
from hardhttp.ops.workerprocess import Answered
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.testing import Rig
from tests.ops.test_admin import Both, Page, made
from tests.ops.test_workers import Kit

LIMITS = Limits(max_connections=1000)


class Events:
    """What the dashboard lives on."""

    def __init__(self) -> None:
        self.subscriber_count = 0
        self.published: list[Any] = []

    def render(self, request: Any) -> Any:
        self.subscriber_count += 1
        request.write(b"")
        return 1

    def publish(self, data: Any) -> None:
        self.published.append(data)


@attrs.define
class Parent:
    kit: Kit
    workers: list[Both]
    rig: Rig
    logs: Logs
    levels: Levels
    events: Events
    silent: set[int] = attrs.Factory(set)

    def answer(self, place: int, method: bytes, target: bytes, body: bytes | None) -> Deferred[Answered]:
        if place in self.silent:
            return Deferred()
        response = self.workers[place].ask(
            target.decode(), "Host: localhost", method=method.decode(), body=(body or b"").decode()
        )
        return succeed(Answered(response.status, response.body))

    def ask(self, path: str, method: str = "GET", body: str = "", status: int = 200) -> Any:
        peer = self.rig.connect()
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        peer.send((head + body).encode())
        if not peer.received:
            self.kit.clock.advance(ASK_SECONDS)
        (response,) = peer.responses(method.encode())
        assert response.status == status, response.body
        return json.loads(response.body) if response.body[:1] == b"{" else response.body.decode()


@contextmanager
def parents(make: Any) -> Iterator[Parent]:
    """``make`` makes a worker's site, on a rig."""
    kit = Kit(2).start()
    logs = Logs(StringIO(), kit.clock)
    with ExitStack() as stack:
        workers = []
        for _ in range(2):
            main = stack.enter_context(Rig(Page()))
            workers.append(stack.enter_context(contextmanager(made)(main, **make(main))))
        gathering = Gathering(kit.workers, kit.clock)
        levels, events = Levels(gathering, logs), Events()
        resource = gathered_resource(gathering, kit.clock, LIMITS, levels, events)
        rig = stack.enter_context(Rig(Guarded(resource), limits=ADMIN_LIMITS))
        parent = Parent(kit, workers, rig, logs, levels, events)
        for place, process in enumerate(kit.made):
            answering(parent, process, place)
        yield parent
    kit.end()


def answering(parent: Parent, process: Any, place: int) -> None:
    process.ask = lambda method, target, body: parent.answer(place, method, target, body)


@pytest.fixture
def parent() -> Iterator[Parent]:
    with parents(lambda main: {"stalls": StallWatch(main.clock), "logs": Logs(StringIO(), main.clock)}) as each:
        yield each


# -- who is asked ---------------------------------------------------------------------------------


def test_one_that_does_not_answer_is_left_out_and_said_so(parent: Parent) -> None:
    parent.silent = {0}
    parent.workers[1].begin()
    page = parent.ask("/connections")
    assert (page["open"], page["missing"]) == (1, [1])
    assert ASK_SECONDS < 1


def test_one_that_was_silent_is_not_waited_for(parent: Parent) -> None:
    parent.kit.made[0].answers = False
    parent.kit.pass_seconds(2)
    parent.silent = {0}
    before = parent.kit.clock.seconds()
    assert parent.ask("/connections")["missing"] == [1]
    assert parent.kit.clock.seconds() == before


@pytest.mark.parametrize("failure", [ConnectError("gone"), ValueError("no JSON")])
def test_one_that_fails_is_left_out(parent: Parent, failure: Exception) -> None:
    parent.kit.made[1].ask = lambda *_: fail(failure)
    assert parent.ask("/stalls")["missing"] == [2]


def test_nonsense_is_no_answer(parent: Parent) -> None:
    parent.kit.made[1].ask = lambda *_: succeed(Answered(200, b"{not json"))
    assert parent.ask("/stalls")["missing"] == [2]


def test_one_that_drains_is_asked_too(parent: Parent) -> None:
    parent.kit.workers.replace_all()
    parent.kit.made[2].ready()
    answering(parent, parent.kit.made[2], 1)
    parent.workers[0].begin()
    rows = parent.ask("/connections")["connections"]
    assert [row["worker"] for row in rows] == [1]


# -- lists ----------------------------------------------------------------------------------------


def test_pages_of_all_connections(parent: Parent) -> None:
    for _ in range(3):
        for worker in parent.workers:
            worker.begin()
    found, path = [], "/connections?limit=2"
    while path:
        page = parent.ask(path)
        assert page["open"] == 6
        found += page["connections"]
        path = "" if page["next"] is None else f"/connections?limit=2&after={page['next']}"
    assert [row["worker"] for row in found] == [1, 1, 1, 2, 2, 2]
    numbers = [row["id"] for row in found]
    assert numbers == sorted({*numbers})
    assert {number // SERIALS for number in numbers} == {1, 2}


def test_a_page_that_ends_with_the_last_says_so(parent: Parent) -> None:
    for worker in parent.workers:
        worker.begin()
    assert parent.ask("/connections?limit=2")["next"] is None
    assert parent.ask("/connections?limit=1")["next"] is not None


def test_the_one_that_was_looked_at_is_ended(parent: Parent) -> None:
    mine, other = (worker.begin() for worker in parent.workers)
    first, second = parent.ask("/connections")["connections"]
    assert first["id"] % SERIALS == second["id"] % SERIALS, "each worker has one of that number"
    parent.ask(f"/connections/{second['id']}", "DELETE", status=204)
    assert (mine.closed, other.closed) == (False, True)
    parent.ask(f"/connections/{second['id']}", "DELETE", status=404)
    parent.ask(f"/connections/{9 * SERIALS + 1}", "DELETE", status=404)
    parent.silent = {0}
    parent.ask(f"/connections/{first['id']}", "DELETE", status=504)


def test_subscribers_and_what_became_of_an_event() -> None:
    hubs: list[EventHub] = []

    def make(main: Rig) -> dict[str, Any]:
        hubs.append(EventHub(main.clock))
        main.site.resource = Mercure(hubs[-1], anonymous=True)
        return {"hub": hubs[-1]}

    with parents(make) as parent:
        for worker in parent.workers:
            worker.main.connect().send(b"GET /?topic=news HTTP/1.1\r\nHost: a\r\n\r\n")
        receipt = hubs[1].publish("news", "hello")
        page = parent.ask("/subscribers")
        assert (page["open"], [row["worker"] for row in page["subscribers"]]) == (2, [1, 2])
        assert len({row["number"] for row in page["subscribers"]}) == 2
        who = page["subscribers"][1]["id"]
        told = parent.ask(f"/explain?event={receipt.id}&subscriber={who}")
        assert (told["outcome"], told["worker"]) == ("sent", 2)
        assert parent.ask(f"/explain?event={receipt.id}&subscriber=x")["outcome"] == "unknown-subscriber"
        parent.ask("/explain?event=1", status=400)
        figures = parent.ask("/figures")
        assert (figures["hub"]["subscribers"], figures["hub"]["published"]) == (2, 1)
        for hub in hubs:
            if hub.history is not None:
                hub.history.close()


def test_without_a_hub_there_is_none(parent: Parent) -> None:
    parent.ask("/subscribers", status=404)
    parent.ask("/explain?event=1&subscriber=2", status=404)


# -- sums -----------------------------------------------------------------------------------------


def test_metrics_have_the_worker_as_a_label(parent: Parent) -> None:
    parent.workers[0].begin()
    parent.workers[1].begin("/")
    parent.silent = set()
    text = parent.ask("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    requests = {
        sample.labels["worker"]: sample.value
        for sample in families["hardhttp_requests"].samples
        if sample.labels["method"] == "GET"
    }
    assert requests["2"] == 1
    assert {sample.labels["worker"] for sample in families["hardhttp_connections"].samples} == {"1", "2"}
    assert {sample.labels["worker"] for sample in families["process_open_fds"].samples} == {"1", "2", "parent"}
    ready = {sample.labels["state"]: sample.value for sample in families["hardhttp_workers"].samples}
    assert ready == {"starting": 0, "ready": 2, "retiring": 0, "killed": 0}
    assert families["hardhttp_workers_silent"].samples[0].value == 0
    seen = [(sample.name, *sorted(sample.labels.items())) for family in families.values() for sample in family.samples]
    assert len(seen) == len({*seen}), "no sample twice"
    parent.silent = {1}
    families = {family.name: family for family in text_string_to_metric_families(parent.ask("/metrics"))}
    assert {sample.labels["worker"] for sample in families["hardhttp_connections"].samples} == {"1"}
    assert families["hardhttp_workers_silent"].samples[0].value == 1


def test_metrics_are_valid_in_the_newer_format_too(parent: Parent) -> None:
    library = CollectorRegistry()
    Histogram("hardhttp_answer_seconds", "of an application", registry=library).observe(0.2)
    text = generate_latest(library)
    for place, process in enumerate(parent.kit.made):
        process.ask = lambda *asked, place=place: parent.answer(place, *asked).addCallback(
            lambda answered: Answered(200, answered.body + text)
        )
    peer = parent.rig.connect()
    peer.send(
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
    )
    (response,) = peer.responses()
    assert dict(response.headers)[b"content-type"].startswith(b"application/openmetrics-text")
    families = {family.name: family for family in openmetrics_families(response.body.decode())}
    counts = [s.labels["worker"] for s in families["hardhttp_answer_seconds"].samples if s.name.endswith("_count")]
    assert counts == ["1", "2"]


def test_limits_and_what_was_hit(parent: Parent) -> None:
    for worker in parent.workers:
        worker.main.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 101 + b"\r\n")
    rows = {row["name"]: row for row in parent.ask("/limits")["limits"]}
    assert (rows["max_headers"]["hits"], rows["max_headers"]["value"]) == (2, 100)
    assert (rows["max_connections"]["value"], rows["max_connections"]["per_worker"]) == (1000, 1000)
    assert rows["spool_bytes"]["hits"] is None


def test_stalls_of_all_the_latest_first(parent: Parent) -> None:
    for at, worker in enumerate(parent.workers):
        assert worker.sources.stalls is not None
        worker.sources.stalls._stalled(Stall(float(at), 0.5 + at, None))
    found = parent.ask("/stalls")
    assert (found["count"], found["total_seconds"], found["worst_seconds"]) == (2, 2.0, 1.5)
    assert [(stall["worker"], stall["at"]) for stall in found["stalls"]] == [(2, 1.0), (1, 0.0)]


def test_sessions_of_one_process_each_are_added(parent: Parent) -> None:
    assert parent.ask("/sessions")["sessions"] == 0
    for number, process in enumerate(parent.kit.made, 4):
        said = {"store": "SQLiteStore", "sessions": number, "evicted": 1, "store_failures": 0}
        process.ask = lambda *_, said=said: succeed(Answered(200, json.dumps(said).encode()))
    assert {key: parent.ask("/sessions")[key] for key in ("sessions", "evicted")} == {"sessions": 5, "evicted": 2}
    for process in parent.kit.made:
        said = {"store": "MemoryStore", "sessions": 4, "evicted": 0, "store_failures": 0}
        process.ask = lambda *_, said=said: succeed(Answered(200, json.dumps(said).encode()))
    assert parent.ask("/sessions")["sessions"] == 8


def test_figures_of_all(parent: Parent) -> None:
    parent.workers[0].begin()
    parent.workers[1].begin("/")
    parent.workers[1].begin()
    found = parent.ask("/figures")
    assert (found["connections"]["open"], found["requests"]["total"]) == (3, 1)
    assert found["connections"]["phases"]["handling"] == 2
    assert {row["worker"] for row in found["connections"]["slowest"]} == {1, 2}
    assert all(row["id"] > SERIALS for row in found["connections"]["slowest"])
    assert (found["ready"], found["problems"]) == (True, [])
    assert [row["number"] for row in found["workers"]] == [1, 2]
    assert found["memory"]["max_bytes"] == 2 * Limits().max_buffered_bytes


def test_what_is_summed() -> None:
    one = {
        "n": 1,
        "late_seconds": 2.0,
        "total_seconds": 1.0,
        "list": ["x"],
        "name": "a",
        "on": True,
        "pressure": "none",
    }
    two = {**one, "late_seconds": None, "pressure": "near", "list": ["y"], "more": {"x": 1}}
    one["histogram"] = two["histogram"] = {"bounds": [0.1, 1.0], "counts": [1, 0, 2]}
    assert summed([one, two, None]) == {
        "n": 2,
        "late_seconds": 2.0,
        "total_seconds": 2.0,
        "list": ["x", "y"],
        "histogram": {"bounds": [0.1, 1.0], "counts": [2, 0, 4]},
        "name": "a",
        "on": True,
        "pressure": "near",
        "more": {"x": 1},
    }
    assert summed([]) is None


# -- health ---------------------------------------------------------------------------------------


def test_ready_while_one_is(parent: Parent) -> None:
    said = parent.ask("/readyz")
    assert said == {"ready": True, "problems": [], "notes": [], "workers": {"ready": 2, "wanted": 2}}
    parent.workers[0].main.site.server.draining = True
    said = parent.ask("/readyz")
    assert (said["ready"], said["notes"], said["workers"]["ready"]) == (True, ["worker 1: the server is draining"], 1)
    assert parent.ask("/figures")["notes"] == ["worker 1: the server is draining"]
    parent.silent = {1}
    said = parent.ask("/readyz", status=503)
    assert said["problems"] == ["no worker is ready", "worker 2 does not answer", "worker 1: the server is draining"]
    assert parent.ask("/healthz") == {"alive": True}
    parent.workers[0].main.site.server.draining = False


def test_not_ready_without_any(parent: Parent) -> None:
    for process in [*parent.kit.made]:
        process.exits("signal 9")
    assert parent.ask("/readyz", status=503)["workers"] == {"ready": 0, "wanted": 2}
    parent.ask("/figures", status=503)
    assert parent.ask("/connections") == {"connections": [], "next": None, "missing": []}
    assert parent.ask("/limits") == {"limits": [], "missing": []}


def test_not_ready_while_it_stops(parent: Parent) -> None:
    parent.kit.workers.stop()
    assert parent.ask("/readyz", status=503)["problems"] == ["the server is draining"]


# -- the level of the log -------------------------------------------------------------------------


def levels_of(parent: Parent) -> list[str]:
    return [worker.sources.logs.level for worker in parent.workers if worker.sources.logs is not None]


def test_the_level_is_that_of_all_and_of_those_to_come(parent: Parent) -> None:
    assert parent.ask("/log-level")["level"] == "info"
    assert parent.ask("/log-level", "PUT", '{"level": "debug"}')["missing"] == []
    assert (levels_of(parent), parent.logs.level) == (["debug", "debug"], "debug")
    parent.ask("/log-level", "PUT", '{"level": "loud"}', status=400)
    assert parent.workers[0].sources.logs is not None
    parent.workers[0].sources.logs.level = "info"
    parent.levels.changed()
    assert levels_of(parent) == ["info", "debug"], "they have been told"
    parent.kit.made[0].exits("signal 9")
    parent.kit.pass_seconds(1)
    parent.kit.made[2].ready()
    answering(parent, parent.kit.made[2], 0)
    parent.levels.changed()
    assert levels_of(parent) == ["debug", "debug"]


# -- the dashboard --------------------------------------------------------------------------------


def test_figures_are_taken_while_somebody_watches(parent: Parent) -> None:
    clock, events = parent.kit.clock, parent.events
    quiet = len(clock.getDelayedCalls())
    watcher = parent.rig.connect()
    watcher.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    clock.advance(0)
    assert len(events.published) == 1
    clock.advance(FIGURES_SECONDS)
    assert len(events.published) == 2
    parent.silent = {0}
    clock.advance(FIGURES_SECONDS)
    assert len(events.published) == 2
    clock.advance(ASK_SECONDS)
    assert events.published[2]["notes"] == ["worker 1 does not answer"]
    events.subscriber_count = 0
    watcher.reset()
    assert len(clock.getDelayedCalls()) == quiet
    clock.advance(10 * FIGURES_SECONDS)
    assert len(events.published) == 3


def test_the_page_is_there(parent: Parent) -> None:
    assert "workers-card" in parent.ask("/")
    assert "showWorkers" in parent.ask("/dashboard/workers.js")

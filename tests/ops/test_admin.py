"""What the admin side answers, asked in memory: of a main site with peers in every state."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from io import StringIO
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import Reason, StoreError
from hardhttp.interfaces import BrokerState
from hardhttp.limits import Limits
from hardhttp.ops.admin import ADMIN_LIMITS, admin_resource, admin_site
from hardhttp.ops.connections import MAX_PAGE
from hardhttp.ops.guard import Guarded
from hardhttp.ops.limitsview import REASONS
from hardhttp.ops.logs import Logs
from hardhttp.ops.sources import Sources
from hardhttp.ops.stalls import Sight, Stall, StallWatch
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.stores.memory import MemoryStore
from hardhttp.testing import Peer, Rig
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.web.sessions import Sessions

TOKEN = "a-token-of-some-length"


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        if request.path == b"/later":
            return NOT_DONE_YET
        return b"page"


class StuckStore(MemoryStore):
    """It answers when it is told to."""

    stuck: Any = None

    def load(self, key: bytes, now: float) -> Any:
        return super().load(key, now) if self.stuck is None else self.stuck()

    def count(self) -> Any:
        return super().count() if self.stuck is None else self.stuck()


@attrs.define
class Both:
    main: Rig
    admin: Rig
    sources: Sources

    def ask(self, path: str, *lines: str, method: str = "GET", body: str = "") -> Any:
        given = {line.partition(":")[0].lower() for line in lines}
        head = [f"{method} {path} HTTP/1.1", *lines, f"Content-Length: {len(body)}", "Connection: close"]
        if "host" not in given:
            head.append("Host: 127.0.0.1:8081")
        if body:
            head.append("Content-Type: application/json")
        peer = self.admin.connect()
        peer.send(("\r\n".join([*head, "", ""]) + body).encode())
        for _ in range(4):
            if not peer.received:
                self.main.advance(1)
        (response,) = peer.responses(method.encode())
        return response

    def json(self, path: str, status: int = 200) -> Any:
        response = self.ask(path)
        assert response.status == status, response.body
        return json.loads(response.body)

    def begin(self, target: str = "/later") -> Peer:
        peer = self.main.connect("192.0.2.7")
        peer.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return peer


def made(main: Rig, token: str | None = None, **sources: Any) -> Iterator[Both]:
    looked_at = Sources(main.site.server, main.site.cookie_sessions, **sources)
    admin = Rig(Guarded(admin_resource(looked_at, main.clock), token), limits=ADMIN_LIMITS)
    with admin:
        yield Both(main, admin, looked_at)


@pytest.fixture
def both() -> Iterator[Both]:
    with Rig(Page(), sessions=Sessions(StuckStore())) as main:
        yield from made(main, stalls=StallWatch(main.clock))


@pytest.fixture
def secret() -> Iterator[Both]:
    with Rig(Page()) as main:
        yield from made(main, TOKEN)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the admin side's own log says."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace") == "hardhttp":
            lines.append(str(formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def field(response: Any, name: bytes) -> bytes | None:
    return dict(response.headers).get(name)


# -- who may ask ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8081", "localhost", "LOCALHOST.:80", "[::1]:8081", "[::1]", "10.1.2.3", "192.168.0.1:1"]
)
def test_asked_by_its_address(both: Both, host: str) -> None:
    assert both.ask("/healthz", f"Host: {host}").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.nip.io"])
def test_a_name_that_a_stranger_can_have_point_here_is_refused(both: Both, secret: Both, host: str) -> None:
    for path in ("/healthz", "/connections", "/none"):
        assert both.ask(path, f"Host: {host}").status == 421
    assert secret.ask("/connections", f"Host: {host}", f"Authorization: Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://["])
def test_pages_of_other_origins_are_refused(both: Both, origin: str) -> None:
    response = both.ask("/connections", f"Origin: {origin}")
    assert response.status == 403
    assert field(response, b"access-control-allow-origin") is None
    assert both.ask("/connections", "Origin: http://127.0.0.1:8081").status == 200


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Authorization: Bearer ",),
        ("Authorization: Bearer a-token-of-some-lengt",),
        (f"Authorization: Bearer {TOKEN}x",),
        (f"Authorization: Basic {TOKEN}",),
    ],
)
def test_without_the_token_only_health_is_told(secret: Both, lines: tuple[str, ...]) -> None:
    for path in ("/metrics", "/connections", "/none", "/healthz/x"):
        response = secret.ask(path, *lines)
        assert response.status == 401
        assert field(response, b"www-authenticate") == b'Bearer realm="admin"'
    assert secret.ask("/healthz", *lines).status == secret.ask("/readyz", *lines).status == 200
    assert secret.ask("/connections", f"authorization: bearer {TOKEN}").status == 200


def test_nothing_is_kept_by_a_cache(both: Both) -> None:
    for path in ("/metrics", "/connections", "/none"):
        assert field(both.ask(path), b"cache-control") == b"no-store"


def test_the_admin_side_is_not_counted_with_the_main_one(both: Both) -> None:
    both.json("/connections")
    assert both.main.site.statistics.accepted == 0


def test_the_wrong_method(both: Both) -> None:
    response = both.ask("/connections", method="POST")
    assert (response.status, field(response, b"allow")) == (405, b"GET, HEAD, OPTIONS")


# -- connections ---------------------------------------------------------------------------------


def test_a_connection_as_a_row(both: Both) -> None:
    peer = both.begin("/later?token=sesame&a=1")
    both.main.advance(3)
    (row,) = both.json("/connections")["connections"]
    assert row == {
        "id": 1,
        "peer": "192.0.2.7 1024",
        "seen": None,
        "tls": False,
        "protocol": "HTTP/1.1",
        "phase": "handling",
        "age_seconds": 3.0,
        "requests": ["GET /later?token=***&a=1"],
        "request_count": 1,
        "request_seconds": 3.0,
        "bytes_in": 49,
        "bytes_out": 0,
        "bytes_in_per_second": 16.3,
        "bytes_out_per_second": 0.0,
        "queued_bytes": 0,
        "held": {},
        "due_seconds": None,
        "reason": None,
    }
    assert peer.protocol.bytes_in == 49


def test_a_connection_of_streams_as_a_row(both: Both) -> None:
    peer = HTTP2Peer(both.main)
    numbers = [peer.request(b"GET", b"/later?%d" % number) for number in range(2)]
    (row,) = both.json("/connections")["connections"]
    assert (row["protocol"], row["request_count"]) == ("HTTP/2", 2)
    assert row["requests"] == ["GET /later?0", "GET /later?1"]
    for number in numbers:
        peer.cancel(number)


def test_part_of_a_head_is_held_and_due(both: Both) -> None:
    both.main.connect().send(b"GET / HT")
    both.main.advance(5)
    (row,) = both.json("/connections")["connections"]
    assert (row["phase"], row["held"], row["requests"]) == ("head", {"input_bytes": 8}, [])
    assert row["due_seconds"] == Limits().head_seconds - 5


def test_what_a_client_does_not_take_is_queued(both: Both) -> None:
    class Much(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return b"x" * 100_000

    both.main.site.resource = Much()
    peer = both.main.connect()
    peer.take(1000)
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    both.main.advance(2)
    (row,) = both.json("/connections")["connections"]
    assert row["phase"] == "sending"
    assert row["bytes_out"] > 100_000
    assert row["queued_bytes"] == row["bytes_out"] - 1000
    assert row["held"]["unsent_bytes"] == 100_000  # a piece that is sent in part is kept whole
    assert 0 < row["due_seconds"] <= Limits().send_seconds


def test_a_long_target_is_cut(both: Both) -> None:
    both.begin("/later?" + "a" * 1000)
    ((request,),) = [row["requests"] for row in both.json("/connections")["connections"]]
    assert len(request) == len("GET ") + 200
    assert request.endswith("...")


def test_pages(both: Both) -> None:
    for _ in range(5):
        both.begin()
    first = both.json("/connections?limit=2")
    assert ([row["id"] for row in first["connections"]], first["next"], first["open"]) == ([1, 2], 2, 5)
    second = both.json(f"/connections?limit=3&after={first['next']}")
    assert ([row["id"] for row in second["connections"]], second["next"]) == ([3, 4, 5], None)
    assert both.json("/connections?after=5")["connections"] == []
    for query in ("limit=0", f"limit={MAX_PAGE + 1}", "limit=x", "after=-1", "after=" + "9" * 30):
        assert both.ask(f"/connections?{query}").status == 400
    assert both.ask(f"/connections?limit={MAX_PAGE}").status == 200


def test_a_number_is_not_used_twice(both: Both) -> None:
    both.begin().reset()
    both.main.advance(1)
    both.begin()
    assert [row["id"] for row in both.json("/connections")["connections"]] == [2]


def test_kill(both: Both, said: list[str]) -> None:
    peer, other = both.begin(), both.begin()
    response = both.ask("/connections/1", method="DELETE")
    assert (response.status, response.body) == (204, b"")
    assert peer.aborted
    assert not other.closed
    assert both.main.site.statistics.closed[Reason.KILLED] == 1
    assert said == [f"connection 1 of 192.0.2.7 {peer.transport.getPeer().port} is ended by the admin side"]
    assert both.ask("/connections/1", method="DELETE").status == 404
    assert both.ask("/connections/x", method="DELETE").status == 404


def test_what_went_wrong_is_a_page_for_browsers_and_a_line_for_all_others(both: Both) -> None:
    both.admin.site.error_page = admin_site(both.sources, both.main.clock).error_page
    page = both.ask("/none", "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    assert (page.status, field(page, b"content-type")) == (404, b"text/html; charset=utf-8")
    for accept in ("Accept: */*", "X: no Accept"):
        response = both.ask("/connections?limit=x", accept)
        assert (response.status, field(response, b"content-type")) == (400, b"application/problem+json")
        assert json.loads(response.body)["detail"] == "limit must be a whole number from 1 to 200"
        assert response.body.endswith(b"\n")
        assert field(response, b"vary") == b"Accept"


# -- health --------------------------------------------------------------------------------------


def test_ready(both: Both) -> None:
    assert both.json("/healthz") == {"alive": True}
    assert both.json("/readyz") == {"ready": True, "problems": [], "notes": []}


def test_not_ready_while_draining(both: Both) -> None:
    both.main.site.drain()
    assert both.json("/readyz", 503)["problems"] == ["the server is draining"]
    assert both.json("/healthz") == {"alive": True}
    both.main.advance(1)


@pytest.mark.parametrize(("state", "status"), [("connecting", 503), ("away", 503), ("ready", 200)])
def test_not_ready_while_the_broker_is_away(both: Both, state: str, status: int) -> None:
    why = "it answered WRONGPASS" if state == "away" else None
    both.sources.hub = SimpleNamespace(broker_state=BrokerState(state), why_broker_is_away=why, history=None)
    problems = {"connecting": ["the broker is connecting"], "away": [f"the broker is away: {why}"]}.get(state, [])
    assert both.json("/readyz", status)["problems"] == problems


def test_not_ready_when_a_store_does_not_answer(both: Both) -> None:
    store = both.sources.sessions.store  # type: ignore[union-attr]
    asked: list[Deferred[Any]] = []

    def stuck() -> Deferred[Any]:
        asked.append(Deferred())
        return asked[-1]

    store.stuck = stuck
    assert both.json("/readyz", 503)["problems"] == ["the session store: no answer within 2 s"]
    assert len(asked) == 1
    both.json("/readyz", 503)  # the same answer is good for a second
    assert len(asked) == 1
    store.stuck = None
    both.main.advance(1)
    assert both.json("/readyz")["ready"]


def test_not_ready_when_a_store_fails(both: Both) -> None:
    def fails() -> None:
        raise StoreError("the disk is full")

    both.sources.sessions.store.stuck = fails  # type: ignore[union-attr]
    assert both.json("/readyz", 503)["problems"] == ["the session store: the disk is full"]
    assert b"the disk is full" in both.ask("/sessions").body


def test_those_who_ask_meanwhile_share_one_question(both: Both) -> None:
    asked: list[Deferred[Any]] = []

    def slow() -> Deferred[Any]:
        asked.append(Deferred())
        return asked[-1]

    both.sources.sessions.store.stuck = slow  # type: ignore[union-attr]
    peers = [both.admin.connect() for _ in range(3)]
    for peer in peers:
        peer.send(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert len(asked) == 1
    asked[0].callback(None)
    assert [peer.responses()[0].status for peer in peers] == [200, 200, 200]


def test_not_ready_for_a_while_after_the_reactor_was_stuck(both: Both) -> None:
    now = both.main.clock.seconds()
    both.sources.stalls.stalls.append(Stall(now, 3.0, None))  # type: ignore[union-attr]
    assert both.json("/readyz", 503)["problems"] == ["the reactor was held for 3.0 s"]
    both.main.advance(10)
    assert both.json("/readyz")["ready"]


def test_a_short_stall_is_no_reason_to_turn_away(both: Both) -> None:
    both.sources.stalls.stalls.append(Stall(both.main.clock.seconds(), 1.9, None))  # type: ignore[union-attr]
    assert both.json("/readyz")["ready"]


# -- figures -------------------------------------------------------------------------------------


def samples(both: Both) -> dict[tuple[str, str], float]:
    response = both.ask("/metrics")
    assert response.status == 200
    assert (field(response, b"content-type") or b"").startswith(b"text/plain; version=")
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }


def test_metrics(both: Both) -> None:
    both.main.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    both.main.exchange(b"GET / HTTP/1.1\r\n\r\n")
    both.begin()
    found = samples(both)
    assert found["hardhttp_requests_total", "method=GET"] == 1
    assert found["hardhttp_responses_total", "code=2xx"] == 1
    for name in ("hardhttp_first_byte_seconds", "hardhttp_response_seconds"):
        assert found[name + "_bucket", "code=2xx,le=0.0001"] == found[name + "_bucket", "code=2xx,le=+Inf"] == 1
        assert (found[name + "_count", "code=2xx"], found[name + "_sum", "code=2xx"]) == (1, 0)
        assert found[name + "_count", "code=4xx"] == 0
    assert found["hardhttp_refusals_total", "reason=bad-host"] == 1
    assert found["hardhttp_connections", "phase=handling"] == 1
    assert found["hardhttp_connections_accepted_total", ""] == 3
    assert found["hardhttp_limit_hits_total", "limit=max_head_bytes"] == 0
    assert found["hardhttp_held_bytes", "kind=input"] == found["hardhttp_held_bytes", "kind=sessions"] == 0
    assert found["hardhttp_memory_pressure", ""] == found["hardhttp_shed_total", ""] == 0
    assert found["hardhttp_reactor_stalls_total", ""] == 0
    assert found["process_open_fds", ""] > 0
    assert found["hardhttp_received_bytes_total", ""] > 50


def test_metrics_tell_of_pythons_own_memory(both: Both) -> None:
    found = samples(both)
    assert found["python_gc_objects_collected_total", "generation=2"] >= 0
    assert ("hardhttp_traced_bytes", "") not in found
    tracemalloc.start()
    try:
        held = bytearray(1 << 20)
        found = samples(both)
    finally:
        tracemalloc.stop()
    assert len(held) <= found["hardhttp_traced_bytes", ""] <= found["hardhttp_traced_peak_bytes", ""]


def test_nothing_a_peer_sends_makes_a_label(both: Both) -> None:
    before = set(samples(both))
    for method in (b"BREW", b"X" * 30, b"GET"):
        both.main.exchange(method + b" /" + method + b" HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n")
    assert set(samples(both)) == before
    assert samples(both)["hardhttp_requests_total", "method=other"] == 2


def test_limits(both: Both) -> None:
    both.main.exchange(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    rows = {row["name"]: row for row in both.json("/limits")["limits"]}
    assert set(rows) == {field.name for field in attrs.fields(Limits)}
    assert set(REASONS) <= set(rows)
    assert rows["max_target_bytes"]["hits"] == 1
    assert rows["max_head_bytes"] == {
        "name": "max_head_bytes",
        "value": 32768,
        "default": 32768,
        "low": 256,
        "high": 1 << 20,
        "bounds": "a request line with its header; more is answered 431",
        "reason": "head-bytes",
        "hits": 0,
    }
    assert rows["spool_bytes"]["hits"] is None


def test_stalls(both: Both) -> None:
    sight = Sight("a.py:1 f", ("a.py:1 f", "b.py:2 g"), "shop.Page", "GET /")
    both.sources.stalls.stalls.append(Stall(5.0, 0.25, sight))  # type: ignore[union-attr]
    (stall,) = both.json("/stalls")["stalls"]
    assert stall["resource"] == "shop.Page"
    assert (stall["seconds"], stall["stack"]) == (0.25, ["a.py:1 f", "b.py:2 g"])


def test_sessions_are_counted_and_not_shown(both: Both) -> None:
    class Sets(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            request.session["user"] = "sesame"
            return b""

    both.main.site.resource = Sets()
    (response,) = both.main.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    said = both.ask("/sessions").body
    assert json.loads(said) == {"store": "StuckStore", "sessions": 1, "evicted": 0, "store_failures": 0}
    assert dict(response.headers)[b"set-cookie"].partition(b"=")[2][:20] not in said


def test_without_a_hub_there_is_none(both: Both) -> None:
    assert both.ask("/subscribers").status == both.ask("/explain?event=a&subscriber=b").status == 404


def test_the_log_level(both: Both) -> None:
    assert both.ask("/log-level").status == 404
    both.sources.logs = Logs(StringIO(), both.main.clock)
    with Rig(Guarded(admin_resource(both.sources, both.main.clock))) as admin:
        both.admin, before = admin, both.admin
        assert both.json("/log-level")["level"] == "info"
        assert both.ask("/log-level", method="PUT", body='{"level": "debug"}').status == 200
        assert both.sources.logs.level == "debug"
        for body in ('{"level": "loud"}', '{"level": ["debug"]}', "[]", "{"):
            assert both.ask("/log-level", method="PUT", body=body).status == 400
        assert both.sources.logs.level == "debug"
        both.admin = before


# -- the hub -------------------------------------------------------------------------------------


@pytest.fixture
def hubs() -> Iterator[tuple[Both, EventHub]]:
    with Rig(Resource()) as main:
        hub = EventHub(main.clock)
        main.site.resource = Mercure(hub, anonymous=True)
        for both in made(main, hub=hub):
            yield both, hub
            hub.history and hub.history.close()


def test_subscribers(hubs: tuple[Both, EventHub]) -> None:
    both, hub = hubs
    for number in range(3):
        both.main.connect().send(f"GET /?topic=/news/{number}&topic={'t' * 300} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    receipt = hub.publish("/news/1", "hello")
    both.main.advance(2)
    page = both.json("/subscribers?limit=2")
    assert (page["open"], len(page["subscribers"]), page["next"]) == (3, 2, page["subscribers"][1]["number"])
    row = page["subscribers"][1]
    assert row["topics"] == ["/news/1", "t" * 200]
    assert (row["state"], row["topic_count"], row["connected_seconds"], row["queued_events"]) == ("flows", 2, 2.0, 0)
    (last,) = both.json(f"/subscribers?after={page['next']}")["subscribers"]
    assert last["topics"][0] == "/news/2"
    told = both.json(f"/explain?event={receipt.id}&subscriber={row['id']}")
    assert told["outcome"] == "sent"
    assert both.json(f"/explain?event={receipt.id}&subscriber={last['id']}")["outcome"] == "not-matched"
    assert both.ask("/explain?event=a").status == 400
    found = samples(both)
    assert found["hardhttp_subscribers", ""] == 3
    assert found["hardhttp_events_published_total", ""] == 1

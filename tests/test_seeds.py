"""The faults of the programs this one answers for, each by the name of its row, on real sockets.

V is an HTTP server with server-sent events, E an HTTP and WebSocket server. Each test says what was
there; each fails on a build with the defence taken out. What a row has beyond this is tested where it
belongs.
"""

from __future__ import annotations

import gc
import os
import random
import re
import resource
import signal
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import EventStream, Limits, Site, service
from hardhttp.testing import Rig, every_split
from tests.net.loopback import GET, Answer, Loopback, blocking, result_of, turn, until
from tests.twistd_process import PATIENCE_SECONDS, Server, ended_as_twistd_does

SHORT = Limits(head_seconds=0.5, body_seconds=0.5, idle_seconds=0.5, send_seconds=1, abort_seconds=0.5)


def echo(request: Any) -> bytes:
    """What a client can know its own answer by."""
    return bytes(request.path)


@pytest.mark.slow  # in memory it is quick: tests/net/test_tracker.py
@blocking
def test_v01_every_response_goes_to_its_own_connection() -> None:
    """There: connections by a shifting index. Ten thousand connects and disconnects, in random order."""
    random.seed(1)
    open_clients: dict[Any, bytes] = {}
    connects = 0
    with Loopback(Answer(echo)) as loop:
        while connects < 10_000:
            for _ in range(random.randrange(1, 60)):
                client = loop.connect()
                loop.clients.pop()
                connects += 1
                mark = b"/%d" % connects
                client.send(b"GET " + mark + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                open_clients[client] = mark
            turn(0)
            for client in random.sample(list(open_clients), len(open_clients) * 2 // 3):
                mark = open_clients.pop(client)
                how = random.random()
                if how < 0.2:
                    client.reset()
                elif how < 0.4:
                    client.close()
                else:
                    (response,) = client.responses(1)
                    assert response.body == mark
                    client.close()
        for client, mark in open_clients.items():
            assert client.responses(1)[0].body == mark
            client.close()
        until(lambda: not loop.site.connection_count)
        assert sum(loop.site.statistics.closed.values()) == loop.site.statistics.accepted


@pytest.mark.slow
@blocking
def test_v02_a_silent_connection_is_reaped() -> None:
    """There: connections without FIN, kept for ever. Reaped by itself, and by hand."""
    assert Limits().idle_seconds == 120
    with Loopback(Answer(echo), limits=SHORT) as loop:
        client = loop.connect()
        client.send_all(GET)
        client.responses(1)
        client.end()
        assert loop.site.statistics.closed["idle"] == 1
        loop.site.limits = Limits(idle_seconds=0.05)
        client = loop.connect()
        client.send_all(GET)
        client.responses(1)
        turn(0.06)
        assert loop.site.cleanup_idle_connections() == 1
        client.end()


@blocking
def test_v03_a_body_over_the_limit_is_refused() -> None:
    """There: no limit. By its length before it is sent, by counting chunks as it comes."""
    assert Limits().max_body_bytes == 10 << 20
    with Loopback(Answer(lambda request: b"taken"), limits=Limits(max_body_bytes=100)) as loop:
        head = b"POST / HTTP/1.1\r\nHost: a\r\n"
        assert loop.exchange(head + b"Content-Length: 100\r\n\r\n" + b"x" * 100)[0].status == 200
        assert loop.exchange(head + b"Content-Length: 101\r\n\r\n")[0].status == 413
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"32\r\n" + b"x" * 50 + b"\r\n"
        assert loop.exchange(chunked + b"32\r\n" + b"x" * 50 + b"\r\n0\r\n\r\n")[0].status == 200
        assert loop.exchange(chunked + b"33\r\n")[0].status == 413


@blocking
def test_v04_a_large_request_leaves_its_connection_as_a_fresh_one() -> None:
    """There: a receive buffer that never shrank."""
    limits = Limits(max_body_bytes=64 << 20, spool_bytes=64 << 20)
    with Loopback(Answer(lambda request: b"%d" % len(request.content.read())), limits=limits) as loop:
        client = loop.connect()
        client.send_all(GET)
        client.responses(1)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            body = b"x" * (1 << 20)
            client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (20 * len(body)))
            for _ in range(20):
                client.send_all(body)
            assert client.responses(2)[1].body == b"%d" % (20 * len(body))
            assert tracemalloc.get_traced_memory()[1] - before > 20 << 20
            del body
            assert tracemalloc.get_traced_memory()[0] - before < 200_000
        finally:
            tracemalloc.stop()
        assert loop.site.ledger.snapshot()["owners"] == 0


@blocking
def test_v05_a_finished_request_is_free_at_once() -> None:
    """There: cycles of server, connection and response. See also test_leaks."""
    from weakref import ref

    seen: list[Any] = []

    def answer(request: Any) -> bytes:
        request.setHeader(b"X-Y", b"z")
        _ = (request.requestHeaders, request.args, request.transport, request.content, request.client)
        seen.extend((ref(request), ref(request.channel)))
        return b"here"

    gc.disable()
    try:
        with Loopback(Answer(answer)) as loop:
            client = loop.connect()
            client.send_all(GET)
            client.responses(1)
            assert seen[0]() is None
            assert seen[1]() is not None
            client.close()
            loop.accepted(0)
            turn(0.01)
            assert seen[1]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [200]),
        (b"\r\n\r\n", []),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [200, 200]),
        (b"\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    ],
)
def test_v06_nothing_found_is_not_found_at_the_beginning(data: bytes, statuses: list[int]) -> None:
    """There: one value for both. A request that begins with its own end, at every split."""
    for pieces in every_split(data):
        with Rig(Answer(echo)) as rig:
            assert [response.status for response in rig.exchange(*pieces)] == statuses, pieces


@blocking
def test_v07_connections_are_capped() -> None:
    """There: no cap. Over it, a stated refusal, counted."""
    assert Limits().max_connections == 1000
    with Loopback(Answer(echo), limits=Limits(max_connections=3)) as loop:
        clients = [loop.connect() for _ in range(3)]
        loop.accepted(3)
        refused = loop.connect()
        refused.send_all(GET)
        refused.end()
        (response,) = refused.responses(1)
        assert (response.status, response.reason) == (503, "connections")
        assert loop.site.connection_count == 3
        assert loop.site.statistics.rejected == 1
        assert loop.site.statistics.refused["connections"] == 1
        clients[0].close()
        loop.accepted(2)
        assert loop.exchange()[0].status == 200


@blocking
def test_v08_a_write_to_a_client_that_has_gone_does_nothing() -> None:
    """There: it ended the process. Before the reset is known, once it is, and after the end."""
    requests: list[Any] = []
    failures: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        with Loopback(Answer(lambda request: requests.append(request) or NOT_DONE_YET)) as loop:
            for moment in range(6):
                client = loop.connect()
                client.send_all(GET)
                until(lambda: requests)
                request = requests.pop()
                request.notifyFinish().addErrback(lambda _: None)
                if moment > 3:
                    request.write(b"begun")
                client.reset()
                if moment % 2:
                    turn(0.02)
                before = loop.site.statistics.ignored_writes
                for _ in range(100):
                    request.write(b"x" * 10_000)
                if moment == 2:
                    turn(0.02)
                request.write(b"more")
                request.finish()
                request.write(b"after the end")
                assert loop.site.statistics.ignored_writes > before
                loop.accepted(0)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not failures


@blocking
def test_v09_a_subscription_that_fails_to_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """There: its connection stayed in the pool. Whatever of its start fails."""
    from twisted.internet import reactor

    stream = EventStream(reactor)
    root = Resource()
    root.putChild(b"events", stream)
    failures: list[Any] = []
    globalLogPublisher.addObserver(failures.append)
    try:
        with Loopback(root) as loop:
            request_type = loop.site.requestFactory
            for name in ("setHeader", "write", "registerProducer", "notifyFinish", "notifyDrain"):
                with monkeypatch.context() as patch:

                    def fails(*args: Any, **kw: Any) -> Any:
                        raise RuntimeError("as it should")

                    patch.setattr(request_type, name, fails)
                    client = loop.connect()
                    client.send_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
                    client.wait_for()
                client.close()
                loop.accepted(0)
                assert stream.subscriber_count == 0, name
                assert not stream._heart.running
            # Its client has gone before it was begun.
            client = loop.connect()
            client.send_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            client.reset()
            turn(0.02)
            assert stream.subscriber_count == 0
            client = loop.connect()
            client.send_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            until(lambda: stream.subscriber_count == 1)
            client.close()
            until(lambda: stream.subscriber_count == 0)
    finally:
        globalLogPublisher.removeObserver(failures.append)


@blocking
def test_v12_what_was_stopped_starts_again_as_it_was() -> None:
    """There: stopping destroyed the router, the streams and the database."""
    from twisted.internet import reactor

    class Counts(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            session = request.getSession()
            session.count = getattr(session, "count", 0) + 1
            return b"%d" % session.count

    root = Resource()
    stream = EventStream(reactor)
    root.putChild(b"count", Counts())
    root.putChild(b"events", stream)
    site = Site(root, reactor=reactor)
    http = service(site, "tcp:0:interface=127.0.0.1", reactor=reactor)
    loop = Loopback(site)
    cookie = b""
    for expected in (b"1", b"2", b"3"):
        (loop.port,) = result_of(http.startService())
        loop.find()
        ask = b"GET /count HTTP/1.1\r\nHost: a\r\n" + cookie + b"Connection: close\r\n\r\n"
        client = loop.connect()
        client.send_all(ask)
        (response,) = client.responses(1)
        assert response.body == expected
        if not cookie:
            cookie = b"Cookie: " + (response.get(b"set-cookie") or b"").partition(b";")[0] + b"\r\n"
        subscriber = loop.connect()
        subscriber.send_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: stream.subscriber_count == 1)
        stream.publish(expected)
        subscriber.wait_for(b"data: " + expected)
        result_of(http.stopService())
        assert b"retry:" in subscriber.end()
        assert stream.subscriber_count == site.connection_count == 0
        assert not site.server.reaper.running
    for session in list(site.sessions.values()):
        session.expire()


@pytest.mark.slow
@blocking
def test_v12_it_starts_again_while_it_still_drains() -> None:
    """Whoever comes after the start is not cut when the time of the drain is over."""
    from twisted.internet import reactor

    waiting: list[Any] = []
    site = Site(
        Answer(lambda request: waiting.append(request) or NOT_DONE_YET),
        reactor=reactor,
        limits=Limits(drain_seconds=0.3),
    )
    http = service(site, "tcp:0:interface=127.0.0.1", reactor=reactor)
    loop = Loopback(site)
    (loop.port,) = result_of(http.startService())
    loop.find()
    before = loop.connect()
    before.send_all(GET)
    until(lambda: waiting)
    stopped = http.stopService()
    turn(0.05)
    (loop.port,) = result_of(http.startService())
    loop.find()
    after = loop.connect()
    after.send_all(GET)
    until(lambda: len(waiting) == 2)
    turn(0.5)
    for request in waiting:
        request.write(b"here")
        request.finish()
    assert after.responses(1)[0].body == b"here"
    result_of(stopped)
    after.close()
    before.close()
    result_of(http.stopService())


@blocking
def test_v13_chunked_bodies_are_decoded() -> None:
    """There: none. With extensions and trailers, and inside the limits."""
    seen: list[Any] = []

    def answer(request: Any) -> bytes:
        seen.extend(request.trailers)
        return bytes(request.content.read())

    with Loopback(Answer(answer)) as loop:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunks = b'5;a=b\r\nhello\r\n006;c="d"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n'
        responses = loop.exchange(head + chunks + GET, 2)
        assert [response.body for response in responses] == [b"hello world", b""]
        assert seen == [(b"x-sum", b"1")]
        assert loop.exchange(head + b"5\r\nhelloworld")[0].status == 400


@pytest.mark.slow
@blocking
def test_v17_memory_after_load_comes_back() -> None:
    """There: it did not. A thousand connections at work, then none."""

    def answer(request: Any) -> bytes:
        request.content.read()
        return b"x" * 10_000

    def load() -> None:
        clients = [loop.connect() for _ in range(300)]
        loop.clients.clear()
        for client in clients:
            client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n" + b"x" * 10_000)
        for client in clients:
            client.responses(1)
            client.close()
        loop.accepted(0)

    with Loopback(Answer(answer)) as loop:
        load()
        gc.collect()
        tracemalloc.start()
        try:
            load()
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            load()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before < 50_000
        finally:
            tracemalloc.stop()
        assert loop.site.ledger.snapshot() == loop.before


@pytest.mark.slow
def test_e01_accepting_goes_on_after_the_descriptor_limit(tmp_path: Path) -> None:
    """There: the accept loop died. See also test_ten_servers and net.test_port."""
    server = Server(tmp_path, "--max-connections=500")
    clients = []
    try:
        pid = server.process.pid
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 20,) * 2)
        import socket

        for _ in range(60):
            clients.append(socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS))
            clients[-1].settimeout(PATIENCE_SECONDS)
        server.wait_for("no descriptor is left")
        clients[0].sendall(GET)
        assert clients[0].recv(12) == b"HTTP/1.1 200"
        for client in clients:
            client.close()
        deadline = time.monotonic() + 2
        while server.get("/")[0] != 200:
            assert time.monotonic() < deadline
        assert len(re.findall("no descriptor is left", server.log.read_text())) <= 10
    finally:
        server.close()


@pytest.mark.slow
@blocking
def test_e02_partial_requests_are_not_kept() -> None:
    """There: for ever. Heads and bodies have deadlines; one connection has a bound, and all together."""
    with Loopback(Answer(echo), limits=SHORT) as loop:
        clients = [loop.connect() for _ in range(3)]
        clients[0].send(b"GET / HT")
        clients[1].send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
        for client in clients:
            client.end()
        assert [client.received[9:12] for client in clients] == [b"408", b"408", b""]


@blocking
def test_e02_what_all_partial_requests_hold_together_is_bounded() -> None:
    limits = Limits(max_buffered_bytes=200_000, max_body_bytes=1_000_000, spool_bytes=1_000_000)
    most = 0
    with Loopback(Answer(echo), limits=limits) as loop:
        for _ in range(20):
            client = loop.connect()
            client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 30_000)
            turn()
            most = max(most, loop.site.ledger.held_bytes)
        assert most <= 200_000
        until(lambda: loop.site.statistics.closed["buffered-bytes"] or loop.site.statistics.refused["buffered-bytes"])
        assert any(client.take().startswith(b"HTTP/1.1 503 ") for client in loop.clients)
        assert loop.exchange()[0].status == 200


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_e04_nothing_outlives_the_process(tmp_path: Path, how: signal.Signals) -> None:
    """There: connection loops that nobody had linked to their owner."""
    import socket

    server = Server(tmp_path, "--drain-seconds=1")
    try:
        client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
        client.sendall(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
        client.recv(1000)
        idle = socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS)
        server.process.send_signal(how)
        for each in (client, idle):
            try:
                while each.recv(65536):
                    pass
            except ConnectionResetError:
                pass
            each.close()
        code = server.process.wait(PATIENCE_SECONDS)
        assert code == -how or ended_as_twistd_does(code)
    finally:
        server.close()


@blocking
def test_e04_when_the_service_stops_no_connection_and_no_timer_outlives_it() -> None:
    from twisted.internet import reactor

    site = Site(Answer(lambda request: NOT_DONE_YET), reactor=reactor, limits=Limits(drain_seconds=0.2))
    http = service(site, "tcp:0:interface=127.0.0.1", reactor=reactor)
    before = set(reactor.getDelayedCalls())
    loop = Loopback(site)
    (loop.port,) = result_of(http.startService())
    loop.find()
    clients = [loop.connect() for _ in range(5)]
    for client in clients[:3]:
        client.send_all(GET)
    clients[3].send(b"GET / HT")
    loop.accepted(5)
    result_of(http.stopService())
    assert site.connection_count == 0
    assert {call for call in reactor.getDelayedCalls() if "result_of" not in str(call)} - before == set()
    for client in clients:
        client.end()
        client.close()


@pytest.mark.slow
@blocking
def test_e05_the_first_request_may_be_answered_later_or_never() -> None:
    """There: it crashed on the first one. Its deadline and its client's departure clean up."""
    from twisted.internet import reactor

    async def later(request: Any) -> bytes:
        await deferLater(reactor, 0.01)
        return b"later"

    with Loopback(Answer(later)) as loop:
        assert loop.exchange()[0].body == b"later"
    with Loopback(Answer(lambda request: NOT_DONE_YET), limits=Limits(handling_seconds=0.1)) as loop:
        (response,) = loop.exchange()
        assert (response.status, response.reason) == (503, "handling-seconds")
    ended: list[Any] = []

    async def never(request: Any) -> bytes:
        try:
            await deferLater(reactor, 600)
        finally:
            ended.append(request)
        return b""

    with Loopback(Answer(never)) as loop:
        client = loop.connect()
        client.send_all(GET)
        until(lambda: loop.site.ledger.snapshot()["requests"] == 1)
        client.close()
        until(lambda: ended)


@pytest.mark.slow
@blocking
def test_e07_nothing_a_peer_sends_stays() -> None:
    """There: names from queries filled a table for good. Neither interned, nor cached, nor a label."""
    with Loopback(Answer(lambda request: b"%d" % len(request.args))) as loop:

        def ask(first: int) -> None:
            data = b"".join(
                b"M%d /p%d?q%d=v HTTP/1.1\r\nHost: h%d\r\nX-N%d: %d\r\n\r\n" % ((n,) * 6)
                for n in range(first, first + 500)
            )
            client = loop.connect()
            client.send_all(data)
            client.responses(500)
            client.close()
            loop.clients.clear()
            loop.accepted(0)

        ask(0)
        ask(1000)
        gc.collect()
        tracemalloc.start()
        try:
            ask(2000)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for first in range(3000, 8000, 1000):
                ask(first)
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] - before < 50_000
        finally:
            tracemalloc.stop()
        assert set(loop.site.statistics.methods) <= {
            *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"other")
        }


def test_e08_connections_from_one_address_are_capped() -> None:
    """There: no cap. The table of addresses is as bounded as the connections are."""
    with Rig(Answer(echo), limits=Limits(max_connections=100, max_connections_per_address=3)) as rig:
        peers = [rig.connect("192.0.2.1") for _ in range(3)]
        refused = rig.connect("192.0.2.1")
        (response,) = refused.responses()
        assert (response.status, response.reason) == (503, "connections-per-address")
        assert rig.connect("192.0.2.2").protocol in [*rig.site.server.tracker]
        for _ in range(10):
            assert rig.connect("127.0.0.1").protocol in [*rig.site.server.tracker]
        peers[0].reset()
        assert rig.connect("192.0.2.1").protocol in [*rig.site.server.tracker]
        for n in range(200):
            rig.connect(f"198.51.100.{n}")
        assert rig.site.ledger.snapshot()["addresses"] <= 100

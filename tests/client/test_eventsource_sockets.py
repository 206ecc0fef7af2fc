"""An event source over real sockets: our own hub, with a restart in the middle; a server of others; Mercure."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.logger import eventAsText, globalLogPublisher
from twisted.web.client import Agent
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource

from hardhttp.client import Agent as OurAgent
from hardhttp.client import (
    BreakerAgent,
    ClientLimits,
    DecodingAgent,
    EndReason,
    EventLimits,
    EventSource,
    EventSourceError,
    Gap,
    RedirectAgent,
    RetryingAgent,
    SourceState,
)
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.historysqlite import SQLiteHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.sse.tokens import Key
from hardhttp.wire.eventstream import encode_event
from tests.listening import free_port
from tests.net.loopback import Loopback, blocking, certificate, result_of, until
from tests.sse.subscribing import Subscribes

QUICK = EventLimits(retry_seconds=0.02, min_retry_seconds=0.02, max_retry_seconds=0.02)
SECRET = "a secret of more than thirty-two bytes, for tests"


def agents() -> dict[str, Callable[[], IAgent]]:
    def stock() -> IAgent:
        from twisted.internet import reactor

        return Agent(reactor)

    def ours() -> IAgent:
        from twisted.internet import reactor

        return OurAgent(reactor, ClientLimits(body_idle_seconds=0.05, total_seconds=0.05, max_body_bytes=100))

    def wrapped() -> IAgent:
        from twisted.internet import reactor

        return RetryingAgent(BreakerAgent(ours(), clock=reactor), clock=reactor)

    def decoding() -> IAgent:
        return RedirectAgent(DecodingAgent(ours()))

    return {"twisted.web.client": stock, "hardhttp.client": ours, "retrying": wrapped, "decoding": decoding}


@pytest.fixture(params=agents())
def agent(request: pytest.FixtureRequest) -> Iterator[IAgent]:
    """An agent, ours with bounds that no stream could live with."""
    agent: Any = agents()[request.param]()
    yield agent
    inner = innermost(agent)
    pytest_twisted.blockon(closed(agent))
    if isinstance(inner, OurAgent):
        assert not any(inner.ledger.snapshot().values())


def innermost(agent: Any) -> Any:
    while (within := getattr(agent, "agent", None) or getattr(agent, "_agent", None)) is not None:
        agent = within
    return agent


def closed(agent: Any) -> Deferred[None]:
    """Close the connections that an agent keeps."""
    inner = innermost(agent)
    return inner.close() if isinstance(inner, OurAgent) else succeed(None)


class Reading:
    """A source, and what it has given."""

    def __init__(self, agent: IAgent, url: str, **options: Any) -> None:
        from twisted.internet import reactor

        options.setdefault("limits", QUICK)
        self.source = EventSource(agent, url, clock=reactor, **options)
        self.states: list[SourceState] = []
        self.got: list[Any] = []
        self.source.on_state(self.states.append)
        self.done = ensureDeferred(self._read())

    async def _read(self) -> EndReason | None:
        try:
            async for event in self.source:
                self.got.append(event)
        except EventSourceError as error:
            return error.ending.reason
        return None

    @property
    def data(self) -> list[str]:
        return [event.data for event in self.got]

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.source.close()
        if raised[0] is None:
            result_of(self.done)


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
@blocking
def test_our_hub_restarts(agent: IAgent, tmp_path: Path, compressed: bool) -> None:
    """Each event once, in order, those too that were published when nobody listened."""
    from twisted.internet import reactor

    def hub() -> EventHub:
        return EventHub(reactor, history=SQLiteHistory(tmp_path / "history", reactor), heartbeat_seconds=None)

    first = hub()
    headers = {} if compressed else {"Accept-Encoding": "identity"}
    port = free_port()
    with Loopback(Subscribes(first), f"tcp:{port}:interface=127.0.0.1") as server:
        reading = Reading(agent, f"http://127.0.0.1:{port}/?topic=t", headers=headers)
        until(lambda: reading.source.state is SourceState.OPEN, "a stream")
        for number in range(20):
            first.publish("t", str(number))
        until(lambda: len(reading.got) == 20, "the first events")
        server.stop()
        first.publish("t", "20")  # on its way, or not
        for channel in server.site.server.tracker:
            channel.transport.abortConnection()
    result_of(first.history.close())
    second = hub()
    second.publish("t", "21")
    with reading, Loopback(Subscribes(second), f"tcp:{port}:interface=127.0.0.1"):
        until(lambda: len(reading.got) >= 22, "what was missed")
        second.publish("t", "22")
        until(lambda: len(reading.got) >= 23, "the newest")
        assert reading.data == [str(number) for number in range(23)]
        assert reading.states == [SourceState.OPEN, SourceState.CONNECTING, SourceState.OPEN]
        reading.source.close()
        until(lambda: second.subscriber_count == 0, "the hub to see that it has gone")
    result_of(second.history.close())


@blocking
def test_our_hub_tells_of_a_gap(agent: IAgent) -> None:
    from twisted.internet import reactor

    hub = EventHub(reactor, history=MemoryHistory(reactor, max_topic_updates=2), heartbeat_seconds=None)
    with Loopback(Subscribes(hub)) as server:
        receipts = [hub.publish("t", str(number)) for number in range(5)]
        url = f"http://127.0.0.1:{server.address[1]}/?topic=t"
        with Reading(agent, url, last_event_id=receipts[0].id) as reading:
            until(lambda: len(reading.got) == 3, "a gap and two events")
            assert reading.got[0].reason == "evicted"
            assert isinstance(reading.got[0], Gap)
            assert reading.got[0].last == receipts[2].id
            assert [event.data for event in reading.got[1:]] == ["3", "4"]
        until(lambda: hub.subscriber_count == 0, "the end")


def one_stream(agent: IAgent, url: str, hub: EventHub) -> list[weakref.ref[Any]]:
    """Read an event and close: all that took part."""
    reading = Reading(agent, url)
    until(lambda: hub.subscriber_count == 1, "a subscriber")
    hub.publish("t", "x")
    until(lambda: reading.data == ["x"], "an event")
    body: Any = reading.source._reading
    response = body.transport._response
    parts = (reading.source, reading.source._parser, body, response, response._connection)
    reading.source.close()
    result_of(reading.done)
    until(lambda: hub.subscriber_count == 0, "its end")
    return [weakref.ref(part) for part in parts]


@blocking
def test_nothing_is_left_for_the_collector() -> None:
    """Of a stream that was read and closed, over a connection of ours."""
    from twisted.internet import reactor

    hub = EventHub(reactor, heartbeat_seconds=None)
    agent = OurAgent(reactor)
    with Loopback(Subscribes(hub)) as server:
        url = f"http://127.0.0.1:{server.address[1]}/?topic=t"
        gc.collect()
        gc.disable()
        try:
            kept = [ref for _ in range(3) for ref in one_stream(agent, url, hub)]
            until(lambda: not any(agent.ledger.snapshot().values()), "the end of each connection")
            assert [ref() for ref in kept if ref() is not None] == []
        finally:
            gc.enable()
        result_of(agent.close())


@contextmanager
def peer(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[Any]]]:
    """Python's own server in a thread: its URL, and the requests it had."""
    requests: list[Any] = []

    class Answers(BaseHTTPRequestHandler):
        wbufsize = 0
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            requests.append((self.command, self.headers, self.rfile.read(length)))
            answer(self)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@blocking
def test_redirected_to_https(tmp_path: Path) -> None:
    from twisted.internet import reactor

    path = certificate(tmp_path)
    hub = EventHub(reactor, heartbeat_seconds=None)
    root = Certificate.loadPEM(path.read_bytes())
    agent = RedirectAgent(OurAgent(reactor, trust_root=trustRootFromCertificates([root])))
    with Loopback(Subscribes(hub), certificate=path) as server:

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(307)
            request.send_header("Location", f"https://localhost:{server.address[1]}/?topic=t")
            request.end_headers()

        with peer(answer) as (url, requests):
            for count in (1, 2):  # the first URL is asked each time
                with Reading(agent, url) as reading:
                    until(lambda: hub.subscriber_count == 1, "a subscriber")
                    hub.publish("t", "x")
                    until(lambda: reading.data == ["x"], "an event")
                until(lambda: hub.subscriber_count == 0, "the end")
                assert len(requests) == count
            result_of(closed(agent))


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@blocking
def test_in_pieces(agent: IAgent, method: bytes) -> None:
    """HTTP/1.0, a byte a packet, an end without a word."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream; charset=utf-8")
        request.end_headers()
        for byte in "\ufeff: hello\r\nid: é1\r\ndata: one\rdata: 1\r\n\r\ndata: cut".encode():
            request.wfile.write(bytes([byte]))

    with peer(answer) as (url, requests):
        body = b"{}" if method == b"POST" else None
        with Reading(agent, url, method=method, body=body) as reading:
            until(lambda: len(requests) >= 2, "the second request")
            assert requests[1][1]["Last-Event-ID"].encode("latin-1") == "é1".encode()
            assert [request[0] for request in requests[:2]] == [method.decode()] * 2
            assert requests[1][2] == (body or b"")
            assert reading.data[0] == "one\n1"


@blocking
def test_stop(agent: IAgent) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Last-Event-ID") == "1":
            request.send_response(204)
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.end_headers()
        request.wfile.write(b"id: 1\ndata: x\n\n")

    with peer(answer) as (url, requests), Reading(agent, url) as reading:
        assert result_of(reading.done) is None
        assert reading.data == ["x"]
        assert len(requests) == 2
        assert reading.source.ending is not None
        assert reading.source.ending.reason is EndReason.STOPPED


@pytest.mark.slow
@blocking
def test_a_slow_reader_slows_the_server(agent: IAgent) -> None:
    written: list[int] = []
    event = encode_event("x" * 10_000)

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        request.end_headers()
        try:
            for number in range(1500):
                request.wfile.write(event)
                written.append(number)
        except OSError:
            pass

    from twisted.internet import reactor

    with peer(answer) as (url, _):
        source = EventSource(agent, url, clock=reactor, limits=EventLimits(max_queued_events=20))
        got: list[Any] = []

        def receive(event: Any) -> None:
            got.append(event)
            if len(got) == 10:
                source.pauseProducing()

        source.deliver(receive)
        seen: list[int] = []

        def still() -> bool:
            seen.append(len(written))
            return len(seen) > 50 and seen[-50] == seen[-1] > 10

        until(still, "the server to wait")
        assert len(written) < 1500
        assert len(got) == 10
        assert source.queued_events <= 20
        source.resumeProducing()
        until(lambda: len(got) == 1500, "all of it")
        source.close()


@blocking
def test_mercure_with_a_token(agent: IAgent) -> None:
    """Private updates come; the token is in no log, no error and no repr."""
    from twisted.internet import reactor

    hub = EventHub(reactor, history=MemoryHistory(reactor), heartbeat_seconds=None)
    key = Key.parse(SECRET, "HS256")
    token = jwt.encode({"mercure": {"subscribe": ["t"]}}, SECRET, algorithm="HS256")
    root = Resource()
    root.putChild(b"hub", Mercure(hub, publisher_key=key, subscriber_key=key, anonymous=True))
    said: list[str] = []

    def note(event: Any) -> None:
        said.append(eventAsText(event))

    globalLogPublisher.addObserver(note)
    try:
        with Loopback(root) as server:
            url = f"http://127.0.0.1:{server.address[1]}/hub?topic=t"
            headers = {"Authorization": f"Bearer {token}"}
            with Reading(agent, url, headers=headers) as reading, Reading(agent, url) as other:
                until(lambda: hub.subscriber_count == 2, "two subscribers")
                hub.publish("t", "for some", private=True)
                hub.publish("t", "for all")
                until(lambda: other.data == ["for all"], "the public one")
                until(lambda: reading.data == ["for some", "for all"], "both")
                said.append(repr(reading.source) + repr(vars(reading.source)))
            wrong = Reading(agent, url, headers={"Authorization": f"Bearer {token[:-3]}"})
            assert result_of(wrong.done) == EndReason.STATUS
            assert wrong.source.ending is not None
            assert wrong.source.ending.status in (401, 403)
            said.append(repr(wrong.source.ending) + str(EventSourceError(wrong.source.ending)))
            result_of(closed(agent))
    finally:
        globalLogPublisher.removeObserver(note)
    secret = token.rpartition(".")[2][:-3]
    assert [line for line in said if secret in line] == []

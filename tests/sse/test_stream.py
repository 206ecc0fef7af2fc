"""A stream of events: in order, to everyone, inside bounds, and ended in one way."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.web import server

from hardhttp import EventStream, Limits
from hardhttp.errors import Reason
from hardhttp.sse import stream as stream_module
from hardhttp.testing import Peer, Rig
from hardhttp.wire.response import chunk
from tests.serving import KINDS, serve
from tests.web.saying import GET, say

COMMENT = b":\n"


class Streaming:
    """A rig whose tree is one event stream."""

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        self.stream = EventStream(Clock(), **options)
        self.rig = Rig(self.stream, limits=limits)
        self.stream._clock = self.stream._heart.clock = self.rig.clock

    def subscribe(self) -> Peer:
        peer = self.rig.connect()
        peer.send(GET)
        return peer

    def __enter__(self) -> Streaming:
        self.rig.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.rig.__exit__(*raised)
        if raised[0] is None:
            assert (self.stream.subscriber_count, self.stream.queued_bytes) == (0, 0)
            for waiting in (self.stream._behind, self.stream._round, self.stream._beats):
                assert not waiting


def body(peer: Peer) -> bytes:
    """What a subscriber has got so far, without the framing."""
    _, _, rest = peer.received.partition(b"\r\n\r\n")
    pieces = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(pieces)


def events(peer: Peer) -> list[bytes]:
    """The data of the events it has got."""
    return [line[6:] for line in body(peer).split(b"\n") if line.startswith(b"data: ")]


def test_the_head_and_the_first_comment() -> None:
    with Streaming() as site:
        peer = site.subscribe()
        assert body(peer) == COMMENT  # a browser's open event does not wait for the first one published
        for line in (b"200 OK", b"Content-Type: text/event-stream\r\n", b"Cache-Control: no-store, no-transform\r\n"):
            assert line in peer.received
        (head,) = site.rig.exchange(say(b"HEAD"), methods=[b"HEAD"])
        assert (head.status, head.get(b"content-type"), head.body) == (200, b"text/event-stream", b"")
        assert head.get(b"content-length") is None
        assert site.stream.subscriber_count == 1
        (posted,) = site.rig.exchange(say(b"POST", body=b""))
        assert posted.status == 405


def test_events_to_everyone_in_order() -> None:
    with Streaming() as site:
        first = site.subscribe()
        site.stream.publish("one")
        second = site.subscribe()
        for i in range(100):
            site.stream.publish({"number": i}, event="count", id=str(i))
        site.rig.clock.turn()
        assert events(first) == [b"one", *(b'{"number":%d}' % i for i in range(100))]
        assert events(second) == events(first)[1:]  # whoever comes later gets what is published later
        assert b"event: count\nid: 99\ndata: " in body(second)
        assert site.stream.queued_bytes == 0


def test_what_cannot_be_an_event_is_refused_before_anything_is_sent() -> None:
    with Streaming() as site:
        peer = site.subscribe()
        for call in (
            lambda: site.stream.publish("x", event="two\nlines"),
            lambda: site.stream.publish("x", id="a\0b"),
            lambda: site.stream.publish(object()),
        ):
            with pytest.raises((ValueError, TypeError)):
                call()
        assert body(peer) == COMMENT
        site.stream.publish("line\r\nother\rthird")
        assert events(peer) == [b"line", b"other", b"third"]


@pytest.mark.parametrize("options", [{"heartbeat_seconds": 0}, {"max_queued_events": 0}, {"max_queued_bytes": 0}])
def test_bounds_that_are_none(options: Any) -> None:
    with pytest.raises(ValueError):
        EventStream(Clock(), **options)


# -- snapshots (V10) ---------------------------------------------------------------------------


def test_v10_an_event_is_what_it_was_when_it_was_published() -> None:
    with Streaming() as site:
        quick, slow = site.subscribe(), site.subscribe()
        slow.take(0)
        state = {"number": 1, "list": [1]}
        site.stream.publish("x" * 200_000)
        site.stream.publish(state)
        state["number"] = 2
        state["list"].append(2)  # type: ignore[attr-defined]
        site.stream.publish(state)
        state.clear()
        slow.take(None)
        site.rig.clock.turn()
        for peer in (quick, slow):
            assert events(peer)[1:] == [b'{"number":1,"list":[1]}', b'{"number":2,"list":[1,2]}']


def test_v10_a_publish_within_a_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each write of a round something is published again; everyone gets everything, in order."""
    with Streaming() as site:
        peers = [site.subscribe() for _ in range(5)]
        published = ["first"]

        def write(subscriber: Any, *frame: bytes) -> None:
            if len(published) < 20:
                published.append(f"from within {len(published)}")
                site.stream.publish(published[-1])
            real(subscriber, *frame)

        real = stream_module._Subscriber.write
        monkeypatch.setattr(stream_module._Subscriber, "write", write)
        site.stream.publish("first")
        site.rig.clock.turn()
        for peer in peers:
            assert events(peer) == [text.encode() for text in published]
        assert len(published) == 20


def test_a_publish_when_a_subscriber_ends() -> None:
    with Streaming() as site:
        peers = [site.subscribe() for _ in range(4)]
        for subscriber in site.stream._subscribers:
            subscriber._request.notifyFinish().addBoth(lambda _: site.stream.publish("one has left"))
        peers[0].reset()
        site.rig.clock.turn()
        for peer in peers[1:]:
            assert events(peer) == [b"one has left"]
        site.stream.close()
        site.rig.clock.turn()


# -- bounds ------------------------------------------------------------------------------------


def test_one_that_stops_reading_is_closed_and_nobody_else_loses_anything() -> None:
    with Streaming(max_queued_events=50, heartbeat_seconds=None) as site:
        readers = [site.subscribe() for _ in range(3)]
        stopped = site.subscribe()
        stopped.take(0)
        site.stream.publish("x" * 100_000)  # its transport's queue is long now
        for i in range(50):
            site.stream.publish(i)
            site.rig.clock.turn()
        assert not stopped.closed
        assert site.stream.queued_bytes > 0
        site.stream.publish(50)
        site.rig.clock.turn()
        assert stopped.closed
        assert (site.stream.subscriber_count, site.stream.overflowed) == (3, 1)
        assert site.stream.queued_bytes == 0
        for reader in readers:
            assert events(reader)[1:] == [b"%d" % i for i in range(51)]


def test_the_log_is_bounded_in_bytes() -> None:
    with Streaming(max_queued_bytes=10_000) as site:
        reader, stopped = site.subscribe(), site.subscribe()
        stopped.take(0)
        site.stream.publish("x" * 100_000)
        for _ in range(100):
            site.stream.publish("y" * 1000)
            site.rig.clock.turn()
            assert site.stream.queued_bytes <= 10_000
        assert stopped.closed
        assert site.rig.site.ledger.snapshot()["unsent_bytes"] == 0
        assert len(events(reader)) == 101


def test_one_that_catches_up_in_time_has_lost_nothing() -> None:
    with Streaming(max_queued_events=50) as site:
        slow = site.subscribe()
        slow.take(0)
        site.stream.publish("x" * 100_000)
        for i in range(50):
            site.stream.publish(i)
        site.rig.clock.turn()
        assert site.stream.queued_bytes > 0
        slow.take(None)
        assert events(slow)[1:] == [b"%d" % i for i in range(50)]
        assert site.stream.queued_bytes == 0  # at once, not at the next event
        site.stream.publish("and on")
        assert events(slow)[-1] == b"and on"
        assert site.stream.overflowed == 0


def test_the_last_slow_one_to_leave_frees_the_log() -> None:
    with Streaming() as site:
        reader, stopped = site.subscribe(), site.subscribe()
        stopped.take(0)
        site.stream.publish("x" * 100_000)
        site.stream.publish("kept for the slow one")
        site.rig.clock.turn()
        assert site.stream.queued_bytes > 0
        stopped.transport.abortConnection()
        site.rig.clock.turn()
        assert site.stream.queued_bytes == 0
        assert len(events(reader)) == 2


# -- slices ------------------------------------------------------------------------------------


TURN_SECONDS = 0.0001


class Ticking:
    """A clock on which a look takes a millisecond: two looks are a slice. What is called later is called in a turn."""

    def __init__(self, clock: Any) -> None:
        self._clock, self.looks = clock, 0

    def seconds(self) -> float:
        self.looks += 1
        return float(self._clock.seconds() + self.looks / 1000)

    def callLater(self, delay: float, *args: Any) -> Any:
        return self._clock.callLater(max(delay, TURN_SECONDS), *args)


class MemoryRequest:
    """As much of a request as a subscriber asks for."""

    method, channel, chunked = b"GET", None, True

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.ended = 0

    def setHeader(self, name: bytes, value: bytes) -> None: ...

    def notifyFinish(self) -> Any:
        from twisted.internet.defer import Deferred

        self.finishing: Any = Deferred()
        return self.finishing

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None: ...

    def finish(self) -> None:
        self.ended += 1
        self.finishing.callback(None)


def crowd(size: int) -> tuple[Clock, EventStream, list[MemoryRequest]]:
    clock = Clock()
    stream = EventStream(Ticking(clock))  # type: ignore[arg-type]
    stream._heart.clock = clock
    requests = [MemoryRequest() for _ in range(size)]
    for request in requests:
        stream.render_GET(request)
    return clock, stream, requests


def written(requests: list[MemoryRequest]) -> int:
    return sum(len(request.written) for request in requests)


IN_A_SLICE = 3 * stream_module.LOOK_EVERY


def slices(clock: Clock, requests: list[MemoryRequest], act: Callable[[], object]) -> list[int]:
    """How many writes ``act`` makes, and each turn of the reactor after it."""
    counts, before = [], written(requests)
    act()
    while True:
        counts.append(written(requests) - before)
        before = written(requests)
        if not [call for call in clock.getDelayedCalls() if call.getTime() < clock.seconds() + 1]:
            return counts
        clock.advance(TURN_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["event", "burst", "beat"])
def test_five_thousand_subscribers_are_served_in_slices(what: str) -> None:
    """Counted, not timed: on this clock a slice is over after so many."""
    clock, stream, requests = crowd(5000)
    if what == "event":
        counts = slices(clock, requests, lambda: stream.publish("to all"))
    elif what == "burst":
        counts = slices(clock, requests, lambda: [stream.publish(i) for i in range(10)])
    else:
        counts = slices(clock, requests, lambda: clock.advance(15))
    assert max(counts) <= IN_A_SLICE
    assert len(counts) >= 5000 / IN_A_SLICE
    text = b"".join(requests[-1].written)
    assert all(b"".join(request.written) == text for request in requests)
    if what == "burst":
        assert [line for line in text.split(b"\n") if line[:4] == b"data"] == [b"data: %d" % i for i in range(10)]
        assert sum(counts) <= 3 * 5000  # what was published together goes out together
    stream.close()
    assert [call for call in clock.getDelayedCalls() if call.active()] == []
    assert {request.ended for request in requests} == {1}


def test_order_holds_across_slices() -> None:
    clock, stream, requests = crowd(1000)
    number = 0
    for _ in range(30):  # published in the middle of rounds
        for _ in range(3):
            stream.publish(number)
            number += 1
        clock.advance(TURN_SECONDS)
    slices(clock, requests, lambda: None)
    for request in requests:
        lines = b"".join(request.written).split(b"\n")
        assert [line for line in lines if line[:4] == b"data"] == [b"data: %d" % i for i in range(number)]
    assert stream.queued_bytes == 0
    stream.close()


def test_an_event_is_joined_once_for_all_at_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when something is published in the middle of a round."""
    framed: list[bytes] = []

    def note(data: bytes) -> bytes:
        framed.append(data)
        return chunk(data)

    monkeypatch.setattr(stream_module, "chunk", note)
    clock, stream, requests = crowd(1000)
    turns = slices(clock, requests, lambda: [stream.publish("one"), stream.publish("two")])
    assert len(framed) <= 2 * len(turns)
    stream.close()


def test_a_subscriber_that_leaves_in_the_middle_of_a_round() -> None:
    clock, stream, requests = crowd(500)
    stream.publish("one")
    for request in requests[200:400]:
        request.finishing.errback(ConnectionError())
    slices(clock, requests, lambda: None)
    assert stream.subscriber_count == 300
    assert all(len(request.written) == 2 for request in (*requests[:96], *requests[400:]))
    for request in (*requests[:200], *requests[400:]):
        request.finishing.errback(ConnectionError())
    assert clock.getDelayedCalls() == []
    assert stream.queued_bytes == 0


def test_everyone_leaves_in_the_middle_of_a_round() -> None:
    clock, stream, requests = crowd(500)
    stream.publish("one")
    stream.publish("two")
    for request in requests:
        request.finishing.errback(ConnectionError())
    assert clock.getDelayedCalls() == []
    assert (stream.subscriber_count, stream.queued_bytes) == (0, 0)
    late = MemoryRequest()
    stream.render_GET(late)
    stream.publish("three")
    assert b"".join(late.written) == COMMENT + b"data: three\n\n"
    stream.close()


def test_one_that_cannot_be_written_to_costs_itself_alone() -> None:
    class Broken(MemoryRequest):
        transport = type("Transport", (), {"abortConnection": lambda self: None})()

        def write(self, data: bytes) -> None:
            if data != COMMENT:
                raise LookupError("of a subscriber")
            super().write(data)

    failures: list[Any] = []
    clock, stream, requests = crowd(3)
    stream.render_GET(broken := Broken())
    stream.log = type("Log", (), {"failure": lambda self, text: failures.append(text)})()  # type: ignore[assignment]
    stream.publish("one")
    slices(clock, requests, lambda: None)
    assert [len(request.written) for request in requests] == [2, 2, 2]
    assert (stream.subscriber_count, len(failures)) == (3, 1)
    assert broken.written == [COMMENT]
    stream.close()


# -- heartbeats --------------------------------------------------------------------------------


def test_heartbeats_go_to_whoever_was_sent_nothing() -> None:
    with Streaming(heartbeat_seconds=10) as site:
        peer = site.subscribe()
        site.rig.advance(9)
        assert body(peer) == COMMENT
        site.rig.advance(2)
        assert body(peer) == COMMENT * 2
        site.stream.publish("x")
        site.rig.advance(10)
        assert body(peer) == COMMENT * 2 + b"data: x\n\n"
        site.rig.advance(10)
        assert body(peer) == COMMENT * 2 + b"data: x\n\n" + COMMENT


def test_no_heartbeats_when_there_shall_be_none() -> None:
    with Streaming(heartbeat_seconds=None) as site:
        peer = site.subscribe()
        site.rig.advance(100)
        assert body(peer) == COMMENT


def test_a_subscriber_is_never_idle() -> None:
    with Streaming(limits=Limits(idle_seconds=5, handling_seconds=5)) as site:
        peer = site.subscribe()
        site.rig.advance(1000)
        assert not peer.ended
        site.stream.publish("still there")
        assert events(peer) == [b"still there"]


# -- ends (V15, V09) ---------------------------------------------------------------------------


def test_v15_close_ends_the_response_and_closes_the_socket() -> None:
    with Streaming() as site:
        peers = [site.subscribe() for _ in range(3)]
        told: list[Any] = []
        for subscriber in site.stream._subscribers:
            subscriber._request.notifyFinish().addBoth(told.append)
        site.stream.publish("the last")
        site.stream.close()
        site.rig.clock.turn()
        assert told == [None, None, None]
        assert site.stream.subscriber_count == 0
        for peer in peers:
            assert peer.closed
            (response,) = peer.responses()
            assert response.complete
            assert events(peer) == [b"the last"]
        assert site.rig.site.connection_count == 0
        again = site.subscribe()  # and the stream goes on for whoever comes
        site.stream.publish("more")
        assert events(again) == [b"more"]


def test_v15_close_of_one_that_does_not_read_is_an_abort_in_the_end() -> None:
    with Streaming(limits=Limits(abort_seconds=5, send_seconds=5)) as site:
        stopped = site.subscribe()
        stopped.take(0)
        site.stream.publish("x" * 100_000)
        site.stream.close()
        assert site.stream.subscriber_count == 0
        assert not stopped.closed
        site.rig.advance(20)
        assert stopped.closed


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
def test_v15_a_client_that_leaves(leave: Any) -> None:
    with Streaming() as site:
        peer, other = site.subscribe(), site.subscribe()
        leave(peer)
        assert peer.closed
        assert site.stream.subscriber_count == 1
        site.stream.publish("x")
        assert events(other) == [b"x"]
        assert site.rig.site.statistics.ignored_writes == 0


def test_v15_what_was_published_just_before_the_end_is_not_lost() -> None:
    _, stream, requests = crowd(500)
    stream.publish("goodbye")
    assert written(requests) < 1000  # not all have been served
    stream.close()
    assert all(request.written[-1] == b"data: goodbye\n\n" for request in requests)


FAILURES = ["write", "registerProducer", "notifyFinish", "notifyDrain"]


@pytest.mark.parametrize("where", FAILURES)
def test_v09_what_fails_while_subscribing_leaves_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardhttp import Request

    def fail(*args: Any) -> Any:
        raise LookupError(f"in {where}")

    with Streaming() as site:
        before = site.rig.site.ledger.snapshot()
        with monkeypatch.context() as patched:
            patched.setattr(Request, where, fail)
            peer = site.subscribe()
            site.rig.clock.turn()
        assert site.stream.subscriber_count == 0
        assert [failure.type for failure in site.rig.flush()] == [LookupError]
        peer.half_close()
        assert site.rig.site.ledger.snapshot() == before
        site.stream.publish("x")
        assert events(site.subscribe()) == []


def test_v09_a_client_that_left_before_it_was_subscribed() -> None:
    with Streaming() as site:
        peer = site.rig.connect()
        peer._socket.incoming.append(GET)
        peer.reset()
        assert site.stream.subscriber_count == 0


def test_a_drain_says_when_to_come_back_and_ends() -> None:
    with Streaming(limits=Limits(drain_seconds=5)) as site:
        peers = [site.subscribe() for _ in range(3)]
        site.stream.publish("x")
        drained: list[Any] = []
        site.rig.site.drain().addCallback(drained.append)
        site.rig.advance(2)
        assert drained == [None]
        for peer in peers:
            (response,) = peer.responses()
            assert response.complete
            assert response.body.startswith(COMMENT + b"data: x\n\nretry: ")
            assert 1000 <= int(response.body.split(b"retry: ")[1]) <= 5000
            assert peer.protocol.reason in (Reason.DRAINED, Reason.RESPONSE_END)
        site.rig.site.server.start()
        site.rig.site.server.stop()


def test_who_subscribes_while_it_drains_is_told_too() -> None:
    with Streaming(limits=Limits(drain_seconds=5)) as site:
        reserve = site.rig.connect()
        drained: list[Any] = []
        site.rig.site.drain().addCallback(drained.append)
        reserve.send(GET)
        site.rig.advance(1)
        (response,) = reserve.responses()
        assert (response.status, response.complete) == (200, True)
        assert b"retry: " in response.body
        site.rig.advance(1)
        assert drained == [None]


def test_http_1_0() -> None:
    with Streaming() as site:
        peer = site.rig.connect()
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        site.stream.publish("x")
        assert peer.received.endswith(b"\r\n\r\n" + COMMENT + b"data: x\n\n")
        site.stream.close()
        site.rig.clock.turn()
        assert peer.closed


# -- the real thing ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@ensureDeferred
async def test_curl_reads_it(kind: str) -> None:
    stream = EventStream(reactor)

    def curl(url: str) -> bytes:
        done = subprocess.run(["curl", "-sSN", "--max-time", "10", url], capture_output=True, check=True, timeout=20)
        return done.stdout

    async with serve(kind, stream) as site:
        reading = deferToThread(curl, site.url)
        await site.wait_for(lambda: stream.subscriber_count)
        for i in range(3):
            stream.publish(i, event="count")
        stream.close()
        assert await reading == COMMENT + b"".join(b"event: count\ndata: %d\n\n" % i for i in range(3))


@ensureDeferred
async def test_under_twisted_webs_own_site() -> None:
    stream = EventStream(reactor, max_queued_events=20)
    port = reactor.listenTCP(0, server.Site(stream, reactor=reactor), interface="127.0.0.1")
    address = ("127.0.0.1", port.getHost().port)

    def read(until: bytes) -> bytes:
        import socket

        with socket.create_connection(address, 10) as client:
            client.sendall(GET)
            received = b""
            while until not in received and (data := client.recv(65536)):
                received += data
            return received

    import socket

    from tests.serving import Serving

    turn = Serving.wait_for
    reading = deferToThread(read, b"data: last")
    stopped = socket.socket()
    stopped.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stopped.connect(address)
    stopped.sendall(GET)
    await turn(None, lambda: stream.subscriber_count == 2)  # type: ignore[arg-type]
    stream.publish("first")

    def all_taken_by_one() -> bool:
        return max(s.place for s in stream._subscribers) == stream._first_number + len(stream._events)

    for _ in range(30):
        stream.publish("x" * 200_000)
        await turn(None, all_taken_by_one)  # type: ignore[arg-type]
    stream.publish("last")
    received = await reading
    assert b"data: first\n\n" in received
    await turn(None, lambda: stream.overflowed == 1)  # type: ignore[arg-type]
    stopped.close()
    await turn(None, lambda: stream.subscriber_count == 0)  # type: ignore[arg-type]
    await port.stopListening()


def test_what_it_holds_is_in_the_sites_ledger() -> None:
    with Streaming() as streaming:
        peer = streaming.subscribe()
        peer.take(0)
        for _ in range(30):
            streaming.stream.publish("x" * 10_000)
            streaming.rig.advance(0)
        ledger = streaming.rig.site.ledger
        assert ledger.snapshot()["subscribers"] == 1
        assert ledger.snapshot()["event_bytes"] == streaming.stream.queued_bytes > 0
        peer.reset()
        streaming.rig.advance(1)
        assert ledger.held(streaming.stream) == {}

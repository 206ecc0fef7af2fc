"""An event source against an agent whose every answer the test gives, on a clock driven by hand."""

from __future__ import annotations

import gc
import gzip
import weakref
import zlib
from collections.abc import Iterator
from http.cookiejar import CookieJar
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import CookieAgent, ResponseFailed
from twisted.web.http_headers import Headers

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
from hardhttp.client.eventlimits import without_end
from hardhttp.client.gap import gap_of
from hardhttp.errors import LimitError
from hardhttp.sse.queue import encode_gap
from hardhttp.testing import every_split
from hardhttp.wire.eventstream import Event, Parser, encode_event
from tests.client.rig import ClientRig
from tests.client.scripted import STREAM, ScriptedAgent, ScriptedResponse

URL = "https://example.com/events?authorization=SECRET"


class Bench:
    """A source, its agent and its clock. At the end nothing is pending."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.agent = ScriptedAgent()
        self.got: list[Any] = []
        self.states: list[SourceState] = []
        self.sources: list[EventSource] = []

    def source(self, **options: Any) -> EventSource:
        options.setdefault("random", Random(1))
        source = EventSource(self.agent, URL, clock=self.clock, **options)
        source.on_state(self.states.append)
        self.sources.append(source)
        return source

    def read(self, source: EventSource) -> Deferred[str]:
        """Read to the end: ``got`` are the events, the result is how it ended."""

        async def reading() -> str:
            try:
                async for event in source:
                    self.got.append(event)
            except EventSourceError as error:
                return error.ending.reason
            return "end"

        return ensureDeferred(reading())

    def start(self, **options: Any) -> tuple[EventSource, ScriptedResponse]:
        """A source that is open and being read."""
        source = self.source(**options)
        self.reading = self.read(source)
        return source, self.agent.last.answer()

    @property
    def data(self) -> list[str]:
        return [event.data for event in self.got]

    def wait_seconds(self) -> float:
        """How long it waits before it asks again."""
        (call,) = self.clock.getDelayedCalls()
        return call.getTime() - self.clock.seconds()

    def wait(self) -> float:
        """Let it ask again."""
        seconds, before = self.wait_seconds(), len(self.agent.asked)
        self.clock.advance(seconds - 0.01)
        assert len(self.agent.asked) == before
        self.clock.advance(0.02)
        assert len(self.agent.asked) == before + 1
        return seconds


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    for source in bench.sources:
        source.close()
        assert source.state is SourceState.CLOSED
        assert source.queued_events == 0
    assert bench.clock.getDelayedCalls() == []


def result(deferred: Deferred[Any]) -> Any:
    """What it has fired with, or None."""
    found: list[Any] = []

    def look(what: Any) -> Any:
        found.append(what)
        return None if isinstance(what, Failure) else what

    deferred.addBoth(look)
    return found[0] if found else None


# -- events ------------------------------------------------------------------------------------


def test_events_as_they_come(bench: Bench) -> None:
    source, response = bench.start(headers={"Authorization": "Bearer SECRET"})
    asked = bench.agent.last
    assert (asked.method, asked.uri, asked.body) == (b"GET", URL.encode(), None)
    assert asked.header("accept") == "text/event-stream"
    assert asked.header("cache-control") == "no-store"
    assert asked.header("accept-encoding") == "gzip, br, zstd"
    assert asked.header("authorization") == "Bearer SECRET"
    assert asked.header("last-event-id") is None
    response.send(b"id: 7\ndata: a\n\ndata:", b"b\n\n")
    assert bench.got == [Event("message", "a", "7"), Event("message", "b", "7")]
    assert (source.last_event_id, source.state, bench.states) == ("7", SourceState.OPEN, [SourceState.OPEN])
    assert "SECRET" not in repr(source)
    assert repr(source) == "<EventSource GET https://example.com/events READING>"
    other = EventSource(bench.agent, "https://me:SECRET@example.com:1/", clock=bench.clock)
    assert repr(other) == "<EventSource GET https://example.com:1/ NEW>"
    body = source._reading
    source.close()
    assert result(bench.reading) == "end"
    assert response.transport.aborted
    response.send(b"late")
    assert body.unread_bytes == 0
    assert bench.states == [SourceState.OPEN, SourceState.CLOSED]


def test_at_every_split(bench: Bench) -> None:
    stream = b"\xef\xbb\xbfid:1\r\ndata:a\r\rdata:b\n\nretry: 5000\n\n"
    for pieces in every_split(stream):
        bench.got.clear()
        source, response = bench.start()
        response.send(*pieces)
        assert bench.data == ["a", "b"]
        assert source.retry_seconds == 5
        source.close()


def test_nothing_is_asked_before_there_is_a_reader(bench: Bench) -> None:
    bench.source()
    assert bench.agent.asked == []


def test_where_to_begin_and_a_body(bench: Bench) -> None:
    bench.start(method=b"POST", body=b"{}", headers=Headers({"accept": ["x/y"]}), last_event_id="é")
    for _ in range(2):
        asked = bench.agent.last
        assert asked.method == b"POST"
        assert asked.headers.getRawHeaders(b"last-event-id") == ["é".encode()]
        assert asked.header("accept") == "x/y"
        assert asked.body.length == 2
        sent: list[bytes] = []
        asked.body.startProducing(type("Consumer", (), {"write": staticmethod(sent.append)}))
        assert sent == [b"{}"]
        asked.deferred.result if asked.deferred.called else asked.answer()
        if len(bench.agent.asked) == 1:
            bench.sources[0]._reading.connectionLost()
            bench.wait()


@pytest.mark.parametrize("reason", ["evicted", "expired", "restart", "unknown", "overflow"])
def test_a_gap(bench: Bench, reason: str) -> None:
    _, response = bench.start()
    response.send(b"id:3\n" + encode_gap(reason, "e-1", None, 5 if reason == "overflow" else None))
    assert bench.got == [Gap(reason, "e-1", None, 5 if reason == "overflow" else None, "3")]


@pytest.mark.parametrize(
    "data",
    [
        "x",
        "[]",
        "[" * 10_000,
        {"reason": "evicted"},
        {"reason": "other", "first": None, "last": None, "count": None},
        {"reason": [], "first": None, "last": None, "count": None},
        {"reason": "evicted", "first": 1, "last": None, "count": None},
        {"reason": "evicted", "first": None, "last": None, "count": "1"},
        {"reason": "evicted", "first": None, "last": "x" * 16_384, "count": None},
    ],
)
def test_gaps_of_others(bench: Bench, data: Any) -> None:
    _, response = bench.start()
    response.send(encode_event(data, event="gap"))
    assert [event.type for event in bench.got] == ["gap"]


# -- again and again ---------------------------------------------------------------------------


def test_made_again_with_the_last_id(bench: Bench) -> None:
    source, response = bench.start()
    response.send(b"id: 7\nretry: 2000\ndata: a\n\nid: 8\ndata: cut")
    response.end()
    assert source.state is SourceState.CONNECTING
    assert 2 <= bench.wait() <= 3
    assert bench.agent.last.header("last-event-id") == "7"
    response = bench.agent.last.answer()
    response.send(b"data: b\n\n")
    assert bench.data == ["a", "b"]
    assert bench.got[-1].id == "7"
    assert bench.states == [SourceState.OPEN, SourceState.CONNECTING, SourceState.OPEN]


def test_an_id_is_forgotten_when_the_server_says_so(bench: Bench) -> None:
    _, response = bench.start(last_event_id="1")
    response.send(b"id\n\n")
    response.end()
    bench.wait()
    assert bench.agent.last.header("last-event-id") is None


def test_back_off(bench: Bench) -> None:
    source = bench.source()
    bench.read(source)
    lower_bounds = []
    for upper in (4.5, 9, 18, 36, 72, 90, 90, 90):
        bench.agent.last.fail(ConnectionRefusedError())
        assert 3 <= bench.wait_seconds() <= upper
        lower_bounds.append(bench.wait())
    assert source.failures == 8
    assert len(set(lower_bounds)) == 8
    assert max(lower_bounds) > 36
    response = bench.agent.last.answer()
    assert source.failures == 8  # an answer alone mends nothing
    response.send(b"data: x\n\n")
    assert source.failures == 0
    response.end()
    assert 3 <= bench.wait_seconds() <= 4.5


def test_an_overloaded_hub_that_answers_and_hangs_up_is_backed_off_from(bench: Bench) -> None:
    source = bench.source()
    bench.read(source)
    for _ in range(3):
        response = bench.agent.last.answer()
        response.send(b"retry: 10000\n\n")
        response.end()
        assert 10 <= bench.wait() <= 60
    assert source.failures == 3


def test_a_stream_that_was_quiet_for_long_was_well(bench: Bench) -> None:
    source = bench.source(limits=EventLimits(idle_seconds=None))
    bench.read(source)
    bench.agent.last.fail(ConnectionRefusedError())
    bench.wait()
    for seconds, failures in ((60, 2), (61, 0)):
        response = bench.agent.last.answer()
        bench.clock.advance(seconds)
        response.end()
        assert source.failures == failures
        bench.wait()


@pytest.mark.parametrize(("said", "low", "high"), [(b"0", 0.5, 0.75), (b"1" * 30, 60, 90), (b"500", 0.5, 0.75)])
def test_what_a_server_asks_is_bounded(bench: Bench, said: bytes, low: float, high: float) -> None:
    _, response = bench.start()
    response.send(b"retry:%b\ndata:x\n\n" % said)
    response.end()
    assert low <= bench.wait() <= high


def test_no_answer_in_time(bench: Bench) -> None:
    source = bench.source()
    bench.read(source)
    bench.clock.advance(29.99)
    assert not bench.agent.last.cancelled
    bench.clock.advance(0.01)
    assert bench.agent.last.cancelled
    assert source.failures == 1


def test_an_agent_that_answers_though_it_was_cancelled(bench: Bench) -> None:
    """The answer to the first attempt comes in the middle of the second."""
    first: Deferred[Any] = Deferred()
    late: Deferred[Any] = Deferred()
    first.addErrback(lambda _: late)
    source, request = bench.source(), bench.agent.request
    bench.agent.request = lambda *_: first  # type: ignore[method-assign]
    bench.read(source)
    bench.agent.request = request  # type: ignore[method-assign]
    bench.clock.advance(30)
    bench.wait()
    response = ScriptedResponse(200, STREAM)
    late.callback(response)
    assert response.transport.aborted
    assert source.state is SourceState.CONNECTING
    bench.agent.last.answer()
    assert source.state is SourceState.OPEN


def test_nothing_is_kept_between_attempts(bench: Bench) -> None:
    source, response = bench.start()
    gc.collect()
    gc.disable()
    try:
        kept = [weakref.ref(source._reading), weakref.ref(source._parser)]
        bench.agent.asked.clear()
        response.end()
        del response
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


def test_idle(bench: Bench) -> None:
    source, response = bench.start()
    bench.clock.advance(89)
    response.send(b":\n")
    bench.clock.advance(89.9)
    assert source.state is SourceState.OPEN
    bench.clock.advance(0.1)
    assert source.state is SourceState.CONNECTING
    assert response.transport.aborted
    response.end()  # as the transport then says
    bench.wait()


def test_idle_never(bench: Bench) -> None:
    source, _ = bench.start(limits=EventLimits(idle_seconds=None))
    assert bench.clock.getDelayedCalls() == []
    bench.clock.advance(1e6)
    assert source.state is SourceState.OPEN


def test_a_slow_reader_is_no_idle_server(bench: Bench) -> None:
    source = bench.source()
    source.deliver(bench.got.append)
    response = bench.agent.last.answer()
    source.pauseProducing()
    assert response.transport.paused
    for _ in range(50):
        bench.clock.advance(10)
    assert source.state is SourceState.OPEN
    source.resumeProducing()
    assert not response.transport.paused
    bench.clock.advance(89.9)
    assert source.state is SourceState.OPEN
    bench.clock.advance(90)
    assert source.state is SourceState.CONNECTING


def test_failures_are_counted(bench: Bench) -> None:
    reading = bench.read(bench.source(limits=EventLimits(max_failures=2)))
    for _ in range(2):
        bench.agent.last.fail(ConnectionRefusedError())
        bench.wait()
    assert not reading.called
    bench.agent.last.fail(ConnectionRefusedError())
    assert result(reading) == EndReason.FAILURES


def test_a_stream_with_events_is_no_failure(bench: Bench) -> None:
    _, response = bench.start(limits=EventLimits(max_failures=0))
    response.send(b"data:x\n\n")
    response.end()
    bench.wait()
    bench.agent.last.answer().end()
    assert result(bench.reading) == EndReason.FAILURES


# -- answers that are no stream ----------------------------------------------------------------


def test_204(bench: Bench) -> None:
    source = bench.source()
    reading = bench.read(source)
    response = bench.agent.last.answer(204, {}, 0)
    assert result(reading) == "end"
    assert source.ending.reason is EndReason.STOPPED
    assert not response.transport.aborted  # its connection may serve others already


@pytest.mark.parametrize(
    ("code", "headers", "reason"),
    [
        *((code, STREAM, "status") for code in (201, 206, 301, 302, 307, 400, 401, 403, 404, 410, 501, 505)),
        (200, {}, "content-type"),
        (200, {"Content-Type": "text/html"}, "content-type"),
        (200, {"Content-Type": "text/event-streams"}, "content-type"),
        (200, {**STREAM, "Content-Encoding": "deflate"}, "content-coding"),
        (200, {**STREAM, "Content-Encoding": "gzip, gzip"}, "content-coding"),
    ],
)
def test_fatal(bench: Bench, code: int, headers: dict[str, str], reason: str) -> None:
    source = bench.source()
    reading = bench.read(source)
    response = bench.agent.last.answer(code, headers)
    assert result(reading) == reason
    assert response.transport.aborted
    assert source.ending.status == code
    assert bench.states == [SourceState.CLOSED]


@pytest.mark.parametrize("kind", ["text/event-stream;charset=utf-8", "TEXT/Event-Stream ; x=y", " text/event-stream"])
def test_types_of_streams(bench: Bench, kind: str) -> None:
    source = bench.source()
    bench.read(source)
    bench.agent.last.answer(200, {"Content-Type": kind})
    assert source.state is SourceState.OPEN


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504, 507, 599])
def test_not_now(bench: Bench, code: int) -> None:
    source = bench.source(limits=EventLimits(max_refusals=2))
    reading = bench.read(source)
    for _ in range(2):
        response = bench.agent.last.answer(code, {})
        assert response.transport.aborted
        bench.wait()
    bench.agent.last.answer(code, {})
    assert result(reading) == EndReason.REFUSALS
    assert source.ending.status == code


def test_an_event_forgives_refusals(bench: Bench) -> None:
    source = bench.source(limits=EventLimits(max_refusals=1))
    bench.read(source)
    for _ in range(3):
        bench.agent.last.answer(503, {})
        bench.wait()
        response = bench.agent.last.answer()
        response.send(b"data:x\n\n")
        response.end()
        bench.wait()
    assert source.state is SourceState.CONNECTING


@pytest.mark.parametrize(
    ("said", "low", "high"),
    [
        ("100", 100, 103),
        ("600", 600, 603),
        ("601", 600, 603),
        ("0", 3, 4.5),
        ("soon", 3, 4.5),
        ("Tue, 14 Nov 2023 22:15:00 GMT", 100, 103),
    ],
)
def test_retry_after(bench: Bench, said: str, low: float, high: float) -> None:
    bench.read(bench.source())
    bench.agent.last.answer(503, {"Retry-After": said})
    assert low < bench.wait() <= high


@pytest.mark.parametrize("error", [ValueError("SECRET"), TypeError("SECRET")])
@pytest.mark.parametrize("at_once", [True, False])
def test_requests_that_cannot_be_made(bench: Bench, error: Exception, at_once: bool) -> None:
    bench.agent.raises = error if at_once else None
    source = bench.source()
    reading = bench.read(source)
    if not at_once:
        bench.agent.last.fail(error)
    assert result(reading) == EndReason.REQUEST
    assert "SECRET" not in str(EventSourceError(source.ending))


def test_a_url_that_is_no_url(bench: Bench) -> None:
    with pytest.raises(ValueError, match="percent") as raised:
        EventSource(bench.agent, "https://e/é?SECRET", clock=bench.clock)
    assert "SECRET" not in repr(raised.value.__dict__) + str(raised.value)
    assert raised.value.__context__ is None


# -- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fits", "does_not"),
    [
        (b"data:" + b"x" * 20 + b"\n\n", b"data:" + b"x" * 26),
        (b"data:" + b"x" * 10 + b"\ndata:" + b"x" * 9 + b"\n\n", b"data:" + b"x" * 10 + b"\ndata:" + b"x" * 10 + b"\n"),
        (b"id:" + b"x" * 10 + b"\n\n", b"id:" + b"x" * 11 + b"\n\n"),
        (b":" + b"x" * 24 + b"\n", b":" + b"x" * 25),
    ],
)
def test_too_long(bench: Bench, fits: bytes, does_not: bytes) -> None:
    limits = EventLimits(max_line_bytes=25, max_event_bytes=20, max_id_bytes=10)
    source, response = bench.start(limits=limits)
    response.send(fits)
    assert source.state is SourceState.OPEN
    bench.got.clear()
    response.send(b"data:a\n\n" + does_not)
    assert bench.data == ["a"]
    assert result(bench.reading) == EndReason.EVENT_BYTES
    assert response.transport.aborted


def test_a_reader_that_does_not_read(bench: Bench) -> None:
    source = bench.source(limits=EventLimits(max_queued_events=4, max_unread_bytes=100))
    first = result(ensureDeferred(source.__anext__()))
    assert first is None  # it waits
    response = bench.agent.last.answer()
    response.send(b"".join(b"id:%d\ndata:%d\n\n" % (i, i) for i in range(10)))
    assert source.queued_events == 4
    assert response.transport.paused
    assert source.last_event_id == "4"  # what is not parsed is not had

    def read() -> str:
        event = result(ensureDeferred(source.__anext__()))
        return event.data

    assert read() == "1"
    assert source.queued_events == 3  # half must be free first
    assert read() == "2"
    assert source.queued_events == 4
    assert [read() for _ in range(6)] == ["3", "4", "5", "6", "7", "8"]
    assert not response.transport.paused
    response.send(b"data:x\n\n" * 5)
    assert response.transport.paused
    room = 100 - source._reading.unread_bytes
    response.send(b"y" * room)
    assert source.state is SourceState.OPEN
    response.send(b"y")
    assert source.ending.reason is EndReason.UNREAD_BYTES
    assert response.transport.aborted


def test_text_that_waits_is_bounded(bench: Bench) -> None:
    source = bench.source(limits=EventLimits(max_queued_bytes=100))
    result(ensureDeferred(source.__anext__()))
    response = bench.agent.last.answer()
    response.send(b"data:a\n\n")
    for count in range(1, 4):
        assert not response.transport.paused
        response.send(encode_event("x" * 33))
        assert source.queued_events == count
    assert response.transport.paused
    for paused in (True, False, False):  # half must be free first
        result(ensureDeferred(source.__anext__()))
        assert response.transport.paused == paused
    assert source._queue.waiting_bytes == 0


def test_the_end_is_behind_the_last_event(bench: Bench) -> None:
    """A body that has ended is read to its end before it is made again."""
    source = bench.source(limits=EventLimits(max_queued_events=1))
    source.deliver(bench.got.append)
    response = bench.agent.last.answer()
    source.pauseProducing()
    response.send(b"".join(b"id:%d\ndata:%d\n\n" % (i, i) for i in range(3)))
    response.end()
    assert (source.queued_events, source.state) == (0, SourceState.OPEN)
    assert bench.clock.getDelayedCalls() == []
    source.resumeProducing()
    assert bench.data == ["0", "1", "2"]
    bench.wait()
    assert bench.agent.last.header("last-event-id") == "2"


def test_a_transport_that_brings_more_when_it_is_resumed(bench: Bench) -> None:
    """At once, within the call."""
    source = bench.source(limits=EventLimits(max_queued_events=1))
    source.deliver(bench.got.append)
    response = bench.agent.last.answer()
    rest = [b"data:c\n\n", b"data:b\n\n"]

    def resume() -> None:
        response.transport.paused = False
        response.send(rest.pop())

    response.transport.resumeProducing = resume  # type: ignore[method-assign]
    source.pauseProducing()
    response.send(b"data:a\n\n")
    source.resumeProducing()
    assert bench.data == ["a", "b"]
    source.pauseProducing()
    source.resumeProducing()
    assert bench.data == ["a", "b", "c"]


def test_what_has_come_is_read_after_204(bench: Bench) -> None:
    source = bench.source()
    result(ensureDeferred(source.__anext__()))
    response = bench.agent.last.answer()
    response.send(b"data:a\n\ndata:b\n\n")
    response.end()
    bench.wait()
    bench.agent.last.answer(204, {}, 0)
    assert (source.state, source.queued_events) == (SourceState.CLOSED, 1)
    ended = source.when_ended()
    assert not ended.called
    assert result(bench.read(source)) == "end"
    assert bench.data == ["b"]
    assert result(ended).reason is EndReason.STOPPED
    assert result(source.when_ended()).reason is EndReason.STOPPED


@pytest.mark.parametrize(("size", "count"), [(1000, 2000), (1, 2000)])
def test_much_at_once_does_not_hold_the_reactor(bench: Bench, size: int, count: int) -> None:
    source = bench.source(limits=EventLimits(max_unread_bytes=1 << 22))
    source.deliver(bench.got.append)
    turns: list[int] = []
    later = bench.clock.callLater

    def call_later(seconds: float, *args: Any) -> Any:
        if seconds == 0:
            turns.append(len(bench.got))
        return later(seconds, *args)

    bench.clock.callLater = call_later  # type: ignore[method-assign]
    response = bench.agent.last.answer()
    response.send(b"data:%b\n\n" % (b"x" * size) * count)
    assert len(bench.got) == turns[0] < count
    assert response.transport.paused
    bench.clock.advance(0)
    assert len(bench.got) == count
    assert max(after - before for before, after in pairwise([0, *turns])) <= (66 if size == 1000 else 500)
    assert not response.transport.paused


PIECES = st.binary(max_size=4) | st.sampled_from(
    [b"data:x\n\n", b"data", b":", b"\r", b"\n\n", b"id:1", b"\xef\xbb\xbf"]
)


@given(
    steps=st.lists(PIECES | st.sampled_from(["pause", "resume"]), max_size=40),
    max_events=st.integers(1, 3),
    coding=st.sampled_from(["", "gzip"]),
)
def test_whatever_the_pieces_and_pauses(steps: list[Any], max_events: int, coding: str) -> None:
    """A reader has what a parser makes of the whole, in order, and never more waits than may."""
    bench = Bench()
    source = bench.source(limits=EventLimits(max_queued_events=max_events))
    source.deliver(bench.got.append)
    response = bench.agent.last.answer(200, {**STREAM, "Content-Encoding": coding})
    compressor = zlib.compressobj(wbits=31)
    whole = b""
    for step in [*steps, "resume"]:
        if step == "pause":
            source.pauseProducing()
        elif step == "resume":
            source.resumeProducing()
        else:
            whole += step
            coded = compressor.compress(step) + compressor.flush(zlib.Z_SYNC_FLUSH) if coding else step
            response.send(coded)
        assert source.queued_events <= max_events
    assert bench.got == [gap_of(event) or event for event in Parser().feed(whole)]
    assert not response.transport.paused
    source.close()
    assert bench.clock.getDelayedCalls() == []


# -- compressed --------------------------------------------------------------------------------


def test_compressed(bench: Bench) -> None:
    source = bench.source()
    bench.read(source)
    response = bench.agent.last.answer(200, {**STREAM, "Content-Encoding": "gzip"})
    compressor = zlib.compressobj(wbits=31)
    for i in range(3):
        response.send(compressor.compress(b"data:%d\n\n" % i) + compressor.flush(zlib.Z_SYNC_FLUSH))
        assert bench.data[-1] == str(i)
    response.send(b"\xff" * 10)  # damaged: made again
    assert source.state is SourceState.CONNECTING
    assert response.transport.aborted


@pytest.mark.slow
def test_a_bomb(bench: Bench) -> None:
    source = bench.source(limits=EventLimits(max_ratio=50))
    reading = bench.read(source)
    response = bench.agent.last.answer(200, {**STREAM, "Content-Encoding": "gzip"})
    response.send(gzip.compress(b":\n" * (1 << 23)))
    while source.state is SourceState.OPEN:
        bench.clock.advance(0)
    assert result(reading) == EndReason.DECODED_BYTES
    assert response.transport.aborted


def test_what_waits_waits_compressed(bench: Bench) -> None:
    source = bench.source(limits=EventLimits(max_queued_events=10))
    result(ensureDeferred(source.__anext__()))
    response = bench.agent.last.answer(200, {**STREAM, "Content-Encoding": "gzip"})
    response.send(gzip.compress(b"data:x\n\n" * 100_000))
    assert source.queued_events == 10
    assert source._reading.unread_bytes < 70_000


# -- readers -----------------------------------------------------------------------------------


def test_one_reader(bench: Bench) -> None:
    source = bench.source()
    waiting = ensureDeferred(source.__anext__())
    with pytest.raises(RuntimeError, match="one reader"):
        source.deliver(bench.got.append)
    assert result(ensureDeferred(source.__anext__())).check(RuntimeError)
    waiting.cancel()
    assert result(waiting).check(CancelledError)
    source.deliver(bench.got.append)
    bench.agent.last.answer().send(b"data:kept\n\n")
    assert bench.data == ["kept"]
    assert result(ensureDeferred(source.__anext__())).check(RuntimeError)


def test_a_reader_that_fails(bench: Bench, caplog: Any) -> None:
    def receive(event: Event) -> None:
        bench.got.append(event)
        raise KeyError(event.data)

    source = bench.source()
    source.deliver(receive)
    source.on_state(lambda _: 1 / 0)
    bench.agent.last.answer().send(b"data:a\n\ndata:b\n\n")
    assert bench.data == ["a", "b"]


def test_a_reader_that_pauses_in_the_middle(bench: Bench) -> None:
    def receive(event: Event) -> None:
        bench.got.append(event)
        source.pauseProducing()

    source = bench.source()
    source.deliver(receive)
    response = bench.agent.last.answer()
    response.send(b"data:a\n\ndata:b\n\ndata:c\n\n")
    assert bench.data == ["a"]
    assert response.transport.paused
    source.resumeProducing()
    assert bench.data == ["a", "b"]
    source.resumeProducing()
    source.resumeProducing()
    assert bench.data == ["a", "b", "c"]
    assert not response.transport.paused


def test_a_consumer(bench: Bench) -> None:
    class Consumer:
        producer: Any = None

        def registerProducer(self, producer: Any, streaming: bool) -> None:
            self.producer = producer, streaming

        def unregisterProducer(self) -> None:
            self.producer = None

        write = bench.got.append

    source, consumer = bench.source(), Consumer()
    ended = source.produce(consumer)
    assert consumer.producer == (source, True)
    bench.agent.last.answer().send(b"data:a\n\n")
    assert bench.data == ["a"]
    consumer.producer[0].stopProducing()
    assert consumer.producer is None
    assert result(ended).reason is EndReason.CLOSED


# -- the end -----------------------------------------------------------------------------------


def moments() -> dict[str, Any]:
    def asking(bench: Bench, source: EventSource) -> None:
        bench.read(source)

    def reading(bench: Bench, source: EventSource) -> None:
        bench.read(source)
        bench.agent.last.answer().send(b"data:a\n\n")

    def waiting(bench: Bench, source: EventSource) -> None:
        bench.read(source)
        bench.agent.last.fail(ResponseFailed([]))

    def paused(bench: Bench, source: EventSource) -> None:
        source.deliver(bench.got.append)
        response = bench.agent.last.answer()
        source.pauseProducing()
        response.send(b"data:a\n\n")

    def lost(bench: Bench, source: EventSource) -> None:
        paused(bench, source)
        source._reading.connectionLost()

    def unread(bench: Bench, source: EventSource) -> None:
        result(ensureDeferred(source.__anext__()))
        bench.agent.last.answer().send(b"data:a\n\n" * 5)

    def in_turns(bench: Bench, source: EventSource) -> None:
        source.deliver(bench.got.append)
        response = bench.agent.last.answer()
        response.send(b"data:%b\n\n" % (b"x" * 1000) * 500)
        response.send(b"data:%b\n\n" % (b"x" * 1000) * 500)

    def stopped(bench: Bench, source: EventSource) -> None:
        unread(bench, source)
        source._reading.connectionLost()
        bench.wait()
        bench.agent.last.answer(204, {}, 0)

    def delivered(bench: Bench, source: EventSource) -> None:
        source.deliver(lambda _: bench.got.append(source.state))
        bench.agent.last.answer(204, {}, 0)

    def new(bench: Bench, source: EventSource) -> None:
        pass

    each = (new, asking, reading, waiting, paused, lost, unread, in_turns, stopped, delivered)
    return {moment.__name__: moment for moment in each}


def holding(source: EventSource) -> Any:
    """A function that holds the source."""
    return lambda _: source.failures


@pytest.mark.parametrize("moment", moments())
def test_closed_at_any_moment(moment: str) -> None:
    """Everything is free at once, without the collector."""
    bench = Bench()
    source = bench.source()
    gc.collect()
    gc.disable()
    try:
        source.on_state(holding(source))
        moments()[moment](bench, source)
        kept = [weakref.ref(thing) for thing in (source, source._queue, source._reading, source._parser) if thing]
        if bench.agent.asked and bench.agent.last.deferred.called is False:
            assert not bench.agent.last.cancelled
        ended = source.when_ended()
        source.close()
        source.close()
        expected = EndReason.STOPPED if moment in ("stopped", "delivered") else EndReason.CLOSED
        assert result(ended).reason is expected
        if moment == "asking":
            assert bench.agent.last.cancelled
        assert bench.clock.getDelayedCalls() == []
        bench.agent.asked.clear()
        bench.sources.clear()
        del source, ended
        assert [ref() for ref in kept if ref() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("moment", ["new", "stopped", "delivered"])
def test_forgotten(moment: str) -> None:
    """Neither a source that never began nor one that has ended needs ``close`` to be free."""
    bench = Bench()
    source = bench.source()
    gc.collect()
    gc.disable()
    try:
        moments()[moment](bench, source)
        kept = weakref.ref(source)
        bench.agent.asked.clear()
        bench.sources.clear()
        del source
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("state", [SourceState.OPEN, SourceState.CONNECTING, SourceState.CLOSED])
def test_closed_by_whoever_is_told(bench: Bench, state: SourceState) -> None:
    source = bench.source()
    source.on_state(lambda now: source.close() if now is state else None)
    source.deliver(bench.got.append)
    response = bench.agent.last.answer()
    assert response.transport.aborted == (state is SourceState.OPEN)
    if source.state is SourceState.OPEN:
        response.send(b"data:a\n\n")
        response.end()
    if source.state is not SourceState.CLOSED:
        bench.wait()
        bench.agent.last.answer(404, {})
    assert source.state is SourceState.CLOSED
    assert bench.clock.getDelayedCalls() == []


def test_closed_by_its_reader(bench: Bench) -> None:
    def receive(event: Event) -> None:
        bench.got.append(event)
        source.close()

    source = bench.source(limits=EventLimits(max_queued_events=2))
    source.deliver(receive)
    response = bench.agent.last.answer()
    response.send(b"data:a\n\ndata:b\n\ndata:c\n\n")
    assert bench.data == ["a"]
    assert source.queued_events == 0
    assert response.transport.aborted


def test_what_was_not_read_is_forgotten(bench: Bench) -> None:
    source = bench.source()
    source.deliver(bench.got.append)
    response = bench.agent.last.answer()
    source.pauseProducing()
    response.send(b"data:a\n\n", b"data:b\n\n")
    body = source._reading
    assert body.unread_bytes == 16
    source.close()
    assert body.unread_bytes == 0
    kept = weakref.ref(source)
    bench.sources.clear()
    del source
    assert kept() is None  # a transport that is long in going has the body still, and nothing more


def test_headers_are_those_of_the_beginning(bench: Bench) -> None:
    headers = Headers({"x": ["1"]})
    bench.read(bench.source(headers=headers))
    assert headers == Headers({"x": ["1"]})
    headers.removeHeader("x")
    bench.agent.last.fail(ConnectionRefusedError())
    bench.wait()
    assert bench.agent.last.header("x") == "1"


def test_an_agent_of_ours_is_asked_without_the_bounds_of_what_ends() -> None:
    agent = ScriptedAgent()
    assert without_end(agent) == {}
    agent.limits = ClientLimits(connect_seconds=1)  # type: ignore[attr-defined]
    assert without_end(agent) == {}
    agent.takes_limits = True  # type: ignore[attr-defined]
    limits = without_end(agent)["limits"]
    off = (limits.total_seconds, limits.body_idle_seconds, limits.max_body_bytes, limits.max_decoded_bytes)
    assert off == (None, None, None, None)
    assert (limits.connect_seconds, limits.unread_seconds) == (1, 86_400)


@pytest.mark.parametrize(
    ("given", "sent"), [("a\tb", b"a\tb"), ("é", "é".encode()), ("a\x01b", None), ("\x7f", None), ("\x1b[2J", None)]
)
def test_an_id_that_no_field_can_hold_is_not_sent_and_ends_nothing(given: str, sent: bytes | None) -> None:
    with ClientRig() as rig:
        source = EventSource(rig.agent, URL, clock=rig.clock)
        source.deliver(lambda event: None)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        rig.servers[0].send(head, b"id: %b\ndata: 1\n\n" % given.encode())
        rig.servers[0].lose()
        rig.advance(60)
        asked = rig.servers[1].received
        assert (b"\r\nLast-Event-Id: %b\r\n" % sent in asked) if sent else (b"Last-Event-Id" not in asked)
        assert source.ending is None
        source.close()


@pytest.mark.parametrize("around", [DecodingAgent, RedirectAgent])
def test_an_agent_of_others_between_ours_is_asked_as_it_can_be(around: Any) -> None:
    with ClientRig() as rig:
        agent = around(CookieAgent(rig.agent, CookieJar()))
        source = EventSource(agent, URL.encode(), clock=rig.clock)
        source.deliver(lambda event: None)
        assert rig.servers[0].received.startswith(b"GET ")
        assert source.ending is None
        source.close()
        rig.turn()
        for agent in (BreakerAgent(around(rig.agent), clock=rig.clock), RetryingAgent(rig.agent, clock=rig.clock)):
            assert without_end(agent)["limits"].total_seconds is None


def test_async_with(bench: Bench) -> None:
    async def reading() -> None:
        async with bench.source() as source:
            async for event in source:
                bench.got.append(event)
                break

    done = ensureDeferred(reading())
    response = bench.agent.last.answer()
    response.send(b"data:a\n\ndata:b\n\n")
    assert bench.data == ["a"]
    assert done.called
    assert response.transport.aborted


def test_an_agent_that_answers_at_once(bench: Bench) -> None:
    from twisted.internet.defer import fail, succeed

    response = ScriptedResponse(200, STREAM)
    bench.agent.request = lambda *_: succeed(response)  # type: ignore[method-assign]
    source = bench.source()
    bench.read(source)
    assert source.state is SourceState.OPEN
    response.send(b"data:a\n\n")
    bench.agent.request = lambda *_: fail(ConnectionRefusedError())  # type: ignore[method-assign]
    response.end()
    for _ in range(5):
        bench.clock.advance(bench.wait_seconds())
    assert source.failures == 5


def test_limits_name_the_field_and_the_bound() -> None:
    with pytest.raises(LimitError, match="max_id_bytes is 0; it must be a number from 1 to 65,536"):
        EventLimits(max_id_bytes=0)
    with pytest.raises(LimitError, match="idle_seconds"):
        EventLimits(idle_seconds=0)

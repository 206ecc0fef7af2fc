"""What is tried again and what is not, by an agent whose every answer the test gives."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from io import BytesIO
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError, RequestGenerationFailed, RequestNotSent, RequestTransmissionFailed
from twisted.web.client import FileBodyProducer, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from hardhttp.client import BytesBody, CircuitOpenError, ClientReason, Proxy, RetryingAgent, RetryPolicy, TunnelError
from hardhttp.client.retrying import IDEMPOTENT
from hardhttp.errors import LimitError
from hardhttp.wire.tunnelanswer import TunnelAnswer
from tests.client.scripted import ScriptedAgent, ScriptedResponse


def lost(*reasons: Exception) -> ResponseNeverReceived:
    return ResponseNeverReceived([Failure(reason) for reason in reasons or (ConnectionDone(),)])


class Told(Exception):
    """As an agent's errors that say what became of the request."""

    def __init__(self, sent: bool, reused: bool = False, reason: str = "") -> None:
        Exception.__init__(self)
        self.sent, self.reused, self.reason, self.reasons = sent, reused, reason, []


class NotAnswered(Told, ResponseNeverReceived):
    pass


class NotInTime(NotAnswered, TimeoutError):
    pass


class NotConnected(Told, ConnectionRefusedError):
    pass


class NotQueued(Told, RequestNotSent):
    pass


class Cut(Told, ResponseFailed):
    pass


class Bench:
    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.agent = ScriptedAgent()
        self.results: list[Any] = []

    def ask(self, method: bytes = b"GET", body: Any = None, random: Any = None, **policy: Any) -> Deferred[Any]:
        self.retrying = RetryingAgent(
            self.agent, clock=self.clock, policy=RetryPolicy(**policy), random=random or Random(1)
        )
        asked = self.retrying.request(method, b"http://a/", Headers({"x": ["1"]}), body)
        asked.addBoth(self.results.append)
        return asked

    def fail(self, error: Exception) -> None:
        """Fail, and let it try again if it will."""
        self.agent.last.fail(error)
        self.go_on()

    def go_on(self) -> None:
        for call in self.clock.getDelayedCalls():
            self.clock.advance(call.getTime() - self.clock.seconds())


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.clock.getDelayedCalls() == []


NEVER_SENT = [ConnectionRefusedError(), DNSLookupError(), TimeoutError(), RequestNotSent(), NotConnected(False)]
NEVER_SENT += [NotQueued(False), NotAnswered(False)]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PATCH"])
@pytest.mark.parametrize("error", NEVER_SENT, ids=lambda error: type(error).__name__)
def test_what_was_never_sent_is_sent_again(bench: Bench, error: Exception, method: bytes) -> None:
    bench.ask(method)
    bench.fail(error)
    assert len(bench.agent.asked) == 2
    assert bench.agent.last.header("x") == "1"
    assert bench.agent.last.headers is not bench.agent.asked[0].headers
    response = bench.agent.last.answer(200, {})
    assert bench.results == [response]
    assert (bench.retrying.retries, bench.retrying.given_up) == (1, 0)


@pytest.mark.parametrize("method", [*sorted(IDEMPOTENT), b"POST", b"PATCH", b"get"])
def test_a_kept_connection_that_ended(bench: Bench, method: bytes) -> None:
    bench.ask(method)
    bench.fail(NotAnswered(True, reused=True))
    assert len(bench.agent.asked) == (2 if method in IDEMPOTENT else 1)
    if method in IDEMPOTENT:
        bench.fail(NotAnswered(True, reused=False))
    assert bench.results[0].check(NotAnswered)


@pytest.mark.parametrize("error", [lost(), lost(ConnectionLost()), RequestTransmissionFailed([]), NotAnswered(True)])
@pytest.mark.parametrize("retry_fresh", [False, True])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_fresh_connection_that_ended(bench: Bench, error: Exception, retry_fresh: bool, method: bytes) -> None:
    bench.ask(method, retry_fresh=retry_fresh, max_retries=1)
    bench.fail(error)
    again = retry_fresh and method == b"GET"
    assert len(bench.agent.asked) == 1 + again
    if again:
        bench.fail(error)
    assert bench.results[0].value is error


FINAL = [
    ValueError(),
    KeyError(),
    ResponseFailed([Failure(ConnectionLost())]),
    lost(ParseError("x", b"")),
    lost(ConnectionDone(), ParseError("x", b"")),
    RequestGenerationFailed([]),
    CircuitOpenError("http://a:80", 5),
    Cut(True, reused=True),
    Cut(False),
    NotInTime(True, reused=True),
    NotQueued(False, reason="agent-closed"),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_final(bench: Bench, error: Exception) -> None:
    bench.ask(retry_fresh=True)
    bench.fail(error)
    assert len(bench.agent.asked) == 1
    assert bench.results[0].value is error
    assert bench.retrying.given_up == 0


def test_an_agent_that_raises(bench: Bench) -> None:
    bench.agent.raises = ValueError("x")
    bench.ask()
    assert bench.results[0].check(ValueError)


def test_how_often(bench: Bench) -> None:
    bench.ask(max_retries=2)
    for _ in range(3):
        assert bench.results == []
        bench.fail(ConnectionRefusedError())
    assert len(bench.agent.asked) == 3
    assert bench.results[0].check(ConnectionRefusedError)
    assert (bench.retrying.retries, bench.retrying.given_up) == (2, 1)


def test_never(bench: Bench) -> None:
    bench.ask(max_retries=0)
    bench.fail(ConnectionRefusedError())
    assert len(bench.agent.asked) == 1


class Longest(Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_waits_double_to_their_bound(bench: Bench) -> None:
    bench.ask(max_retries=6, base_seconds=1, max_wait_seconds=8, total_seconds=100, random=Longest())
    waits = []
    for _ in range(6):
        bench.agent.last.fail(ConnectionRefusedError())
        waits.append(bench.clock.getDelayedCalls()[0].getTime() - bench.clock.seconds())
        bench.go_on()
    assert waits == [1, 2, 4, 8, 8, 8]
    bench.fail(ConnectionRefusedError())


def test_jitter_is_full(bench: Bench) -> None:
    bench.ask(max_retries=1000, base_seconds=1, max_wait_seconds=1, total_seconds=80_000)
    waits = []
    for _ in range(200):
        bench.agent.last.fail(ConnectionRefusedError())
        waits.append(bench.clock.getDelayedCalls()[0].getTime() - bench.clock.seconds())
        bench.go_on()
    assert min(waits) < 0.05
    assert max(waits) > 0.95
    bench.agent.last.answer()


@pytest.mark.parametrize(("took", "again"), [(9.0, True), (9.01, False)])
def test_time_in_all(bench: Bench, took: float, again: bool) -> None:
    bench.ask(total_seconds=10, base_seconds=1, random=Longest())
    bench.clock.advance(took)
    bench.fail(ConnectionRefusedError())
    assert len(bench.agent.asked) == 1 + again
    assert bench.retrying.given_up == (not again)
    if again:
        bench.agent.last.answer()


# -- answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_answers_are_final_unless_asked_for(bench: Bench, code: int) -> None:
    bench.ask()
    response = bench.agent.last.answer(code, {})
    assert bench.results == [response]
    assert response.protocol is None


@pytest.mark.parametrize(("method", "again"), [(b"GET", True), (b"POST", False)])
def test_answers(bench: Bench, method: bytes, again: bool) -> None:
    bench.ask(method, statuses={503}, max_retries=1)
    first = bench.agent.last.answer(503, {})
    assert (first.protocol is not None) == again
    bench.go_on()
    if again:
        assert first.transport.aborted
        last = bench.agent.last.answer(503, {})
        assert bench.results == [last]
        assert last.protocol is None  # it is the caller's
    else:
        assert bench.results == [first]


@pytest.mark.parametrize(("size", "aborted"), [(100, False), (101, True)])
def test_what_is_read_of_an_answer_that_is_not_wanted(bench: Bench, size: int, aborted: bool) -> None:
    bench.ask(statuses={503}, max_discarded_bytes=100)
    response = bench.agent.last.answer(503, {})
    response.send(b"x" * 60, b"x" * (size - 60))
    assert response.transport.aborted == aborted
    response.end()
    bench.go_on()
    assert response.transport.aborted == aborted
    bench.agent.last.answer(200, {})


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("20", 20),
        ("21", None),
        ("soon", 0),
        ("Tue, 14 Nov 2023 22:13:35 GMT", 15),
        ("Tue, 14 Nov 2023 22:14:35 GMT", None),
    ],
)
def test_retry_after(bench: Bench, said: str, wait: float | None) -> None:
    bench.ask(statuses={503}, base_seconds=0.1, random=Longest())
    response = bench.agent.last.answer(503, {"Retry-After": said})
    if wait is None:
        assert bench.results == [response]
        assert response.protocol is None
    else:
        (call,) = bench.clock.getDelayedCalls()
        assert call.getTime() - bench.clock.seconds() == pytest.approx(wait + 0.1)
        bench.go_on()
        bench.agent.last.answer()


# -- bodies ------------------------------------------------------------------------------------


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


def test_a_body_that_was_not_begun(bench: Bench) -> None:
    bench.ask(b"POST", FileBodyProducer(BytesIO(b"once")))
    bench.agent.last.body.stopProducing()  # some agents do
    bench.fail(ConnectionRefusedError())
    assert bench.agent.last.body.length == 4
    bench.agent.last.answer()


def test_a_body_that_was_begun(bench: Bench) -> None:
    class Once:
        length = 3

        def startProducing(self, consumer: Any) -> Any:
            consumer.write(b"one")

        def stopProducing(self) -> None:
            self.stopped = True

    body: Any = Once()
    bench.ask(b"PUT", body)
    bench.agent.last.body.startProducing(Sink())
    bench.agent.last.body.stopProducing()
    assert body.stopped
    bench.fail(NotAnswered(True, reused=True))
    assert len(bench.agent.asked) == 1
    assert bench.results[0].check(NotAnswered)


def test_a_body_that_can_be_made_again(bench: Bench) -> None:
    bench.ask(b"PUT", BytesBody(b"twice"), statuses={503})
    assert isinstance(bench.agent.last.body, BytesBody)  # which our agent sends with the head
    sinks = []
    for outcome in (NotAnswered(True, reused=True), None):
        sinks.append(Sink())
        bench.agent.last.body.startProducing(sinks[-1])
        if outcome:
            bench.fail(outcome)
    bench.agent.last.answer()
    assert [sink.data for sink in sinks] == [b"twice", b"twice"]


# -- the end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["asking", "waiting", "discarding", "again"])
def test_cancelled(moment: str) -> None:
    bench = Bench()
    gc.collect()
    gc.disable()
    try:
        asked = bench.ask(statuses={503})
        response = None
        if moment == "discarding":
            response = bench.agent.last.answer(503, {})
        elif moment != "asking":
            bench.agent.last.fail(ConnectionRefusedError())
        if moment == "again":
            bench.go_on()
        call = weakref.ref(asked._canceller.__self__)  # type: ignore[union-attr]
        asked.cancel()
        assert bench.results[0].check(CancelledError)
        assert bench.clock.getDelayedCalls() == []
        if moment in ("asking", "again"):
            assert bench.agent.last.cancelled
        if response is not None:
            assert response.transport.aborted
        bench.agent.asked.clear()
        bench.results.clear()
        del asked, response
        assert call() is None
    finally:
        gc.enable()


def test_answered_though_cancelled(bench: Bench) -> None:
    response = ScriptedResponse(200, {})
    inner: Deferred[Any] = Deferred()
    inner.addErrback(lambda _: response)
    bench.agent.request = lambda *_: inner  # type: ignore[method-assign]
    bench.ask().cancel()
    assert bench.results[0].check(CancelledError)
    assert response.transport.aborted


def test_policies_name_the_field_and_the_bound() -> None:
    with pytest.raises(LimitError, match="max_retries is -1; it must be a number from 0 to 1,000"):
        RetryPolicy(max_retries=-1)
    with pytest.raises(ValueError, match=r"statuses has \[500\]; it may have \[429, 502, 503, 504\]"):
        RetryPolicy(statuses={500, 503})


@pytest.mark.parametrize(
    ("status", "again"), [(None, True), (502, True), (503, True), (429, True), (302, False), (403, False), (407, False)]
)
def test_a_tunnel_that_a_proxy_refuses(bench: Bench, status: int | None, again: bool) -> None:
    answer = None if status is None else TunnelAnswer(status, b"", ())
    bench.ask(b"POST")
    bench.fail(TunnelError(ClientReason.PROXY_REFUSED, Proxy.parse("http://proxy.example"), "no", answer))
    assert (bench.results == []) == again
    if again:
        bench.agent.last.answer()

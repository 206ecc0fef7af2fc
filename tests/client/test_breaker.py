"""Circuits that open and close, on a clock driven by hand."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.web.client import ResponseFailed

from hardhttp.client import BreakerAgent, BreakerPolicy, Circuit, CircuitOpenError, CircuitState, RetryingAgent
from hardhttp.errors import LimitError
from tests.client.scripted import ScriptedAgent

A = b"http://a/"
CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


class Bench:
    def __init__(self, **policy: Any) -> None:
        self.clock = Clock()
        self.agent = ScriptedAgent()
        self.breaker = BreakerAgent(self.agent, clock=self.clock, policy=BreakerPolicy(**policy))
        self.results: list[Any] = []

    def ask(self, uri: bytes = A) -> Deferred[Any]:
        asked = self.breaker.request(b"GET", uri)
        asked.addBoth(self.results.append)
        return asked

    def succeed(self, uri: bytes = A, count: int = 1, code: int = 200) -> None:
        for _ in range(count):
            self.ask(uri)
            self.agent.last.answer(code, {})

    def fail(self, uri: bytes = A, count: int = 1, error: Exception | None = None) -> None:
        for _ in range(count):
            self.ask(uri)
            self.agent.last.fail(error or ConnectionRefusedError())

    def state(self, uri: bytes = A) -> CircuitState:
        return self.breaker.circuit(uri).state

    def refused(self, uri: bytes = A) -> CircuitOpenError:
        """The error of a request that is not sent."""
        before = len(self.agent.asked)
        self.ask(uri)
        assert len(self.agent.asked) == before
        error = self.results.pop().value
        assert isinstance(error, CircuitOpenError)
        return error


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert bench.clock.getDelayedCalls() == []


def test_it_opens_and_says_until_when(bench: Bench) -> None:
    bench.fail(count=4)
    assert bench.breaker.circuit(A) == Circuit(CLOSED, 4, 4, 0)
    bench.fail()
    assert bench.breaker.circuit(A) == Circuit(OPEN, 0, 0, 5)
    bench.clock.advance(2)
    error = bench.refused()
    assert (error.origin, error.retry_seconds) == ("http://a:80", 3)
    assert str(error) == "http://a:80 has failed too often; it will be tried again in 3.0 s"
    assert (bench.breaker.refused, bench.breaker.opened) == (1, 1)
    bench.succeed(b"http://b/")  # others are not touched
    assert bench.breaker.circuits() == {"http://a:80": Circuit(OPEN, 0, 0, 3), "http://b:80": Circuit(CLOSED, 1, 0, 0)}


@pytest.mark.parametrize(("good", "state"), [(5, OPEN), (6, CLOSED)])
def test_the_ratio(bench: Bench, good: int, state: CircuitState) -> None:
    bench.succeed(count=good)
    bench.fail(count=5)
    assert bench.state() is state


def test_the_number_alone() -> None:
    bench = Bench(failure_ratio=0, min_failures=2)
    bench.succeed(count=50)
    bench.fail(count=2)
    assert bench.state() is OPEN


@pytest.mark.parametrize(("seconds", "state"), [(9.9, OPEN), (10, CLOSED)])
def test_the_window(bench: Bench, seconds: float, state: CircuitState) -> None:
    bench.fail(count=4)
    bench.clock.advance(seconds)
    bench.fail()
    assert bench.state() is state


def test_the_window_is_bounded(bench: Bench) -> None:
    for _ in range(1000):
        bench.succeed()
        bench.clock.advance(0.1)
    (host,) = bench.breaker._hosts.values()
    assert len(host.parts) <= 11
    assert 90 <= bench.breaker.circuit(A).requests <= 110


def test_one_probe(bench: Bench) -> None:
    bench.fail(count=5)
    bench.clock.advance(4.99)
    bench.refused()
    bench.clock.advance(0.02)
    bench.ask()
    assert bench.state() is HALF_OPEN
    error = bench.refused()
    assert error.retry_seconds == 0
    assert "on its way" in str(error)
    bench.agent.last.answer()
    assert bench.breaker.circuit(A) == Circuit(CLOSED, 0, 0, 0)
    bench.fail(count=4)
    assert bench.state() is CLOSED


def test_each_probe_that_fails_doubles_the_wait(bench: Bench) -> None:
    bench.fail(count=5)
    waits = []
    for _ in range(6):
        waits.append(bench.breaker.circuit(A).retry_seconds)
        bench.clock.advance(waits[-1])
        bench.fail()
    assert waits == [5, 10, 20, 40, 60, 60]
    bench.clock.advance(60)
    bench.succeed()
    bench.fail(count=5)
    assert bench.breaker.circuit(A).retry_seconds == 5


def test_a_probe_that_is_cancelled(bench: Bench) -> None:
    bench.fail(count=5)
    bench.clock.advance(5)
    bench.ask().cancel()
    assert bench.results[-1].check(CancelledError)
    assert bench.state() is HALF_OPEN
    bench.succeed()
    assert bench.state() is CLOSED


def test_a_request_of_before_that_is_cancelled_is_no_probe(bench: Bench) -> None:
    old = bench.ask()
    bench.fail(count=5)
    bench.clock.advance(5)
    bench.ask()
    old.cancel()
    bench.refused()


def test_a_probe_that_raises(bench: Bench) -> None:
    bench.fail(count=5)
    bench.clock.advance(5)
    bench.agent.raises = ValueError()
    with pytest.raises(ValueError):
        bench.ask()
    bench.agent.raises = None
    bench.succeed()
    assert bench.state() is CLOSED


def test_a_probe_of_which_nobody_hears(bench: Bench) -> None:
    bench.fail(count=5)
    bench.clock.advance(5)
    bench.ask()
    first = bench.agent.last
    bench.clock.advance(29.9)
    bench.refused()
    bench.clock.advance(0.2)
    bench.ask()
    first.fail(ConnectionRefusedError())  # it does not count any more
    assert bench.state() is HALF_OPEN
    bench.agent.last.answer()
    assert bench.state() is CLOSED


def test_what_began_before_is_not_counted_after(bench: Bench) -> None:
    bench.ask()
    slow = bench.agent.last
    bench.fail(count=5)
    slow.answer()
    assert bench.breaker.circuit(A) == Circuit(OPEN, 0, 0, 5)


@pytest.mark.parametrize("code", [502, 503, 504])
def test_answers_that_are_failures(bench: Bench, code: int) -> None:
    bench.succeed(code=code, count=5)
    assert bench.state() is OPEN


@pytest.mark.parametrize("code", [200, 204, 301, 404, 429, 500])
def test_answers_that_are_none(bench: Bench, code: int) -> None:
    bench.succeed(code=code, count=50)
    assert bench.state() is CLOSED


class Neutral(ResponseFailed):
    def __init__(self, reason: str) -> None:
        super().__init__([])
        self.reason = reason


@pytest.mark.parametrize("error", [CancelledError(), ValueError(), TypeError(), Neutral("max-queued")])
def test_what_says_nothing_of_the_host(bench: Bench, error: Exception) -> None:
    bench.fail(error=error, count=50)
    assert bench.breaker.circuit(A) == Circuit(CLOSED, 0, 0, 0)
    bench.fail(error=Neutral("first-byte-seconds"), count=5)
    assert bench.state() is OPEN


def test_origins(bench: Bench) -> None:
    same = (A, b"http://A:80/x", b"http://user:SECRET@a/?SECRET")
    for uri in same:
        bench.succeed(uri)
    for uri in (b"https://a/", b"http://a:81/", b"http://[::1]/", b"https://[::1]:1/"):
        bench.succeed(uri)
    assert list(bench.breaker.circuits()) == [
        "http://a:80",
        "https://a:443",
        "http://a:81",
        "http://[::1]:80",
        "https://[::1]:1",
    ]
    assert bench.breaker.circuit(A).requests == 3


@pytest.mark.parametrize("uri", [b"http://a:99999/", b"ftp://a/", b"http:///", b"\xff", b"http://[/", "http://a/"])
def test_what_has_no_origin_is_the_agents(bench: Bench, uri: Any) -> None:
    bench.succeed(uri)
    assert bench.agent.last.uri == uri
    assert bench.breaker.circuits() == {}
    assert bench.breaker.circuit(uri).state is CLOSED


def test_hosts_are_bounded() -> None:
    bench = Bench(max_hosts=2)
    bench.fail(b"http://a/", count=5)
    bench.succeed(b"http://b/")
    bench.refused(b"http://a/")
    bench.succeed(b"http://c/")
    assert set(bench.breaker.circuits()) == {"http://a:80", "http://c:80"}


def test_with_retries(bench: Bench) -> None:
    """Each attempt is counted; an open circuit is not tried again."""
    retrying = RetryingAgent(bench.breaker, clock=bench.clock)
    for _ in range(2):
        retrying.request(b"GET", A).addBoth(bench.results.append)
        while bench.clock.getDelayedCalls() or not bench.agent.last.deferred.called:
            if not bench.agent.last.deferred.called:
                bench.agent.last.fail(ConnectionRefusedError())
            bench.clock.advance(0.01)
    assert len(bench.agent.asked) == 5
    assert bench.results[0].check(ConnectionRefusedError)
    assert bench.results[1].check(CircuitOpenError)


def test_nothing_is_kept_of_a_request() -> None:
    bench = Bench()
    gc.collect()
    gc.disable()
    try:
        asked = bench.ask()
        kept = [weakref.ref(bench.agent.last), weakref.ref(asked)]
        bench.agent.last.answer()
        bench.agent.asked.clear()
        bench.results.clear()
        del asked
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


def test_policies_name_the_field_and_the_bound() -> None:
    with pytest.raises(LimitError, match=r"failure_ratio is 1\.1"):
        BreakerPolicy(failure_ratio=1.1)

"""Caps, the queue and kept connections, at their bounds and one past them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError, TimeoutError

from hardhttp.client import AgentClosed, ClientReason, QueueFull, QueueTimeout, ResponseTimeout
from tests.client.rig import ClientRig, Outcome

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def url(host: str) -> bytes:
    return f"http://{host}.example/".encode()


def test_connections_to_one_host_are_bounded() -> None:
    with ClientRig(max_connections_per_host=2) as rig:
        asked = [rig.ask() for _ in range(5)]
        other = rig.ask(uri=url("b"))
        assert len(rig.servers) == 3
        assert rig.held()["queued"] == 3
        rig.servers[2].send(OK)
        assert other.response is not None
        for number in (0, 1, 0, 1, 0):
            rig.servers[number].send(OK)
        assert [a.response.code for a in asked] == [200] * 5
        assert len(rig.servers) == 3
        assert "queued" not in rig.held()


def test_connections_in_all_are_bounded() -> None:
    with ClientRig(max_connections=2) as rig:
        asked = [rig.ask(uri=url(host)) for host in "abcd"]
        assert len(rig.servers) == 2
        rig.servers[0].send(CLOSING)
        assert len(rig.servers) == 2  # the socket is still there
        rig.turn()
        assert len(rig.servers) == 3
        rig.servers[1].send(OK)  # kept, but another host waits
        rig.turn()
        assert len(rig.servers) == 4
        assert rig.agent.statistics.closed == {"not-kept": 1, "evicted": 1}
        for server in rig.servers[2:]:
            server.send(OK)
        assert all(a.response is not None for a in asked)


def test_an_idle_connection_makes_room_for_another_host() -> None:
    with ClientRig(max_connections=2, max_queued=0) as rig:
        for host in "ab":
            rig.ask(uri=url(host))
            rig.servers[-1].send(OK)
        asked = rig.ask(uri=url("c"))
        rig.turn()
        assert [server.open for server in rig.servers] == [False, True, True]
        rig.servers[2].send(OK)
        assert asked.response is not None


def test_who_has_waited_longest_is_served_first() -> None:
    with ClientRig(max_connections=1) as rig:
        for host in "abab":
            rig.ask(uri=url(host))
        order = []
        for _ in range(4):
            server = next(s for s in rig.servers if s.open)
            order.append(server.received.partition(b"Host: ")[2][:1])
            server.send(OK)
            rig.turn()
        assert order == [b"a", b"b", b"a", b"b"]


def test_the_queue_is_bounded() -> None:
    with ClientRig(max_connections=1, max_queued=2) as rig:
        asked = [rig.ask() for _ in range(4)]
        assert [a.pending for a in asked] == [True, True, True, False]
        assert isinstance(asked[3].error, QueueFull)
        assert rig.agent.statistics.failed == {"max-queued": 1}
        other = rig.ask(uri=url("b"))
        assert isinstance(other.error, QueueFull)
        assert rig.held()["hosts"] == 1


def test_the_queue_has_a_deadline() -> None:
    with ClientRig(max_connections=1, queue_seconds=5, first_byte_seconds=60) as rig:
        served, queued = rig.ask(), rig.ask()
        rig.advance(4.9)
        assert queued.pending
        rig.advance(0.1)
        assert isinstance(queued.error, QueueTimeout)
        assert isinstance(queued.error, TimeoutError)
        assert served.pending
        assert "queued" not in rig.held()
        late = rig.ask()
        rig.servers[0].send(OK)
        rig.advance(5)
        assert late.pending  # it has a connection


def test_the_total_runs_in_the_queue_too() -> None:
    with ClientRig(max_connections=1, total_seconds=3) as rig:
        rig.ask()
        queued = rig.ask()
        rig.advance(3)
        assert isinstance(queued.error, ResponseTimeout)
        assert queued.error.reason is ClientReason.TOTAL_SECONDS


def test_idle_connections_are_bounded_in_number() -> None:
    with ClientRig(max_idle_connections=2) as rig:
        for host in "abc":
            rig.ask(uri=url(host))
        for server in rig.servers:
            server.send(OK)
        rig.turn()
        assert [server.open for server in rig.servers] == [False, True, True]
        assert rig.held()["hosts"] == 2
        assert rig.agent.statistics.closed == {"max-idle-connections": 1}


def test_none_is_kept_when_none_may_be() -> None:
    with ClientRig(max_idle_connections=0) as rig:
        rig.ask()
        assert b"\r\nConnection: close\r\n" in rig.servers[0].received
        rig.servers[0].send(OK)
        rig.turn()
        assert rig.held() == {}


def test_idle_connections_are_bounded_in_age() -> None:
    with ClientRig(idle_connection_seconds=30) as rig:
        rig.ask()
        rig.servers[0].send(OK)
        rig.advance(29.9)
        assert rig.servers[0].open
        rig.advance(0.1)
        rig.turn()
        assert not rig.servers[0].open
        assert rig.held() == {}
        assert rig.clock.getDelayedCalls() == []
        assert rig.agent.statistics.closed == {"idle-connection-seconds": 1}


def test_age_begins_anew_with_each_request() -> None:
    with ClientRig(idle_connection_seconds=30) as rig:
        for _ in range(3):
            rig.ask()
            rig.advance(20)
            rig.servers[0].send(OK)
            rig.advance(20)
        assert len(rig.servers) == 1
        rig.advance(10)
        assert not rig.servers[0].open


def test_a_dead_idle_connection_leaves_nothing() -> None:
    with ClientRig() as rig:
        rig.ask()
        rig.servers[0].send(OK)
        rig.servers[0].lose()
        assert rig.held() == {}
        assert rig.clock.getDelayedCalls() == []


def test_what_was_used_last_is_used_first() -> None:
    with ClientRig() as rig:
        for _ in range(3):
            rig.ask()
        for number in (0, 2, 1):
            rig.servers[number].send(OK)
            rig.advance(1)
        rig.ask()
        assert rig.servers[1].received.count(b"GET") == 2


def test_there_is_one_timer_for_all() -> None:
    with ClientRig(max_connections_per_host=60) as rig:
        for _ in range(50):
            rig.ask()
            rig.advance(0.01)
        assert len(rig.clock.getDelayedCalls()) == 1
        for server in rig.servers[:20]:
            server.send(OK)
        assert len(rig.clock.getDelayedCalls()) == 1


@pytest.mark.parametrize("cap", ["max_connections", "max_connections_per_host"])
def test_a_queued_request_gets_the_place_of_one_that_failed(cap: str) -> None:
    limits: dict[str, Any] = {cap: 1}
    with ClientRig(answers=False, **limits) as rig:
        first, second = rig.ask(), rig.ask()
        rig.refuse(OSError("unreachable"))
        assert isinstance(first.error, OSError)
        server = rig.connect()
        server.send(OK)
        assert second.response.code == 200


def test_an_endpoint_that_raises() -> None:
    with ClientRig() as rig:
        rig.answers = False
        asked = rig.ask()
        rig.refuse(ValueError("no such host"))
        assert isinstance(asked.error, ValueError)
        assert rig.held() == {}


def test_closing_ends_who_waits() -> None:
    with ClientRig(answers=False, max_connections=1) as rig:
        dialing, queued = rig.ask(), rig.ask()
        rig.agent.close()
        assert isinstance(dialing.error, AgentClosed)
        assert isinstance(queued.error, AgentClosed)
        assert rig.held() == {}


def test_a_callback_may_ask_again() -> None:
    with ClientRig() as rig:
        asked = []
        first = rig.ask()
        first.deferred.addCallback(lambda _: asked.append(rig.ask()))
        rig.servers[0].send(OK)
        assert len(rig.servers) == 1  # the connection was free before the callback
        rig.servers[0].send(OK)
        assert asked[0].response.code == 200


def test_many_who_wait_for_what_fails_at_once() -> None:
    with ClientRig(answers=False, max_connections=1) as rig:
        asked = [rig.ask() for _ in range(1000)]
        rig.endpoint_fails = True
        rig.refuse(ConnectionRefusedError())
        assert all(isinstance(one.error, ConnectionRefusedError) for one in asked)
        assert rig.held() == {}


@pytest.mark.parametrize("closes", [False, True])
def test_who_is_told_of_the_end_asks_in_vain(closes: bool) -> None:
    with ClientRig(answers=False, max_connections=1) as rig:
        asked = [rig.ask(), rig.ask()]
        after: list[Outcome] = []
        closed: list[Any] = []
        for one in asked:
            one.deferred.addCallback(lambda _: after.append(rig.ask()))
            if closes:
                one.deferred.addCallback(lambda _: closed.append(rig.agent.close()))
        first = rig.agent.close()
        assert [type(one.error) for one in after] == [AgentClosed, AgentClosed]
        assert rig.held() == {}
        assert first.called
        assert all(waiting.called for waiting in closed)


def test_a_host_is_there_once() -> None:
    """A kept connection is gone; what has its place fails at once, and its callback asks the same host."""
    with ClientRig(max_connections=1) as rig:
        rig.ask()
        rig.servers[0].send(OK)
        kept = rig.ask()
        other = rig.ask(uri=b"http://b.example/")
        again: list[Outcome] = []
        other.deferred.addCallback(lambda _: again.append(rig.ask()))
        rig.endpoint_fails = True
        rig.on_fail = lambda: setattr(rig, "endpoint_fails", False)
        rig.servers[0].lose()
        assert isinstance(other.error, ConnectionRefusedError)
        assert rig.held()["hosts"] == 1
        for one in (again[0], kept):
            assert rig.servers[-1].received.startswith(b"GET ")
            rig.servers[-1].send(OK)
            assert one.response.code == 200
        assert len(rig.servers) == 2

"""What all connections share: the bound on all memory, the log's budget, limits that change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.logger import globalLogPublisher
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits
from hardhttp.errors import Reason
from hardhttp.net.server import LINES_PER_MINUTE
from hardhttp.testing import Rig
from tests.net.loopback import Answer
from tests.net.test_channel import GET, LATER, POST


@pytest.fixture
def lines() -> Iterator[list[str]]:
    from twisted.logger import formatEvent

    said: list[str] = []

    def observe(event: Any) -> None:
        if str(event.get("log_namespace")).startswith("hardhttp."):
            said.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield said
    globalLogPublisher.removeObserver(observe)


def test_at_the_bound_of_all_memory_the_heaviest_is_shed() -> None:
    """At the bound nobody is; one byte past it, whoever holds most, and nobody else."""
    limits = Limits(max_buffered_bytes=100_000, max_body_bytes=1 << 20, spool_bytes=1 << 20)
    with Rig(LATER, limits=limits) as rig:
        peers = [rig.connect() for _ in range(4)]
        for peer, size in zip(peers, (10_000, 50_000, 20_000, 20_000)):
            peer.send(POST % 100_000, b"x" * size)
        assert rig.site.ledger.held_bytes == 100_000
        assert not any(peer.received for peer in peers)
        peers[0].send(b"x")
        (response,) = peers[1].responses()
        assert (response.status, response.reason) == (503, "buffered-bytes")
        assert [bool(peer.received) for peer in peers] == [False, True, False, False]
        assert rig.site.ledger.held_bytes == 50_001


@pytest.mark.parametrize("kind", ["unsent", "pipelined"])
def test_whatever_is_held_counts(kind: str) -> None:
    requests: list[Any] = []
    resource = Answer(lambda request: requests.append(request) or NOT_DONE_YET)
    limits = Limits(max_buffered_bytes=500_000, max_pipelined_bytes=1 << 20, max_unsent_bytes=1 << 20)
    with Rig(resource, limits=limits) as rig:
        peers = [rig.connect() for _ in range(4)]
        for peer in peers:
            peer.take(0)
            peer.send(GET)
        for number, peer in enumerate(peers):
            if kind == "unsent":
                for _ in range(4):
                    requests[number].write(b"x" * 60_000)
            else:
                peer.send(*[b"x" * 60_000] * 4)
            assert rig.site.ledger.held_bytes <= 500_000
        rig.clock.turn()
        assert sum(peer.closed for peer in peers) == 2
        assert rig.site.statistics.closed["buffered-bytes"] == 2


def test_the_log_has_a_budget_a_minute(lines: list[str]) -> None:
    with Rig(LATER) as rig:
        for _ in range(LINES_PER_MINUTE + 90):
            rig.site.server.refused(Reason.IDLE, "a thing")
        rig.site.server.refused(Reason.DRAINING, "another")
        assert lines.count("a thing (idle)") == LINES_PER_MINUTE
        assert lines.count("another (draining)") == 1
        rig.connect()
        rig.advance(1)
        assert lines.count("90 more: idle") == 1
        rig.site.limits = attrs.evolve(rig.site.limits, head_seconds=1000)
        rig.advance(61)
        rig.site.server.refused(Reason.IDLE, "a thing")
        assert lines.count("a thing (idle)") == LINES_PER_MINUTE + 1
        assert rig.site.statistics.refused["idle"] == LINES_PER_MINUTE + 91


def test_a_line_says_who_was_refused(lines: list[str]) -> None:
    with Rig(LATER, limits=Limits(max_connections=1)) as rig:
        rig.connect("192.0.2.7").send(b"nonsense\r\n\r\n")
        (line,) = [line for line in lines if "bad-request-line" in line]
        assert "(bad-request-line, from 192.0.2.7, request " in line
        rig.connect("192.0.2.8")
        assert "connection refused (connections, from 192.0.2.8)" in lines


def test_limits_change_at_once() -> None:
    with Rig(Answer(lambda request: b"")) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.site.limits = Limits(max_body_bytes=3, max_connections=1)
        assert rig.connect().responses()[0].reason == "connections"
        peer.send(POST % 4)
        assert peer.responses()[1].reason == "body-bytes"
        with pytest.raises(ValueError, match="max_connections"):
            rig.site.limits = Limits(max_connections=0)


def test_the_reaper_runs_while_there_is_anything_to_judge() -> None:
    """It needs no ``startFactory``: a wrapping factory may never call it."""
    with Rig(LATER) as rig:
        server = rig.site.server
        assert not server.reaper.running
        peer = rig.connect()
        assert server.reaper.running
        peer.reset()
        assert not server.reaper.running
        rig.site.doStart()
        assert server.reaper.running
        peer = rig.connect()
        rig.site.doStop()
        assert server.reaper.running
        peer.reset()
        assert not server.reaper.running


def test_a_guarded_call_keeps_its_failure_to_itself() -> None:
    with Rig(LATER) as rig:
        rig.site.server.guard(int, "no number")
        assert rig.flush()[0].check(ValueError)

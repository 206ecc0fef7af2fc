"""Draining: what is in flight ends, what does not is cut, and nothing new begins."""

from __future__ import annotations

from typing import Any

from hardhttp import Limits
from hardhttp.testing import Rig
from tests.net.test_channel import GET, LATER, waiting


def test_an_empty_site_has_drained() -> None:
    with Rig(LATER) as rig:
        assert rig.site.drain().called


def test_idle_connections_close_and_responses_in_flight_are_the_last() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        idle, busy, partial = (rig.connect() for _ in range(3))
        busy.send(GET + GET)
        partial.send(GET[:5])
        drained: list[Any] = []
        rig.site.drain().addCallback(drained.append)
        rig.clock.turn()
        assert (idle.closed, busy.closed, partial.closed) == (True, False, False)
        partial.send(GET[5:])
        for request in requests:
            request.write(b"here")
            request.finish()
        rig.clock.turn()
        for peer in (busy, partial):
            (response,) = peer.responses()
            assert response.get(b"connection") == b"close"
            peer.half_close()
        rig.advance(1)
        assert drained == [None]


def test_who_comes_while_it_drains_is_refused() -> None:
    _, resource = waiting()
    with Rig(resource) as rig:
        rig.connect().send(GET)
        rig.site.drain()
        (response,) = rig.connect().responses()
        assert (response.status, response.reason) == (503, "draining")
        rig.advance(31)


def test_what_outlasts_drain_seconds_is_cut() -> None:
    with Rig(LATER, limits=Limits(drain_seconds=30)) as rig:
        peer = rig.connect()
        peer.send(GET)
        drained: list[Any] = []
        rig.site.drain().addCallback(drained.append)
        rig.advance(29)
        assert not peer.closed
        assert not drained
        rig.advance(1)
        assert peer.aborted
        rig.advance(1)
        assert drained == [None]
        assert rig.site.statistics.closed["drain-seconds"] == 1


def test_who_asks_is_told_that_it_drains() -> None:
    requests, resource = waiting()
    told: list[Any] = []
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.send(GET)
        requests[0].notifyDrain().addCallback(told.append)
        rig.site.drain()
        assert told == [None]
        requests[0].write(b"bye")
        requests[0].finish()
        assert peer.responses()[0].body == b"bye"
        rig.advance(1)


def test_a_start_ends_the_drain() -> None:
    """Whoever comes then is not cut when the drain's time is over."""
    requests, resource = waiting()
    with Rig(resource, limits=Limits(drain_seconds=10)) as rig:
        rig.connect().send(GET)
        drained: list[Any] = []
        rig.site.drain().addCallback(drained.append)
        rig.advance(5)
        rig.site.doStart()
        peer = rig.connect()
        peer.send(GET)
        rig.advance(20)
        assert drained == [None]
        for request in requests:
            request.write(b"here")
            request.finish()
        assert peer.responses()[0].body == b"here"
        rig.site.doStop()

"""Draining: what is in flight ends, what does not is cut, and nothing new begins."""

from __future__ import annotations

from typing import Any

from hardhttp import Limits
from hardhttp.net.server import FIRST_REQUEST_SECONDS
from hardhttp.testing import Rig
from hardhttp.wire.http2 import LAST_STREAM, goaway_frame
from tests.net.loopback import Answer, Loopback, blocking, result_of
from tests.net.test_channel import GET, LATER, waiting

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"  # and its SETTINGS


def test_an_empty_site_has_drained() -> None:
    with Rig(LATER) as rig:
        assert rig.site.drain().called


def test_idle_connections_close_and_responses_in_flight_are_the_last() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        idle, busy, partial = (rig.connect() for _ in range(3))
        idle.send(GET)
        requests.pop().finish()
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
            assert response.body == b"here"
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


def test_who_has_just_connected_is_answered_once() -> None:
    """His request is on its way, and nothing has told him not to send it."""
    requests, resource = waiting()
    with Rig(resource) as rig:
        quick, slow, never = (rig.connect() for _ in range(3))
        drained: list[Any] = []
        rig.site.drain().addCallback(drained.append)
        quick.send(GET)
        rig.advance(FIRST_REQUEST_SECONDS - 0.5)
        slow.send(GET[:5])
        slow.send(GET[5:] + GET)
        rig.advance(1.5)
        assert (slow.closed, never.closed) == (False, True)
        assert rig.site.statistics.closed["drained"] == 1
        for request in requests:
            request.finish()
        for peer in (quick, slow):
            (response,) = peer.responses()
            assert (response.status, response.get(b"connection")) == (200, b"close")
            peer.half_close()
        rig.advance(1)
        assert drained == [None]


@blocking
def test_a_request_that_is_here_and_not_read_is_answered() -> None:
    """Between two requests: nobody could know that the server was about to close."""
    with Loopback(Answer(lambda request: request.path)) as loop:
        waits, idle = loop.connect(), loop.connect()
        for client in (waits, idle):
            client.send_all(GET)
            client.responses(1)
        waits.send_all(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
        done = loop.site.drain()
        second = waits.responses(2)[-1]
        assert (second.body, second.get(b"connection")) == (b"/second", b"close")
        waits.end()
        assert idle.end().count(b"HTTP/1.1 200") == 1
        result_of(done)


def test_http2_that_is_chosen_while_it_drains_is_told() -> None:
    _, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        rig.site.drain()
        peer.send(PREFACE)
        assert goaway_frame(LAST_STREAM, 0) in peer.received
        rig.advance(FIRST_REQUEST_SECONDS + 1)
        assert peer.closed

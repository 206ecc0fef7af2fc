"""Subscribers of a hub over HTTP/2: what is a connection's over HTTP/1.1 is a stream's here."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from hardhttp.limits import Limits
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.wire.eventstream import Parser
from tests.sse.subscribing import Hub

SMALL = {SettingCodes.INITIAL_WINDOW_SIZE: 1000}


def events(peer: HTTP2Peer, number: int) -> list[str]:
    """The data of each event that has come on a stream."""
    return [event.data for event in Parser().feed(peer.response(number).body)]


def test_thirty_subscribers_on_one_connection_get_each_event_once() -> None:
    with Hub() as site:
        peer = HTTP2Peer(site.rig)
        numbers = [peer.request(b"GET", b"/?topic=t") for _ in range(30)]
        for number in range(5):
            site.hub.publish("t", str(number))
        site.rig.clock.turn()
        for number in numbers:
            assert events(peer, number) == ["0", "1", "2", "3", "4"]
        assert site.rig.site.connection_count == 1
        peer.cancel(numbers[0])
        site.rig.clock.turn()
        assert site.reasons == ["client"]
        assert len(site.hub.subscribers()) == 29


def test_one_whose_window_is_shut_costs_nobody_else_anything() -> None:
    with Hub(max_queued_events=5) as site:
        peer = HTTP2Peer(site.rig, settings=SMALL)
        slow = peer.request(b"GET", b"/?topic=t")
        fast = peer.request(b"GET", b"/?topic=t")
        peer.takes_bodies = False
        got = 0
        for number in range(200):
            site.hub.publish("t", str(number) + "x" * 1000)
            site.rig.clock.turn()
            peer.pump()
            taken = len(peer.streams[fast].body)
            if taken > got:  # the other's window, and the connection's, are opened by hand
                peer.wire.increment_flow_control_window(2000, fast)
                peer.wire.increment_flow_control_window(2000)
                got = taken
                peer.pump()
        assert site.reasons == ["overflow"]
        assert peer.streams[slow].code == ErrorCodes.CANCEL
        assert peer.streams[fast].code is None
        for _ in range(5):
            peer.wire.increment_flow_control_window(100_000, fast)
            peer.wire.increment_flow_control_window(100_000)
            peer.pump()
            site.rig.clock.turn()
        assert len(events(peer, fast)) == 200


def test_a_window_that_opens_a_little_is_a_sign_of_life_and_one_that_stays_shut_is_not() -> None:
    with Hub(write_seconds=10, limits=Limits(send_bytes_per_second=1)) as site:
        peer = HTTP2Peer(site.rig, settings=SMALL)
        peer.takes_bodies = False
        number = peer.request(b"GET", b"/?topic=t")
        site.hub.publish("t", "x" * 200_000)
        site.rig.clock.turn()
        for _ in range(8):
            peer.wire.increment_flow_control_window(1000, number)
            peer.pump()
            site.rig.advance(6)
        assert site.reasons == []
        site.rig.advance(22)
        peer.pump()
        assert site.reasons == ["write-seconds"]
        assert peer.streams[number].code == ErrorCodes.CANCEL
        assert not peer.closed
        assert peer.response(peer.request(b"GET", b"/?topic=t")).status == 200


def test_its_lag_is_what_waits_at_its_stream() -> None:
    with Hub() as site:
        peer = HTTP2Peer(site.rig, settings=SMALL)
        peer.takes_bodies = False
        peer.request(b"GET", b"/?topic=t")
        other = peer.request(b"GET", b"/?topic=other")
        site.hub.publish("t", "x" * 100_000)
        site.rig.clock.turn()
        lags = sorted(subscriber.lag().unsent_bytes for subscriber in site.hub.subscribers())
        assert lags[0] == 0
        assert 99_000 <= lags[1] <= 101_000
        assert events(peer, other) == []

"""Messages of WebSockets near what the process may hold: the largest is not read on, and goes on when there is room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from hardhttp import Limits
from hardhttp.net.budget import WAIT_SECONDS, Pressure
from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.web.websocket import WebSocketResource
from tests.net.test_tunnel import Socket
from tests.web.websocketing import BINARY, Client, Sockets, closing, frame

BUDGET = 100_000
LIMITS = Limits(
    max_buffered_bytes=BUDGET, max_websocket_message_bytes=300_000, max_body_bytes=1 << 20, spool_bytes=1 << 20
)
MESSAGE = frame(BINARY, b"x" * 200_000)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with Sockets(on_message=lambda socket, message: None, limits=LIMITS) as made:
        yield made


def coming(sockets: Sockets, size: int) -> Client:
    """So much of a message has come, and less than all."""
    client = sockets.open()
    client.send(MESSAGE[:size])
    return client


def budget(sockets: Sockets) -> Any:
    return sockets.rig.site.server.budget


def test_near_it_the_largest_message_waits_and_goes_on(sockets: Sockets) -> None:
    large, small = coming(sockets, 60_000), coming(sockets, 20_200)
    assert budget(sockets).pressure is Pressure.NEAR
    assert budget(sockets).held_back_count == 1
    large.send(b"x" * 5_000)
    small.send(b"x" * 1_000)
    assert (large.peer.unread, small.peer.unread) == (5_000, 0)
    sockets.rig.advance(5)
    assert (large.peer.unread, large.close) == (5_000, None)  # it is asked for nothing meanwhile
    small.peer.reset()
    sockets.rig.advance(1)
    assert budget(sockets).pressure is Pressure.NONE
    assert large.peer.unread == 0
    assert sockets.held()[1] >= 64_000


def test_a_body_and_a_message_are_weighed_together(sockets: Sockets) -> None:
    message = coming(sockets, 30_000)
    body = sockets.rig.connect()
    body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n", b"x" * 51_000)
    assert budget(sockets).held_back_count == 1
    message.send(b"x" * 500)
    for each in (body, message):
        each.send(b"x" * 500)
    assert (body.unread, message.peer.unread) == (500, 500)  # the body, and then what is half as large
    body.transport.abortConnection()
    sockets.rig.advance(1)
    assert message.peer.unread == 0


def test_one_that_waits_too_long_is_ended(sockets: Sockets) -> None:
    large, other = coming(sockets, 60_000), coming(sockets, 22_000)
    for client in (large, other):
        client.send(b"x" * 1_000)
    assert large.peer.unread == 1_000
    sockets.rig.advance(WAIT_SECONDS + 1)
    assert budget(sockets).shed_count == 1
    assert large.peer.closed
    assert sockets.closed == {"buffered-bytes": 1}
    sockets.rig.advance(1)
    assert (other.peer.closed, other.peer.unread) == (False, 0)


def test_an_inbox_counts_and_its_reader_makes_room() -> None:
    asked: list[Deferred[Any]] = []

    def later(socket: Any, message: Any) -> Deferred[Any]:
        asked.append(Deferred())
        return asked[-1]

    with Sockets(on_message=later, limits=LIMITS) as sockets:
        client = sockets.open()
        client.send(frame(BINARY, b"x"))
        client.send(frame(BINARY, b"x" * 85_000))  # waits for the application
        assert budget(sockets).held_back_count == 1
        client.send(frame(BINARY, b"y"))
        assert client.peer.unread > 0
        asked[0].callback(None)
        sockets.rig.advance(1)
        assert client.peer.unread == 0
        for waiting in asked[1:]:
            waiting.callback(None)


def test_while_it_waits_we_may_close_it(sockets: Sockets) -> None:
    """Then its Close is to be read."""
    large, _ = coming(sockets, 60_000), coming(sockets, 21_000)
    socket = sockets.resource.sockets()[0]
    large.send(b"x" * 1_000)
    assert (large.peer.unread, socket.body_is_paused) == (1_000, True)
    socket.close()
    sockets.rig.clock.turn()
    assert (large.peer.unread, socket.body_is_paused, socket.incoming_bytes) == (0, False, 0)
    large.send(b"x" * (len(MESSAGE) - 61_000), closing(1000))
    sockets.rig.advance(1)
    assert sockets.reasons == ["closed"]


def test_one_that_ends_while_it_waits_is_waited_for_no_more(sockets: Sockets) -> None:
    large, _ = coming(sockets, 60_000), coming(sockets, 21_000)
    large.peer.transport.abortConnection()
    sockets.rig.advance(1)
    assert budget(sockets)._waiting == {}


def test_a_stream_of_http2_waits_in_its_window() -> None:
    resource = WebSocketResource(on_message=lambda socket, message: None)
    with Rig(resource, limits=LIMITS) as rig:
        peer = HTTP2Peer(rig)
        large, small = Socket(peer), Socket(peer)
        for socket, size in ((large, 55_000), (small, 26_000)):
            for begin in range(0, size, 10_000):
                socket.send(MESSAGE[begin : min(begin + 10_000, size)])
        first, second = resource.sockets()
        assert (first.body_is_paused, second.body_is_paused) == (True, False)
        before = first.incoming_bytes
        large.send(b"x" * 1_000)
        assert first.incoming_bytes == before
        peer.cancel(small.number)
        rig.advance(1)
        assert first.incoming_bytes == before + 1_000
        peer.cancel(large.number)

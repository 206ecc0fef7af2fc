"""The straight way to a plain socket: the same bytes, in the same order, counted as on the long way."""

from __future__ import annotations

import base64
import random
import socket
import zlib
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from hardhttp.net.port import EagerServer
from hardhttp.sse.hub import EventHub
from hardhttp.sse.outlet import _BETWEEN
from hardhttp.wire.eventstream import Parser
from tests.serving import KINDS, serve
from tests.sse.subscribing import Hub, Subscribes, data_of, empty
from tests.web.saying import say


def unchunked(received: bytes) -> bytes:
    rest = received.partition(b"\r\n\r\n")[2]
    pieces = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        assert rest[int(size, 16) :].startswith(b"\r\n")
        rest = rest[int(size, 16) + 2 :]
    return b"".join(pieces)


def take_all(client: socket.socket, got: list[bytes]) -> bytes:
    try:
        while data := client.recv(1 << 20):
            got.append(data)
    except BlockingIOError:
        pass
    return b"".join(got[-2:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coded", [False, pytest.param(True, marks=pytest.mark.slow)])
@ensureDeferred
async def test_straight_to_the_socket_and_back_to_the_queue(kind: str, coded: bool) -> None:
    """A socket that is full in between: nothing is lost, doubled or out of order, and all of it is counted."""
    hub = EventHub(reactor, max_queued_bytes=64 << 20, max_queued_events=100_000)
    async with serve(kind, Subscribes(hub)) as site:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.connect(("127.0.0.1", site.port))
        client.sendall(say(accept_encoding=b"gzip") if coded else say())
        await site.wait_for(lambda: hub.subscriber_count)
        client.setblocking(False)
        (subscriber,) = hub.subscribers()
        got: list[bytes] = []
        sent = []

        async def publish(data: str) -> None:
            sent.append(data)
            hub.publish("t", data)

        for number in range(20):
            await publish(f"small {number}")
        assert isinstance(subscriber._plain, EagerServer) is (kind == "fast")
        assert (subscriber._plain is _BETWEEN) is (kind == "plain")
        # More than the kernel takes: the rest of one event waits in the transport, those after it behind it.
        noise = random.Random(1)
        for _ in range(500):
            await publish(base64.b64encode(noise.randbytes(15_000)).decode())
        assert not subscriber.flowing
        await site.wait_for(lambda: take_all(client, got) is not None and subscriber.flowing, "room")
        for number in range(20):
            await publish(f"again {number}")
        hub.close_all()
        await site.wait_for(lambda: (take_all(client, got), b"".join(got).endswith(b"0\r\n\r\n"))[1], "the end")
        received = b"".join(got)
        stream = unchunked(received)
        plain = zlib.decompress(stream, 16 + zlib.MAX_WBITS) if coded else stream
        assert [event.data for event in Parser().feed(plain)] == sent
        assert site.site.statistics.bytes_out == len(received)
        client.close()
        await site.wait_for(lambda: not hub.subscriber_count)
    empty(hub)


def test_nothing_goes_around_what_is_held_back() -> None:
    """Output is held back while more input waits."""

    class Welcomes(Subscribes):
        def render_GET(self, request: Any) -> Any:
            answer = super().render_GET(request)
            for number in range(3):
                self.hub.publish("t", number)
            return answer

    with Hub() as site:
        site.rig.site.resource = Welcomes(site.hub)
        peer = site.rig.connect()
        peer.send(say() + b"GET /second")
        assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert data_of(peer) == ["0", "1", "2"]
        site.hub.publish("t", 3)
        site.hub.publish("t", 4)
        assert isinstance(site.newest._plain, EagerServer)
        assert data_of(peer) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("leave", ["reset", "close"])
@ensureDeferred
async def test_the_log_says_how_much_it_was(leave: str) -> None:
    hub = EventHub(reactor, retry_seconds=None)
    ended: list[Any] = []

    async with serve("fast", Subscribes(hub)) as site:
        client = socket.create_connection(("127.0.0.1", site.port))
        client.sendall(say())
        await site.wait_for(lambda: hub.subscriber_count)
        (subscriber,) = hub.subscribers()
        request = subscriber.request
        hub.on_close(lambda *_: ended.append(request.sentLength))
        client.setblocking(False)
        got: list[bytes] = []
        for number in range(10):
            hub.publish("t", number)
        await site.wait_for(lambda: take_all(client, got).count(b"data: 9"))
        size = len(unchunked(b"".join(got)))
        if leave == "close":
            hub.close(subscriber)
        client.close()
        await site.wait_for(lambda: not hub.subscriber_count)
    assert ended == [size]

"""WebSockets as streams of HTTP/2 (RFC 8441): the handshake, flow both ways, ends, and who knows none.

What is the same over HTTP/1.1 is in ``tests/web/test_websocket.py``, which runs over both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Compressed, HTTPError, Limits, Router, WebSocketResource
from hardhttp.errors import Reason
from hardhttp.net.ledger import INPUT, MESSAGES, WEBSOCKETS
from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.web.websocket import Ended, WebSocket
from hardhttp.wire.http2 import STREAM_WINDOW_BYTES
from tests.web.saying import Says
from tests.web.websocketing import BINARY, CLOSE, TEXT, closing, echo, frame
from tests.wire.framing import FIN, parse

CANCEL, REQUIRED = ErrorCodes.CANCEL, ErrorCodes.HTTP_1_1_REQUIRED


class Socket:
    """A client's stream."""

    def __init__(self, peer: HTTP2Peer, path: bytes = b"/", *more: tuple[bytes, bytes], **changed: bytes) -> None:
        self.peer = peer
        said = {b":method": b"CONNECT", b":protocol": b"websocket", b":scheme": b"http", b":path": path}
        said |= {b":authority": b"a", b"sec-websocket-version": b"13"}
        said |= {name.replace("_", "-").encode(): value for name, value in changed.items()}
        self.number = peer.headers([*said.items(), *more], end=False)
        self.heard = peer.streams[self.number]

    def send(self, *frames: bytes) -> int:
        return sum([self.peer.body(self.number, one, end=False) for one in frames])

    def end(self) -> None:
        self.peer.wire.end_stream(self.number)
        self.peer.pump()

    @property
    def status(self) -> int:
        self.peer.pump()
        assert self.heard.headers is not None, self.heard.code
        return int(dict(self.heard.headers)[b":status"])

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        self.peer.pump()
        return parse(self.heard.body)


def sockets(on_message: Any = None, **options: Any) -> WebSocketResource:
    return WebSocketResource(on_message=on_message or echo(), **options)


# -- the handshake ------------------------------------------------------------------------------


def test_a_socket_on_a_stream_beside_others() -> None:
    root = Resource()
    root.putChild(b"ws", resource := sockets())
    root.putChild(b"page", Says(lambda request: b"page"))
    with Rig(root) as rig:
        peer = HTTP2Peer(rig)
        one, two = Socket(peer, b"/ws"), Socket(peer, b"/ws")
        assert (one.status, two.status) == (200, 200)
        names = {name for name, _ in one.heard.headers or ()}
        assert names == {b":status", b"server", b"date"}  # no key is answered, and there is no content
        assert resource.socket_count == 2
        one.send(frame(TEXT, b"one"))
        two.send(frame(TEXT, b"two") + frame(BINARY, b"2"))
        assert peer.response(peer.request(b"GET", b"/page")).body == b"page"
        assert (one.frames, two.frames) == ([(TEXT, b"one")], [(TEXT, b"two"), (BINARY, b"2")])
        assert rig.site.ledger.snapshot()[WEBSOCKETS] == 2
        one.send(closing(1000))
        assert one.frames[-1][0] == CLOSE
        assert one.heard.ended
        assert rig.site.ledger.snapshot()[WEBSOCKETS] == 2  # the client's own end is awaited
        one.end()
        assert rig.site.ledger.snapshot()[WEBSOCKETS] == 1
        assert sorted(peer.protocol.streams) == [two.number]
        two.end()
        assert not peer.protocol.streams
        assert resource.ends[Ended.CLIENT] == resource.ends[Ended.LOST] == 1


@pytest.mark.parametrize("told", [True, False])
def test_what_the_settings_say(told: bool) -> None:
    with Rig(sockets()) as rig:
        rig.site.websockets_over_http2 = told
        peer = HTTP2Peer(rig)
        assert peer.wire.remote_settings.enable_connect_protocol == told
        rig.site.websockets_over_http2 = not told  # for connections to come
        socket = Socket(peer)
        if told:
            assert socket.status == 200
        else:
            assert socket.heard.code == ErrorCodes.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("status", "changed"),
    [
        (403, {"origin": b"https://evil.example"}),
        (426, {"sec_websocket_version": b"8"}),
        (400, {"sec_websocket_protocol": b"a,,b b"}),
        (400, {"sec_websocket_extensions": b'"'}),
    ],
)
def test_refusals_are_answers_for_the_client(status: int, changed: dict[str, bytes]) -> None:
    with Rig(resource := sockets()) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer, **changed)
        assert socket.status == status
        assert (socket.heard.ended, socket.heard.code) == (True, ErrorCodes.NO_ERROR)
        assert not peer.protocol.streams
        assert resource.refused == 1
        assert Socket(peer, origin=b"http://a").status == 200


@pytest.mark.parametrize("verdict", [False, HTTPError(401), RuntimeError("as it should")])
def test_admission(verdict: Any) -> None:
    def admit(request: Any) -> Any:
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    with Rig(sockets(admit=admit)) as rig:
        status = {False: 403}.get(verdict, getattr(verdict, "status", 500)) if verdict is False else 0
        assert Socket(HTTP2Peer(rig)).status == (status or getattr(verdict, "status", 500))
        rig.flush()


def test_subprotocols_and_compression() -> None:
    with Rig(sockets(subprotocols=["b", "a"], deflate=True)) as rig:
        offers = {"sec_websocket_protocol": b"a, b", "sec_websocket_extensions": b"permessage-deflate"}
        socket = Socket(HTTP2Peer(rig), **offers)
        said = dict(socket.heard.headers or ())
        assert said[b"sec-websocket-protocol"] == b"b"
        assert said[b"sec-websocket-extensions"].startswith(b"permessage-deflate")
        socket.send(frame(TEXT, b"hello"))
        assert socket.frames[0][0] == TEXT | 0x40


def test_wrappers_and_routers_take_it_for_a_get() -> None:
    router = Router()
    router.mount("/ws", sockets())
    with Rig(Compressed(router)) as rig:
        socket = Socket(HTTP2Peer(rig), b"/ws", (b"accept-encoding", b"gzip"))
        assert socket.status == 200
        assert b"content-encoding" not in dict(socket.heard.headers or ())
        socket.send(frame(TEXT, b"x" * 5000))
        assert socket.frames == [(TEXT, b"x" * 5000)]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({":method": b"GET"}, ErrorCodes.PROTOCOL_ERROR),
        ({":method": b"GET", ":protocol": b"x"}, ErrorCodes.PROTOCOL_ERROR),
        ({"content_length": b"5"}, ErrorCodes.PROTOCOL_ERROR),
        ({"upgrade": b"websocket"}, ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_what_is_no_extended_connect(changed: dict[str, bytes], code: ErrorCodes) -> None:
    with Rig(sockets()) as rig:
        peer = HTTP2Peer(rig)
        assert Socket(peer, **changed).heard.code == code
        assert not peer.protocol.streams
        assert peer.goaways == []


def test_other_connects_stay_refused() -> None:
    with Rig(sockets()) as rig:
        peer = HTTP2Peer(rig)
        assert Socket(peer, **{":protocol": b"connect-udp"}).status == 501
        number = peer.headers([(b":method", b"CONNECT"), (b":authority", b"a:443")], end=False)
        assert peer.response(number).status == 501
        ended = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/")]
        number = peer.headers([*ended, (b":authority", b"a"), (b"sec-websocket-version", b"13")], end=True)
        assert peer.streams[number].code == ErrorCodes.PROTOCOL_ERROR


class TakesOver(Resource):
    """As autobahn and ``twisted.web`` do."""

    isLeaf = True

    def __init__(self, how: Callable[[Any], Any]) -> None:
        super().__init__()
        self.how = how

    def render(self, request: Any) -> Any:
        return self.how(request)


def by_transport(request: Any) -> int:
    request.channel.transport = None
    return NOT_DONE_YET


def streaming(request: Any) -> int:
    request.write(b"a page")
    request.write(b"and more")
    return NOT_DONE_YET


@pytest.mark.parametrize(
    ("how", "code", "status"),
    [
        (lambda request: b"a page", REQUIRED, 0),
        (streaming, REQUIRED, 0),
        (by_transport, REQUIRED, 0),
        (lambda request: request.setResponseCode(426) or b"", REQUIRED, 0),
        (lambda request: request.setResponseCode(404) or b"", ErrorCodes.NO_ERROR, 404),
        (lambda request: request.setResponseCode(401) or b"", ErrorCodes.NO_ERROR, 401),
    ],
)
def test_who_knows_websockets_over_http_11_alone(how: Any, code: ErrorCodes, status: int) -> None:
    ends: list[Any] = []

    def answer(request: Any) -> Any:
        request.notifyFinish().addBoth(ends.append)
        return how(request)

    with Rig(TakesOver(answer)) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        assert socket.heard.code == code
        assert (int(dict(socket.heard.headers or ()).get(b":status", 0))) == status
        assert not peer.protocol.streams
        assert len(ends) == 1
        assert peer.goaways == []
        rig.flush()


# -- flow ---------------------------------------------------------------------------------------


def test_what_the_application_does_not_take_waits_in_the_window() -> None:
    taken: list[WebSocket] = []

    async def handler(socket: WebSocket) -> None:
        taken.append(socket)
        await socket.receive()

    limits = Limits(max_websocket_messages=4, max_websocket_message_bytes=1 << 16)
    with Rig(WebSocketResource(handler), limits=limits) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        assert socket.status == 200
        first = Socket(peer)  # it is not held up by the other
        (socket_, _) = taken
        whole = frame(BINARY, b"x" * 1000)
        sent = 0
        socket_._reader = None  # nobody takes any
        while (went := socket.send(whole)) == len(whole):
            sent += went
            assert sent < 10 * STREAM_WINDOW_BYTES
        held = rig.site.ledger.snapshot()
        assert STREAM_WINDOW_BYTES <= sent + went < STREAM_WINDOW_BYTES + limits.max_websocket_message_bytes + 20_000
        assert held[INPUT] + held[MESSAGES] < sent + 20_000
        assert held[INPUT] > STREAM_WINDOW_BYTES // 2
        assert first.send(frame(TEXT, b"still")) == 11
        socket.peer.cancel(socket.number)
        assert rig.site.ledger.snapshot()[INPUT] == 0
        assert socket_.reason is Ended.LOST


def test_it_goes_on_when_it_is_taken() -> None:
    got: list[Any] = []

    async def handler(socket: WebSocket) -> None:
        async for message in socket:
            got.append(message)
            await socket.send("x" * 50_000)

    with Rig(WebSocketResource(handler), limits=Limits(max_websocket_messages=2)) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 8})
        peer.takes_bodies = False
        socket = Socket(peer)
        for number in range(20):
            socket.send(frame(BINARY, bytes([number]) * 5000))
        assert len(got) < 20  # it waits for room to answer
        for _ in range(40):
            peer.wire.increment_flow_control_window(60_000)
            peer.wire.increment_flow_control_window(60_000, socket.number)
            peer.pump()
        assert [message[:1] for message in got] == [bytes([number]) for number in range(20)]
        peer.cancel(socket.number)


def test_who_takes_nothing_is_sent_no_more_than_the_bound() -> None:
    limits = Limits(max_websocket_unsent_bytes=10_000)
    with Rig(resource := sockets(), limits=limits) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stalled, other = Socket(peer), Socket(peer)
        (first, second) = resource.sockets()
        for _ in range(100):
            first.send("x" * 5000)
            second.send("y")
        assert peer.protocol.queued < 100_000
        peer.pump()
        assert stalled.heard.code == CANCEL
        assert other.heard.code is None
        assert first.reason is Ended.OVERFLOW
        assert rig.site.statistics.refused[Reason.UNSENT_BYTES] == 1
        peer.wire.increment_flow_control_window(1000, other.number)
        assert other.frames == [(TEXT, b"y")] * 100
        peer.cancel(other.number)


def test_a_shut_window_is_waited_for_at_the_pace_of_any_response() -> None:
    with Rig(resource := sockets()) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        socket = Socket(peer)
        resource.sockets()[0].send("x")
        for _ in range(62):
            rig.advance(1)
        peer.pump()
        assert socket.heard.code == CANCEL
        assert resource.socket_count == 0


def test_short_messages_are_no_flood() -> None:
    """A frame of DATA shorter than its own header counts where it brings nothing; here it brings a message."""
    with Rig(sockets(), limits=Limits(max_control_frames=50)) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        for _ in range(200):
            socket.send(frame(TEXT, b""))
        assert len(socket.frames) == 200
        assert peer.goaways == []
        bytewise = frame(TEXT, b"x" * 100)
        for at in range(len(bytewise)):
            if not peer.ended:
                peer.send(b"\0\0\1\0\0" + socket.number.to_bytes(4) + bytewise[at : at + 1])
        assert peer.goaways or peer.ended
        assert rig.site.statistics.refused[Reason.CONTROL_FRAMES] == 1


def test_the_ledger_has_what_all_sockets_of_a_connection_hold() -> None:
    with Rig(sockets(), limits=Limits(max_buffered_bytes=1 << 20)) as rig:
        peer = HTTP2Peer(rig)
        small, large = Socket(peer), Socket(peer)
        small.send(frame(TEXT - FIN, b"x" * 10_000))
        before = rig.site.ledger.snapshot()[MESSAGES]
        assert before >= 10_000
        large.send(frame(TEXT - FIN, b"x" * 20_000))
        assert rig.site.ledger.snapshot()[MESSAGES] >= before + 20_000
        rig.site.limits = Limits(max_buffered_bytes=1 << 16)
        large.send(frame(0, b"x" * 40_000))
        peer.pump()
        assert large.heard.code == ErrorCodes.INTERNAL_ERROR  # the heaviest went
        assert small.heard.code is None
        small.send(frame(0x80, b"x"))
        assert small.frames == [(TEXT, b"x" * 10_001)]
        peer.cancel(small.number)
        assert rig.site.ledger.snapshot()[MESSAGES] == 0


# -- ends ---------------------------------------------------------------------------------------


def test_pings_and_one_that_is_not_answered() -> None:
    with Rig(resource := sockets()) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        rig.advance(21)
        assert [first & 15 for first, _ in socket.frames] == [9]
        socket.send(frame(0x8A, socket.frames[0][1]))
        rig.advance(21)
        assert len(socket.frames) == 2
        rig.advance(21)
        assert socket.frames[2] == (CLOSE, (1011).to_bytes(2) + b"no answer to a ping")
        assert socket.heard.ended
        rig.advance(6)
        assert resource.ends[Ended.PONG_SECONDS] == 1
        assert not peer.protocol.streams


@pytest.mark.parametrize("answers", ["close", "end", "nothing"])
def test_the_application_closes(answers: str) -> None:
    with Rig(resource := sockets()) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        resource.close_all(1000, "enough")
        assert socket.frames == [(CLOSE, (1000).to_bytes(2) + b"enough")]
        assert not socket.heard.ended
        if answers == "close":
            socket.send(closing(1000))
            assert socket.heard.ended
        if answers != "nothing":
            socket.end()
            assert not peer.protocol.streams
        rig.advance(12)
        peer.pump()
        assert not peer.protocol.streams
        assert resource.socket_count == 0


def test_one_that_is_told_why_while_it_is_sending() -> None:
    with Rig(resource := sockets(), limits=Limits(max_websocket_message_bytes=1000)) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        socket.send(frame(BINARY, b"x" * 1001), *[frame(BINARY, b"x" * 900)] * 300)  # more than its window
        assert socket.frames[0] == (CLOSE, (1009).to_bytes(2) + socket.frames[0][1][2:])
        assert socket.heard.ended
        rig.advance(6)
        peer.pump()
        assert socket.heard.code == ErrorCodes.NO_ERROR
        assert resource.ends[Ended.TOO_BIG] == 1


def test_the_client_goes() -> None:
    with Rig(resource := sockets()) as rig:
        peer = HTTP2Peer(rig)
        for leave in (lambda one: one.end(), lambda one: peer.cancel(one.number)):
            socket = Socket(peer)
            socket.send(frame(TEXT - FIN, b"half"))
            leave(socket)
            assert resource.socket_count == 0
        assert resource.ends[Ended.LOST] == 2
        Socket(peer)
        peer.reset()
        assert peer.closed
        assert resource.ends[Ended.LOST] == 3


def test_the_server_stops() -> None:
    with Rig(resource := sockets()) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        rig.site.drain()
        assert socket.frames == [(CLOSE, (1001).to_bytes(2))]
        assert len(peer.goaways) == 2  # the client has heard the first one
        assert Socket(peer).heard.code == ErrorCodes.REFUSED_STREAM
        assert peer.protocol.streams
        socket.send(closing(1001))
        socket.end()
        rig.advance(2)
        peer.pump()
        assert peer.closed
        assert resource.ends[Ended.DRAINED] == 1


def test_an_idle_connection_with_a_socket_lives() -> None:
    with Rig(sockets(), limits=Limits(websocket_ping_seconds=3600)) as rig:
        peer = HTTP2Peer(rig)
        socket = Socket(peer)
        for _ in range(10):
            rig.advance(100)
        socket.send(frame(TEXT, b"x"))
        assert socket.frames == [(TEXT, b"x")]


def test_a_protocol_of_the_application_s_own() -> None:
    """What is handed a tunnel may be any protocol; what it raises costs its stream."""

    class Shouts(Protocol):
        def dataReceived(self, data: bytes) -> None:
            if data == b"fail":
                raise LookupError("as it should")
            if data == b"bye":
                assert self.transport is not None
                self.transport.loseConnection()
            else:
                assert self.transport is not None
                self.transport.write(data.upper())

        def connectionLost(self, reason: Any = None) -> None:
            ends.append(self)

    ends: list[Any] = []

    def render(request: Any) -> int:
        request.channel.expect_upgrade()
        request.write(b"")
        request.channel.upgrade(Shouts())
        return NOT_DONE_YET

    with Rig(TakesOver(render)) as rig:
        peer = HTTP2Peer(rig)
        failing, leaving, going = Socket(peer), Socket(peer), Socket(peer)
        for socket, last in ((failing, b"fail"), (leaving, b"bye"), (going, b"x")):
            socket.send(b"hello", last)
        peer.pump()
        assert failing.heard.code == ErrorCodes.INTERNAL_ERROR
        assert (leaving.heard.body, leaving.heard.ended) == (b"HELLO", True)
        leaving.end()
        assert going.heard.body == b"HELLOX"
        assert len(ends) == 2
        peer.cancel(going.number)
        assert len(ends) == 3
        assert len(rig.flush()) == 1


def test_data_before_the_answer_waits_for_it() -> None:
    waits: list[Any] = []

    async def admit(request: Any) -> bool:
        from twisted.internet.defer import Deferred

        waits.append(Deferred())
        return bool(await waits[-1])

    with Rig(sockets(admit=admit)) as rig:
        peer = HTTP2Peer(rig)
        early, gone = Socket(peer), Socket(peer)
        early.send(frame(TEXT, b"early"))
        gone.end()  # whoever waits for an answer does not hang up
        peer.pump()
        assert gone.heard.code == CANCEL
        assert rig.site.ledger.snapshot()[INPUT] > 0
        waits[0].callback(True)
        assert early.frames == [(TEXT, b"early")]
        assert rig.site.ledger.snapshot()[INPUT] == 0

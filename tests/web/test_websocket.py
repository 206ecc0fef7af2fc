"""WebSockets as a resource: the handshake, messages both ways, bounds, deadlines and ends."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from hardhttp import HTTPError, Limits, Router
from hardhttp.net.drain import drain
from hardhttp.testing import Rig, every_split
from hardhttp.web.compression import Compressed
from hardhttp.web.cors import CORS
from hardhttp.web.securityheaders import SecurityHeaders
from hardhttp.web.websocket import Deflate, Ended, WebSocket, WebSocketClosed, WebSocketResource
from tests.twistd_process import ROOT
from tests.web.websocketing import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    Client,
    Sockets,
    closing,
    echo,
    frame,
    handshake,
)
from tests.wire.framing import CONTINUATION, FIN, header


class Reader:
    """A handler that takes one message when it is told to."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.steps: Deferred[None] = Deferred()
        self.how = ""

    def step(self) -> None:
        steps, self.steps = self.steps, Deferred()
        steps.callback(None)

    async def __call__(self, socket: WebSocket) -> None:
        try:
            async for message in socket:
                self.taken.append(message)
                await self.steps
            self.how = "ended"
        except BaseException as error:
            self.how = type(error).__name__
            raise


async def echoing(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


# -- the handshake ------------------------------------------------------------------------------


def test_a_socket_is_opened_and_echoes() -> None:
    for made in (Sockets(echoing), Sockets(on_message=echo())):
        with made as sockets:
            client = sockets.open()
            assert client.head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
            fields = client.head.split(b"\r\n")
            assert b"upgrade: websocket" in fields
            assert b"connection: Upgrade" in fields
            assert b"\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.head  # RFC 6455, 1.3
            assert not {b"content-length", b"transfer-encoding"} & {field.partition(b":")[0] for field in fields}
            assert sockets.held() == (1, 0)
            client.say("grüße", b"\0\xff", "")
            assert client.messages == ["grüße", b"\0\xff", ""]
            client.send(closing(1000, "bye"))
            assert client.close == (1000, "")
            assert client.peer.closed
            (socket,) = sockets.ended
            assert (socket.reason, socket.close_code, socket.close_text) == (Ended.CLIENT, 1000, "bye")
            assert sockets.closed == {"upgraded-end": 1}


def test_a_conversation_at_every_split_the_opening_included() -> None:
    data = handshake() + frame(TEXT, b"one") + frame(PING, b"p") + frame(BINARY, b"two") + closing(3000)
    with Sockets(on_message=echo()) as sockets:
        for pieces in every_split(data):
            client = Client(sockets.rig.connect())
            client.send(*pieces)
            assert client.frames == [(TEXT, b"one"), (PONG, b"p"), (BINARY, b"two"), (CLOSE, b"\x0b\xb8")]
            assert client.peer.closed


REFUSED: list[tuple[int, dict[str, Any]]] = [
    (405, {"method": b"POST"}),
    (426, {"Upgrade": None}),
    (426, {"Upgrade": b"h2c"}),
    (426, {"Connection": b"keep-alive"}),
    (426, {"Sec_WebSocket_Version": None}),
    (426, {"Sec_WebSocket_Version": b"8"}),
    (426, {"Sec_WebSocket_Version": b"13, 8"}),
    (400, {"Sec_WebSocket_Key": None}),
    (400, {"Sec_WebSocket_Key": b"c2hvcnQ="}),
    (400, {"Sec_WebSocket_Key": KEY[:-1]}),
    (400, {"Sec_WebSocket_Key": b"!" + KEY[1:]}),
    (400, {"Sec_WebSocket_Protocol": b"a b"}),
    (400, {"Sec_WebSocket_Protocol": b"a, a"}),
    (400, {"Sec_WebSocket_Extensions": b"a=1"}),
    (400, {"Sec_WebSocket_Extensions": b'a; b="c d"'}),
    (403, {"Origin": b"http://evil.example"}),
    (403, {"Origin": b"https://a"}),
    (403, {"Origin": b"http://a:81"}),
    (403, {"Origin": b"null"}),
]


@pytest.mark.parametrize(("status", "change"), REFUSED)
def test_e03_a_refused_handshake_leaves_nothing(status: int, change: dict[str, Any]) -> None:
    """A process was started before the handshake was checked, and then orphaned."""
    made: list[Any] = []
    with Sockets(on_message=echo(), on_connect=made.append, admit=made.append) as sockets:
        before = sockets.rig.site.ledger.snapshot()
        client = Client(sockets.rig.connect())
        client.send(handshake(**change))
        assert client.status == status
        (answer,) = client.peer.responses(change.get("method", b"GET"))
        assert made == []
        assert sockets.resource.socket_count == 0
        assert sockets.resource.refused == 1
        if status == 426:
            assert (answer.get(b"sec-websocket-version"), answer.get(b"upgrade")) == (b"13", b"websocket")
        # The connection goes on, and can open one yet.
        client.peer.send(handshake())
        assert client.peer.received.count(b"HTTP/1.1 101 ") == 1
        client.peer.reset()
        assert sockets.rig.site.ledger.snapshot() == before


def test_e03_a_handshake_with_a_body_and_two_of_a_field() -> None:
    with Sockets(on_message=echo()) as sockets:
        for more in (b"Content-Length: 1", b"Sec-WebSocket-Key: " + KEY, b"Origin: http://a\r\nOrigin: http://a"):
            peer = sockets.rig.connect()
            peer.send(handshake().replace(b"\r\n\r\n", b"\r\n" + more + b"\r\n\r\n") + b"x")
            assert peer.received.startswith(b"HTTP/1.1 400 ")
        peer = sockets.rig.connect()
        peer.send(handshake().replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert peer.received.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), b"http://a", 101),
        (["https://app.example"], b"https://app.example", 101),
        (["https://app.example"], b"http://a", 101),
        (["https://app.example"], b"https://app.example.evil", 403),
        (["https://*.example.org"], b"https://x.example.org", 101),
        (["https://*.example.org"], b"https://x.y.example.org", 403),
        (["null"], b"null", 101),
        (["*"], b"http://anybody", 101),
    ],
)
def test_origins(origins: Any, origin: bytes, status: int) -> None:
    with Sockets(on_message=echo(), origins=origins) as sockets:
        assert sockets.open(Origin=origin).status == status


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (b"chat", b"chat"),
        (b"other, chat, v2.chat", b"v2.chat"),
        (b"CHAT", None),
        (b"other", None),
        (None, None),
    ],
)
def test_subprotocols(offered: bytes | None, chosen: bytes | None) -> None:
    with Sockets(on_message=echo(), subprotocols=["v2.chat", "chat"]) as sockets:
        client = sockets.open(**({} if offered is None else {"Sec_WebSocket_Protocol": offered}))
        assert client.status == 101
        assert sockets.newest.subprotocol == (None if chosen is None else chosen.decode())
        said = [line for line in client.head.split(b"\r\n") if line.startswith(b"sec-websocket-protocol")]
        assert said == ([] if chosen is None else [b"sec-websocket-protocol: " + chosen])


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    ("verdict", "status"), [(None, 101), (True, 101), (False, 403), (HTTPError(401), 401), (RuntimeError("x"), 500)]
)
def test_admission(later: bool, verdict: Any, status: int) -> None:
    asked: Deferred[Any] = Deferred()

    def admit(request: Any) -> Any:
        if later:
            return asked
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    with Sockets(on_message=echo(), admit=admit) as sockets:
        client = Client(sockets.rig.connect())
        client.send(handshake(), frame(TEXT, b"early"))
        if later:
            assert client.peer.received == b""
            (asked.errback if isinstance(verdict, Exception) else asked.callback)(verdict)
        assert client.status == status
        if status == 101:
            assert client.messages == ["early"]
        assert len(sockets.rig.flush()) == (status == 500)


def test_a_client_that_leaves_while_it_is_asked_about() -> None:
    asked: Deferred[Any] = Deferred()
    with Sockets(on_message=echo(), admit=lambda request: asked) as sockets:
        client = sockets.open()
        client.peer.reset()
        assert asked.called
        assert sockets.ended == []


def test_it_can_be_mounted_anywhere() -> None:
    deep, router = Resource(), Router()
    deep.putChild(b"ws", WebSocketResource(on_message=echo()))
    router.mount("/below", deep)
    router.mount("/ws", WebSocketResource(on_message=echo()))
    root = Resource()
    root.putChild(b"routed", router)
    root.putChild(b"wrapped", Compressed(SecurityHeaders(CORS(deep, ["https://app.example"]))))
    with Rig(root) as rig:
        for target in (b"/routed/below/ws", b"/routed/ws", b"/wrapped/ws"):
            client = Client(rig.connect())
            client.send(handshake(target, Accept_Encoding=b"gzip"))
            assert client.status == 101
            client.say("x" * 2000)
            assert client.messages == ["x" * 2000]
            client.send(closing())
            assert client.peer.closed


def test_what_a_resource_cannot_be_made_of() -> None:
    for wrong in ({}, {"handler": echoing, "on_message": echo()}, {"handler": echoing, "on_connect": print}):
        with pytest.raises(TypeError, match="handler"):
            WebSocketResource(**wrong)  # type: ignore[arg-type]
    for bad in ({"origins": "https://a.example"}, {"subprotocols": "chat"}, {"subprotocols": ["a b"]}):
        with pytest.raises(ValueError, match=r"origins|subprotocols"):
            WebSocketResource(echoing, **bad)  # type: ignore[arg-type]


@pytest.mark.slow
def test_without_wsproto_only_websockets_are_missing() -> None:
    script = (
        "import sys; sys.modules['wsproto'] = None; import hardhttp\n"
        "try: hardhttp.WebSocketResource(print)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "pip install 'hardhttp[websocket]'" in done.stdout


# -- what a client does wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "reason", "why"),
    [
        (frame(TEXT, b"x", mask=b""), 1002, "protocol", "bad-message"),
        (frame(CONTINUATION, b"x"), 1002, "protocol", "bad-message"),
        (frame(TEXT, b"\xff"), 1007, "bad-data", "bad-message"),
        (header(BINARY, 1001), 1009, "too-big", "message-bytes"),
    ],
)
def test_a_client_that_breaks_a_rule_is_told_and_cut_off(data: bytes, code: int, reason: str, why: str) -> None:
    with Sockets(on_message=echo(), limits=Limits(max_websocket_message_bytes=1000)) as sockets:
        client = sockets.open()
        client.say("before")
        client.send(data, frame(TEXT, b"after"))
        assert client.messages == ["before"]
        assert client.close is not None
        assert client.close[0] == code
        assert client.peer.ended
        assert not client.peer.closed  # it may be sending yet, and is to read why
        sockets.rig.advance(6)
        assert client.peer.closed
        assert sockets.reasons == [reason]
        assert sockets.closed == {why: 1}
        assert sockets.rig.site.statistics.refused[why] == 1


def test_e06_what_never_ends_is_refused_and_nothing_is_kept() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        client.send(frame(BINARY - FIN))
        for taken in range(1, 20):
            client.send(frame(CONTINUATION - FIN, b"x" * 65_536))
            if client.peer.ended:
                break
            assert sockets.held() == (1, taken * 65_536)
        assert taken == 17
        assert client.close is not None
        assert client.close[0] == 1009


def test_compression_is_off_by_default_and_bounded_where_it_is_on() -> None:
    offer = b"permessage-deflate; client_max_window_bits"
    with Sockets(on_message=echo()) as sockets:
        assert b"extensions" not in sockets.open(Sec_WebSocket_Extensions=offer).head
    with Sockets(on_message=echo(), deflate=Deflate(window_bits=10, memory_level=4)) as sockets:
        client = sockets.open(Sec_WebSocket_Extensions=offer)
        said = b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"
        assert b"sec-websocket-extensions: " + said in client.head
        assert sockets.held() == (1, (1 << 12) + (1 << 13) + (1 << 10) + 7168)
        client.say("not compressed")
        ((first, _),) = client.frames
        assert first == TEXT | 0x40
        assert b"extensions" not in sockets.open().head


# -- a handler that does not keep up ------------------------------------------------------------


def test_reading_is_paused_until_the_handler_takes_more() -> None:
    reader = Reader()
    with Sockets(reader, limits=Limits(max_websocket_messages=4)) as sockets:
        client = sockets.open()
        client.say(*map(str, range(20)))
        assert reader.taken == ["0"]
        assert client.peer.unread > 0
        assert len(sockets.newest._inbox) == 4
        for _ in range(19):
            reader.step()
            sockets.rig.clock.turn()
        assert reader.taken == list(map(str, range(20)))
        assert client.peer.unread == 0
        client.send(closing())
        reader.step()
        assert reader.how == "ended"


def test_what_waits_is_bounded_in_bytes_and_in_the_ledger() -> None:
    reader = Reader()
    with Sockets(reader, limits=Limits(max_websocket_message_bytes=1000)) as sockets:
        client = sockets.open()
        client.say("x", *["y" * 900] * 9)
        assert sockets.held()[1] == sockets.newest._inbox_bytes == 2 * ("y" * 900).__sizeof__()
        assert client.peer.unread > 5000
        client.peer.reset()


def test_callbacks_are_called_one_after_another() -> None:
    waiting: list[Deferred[None]] = []
    order: list[str] = []

    def on_message(socket: WebSocket, message: Any) -> Deferred[None]:
        order.append(message)
        waiting.append(Deferred())
        return waiting[-1]

    async def on_connect(socket: WebSocket) -> None:
        order.append("connected")
        waiting.append(Deferred())
        await waiting[-1]

    with Sockets(on_message=on_message, on_connect=on_connect) as sockets:
        client = sockets.open()
        client.say("a", "b")
        assert order == ["connected"]
        waiting[0].callback(None)
        assert order == ["connected", "a"]
        waiting[1].callback(None)
        client.say("c")
        client.send(closing())
        assert not client.peer.closed  # what came before the Close is taken first
        waiting[2].callback(None)
        assert order == ["connected", "a", "b", "c"]
        assert client.close is None
        waiting[3].callback(None)
        assert client.close == (1000, "")
        assert client.peer.closed


def test_a_close_does_not_wait_for_ever_for_the_handler() -> None:
    reader = Reader()
    with Sockets(reader, limits=Limits(abort_seconds=5)) as sockets:
        client = sockets.open()
        client.say("a", "b")
        client.send(closing())
        sockets.rig.advance(4)
        assert not client.peer.closed
        sockets.rig.advance(2)
        assert client.close == (1000, "")
        assert client.peer.closed
        assert reader.taken == ["a"]
        assert reader.how == "CancelledError"


def test_a_thousand_messages_at_once_do_not_hold_the_reactor() -> None:
    with Sockets(on_message=echo()) as sockets:
        client, other = sockets.open(), sockets.open()
        client.peer._socket.incoming.append(frame(TEXT, b"x") * 1000)
        transport = client.peer.transport
        transport.doRead()
        assert len(client.messages) == 1000  # once there is time for them
        assert other.messages == []
        client.peer._socket.incoming.append(frame(TEXT, b"x") * 1000)
        transport.doRead()
        assert sockets.held()[1] > 0  # what has been read and is not served
        assert len(bytes(client.peer._socket.sent).partition(b"\r\n\r\n")[2]) == (1000 + 256) * 3
        client.peer.reset()  # what is planned goes with it


# -- a client that does not keep up -------------------------------------------------------------


def test_send_waits_until_there_is_room() -> None:
    sent: list[str] = []

    async def pour(socket: WebSocket) -> None:
        for number in range(10):
            await socket.send(b"x" * 100_000)
            sent.append(str(number))
        sent.append("done")

    with Sockets(pour) as sockets:
        peer = sockets.rig.connect()
        peer.take(1000)
        peer.send(handshake())
        assert len(sent) < 3
        assert sockets.newest.queued_bytes > 50_000
        peer.take(None)
        assert sent[-1] == "done"
        assert len(Client(peer).messages) == 10


def test_who_does_not_wait_ends_the_socket_at_the_bound() -> None:
    limits = Limits(max_websocket_unsent_bytes=1_000_000)
    with Sockets(on_message=echo(), limits=limits) as sockets:
        client = sockets.open()
        socket = sockets.newest
        client.peer.take(0)
        for _ in range(10):
            socket.send(b"x" * 100_000)
        assert socket.is_open
        socket.send(b"one more")
        assert not socket.is_open
        assert client.peer.aborted
        assert sockets.reasons == ["overflow"]
        assert sockets.closed == {"unsent-bytes": 1}


def test_a_client_that_takes_nothing_is_ended_by_the_pace_of_sending() -> None:
    with Sockets(on_message=echo(), limits=Limits(send_seconds=10)) as sockets:
        client = sockets.open()
        client.peer.take(0)
        sockets.newest.send(b"x" * 100_000)
        sockets.rig.advance(12)
        assert client.peer.aborted
        assert sockets.closed == {"send-rate": 1}
        assert sockets.reasons == ["lost"]


def test_pings_of_a_client_that_takes_nothing_are_answered_once() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        client.peer.take(0)
        sockets.newest.send(b"x" * 100_000)
        before = sockets.newest.queued_bytes
        client.send(*[frame(PING, b"%d" % number) for number in range(100)])
        assert sockets.newest.queued_bytes == before
        client.peer.take(None)
        assert [payload for first, payload in client.frames if first == PONG] == [b"99"]


# -- pings --------------------------------------------------------------------------------------


def test_pings_are_sent_and_answered_ones_keep_it_open() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        for number in range(1, 20):
            sockets.rig.advance(21)
            pings = [payload for first, payload in client.frames if first == PING]
            assert len(pings) == number
            assert len(set(pings)) == number
            client.send(frame(PONG, pings[-1]))
        assert sockets.newest.is_open


@pytest.mark.parametrize("answer", [None, b"wrong"])
def test_a_ping_that_is_not_answered_ends_it(answer: bytes | None) -> None:
    limits = Limits(websocket_ping_seconds=20, websocket_pong_seconds=20)
    with Sockets(on_message=echo(), limits=limits) as sockets:
        client = sockets.open()
        sockets.rig.advance(14)
        assert client.frames == []
        sockets.rig.advance(7)
        assert [first for first, _ in client.frames] == [PING]
        if answer is not None:
            client.send(frame(PONG, answer))
        for _ in range(12):  # other messages are no answer
            client.say("x" * 500)
            sockets.rig.advance(1)
        assert sockets.newest.is_open
        for _ in range(10):
            client.say("x" * 500)
            sockets.rig.advance(1)
        assert client.close == (1011, "no answer to a ping")
        assert client.peer.closed
        assert sockets.reasons == ["pong-seconds"]
        assert sockets.closed == {"pong-seconds": 1}


def test_an_answer_may_be_behind_a_long_message_that_keeps_coming() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        client.send(header(BINARY, 1 << 20))
        for _ in range(100):
            client.send(b"x" * 500)
            sockets.rig.advance(1)
        assert sockets.newest.is_open
        for _ in range(45):
            client.send(b"x")
            sockets.rig.advance(1)
        assert sockets.reasons == ["pong-seconds"]


def test_nobody_is_judged_by_answers_that_are_not_read() -> None:
    reader = Reader()
    with Sockets(reader, limits=Limits(max_websocket_messages=1)) as sockets:
        client = sockets.open()
        client.say("a", "b", "c")
        sockets.rig.advance(200)
        assert sockets.newest.is_open
        assert client.frames == []
        for _ in range(3):
            reader.step()
        for _ in range(21):  # when, is up to chance
            sockets.rig.advance(1)
            if client.frames:
                break
        assert [first for first, _ in client.frames] == [PING]
        client.peer.reset()


# -- ends ---------------------------------------------------------------------------------------


def test_the_application_closes_and_the_client_answers() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        socket = sockets.newest
        socket.close(4000, "enough")
        assert not socket.is_open
        assert client.close == (4000, "enough")
        client.say("is not looked at")
        assert not client.peer.closed
        client.send(closing(4000))
        assert client.peer.closed
        assert client.messages == []
        assert (sockets.reasons, socket.close_code) == (["closed"], 4000)
        assert sockets.closed == {"application": 1}


def test_a_client_that_does_not_answer_a_close_is_cut_off() -> None:
    with Sockets(on_message=echo(), limits=Limits(abort_seconds=5)) as sockets:
        client = sockets.open()
        sockets.newest.close()
        sockets.rig.advance(4)
        client.say("a trickle moves nothing")
        assert not client.peer.closed
        sockets.rig.advance(2)
        assert client.peer.aborted
        assert sockets.reasons == ["closed"]


def test_one_that_breaks_a_rule_instead_of_answering_a_close() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        sockets.newest.close(1000)
        client.send(frame(CONTINUATION))
        assert client.peer.ended
        assert not client.peer.closed  # it may be sending yet
        sockets.rig.advance(6)
        assert client.peer.closed
        assert sockets.reasons == ["closed"]


def test_a_close_waits_behind_what_the_client_still_takes() -> None:
    with Sockets(on_message=echo(), limits=Limits(abort_seconds=5)) as sockets:
        client = sockets.open()
        client.peer.take(0)
        sockets.newest.send(b"x" * 100_000)
        sockets.newest.close()
        for _ in range(20):
            sockets.rig.advance(1)
            client.peer.take(1000)
        assert not client.peer.closed
        client.peer.take(None)
        assert client.close == (1000, "")
        client.send(closing())
        assert client.peer.closed
        assert not client.peer.aborted


def test_nothing_is_kept_by_one_that_the_application_keeps() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        socket = sockets.newest
        client.peer._socket.incoming.append(frame(TEXT, b"x") * 1000 + frame(TEXT - FIN, b"half"))
        client.peer.transport.doRead()
        assert socket._turn is not None
        turn = socket._turn
        client.peer.protocol.connectionLost(Failure(ConnectionDone()))
        assert turn.cancelled
        assert (socket._carrier, socket._frames._decoder, socket._frames._input) == (None, None, b"")


def test_both_close_at_once() -> None:
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        sockets.newest.close(1000)
        client.send(closing(1001))
        assert client.peer.closed
        assert [first for first, _ in client.frames] == [CLOSE]


@pytest.mark.parametrize("leave", ["reset", "half_close"])
def test_a_client_that_goes_without_a_close(leave: str) -> None:
    reader = Reader()
    with Sockets(reader) as sockets:
        client = sockets.open()
        getattr(client.peer, leave)()
        assert client.peer.closed
        assert reader.how == "ended"
        assert (sockets.reasons, sockets.ended[0].close_code) == (["lost"], 1006)


def test_v08_a_write_at_any_moment_of_an_end_does_nothing() -> None:
    failures: list[Any] = []
    with Sockets(on_message=echo()) as sockets:
        client = sockets.open()
        socket = sockets.newest
        ignored = sockets.rig.site.statistics.ignored_writes
        socket.close()
        socket.send("late")
        client.send(closing())
        socket.send("later")
        socket.close()
        socket.abort()
        assert sockets.rig.site.statistics.ignored_writes == ignored + 2
        for wait in (socket.has_room(), socket.receive() if False else socket.has_room()):
            wait.addErrback(failures.append)
        assert [failure.type for failure in failures] == [WebSocketClosed] * 2
        assert client.messages == []


@pytest.mark.parametrize("where", ["on_connect", "on_message", "later", "handler", "on_close"])
@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_what_an_application_raises_costs_that_socket_alone(error: type[BaseException], where: str) -> None:
    def fail(*_: Any) -> Any:
        raise error("as it should")

    async def fail_later(*_: Any) -> None:
        fail()

    options: dict[str, Any] = {
        "on_connect": {"on_connect": fail, "on_message": echo()},
        "on_message": {"on_message": fail},
        "later": {"on_message": fail_later},
        "handler": {"handler": fail_later},
        "on_close": {"on_message": echo(), "on_close": fail},
    }[where]
    with Sockets(**options) as sockets:
        client, other = sockets.open(), sockets.open()
        client.say("x")
        if where == "on_close":
            client.send(closing())
        else:
            assert client.close == (1011, "")
            client.send(closing(1011))
            assert sockets.reasons[0] == "failed"
            assert sockets.rig.site.statistics.errors >= 1
        assert client.peer.closed
        assert not other.peer.closed
        other.peer.reset()
        assert sockets.rig.flush() != []


def test_a_handler_that_returns_closes() -> None:
    async def greet(socket: WebSocket) -> None:
        await socket.send("hello")

    with Sockets(greet) as sockets:
        client = sockets.open()
        assert client.messages == ["hello"]
        assert client.close == (1000, "")
        client.send(closing())
        assert sockets.reasons == ["closed"]


def test_a_handler_that_is_no_coroutine_is_done_at_once() -> None:
    with Sockets(lambda socket: None) as sockets:
        assert sockets.open().close == (1000, "")


def test_a_handler_that_waits_for_something_else_is_cancelled() -> None:
    told: list[str] = []

    async def wait(socket: WebSocket) -> None:
        try:
            await Deferred()
        except CancelledError:
            told.append("cancelled")
            raise

    with Sockets(wait) as sockets:
        sockets.open().peer.reset()
        assert told == ["cancelled"]
        client = sockets.open()
        client.send(closing())  # one that never reads is not waited for
        assert client.peer.closed
        assert told == ["cancelled"] * 2


def test_whoever_waits_is_told_of_the_end() -> None:
    told: list[str] = []

    async def read(socket: WebSocket) -> None:
        try:
            await socket.receive()
        except WebSocketClosed as closed:
            told.append(str(closed))

    async def write(socket: WebSocket) -> None:
        await socket.send(b"x" * 200_000)
        told.append("not reached")

    with Sockets(read) as sockets:
        sockets.open().peer.reset()
        assert told == ["lost"]
    with Sockets(write) as sockets:
        peer = sockets.rig.connect()
        peer.take(500)
        peer.send(handshake())
        peer.reset()
        assert told == ["lost"]


def test_one_reader_at_a_time() -> None:
    with Sockets(on_message=echo()) as sockets:
        sockets.open()
        with pytest.raises(RuntimeError, match="another reader"):
            sockets.newest.receive()
    with Sockets(Reader()) as sockets:
        sockets.open()
        with pytest.raises(RuntimeError, match="another reader"):
            sockets.newest.receive()


def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    with Sockets(lambda socket: Deferred()) as sockets:
        client = sockets.open()
        reading = sockets.newest.receive()
        reading.addErrback(lambda failure: failure.trap(CancelledError))
        reading.cancel()
        client.say("kept")
        found: list[Any] = []
        sockets.newest.receive().addCallback(found.append)
        assert found == ["kept"]
        client.peer.reset()


def test_drain_says_1001_and_new_ones_are_refused() -> None:
    with Sockets(on_message=echo()) as sockets:
        client, late = sockets.open(), sockets.rig.connect()
        late.send(handshake()[:-2])
        drain(sockets.rig.site.server)
        late.send(b"\r\n")
        assert late.received.startswith(b"HTTP/1.1 503 ")
        assert client.close == (1001, "")
        client.send(closing(1001))
        assert client.peer.closed
        assert sockets.reasons == ["drained"]
        assert sockets.closed["drained"] >= 1
        sockets.rig.advance(31)


def test_when_too_much_is_held_the_heaviest_socket_goes() -> None:
    limits = Limits(max_buffered_bytes=200_000)
    with Sockets(on_message=echo(), limits=limits) as sockets:
        large, *small = (sockets.open() for _ in range(4))
        large.send(header(BINARY, 1 << 20) + b"x" * 100_000)
        for client in small:  # near the bound the large one waits; these are small, and are read on
            client.send(header(BINARY, 1 << 20) + b"x" * 40_000)
        assert large.peer.closed
        assert not any(client.peer.closed for client in small)
        assert sockets.closed == {"buffered-bytes": 1}


def test_no_repr_shows_what_was_said() -> None:
    with Sockets(on_message=echo()) as sockets:
        sockets.open()
        assert repr(sockets.newest) == "<WebSocket open>"

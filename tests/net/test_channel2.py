"""An HTTP/2 connection and its streams, in memory: messages, flow, deadlines, ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource
from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.net.port import EagerServer
from hardhttp.sse.stream import EventStream
from hardhttp.testing import Rig, every_split
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.wire.http2 import CONNECTION_WINDOW_BYTES, LAST_STREAM, PREFACE, STREAM_WINDOW_BYTES, FrameCutter
from tests.web.saying import Says

DATA, GOAWAY = 0, 7


class Notes(Resource):
    """Answers later, by hand; notes each request."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render(self, request: Any) -> int:
        self.requests.append(request)
        return NOT_DONE_YET

    @property
    def last(self) -> Any:
        return self.requests[-1]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def rig(notes: Notes) -> Iterator[Rig]:
    with Rig(notes) as rig:
        yield rig
        notes.requests.clear()


def echo(request: Any) -> bytes:
    return b"%b %b %b" % (request.method, request.uri, request.content.read())


# -- beginning -----------------------------------------------------------------------------------


def conversation() -> bytes:
    """What a client says from its preface to its request."""
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        said: list[bytes] = []
        peer.send = lambda *pieces: said.extend(pieces)  # type: ignore[method-assign]
        peer.wire.initiate_connection()
        peer.wire.send_headers(
            1, [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
        )
        peer.wire.send_data(1, b"body", end_stream=True)
        return peer.wire.data_to_send()


def test_however_its_bytes_are_split() -> None:
    said = conversation()
    with Rig(Says(echo)) as rig:
        whole = None
        for pieces in every_split(said):
            peer = rig.connect()
            peer.send(*pieces)
            frames = [one for kind, _, _, one in FrameCutter().cut(peer.received) if kind in (0, 1)]
            whole = whole or frames
            assert frames == whole
            assert frames[1].endswith(b"GET / body")
            peer.reset()


def test_what_begins_otherwise_is_no_http2() -> None:
    with Rig(Says(echo)) as rig:
        peer = rig.connect()
        peer.send(PREFACE[:-2] + b"\r\r" + b"\0" * 9)
        assert [kind for kind, *_ in FrameCutter().cut(peer.received)][-1] == GOAWAY
        assert peer.ended


def test_a_frame_before_settings_is_none() -> None:
    with Rig(Says(echo)) as rig:
        peer = rig.connect()
        peer.send(PREFACE + b"\0\0\x08\x06\0\0\0\0\0" + b"12345678")
        assert peer.ended


def test_a_preface_behind_a_request_is_refused_as_any_other_version() -> None:
    with Rig(Says(echo)) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        peer.send(PREFACE)
        assert [response.status for response in peer.responses()] == [200, 505]


def test_without_http2_the_preface_is_of_an_unknown_version() -> None:
    with Rig(Says(echo), http2=False) as rig:
        assert rig.site.acceptableProtocols() == [b"http/1.1"]
        (response,) = rig.exchange(PREFACE)
        assert response.status == 505


def test_the_connection_that_is_passed_on_is_counted_once() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig, ("10.0.0.1", 1))
        rig.peers.append(peer)
        assert rig.site.connection_count == rig.site.statistics.accepted == 1
        assert rig.site.server.tracker.addresses == 1


# -- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body", "said"),
    [(b"GET", None, b"GET /x "), (b"POST", b"", b"POST /x "), (b"POST", b"abc", b"POST /x abc")],
)
def test_requests(method: bytes, body: bytes | None, said: bytes) -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        response = peer.response(peer.request(method, b"/x", (), body))
        assert (response.status, response.body, response.complete) == (200, said, True)
        assert response.get(b"content-length") == b"%d" % len(said)
        assert response.get(b"content-type") == b"text/html"
        assert response.get(b"server") == b"hardhttp"


def test_a_request_is_as_over_http_1() -> None:
    seen: list[Any] = []

    def look(request: Any) -> bytes:
        seen.append((request.clientproto, request.getHeader("Host"), request.requestHeaders.getRawHeaders("x-two")))
        seen.append((request.received_cookies, request.getRequestHostname(), request.isSecure(), request.uri))
        seen.append((request.args, request.getClientAddress().host, request.client_info.host))
        return b""

    with Rig(Says(look)) as rig:
        peer = HTTP2Peer(rig)
        fields = [(b"cookie", b"a=1"), (b"x-two", b"1"), (b"cookie", b"b=2"), (b"x-two", b"2")]
        assert peer.response(peer.request(b"GET", b"/x?y=z", fields)).status == 200
    assert seen == [
        (b"HTTP/2.0", "a", ["1", "2"]),
        ({b"a": b"1", b"b": b"2"}, b"a", False, b"/x?y=z"),
        ({b"y": [b"z"]}, "127.0.0.1", "a"),
    ]


@pytest.mark.parametrize("code", [204, 304])
def test_statuses_without_a_body(code: int) -> None:
    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        return b"not sent"

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        response = peer.response(peer.request(b"GET", b"/"))
        assert (response.status, response.body, response.complete) == (code, b"", True)


def test_head_and_options() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        head = peer.response(peer.request(b"HEAD", b"/x"))
        assert (head.status, head.body, head.complete, head.get(b"content-length")) == (200, b"", True, b"8")
        star = peer.response(peer.request(b"OPTIONS", b"*"))
        assert star.complete


def test_head_of_what_knows_get_alone_has_no_body() -> None:
    """It is told GET, and writes (see ``render_as_get``)."""

    class Old(Resource):
        isLeaf = True

        def render(self, request: Any) -> int:
            if request.method != b"GET":
                raise UnsupportedMethod([b"GET"])
            request.write(b"body")
            request.finish()
            return NOT_DONE_YET

    with Rig(Old()) as rig:
        peer = HTTP2Peer(rig)
        response = peer.response(peer.request(b"HEAD", b"/"))
        assert (response.status, response.body, response.complete) == (200, b"", True)


def test_a_body_in_parts_of_unknown_length_is_not_chunked() -> None:
    def answer(request: Any) -> int:
        request.write(b"one ")
        request.write(b"two")
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        response = peer.response(peer.request(b"GET", b"/"))
        assert (response.body, response.complete) == (b"one two", True)
        assert response.get(b"transfer-encoding") is response.get(b"content-length") is None


def test_what_is_for_one_connection_alone_is_not_sent() -> None:
    def answer(request: Any) -> bytes:
        for name in ("Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"):
            request.setHeader(name, "close")
        request.setHeader("X-Mixed-Case", "  kept  ")
        return b"x"

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        response = peer.response(peer.request(b"GET", b"/"))
        names = {name for name, _ in response.headers}
        assert names == {b"server", b"date", b"content-type", b"content-length", b"x-mixed-case"}
        assert response.get(b"x-mixed-case") == b"kept"
        assert peer.response(peer.request(b"GET", b"/")).status == 200  # "close" closes nothing here


def test_trailers(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    number = peer.begin(b"POST", b"/")
    peer.body(number, b"abc", end=False)
    peer.trailers(number, [(b"x-sum", b"3")])
    assert notes.last.trailers == [(b"x-sum", b"3")]
    notes.last.finish()
    assert peer.response(number).complete


def test_a_hundred_continues_invite_a_body(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    number = peer.begin(b"POST", b"/", [(b"expect", b"100-continue"), (b"content-length", b"3")])
    assert peer.streams[number].interim == [100]
    peer.body(number, b"abc")
    assert notes.last.content.read() == b"abc"
    notes.last.finish()


def test_an_interim_response_comes_before_the_final_one_or_not_at_all(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    number = peer.request(b"GET", b"/")
    stream = notes.last.channel
    stream.send_informational(103, {b"Link": [b"</a.css>; rel=preload"]})
    notes.last.write(b"x")
    stream.send_informational(103)
    notes.last.finish()
    assert peer.response(number).status == 200
    assert peer.streams[number].interim == [103]


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([(b"content-length", b"10485761")], 413, "body-bytes"),
        ([(b"content-length", b"9" * 30)], 400, "bad-framing"),
        ([(b"expect", b"a miracle")], 417, "bad-expectation"),
        ([(b"host", b"other")], 400, "bad-host"),
        ([(b"x", b"y" * 33_000)], 431, "head-bytes"),
        ([(b"x", b"y")] * 101, 431, "headers"),
    ],
)
def test_what_is_refused_before_its_body(fields: Any, status: int, reason: str) -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/", fields)
        response = peer.response(number)
        assert (response.status, response.reason, response.complete) == (status, reason, True)
        assert response.get(b"connection") is None
        assert peer.streams[number].code == ErrorCodes.NO_ERROR  # the body is not wanted (RFC 9113, 8.1)
        assert peer.response(peer.request(b"GET", b"/")).status == 200


def test_the_bounds_of_a_head_itself_are_allowed() -> None:
    with Rig(Says(echo), limits=Limits(max_head_bytes=1000, max_headers=3)) as rig:
        peer = HTTP2Peer(rig)
        assert peer.response(peer.request(b"GET", b"/", [(b"x", b"y")] * 3)).status == 200
        assert peer.response(peer.request(b"GET", b"/", [(b"x", b"y")] * 4)).status == 431
        assert peer.response(peer.request(b"GET", b"/", [(b"x", b"y" * 995)])).status == 200
        assert peer.response(peer.request(b"GET", b"/", [(b"x", b"y" * 996)])).status == 431


def test_a_refusal_of_head_has_no_body_either() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        response = peer.response(peer.request(b"HEAD", b"/", [(b"x", b"y")] * 101))
        assert (response.status, response.body, response.complete) == (431, b"", True)


def test_connect_is_refused() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.headers([(b":method", b"CONNECT"), (b":authority", b"a:1")], end=True)
        assert peer.response(number).status == 501


@pytest.mark.parametrize(
    "fields",
    [
        [(b"connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
        [(b"te", b"gzip")],
        [(b"Upper", b"x")],
        [(b"x", b"a\r\nb")],
        [(b"x", b" a")],
        [(b":late", b"x")],
        [(b"content-length", b"1")],
    ],
)
def test_malformed_requests_cost_their_stream(fields: Any) -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"GET", b"/", fields, end=True)
        assert peer.streams[number].code == ErrorCodes.PROTOCOL_ERROR
        assert rig.site.statistics.refused[Reason.BAD_HEADER] == 1
        assert peer.response(peer.request(b"GET", b"/")).status == 200


# -- bodies --------------------------------------------------------------------------------------


def test_a_body_past_its_bound_is_refused_where_it_passes() -> None:
    with Rig(Says(echo), limits=Limits(max_body_bytes=100_000)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.request(b"POST", b"/", (), b"x" * 100_000)
        assert peer.response(number).status == 200
        number = peer.begin(b"POST", b"/")
        peer.body(number, b"x" * 100_001, end=False)
        assert (peer.response(number).status, peer.streams[number].code) == (413, ErrorCodes.NO_ERROR)
        assert rig.site.ledger.snapshot()["body_bytes"] == 0


BODIES_OF_NOT_FOUR = pytest.mark.parametrize("body", [b"123", b"12345", b"1234567890"])


@BODIES_OF_NOT_FOUR
def test_a_body_that_is_not_as_long_as_it_said_costs_its_stream(body: bytes) -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        other = peer.begin(b"POST", b"/", [(b"content-length", b"2")])
        number = peer.begin(b"POST", b"/", [(b"content-length", b"4")])
        peer.body(number, body[:2], end=False)
        peer.body(number, body[2:])
        assert peer.streams[number].code == ErrorCodes.PROTOCOL_ERROR
        assert rig.site.statistics.refused[Reason.BAD_FRAMING] == 1
        peer.body(other, b"ok")
        assert peer.response(other).status == 200
        assert rig.site.ledger.snapshot()["body_bytes"] == 0


@BODIES_OF_NOT_FOUR
@pytest.mark.parametrize("paused", [False, True])
def test_whoever_takes_such_a_body_as_it_comes_is_told(body: bytes, paused: bool) -> None:
    takes = Takes()
    with Rig(takes) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/", [(b"content-length", b"4")])
        if paused:
            takes.receiver.transport.pauseProducing()
        peer.body(number, body)
        assert peer.streams[number].code == ErrorCodes.PROTOCOL_ERROR
        assert takes.receiver.end.check(ConnectionLost)
        assert rig.site.ledger.snapshot()["input_bytes"] == 0


@implementer(IStreamingResource)
class Takes(Resource):
    """Takes a body as it comes, when told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.receiver: Any = None
        self.request: Any = None

    def render(self, request: Any) -> int:
        self.request = request
        self.receiver = Receiver()
        request.deliverBody(self.receiver)
        return NOT_DONE_YET


class Receiver(Protocol):
    def __init__(self) -> None:
        self.taken = b""
        self.end: Any = None

    def dataReceived(self, data: bytes) -> None:
        self.taken += data

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        self.end = reason


def test_the_window_opens_as_the_body_is_taken() -> None:
    takes = Takes()
    with Rig(takes) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/")
        assert peer.body(number, b"a" * 10, end=False) == 10
        takes.receiver.transport.pauseProducing()
        sent = peer.body(number, b"b" * 1_000_000)
        assert sent == STREAM_WINDOW_BYTES - 10  # and not a byte more
        assert takes.receiver.taken == b"a" * 10
        assert rig.site.ledger.snapshot()["input_bytes"] == sent
        other = peer.request(b"POST", b"/", (), b"other")  # another stream has a window of its own
        assert takes.receiver.taken == b"other"
        takes.request.finish()
        assert peer.response(other).complete
        rig.advance(100)  # the wait is ours: no deadline runs
        assert peer.streams[number].code is None


def test_what_was_paused_goes_on_where_it_stopped() -> None:
    takes = Takes()
    with Rig(takes) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/")
        takes.receiver.transport.pauseProducing()
        body = bytes(range(256)) * 2000
        sent = peer.body(number, body)
        assert sent < len(body)
        takes.receiver.transport.resumeProducing()
        while sent < len(body):
            sent += peer.body(number, body[sent:])
        assert takes.receiver.taken == body
        assert takes.receiver.end is not None
        takes.request.write(b"all")
        takes.request.finish()
        assert peer.response(number).body == b"all"
        assert peer.streams[number].code is None


def test_many_paused_bodies_hold_no_more_than_the_connections_window() -> None:
    requests: list[Any] = []

    @implementer(IStreamingResource)
    class Paused(Resource):
        isLeaf = True

        def render(self, request: Any) -> int:
            requests.append(request)
            return NOT_DONE_YET

    with Rig(Paused()) as rig:
        peer = HTTP2Peer(rig)
        numbers = [peer.begin(b"POST", b"/") for _ in range(20)]
        sent = sum(peer.body(number, b"x" * STREAM_WINDOW_BYTES) for number in numbers)
        assert sent == CONNECTION_WINDOW_BYTES
        assert rig.site.ledger.snapshot()["input_bytes"] == CONNECTION_WINDOW_BYTES
        requests.clear()


def test_a_response_before_the_body_ends_asks_for_no_more_of_it(rig: Rig) -> None:
    takes = Takes()
    rig.site.resource = takes
    peer = HTTP2Peer(rig)
    number = peer.begin(b"POST", b"/")
    peer.body(number, b"abc", end=False)
    takes.request.write(b"enough")
    takes.request.finish()
    response = peer.response(number)
    assert (response.body, response.complete) == (b"enough", True)
    assert peer.streams[number].code == ErrorCodes.NO_ERROR
    assert takes.receiver.end is not None


# -- deadlines -----------------------------------------------------------------------------------


def test_a_body_that_comes_too_slowly() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        slow, quick = peer.begin(b"POST", b"/"), peer.begin(b"POST", b"/")
        for _ in range(62):
            peer.body(quick, b"x" * 300, end=False)
            if peer.streams[slow].code is None:
                peer.body(slow, b"x" * 100, end=False)
            rig.advance(1)
        assert (peer.response(slow).status, peer.response(slow).reason) == (408, "body-rate")
        peer.body(quick, b"")
        assert peer.response(quick).status == 200


def test_a_body_that_we_leave_no_window_for_is_not_slow() -> None:
    """Others have filled the connection's window and wait for their applications."""
    takes = Takes()
    root = Resource()
    root.putChild(b"takes", takes)
    root.putChild(b"echo", Says(echo))
    with Rig(root) as rig:
        peer = HTTP2Peer(rig)
        receivers = []
        for _ in range(CONNECTION_WINDOW_BYTES // STREAM_WINDOW_BYTES):
            number = peer.begin(b"POST", b"/takes")
            takes.receiver.transport.pauseProducing()
            receivers.append(takes.receiver)
            peer.body(number, b"x" * STREAM_WINDOW_BYTES, end=False)
        number = peer.begin(b"POST", b"/echo")
        assert peer.body(number, b"later") == 0
        rig.advance(200)
        assert peer.streams[number].headers is None
        receivers[0].transport.resumeProducing()
        peer.pump()
        peer.body(number, b"later")
        assert peer.response(number).body == b"POST /echo later"
        rig.advance(62)
        takes.request = None


def test_a_stream_that_waits_for_its_turn_is_not_slow() -> None:
    """A hundred bodies over a slow line: each is a while without a byte, and the client takes all it gets."""
    with Rig(Says(lambda request: b"x" * 100_000)) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 200_000})
        peer.wire.increment_flow_control_window(20_000_000)
        peer.pump()
        peer.take(0)
        numbers = [peer.request(b"GET", b"/") for _ in range(100)]
        for _ in range(200):
            peer.take(15_000)  # a round of them all takes two minutes
            rig.advance(1)
        assert [peer.streams[number].code for number in numbers] == [None] * 100
        peer.take(None)
        peer.pump()
        assert all(len(peer.response(number).body) == 100_000 for number in numbers)


def test_part_of_a_data_frame_is_progress() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/")
        peer.wire.send_data(number, b"x" * 16_000, end_stream=True)
        frame = peer.wire.data_to_send()
        for at in range(0, len(frame), 250):  # 64 s
            peer.send(frame[at : at + 250])
            rig.advance(1)
        assert peer.response(number).status == 200


def test_a_body_past_its_whole_time() -> None:
    with Rig(Says(echo), limits=Limits(max_body_seconds=10)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/")
        for _ in range(11):
            peer.body(number, b"x" * 1000, end=False)
            rig.advance(1)
        assert (peer.response(number).status, peer.response(number).reason) == (408, "body-seconds")


def test_an_application_that_does_not_answer_in_time(notes: Notes) -> None:
    with Rig(notes, limits=Limits(handling_seconds=5)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.request(b"GET", b"/")
        rig.advance(4)
        later = peer.request(b"GET", b"/")
        rig.advance(2)
        assert (peer.response(number).status, peer.response(number).reason) == (503, "handling-seconds")
        notes.last.finish()
        assert peer.response(later).status == 200
        notes.requests.clear()


def test_an_idle_connection_is_told_and_closed() -> None:
    with Rig(Says(echo)) as rig:
        peer = HTTP2Peer(rig)
        peer.request(b"GET", b"/")
        rig.advance(119)
        assert not peer.closed
        rig.advance(2)
        peer.pump()
        assert peer.goaways == [(1, ErrorCodes.NO_ERROR)]
        assert peer.closed
        assert rig.site.statistics.closed[Reason.IDLE] == 1


def test_who_says_nothing_has_the_time_of_a_head() -> None:
    with Rig(Says(echo)) as rig:
        peer = rig.connect()
        peer.send(PREFACE)
        rig.advance(22)
        assert peer.closed
        assert rig.site.statistics.closed[Reason.HEAD_SECONDS] == 1


def test_a_quiet_stream_of_events_lives() -> None:
    with Rig(Resource()) as rig:
        events = EventStream(rig.clock, heartbeat_seconds=None)
        rig.site.resource.putChild(b"events", events)
        peer = HTTP2Peer(rig)
        number = peer.request(b"GET", b"/events")
        rig.advance(1000)
        events.publish("late")
        rig.advance(1)
        assert peer.response(number).body.endswith(b"data: late\n\n")
        assert peer.goaways == []
        peer.cancel(number)
        assert events.subscriber_count == 0


def test_a_stream_of_events_that_is_not_read_is_bounded() -> None:
    with Rig(Resource()) as rig:
        events = EventStream(rig.clock, max_queued_bytes=50_000)
        rig.site.resource.putChild(b"events", events)
        peer = HTTP2Peer(rig)
        peer.takes_bodies = False
        number = peer.request(b"GET", b"/events")
        for _ in range(400):
            events.publish("x" * 1000)
            rig.clock.turn()
        peer.pump()
        assert peer.streams[number].code == ErrorCodes.CANCEL
        assert rig.site.ledger.snapshot()["event_bytes"] == 0
        assert peer.response(peer.request(b"HEAD", b"/events")).status == 200  # the connection goes on


# -- output --------------------------------------------------------------------------------------


class Counting(EagerServer):
    """A transport that notes what it is given."""

    def write(self, data: bytes) -> None:
        self.__dict__.setdefault("writes", []).append(data)
        super().write(data)


def test_what_is_said_in_one_turn_is_one_write() -> None:
    with Rig(Says(echo), transport=Counting) as rig:
        peer = HTTP2Peer(rig)
        fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
        for number in range(1, 21, 2):
            peer.wire.send_headers(number, fields, end_stream=True)
        before = len(peer.transport.writes)
        peer.send(peer.wire.data_to_send())
        assert len(peer.transport.writes) == before + 1


def test_what_is_written_later_in_one_turn_is_one_write(notes: Notes) -> None:
    with Rig(notes, transport=Counting) as rig:
        peer = HTTP2Peer(rig)
        for _ in range(5):
            peer.request(b"GET", b"/")
        before = len(peer.transport.writes)
        for request in notes.requests:
            request.write(b"one")
            request.write(b"two")
            request.finish()
        rig.clock.turn()
        assert len(peer.transport.writes) == before + 1
        assert {response.body for response in peer.responses()} == {b"onetwo"}
        notes.requests.clear()


def test_bodies_take_turns_by_frames() -> None:
    with Rig(Says(lambda request: b"x" * 200_000)) as rig:
        window = {SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000}
        peer = HTTP2Peer(rig, settings=window)
        peer.wire.increment_flow_control_window(10_000_000)
        peer.pump()
        peer.take(0)
        numbers = [peer.request(b"GET", b"/") for _ in range(4)]
        peer.take(None)
        order = [stream for kind, _, stream, _ in FrameCutter().cut(peer.received) if kind == DATA]
        assert len(order) == 4 * 13
        rounds = [set(order[at : at + 4]) for at in range(4, 40, 4)]
        assert all(turn == set(numbers) for turn in rounds)


def test_a_producer_waits_for_the_window() -> None:
    class Producer:
        calls: list[str] = []

        def pauseProducing(self) -> None:
            self.calls.append("pause")

        def resumeProducing(self) -> None:
            self.calls.append("resume")

        def stopProducing(self) -> None:
            self.calls.append("stop")

    producer = Producer()
    requests: list[Any] = []

    def answer(request: Any) -> int:
        request.registerProducer(producer, True)
        request.write(b"x" * 200_000)
        requests.append(request)
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        peer.takes_bodies = False
        number = peer.request(b"GET", b"/")
        assert producer.calls == ["pause"]
        assert len(peer.streams[number].body) == 65_535
        peer.wire.increment_flow_control_window(200_000)
        peer.wire.increment_flow_control_window(200_000, number)
        peer.pump()
        assert producer.calls == ["pause", "resume"]
        assert len(peer.streams[number].body) == 200_000
        requests.pop().unregisterProducer()
        peer.cancel(number)
        assert producer.calls == ["pause", "resume"]


def test_what_is_written_without_heed_is_bounded(notes: Notes) -> None:
    with Rig(notes, limits=Limits(max_unsent_bytes=100_000)) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        number = peer.request(b"GET", b"/")
        for _ in range(20):
            notes.last.write(b"x" * 10_000)
        peer.pump()
        assert peer.streams[number].code == ErrorCodes.INTERNAL_ERROR
        assert rig.site.statistics.refused[Reason.UNSENT_BYTES] == 1
        notes.requests.clear()


def test_the_heaviest_stream_is_shed(notes: Notes) -> None:
    with Rig(notes, limits=Limits(max_buffered_bytes=200_000)) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0})
        light, heavy = peer.request(b"GET", b"/"), peer.request(b"GET", b"/")
        notes.requests[0].write(b"x" * 70_000)
        notes.requests[1].write(b"x" * 150_000)
        peer.pump()
        assert (peer.streams[light].code, peer.streams[heavy].code) == (None, ErrorCodes.INTERNAL_ERROR)
        assert rig.site.statistics.refused[Reason.BUFFERED_BYTES] == 1
        notes.requests.clear()


def test_a_reader_that_stops_reading_at_all_is_aborted() -> None:
    with Rig(Says(lambda request: b"x" * 60_000)) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 10_000_000})
        peer.take(0)
        peer.request(b"GET", b"/")
        peer.request(b"GET", b"/")
        rig.advance(63)
        assert peer.aborted
        assert rig.site.statistics.closed[Reason.SEND_RATE] == 1


# -- ends ----------------------------------------------------------------------------------------


def outcome(request: Any) -> list[Any]:
    seen: list[Any] = []
    request.notifyFinish().addBoth(seen.append)
    return seen


def test_a_reset_ends_its_request_alone(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    kept, gone = peer.request(b"GET", b"/"), peer.request(b"GET", b"/")
    told = [outcome(request) for request in notes.requests]
    peer.cancel(gone)
    assert [len(seen) for seen in told] == [0, 1]
    notes.requests[1].write(b"nobody reads it")
    notes.requests[0].write(b"kept")
    notes.requests[0].finish()
    assert peer.response(kept).body == b"kept"


def test_the_connections_end_is_each_requests(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    peer.request(b"GET", b"/")
    peer.request(b"GET", b"/")
    told = [outcome(request) for request in notes.requests]
    peer.reset()
    assert [len(seen) for seen in told] == [1, 1]


def test_half_a_response_does_not_look_whole() -> None:
    def answer(request: Any) -> int:
        request.write(b"half")
        raise LookupError

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.request(b"GET", b"/")
        assert peer.streams[number].code == ErrorCodes.INTERNAL_ERROR
        assert not peer.streams[number].ended
        assert len(rig.flush()) == 1
        assert peer.goaways == []


def test_less_than_content_length_said_is_a_reset() -> None:
    def answer(request: Any) -> int:
        request.setHeader("Content-Length", "10")
        request.write(b"half")
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.request(b"GET", b"/")
        assert peer.streams[number].code == ErrorCodes.INTERNAL_ERROR


def test_drain_says_goaway_twice_and_serves_what_is_under_way(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    number = peer.request(b"GET", b"/")
    # What the server says from here on is read by hand, so that the client's answer to the PING is held back.
    read = len(peer.received)
    gone: list[Any] = []
    rig.site.drain().addCallback(gone.append)
    rig.clock.turn()
    frames = FrameCutter().cut(peer.received[read:])
    assert [(kind, int.from_bytes(one[9:13])) for kind, _, _, one in frames if kind == GOAWAY] == [
        (GOAWAY, LAST_STREAM)
    ]
    raced = peer.wire.get_next_available_stream_id()
    peer.streams[raced] = peer.streams[number].__class__()
    peer.wire.send_headers(
        raced, [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")], end_stream=True
    )
    peer.pump()
    assert peer.goaways == [(LAST_STREAM, 0), (raced, 0)]
    assert gone == []
    for request in notes.requests:
        request.finish()
    peer.pump()
    assert peer.streams[number].ended
    assert peer.streams[raced].ended
    rig.advance(2)
    assert peer.closed
    assert len(gone) == 1


def test_drain_waits_a_second_for_the_answer_to_its_ping(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    peer.request(b"GET", b"/")
    rig.site.drain()
    rig.advance(2.5)
    codes = [int.from_bytes(one[9:13]) for kind, _, _, one in FrameCutter().cut(peer.received) if kind == GOAWAY]
    assert codes == [LAST_STREAM, 1]
    late = peer.wire.get_next_available_stream_id()
    peer.wire.send_headers(
        late, [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")], end_stream=True
    )
    peer.send(peer.wire.data_to_send())
    assert len(notes.requests) == 1
    notes.last.finish()
    rig.advance(2)
    assert peer.closed


def test_streams_of_events_are_told_to_come_back() -> None:
    with Rig(Resource()) as rig:
        events = EventStream(rig.clock)
        rig.site.resource.putChild(b"events", events)
        peer = HTTP2Peer(rig)
        number = peer.request(b"GET", b"/events")
        rig.site.drain()
        rig.clock.turn()
        peer.pump()
        assert b"retry: " in peer.response(number).body
        assert peer.streams[number].ended
        rig.advance(2)
        assert peer.closed


def test_a_client_that_says_goaway_gets_what_it_has_asked_for(rig: Rig, notes: Notes) -> None:
    peer = HTTP2Peer(rig)
    number = peer.request(b"GET", b"/")
    peer.send(b"\0\0\x08\x07\0\0\0\0\0" + b"\0" * 8)
    peer.send(b"\0\0\x04\x08\0\0\0\0\0" + b"\0\0\x10\0")  # it goes on opening windows
    notes.last.write(b"x" * 1000)
    notes.last.finish()
    rig.clock.turn()
    data = b"".join([one[9:] for kind, _, stream, one in FrameCutter().cut(peer.received) if kind == DATA])
    assert data == b"x" * 1000
    assert number == 1
    assert peer.ended


def test_the_access_log_tells_of_each_stream() -> None:
    lines: list[Any] = []

    class Log:
        def __call__(self, request: Any) -> None:
            lines.append((request.head.version, request.uri, request.code, request.sentLength))

        def unfinished(self, request: Any, status: int, reason: Reason) -> None:
            lines.append((request.uri, status, reason))

        def refused(self, address: str, head: Any, status: int, reason: Reason, request_id: str) -> None:
            lines.append((address, status, reason))

    with Rig(Says(lambda request: echo(request) if request.uri == b"/a" else NOT_DONE_YET)) as rig:
        rig.site.access_log = Log()
        peer = HTTP2Peer(rig)
        peer.request(b"GET", b"/a")
        peer.cancel(peer.request(b"GET", b"/b"))
        peer.begin(b"POST", b"/c", [(b"content-length", b"99999999")])
        peer.request(b"GET", b"/d")
        peer.reset()
    assert lines == [
        (b"HTTP/2.0", b"/a", 200, 7),
        (b"/b", 499, Reason.CLIENT_RESET),
        ("127.0.0.1", 413, Reason.BODY_BYTES),
        (b"/d", 499, Reason.CLIENT_RESET),
    ]

"""Requests and responses over a connection, in memory."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hardhttp.client import (
    BytesBody,
    ClientReason,
    NoResponse,
    RequestBodyFailed,
    RequestRefused,
    ResponseCut,
    http1,
    reason_of,
)
from hardhttp.client.sending import WITH_HEAD_BYTES
from hardhttp.client.sending import BytesBody as _Same
from hardhttp.errors import Reason
from hardhttp.testing import every_split
from hardhttp.wire.answerhead import parse_answer
from tests.client.rig import Body, ClientRig, Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


def test_a_request_and_its_response() -> None:
    with ClientRig() as rig:
        verifyObject(IAgent, rig.agent)
        asked = rig.ask(uri=b"http://a.example:8080/b?c#d", fields={b"X-Y": [b"1", b"2"]})
        (server,) = rig.servers
        assert server.received == b"GET /b?c HTTP/1.1\r\nHost: a.example:8080\r\nX-Y: 1\r\nX-Y: 2\r\n\r\n"
        server.send(OK)
        response = asked.response
        verifyObject(IResponse, response)
        assert (response.version, response.code, response.phrase) == ((b"HTTP", 1, 1), 200, b"OK")
        assert response.headers.getRawHeaders(b"x-a") == [b"b"]
        assert response.length == 2
        assert response.previousResponse is None
        assert response.request.method == b"GET"
        assert response.request.absoluteURI == b"http://a.example:8080/b?c#d"
        assert response.request.headers.getRawHeaders(b"X-Y") == [b"1", b"2"]
        assert asked.body is not None
        assert asked.body.data == b"hi"
        assert asked.body.end is not None
        assert asked.body.end.check(ResponseDone)
        with pytest.raises(RuntimeError):
            response.deliverBody(Body())
        assert rig.held() == {"connections": 1, "idle_connections": 1, "hosts": 1, "waits": 1, "timers": 1}


@pytest.mark.parametrize(
    "data", [OK, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK]
)
def test_however_a_response_is_split(data: bytes) -> None:
    for pieces in every_split(data):
        with ClientRig() as rig:
            asked = rig.ask()
            rig.servers[0].send(*pieces)
            assert asked.body is not None
            assert (asked.response.code, asked.body.data) == (200, b"hi")
            assert asked.body.end is not None
            assert asked.body.end.check(ResponseDone)
            rig.ask()
            assert len(rig.servers) == 1


def test_a_body_that_the_connection_ends() -> None:
    with ClientRig() as rig:
        asked = rig.ask()
        rig.servers[0].send(b"HTTP/1.1 200 OK\r\n\r\nso", b"me")
        assert asked.response.length is UNKNOWN_LENGTH
        rig.servers[0].lose()
        assert asked.body is not None
        assert asked.body.data == b"some"
        assert asked.body.end is not None
        assert asked.body.end.check(PotentialDataLoss)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nso", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nso\r\n", None),
        (b"HTTP/1.1 200 OK\r\n\r\nso", ConnectionLost()),
    ],
)
def test_a_body_that_is_cut(data: bytes, error: Exception | None) -> None:
    with ClientRig() as rig:
        asked = rig.ask()
        rig.servers[0].send(data)
        rig.servers[0].lose(error)
        assert asked.body is not None
        assert asked.body.end is not None
        assert isinstance(asked.body.end.value, ResponseCut)
        assert asked.body.end.check(ResponseFailed)
        assert rig.agent.statistics.failed == {"cut": 1}


@pytest.mark.parametrize(
    ("method", "data"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 99\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_no_body(method: bytes, data: bytes) -> None:
    with ClientRig() as rig:
        asked = rig.ask(method)
        rig.servers[0].send(data)
        assert asked.response.length == 0
        assert asked.body is not None
        assert asked.body.end is not None
        assert asked.body.end.check(ResponseDone)
        rig.ask(method)
        assert len(rig.servers) == 1


def test_ends_before_a_response() -> None:
    with ClientRig() as rig:
        asked = rig.ask()
        rig.servers[0].lose()
        assert isinstance(asked.error, NoResponse)
        assert isinstance(asked.error, ResponseNeverReceived)
        assert (asked.error.sent, asked.error.reused) == (True, False)
        half = rig.ask()
        rig.servers[1].send(b"HTTP/1.1 200")
        assert rig.held()["input_bytes"] == 12
        rig.servers[1].lose()
        assert half.error.reason is ClientReason.CUT


def test_connection_refused_is_said_as_twisted_says_it() -> None:
    with ClientRig(answers=False) as rig:
        asked = rig.ask()
        rig.refuse(ConnectionRefusedError())
        assert isinstance(asked.error, ConnectionRefusedError)
        assert reason_of(asked.error) == "connect-refused"
        assert rig.held() == {}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"garbage", Reason.BAD_STATUS_LINE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Reason.BAD_FRAMING),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Reason.BAD_HEADER),
        (b"HTTP/1.1 101 Switching\r\n\r\n", Reason.BAD_STATUS_LINE),
    ],
)
def test_what_is_no_response(data: bytes, reason: Reason) -> None:
    with ClientRig() as rig:
        asked = rig.ask()
        rig.servers[0].send(data)
        assert asked.error.reason is reason
        assert isinstance(asked.error, ResponseFailed)
        assert rig.servers[0].wire.aborted


def test_a_head_that_trickles_is_judged_by_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []

    def parse(data: bytes, position: int, *more: Any) -> Any:
        judged.append(len(data))
        return parse_answer(data, position, *more)

    monkeypatch.setattr(http1, "parse_answer", parse)
    with ClientRig(max_head_bytes=1000) as rig:
        asked = rig.ask()
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"a" * 500 + b"\r\nContent-Length: 0\r\n\r\n":
            rig.servers[0].send(bytes([byte]))
        assert asked.response.code == 200
        assert len(judged) < 25
    with ClientRig(max_head_bytes=1000) as rig:
        asked = rig.ask()
        data = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000
        for i in range(1000):
            rig.servers[0].send(data[i : i + 1])
        assert asked.pending
        rig.servers[0].send(data[1000:1001])
        assert asked.error.reason is Reason.HEAD_BYTES


def test_a_body_that_breaks_its_framing() -> None:
    for pieces in every_split(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhiX\r\n"):
        with ClientRig() as rig:
            asked = rig.ask()
            rig.servers[0].send(*pieces)
            assert asked.body is not None
            assert asked.body.end is not None
            assert asked.body.end.value.reason is Reason.BAD_CHUNK
            assert rig.servers[0].wire.aborted


# -- what is never used again ------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK.replace(b"X-A: b", b"connection: x,close"),
    ],
)
def test_close_is_honoured(data: bytes) -> None:
    with ClientRig() as rig:
        rig.ask()
        rig.servers[0].send(data)
        assert rig.servers[0].wire.polite
        rig.turn()
        assert rig.held() == {}
        assert rig.agent.statistics.closed == {"not-kept": 1}


def test_our_close_is_honoured() -> None:
    with ClientRig() as rig:
        rig.ask(fields={b"Connection": [b"close"]})
        assert b"\r\nConnection: close\r\n" in rig.servers[0].received
        rig.servers[0].send(OK)
        assert rig.servers[0].wire.polite


@pytest.mark.parametrize("first", [OK, CHUNKED])
@pytest.mark.parametrize("second", [b"x", b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n"])
def test_two_answers(first: bytes, second: bytes) -> None:
    for pieces in every_split(first + second):
        with ClientRig() as rig:
            asked = rig.ask()
            rig.servers[0].send(*pieces)
            assert asked.body is not None
            assert (asked.response.code, asked.body.data) == (200, b"hi")
            assert asked.body.end is not None
            assert asked.body.end.check(ResponseDone)
            again = rig.ask()
            assert again.pending
            assert len(rig.servers) == 2
            rig.turn()
            assert not rig.servers[0].open


def test_a_byte_on_an_idle_connection_closes_it() -> None:
    with ClientRig() as rig:
        rig.ask()
        rig.servers[0].send(OK)
        rig.servers[0].send(b"H")
        assert rig.servers[0].wire.aborted
        rig.turn()
        assert rig.held() == {}
        assert rig.agent.statistics.closed == {"unasked-bytes": 1}


def test_a_kept_connection_that_is_gone_is_replaced_once() -> None:
    with ClientRig() as rig:
        rig.ask()
        rig.servers[0].send(OK)
        asked = rig.ask()
        rig.servers[0].lose()
        assert len(rig.servers) == 2
        rig.servers[1].send(OK)
        assert asked.response.code == 200
        again = rig.ask()
        rig.servers[1].send(b"HTTP/1.1 2")
        rig.servers[1].lose()  # half an answer is no reason to ask again
        assert again.error.reason is ClientReason.CUT
        assert again.error.reused
        posted = rig.ask(b"POST")
        rig.servers[2].send(OK)
        posted = rig.ask(b"POST", producer=BytesBody(b"x"))
        rig.servers[2].lose()
        assert isinstance(posted.error, NoResponse)
        assert (posted.error.sent, posted.error.reused) == (True, True)


# -- what is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "uri", "fields"),
    [
        (b"GE T", b"http://a/", {}),
        (b"GET\r\nX: y", b"http://a/", {}),
        (b"GET", b"http://a/\r\nX: y", {}),
        (b"GET", b"http://a/ b", {}),
        (b"GET", b"http://a\r\n/", {}),
        (b"GET", b"http://u:secret@a/", {}),
        (b"GET", b"http://a:0/", {}),
        (b"GET", b"http://a:99999/", {}),
        (b"GET", b"http:///", {}),
        (b"GET", b"http://a..b/", {}),
        (b"GET", b"http://%b.example/" % (b"a" * 64), {}),
        (b"GET", b"http://%bab/" % (b"a." * 126), {}),
        (b"GET", b"http://127.1/", {}),
        (b"GET", b"https://2130706433/", {}),
        (b"GET", b"http://0x7f.0.0.0x1/", {}),
        (b"GET", b"http://127.0.0.1./", {}),
        (b"GET", b"http://[::::]/", {}),
        (b"GET", b"/", {}),
        (b"GET", b"http://a\\b/", {}),
        (b"GET", b"http://\xff/", {}),
        (b"GET", b"http+unix://run/", {}),
        (b"GET", b"http://a/", {b"Host": [b"a", b"b"]}),
        (b"GET", b"http://a/", {b"Host": [b"a/b"]}),
        (b"GET", b"http://a/", {b"Content-Length": [b"5"]}),
        (b"GET", b"http://a/", {b"Transfer-Encoding": [b"chunked"]}),
        (b"GET", b"http://a/", {b"Expect": [b"tea"]}),
        (b"GET", b"http://a/", {b"X": [b"secret\0"]}),
    ],
)
def test_what_cannot_be_asked(method: bytes, uri: bytes, fields: dict[bytes, list[bytes]]) -> None:
    with ClientRig() as rig:
        asked = rig.ask(method, uri, fields)
        assert isinstance(asked.error, RequestRefused)
        assert isinstance(asked.error, ValueError)
        assert "secret" not in str(asked.error)
        assert rig.held() == {}
        assert rig.servers == []


def test_line_ends_in_a_field_do_not_make_another() -> None:
    with ClientRig() as rig:
        asked = rig.ask(fields={b"X": [b"a\r\nY: b"]})  # Twisted's Headers make a blank of them
        assert asked.pending
        assert b"\r\nY:" not in rig.servers[0].received


@pytest.mark.parametrize(
    "host",
    [b"a" * 63, b"a." * 126 + b"a", b"_a.b-c.", b"1a", b"1.2.3.4", b"[::1]", b"0x7f.a1"],
    ids=lambda host: host[:9],
)
def test_what_is_a_host(host: bytes) -> None:
    with ClientRig() as rig:
        assert rig.ask(uri=b"http://%b/" % host).pending


def test_international_names() -> None:
    with ClientRig() as rig:
        rig.ask(uri="http://Bücher.example/".encode())
        assert rig.servers[0].received.startswith(b"GET / HTTP/1.1\r\nHost: xn--bcher-kva.example\r\n")


def test_bodies_of_known_bytes_go_with_the_head() -> None:
    with ClientRig() as rig:
        rig.ask(b"POST", producer=BytesBody(b"abc"), fields={b"Content-Length": [b"3"]})
        assert rig.servers[0].received == b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc"
        rig.ask(b"POST")
        assert rig.servers[1].received == b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"


@implementer(IBodyProducer)
class Producer:
    """A body made by hand."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.consumer: Any = None
        self.done: Deferred[None] = Deferred()
        self.calls: list[str] = []

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.calls.append("start")
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def test_a_body_of_unknown_length() -> None:
    with ClientRig() as rig:
        producer = Producer()
        asked = rig.ask(b"PUT", producer=producer)
        server = rig.servers[0]
        assert server.received == b"PUT / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        producer.consumer.write(b"x" * 17)
        producer.consumer.write(b"")
        server.wire.producer.pauseProducing()
        server.wire.producer.resumeProducing()
        producer.consumer.write(b"y")
        producer.done.callback(None)
        assert server.received == b"11\r\n" + b"x" * 17 + b"\r\n1\r\ny\r\n0\r\n\r\n"
        assert server.wire.producer is None
        server.send(OK)
        assert asked.response.code == 200
        assert producer.calls == ["start", "pause", "resume"]
        rig.ask()
        assert len(rig.servers) == 1


def test_a_long_body_of_known_bytes_is_sent_as_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transport is full after each write; a slow peer is not a silent one."""
    body = bytes(range(256)) * 1024
    with ClientRig(answers=False, first_byte_seconds=5, body_idle_seconds=5) as rig:
        asked = rig.ask(b"PUT", producer=BytesBody(body))

        def write(wire: Any, data: bytes) -> None:
            wire.sent += data
            if wire.producer is not None:
                wire.producer.pauseProducing()

        monkeypatch.setattr(Wire, "write", write)
        server = rig.connect()
        received = server.received
        assert len(received) < WITH_HEAD_BYTES + 200
        while not received.endswith(body):
            rig.advance(4)
            server.wire.producer.resumeProducing()
            assert len(server.wire.sent) <= WITH_HEAD_BYTES
            received += server.received
        rig.advance(4)
        server.wire.producer.resumeProducing()
        assert server.wire.producer is None
        assert asked.pending
        server.send(OK)
        assert asked.response.code == 200
        slow = rig.ask(b"PUT", producer=BytesBody(body))
        rig.advance(5.1)
        assert slow.error.reason is ClientReason.SEND_SECONDS


def test_a_long_body_of_known_bytes_is_sent_again_over_a_new_connection() -> None:
    body = b"x" * (WITH_HEAD_BYTES + 1)
    with ClientRig() as rig:
        rig.ask()
        rig.servers[0].send(OK)
        asked = rig.ask(b"PUT", producer=BytesBody(body))
        assert rig.servers[0].received.endswith(body)
        rig.servers[0].lose()
        assert rig.servers[1].received.endswith(body)
        rig.servers[1].send(OK)
        assert asked.response.code == 200


def test_a_body_keeps_its_length() -> None:
    for pieces, kept in (([b"ab", b"c"], True), ([b"ab"], False), ([b"abcd"], False)):
        with ClientRig() as rig:
            producer = Producer(3)
            asked = rig.ask(b"PUT", producer=producer)
            for piece in pieces:
                producer.consumer.write(piece)
            if not producer.done.called:
                producer.done.callback(None)
            if kept:
                assert rig.servers[0].received.endswith(b"\r\n\r\nabc")
                assert asked.pending
            else:
                assert isinstance(asked.error, RequestBodyFailed)
                assert producer.calls == ["start", "stop"]
                assert b"abcd" not in rig.servers[0].received


def test_a_producer_that_fails() -> None:
    with ClientRig() as rig:
        producer = Producer(3)
        asked = rig.ask(b"PUT", producer=producer)
        producer.done.errback(Failure(OSError("the disk")))
        assert isinstance(asked.error, RequestBodyFailed)
        assert asked.error.reasons[0].check(OSError)
        assert rig.servers[0].wire.aborted


@pytest.mark.parametrize("length", [None, -1, 2.5, "3"])
def test_a_body_of_no_length_is_not_sent(length: Any) -> None:
    with ClientRig() as rig:
        asked = rig.ask(b"POST", producer=Producer(length))
        assert isinstance(asked.error, RequestRefused)
        assert rig.servers == []


def test_a_producer_that_returns_nothing() -> None:
    class Mute(Producer):
        def startProducing(self, consumer: Any) -> Any:
            consumer.write(b"x")

    with ClientRig() as rig:
        asked = rig.ask(b"POST", producer=Mute(3))
        assert isinstance(asked.error, RequestBodyFailed)
        assert rig.servers[0].wire.aborted


@pytest.mark.parametrize("how", ["answer", "lost", "cancel"])
def test_a_producer_is_stopped(how: str) -> None:
    with ClientRig() as rig:
        producer = Producer()
        asked = rig.ask(b"POST", producer=producer)
        server = rig.servers[0]
        if how == "answer":
            server.send(OK)
            assert asked.response.code == 200
            assert server.wire.polite
        elif how == "lost":
            server.lose()
            assert isinstance(asked.error, NoResponse)
        else:
            asked.deferred.cancel()
            assert isinstance(asked.error, CancelledError)
            assert server.wire.aborted
        assert producer.calls == ["start", "stop"]
        sent = server.received
        producer.consumer.write(b"more")
        assert server.received == b""
        assert b"more" not in sent


def test_a_body_waits_for_its_invitation() -> None:
    for invited in (True, False):
        with ClientRig() as rig:
            producer = Producer(1)
            rig.ask(b"POST", fields={b"Expect": [b"100-continue"]}, producer=producer)
            server = rig.servers[0]
            assert b"\r\nExpect: 100-continue\r\n" in server.received
            assert producer.calls == []
            if invited:
                server.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                rig.advance(0.9)
                assert producer.calls == []
                rig.advance(0.2)
            assert producer.calls == ["start"]


def test_a_body_that_was_not_invited_is_not_sent() -> None:
    with ClientRig() as rig:
        producer = Producer(1)
        asked = rig.ask(b"POST", fields={b"Expect": [b"100-continue"]}, producer=producer)
        rig.servers[0].send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        assert asked.response.code == 417
        assert rig.servers[0].wire.polite
        rig.advance(10)
        assert producer.calls == []


# -- backpressure and ends ---------------------------------------------------------------------


def test_a_body_flows_as_it_is_taken() -> None:
    with ClientRig() as rig:
        body = Body(lambda body, data: body.transport.pauseProducing() if data == b"b" else None)
        asked = rig.ask(body=body)
        server = rig.servers[0]
        server.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        server.send(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n")
        assert body.data == b"ab"
        assert server.wire.paused
        assert rig.held()["body_bytes"] == 1
        body.transport.resumeProducing()
        assert body.data == b"abc"
        assert not server.wire.paused
        assert "body_bytes" not in rig.held()
        server.send(b"0\r\n\r\n")
        assert body.end is not None
        assert asked.response is not None


def test_a_body_that_is_paused_as_soon_as_it_is_asked_for() -> None:
    with ClientRig() as rig:
        body = Body(lambda body, data: body.transport.pauseProducing())
        rig.ask(body=body)
        rig.servers[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        assert body.data == b"ab"
        assert rig.servers[0].wire.paused


def test_nothing_more_is_read_of_a_body_that_nobody_takes() -> None:
    with ClientRig() as rig:
        asked = rig.ask(take=False)
        server = rig.servers[0]
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        assert server.wire.paused
        assert rig.held()["body_bytes"] == 2
        body = Body()
        asked.response.deliverBody(body)
        assert body.data == b"ab"
        server.send(b"cd")
        assert body.data == b"abcd"
        assert body.end is not None
        rig.ask()
        assert len(rig.servers) == 1
        assert not server.wire.paused


def test_a_connection_that_was_paused_is_read_again_when_it_rests() -> None:
    with ClientRig() as rig:
        asked = rig.ask(take=False)
        server = rig.servers[0]
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        assert server.wire.paused
        server.protocol.dataReceived(b"cd")  # TLS had it already
        assert not server.wire.paused
        assert rig.held()["idle_connections"] == 1
        body = Body()
        asked.response.deliverBody(body)
        assert body.data == b"abcd"


@pytest.mark.parametrize("leave", ["pauseProducing", "loseConnection"])
def test_the_last_piece_is_no_hold_on_a_connection_that_is_free(leave: str) -> None:
    with ClientRig() as rig:
        body = Body(lambda body, data: getattr(body.transport, leave)() if data == b"b" else None)
        rig.ask(body=body)
        server = rig.servers[0]
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", b"b")
        rig.turn()
        assert server.open
        assert not server.wire.paused
        assert rig.held()["idle_connections"] == 1
        assert body.end is not None


@pytest.mark.parametrize("leave", ["loseConnection", "abortConnection", "stopProducing"])
@pytest.mark.parametrize("whole", [True, False])
def test_an_application_that_leaves(leave: str, whole: bool) -> None:
    with ClientRig() as rig:
        body = Body(lambda body, data: getattr(body.transport, leave)())
        rig.ask(body=body)
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n"
        rig.servers[0].send(data + b"0\r\n\r\n" * whole)
        assert body.data == b"a"
        rig.turn()
        assert body.end is not None
        assert body.end.value.reason is ClientReason.ABORTED
        assert body.end.check(ResponseFailed)
        assert rig.held().get("connections", 0) == whole


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("where", ["makeConnection", "dataReceived"])
def test_an_application_that_fails_as_it_asks_for_a_body_holds_nothing(where: str, whole: bool) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with ClientRig() as rig:
        asked = rig.ask(take=False)
        rig.servers[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nab" % (2 if whole else 4))
        body = Body()
        setattr(body, where, fail)
        with pytest.raises(ZeroDivisionError):
            asked.response.deliverBody(body)
        rig.turn()
        assert body.end is not None
        assert rig.held().get("connections", 0) == whole


@pytest.mark.parametrize("how", ["whole", "cut", "late", "closed"])
def test_an_application_that_fails_at_the_end_costs_itself_alone(how: str) -> None:
    class Bad(Body):
        def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
            super().connectionLost(reason)
            raise ZeroDivisionError

    with ClientRig(max_connections=1, body_idle_seconds=5) as rig:
        body = Bad()
        rig.ask(body=body)
        after = rig.ask()
        server = rig.servers[0]
        server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"h")
        if how == "whole":
            server.send(b"i")
            assert server.received.count(b"GET") == 2
            server.send(OK)
        elif how == "cut":
            server.lose()
            rig.servers[1].send(OK)
        elif how == "late":
            rig.advance(6)
            rig.servers[1].send(OK)
        else:
            ended = rig.agent.close()
            rig.turn()
            assert ended.called
        assert body.end is not None
        assert (after.response is not None) == (how != "closed")


def test_who_pauses_and_resumes_at_each_piece_is_given_them_in_a_row() -> None:
    def busy(body: Body, data: bytes) -> None:
        assert body.transport is not None
        body.transport.pauseProducing()
        body.transport.resumeProducing()

    with ClientRig() as rig:
        asked = rig.ask(body=Body(busy))
        rig.servers[0].send(CHUNKED[: CHUNKED.index(b"2\r\n")], b"1\r\nx\r\n" * 3000, b"0\r\n\r\n")
        assert asked.body is not None
        assert asked.body.data == b"x" * 3000
        assert asked.body.end is not None
        assert asked.body.end.check(ResponseDone)


def test_an_application_that_fails_costs_itself_alone() -> None:
    with ClientRig() as rig:

        def fail(body: Body, data: bytes) -> None:
            raise OSError("the disk")

        body = Body(fail)
        rig.ask(body=body)
        rig.servers[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        rig.servers[0].send(b"ab")
        rig.turn()
        assert body.end is not None
        assert rig.held() == {}


@pytest.mark.parametrize("stage", ["dialing", "handshake", "sent", "half a head", "queued"])
def test_cancelling_frees_everything(stage: str) -> None:
    dialed = stage not in ("dialing", "queued")
    with ClientRig(answers=dialed, secure=stage == "handshake", max_connections=1) as rig:
        before = rig.ask() if stage == "queued" else None
        asked = rig.ask()
        if stage == "half a head":
            rig.servers[0].send(b"HTTP/1.1 ")
        asked.deferred.cancel()
        assert isinstance(asked.error, CancelledError)
        rig.turn()
        if before is not None:
            assert rig.held()["queued"] == 0 if "queued" in rig.held() else True
            before.deferred.cancel()
        assert rig.held() == {}
        assert rig.agent.statistics.failed == {"cancelled": 1 if before is None else 2}


def test_an_upgrade_is_handed_on() -> None:
    with ClientRig() as rig:
        asked = rig.ask(fields={b"Upgrade": [b"x"], b"Connection": [b"Upgrade"]})
        server = rig.servers[0]
        assert b"\r\nConnection: Upgrade\r\n" in server.received
        server.send(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\nearly")
        assert asked.body is not None
        assert asked.response.code == 101
        server.send(b" late")
        assert asked.body.data == b"early late"
        asked.body.transport.write(b"ours")
        assert server.received == b"ours"
        rig.advance(100_000)
        assert server.open
        server.lose()
        assert asked.body.end is not None


@pytest.mark.parametrize(
    ("method", "code", "kept"),
    [
        (b"GET", 200, {b"X"}),
        (b"HEAD", 200, {b"X", b"Content-Length"}),
        (b"GET", 101, {b"X", b"Content-Length", b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Upgrade"}),
    ],
)
def test_who_hands_a_response_on_hands_on_no_framing(method: bytes, code: int, kept: set[bytes]) -> None:
    """Proxies copy ``response.headers``, and what Twisted's agent leaves out would frame another message."""
    with ClientRig() as rig:
        asked = rig.ask(method, fields={b"Upgrade": [b"x"], b"Connection": [b"Upgrade"]})
        rig.servers[0].send(
            b"HTTP/1.1 %d Yes\r\nX: y\r\nContent-Length: 0\r\nConnection: Upgrade\r\nKeep-Alive: timeout=9\r\n"
            b"Proxy-Connection: close\r\nUpgrade: x\r\n\r\n" % code
        )
        assert {name for name, _ in asked.response.headers.getAllRawHeaders()} == kept


def test_an_upgraded_connection_has_no_total() -> None:
    with ClientRig(total_seconds=10, unread_seconds=5) as rig:
        asked = rig.ask(fields={b"Upgrade": [b"x"], b"Connection": [b"upgrade"]})
        rig.servers[0].send(b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\n\r\n")
        rig.advance(20)
        assert asked.body is not None
        asked.body.transport.pauseProducing()  # type: ignore[union-attr]
        rig.advance(4)
        asked.body.transport.resumeProducing()  # type: ignore[union-attr]
        rig.servers[0].send(b"on")
        assert asked.body.data == b"on"


def test_a_closed_agent_asks_nothing() -> None:
    with ClientRig() as rig:
        idle = rig.ask(uri=b"http://b.example/")
        rig.servers[0].send(OK)
        asked = rig.ask()
        ended = rig.agent.close()
        assert not ended.called
        assert asked.error.reason is ClientReason.AGENT_CLOSED
        rig.turn()
        assert ended.called
        assert idle.response.code == 200
        assert rig.ask().error.reason is ClientReason.AGENT_CLOSED


def test_public_name() -> None:
    assert _Same is BytesBody

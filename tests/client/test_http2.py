"""HTTP/2 in memory: what one stream does, and what a whole connection does."""

from __future__ import annotations

import sys
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from hardhttp.client import (
    Agent,
    BadResponse,
    BodyTimeout,
    BodyUnread,
    BytesBody,
    NoResponse,
    RequestRefused,
    ResponseCut,
    ResponseTimeout,
    ResponseTooLarge,
)
from hardhttp.client.http2 import MAX_MOVES
from hardhttp.client.pool import MAX_MULTIPLEXING
from hardhttp.wire.http2 import ErrorCodes, Kind
from hardhttp.wire.http2client import MAX_ENDED
from tests.client.rig import Body
from tests.client.rig2 import END_HEADERS, END_STREAM, Rig2, frame

CANCEL, REFUSED, PROTOCOL_ERROR, FLOW = 8, 7, 1, 3


def one(**limits: Any) -> tuple[Rig2, Any, Any]:
    """A rig, a request, and its server."""
    rig = Rig2(**limits)
    outcome = rig.ask()
    server = rig.servers[0]
    server.hear()
    return rig, outcome, server


def ends(rig: Rig2) -> None:
    """The end of a test: nothing may be left."""
    with rig:
        pass


# -- requests and responses


def test_a_request_and_its_response() -> None:
    with Rig2() as rig:
        fields = {b"Accept": [b"*/*"], b"Connection": [b"close, x"], b"TE": [b"gzip"], b"Cookie": [b"a=1", b"b=2"]}
        outcome = rig.ask(uri=b"https://a.example:8443/x?y", fields=fields)
        (server,) = rig.servers
        assert dict(server.hear()[1].fields) == {
            b":method": b"GET",
            b":scheme": b"https",
            b":authority": b"a.example:8443",
            b":path": b"/x?y",
            b"accept": b"*/*",
            b"cookie": b"b=2",
        }
        assert server.asked[1].ended
        assert server.settings[2] == 0  # no push
        server.head(1, 103, (b"link", b"</x>"))
        server.head(1, 200, (b"content-length", b"5"), (b"set-cookie", b"a"), (b"set-cookie", b"b"))
        response = outcome.response
        assert (response.version, response.code, response.phrase) == ((b"HTTP", 2, 0), 200, b"OK")
        assert response.length == 5
        assert response.headers.getRawHeaders(b"Set-Cookie") == [b"a", b"b"]
        server.data(1, b"he")
        server.data(1, b"llo", end=True)
        assert outcome.body.data == b"hello"
        assert outcome.body.end.check(ResponseDone)
        assert rig.held() == {"connections": 1, "hosts": 1, "idle_connections": 1, "waits": 1, "timers": 1}


def test_every_split() -> None:
    rig, outcome, server = one()
    said = server.head_frame(1, (b":status", b"200")) + frame(Kind.DATA, 0x8, 1, b"\2hi\0\0") + frame(0, 1, 1)
    ends(rig)
    for at in range(1, len(said)):
        rig, outcome, server = one()
        server.send(said[:at], said[at:])
        assert outcome.body.data == b"hi"
        assert outcome.body.end.check(ResponseDone)
        ends(rig)
    rig, outcome, server = one()
    server.send(*[bytes([octet]) for octet in said])
    assert outcome.body.data == b"hi"
    ends(rig)


def test_without_a_body() -> None:
    with Rig2() as rig:
        for number, method, status in ((1, b"HEAD", 200), (3, b"GET", 204), (5, b"GET", 304), (7, b"GET", 200)):
            outcome = rig.ask(method)
            length = ((b"content-length", b"9"),) if status != 200 or method == b"HEAD" else ()
            rig.servers[0].head(number, status, *length, end=True)
            assert outcome.response.length == 0
            assert outcome.body.end.check(ResponseDone)
        assert len(rig.servers) == 1
        assert rig.agent.statistics.reused == 3


def test_trailers() -> None:
    rig, outcome, server = one()
    server.head(1)
    server.data(1, b"hi")
    server.fields(1, (b"checksum", b"1"), end=True)
    assert outcome.body.data == b"hi"
    assert outcome.body.end.check(ResponseDone)
    ends(rig)


def test_many_at_once() -> None:
    with Rig2(max_streams=3) as rig:
        outcomes = [rig.ask() for _ in range(3)]
        (server,) = rig.servers
        assert sorted(server.hear()) == [1, 3, 5]
        for number in (5, 1, 3):
            server.answer(number, b"%d" % number)
        assert [outcome.body.data for outcome in outcomes] == [b"1", b"3", b"5"]


def test_what_the_server_allows() -> None:
    with Rig2(max_connections=1) as rig:
        first = rig.ask()
        (server,) = rig.servers
        server.say_settings(streams=1)
        second = rig.ask()
        assert sorted(server.hear()) == [1]
        server.answer(1)
        assert sorted(server.hear()) == [1, 3]
        server.answer(3)
        assert first.body.data == second.body.data == b"hi"
        server.say_settings(streams=0)
        third = rig.ask()
        assert third.pending
        server.say_settings(streams=1)
        server.hear()
        server.answer(5)
        assert third.body.data == b"hi"


def test_upgrades_are_refused() -> None:
    with Rig2() as rig:
        outcome = rig.ask(fields={b"Upgrade": [b"websocket"], b"Connection": [b"upgrade"]})
        assert isinstance(outcome.error, RequestRefused)
        assert rig.servers[0].hear() == {}


def test_prior_knowledge_alone_in_clear() -> None:
    with Rig2() as rig:
        rig.secure = False
        rig.ask(uri=b"http://a.example/").deferred.cancel()
        assert rig.servers[0].received.startswith(b"GET / HTTP/1.1\r\n")
        rig.turn()
    rig = Rig2()
    rig.secure = False
    rig.agent = Agent(rig.clock, rig.limits, routes=rig, http2_prior_knowledge=True)
    with rig:
        outcome = rig.ask(uri=b"http://a.example/")
        (server,) = rig.servers
        assert dict(server.hear()[1].fields)[b":scheme"] == b"http"
        server.say_settings()
        server.answer(1)
        assert outcome.body.data == b"hi"
    with pytest.raises(ValueError, match="http2_prior_knowledge"):
        Agent(rig.clock, http2=False, http2_prior_knowledge=True)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hardhttp.client.http2", None)
    rig = Rig2(choosing=b"http/1.1")
    with rig:
        rig.ask().deferred.cancel()
        assert rig.servers[0].received.startswith(b"GET / HTTP/1.1\r\n")
    for options in ({"http2": True}, {"http2_prior_knowledge": True}):
        with pytest.raises(ImportError):
            Agent(rig.clock, **options)


# -- the pool


def test_a_dial_to_a_host_that_speaks_it_is_waited_for() -> None:
    with Rig2(answers=False, idle_connection_seconds=1) as rig:
        outcomes = [rig.ask() for _ in range(3)]
        assert len(rig.dials) == 3  # nobody knows yet
        server = rig.connect()
        rig.shake(server)
        assert rig.dials == []  # the others are not needed
        assert sorted(server.hear()) == [1, 3, 5]
        for number in (1, 3, 5):
            server.answer(number)
        assert all(outcome.body.data == b"hi" for outcome in outcomes)
        rig.advance(2)
        assert rig.held() == {}
        outcomes = [rig.ask() for _ in range(3)]
        assert len(rig.dials) == 1
        rig.shake(rig.connect())
        assert sorted(rig.servers[-1].hear()) == [1, 3, 5]
        for number in (1, 3, 5):
            rig.servers[-1].answer(number)
        rig.advance(2)
        # It may have changed its mind: then each dials for himself.
        outcomes = [rig.ask() for _ in range(3)]
        rig.choosing = b"http/1.1"
        rig.shake(rig.connect())
        assert len(rig.dials) == 2
        for outcome in outcomes:
            outcome.deferred.cancel()


def test_a_dial_that_fails_lets_the_next_one_try() -> None:
    with Rig2(answers=False, idle_connection_seconds=1) as rig:
        rig.ask()
        rig.shake(rig.connect())
        rig.servers[0].answer(1)
        rig.advance(2)
        first, second = rig.ask(), rig.ask()
        assert len(rig.dials) == 1
        rig.refuse(ConnectionRefusedError())
        assert first.failure is not None
        rig.shake(rig.connect())
        rig.servers[-1].answer(1)
        assert second.body.data == b"hi"


def test_a_handshake_that_fails_lets_the_next_one_try() -> None:
    with Rig2(idle_connection_seconds=1) as rig:
        rig.ask()
        rig.servers[0].answer(1)
        rig.advance(1)
        rig.shakes = False
        first, second = rig.ask(), rig.ask()
        assert len(rig.servers) == 2
        rig.servers[1].lose()
        assert first.error.reason == "tls"
        rig.shake(rig.servers[2])
        rig.servers[2].answer(1)
        assert second.body.data == b"hi"


def test_a_spare_connection_is_closed() -> None:
    with Rig2() as rig:
        rig.shakes = False
        rig.ask(), rig.ask()
        for server in rig.servers:
            rig.shake(server)
        for server in rig.servers:
            server.answer(1)
        rig.turn()
        assert rig.agent.statistics.closed == {"spare": 1}


# -- bodies that are sent


class Producer:
    """Writes what a test says, when it says so."""

    def __init__(self, length: Any = UNKNOWN_LENGTH) -> None:
        self.length = length
        self.paused = self.stopped = False
        self.consumer: Any = None
        self.done: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.stopped = True


def test_a_body_within_the_windows() -> None:
    with Rig2() as rig:
        outcome = rig.ask(b"POST", producer=BytesBody(b"x" * 100_000))
        (server,) = rig.servers
        assert len(server.hear()[1].body) == 65_535
        server.open_window(1, 100_000)
        assert len(server.hear()[1].body) == 65_535
        server.open_window(0, 100_000)
        assert len(server.hear()[1].body) == 100_000
        assert server.asked[1].ended
        assert rig.held()["connections"] == 1
        server.answer(1)
        assert outcome.body.data == b"hi"


def test_settings_move_windows_both_ways() -> None:
    with Rig2() as rig:
        outcome = rig.ask(b"POST", producer=BytesBody(b"x" * 1000))
        (server,) = rig.servers
        server.say_settings(window=10)
        outcome = rig.ask(b"POST", producer=BytesBody(b"x" * 100))
        assert len(server.hear()[3].body) == 10
        server.say_settings(window=5)
        server.open_window(3, 5)
        assert len(server.hear()[3].body) == 10
        server.say_settings(window=95)
        assert len(server.hear()[3].body) == 100
        server.answer(1)
        server.answer(3)
        assert outcome.body.data == b"hi"


def test_a_producer_is_paused_and_resumed() -> None:
    with Rig2() as rig:
        producer = Producer()
        outcome = rig.ask(b"POST", producer=producer)
        (server,) = rig.servers
        producer.consumer.write(b"x" * 65_535)
        assert not producer.paused
        producer.consumer.write(b"y" * 65_536)
        assert producer.paused
        assert rig.held()["unsent_bytes"] == 65_536
        server.open_window(0, 100_000)
        server.open_window(1, 100_000)
        assert not producer.paused
        producer.done.callback(None)
        assert server.hear()[1].ended
        assert len(server.asked[1].body) == 131_071
        server.answer(1)
        assert outcome.body.data == b"hi"


def test_an_expectation() -> None:
    with Rig2() as rig:
        fields = {b"Expect": [b"100-continue"]}
        first = rig.ask(b"PUT", fields=fields, producer=BytesBody(b"body"))
        second = rig.ask(b"PUT", fields=fields, producer=BytesBody(b"body"))
        (server,) = rig.servers
        assert not server.hear()[1].ended
        server.head(1, 100)
        assert (server.hear()[1].body, server.asked[3].body) == (b"body", b"")
        rig.advance(1)
        assert server.hear()[3].body == b"body"
        server.answer(1)
        server.answer(3)
        assert first.body.data == second.body.data == b"hi"


def test_an_answer_before_the_request_is_whole() -> None:
    with Rig2() as rig:
        producer = Producer()
        outcome = rig.ask(b"POST", producer=producer)
        (server,) = rig.servers
        server.answer(1)
        assert outcome.body.data == b"hi"
        assert producer.stopped
        assert server.hear()[1].code == CANCEL


def test_a_body_that_cannot_be_made() -> None:
    with Rig2() as rig:
        producer = Producer(3)
        outcome = rig.ask(b"POST", producer=producer)
        producer.consumer.write(b"long")
        assert outcome.error.reason == "request-body"
        assert rig.servers[0].hear()[1].code == CANCEL


# -- bodies that are taken


def test_a_body_that_nobody_takes_stalls_itself_alone() -> None:
    with Rig2(stream_window_bytes=32_768, unread_seconds=5, ping_seconds=60) as rig:
        unread = rig.ask(take=False)
        (server,) = rig.servers
        server.head(1)
        server.data(1, b"x" * 16_384)
        server.data(1, b"x" * 16_384)
        assert rig.held()["body_bytes"] == 32_768
        assert server.hear()[1].window == 0
        for number in range(3, 63, 2):  # more than the connection's window in all
            outcome = rig.ask()
            server.answer(number, b"y" * 16_384)
            assert len(outcome.body.data) == 16_384
        server.hear()
        assert server.window >= 20 * 16_384
        rig.advance(5)
        assert server.hear()[1].code == CANCEL
        body = Body()
        unread.response.deliverBody(body)
        assert len(body.data) == 32_768
        assert isinstance(body.end.value, BodyUnread)
        assert "body_bytes" not in rig.held()


def test_more_than_the_window_ends_the_stream() -> None:
    with Rig2(stream_window_bytes=16_384) as rig:
        first, second = rig.ask(take=False), rig.ask()
        (server,) = rig.servers
        server.head(1)
        server.data(1, b"x" * 16_384)
        server.data(1, b"x")
        assert server.hear()[1].code == FLOW
        server.answer(3)
        assert second.body.data == b"hi"
        assert first.response is not None


def test_windows_are_given_back_as_bytes_are_taken() -> None:
    with Rig2(stream_window_bytes=16_384) as rig:
        outcome = rig.ask()
        (server,) = rig.servers
        server.head(1)
        server.data(1, b"x" * 8_191)
        assert server.hear()[1].window == 0
        server.data(1, b"x")
        assert server.hear()[1].window == 8_192
        outcome.body.transport.pauseProducing()
        server.data(1, b"x" * 16_384)
        assert server.hear()[1].window == 8_192
        outcome.body.transport.resumeProducing()
        assert server.hear()[1].window == 24_576
        server.data(1, end=True)


def test_bounds_of_a_body() -> None:
    with Rig2(max_body_bytes=4) as rig:
        outcomes = [rig.ask() for _ in range(4)]
        (server,) = rig.servers
        server.answer(1, b"1234")
        server.head(3)
        server.data(3, b"12345")
        server.head(5, 200, (b"content-length", b"5"))
        server.head(7, 200, (b"content-length", b"4"))
        server.data(7, b"1234", end=True)
        assert outcomes[0].body.data == outcomes[3].body.data == b"1234"
        assert isinstance(outcomes[1].body.end.value, ResponseTooLarge)
        assert isinstance(outcomes[2].error, ResponseTooLarge)
        assert (server.hear()[3].code, server.asked[5].code) == (CANCEL, CANCEL)


# -- malformed responses cost their stream

STATUS = (b":status", b"200")
MALFORMED = {
    "no-status": ([(b"a", b"b")], False),
    "nothing": ([], False),
    "two-statuses": ([STATUS, STATUS], False),
    "status-behind": ([(b"a", b"b"), STATUS], False),
    "bad-status": ([(b":status", b"20")], False),
    "a-request's": ([STATUS, (b":path", b"/")], False),
    "upper-case": ([STATUS, (b"A", b"b")], False),
    "control": ([STATUS, (b"a", b"b\r\nc: d")], False),
    "blank": ([STATUS, (b"a", b" b")], False),
    "connection": ([STATUS, (b"connection", b"close")], False),
    "chunked": ([STATUS, (b"transfer-encoding", b"chunked")], False),
    "101": ([(b":status", b"101")], False),
    "1xx-ends": ([(b":status", b"103")], True),
    "two-lengths": ([STATUS, (b"content-length", b"1"), (b"content-length", b"2")], False),
    "no-length": ([STATUS, (b"content-length", b"+1")], False),
    "length-and-no-body": ([STATUS, (b"content-length", b"1")], True),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str) -> None:
    fields, end = MALFORMED[name]
    with Rig2() as rig:
        bad, good = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.fields(1, *fields, end=end)
        assert isinstance(bad.error, BadResponse)
        assert server.hear()[1].code == PROTOCOL_ERROR
        server.answer(3)
        assert good.body.data == b"hi"


def test_malformed_bodies_and_trailers() -> None:
    with Rig2() as rig:
        outcomes = [rig.ask() for _ in range(6)]
        (server,) = rig.servers
        server.data(1, b"x")  # before its head
        server.head(3, 200, (b"content-length", b"1"))
        server.data(3, b"xy")
        server.head(5, 200, (b"content-length", b"3"))
        server.data(5, b"xy", end=True)
        server.head(7)
        server.fields(7, (b"a", b"b"))  # trailers that end nothing
        server.head(9)
        server.fields(9, (b":status", b"200"), end=True)
        server.answer(11)
        assert isinstance(outcomes[0].error, BadResponse)
        for outcome in outcomes[1:5]:
            assert isinstance(outcome.body.end.value, BadResponse)
        assert outcomes[5].body.data == b"hi"
        assert [server.hear()[number].code for number in (1, 3, 5, 7, 9)] == [PROTOCOL_ERROR] * 5


def test_bounds_of_a_head() -> None:
    with Rig2(max_headers=2, max_head_bytes=256, max_informational=1) as rig:
        outcomes = [rig.ask() for _ in range(4)]
        (server,) = rig.servers
        server.head(1, 200, (b"a", b"b"), (b"a", b"b"), end=True)
        server.head(3, 200, (b"a", b"b"), (b"a", b"b"), (b"a", b"b"), end=True)
        server.head(5, 200, (b"a", b"b" * 256), end=True)
        server.head(7, 103)
        server.head(7, 103)
        assert outcomes[0].response.code == 200
        assert [outcome.error.reason for outcome in outcomes[1:]] == ["headers", "head-bytes", "informational"]
        assert server.hear()[7].code == CANCEL


# -- deadlines


def test_first_byte_seconds() -> None:
    with Rig2(first_byte_seconds=5) as rig:
        slow, quick = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.answer(3)
        rig.advance(4.9)
        server.head(1, 103)
        assert slow.pending
        rig.advance(0.1)
        assert isinstance(slow.error, ResponseTimeout)
        assert slow.error.reason == "first-byte-seconds"
        assert server.hear()[1].code == CANCEL
        assert quick.body.data == b"hi"
        assert rig.agent.statistics.opened == 1


def test_body_deadlines() -> None:
    limits = {"body_idle_seconds": 5, "body_bytes_per_second": 10, "total_seconds": 12, "ping_seconds": 100}
    with Rig2(**limits) as rig:
        idle, slow, long = rig.ask(), rig.ask(), rig.ask()
        (server,) = rig.servers
        for number in (1, 3, 5):
            server.head(number)
        server.data(3, b"x" * 49)
        server.data(5, b"x" * 50)
        rig.advance(4)
        server.data(5, b"x" * 50)
        rig.advance(1)
        assert idle.body.end.value.reason == "body-idle-seconds"
        assert slow.body.end.value.reason == "body-bytes-per-second"
        assert long.body.end is None
        rig.advance(3)
        server.data(5, b"x" * 50)
        rig.advance(4)
        assert isinstance(long.body.end.value, BodyTimeout)
        assert long.body.end.value.reason == "total-seconds"
        assert [server.hear()[number].code for number in (1, 3, 5)] == [CANCEL] * 3


def test_a_server_that_takes_no_body() -> None:
    with Rig2(body_idle_seconds=5, ping_seconds=100) as rig:
        outcome = rig.ask(b"POST", producer=BytesBody(b"x" * 100_000))
        rig.advance(4)
        rig.servers[0].open_window(1, 1)
        rig.servers[0].open_window(0, 1)
        rig.advance(4)
        assert outcome.pending
        rig.advance(1)
        assert outcome.error.reason == "send-seconds"


def test_settings_in_time() -> None:
    with Rig2(silent=True, settings_seconds=5) as rig:
        outcome = rig.ask()
        rig.advance(4.9)
        assert outcome.pending
        rig.advance(0.1)
        assert isinstance(outcome.error, NoResponse)
        assert outcome.error.reason == "settings-seconds"
        assert rig.agent.statistics.closed == {"settings-seconds": 1}


def test_a_silent_connection_is_asked() -> None:
    with Rig2(ping_seconds=5) as rig:
        outcome = rig.ask()
        (server,) = rig.servers
        rig.advance(5)
        server.hear()
        (ping,) = server.pings
        server.send(frame(Kind.PING, 1, 0, ping))
        rig.advance(5)
        server.hear()
        assert len(server.pings) == 2
        rig.advance(4.9)
        assert outcome.pending
        rig.advance(0.1)
        assert outcome.error.reason == "ping-seconds"
        assert rig.agent.statistics.closed == {"ping-seconds": 1}


def test_one_that_has_rested_for_long_is_asked_with_the_request() -> None:
    with Rig2(ping_seconds=5) as rig:
        rig.ask()
        (server,) = rig.servers
        server.answer(1)
        rig.advance(20)
        server.hear()
        assert server.pings == []
        outcome = rig.ask()
        rig.advance(0)
        server.hear()
        assert len(server.pings) == 1
        server.answer(3)
        assert outcome.body.data == b"hi"


def test_idle_connection_seconds() -> None:
    with Rig2(idle_connection_seconds=5) as rig:
        rig.ask()
        (server,) = rig.servers
        server.answer(1)
        rig.advance(5)
        server.hear()
        assert server.goaways == [(0, 0)]
        assert rig.agent.statistics.closed == {"idle-connection-seconds": 1}
        assert rig.held() == {}


def test_a_header_block_that_never_ends() -> None:
    with Rig2(ping_seconds=5, first_byte_seconds=60) as rig:
        outcome = rig.ask()
        (server,) = rig.servers
        server.send(frame(Kind.HEADERS, 0, 1, b""))
        for _ in range(5):
            rig.advance(1)
            server.send(frame(Kind.CONTINUATION, 0, 1, b""))
        assert isinstance(outcome.error, BadResponse)


# -- the server leaves


def test_goaway() -> None:
    with Rig2() as rig:
        served, retried = rig.ask(), rig.ask()
        producer = Producer()
        begun = rig.ask(b"POST", producer=producer)
        first = rig.servers[0]
        first.goaway(1)
        assert len(rig.servers) == 2
        assert isinstance(begun.error, NoResponse)
        assert not begun.error.sent
        assert producer.stopped
        rig.shake(rig.servers[1])
        rig.servers[1].answer(1)
        assert retried.body.data == b"hi"
        first.answer(1)
        assert served.body.data == b"hi"
        rig.turn()
        assert rig.agent.statistics.closed == {"goaway": 1}


def test_goaway_is_believed_so_often() -> None:
    with Rig2() as rig:
        outcome = rig.ask()
        for server in range(MAX_MOVES):
            rig.servers[server].goaway(0)
            assert outcome.pending
            rig.shake(rig.servers[server + 1])
        rig.servers[MAX_MOVES].goaway(0)
        assert outcome.error.reason == "refused-stream"


def test_goaway_takes_nothing_back() -> None:
    rig, outcome, server = one()
    server.goaway(1)
    server.goaway(3)
    assert isinstance(outcome.error, BadResponse)
    ends(rig)


def test_refused_streams_go_elsewhere_once() -> None:
    with Rig2() as rig:
        outcome, other = rig.ask(), rig.ask()
        first = rig.servers[0]
        first.reset(1, REFUSED)
        rig.shake(rig.servers[1])
        rig.servers[1].reset(1, REFUSED)
        assert outcome.error.reason == "refused-stream"
        first.answer(3)
        assert other.body.data == b"hi"


def test_resets() -> None:
    with Rig2() as rig:
        early, late, other = rig.ask(), rig.ask(), rig.ask()
        (server,) = rig.servers
        server.reset(1)
        server.head(3)
        server.reset(3, 99)
        server.reset(3)  # nothing any more
        server.answer(5)
        assert isinstance(early.error, NoResponse)
        assert isinstance(late.body.end.value, ResponseCut)
        assert other.body.data == b"hi"


def test_a_server_of_few_streams_refuses_only_once() -> None:
    """Its next connection is given no more than it allows, before it has said so there again."""
    with Rig2(silent=True) as rig:
        known = rig.ask()
        rig.servers[0].say_settings(streams=1)
        rig.servers[0].answer(1)
        rig.servers[0].lose()
        asked = [known, *(rig.ask() for _ in range(4))]
        first = rig.servers[1]
        assert len(first.hear()) == 4
        first.say_settings(streams=1)
        for number in (3, 5, 7):
            first.reset(number, REFUSED)
        second = rig.servers[2]
        rig.shake(second)
        assert len(second.hear()) == 1
        second.say_settings(streams=1)
        for number in (1, 9, 11):
            first.answer(number)
        second.answer(1)
        assert [outcome.body.data for outcome in asked] == [b"hi"] * 5


@pytest.mark.parametrize(
    ("length", "end"), [(None, PotentialDataLoss), (b"2", ResponseDone), (b"3", ResponseCut)], ids=str
)
def test_a_reset_that_is_no_error_may_end_a_body(length: bytes | None, end: type[Exception]) -> None:
    """As Node 20 does it."""
    with Rig2() as rig:
        asked = rig.ask()
        (server,) = rig.servers
        server.head(1, 200, *(() if length is None else ((b"content-length", length),)))
        server.data(1, b"hi")
        server.reset(1, 0)
        assert asked.body.data == b"hi"
        assert asked.body.end.type is end
        assert rig.held()["idle_connections"] == 1


def test_the_connection_is_lost() -> None:
    with Rig2() as rig:
        early, late = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.head(3)
        server.lose()
        assert isinstance(early.error, NoResponse)
        assert isinstance(late.body.end.value, ResponseCut)
        again = rig.ask()
        rig.servers[1].answer(1)
        once, refused = rig.ask(), rig.ask(b"POST")
        rig.servers[1].lose()  # it has served: what may be repeated is
        assert refused.failure is not None
        rig.shake(rig.servers[2])
        rig.servers[2].answer(1)
        assert once.body.data == again.body.data == b"hi"


# -- the server breaks the rules

PLACED, SIZED = ErrorCodes.PROTOCOL_ERROR, ErrorCodes.FRAME_SIZE_ERROR
CUT_BLOCK = frame(Kind.HEADERS, 0, 1, b"\x88")
BROKEN: dict[str, tuple[bytes, int]] = {
    "settings-first": (frame(Kind.PING, 0, 0, b"12345678"), PROTOCOL_ERROR),
    "push": (frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2"), PROTOCOL_ERROR),
    "push-enabled": (frame(Kind.SETTINGS, 0, 0, b"\0\2\0\0\0\1"), PROTOCOL_ERROR),
    "settings-length": (frame(Kind.SETTINGS, 0, 0, b"\0"), SIZED),
    "settings-acknowledged": (frame(Kind.SETTINGS, 0x1, 0, b"\0\3\0\0\0\1"), SIZED),
    "settings-on-1": (frame(Kind.SETTINGS, 0, 1, b"\0\3\0\0\0\1"), PLACED),
    "settings-window": (frame(Kind.SETTINGS, 0, 0, b"\0\4\x80\0\0\0"), FLOW),
    "settings-frame": (frame(Kind.SETTINGS, 0, 0, b"\0\5\0\0\x3f\xff"), PROTOCOL_ERROR),
    "settings-frame-beyond": (frame(Kind.SETTINGS, 0, 0, b"\0\5\1\0\0\0"), PROTOCOL_ERROR),
    "settings-many": (frame(Kind.SETTINGS, 0, 0, b"\0\x99\0\0\0\1" * 25), ErrorCodes.ENHANCE_YOUR_CALM),
    "too-long": (b"\0\x40\1\0\0\0\0\0\1", SIZED),
    "never-opened": (frame(Kind.HEADERS, END_HEADERS, 3, b"\x88"), PROTOCOL_ERROR),
    "even": (frame(Kind.HEADERS, END_HEADERS, 2, b"\x88"), PROTOCOL_ERROR),
    "data-idle": (frame(Kind.DATA, 0, 2, b"test"), PROTOCOL_ERROR),
    "reset-idle": (frame(Kind.RST_STREAM, 0, 2, b"\0\0\0\x08"), PROTOCOL_ERROR),
    "window-idle": (frame(Kind.WINDOW_UPDATE, 0, 2, b"\0\0\0\x08"), PROTOCOL_ERROR),
    "data-on-0": (frame(Kind.DATA, 0, 0, b"x"), PLACED),
    "headers-on-0": (frame(Kind.HEADERS, END_HEADERS, 0, b"\x88"), PLACED),
    "bad-block": (frame(Kind.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), ErrorCodes.COMPRESSION_ERROR),
    "cut-string": (frame(Kind.HEADERS, END_HEADERS, 1, b"\x40"), ErrorCodes.COMPRESSION_ERROR),
    "table": (frame(Kind.HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x03"), ErrorCodes.COMPRESSION_ERROR),
    "cut-block": (CUT_BLOCK + frame(Kind.PING, 0, 0, b"12345678"), PROTOCOL_ERROR),
    "priority-in-block": (CUT_BLOCK + frame(Kind.PRIORITY, 0, 1, b"\0\0\0\0\xff"), PROTOCOL_ERROR),
    "data-in-block": (CUT_BLOCK + frame(Kind.DATA, 0, 1, b"test"), PROTOCOL_ERROR),
    "continuation": (frame(Kind.CONTINUATION, END_HEADERS, 1, b"\x88"), PROTOCOL_ERROR),
    "continuation-on-0": (CUT_BLOCK + frame(Kind.CONTINUATION, END_HEADERS, 0), PROTOCOL_ERROR),
    "padding": (frame(Kind.DATA, 0x8, 1, b"\5x"), PROTOCOL_ERROR),
    "padded-headers": (frame(Kind.HEADERS, END_HEADERS | 0x8, 1, b"\x11\x88"), PROTOCOL_ERROR),
    "priority-on-0": (frame(Kind.PRIORITY, 0, 0, b"\0\0\0\0\xff"), PLACED),
    "priority-length": (frame(Kind.PRIORITY, 0, 1, b"\x80\0\0\1"), SIZED),
    "reset-on-0": (frame(Kind.RST_STREAM, 0, 0, b"\0\0\0\x08"), PLACED),
    "reset-length": (frame(Kind.RST_STREAM, 0, 1, b"1"), SIZED),
    "ping-on-1": (frame(Kind.PING, 0, 1, b"12345678"), PLACED),
    "ping-length": (frame(Kind.PING, 0, 0, b"1"), SIZED),
    "goaway-on-1": (frame(Kind.GOAWAY, 0, 1, bytes(8)), PLACED),
    "goaway-length": (frame(Kind.GOAWAY, 0, 0, b"1"), SIZED),
    "window-length": (frame(Kind.WINDOW_UPDATE, 0, 1, b"1"), SIZED),
    "window-0": (frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
    "window-beyond": (frame(Kind.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"), FLOW),
    "priority": (frame(Kind.HEADERS, END_HEADERS | 0x20, 1, b"\0\0"), SIZED),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    """The code is the one that RFC 9113 has for it."""
    said, expected = BROKEN[name]
    with Rig2(silent=name == "settings-first") as rig:
        outcome = rig.ask()
        (server,) = rig.servers
        server.send(said)
        assert isinstance(outcome.error, BadResponse)
        server.hear()
        assert server.goaways == [(0, expected)]
        assert server.wire.polite


@pytest.mark.parametrize("split", range(1, 15))
def test_broken_at_every_split(split: int) -> None:
    rig, outcome, server = one()
    said, _ = BROKEN["push-enabled"]
    server.send(said[:split], said[split:])
    assert isinstance(outcome.error, BadResponse)
    ends(rig)


@pytest.mark.parametrize("said", [frame(Kind.DATA, 0, 1, b"test"), frame(Kind.HEADERS, END_HEADERS, 1, b"\x88")])
def test_a_stream_that_goes_on_behind_its_end(said: bytes) -> None:
    """RFC 9113, 5.1: whoever loses count of what it has ended may mix responses up as well."""
    with Rig2() as rig:
        ended, other = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.answer(1)
        server.send(frame(Kind.WINDOW_UPDATE, 0, 1, b"\0\0\0\1") + frame(Kind.RST_STREAM, 0, 1, bytes(4)))
        assert (ended.body.data, other.failure) == (b"hi", None)
        server.send(said)
        assert isinstance(other.error, BadResponse)
        server.hear()
        assert server.goaways == [(0, int(ErrorCodes.STREAM_CLOSED))]


def test_a_stream_that_goes_on_behind_its_reset() -> None:
    """It is told so (5.1); a block of it counts for the table all the same, and other streams go on."""
    with Rig2() as rig:
        gone, other = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.head(1)
        server.reset(1)
        for said in (frame(Kind.DATA, 0, 1, b"test"), frame(Kind.HEADERS, END_HEADERS, 1, b"\x40\1x\1y")):
            server.hear()[1].code = None
            server.send(said)
            assert server.hear()[1].code == ErrorCodes.STREAM_CLOSED
        server.send(frame(Kind.HEADERS, END_HEADERS | END_STREAM, 3, b"\x88\xbe"))
        assert gone.body.end is not None
        assert other.response is not None
        assert other.response.headers.getRawHeaders("x") == ["y"]


def test_streams_that_ended_long_ago_are_not_remembered() -> None:
    with Rig2() as rig:
        for number in range(1, 2 * MAX_ENDED + 2, 2):
            rig.ask()
            rig.servers[0].answer(number)
        last = rig.ask()
        rig.servers[0].data(1, b"test")
        rig.servers[0].answer(2 * MAX_ENDED + 3)
        assert last.body.data == b"hi"
        rig.servers[0].data(3, b"test")
        rig.servers[0].hear()
        assert rig.servers[0].goaways == []
        rig.servers[0].data(5, b"test")
        rig.servers[0].hear()
        assert len(rig.servers[0].goaways) == 1


def test_a_window_of_a_stream_beyond_any_bound_is_the_streams() -> None:
    with Rig2() as rig:
        outcomes = [rig.ask() for _ in range(3)]
        (server,) = rig.servers
        server.open_window(1, (1 << 31) - 1)
        server.open_window(3, 0)
        server.answer(5)
        assert [type(outcome.error) for outcome in outcomes[:2]] == [BadResponse] * 2
        assert outcomes[2].body.data == b"hi"
        assert (server.hear()[1].code, server.asked[3].code) == (FLOW, PROTOCOL_ERROR)


FLOODS = {
    "ping": frame(Kind.PING, 0, 0, b"12345678"),
    "settings": frame(Kind.SETTINGS, 0, 0),
    "empty-data": frame(Kind.DATA, 0, 1),
    "window": frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
    "priority": frame(Kind.PRIORITY, 0, 1, b"\0\0\0\0\0"),
    "unknown": frame(0x99, 0, 0),
    "data-for-nobody": frame(Kind.DATA, 0, 3, b"x" * 2_000),
    "headers-for-nobody": frame(Kind.HEADERS, END_HEADERS, 3, b"\x88"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods(name: str) -> None:
    with Rig2(max_control_frames=20, stream_window_bytes=1024) as rig:
        outcome, cancelled = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.head(1)
        cancelled.deferred.cancel()
        for _ in range(15):
            server.send(FLOODS[name])
        assert outcome.body.end is None
        for _ in range(10):
            server.send(FLOODS[name])
        assert outcome.body.end.value.reason == "control-frames"
        server.hear()
        assert server.goaways == [(0, int(ErrorCodes.ENHANCE_YOUR_CALM))]


def test_what_was_under_way_is_no_flood() -> None:
    with Rig2(max_control_frames=5, stream_window_bytes=16_384) as rig:
        for number in range(1, 21, 2):
            outcome = rig.ask(take=False)
            rig.servers[0].head(number)
            outcome.response.abort()
            for _ in range(10):
                rig.servers[0].data(number, bytes(1024))
        last = rig.ask()
        rig.servers[0].answer(21)
        assert last.body.data == b"hi"
        assert len(rig.servers) == 1


def test_a_flood_of_resets() -> None:
    with Rig2(max_stream_resets=5) as rig:
        for number in range(1, 11, 2):
            rig.ask()
            rig.servers[0].reset(number)
        last = rig.ask()
        rig.servers[0].reset(11)
        assert last.error.reason == "stream-resets"


def test_a_flood_of_continuations() -> None:
    rig, outcome, server = one(max_head_bytes=256)
    server.send(frame(Kind.HEADERS, 0, 1, b"\0" * 16_000))
    server.send(frame(Kind.CONTINUATION, 0, 1, b"\0" * 1_000))
    assert outcome.error.reason == "head-bytes"
    ends(rig)


# -- cancelling


@pytest.mark.parametrize("moment", range(5))
def test_cancelled_at_any_moment(moment: int) -> None:
    with Rig2(answers=False) as rig:
        rig.shakes = False
        producer = Producer()
        outcome = rig.ask(b"POST", producer=producer)
        if moment >= 1:
            server = rig.connect()
        if moment >= 2:
            rig.shake(server)
        if moment >= 3:
            producer.consumer.write(b"x")
        if moment >= 4:
            server.head(1, 103)
        outcome.deferred.cancel()
        assert isinstance(outcome.error, CancelledError)
        assert producer.stopped == (moment >= 2)
        if moment >= 2:
            assert server.hear()[1].code == CANCEL
            other = rig.ask()
            server.answer(3)
            assert other.body.data == b"hi"


def test_aborted() -> None:
    with Rig2() as rig:
        outcome, other = rig.ask(), rig.ask()
        (server,) = rig.servers
        server.head(1)
        server.data(1, b"x")
        outcome.body.transport.abortConnection()
        assert outcome.body.end.value.reason == "aborted"
        assert server.hear()[1].code == CANCEL
        server.answer(3)
        assert other.body.data == b"hi"


def test_the_agent_is_closed() -> None:
    rig = Rig2()
    early, late = rig.ask(), rig.ask()
    rig.servers[0].head(3)
    ends(rig)
    assert early.error.reason == "agent-closed"
    assert late.body.end.value.reason == "agent-closed"


def test_a_body_whose_protocol_fails() -> None:
    with Rig2() as rig:

        def fail(body: Body, data: bytes) -> None:
            raise ZeroDivisionError

        outcome, other = rig.ask(body=Body(fail)), rig.ask()
        (server,) = rig.servers
        server.head(1)
        server.data(1, b"x")
        assert outcome.body.end.value.reason == "aborted"
        server.answer(3)
        assert other.body.data == b"hi"


def test_the_first_handshake_fails() -> None:
    with Rig2() as rig:
        rig.shakes = False
        outcome = rig.ask()
        rig.servers[0].lose()
        assert outcome.error.reason == "tls"
        assert rig.held() == {}


# -- windows, queues and what is seen of them


def test_windows_of_a_byte_are_a_flood() -> None:
    """CVE-2019-9511, the other way round."""
    with Rig2(max_control_frames=20) as rig:
        rig.ask().deferred.cancel()
        (server,) = rig.servers
        server.say_settings(window=0)
        outcome = rig.ask(b"POST", producer=BytesBody(bytes(1000)))
        for _ in range(12):
            server.open_window(3, 1)
        assert outcome.error.reason == "control-frames"


def test_a_transport_whose_queue_is_long() -> None:
    with Rig2(body_idle_seconds=5, ping_seconds=100) as rig:
        outcome = rig.ask()
        (server,) = rig.servers
        server.wire.producer.pauseProducing()
        second = rig.ask(b"POST", producer=BytesBody(b"body"))
        assert server.hear()[3].body == b""
        rig.advance(4)
        server.wire.producer.resumeProducing()
        assert server.hear()[3].body == b"body"
        server.answer(3)
        assert second.body.data == b"hi"
        server.wire.producer.pauseProducing()
        rig.advance(5)
        assert outcome.error.reason == "send-seconds"


def test_one_that_has_gone_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with Rig2() as rig:
        rig.ask()
        rig.servers[0].answer(1)
        monkeypatch.setattr("hardhttp.client.http2.peer_has_gone", lambda base: True)
        rig.ask(take=False).deferred.cancel()
        rig.turn()
        assert len(rig.servers) == 2
        assert rig.agent.statistics.closed["peer-closed"] == 1


def test_part_of_a_frame_is_progress() -> None:
    limits = {"ping_seconds": 5, "body_idle_seconds": 5, "body_bytes_per_second": 10}
    with Rig2(**limits) as rig:
        outcome = rig.ask()
        (server,) = rig.servers
        server.head(1)
        said = frame(Kind.DATA, 1, 1, bytes(1200))
        for at in range(0, len(said), 60):
            server.send(said[at : at + 60])
            rig.advance(1)
        server.hear()
        assert server.pings == []
        assert len(outcome.body.data) == 1200


def test_what_a_paused_protocol_leaves_is_counted() -> None:
    with Rig2() as rig:
        outcome = rig.ask(take=False)
        (server,) = rig.servers
        server.head(1)
        server.data(1, b"one")
        server.data(1, b"three")
        body = Body(lambda body, data: body.transport.pauseProducing())
        outcome.response.deliverBody(body)
        assert body.data == b"one"
        assert rig.held()["body_bytes"] == 5
        body.on_data = None
        body.transport.resumeProducing()
        server.data(1, end=True)
        assert body.data == b"onethree"


def test_an_answer_of_another_callback_finds_the_same_host() -> None:
    """Two streams are lost together; the first one's owner asks again before the second one goes elsewhere."""
    with Rig2(max_connections_per_host=1) as rig:
        rig.ask()
        rig.servers[0].answer(1)
        lost, again = rig.ask(b"POST"), rig.ask()
        anew: list[Any] = []
        lost.deferred.addBoth(lambda _: anew.append(rig.ask()))
        rig.servers[0].lose()
        assert len(rig.servers) == 2
        assert rig.agent.ledger.snapshot()["hosts"] == 1
        rig.shake(rig.servers[1])
        for number in (1, 3):
            rig.servers[1].answer(number)
        assert anew[0].body.data == again.body.data == b"hi"


def test_the_last_hosts_are_remembered() -> None:
    with Rig2(idle_connection_seconds=1) as rig:
        for number in range(MAX_MULTIPLEXING + 1):
            rig.ask(uri=b"https://h%d.example/" % number)
            rig.servers[-1].answer(1)
            rig.advance(1)
        assert len(rig.agent._pool._multiplexing) == MAX_MULTIPLEXING


def test_another_host_that_waits_has_the_place() -> None:
    with Rig2(max_connections=1) as rig:
        first = rig.ask()
        other = rig.ask(uri=b"https://b.example/")
        assert len(rig.servers) == 1
        rig.servers[0].answer(1)
        rig.turn()
        rig.shake(rig.servers[1])
        rig.servers[1].answer(1)
        assert first.body.data == other.body.data == b"hi"
        assert rig.agent.statistics.closed == {"evicted": 1}


# -- anything at all


def anything(random: Random, server: Any, number: int) -> bytes:
    """A frame, well-formed or not."""
    data = random.randbytes(random.randrange(600))
    if random.random() < 0.05:
        return data
    return random.choice(
        [
            server.head_frame(number, (b":status", b"200"), end=random.random() < 0.3),
            server.head_frame(number, (b":status", b"103")),
            frame(Kind.DATA, random.choice([0, 0, 1, 8]), number, data),
            frame(Kind.RST_STREAM, 0, number, random.choice([7, 8, 2]).to_bytes(4)),
            frame(Kind.WINDOW_UPDATE, 0, number, random.randrange(1, 1 << 20).to_bytes(4)),
            frame(Kind.PING, 0, 0, bytes(8)),
            frame(Kind.SETTINGS, 0, 0, b"\0\3" + random.randrange(5).to_bytes(4)),
            frame(Kind.GOAWAY, 0, 0, number.to_bytes(4) + bytes(4)),
            frame(random.randrange(12), random.randrange(256), number, random.randbytes(9)),
        ]
    )


@pytest.mark.parametrize("seed", range(30))
def test_whatever_comes(seed: int) -> None:
    """In any order and pieces: every request ends, nothing is left, and nothing of ours fails."""
    random = Random(seed)
    rig = Rig2(max_streams=4, max_connections=2, stream_window_bytes=4096)
    outcomes = []
    with rig:
        for _ in range(120):
            body = random.choice([None, None, BytesBody(bytes(100_000)), Producer()])
            outcomes.append(rig.ask(random.choice([b"GET", b"HEAD"]), producer=body, take=random.random() < 0.7))
            server = random.choice(rig.servers)
            said = anything(random, server, random.choice([0, 1, 1, 3, 5, 7, 9, 11, 2]))
            at = random.randrange(len(said) + 1)
            server.send(said[:at], said[at:])
            if random.random() < 0.1:
                random.choice(outcomes).deferred.cancel()
            if random.random() < 0.05:
                rig.advance(random.random() * 20)
            rig.turn()
            for each in rig.servers:
                each.hear()
    assert not any(outcome.pending for outcome in outcomes)
    assert "internal" not in {*rig.agent.statistics.closed, *rig.agent.statistics.failed}

"""The HTTP/1.1 channel by a hand-driven clock: each deadline at its bound and past it, each buffer too."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource, Limits
from hardhttp.net.channel import CORK_BYTES
from hardhttp.net.phase import Phase
from hardhttp.testing import Peer, Rig
from tests.net.loopback import Answer

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
LATER = Answer(lambda request: NOT_DONE_YET)


@implementer(IStreamingResource)
class Streams(Answer):
    """An ``Answer`` that is asked before the body comes."""


class Taker(Protocol):
    """Takes a body, pausing after each piece, and answers how long it was."""

    def __init__(self, request: Any, answers: bool = True) -> None:
        self.request, self.answers = request, answers
        self.received, self.ends = b"", 0

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.transport.pauseProducing()

    def connectionLost(self, reason: Any = None) -> None:
        self.ends += 1
        if self.answers:
            self.request.write(b"%d" % len(self.received))
            self.request.finish()


class Stream:
    """A streaming resource's side: the requests it was given, and what takes their bodies."""

    def __init__(self, takes: bool = True, answers: bool = True) -> None:
        self.takers: list[Taker] = []
        self.requests: list[Any] = []
        self._takes, self._answers = takes, answers

    def __call__(self, request: Any) -> Any:
        self.requests.append(request)
        if self._takes:
            self.take(request)
        return NOT_DONE_YET

    def take(self, request: Any) -> None:
        self.takers.append(Taker(request, self._answers))
        request.deliverBody(self.takers[-1])


def waiting() -> tuple[list[Any], Answer]:
    """Requests that are answered when the test wants it."""
    requests: list[Any] = []
    return requests, Answer(lambda request: requests.append(request) or NOT_DONE_YET)


def refused(peer: Peer) -> tuple[int, str | None]:
    response = peer.responses()[-1]
    return response.status, response.reason


# -- the head ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [GET[:-1], b"G", b"\r\n"])
def test_a_head_has_head_seconds(sent: bytes) -> None:
    with Rig(LATER, limits=Limits(head_seconds=20)) as rig:
        peer = rig.connect()
        peer.send(sent)
        rig.advance(19)
        assert not peer.received
        rig.advance(1)
        assert refused(peer) == (408, "head-seconds")


def test_the_first_head_is_due_from_the_beginning_of_the_connection() -> None:
    with Rig(LATER, limits=Limits(head_seconds=20)) as rig:
        peer = rig.connect()
        rig.advance(19)
        peer.send(b"GET / HTTP/1.1\r\n")
        rig.advance(1)
        assert refused(peer) == (408, "head-seconds")


def test_who_says_nothing_is_let_go_without_a_word() -> None:
    with Rig(LATER, limits=Limits(head_seconds=20)) as rig:
        peer = rig.connect()
        rig.advance(20)
        assert peer.closed
        assert not peer.received


def test_an_empty_line_behind_a_request_begins_no_other() -> None:
    """Some clients send one after a body; a 408 might be taken for the answer to their next request."""
    with Rig(Answer(lambda request: b"here"), limits=Limits(head_seconds=20, idle_seconds=60)) as rig:
        peer = rig.connect()
        peer.send(GET + b"\r\n")
        rig.advance(59)
        assert not peer.closed
        rig.advance(1)
        assert peer.closed
        assert [response.status for response in peer.responses()] == [200]


def test_a_trickle_does_not_move_the_heads_deadline() -> None:
    with Rig(LATER, limits=Limits(head_seconds=20)) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        for second in range(20):
            assert not peer.received, second
            peer.send(b"x")
            rig.advance(1)
        assert refused(peer) == (408, "head-seconds")


def test_every_head_has_its_own_seconds() -> None:
    with Rig(Answer(lambda request: b"here"), limits=Limits(head_seconds=20)) as rig:
        peer = rig.connect()
        for count in range(1, 4):
            peer.send(GET[:10])
            rig.advance(19)
            peer.send(GET[10:])
            assert len(peer.responses()) == count
        peer.send(GET + GET[:10])
        rig.advance(19)
        assert len(peer.responses()) == 4
        rig.advance(1)
        assert refused(peer) == (408, "head-seconds")


def test_a_connection_without_a_byte_is_closed_without_a_word() -> None:
    with Rig(LATER, limits=Limits(head_seconds=20, idle_seconds=500)) as rig:
        peer = rig.connect()
        rig.advance(19)
        assert not peer.closed
        rig.advance(1)
        assert (peer.closed, peer.received) == (True, b"")


def test_a_head_held_is_in_the_ledger() -> None:
    with Rig(Answer(lambda request: b"")) as rig:
        peer = rig.connect()
        for start, end in ((0, 5), (5, 10), (10, len(GET) - 1)):
            peer.send(GET[start:end])
            assert rig.site.ledger.snapshot()["input_bytes"] == end
        peer.send(GET[-1:])
        assert rig.site.ledger.snapshot()["input_bytes"] == 0
        assert len(peer.responses()) == 1


# -- the body ----------------------------------------------------------------------------------


def test_a_body_must_keep_its_rate() -> None:
    """10 bytes/s over 60 s: 600 bytes in each window, and one byte less is too slow."""
    for last, answers in ((1, True), (0, False)):
        with Rig(LATER, limits=Limits(body_seconds=60, body_bytes_per_second=10)) as rig:
            peer = rig.connect()
            peer.send(POST % 10_000)
            for _ in range(59):
                peer.send(b"x" * 10)
                rig.advance(1)
            peer.send(b"x" * (9 + last))
            rig.advance(1)
            assert (not peer.received) is answers
            if not answers:
                assert refused(peer) == (408, "body-rate")


def test_a_body_that_does_not_begin_is_not_waited_for() -> None:
    with Rig(LATER, limits=Limits(body_seconds=60)) as rig:
        peer = rig.connect()
        peer.send(POST % 10_000)
        rig.advance(59)
        assert not peer.received
        rig.advance(1)
        assert refused(peer) == (408, "body-rate")


def test_a_burst_moves_the_bodys_deadline_one_window_and_no_further() -> None:
    with Rig(LATER, limits=Limits(body_seconds=60, body_bytes_per_second=10)) as rig:
        peer = rig.connect()
        peer.send(POST % 1_000_000)
        peer.send(*[b"x" * 60_000] * 10)
        rig.advance(59)
        assert not peer.received
        rig.advance(1)
        assert refused(peer) == (408, "body-rate")


def test_a_body_has_a_hard_cap_however_fast_it_comes() -> None:
    with Rig(LATER, limits=Limits(max_body_seconds=100, max_body_bytes=1 << 30)) as rig:
        peer = rig.connect()
        peer.send(POST % (1 << 29))
        for _ in range(99):
            peer.send(b"x" * 60_000)
            rig.advance(1)
        assert not peer.received
        peer.send(b"x" * 60_000)
        rig.advance(1)
        assert refused(peer) == (408, "body-seconds")


def test_a_streamed_body_may_be_paused_wherever_it_comes() -> None:
    """The wait is the application's: the body's deadline rests, and nothing more is read."""
    stream = Stream()
    with Rig(Streams(stream), limits=Limits(body_seconds=5, max_pipelined_bytes=1000)) as rig:
        peer = rig.connect()
        peer.send(POST % 10, b"12345", b"67890", GET)
        (taker,) = stream.takers
        assert (taker.received, peer.unread) == (b"12345", 5 + len(GET))
        rig.advance(100)
        assert not peer.received
        taker.transport.resumeProducing()
        rig.clock.turn()
        assert taker.received == b"1234567890"
        assert [response.body for response in peer.responses()] == [b"10", b"0"]
        assert (peer.unread, taker.ends, len(stream.requests)) == (0, 1, 2)


def test_a_streamed_body_that_is_paused_and_came_with_its_head() -> None:
    stream = Stream()
    with Rig(Streams(stream)) as rig:
        peer = rig.connect()
        for count in range(1, 4):
            peer.send(POST % 3 + b"abc")
            assert [response.body for response in peer.responses()] == [b"3"] * count


def test_a_response_before_the_body_has_ended_is_the_last() -> None:
    with Rig(Streams(lambda request: b"early")) as rig:
        peer = rig.connect()
        peer.send(POST % 10 + b"123")
        assert peer.responses()[0].body == b"early"
        assert peer.ended
        peer.half_close()
        assert peer.closed


# -- handling ----------------------------------------------------------------------------------


def test_handling_has_no_deadline_by_default() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(5000)
        requests[0].write(b"here")
        requests[0].finish()
        assert peer.responses()[0].body == b"here"


@pytest.mark.parametrize("on", ["site", "resource"])
def test_handling_seconds(on: str) -> None:
    requests, resource = waiting()
    if on == "resource":
        resource.handling_seconds = 10  # type: ignore[attr-defined]
    with Rig(resource, limits=Limits(handling_seconds=10 if on == "site" else 1000)) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(9)
        assert not peer.received
        rig.advance(1)
        assert refused(peer) == (503, "handling-seconds")
        requests[0].write(b"too late")
        assert rig.site.statistics.ignored_writes == 1


def test_handling_seconds_are_until_the_response_begins() -> None:
    requests, resource = waiting()
    with Rig(resource, limits=Limits(handling_seconds=10)) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(9)
        requests[0].write(b"begun, ")
        rig.advance(1000)
        requests[0].write(b"ended")
        requests[0].finish()
        assert peer.responses()[0].body == b"begun, ended"


@pytest.mark.parametrize("takes", [False, True], ids=["untaken", "taken"])
def test_handling_seconds_hold_for_a_streaming_resource(takes: bool) -> None:
    """While the body waits for it, and once it has all of it; not while the body is on its way."""
    stream = Stream(takes=takes, answers=False)
    with Rig(Streams(stream), limits=Limits(handling_seconds=10, body_seconds=60)) as rig:
        peer = rig.connect()
        peer.send(POST % 10)
        if takes:
            rig.advance(50)
            peer.send(b"1234567890")
        rig.advance(9)
        assert not peer.received
        rig.advance(1)
        assert refused(peer) == (503, "handling-seconds")


# -- idle --------------------------------------------------------------------------------------


def test_idle_seconds_run_from_the_end_of_the_response() -> None:
    with Rig(Answer(lambda request: b""), limits=Limits(idle_seconds=120, head_seconds=500)) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(119)
        peer.send(GET)
        rig.advance(119)
        assert not peer.closed
        rig.advance(1)
        assert peer.closed
        assert rig.site.statistics.closed["idle"] == 1


def test_whoever_still_takes_a_response_is_not_idle() -> None:
    with Rig(Answer(lambda request: b"x" * 1_000_000), limits=Limits(idle_seconds=10)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        for _ in range(60):
            peer.take(10_000)
            rig.advance(1)
        peer.take(None)
        rig.advance(9)
        peer.send(GET)
        assert len(peer.responses()) == 2
        rig.advance(10)
        assert peer.closed


# -- pipelining --------------------------------------------------------------------------------


def test_responses_come_in_the_order_of_their_requests() -> None:
    requests: list[Any] = []

    def answer(request: Any) -> Any:
        if request.path == b"/later":
            requests.append(request)
            return NOT_DONE_YET
        return request.path

    with Rig(Answer(answer)) as rig:
        peer = rig.connect()
        paths = [b"/1", b"/later", b"/3", b"/later", b"/5"]
        peer.send(b"".join(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % path for path in paths))
        assert [response.body for response in peer.responses()] == [b"/1"]
        for _ in range(2):
            assert len(requests) == 1
            request = requests.pop()
            request.write(b"/later")
            request.finish()
        assert [response.body for response in peer.responses()] == paths


def test_what_is_pipelined_is_kept_up_to_its_bound() -> None:
    requests, resource = waiting()
    with Rig(resource, limits=Limits(max_pipelined_bytes=1000)) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.send(b"x" * 999)
        assert rig.site.ledger.snapshot()["input_bytes"] == 999
        peer.send(b"x")
        assert (rig.site.ledger.snapshot()["input_bytes"], peer.unread) == (1000, 0)
        peer.send(b"x" * 500)
        assert (rig.site.ledger.snapshot()["input_bytes"], peer.unread) == (1000, 500)
        peer.reset()
        assert len(requests) == 1


def test_input_that_was_paused_goes_on() -> None:
    requests, resource = waiting()
    with Rig(resource, limits=Limits(max_pipelined_bytes=60)) as rig:
        peer = rig.connect()
        peer.send(*[GET] * 50)
        for answered in range(1, 51):
            assert len(requests) == answered
            requests[-1].write(b"here")
            requests[-1].finish()
            rig.clock.turn()
        assert len(peer.responses()) == 50
        assert (peer.unread, rig.site.ledger.snapshot()["input_bytes"]) == (0, 0)


def test_nothing_is_parsed_while_the_client_does_not_read() -> None:
    """A thousand requests for 100 KiB each, and a client that reads nothing."""
    made: list[Any] = []

    def answer(request: Any) -> bytes:
        made.append(request.path)
        return b"x" * 100 * 1024

    with Rig(Answer(answer)) as rig:
        peer = rig.connect()
        peer.take(0)
        for _ in range(1000):
            peer.send(GET)
        held = rig.site.ledger.snapshot()
        assert len(made) < 5
        assert held["unsent_bytes"] < 5 * 101 * 1024
        assert held["input_bytes"] <= 64 * 1024 + len(GET)
        peer.take(None)
        rig.clock.turn()
        assert peer.received.count(b"HTTP/1.1 200 OK") == len(made) == 1000


def test_one_read_full_of_requests_is_bounded_too() -> None:
    with Rig(Answer(lambda request: b"x" * 100 * 1024)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET * 500)
        assert rig.site.ledger.snapshot()["unsent_bytes"] < 5 * 101 * 1024
        peer.take(None)
        rig.clock.turn()
        assert peer.received.count(b"HTTP/1.1 200 OK") == 500


def test_responses_to_pipelined_requests_are_sent_together() -> None:
    sends: list[int] = []
    with Rig(Answer(lambda request: b"x" * 1000)) as rig:
        peer = rig.connect()
        send = peer.transport.socket.send
        peer.transport.socket.send = lambda data: sends.append(len(data)) or send(data)
        peer.send(GET * 200)
        assert len(peer.responses()) == 200
        assert len(sends) < 5
        assert max(sends) < CORK_BYTES + 2000


@pytest.mark.parametrize("requests", [1, 2, 50])
def test_what_is_written_is_bounded_however_its_request_came(requests: int) -> None:
    """Also where responses are collected to be sent together."""

    def answer(request: Any) -> bytes:
        for _ in range(100):
            request.write(b"x" * 100_000)
        return b""

    with Rig(Answer(answer), limits=Limits(max_unsent_bytes=1_000_000)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET * requests)
        assert peer.closed
        assert rig.site.statistics.closed["unsent-bytes"] == 1
        assert rig.site.statistics.refused["unsent-bytes"] == 1


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["__init__", "gotHead", "process", "handleContentChunk"])
def test_a_request_that_fails_in_the_middle_costs_its_connection(method: str) -> None:
    from hardhttp import Request

    def fails(self: Any, *args: Any, **kw: Any) -> None:
        raise RuntimeError("as it should")

    broken = type("Broken", (Request,), {method: fails})
    with Rig(Answer(lambda request: b"here"), requestFactory=broken) as rig:
        peer = rig.connect()
        peer.send(POST % 1 + b"x")
        assert peer.closed
        assert len(rig.flush()) == 1
        rig.site.requestFactory = Request
        assert rig.exchange(GET)[0].body == b"here"


def test_a_phase_is_what_it_says() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        phases = [peer.protocol.phase]
        for piece in (GET[:5], GET[5:]):
            peer.send(piece)
            phases.append(peer.protocol.phase)
        requests[0].write(b"")
        requests[0].finish()
        phases.append(peer.protocol.phase)
        peer.send(POST % 5)
        phases.append(peer.protocol.phase)
        peer.send(b"hello")
        phases.append(peer.protocol.phase)
        peer.half_close()
        phases.append(peer.protocol.phase)
        assert [phase.name for phase in phases] == [
            *("HEAD", "HEAD", "HANDLING", "IDLE", "BODY", "HANDLING", "CLOSED"),
        ]
        assert peer.protocol.phase is Phase.CLOSED

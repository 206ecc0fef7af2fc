"""Every phase ends, and no trickle moves its end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectError, TimeoutError
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from hardhttp.client import BodyTimeout, BodyUnread, ClientReason, ConnectTimeout, ResponseTimeout, TLSTimeout
from hardhttp.client.deadlines import Deadlines
from hardhttp.errors import Reason
from hardhttp.wire.deadlines import NEVER
from tests.client.rig import Body, ClientRig
from tests.client.test_agent import Producer

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_connecting() -> None:
    with ClientRig(answers=False, connect_seconds=5) as rig:
        asked = rig.ask()
        rig.advance(4.9)
        assert asked.pending
        rig.advance(0.1)
        assert isinstance(asked.error, ConnectTimeout)
        assert isinstance(asked.error, TimeoutError)
        assert isinstance(asked.error, ConnectError)
        assert not asked.error.sent
        assert rig.dials == []
        assert rig.held() == {}


def test_handshake() -> None:
    with ClientRig(secure=True, tls_seconds=5) as rig:
        asked = rig.ask()
        assert rig.servers[0].received == b""
        rig.advance(4.9)
        assert asked.pending
        rig.advance(0.1)
        assert isinstance(asked.error, TLSTimeout)
        assert not asked.error.sent
        rig.turn()
        assert rig.held() == {}
        again = rig.ask()
        rig.servers[1].protocol.handshakeCompleted()
        assert rig.servers[1].received.startswith(b"GET / ")
        rig.advance(6)
        assert again.pending


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 50, b"HTTP/1.1 103 X\r\n\r\n"])
def test_first_byte(trickle: bytes) -> None:
    with ClientRig(first_byte_seconds=10, max_informational=9) as rig:
        asked = rig.ask()
        for second in range(9):
            piece = trickle if trickle.endswith(b"\n") else trickle[second : second + 1]
            rig.servers[0].send(piece)
            rig.advance(1)
        assert asked.pending
        rig.advance(1)
        assert isinstance(asked.error, ResponseTimeout)
        assert isinstance(asked.error, ResponseNeverReceived)
        assert isinstance(asked.error, TimeoutError)
        assert asked.error.reason is ClientReason.FIRST_BYTE_SECONDS
        assert rig.servers[0].wire.aborted


def test_first_byte_off() -> None:
    with ClientRig(first_byte_seconds=None, total_seconds=None) as rig:
        asked = rig.ask()
        rig.advance(1_000_000)
        assert asked.pending
        assert rig.clock.getDelayedCalls() == []


def test_silence_within_a_body() -> None:
    with ClientRig(body_idle_seconds=10, body_bytes_per_second=0) as rig:
        asked = rig.ask()
        rig.servers[0].send(HEAD)
        for _ in range(5):
            rig.advance(9)
            rig.servers[0].send(b"1\r\nx\r\n")
        rig.advance(9.9)
        body = asked.body
        assert body is not None
        assert body.end is None
        rig.advance(0.1)
        assert body.end is not None
        assert isinstance(body.end.value, BodyTimeout)
        assert body.end.check(ResponseFailed)
        assert body.end.check(TimeoutError)
        assert body.end.value.reason is ClientReason.BODY_IDLE_SECONDS
        assert rig.agent.statistics.failed == {"body-idle-seconds": 1}


def test_a_trickle_of_a_body() -> None:
    with ClientRig(body_idle_seconds=10, body_bytes_per_second=100) as rig:
        asked = rig.ask()
        rig.servers[0].send(HEAD)
        body = asked.body
        assert body is not None
        for _ in range(3):
            rig.advance(9)
            rig.servers[0].send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        for _ in range(9):
            assert body.end is None
            rig.advance(1)
            rig.servers[0].send(b"1\r\nx\r\n")
        rig.advance(1)
        assert body.end is not None
        assert body.end.value.reason is ClientReason.BODY_RATE


def test_a_body_that_nobody_takes() -> None:
    with ClientRig(unread_seconds=10) as rig:
        asked = rig.ask(take=False)
        rig.servers[0].send(HEAD + b"1\r\nx\r\n")
        rig.advance(9.9)
        assert rig.held()["connections"] == 1
        rig.advance(0.1)
        assert rig.held() == {}
        body = Body()
        asked.response.deliverBody(body)  # what had come is the response's
        assert body.data == b"x"
        assert body.end is not None
        assert isinstance(body.end.value, BodyUnread)


def test_a_body_that_is_dropped() -> None:
    with ClientRig(unread_seconds=10) as rig:
        asked = rig.ask(take=False)
        rig.servers[0].send(HEAD)
        del asked
        rig.advance(10)
        assert rig.held() == {}


def test_a_body_that_is_paused_for_good() -> None:
    with ClientRig(unread_seconds=10, body_idle_seconds=2) as rig:
        body = Body(lambda body, data: body.transport.pauseProducing())
        rig.ask(body=body)
        rig.servers[0].send(HEAD)
        rig.servers[0].send(b"1\r\nx\r\n")
        rig.advance(9.9)
        assert body.end is None
        rig.advance(0.1)
        assert body.end is not None
        assert isinstance(body.end.value, BodyUnread)
        assert rig.held() == {}


@pytest.mark.parametrize("stage", ["dialing", "handshake", "awaiting", "body", "unread"])
def test_the_whole(stage: str) -> None:
    with ClientRig(answers=stage != "dialing", secure=stage == "handshake", total_seconds=3) as rig:
        asked = rig.ask(take=stage != "unread")
        for _ in range(3):
            if stage in ("body", "unread") and asked.pending:
                rig.servers[0].send(HEAD)
            elif stage == "body":
                rig.servers[0].send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
            rig.advance(0.95)
        rig.advance(0.2)
        if stage == "unread":
            asked.response.deliverBody(asked.body or (body := Body()))
            end: Any = body.end
        else:
            end = asked.body.end if stage == "body" and asked.body is not None else asked.failure
        assert end.value.reason is ClientReason.TOTAL_SECONDS
        assert end.check(TimeoutError)
        assert rig.held() == {}


def test_a_peer_that_does_not_take_our_body() -> None:
    with ClientRig(body_idle_seconds=10, first_byte_seconds=5) as rig:
        producer = Producer()
        asked = rig.ask(b"POST", producer=producer)
        rig.advance(100)  # a producer takes its time
        rig.servers[0].wire.producer.pauseProducing()
        rig.advance(9)
        rig.servers[0].wire.producer.resumeProducing()
        rig.advance(100)
        rig.servers[0].wire.producer.pauseProducing()
        assert asked.pending
        rig.advance(10)
        assert asked.error.reason is ClientReason.SEND_SECONDS
        assert producer.calls[-1] == "stop"


def test_the_first_byte_is_awaited_from_the_end_of_our_body() -> None:
    with ClientRig(first_byte_seconds=5) as rig:
        producer = Producer()
        asked = rig.ask(b"POST", producer=producer)
        rig.advance(100)
        producer.done.callback(None)
        rig.advance(4.9)
        assert asked.pending
        rig.advance(0.1)
        assert asked.error.reason is ClientReason.FIRST_BYTE_SECONDS


def test_a_polite_close_has_an_abort_behind_it() -> None:
    with ClientRig() as rig:
        rig.ask()
        server = rig.servers[0]
        server.send(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert server.wire.polite
        rig.ending.clear()  # the peer does not answer it
        rig.advance(4.9)
        assert not server.wire.aborted
        rig.advance(0.2)
        assert server.wire.aborted
        assert rig.held() == {}


@pytest.mark.parametrize(
    ("limits", "data", "reason"),
    [
        ({"max_head_bytes": 256}, b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300, Reason.HEAD_BYTES),
        ({"max_headers": 3}, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 4 + b"\r\n", Reason.HEADERS),
        ({"max_informational": 2}, b"HTTP/1.1 103 X\r\n\r\n" * 3, Reason.INFORMATIONAL),
        ({"max_body_bytes": 9}, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", Reason.BODY_BYTES),
    ],
)
def test_bounds_on_a_head(limits: dict[str, Any], data: bytes, reason: Reason) -> None:
    with ClientRig(**limits) as rig:
        asked = rig.ask()
        rig.servers[0].send(data)
        assert asked.error.reason is reason


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n", b""])
def test_a_body_at_its_bound_and_past_it(framing: bytes) -> None:
    for size, end in ((9, None), (10, Reason.BODY_BYTES)):
        with ClientRig(max_body_bytes=9) as rig:
            asked = rig.ask()
            data = b"x" * size
            rig.servers[0].send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n")
            rig.servers[0].send(b"%x\r\n%b\r\n" % (size, data) if framing else data)
            body = asked.body
            assert body is not None
            if end is None:
                assert body.data == data
                assert body.end is None
            else:
                assert body.end is not None
                assert body.end.value.reason is end


def test_a_request_may_bring_its_own_limits() -> None:
    with ClientRig(first_byte_seconds=5) as rig:
        from hardhttp.client import ClientLimits

        patient = rig.ask(limits=ClientLimits(first_byte_seconds=50))
        hasty = rig.ask()
        rig.advance(5)
        assert patient.pending
        assert hasty.error.reason is ClientReason.FIRST_BYTE_SECONDS
        rig.advance(45)
        assert not patient.pending


# -- the list itself ---------------------------------------------------------------------------


class Entry:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.times: list[float] = []

    def expire(self, now: float) -> None:
        self.times.append(now)
        self.deadline = NEVER


def test_one_call_for_all() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    entries = [Entry(n) for n in (5, 3, 4, NEVER)]
    for entry in entries:
        deadlines.add(entry)
        assert len(clock.getDelayedCalls()) == 1
    entries[2].deadline = 6  # later: nothing is done until the call comes
    clock.pump([1] * 6)
    assert [entry.times for entry in entries] == [[5], [3], [6], []]
    assert clock.getDelayedCalls() == []
    for entry in entries:
        deadlines.remove(entry)
        deadlines.remove(entry)
    assert len(deadlines) == 0


def test_one_that_fails_costs_itself_alone() -> None:
    class Failing(Entry):
        def expire(self, now: float) -> None:
            super().expire(now)
            raise OSError

    clock = Clock()
    deadlines = Deadlines(clock)
    entries = [Failing(1), Entry(1), Entry(2)]
    for entry in entries:
        deadlines.add(entry)
    logged: list[Any] = []
    globalLogPublisher.addObserver(logged.append)
    try:
        clock.pump([1, 1])
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert [entry.times for entry in entries] == [[1], [1], [2]]
    assert len(logged) == 1


def test_one_may_end_another() -> None:
    clock = Clock()
    deadlines = Deadlines(clock)
    other = Entry(1)

    class Ending(Entry):
        def expire(self, now: float) -> None:
            super().expire(now)
            deadlines.remove(other)

    deadlines.add(Ending(1))
    deadlines.add(other)
    clock.advance(1)
    assert other.times == []

"""What holds for every connection: pace, ends, producers, and what goes wrong at an end."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits
from hardhttp.testing import Rig
from tests.net.loopback import Answer
from tests.net.test_channel import GET, LATER, POST, waiting

CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LARGE = Answer(lambda request: b"x" * 1_000_000)


# -- sending -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [GET, CLOSE], ids=["keep-alive", "close"])
def test_a_client_that_takes_nothing_is_let_go(ask: bytes) -> None:
    with Rig(LARGE, limits=Limits(send_seconds=60)) as rig:
        peer = rig.connect()
        peer.take(1000)
        peer.send(ask)
        rig.advance(60)
        assert not peer.closed
        rig.advance(1)
        assert peer.aborted
        assert rig.site.statistics.closed["send-rate" if ask is GET else "response-end"] == 1
        assert rig.site.statistics.refused["send-rate"] == 1


@pytest.mark.parametrize("ask", [GET, CLOSE], ids=["keep-alive", "close"])
@pytest.mark.parametrize(("rate", "cut"), [(240, False), (239, True)])
def test_a_client_must_take_its_response_at_the_minimum_rate(ask: bytes, rate: int, cut: bool) -> None:
    limits = Limits(send_seconds=60, send_bytes_per_second=240, idle_seconds=10, abort_seconds=1)
    with Rig(LARGE, limits=limits) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(ask)
        rig.advance(1)
        for _ in range(300):
            peer.take(rate)
            rig.advance(1)
        assert peer.aborted is cut


def test_a_trickle_does_not_move_the_deadline_of_sending() -> None:
    with Rig(LARGE, limits=Limits(send_seconds=10)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        for _ in range(11):
            peer.take(1)
            rig.advance(1)
        assert peer.aborted


def test_the_pace_begins_again_with_each_response() -> None:
    with Rig(LARGE, limits=Limits(send_seconds=10)) as rig:
        peer = rig.connect()
        for count in range(1, 5):
            peer.take(0)
            peer.send(GET)
            rig.advance(9)
            peer.take(None)
            rig.advance(1)
            assert len(peer.responses()) == count


# -- closing -----------------------------------------------------------------------------------


def ends(how: str) -> tuple[Any, bytes]:
    """A way to end politely: the resource and what is asked of it."""

    def close(request: Any) -> Any:
        request.loseConnection()
        return NOT_DONE_YET

    return {
        "response": (LARGE, CLOSE),
        "refusal": (LATER, b"GET\r\n\r\n"),
        "413": (LATER, POST % (1 << 40)),
        "application": (Answer(close), GET),
    }[how]


@pytest.mark.parametrize("how", ["refusal", "413"])
def test_behind_every_polite_close_is_an_abort(how: str) -> None:
    """A client that never hangs up, and goes on to send a little."""
    resource, ask = ends(how)
    with Rig(resource, limits=Limits(abort_seconds=5)) as rig:
        peer = rig.connect()
        peer.send(ask)
        assert (peer.ended, peer.closed) == (True, False)
        for _ in range(4):
            peer.send(b"x")
            rig.advance(1)
        assert not peer.closed
        rig.advance(1)
        assert peer.aborted


@pytest.mark.parametrize("how", ["response", "refusal", "413", "application"])
def test_a_close_that_cannot_be_sent_is_aborted(how: str) -> None:
    resource, ask = ends(how)
    with Rig(resource, limits=Limits(abort_seconds=5, send_seconds=5)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(ask)
        rig.advance(7)
        assert peer.closed


def test_the_abort_waits_behind_the_last_byte() -> None:
    with Rig(LARGE, limits=Limits(abort_seconds=2)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(CLOSE)
        for _ in range(50):
            peer.take(10_000)
            rig.advance(1)
        peer.take(None)
        rig.clock.turn()
        assert len(peer.responses()[0].body) == 1_000_000
        assert peer.closed
        assert not peer.aborted


def test_what_is_discarded_while_lingering_is_bounded() -> None:
    with Rig(LATER) as rig:
        peer = rig.connect()
        peer.send(b"GET\r\n\r\n")
        for _ in range(16):
            assert not peer.closed
            peer.send(b"x" * (1 << 16))
        peer.send(b"x")
        assert peer.closed


def test_a_client_that_half_closes_is_not_waited_for() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        failures: list[Any] = []
        peer.send(GET)
        requests[0].notifyFinish().addErrback(failures.append)
        requests[0].write(b"begun")
        peer.half_close()
        assert peer.closed
        assert len(failures) == 1
        assert b"begun" in peer.received


@pytest.mark.parametrize("piece", [b"", GET[:5], POST % 5, GET, CLOSE, b"GET\r\n\r\n"])
@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_a_client_may_go_at_any_moment(piece: bytes, how: str) -> None:
    with Rig(LATER) as rig:
        peer = rig.connect()
        peer.send(piece)
        getattr(peer, how)()
        rig.advance(1)
        assert peer.closed


# -- what is written after an end ---------------------------------------------------------------


def test_what_is_written_after_a_close_is_bounded() -> None:
    requests, resource = waiting()
    with Rig(resource, limits=Limits(max_unsent_bytes=1_000_000)) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        requests[0].write(b"begun")
        requests[0].loseConnection()
        for _ in range(100):
            requests[0].write(b"x" * 100_000)
        rig.clock.turn()
        assert peer.closed


def test_what_is_produced_after_a_close_is_paused() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        producer = Pulled(requests[0], 10_000)
        requests[0].write(b"begun")
        requests[0].registerProducer(producer, False)
        rig.clock.advance(0)
        requests[0].loseConnection()
        made = producer.made
        for _ in range(100):
            rig.clock.advance(0)
        assert producer.made == made
        assert producer.stopped == 0
        rig.advance(200)
        assert peer.closed
        assert producer.stopped == 1


# -- producers ---------------------------------------------------------------------------------


class Pushed:
    """A push producer that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Pulled:
    """A pull producer of ``pieces`` pieces."""

    def __init__(self, request: Any, pieces: int) -> None:
        self._request, self._left = request, pieces
        self.made = self.stopped = 0

    def resumeProducing(self) -> None:
        self.made += 1
        self._request.write(b"x" * 10_000)
        self._left -= 1
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        self.stopped += 1


def test_a_push_producer_is_paused_and_resumed() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        producer = Pushed()
        requests[0].registerProducer(producer, True)
        requests[0].write(b"x" * 60_000)
        assert producer.told == []
        requests[0].write(b"x" * 60_000)
        assert producer.told == ["pause"]
        peer.take(None)
        assert producer.told == ["pause", "resume"]
        requests[0].unregisterProducer()
        requests[0].finish()
        assert len(peer.responses()[0].body) == 120_000
        assert producer.told == ["pause", "resume"]


def test_a_producer_that_comes_late_is_paused_at_once() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        requests[0].write(b"x" * 100_000)
        producer = Pushed()
        requests[0].registerProducer(producer, True)
        assert producer.told == ["pause"]
        peer.reset()
        rig.advance(1)
        assert producer.told[-1] == "stop"


def test_a_pull_producer_is_asked_as_fast_as_the_client_takes() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        producer = Pulled(requests[0], 200)
        requests[0].registerProducer(producer, False)
        rig.clock.turn()
        for _ in range(100):
            rig.clock.advance(0)
        assert 6 <= producer.made <= 8
        peer.take(None)
        for _ in range(400):
            rig.clock.turn()
        assert producer.made == 200
        assert len(peer.responses()[0].body) == 2_000_000


def test_a_producer_is_stopped_when_its_client_has_gone() -> None:
    requests, resource = waiting()
    with Rig(resource) as rig:
        peer = rig.connect()
        peer.send(GET)
        producer = Pushed()
        requests[0].registerProducer(producer, True)
        peer.reset()
        assert producer.told == ["stop"]


# -- one bad thing stays one bad thing -------------------------------------------------------------


@pytest.mark.parametrize("who", ["producer", "request", "both"])
def test_whoever_fails_when_told_of_the_end_costs_nothing_else(who: str) -> None:
    from hardhttp import Request

    class Broken(Request):
        def connectionLost(self, reason: Any) -> None:
            super().connectionLost(reason)
            raise RuntimeError("as it should")

    class Refuses(Pushed):
        def stopProducing(self) -> None:
            super().stopProducing()
            raise RuntimeError("as it should")

    requests, resource = waiting()
    with Rig(resource, requestFactory=Request if who == "producer" else Broken) as rig:
        peer = rig.connect()
        peer.send(GET)
        producer = Pushed() if who == "request" else Refuses()
        requests[0].registerProducer(producer, True)
        peer.reset()
        assert producer.told == ["stop"]
        assert rig.site.connection_count == 0
        assert len(rig.flush()) == (2 if who == "both" else 1)


def test_a_sweep_goes_on_past_a_connection_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from hardhttp.net.channel import Channel

    with Rig(LATER, limits=Limits(head_seconds=5)) as rig:
        peers = [rig.connect() for _ in range(3)]
        expire = Channel._expire

        def fails(channel: Channel) -> None:
            if channel is peers[1].protocol:
                raise RuntimeError("as it should")
            expire(channel)

        with monkeypatch.context() as patch:
            patch.setattr(Channel, "_expire", fails)
            rig.advance(5)
        assert [peer.closed for peer in peers] == [True, False, True]
        assert len(rig.flush()) == 1
        rig.advance(1)
        assert peers[1].closed

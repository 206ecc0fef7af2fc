"""A resource that gets the head first, and the body as it comes."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.web import server
from twisted.web.resource import Resource
from zope.interface import implementer

from hardhttp import IStreamingResource, Limits
from hardhttp.testing import Peer, Rig, every_split
from tests.web.saying import GET, Says, say

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Receiver(Protocol):
    """Keeps what it gets, and answers how much that was."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self.received = b""
        self.ends: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:
        self.ends.append(reason)
        if reason.check(ConnectionDone):
            self.request.write(b"%d bytes" % len(self.received))
            self.request.finish()


@implementer(IStreamingResource)
class Streams(Resource):
    """Calls ``begin`` with the request and a receiver, at the head."""

    isLeaf = True

    def __init__(self, begin: Any = None) -> None:
        super().__init__()
        self.begin = begin
        self.receivers: list[Receiver] = []

    def render_POST(self, request: Any) -> Any:
        receiver = Receiver(request)
        self.receivers.append(receiver)
        if self.begin is not None:
            answer = self.begin(request, receiver)
            return server.NOT_DONE_YET if answer is None else answer
        request.deliverBody(receiver)
        return server.NOT_DONE_YET

    def render_GET(self, request: Any) -> bytes:
        return b"got"


def head(length: int = 10, **headers: bytes) -> bytes:
    return say(b"POST", Content_Length=b"%d" % length, **headers)


CHUNKED = say(b"POST", Transfer_Encoding=b"chunked")


def test_the_head_comes_before_the_body() -> None:
    with Rig(streams := Streams()) as rig:
        peer = rig.connect()
        peer.send(head())
        (receiver,) = streams.receivers
        assert receiver.request.getHeader(b"content-length") == b"10"
        assert (receiver.received, receiver.ends) == (b"", [])
        peer.send(b"01234")
        assert receiver.received == b"01234"
        assert rig.site.ledger.snapshot()["body_bytes"] == 0  # it is not kept
        assert receiver.request.content.read() == b""
        peer.send(b"56789" + GET)
        assert [response.body for response in peer.responses()] == [b"10 bytes", b"got"]
        assert len(receiver.ends) == 1


def test_the_same_however_it_is_split() -> None:
    with Rig(streams := Streams()) as rig:
        for message in (head() + b"0123456789", CHUNKED + b"4\r\n0123\r\n6\r\n456789\r\n0\r\nX: y\r\n\r\n"):
            for pieces in every_split(message + GET):
                responses = rig.exchange(*pieces)
                assert [response.body for response in responses] == [b"10 bytes", b"got"]
                assert streams.receivers[-1].received == b"0123456789"


def test_100_continue_is_sent_when_the_body_is_asked_for() -> None:
    with Rig(streams := Streams(lambda request, receiver: None)) as rig:
        peer = rig.connect()
        peer.send(head(Expect=b"100-continue"))
        (receiver,) = streams.receivers
        rig.advance(100)  # however long the resource thinks
        assert peer.received == b""
        receiver.request.deliverBody(receiver)
        assert peer.received == CONTINUE
        peer.send(b"0123456789")
        assert [response.status for response in peer.responses()] == [100, 200]


def test_100_continue_after_judging_for_a_resource_of_the_old_kind() -> None:
    with Rig(Says(lambda request: request.content.read()), limits=Limits(max_body_bytes=10)) as rig:
        peer = rig.connect()
        peer.send(head(10, Expect=b"100-continue"))
        assert peer.received == CONTINUE
        peer.send(b"0123456789")
        assert peer.responses()[-1].body == b"0123456789"
        refused = rig.connect()
        refused.send(head(11, Expect=b"100-continue"))
        assert [response.status for response in refused.responses()] == [413]


def test_no_100_continue_when_the_resource_answers_at_once() -> None:
    def begin(request: Any, receiver: Any) -> bytes:
        request.setResponseCode(403)
        return b"no"

    with Rig(Streams(begin)) as rig:
        peer = rig.connect()
        peer.send(head(Expect=b"100-continue"))
        (response,) = peer.responses()
        assert (response.status, response.body) == (403, b"no")
        assert peer.ended


def test_backpressure_reaches_the_client_and_no_deadline_runs_meanwhile() -> None:
    with Rig(streams := Streams()) as rig:
        peer = rig.connect()
        peer.send(head(300_000))
        (receiver,) = streams.receivers
        receiver.transport.pauseProducing()
        for _ in range(30):
            peer.send(b"x" * 10_000)
        assert receiver.received == b""
        assert peer.unread > 200_000  # it waits in the client's own queue
        assert rig.site.ledger.snapshot()["input_bytes"] <= 10_000
        rig.advance(600)
        assert not peer.closed
        receiver.transport.resumeProducing()
        rig.clock.turn()
        assert len(receiver.received) == 300_000
        assert peer.responses()[0].body == b"300000 bytes"


def test_paused_and_resumed_within_a_piece() -> None:
    """What came with the paused piece is not lost, nor delivered twice."""
    with Rig(streams := Streams()) as rig:
        peer = rig.connect()
        peer.send(head())
        (receiver,) = streams.receivers
        take = receiver.dataReceived

        def pause_at_each(data: bytes) -> None:
            take(data)
            receiver.transport.pauseProducing()
            rig.clock.callLater(0.1, receiver.transport.resumeProducing)

        receiver.dataReceived = pause_at_each  # type: ignore[method-assign]
        peer.send(b"012", b"34", b"56789" + GET)
        rig.advance(5)
        assert receiver.received == b"0123456789"
        assert [response.body for response in peer.responses()] == [b"10 bytes", b"got"]


def test_an_early_answer_closes_the_connection_and_tells_the_receiver() -> None:
    with Rig(streams := Streams()) as rig:
        peer = rig.connect()
        peer.send(head(1000), b"some")
        (receiver,) = streams.receivers
        receiver.request.setResponseCode(403)
        receiver.request.write(b"enough")
        receiver.request.finish()
        assert [reason.type for reason in receiver.ends] == [ConnectionLost]
        peer.send(b"x" * 100)
        assert receiver.received == b"some"
        (response,) = peer.responses()
        assert (response.status, response.body) == (403, b"enough")
        assert peer.ended


def test_an_answer_may_begin_before_the_body_ends() -> None:
    """An echo: both directions at once."""
    with Rig(streams := Streams()) as rig:
        peer = rig.connect()
        peer.send(head())
        (receiver,) = streams.receivers
        receiver.dataReceived = receiver.request.write  # type: ignore[method-assign]
        for i in range(10):
            peer.send(b"%d" % i)
            assert b"1\r\n%d\r\n" % i in peer.received
        assert peer.responses()[0].body == b"01234567890 bytes"


@pytest.mark.parametrize("leave", [Peer.half_close, Peer.reset])
@pytest.mark.parametrize("paused", [False, True])
def test_a_client_that_vanishes_in_the_middle(leave: Any, paused: bool) -> None:
    with Rig(streams := Streams()) as rig:
        peer = rig.connect()
        peer.send(head(), b"0123")
        (receiver,) = streams.receivers
        outcome: list[Any] = []
        receiver.request.notifyFinish().addBoth(outcome.append)
        if paused:
            receiver.transport.pauseProducing()
        leave(peer)
        if paused:
            receiver.transport.resumeProducing()
            rig.clock.turn()
        assert [reason.type for reason in receiver.ends] == [ConnectionLost]
        assert len(outcome) == 1
        receiver.transport.pauseProducing()
        receiver.transport.resumeProducing()
        receiver.transport.loseConnection()


def test_too_much_is_found_by_counting() -> None:
    with Rig(streams := Streams(), limits=Limits(max_body_bytes=10)) as rig:
        peer = rig.connect()
        peer.send(CHUNKED, b"5\r\n01234\r\n", b"5\r\n56789\r\n")
        (receiver,) = streams.receivers
        assert receiver.received == b"0123456789"
        peer.send(b"1\r\nx\r\n")
        (response,) = peer.responses()
        assert (response.status, response.reason) == (413, "body-bytes")
        assert [reason.type for reason in receiver.ends] == [ConnectionLost]
        assert receiver.received == b"0123456789"


def test_too_much_by_content_length_is_not_even_begun() -> None:
    with Rig(streams := Streams(), limits=Limits(max_body_bytes=10)) as rig:
        assert rig.exchange(head(11))[0].status == 413
        assert not streams.receivers


def test_a_body_nobody_asks_for() -> None:
    """The client is not invited, nor held for ever once the resource has answered."""
    with Rig(streams := Streams(lambda request, receiver: Deferred())) as rig:
        peer = rig.connect()
        peer.send(head(100_000))
        for _ in range(10):
            peer.send(b"x" * 10_000)
        assert peer.unread >= 90_000
        streams.receivers[0].request.finish()
        assert peer.responses()[0].status == 200
        assert peer.ended


def test_a_body_that_trickles_is_refused() -> None:
    with Rig(streams := Streams(), limits=Limits(body_seconds=10, body_bytes_per_second=100)) as rig:
        peer = rig.connect()
        peer.send(head(1000))
        for _ in range(15):
            peer.send(b"x")
            rig.advance(1)
        (response,) = peer.responses()
        assert (response.status, response.reason) == (408, "body-rate")
        assert [reason.type for reason in streams.receivers[0].ends] == [ConnectionLost]


@pytest.mark.parametrize("where", ["dataReceived", "connectionLost", "makeConnection"])
def test_a_receiver_that_fails_costs_its_own_connection_alone(where: str) -> None:
    def fail(*_: object) -> None:
        raise LookupError("in a receiver")

    def begin(request: Any, receiver: Any) -> None:
        setattr(receiver, where, fail)
        request.deliverBody(receiver)

    with Rig(streams := Streams(begin)) as rig:
        peer = rig.connect()
        peer.send(head(), b"0123")
        peer.reset()
        assert peer.closed
        assert rig.site.connection_count == 0
        assert {failure.type for failure in rig.flush()} == {LookupError}
        streams.begin = None
        assert rig.exchange(head() + b"0123456789")[0].body == b"10 bytes"


def test_a_receiver_that_fails_is_a_500() -> None:
    class Fails(Receiver):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError("in a receiver")

    def begin(request: Any, receiver: Any) -> None:
        request.deliverBody(fails := Fails(request))
        made.append(fails)

    made: list[Fails] = []
    with Rig(Streams(begin)) as rig:
        peer = rig.connect()
        peer.send(head(), b"0123")
        assert peer.responses()[0].status == 500
        assert [failure.type for failure in rig.flush()] == [LookupError]
        assert rig.site.statistics.errors == 1
        assert [reason.type for reason in made[0].ends] == [ConnectionLost]


def test_a_body_is_delivered_once_and_only_to_streaming_resources() -> None:
    def begin(request: Any, receiver: Any) -> None:
        request.deliverBody(receiver)
        with pytest.raises(RuntimeError):
            request.deliverBody(Receiver(request))

    def old(request: Any) -> bytes:
        with pytest.raises(RuntimeError):
            request.deliverBody(Receiver(request))
        return b"old"

    with Rig(Streams(begin)) as rig:
        assert rig.exchange(head() + b"0123456789")[0].status == 200
    with Rig(Says(old)) as rig:
        assert rig.exchange(head() + b"0123456789")[0].body == b"old"


def test_asked_for_when_it_is_there_already() -> None:
    """The body, the client or the response ended before the resource asked."""
    with Rig(streams := Streams(lambda request, receiver: None)) as rig:
        peer = rig.connect()
        peer.send(CHUNKED + b"0\r\n\r\n")
        (receiver,) = streams.receivers
        receiver.request.deliverBody(receiver)
        assert peer.responses()[0].body == b"0 bytes"
        for end in (False, True):
            other = rig.connect()
            other.send(head())
            receiver = streams.receivers[-1]
            if end:
                receiver.request.finish()
            else:
                other.transport.abortConnection()
                rig.clock.turn()
            receiver.request.deliverBody(receiver)
            assert [reason.type for reason in receiver.ends] == [ConnectionLost]


def test_the_way_to_a_streaming_resource() -> None:
    calls: list[bytes] = []

    class Dynamic(Resource):
        def getChild(self, name: bytes, request: Any) -> Any:
            calls.append(name)
            return streams

    @implementer(IStreamingResource)
    class Way(Dynamic):
        pass

    streams = Streams()
    root = Resource()
    root.putChild(b"static", streams)
    root.putChild(b"dynamic", Dynamic())
    root.putChild(b"way", Way())
    body = b"0123456789"
    with Rig(root) as rig:
        for path, delivered in [(b"/static/x", True), (b"/way/a%20b", True), (b"/nothing", False)]:
            peer = rig.connect()
            peer.send(say(b"POST", path, Content_Length=b"10"))
            assert bool(streams.receivers) is delivered
            peer.send(body)
            assert peer.responses()[0].status == (200 if delivered else 404)
            streams.receivers.clear()
        assert calls == [b"a b"]
        # Through a resource that might do anything, the whole message is waited for; the body is lost to it.
        peer = rig.connect()
        peer.send(say(b"POST", b"/dynamic/x", Content_Length=b"10"))
        assert not streams.receivers
        peer.send(body)
        assert peer.responses()[0].status == 500
        assert rig.flush()[0].check(RuntimeError)


@pytest.mark.parametrize("headers", [{}, {"Content_Length": b"0"}, {"Transfer_Encoding": b"chunked"}])
def test_a_body_that_is_not_there_is_whole(headers: dict[str, bytes]) -> None:
    with Rig(streams := Streams()) as rig:
        end = b"0\r\n\r\n" if "Transfer_Encoding" in headers else b""
        first, second = rig.exchange(say(b"POST", **headers) + end, GET)
        assert (first.body, second.body) == (b"0 bytes", b"got")
        assert [reason.type for reason in streams.receivers[0].ends] == [ConnectionDone]


def test_an_early_answer_is_sent_also_when_the_body_has_come_with_the_head() -> None:
    def begin(request: Any, receiver: Any) -> bytes:
        request.setResponseCode(403)
        return b"no"

    with Rig(Streams(begin)) as rig:
        for pieces in every_split(GET + head() + b"01234"):
            first, second = rig.exchange(*pieces)
            assert (first.body, second.status, second.body) == (b"got", 403, b"no")

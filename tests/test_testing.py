"""The kit tells: what is left behind, what is no response, what never ends."""

from __future__ import annotations

import pytest
from twisted.internet import tcp
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from hardhttp.net.ledger import INPUT
from hardhttp.net.port import EagerServer
from hardhttp.testing import MemoryReactor, Rig, every_split, parse_responses
from tests.origin import GET, Tree, get, origin


def test_every_split() -> None:
    assert list(every_split(b"abc")) == [[b"abc"], [b"a", b"b", b"c"], [b"a", b"bc"], [b"ab", b"c"]]


@pytest.mark.parametrize("transport", [EagerServer, tcp.Server])
def test_both_kinds_of_transports(transport: type) -> None:
    with Rig(Tree(), transport=transport) as rig:
        peer = rig.connect()
        peer.take(10)
        peer.send(GET * 2)
        assert len(peer.received) == 10
        peer.take(None)
        assert [response.body for response in peer.responses()] == [b"hello"] * 2
        peer.half_close()
        assert peer.closed
        assert not peer.aborted
        lost = rig.connect()
        lost.reset()
        assert lost.closed


def test_what_is_left_is_told() -> None:
    def call(rig: Rig) -> None:
        rig.clock.callLater(1, lambda: None)

    def ledger(rig: Rig) -> None:
        rig.site.ledger.hold("somebody", INPUT, 5)

    def tracker(rig: Rig) -> None:
        rig.site.server.tracker.add(object(), rig.connect().protocol)  # type: ignore[arg-type]

    def failure(rig: Rig) -> None:
        try:
            raise RuntimeError("told")
        except RuntimeError:
            Logger().failure("it failed")

    for leave, what in ((call, "clock"), (ledger, "ledger"), (tracker, "tracker"), (failure, "told")):
        with pytest.raises(AssertionError, match=what), Rig(Tree()) as rig:
            leave(rig)


def test_nothing_is_left_of_what_was_open() -> None:
    with origin() as server:
        for data in (b"", GET[:9], get(target=b"/later"), get(target=b"/later") + GET, b"\0"):
            server.connect().send(data)
        assert server.rig.site.connection_count == 5
    assert server.rig.site.connection_count == 0


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\nbody",
    ],
)
def test_what_no_server_may_send(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_responses(data)


def test_responses_may_be_cut_short() -> None:
    whole = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    assert [r.body for r in parse_responses(whole)[0]] == [b"", b"hello"]
    assert parse_responses(whole[:-1])[0][-1].complete is False
    responses, left = parse_responses(whole[:-1], closed=False)
    assert (len(responses), left) == (1, whole[25:-1])


def test_what_never_rests_fails() -> None:
    clock = MemoryReactor()
    loop = LoopingCall(lambda: None)
    loop.clock = clock
    loop.start(0)
    with pytest.raises(AssertionError, match="rest"):
        clock.turn()
    loop.stop()

"""Many connections behind one descriptor: nobody starves, nobody's failure is another's."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import globalLogPublisher
from twisted.web.server import NOT_DONE_YET

from hardhttp.net.channel import Channel
from hardhttp.net.poller import EVENTS_PER_TURN, Poller
from tests.net.loopback import GET, Answer, Loopback, blocking, turn, until


@pytest.fixture
def logged() -> Any:
    events: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


@blocking
def test_a_turn_serves_so_many_and_the_reactor_has_its_turn() -> None:
    """More connections are ready than a turn serves: a timer that is due runs between."""
    served: list[str] = []
    with Loopback(Answer(lambda request: served.append("request") or b"here")) as loop:
        clients = [loop.connect() for _ in range(EVENTS_PER_TURN * 2)]
        loop.accepted(len(clients))

        def tick() -> None:
            served.append("timer")
            if len(served) < len(clients):
                loop.reactor.callLater(0, tick)

        for client in clients:
            client.send(GET)
        loop.reactor.callLater(0, tick)
        until(lambda: served.count("request") == len(clients))
        runs = "".join(word[0] for word in served).split("t")
        assert max(map(len, runs)) <= EVENTS_PER_TURN
        for client in clients:
            assert client.responses(1)


@pytest.mark.slow
@blocking
def test_a_greedy_connection_does_not_starve_the_others() -> None:
    with Loopback(Answer(lambda request: b"")) as loop:
        greedy, modest = loop.connect(), loop.connect()
        for _ in range(50):
            try:
                greedy.send(GET * 1000)
            except BlockingIOError:
                pass
            modest.send(GET)
            before = loop.site.statistics.requests
            until(lambda: modest.take(), seconds=1)
            assert loop.site.statistics.requests - before < 50_000
            greedy.take()


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
@pytest.mark.parametrize("where", ["dataReceived", "readConnectionLost", "connectionLost"])
@blocking
def test_what_fails_for_one_connection_costs_that_one(
    where: str, error: type[BaseException], logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised to the reactor, it would end every connection of the port, and the poller with them."""
    with Loopback(Answer(lambda request: b"here")) as loop:
        victim, other = loop.connect(), loop.connect()
        for client in (victim, other):
            client.send_all(GET)
            client.responses(1)
        peer = victim.socket.getsockname()[1]
        method = getattr(Channel, where)

        def fails(channel: Any, *args: Any) -> Any:
            if channel._transport.getPeer().port != peer:
                return method(channel, *args)
            if where == "connectionLost":
                method(channel, *args)
            raise error("as it should")

        with monkeypatch.context() as patch:
            patch.setattr(Channel, where, fails)
            if where == "dataReceived":
                victim.send(GET)
                victim.end()
            elif where == "readConnectionLost":
                victim.close()
            else:
                victim.reset()
            loop.accepted(1)
        other.send_all(GET)
        assert len(other.responses(2)) == 2
        assert loop.exchange()[0].body == b"here"
        assert len(logged) == 1 or where == "readConnectionLost"  # which Twisted's transports look after


@blocking
def test_one_connection_may_end_another_that_is_ready() -> None:
    """Both in one turn: what is left of the turn must not reach it."""
    channels: dict[bytes, Any] = {}

    def answer(request: Any) -> Any:
        channels[request.path] = request.channel
        if request.path == b"/end":
            for channel in channels.values():
                if channel is not request.channel:
                    channel._base.connectionLost(ENDED)
        return b"here"

    from twisted.internet.error import ConnectionAborted
    from twisted.python.failure import Failure

    ENDED = Failure(ConnectionAborted())
    with Loopback(Answer(answer)) as loop:
        clients = [loop.connect() for _ in range(10)]
        for number, client in enumerate(clients):
            client.send_all(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            client.responses(1)
        clients[0].send(b"GET /end HTTP/1.1\r\nHost: a\r\n\r\n")
        for client in clients[1:]:
            client.send(GET)
        loop.accepted(1)
        assert clients[0].responses(2)[1].body == b"here"
        assert loop.exchange()[0].body == b"here"


@blocking
def test_it_closes_once_port_and_connections_have_ended() -> None:
    waiting: list[Any] = []
    with Loopback(Answer(lambda request: waiting.append(request) or NOT_DONE_YET)) as loop:
        poller = loop.port._poller
        assert isinstance(poller, Poller)
        client = loop.connect()
        client.send_all(GET)
        until(lambda: waiting)
        loop.stop()
        turn()
        assert not poller._epoll.closed
        waiting[0].write(b"here")
        waiting[0].finish()
        assert client.responses(1)[0].body == b"here"
        client.close()
        until(lambda: poller._epoll.closed)
        assert poller not in loop.reactor.getReaders()
        assert not poller._transports
        assert not poller._interest

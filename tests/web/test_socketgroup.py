"""One message to many sockets: encoded once, in slices, bounded, and nobody is kept."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp import Limits
from hardhttp.web import socketgroup
from hardhttp.web.socketgroup import Slow, WebSocketGroup
from hardhttp.web.websocket import WebSocket
from tests.web.websocketing import Client, Sockets, closing, echo


class Crowd(Sockets):
    """All who come are in ``group``."""

    def __init__(self, *, limits: Limits | None = None, **options: Any) -> None:
        super().__init__(on_message=echo(), on_connect=self.come, limits=limits)
        self.group = WebSocketGroup(self.rig.clock, **options)

    def come(self, socket: WebSocket) -> None:
        self.group.add(socket)

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if raised[0] is None:
            assert (len(self.group), self.group.waiting_bytes, self.group._turn) == (0, 0, None)


def test_everyone_in_it_gets_it_and_nobody_else() -> None:
    with Crowd() as crowd:
        clients = [crowd.open() for _ in range(5)]
        sockets = crowd.resource.sockets()
        crowd.group.remove(sockets[0])
        assert sockets[1] in crowd.group
        assert crowd.group.broadcast("one") == 4
        clients[1].send(closing())
        assert crowd.group.broadcast(b"two") == 3
        assert [client.messages for client in clients] == [[], ["one"], *[["one", b"two"]] * 3]
        crowd.group.add(sockets[1])
        assert len(crowd.group) == 3  # one that has ended does not come back


def test_it_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Any] = []
    encode = socketgroup.encode
    monkeypatch.setattr(socketgroup, "encode", lambda message: encoded.append(message) or encode(message))
    with Crowd() as crowd:
        clients = [crowd.open() for _ in range(50)]
        crowd.group.broadcast("x")
        assert encoded == ["x"]
        assert all(client.messages == ["x"] for client in clients)


def test_it_goes_out_in_slices_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crowd() as crowd:
        clients = [crowd.open() for _ in range(100)]
        monkeypatch.setattr(socketgroup, "SLICE_SECONDS", 0.0)  # each is over at once
        crowd.group.broadcast("one")
        crowd.group.broadcast("two")
        sent = [bytes(client.peer._socket.sent).endswith(b"\x81\x03one") for client in clients]
        assert sent.count(True) == socketgroup.LOOK_EVERY
        assert crowd.group.waiting_bytes == 10
        clients[99].peer.reset()  # in the middle of it
        assert all(client.messages == ["one", "two"] for client in clients[:99])


def test_whoever_comes_or_goes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crowd() as crowd:
        clients = [crowd.open() for _ in range(40)]
        monkeypatch.setattr(socketgroup, "SLICE_SECONDS", 0.0)
        crowd.group.broadcast("one")
        late, gone = crowd.resource.sockets()[39], crowd.resource.sockets()[38]
        crowd.group.remove(gone)
        assert late in crowd.group
        assert clients[39].messages == ["one"]
        assert clients[38].messages == []


def test_when_all_go_in_the_middle_of_it_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crowd() as crowd:
        for _ in range(40):
            crowd.open()
        monkeypatch.setattr(socketgroup, "SLICE_SECONDS", 0.0)
        crowd.group.broadcast("one")
        for socket in crowd.resource.sockets():
            crowd.group.remove(socket)
        assert crowd.rig.clock.getDelayedCalls() == [
            call for call in crowd.rig.clock.getDelayedCalls() if "_slice" not in str(call)
        ]


def test_what_waits_is_bounded_and_the_publisher_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crowd(max_waiting_bytes=100) as crowd:
        clients = [crowd.open() for _ in range(100)]
        monkeypatch.setattr(socketgroup, "SLICE_SECONDS", 0.0)
        for _ in range(20):
            crowd.group.broadcast("x" * 18)
            assert crowd.group.waiting_bytes <= 100
        assert all(len(client.messages) == 20 for client in clients)


@pytest.mark.parametrize("slow", Slow)
def test_one_that_does_not_keep_up(slow: Slow) -> None:
    limits = Limits(max_websocket_unsent_bytes=300_000)
    with Crowd(limits=limits, slow=slow) as crowd:
        client, other = crowd.open(), crowd.open()
        socket = crowd.resource.sockets()[0]
        client.peer.take(0)
        for _ in range(10):
            crowd.group.broadcast(b"x" * 100_000)
        assert len(other.messages) == 10
        if slow is Slow.CLOSE:
            assert client.peer.aborted
            assert crowd.reasons == ["overflow"]
        else:
            assert socket.dropped == 9
            client.peer.take(None)
            crowd.group.broadcast(b"last")
            assert client.messages == [b"x" * 100_000, b"last"]


def test_one_that_cannot_be_served_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crowd() as crowd:
        clients = [crowd.open() for _ in range(3)]
        broken = crowd.resource.sockets()[1]
        send = WebSocket.send_encoded

        def fails(socket: WebSocket, frames: bytes) -> None:
            if socket is broken:
                raise RuntimeError("as it should")
            send(socket, frames)

        monkeypatch.setattr(WebSocket, "send_encoded", fails)
        crowd.group.broadcast("x")
        assert clients[0].messages == clients[2].messages == ["x"]
        assert clients[1].peer.closed
        assert len(crowd.rig.flush()) == 1


def test_a_broadcast_within_a_broadcast_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with Crowd() as crowd:
        clients: list[Client] = [crowd.open() for _ in range(3)]
        send, said = WebSocket.send_encoded, []

        def sends(socket: WebSocket, frames: bytes) -> None:
            if not said:
                said.append(crowd.group.broadcast("two"))
            send(socket, frames)

        monkeypatch.setattr(WebSocket, "send_encoded", sends)
        crowd.group.broadcast("one")
        assert all(client.messages == ["one", "two"] for client in clients)


def test_what_a_group_cannot_be() -> None:
    with Sockets(on_message=echo()) as sockets:
        with pytest.raises(ValueError, match="max_waiting_bytes is 0"):
            WebSocketGroup(sockets.rig.clock, max_waiting_bytes=0)
        with pytest.raises(ValueError, match="wait"):
            WebSocketGroup(sockets.rig.clock, slow="wait")
        group = WebSocketGroup(sockets.rig.clock)
        assert group.broadcast("nobody") == 0
        with pytest.raises(TypeError):
            group.broadcast(1)  # type: ignore[arg-type]

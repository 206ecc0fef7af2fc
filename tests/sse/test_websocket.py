"""A hub's topics over WebSocket: the same history, policies, lag and ends as over an event stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.web.resource import Resource

from hardhttp import Limits
from hardhttp.net.drain import drain
from hardhttp.net.ledger import EVENTS, SUBSCRIBERS
from hardhttp.sse import websocket
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.websocket import EventSockets
from tests.sse.subscribing import Hub, Subscribes, data_of
from tests.web.websocketing import PING, PONG, Client, closing, frame, handshake


class Hubbed(Hub):
    """``/ws`` and ``/sse`` of one hub."""

    def __init__(self, *, limits: Limits | None = None, history: Any = None, **options: Any) -> None:
        wants = options.pop("wants", websocket.by_query)
        options.setdefault("retry_seconds", None)
        super().__init__(limits=limits, history=history, **options)
        root = Resource()
        self.sockets = EventSockets(self.hub, wants)
        root.putChild(b"ws", self.sockets)
        root.putChild(b"sse", Subscribes(self.hub))
        self.rig.site.resource = root

    def open(self, query: bytes = b"topic=t", **headers: bytes) -> Client:
        peer = self.rig.connect()
        peer.send(handshake(b"/ws?" + query, **headers))
        return Client(peer)


def said(client: Client) -> list[dict[str, Any]]:
    return [json.loads(message) for message in client.messages]


def test_an_event_is_a_message() -> None:
    with Hubbed() as hub:
        client = hub.open()
        assert client.status == 101
        assert said(client) == []
        hub.hub.publish("t", {"a": "ü"}, event="change", id="7")
        hub.hub.publish("u", "not wanted")
        hub.hub.to_all("two\nlines")
        assert said(client) == [
            {"event": "change", "data": '{"a":"ü"}', "id": "7"},
            {"event": "message", "data": "two\nlines"},
        ]
        client.send(closing())
        assert client.peer.closed
        assert hub.reasons == ["client"]
        assert hub.sockets.socket_count == 0


def test_what_goes_to_many_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    messages = websocket._messages
    monkeypatch.setattr(websocket, "_messages", lambda events: made.append(events) or messages(events))
    with Hubbed() as hub:
        clients = [hub.open() for _ in range(100)]
        made.clear()
        hub.hub.publish("t", "x")
        assert len(made) == 1
        assert all(len(said(client)) == 1 for client in clients)


def test_both_ways_side_by_side_and_the_ledger_knows() -> None:
    with Hubbed() as hub:
        stream = hub.rig.connect()
        stream.send(b"GET /sse?topic=t HTTP/1.1\r\nHost: a\r\n\r\n")
        client = hub.open()
        assert hub.rig.site.ledger.snapshot()[SUBSCRIBERS] == 2
        hub.hub.publish("t", "x")
        assert data_of(stream) == ["x"]
        assert [each["data"] for each in said(client)] == ["x"]


def test_retry_is_said_and_comments_are_not() -> None:
    with Hubbed(retry_seconds=(2.0, 2.0), heartbeat_seconds=5) as hub:
        client = hub.open()
        hub.rig.advance(12)
        assert said(client) == [{"retry": 2000}]


def test_history_is_replayed_and_its_place_is_said() -> None:
    with Hubbed(history=MemoryHistory) as hub:
        first = hub.hub.publish("t", "one")
        hub.hub.publish("t", "two")
        client = hub.open(b"topic=t&lastEventID=" + first.id.encode())
        assert b"last-event-id: " + first.id.encode() in client.head
        hub.hub.publish("t", "three")
        assert [each["data"] for each in said(client)] == ["two", "three"]


def test_one_that_does_not_take_what_comes_is_judged_by_the_hub() -> None:
    with Hubbed(max_queued_events=5) as hub:
        client = hub.open()
        client.peer.take(0)
        hub.hub.publish("t", "x" * 100_000)
        for number in range(5):
            hub.hub.publish("t", str(number))
        assert hub.newest.lag().events == 5
        assert hub.newest.lag().unsent_bytes > 100_000
        assert hub.rig.site.ledger.snapshot()[EVENTS] > 0
        client.peer.take(None)
        assert [each["data"] for each in said(client)][1:] == list("01234")
        client.peer.take(0)
        hub.hub.publish("t", "x" * 100_000)
        for number in range(6):
            hub.hub.publish("t", str(number))
        assert client.peer.aborted
        assert hub.reasons == ["overflow"]


def test_one_that_takes_nothing_is_ended_in_time() -> None:
    with Hubbed(write_seconds=10) as hub:
        client = hub.open()
        client.peer.take(0)
        hub.hub.publish("t", "x" * 100_000)
        hub.hub.publish("t", "y")
        hub.rig.advance(12)
        assert client.peer.closed
        assert hub.reasons == ["write-seconds"]


def test_ends_by_the_application_and_by_age() -> None:
    with Hubbed(lifetime_seconds=100) as hub:
        client, other = hub.open(), hub.open()
        hub.hub.publish("t", "last words")
        hub.hub.close(hub.hub.subscribers()[0])
        assert said(client)[-1]["data"] == "last words"
        assert client.close == (1000, "")
        client.send(closing())
        assert client.peer.closed
        hub.rig.advance(15)
        for _ in range(10):
            hub.rig.advance(15)
            for first, payload in other.frames:
                if first == PING and not other.peer.closed:
                    other.send(frame(PONG, payload))
        assert hub.reasons == ["closed", "lifetime"]
        assert said(other)[-1].keys() == {"retry"}


def test_drain_sends_them_away_one_after_another() -> None:
    with Hubbed(limits=Limits(drain_seconds=10)) as hub:
        clients = [hub.open() for _ in range(10)]
        drain(hub.rig.site.server)
        hub.rig.clock.turn()
        closed = sum(client.close is not None for client in clients)
        assert 0 < closed < 10
        hub.rig.advance(6)
        assert all(client.close == (1001, "") for client in clients)
        for client in clients:
            if not client.peer.closed:
                client.send(closing(1001))
        assert set(hub.reasons) == {"drained"}
        hub.rig.advance(10)


def test_e03_a_refused_subscription_leaves_nothing() -> None:
    with Hubbed(max_subscribers=1) as hub:
        first = hub.open()
        over = hub.open()
        assert over.status == 503
        assert b"retry-after: " in over.head
        first.peer.reset()
        hub.hub.on_connect(lambda subscriber: False)
        refused = hub.open()
        assert refused.status == 403
        assert hub.sockets.socket_count == 0
        assert len(hub.told) == 1
        assert hub.open(Origin=b"https://evil.example").status == 403


def test_a_client_sends_nothing() -> None:
    with Hubbed() as hub:
        client = hub.open()
        client.say("x")
        assert client.close == (1003, "this socket only sends")
        client.send(closing(1003))
        assert hub.reasons == ["client"]


def test_the_application_may_say_who_has_what() -> None:
    with Hubbed(wants=lambda request: {"topics": ["t"], "allowed": ["t"], "user": "ann", "groups": ["g"]}) as hub:
        client = hub.open(b"")
        hub.hub.publish("t", "secret", private=True)
        hub.hub.to_user("ann", "hers")
        hub.hub.to_group("g", "theirs")
        assert [each["data"] for each in said(client)] == ["secret", "hers", "theirs"]

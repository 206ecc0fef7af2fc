"""The Mercure protocol over the wire: who may subscribe and publish, and what comes of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import PATH, Mercure
from hardhttp.sse.presence import Present
from hardhttp.sse.tokens import Key
from hardhttp.testing import Peer, Rig
from hardhttp.testing.memory import MemoryReactor
from hardhttp.wire.eventstream import Parser
from tests.web.websocketing import Client, closing, handshake

SECRET = "a secret of more than thirty-two bytes, for tests"
OTHER = "another secret of more than thirty-two bytes here"


def token(secret: str = SECRET, **claims: Any) -> str:
    times = {name: claims.pop(name) for name in ("exp", "nbf") if name in claims}
    return jwt.encode({"mercure": claims, **times}, secret, algorithm="HS256")


def key(secret: str = SECRET) -> Key:
    return Key.parse(secret, "HS256")


class Hub:
    """A hub in memory, and requests to it."""

    def __init__(self, **options: Any) -> None:
        root = Resource()
        self.rig = Rig(root)
        self.hub = EventHub(self.rig.clock, history=MemoryHistory(self.rig.clock), heartbeat_seconds=None)
        settings = {"publisher_key": key(), "subscriber_key": key(), "anonymous": True, **options}
        mercure = Mercure(self.hub, **settings)
        known = Resource()
        root.putChild(b".well-known", known)
        known.putChild(b"mercure", mercure)
        self.mercure = mercure

    def __enter__(self) -> Hub:
        self.rig.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        if failure[0] is None:
            self.hub.close_all()
        self.rig.__exit__(*failure)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Any:
        return self.begin(method, path, body, **headers).responses()[0]

    def begin(self, method: str, path: str, body: str = "", **headers: str) -> Peer:
        lines = [f"{method} {path} HTTP/1.1", "Host: a"]
        if body:
            lines += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        peer = self.rig.connect()
        peer.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return peer

    def subscribe(self, *topics: str, more: str = "", **headers: str) -> Peer:
        query = urlencode([("topic", topic) for topic in topics])
        return self.begin("GET", f"{PATH}?{query}{more}", **headers)

    def publish(self, secret: str | None = None, **fields: Any) -> Any:
        pairs = [(name, each) for name, value in fields.items() for each in (value if type(value) is list else [value])]
        bearer = secret or token(publish=["*"])
        return self.ask("POST", PATH, urlencode(pairs), Authorization=f"Bearer {bearer}")


def events(peer: Peer) -> list[tuple[str, str, str]]:
    """(id, type, data) of what has come."""
    body = peer.received.partition(b"\r\n\r\n")[2]
    plain = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        plain, body = plain + rest[:length], rest[length + 2 :]
    return [(event.id, event.type, event.data) for event in Parser().feed(plain)]


def status(peer: Peer) -> int:
    return int(peer.received.split(b" ")[1])


def test_an_update_reaches_who_asked_for_its_topic_once() -> None:
    with Hub() as hub:
        one, other, both, all_of_it, none = (
            hub.subscribe(*topics)
            for topics in (["/books/1"], ["/books/{id}"], ["/books/1", "/alternate"], ["*"], ["/films/1"])
        )
        answer = hub.publish(topic=["/books/1", "/alternate"], data="line\nother", type="change", retry="1500")
        assert (answer.status, answer.get(b"content-type")) == (200, b"text/plain; charset=utf-8")
        expected = [(answer.body.decode(), "change", "line\nother")]
        for peer in (one, other, both, all_of_it):
            assert events(peer) == expected
            assert b"retry: 1500\n" in peer.received
        assert events(none) == []
        assert one.received.count(b"Content-Type: text/event-stream") == 1


def test_an_id_of_the_publishers_own_is_kept() -> None:
    with Hub() as hub:
        peer = hub.subscribe("a")
        assert hub.publish(topic="a", data="x", id="urn:uuid:7").body == b"urn:uuid:7"
        assert events(peer) == [("urn:uuid:7", "message", "x")]
        for wrong in ("#7", "earliest", "two\nlines"):
            assert hub.publish(topic="a", data="x", id=wrong).status == 400


@pytest.mark.parametrize(
    ("claims", "topics", "private", "expected"),
    [
        ({"publish": ["*"]}, ["a"], False, 200),
        ({"publish": ["/books/{id}"]}, ["/books/1"], True, 200),
        ({"publish": ["/books/{id}"]}, ["/books/1", "/films/1"], False, 403),
        ({"publish": ["/books/{id}"]}, ["/films/1"], False, 403),
        ({"publish": []}, ["a"], True, 403),
        ({"publish": []}, ["a"], False, 403),
        ({}, ["a"], False, 403),
        ({"subscribe": ["*"]}, ["a"], False, 403),
    ],
    ids=str,
)
def test_who_may_publish(claims: dict[str, Any], topics: list[str], private: bool, expected: int) -> None:
    with Hub() as hub:
        fields: dict[str, Any] = {"topic": topics, "data": "x"} | ({"private": "on"} if private else {})
        answer = hub.publish(token(**claims), **fields)
        assert answer.status == expected
        if expected == 403:
            assert b'error="insufficient_scope"' in answer.get(b"www-authenticate")


def test_what_is_no_token_is_401() -> None:
    with Hub() as hub:
        for secret in (token(OTHER, publish=["*"]), "x.y.z", token(publish=["*"], exp=1)):
            answer = hub.publish(secret, topic="a", data="x")
            assert (answer.status, b'error="invalid_token"' in answer.get(b"www-authenticate")) == (401, True)
        answer = hub.ask("POST", PATH, "topic=a&data=x")
        assert (answer.status, answer.get(b"www-authenticate")[:6]) == (401, b"Bearer")
        assert status(hub.subscribe("a", Authorization=f"Bearer {token(OTHER)}")) == 401


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"data": "x"}, 400),
        ({"topic": "", "data": "x"}, 400),
        ({"topic": ["t"] * 4, "data": "x"}, 400),
        ({"topic": "t" * 2049, "data": "x"}, 400),
        ({"topic": "t", "data": "x", "retry": "-1"}, 400),
        ({"topic": "t", "data": "x", "retry": "1e3"}, 400),
        ({"topic": "t", "data": "x", "retry": ""}, 200),
        ({"topic": "t", "data": "x", "retry": "\u0665"}, 400),
        ({"topic": "t", "data": "x", "type": "a\nb"}, 400),
        ({"topic": "t", "data": "x", "id": "a\rb"}, 400),
        ({"topic": "t", "data": "x", "id": "a\0"}, 400),
        ({"topic": "t", "data": "x", "id": ""}, 200),
        ({"topic": "t"}, 200),
    ],
    ids=str,
)
def test_what_may_be_published(fields: dict[str, Any], expected: int) -> None:
    with Hub(max_topics=3) as hub:
        assert hub.publish(**fields).status == expected


def test_a_cookie_publishes_only_from_pages_that_may() -> None:
    with Hub(publish_origins=[b"https://app.example"]) as hub:
        cookie = f"mercureAuthorization={token(publish=['*'])}"
        for headers, expected in (
            ({"Origin": "https://app.example"}, 200),
            ({"Referer": "https://app.example/page"}, 200),
            ({"Origin": "https://evil.example"}, 403),
            ({}, 403),
        ):
            assert hub.ask("POST", PATH, "topic=a&data=x", Cookie=cookie, **headers).status == expected


def test_anonymous_subscribers_are_let_in_when_told_so() -> None:
    with Hub(anonymous=False) as hub:
        assert status(hub.subscribe("a")) == 401
        assert status(hub.subscribe("a", Authorization=f"Bearer {token(subscribe=[])}")) == 200
        assert status(hub.subscribe("a", more=f"&authorization={token()}")) == 200
        assert status(hub.subscribe("a", Cookie=f"mercureAuthorization={token()}")) == 200
    with pytest.raises(ValueError, match="nobody could subscribe"):
        Mercure(EventHub(MemoryReactor()), publisher_key=key())


def test_private_updates_are_for_those_who_may_see_them() -> None:
    with Hub() as hub:
        anonymous = hub.subscribe("/users/1")
        right = hub.subscribe("/users/1", Authorization=f"Bearer {token(subscribe=['/users/{id}'])}")
        other = hub.subscribe("/users/1", Authorization=f"Bearer {token(subscribe=['/users/2'])}")
        hub.publish(topic="/users/1", data="secret", private="")
        assert [data for _, _, data in events(right)] == ["secret"]
        assert events(anonymous) == events(other) == []
        late = hub.subscribe("/users/1", more="&lastEventID=earliest")
        assert events(late) == []


def test_a_subscription_ends_with_its_token() -> None:
    with Hub() as hub:
        ends_at = int(hub.rig.clock.seconds()) + 60
        peer = hub.subscribe("a", Authorization=f"Bearer {token(exp=ends_at)}")
        hub.rig.advance(55)
        assert not peer.ended
        hub.rig.advance(10)
        assert peer.ended


@pytest.mark.parametrize("how", ["header", "lastEventID", "Last-Event-ID"])
def test_who_comes_back_gets_what_it_missed_once_and_in_order(how: str) -> None:
    with Hub() as hub:
        ids = [hub.publish(topic="a", data=str(n)).body.decode() for n in range(5)]
        hub.publish(topic="b", data="of another topic")
        if how == "header":
            peer = hub.subscribe("a", Last_Event_ID=ids[1])
        else:
            peer = hub.subscribe("a", more=f"&{how}={quote(ids[1])}")
        hub.publish(topic="a", data="5")
        assert [data for _, _, data in events(peer)] == ["2", "3", "4", "5"]
        assert f"last-event-id: {ids[1]}\r\n".encode() in peer.received.lower()
        everything = hub.subscribe("a", more="&lastEventID=earliest")
        assert [data for _, _, data in events(everything)] == ["0", "1", "2", "3", "4", "5"]
        unknown = hub.subscribe("a", Last_Event_ID="no-such-id")
        assert b"last-event-id: earliest\r\n" in unknown.received.lower()


@pytest.mark.parametrize("query", ["", "?topic=", "?topic=a&topic=b&topic=c&topic=d", "?topic=" + "t" * 2049])
def test_subscriptions_without_sense(query: str) -> None:
    with Hub(max_topics=3) as hub:
        assert status(hub.begin("GET", PATH + query)) == 400


def test_methods_and_paths() -> None:
    with Hub() as hub:
        answer = hub.ask("PUT", PATH, "x")
        assert (answer.status, answer.get(b"allow")) == (405, b"GET, HEAD, POST")
        assert hub.ask("GET", f"{PATH}/nothing").status == 404
        assert hub.ask("GET", f"{PATH}/subscriptions").status == 404


def test_who_is_there() -> None:
    everyone = PATH + "/subscriptions{/topic}{/subscriber}"
    seer = {"Authorization": f"Bearer {token(subscribe=[everyone, PATH + '/subscriptions'])}"}
    with Hub(subscriptions=True) as hub:
        watching = hub.subscribe(everyone, **seer)
        peer = hub.subscribe("/a b", Authorization=f"Bearer {token(subscribe=[], payload={'name': 'Ada'})}")
        (told,) = [json.loads(data) for _, _, data in events(watching) if json.loads(data)["topic"] == "/a b"]
        assert (told["type"], told["active"], told["payload"]) == ("Subscription", True, {"name": "Ada"})
        assert told["@context"] == "https://mercure.rocks/"
        assert told["id"] == f"{PATH}/subscriptions/%2Fa%20b/{quote(told['subscriber'], safe='')}"

        answer = hub.ask("GET", f"{PATH}/subscriptions", **seer)
        assert (answer.status, answer.get(b"content-type")) == (200, b"application/ld+json")
        found = json.loads(answer.body)
        assert found["type"] == "Subscriptions"
        assert {each["topic"] for each in found["subscriptions"]} == {
            "/a b",
            PATH + "/subscriptions{/topic}{/subscriber}",
        }
        of_topic = json.loads(hub.ask("GET", f"{PATH}/subscriptions/%2Fa%20b", **seer).body)
        assert [each["subscriber"] for each in of_topic["subscriptions"]] == [told["subscriber"]]
        assert json.loads(hub.ask("GET", told["id"], **seer).body)["active"] is True
        assert hub.ask("GET", f"{PATH}/subscriptions/%2Fa%20b/nobody", **seer).status == 404
        assert hub.ask("GET", f"{PATH}/subscriptions").status == 401
        assert hub.ask("GET", f"{PATH}/subscriptions", Authorization=f"Bearer {token(subscribe=['a'])}").status == 403

        peer.reset()
        last = json.loads(events(watching)[-1][2])
        assert (last["active"], last["topic"]) == (False, "/a b")
        assert hub.ask("GET", told["id"], **seer).status == 404


def test_nobody_is_there_whom_another_callback_refused() -> None:
    everyone = PATH + "/subscriptions{/topic}{/subscriber}"
    seer = {"Authorization": f"Bearer {token(subscribe=[everyone, PATH + '/subscriptions'])}"}

    def refuse(subscriber: Any) -> object:
        if "/refused" in subscriber.topics:
            return False
        if "/closed" in subscriber.topics:
            hub.hub.close(subscriber)
        return None

    with Hub(subscriptions=True) as hub:
        watching = hub.subscribe(everyone, **seer)
        hub.hub.on_connect(refuse)
        assert status(hub.subscribe("/refused")) == 403
        hub.subscribe("/closed")
        told = [(each["topic"], each["active"]) for _, _, data in events(watching) for each in [json.loads(data)]]
        assert told == [("/refused", True), ("/refused", False), ("/closed", True), ("/closed", False)]
        there = json.loads(hub.ask("GET", f"{PATH}/subscriptions", **seer).body)["subscriptions"]
        assert [each["topic"] for each in there] == [everyone]


def test_a_topic_too_long_to_be_told_of_is_refused() -> None:
    with Hub(subscriptions=True) as hub:
        hub.hub._max_event_bytes = 500
        assert status(hub.subscribe("/short", "/" + "long" * 100)) == 400
        assert hub.ask("POST", PATH, "topic=a", Authorization=f"Bearer {token(publish=['a'])}").status == 200
        assert len(hub.hub.subscribers()) == len(hub.mercure._presence) == 0
        assert status(hub.subscribe("/short")) == 200


def test_a_publishers_cookie_is_no_bad_token_where_there_are_no_subscribers_tokens() -> None:
    cookie = f"mercureAuthorization={token(publish=['*'])}"
    with Hub(subscriber_key=None, subscriptions=True) as hub:
        assert status(hub.subscribe("a", Cookie=cookie)) == 200
        assert hub.ask("GET", f"{PATH}/subscriptions", Authorization=f"Bearer {token(subscribe=['*'])}").status == 401


def test_an_empty_header_is_no_id() -> None:
    with Hub() as hub:
        hub.publish(topic="a", data="x")
        assert [data for _, _, data in events(hub.subscribe("a", more="&lastEventID=earliest", Last_Event_ID=""))] == [
            "x"
        ]


@pytest.mark.parametrize("topics", [("a",), ("{+any}",)])
def test_the_answers_id_is_not_the_requests_where_something_was_lost(topics: tuple[str, ...]) -> None:
    with Hub() as hub:
        ids = [hub.publish(topic="a", data=str(number)).body.decode() for number in range(4)]
        hub.hub.history._max_topic_updates = 2
        ids += [hub.publish(topic="a", data=str(number)).body.decode() for number in range(4, 6)]
        for asked, answered in ((ids[0], ids[3]), (ids[3], ids[3]), (ids[4], ids[4]), ("never", "earliest")):
            peer = hub.subscribe(*topics, Last_Event_ID=asked)
            assert f"last-event-id: {answered}\r\n".encode() in peer.received.lower()


@pytest.mark.parametrize(("id", "expected"), [("a\x01", 400), ("a\x7f", 400), ("i" * 2048, 200), ("i" * 2049, 400)])
def test_an_id_can_come_back_in_a_header(id: str, expected: int) -> None:
    with Hub() as hub:
        assert hub.publish(topic="a", data="x", id=id).status == expected
        hub.publish(topic="a", data="y")
        if expected == 200:
            assert [data for _, _, data in events(hub.subscribe("a", Last_Event_ID=id))] == ["y"]


def test_a_site_that_is_not_ours() -> None:
    clock = Clock()
    hub = EventHub(clock, history=MemoryHistory(clock))
    known, root = Resource(), Resource()
    root.putChild(b".well-known", known)
    known.putChild(b"mercure", Mercure(hub, publisher_key=key(), subscriber_key=key(), anonymous=True))
    site = Site(root, reactor=clock)

    def ask(head: str, body: str = "") -> StringTransport:
        transport = StringTransport()
        channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert channel is not None
        channel.makeConnection(transport)
        channel.dataReceived(f"{head}\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        return transport

    stream = ask(f"GET {PATH}?topic=a&lastEventID=earliest HTTP/1.1")
    form = f"Content-Type: application/x-www-form-urlencoded\r\nAuthorization: Bearer {token(publish=['*'])}"
    answer = ask(f"POST {PATH} HTTP/1.1\r\n{form}", "topic=a&data=x").value()
    assert answer.startswith(b"HTTP/1.1 200")
    clock.advance(0)
    assert b"data: x\n\n" in stream.value()
    assert ask(f"POST {PATH} HTTP/1.1\r\n{form}", "data=x").value().startswith(b"HTTP/1.1 400")
    hub.close_all()


def test_nothing_secret_is_shown() -> None:
    presence = repr(Mercure(EventHub(MemoryReactor()), publisher_key=key(), subscriber_key=key()).__dict__)
    assert SECRET not in presence
    assert "Ada" not in repr(Present("urn:uuid:1", payload={"name": "Ada"}))


# -- over WebSocket -----------------------------------------------------------------------------


def socket(hub: Hub, query: str, **headers: str) -> Client:
    peer = hub.rig.connect()
    peer.send(handshake(f"{PATH}?{query}".encode(), **{name: value.encode() for name, value in headers.items()}))
    return Client(peer)


def said(client: Client) -> list[tuple[str, str]]:
    messages = [json.loads(message) for message in client.messages]
    return [(message["event"], message["data"]) for message in messages if "event" in message]


def test_a_websocket_subscribes_by_the_same_rules() -> None:
    with Hub(websocket_origins=(), anonymous=False, subscriptions=True) as hub:
        assert socket(hub, "topic=t").status == 401
        assert socket(hub, f"authorization={token()}").status == 400
        client = socket(hub, f"topic=t&authorization={token(subscribe=['t'])}")
        assert client.status == 101
        hub.hub.publish("t", "for who may", private=True)
        assert said(client) == [("message", "for who may")]
        late = socket(hub, f"topic=t&lastEventID=earliest&authorization={token()}")
        hub.rig.clock.turn()
        assert said(late) == []
        assert len(hub.mercure._presence or ()) == 2
        for one in (client, late):
            one.send(closing())
        assert not hub.mercure._presence


@pytest.mark.parametrize("origin", ["http://evil.example", "http://a", "http://friend.example"])
def test_whose_pages_open_a_websocket_and_whose_cookies_count(origin: str) -> None:
    with Hub(websocket_origins=["http://friend.example"]) as hub:
        cookie = f"mercureAuthorization={token(subscribe=['t'])}"
        client = socket(hub, "topic=t", Origin=origin, Cookie=cookie)
        assert client.status == (403 if "evil" in origin else 101)
        if client.status == 101:
            hub.hub.publish("t", "private", private=True)
            hub.hub.publish("t", "public")
            assert [data for _, data in said(client)] == (["private"] if origin == "http://a" else []) + ["public"]
            client.send(closing())


def test_a_websocket_is_not_opened_where_nobody_said_so() -> None:
    with Hub() as hub:
        peer = hub.rig.connect()
        peer.send(handshake(f"{PATH}?topic=t".encode()))
        assert peer.received.startswith(b"HTTP/1.1 200 ")  # a stream of events
        peer.reset()

"""The Mercure protocol, clause by clause: what the other tests of the hub do not hold.

The table in docs/conformance.rst says of each clause which test holds it. Names are the sections of the protocol's
draft 07, which is what version 0.24 of its clients speak; a clause of 1.0 that costs them nothing is held too.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from hardhttp.sse.mercure import PATH
from tests.sse.test_mercure import Hub, events, status, token

SUBSCRIPTIONS = f"{PATH}/subscriptions"
EVERYONE = SUBSCRIPTIONS + "{/topic}{/subscriber}"
SEER = {"Authorization": f"Bearer {token(subscribe=[SUBSCRIPTIONS, EVERYONE])}"}


def field(answer: bytes, name: str) -> str | None:
    """The value of a header field of a response that has begun."""
    for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        found, _, value = line.partition(b": ")
        if found.lower() == name.encode():
            return value.decode()
    return None


# -- publication ---------------------------------------------------------------------------------


def test_publication_alternate_topics_reach_each_subscriber_once() -> None:
    with Hub() as hub:
        both, alternate, canonical = hub.subscribe("a", "b"), hub.subscribe("b"), hub.subscribe("a")
        hub.publish(topic=["a", "b"], data="x")
        assert [[data for _, _, data in events(peer)] for peer in (both, alternate, canonical)] == [["x"]] * 3


@pytest.mark.parametrize(
    "topic",
    [
        PATH,
        f"{PATH}?topic=a",
        f"{PATH}#a",
        f"{SUBSCRIPTIONS}/a/b",
        f"https://example.com{SUBSCRIPTIONS}/a/b",
        f"foo{PATH}/bar",
    ],
)
def test_publication_nobody_forges_what_the_hub_tells_of_itself(topic: str) -> None:
    with Hub(subscriptions=True) as hub:
        watching = hub.subscribe(EVERYONE, **SEER)
        before = events(watching)
        for topics in ([topic], ["a", topic]):
            answer = hub.publish(topic=topics, data='{"active": false}', private="on")
            assert (answer.status, b'error="insufficient_scope"' in answer.get(b"www-authenticate")) == (403, True)
        assert events(watching) == before


@pytest.mark.parametrize("topic", [f"{PATH}s", f"{PATH}-like/a", f"https://example.com/?of={PATH}/a", f"a#{PATH}"])
def test_publication_what_only_looks_like_the_hubs_own(topic: str) -> None:
    with Hub() as hub:
        assert hub.publish(topic=topic).status == 200


@pytest.mark.parametrize("character", [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))], ids=ascii)
def test_a_topic_has_no_control_characters(character: str) -> None:
    with Hub() as hub:
        topic = f"a{character}b"
        assert hub.publish(topic=["a", topic]).status == 400
        assert status(hub.subscribe("a", topic)) == 400


@pytest.mark.parametrize("character", [" ", "~", "\xa0", "\u202e", "\U0001f600"], ids=ascii)
def test_a_topic_has_any_other_character(character: str) -> None:
    with Hub() as hub:
        peer = hub.subscribe(f"a{character}b")
        assert hub.publish(topic=f"a{character}b", data="x").status == 200
        assert [data for _, _, data in events(peer)] == ["x"]


@pytest.mark.parametrize(
    ("topic", "expected"),
    [("%FF", 400), ("a&topic=%C3", 400), ("%ED%A0%80", 400), ("%EF%BF%BD", 200), ("%C3%A9", 200), ("100%", 200)],
)
def test_a_topic_is_utf_8(topic: str, expected: int) -> None:
    with Hub() as hub:
        assert status(hub.begin("GET", f"{PATH}?topic={topic}")) == expected
        if expected == 400:
            bearer = f"Bearer {token(publish=['*'])}"
            assert hub.ask("POST", PATH, f"topic={topic}", Authorization=bearer).status == 400


@pytest.mark.parametrize(("name", "value"), [(name, f"a{end}b") for name in ("id", "type") for end in "\r\n\0"])
def test_publication_no_line_can_be_injected(name: str, value: str) -> None:
    with Hub() as hub:
        peer = hub.subscribe("a")
        assert hub.publish(topic="a", data="x", **{name: value}).status == 400
        assert events(peer) == []


def test_publication_an_event_at_its_bound_and_past_it() -> None:
    with Hub() as hub:
        fields = {"topic": "a", "id": "i", "data": "x"}
        hub.hub._max_event_bytes = len(b"id: i\ndata: x\n\n")
        assert hub.publish(**fields).status == 200
        assert hub.publish(**fields | {"data": "xx"}).status == 413


def test_publication_the_form_alone_says_what_is_published() -> None:
    with Hub() as hub:
        bearer = f"Bearer {token(publish=['*'])}"
        assert hub.ask("POST", f"{PATH}?topic=a&data=x", "other=1", Authorization=bearer).status == 400
        peer = hub.rig.connect()
        body = b'{"topic": "a"}'
        peer.send(
            f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert status(peer) == 415


# -- authorization -------------------------------------------------------------------------------


def test_authorization_a_private_event_is_for_whom_an_alternate_topic_is_allowed() -> None:
    """The draft's own example: all books are asked for, and those are sent that are also told to this user."""
    with Hub() as hub:
        reader = {"Authorization": f"Bearer {token(subscribe=['https://example.com/users/foo/{?topic}'])}"}
        peer = hub.subscribe("https://example.com/books/{id}", **reader)
        book = "https://example.com/books/1"
        hub.publish(
            topic=[book, f"https://example.com/users/foo/?{urlencode({'topic': book})}"], data="1", private="on"
        )
        hub.publish(topic=["https://example.com/books/2"], data="2", private="on")
        assert [data for _, _, data in events(peer)] == ["1"]


@pytest.mark.parametrize(("bearer", "query", "cookie", "expected"), [
    ("good", "bad", "bad", 200),
    (None, "good", "bad", 200),
    (None, None, "good", 200),
    ("bad", "good", "good", 401),
    (None, "bad", "good", 401),
    (None, None, "bad", 401),
])  # fmt: skip
def test_authorization_one_token_counts(bearer: Any, query: Any, cookie: Any, expected: int) -> None:
    tokens = {
        "good": token(subscribe=["*"]),
        "bad": token("another secret of more than thirty-two bytes", subscribe=["*"]),
    }
    headers = {"Authorization": f"Bearer {tokens[bearer]}"} if bearer else {}
    headers |= {"Cookie": f"mercureAuthorization={tokens[cookie]}"} if cookie else {}
    with Hub(anonymous=False) as hub:
        peer = hub.subscribe("a", more=f"&authorization={tokens[query]}" if query else "", **headers)
        assert status(peer) == expected


@pytest.mark.parametrize("how", ["query", "header"])
def test_authorization_what_is_answered_to_a_token_in_the_query_is_private(how: str) -> None:
    may = token(subscribe=["*"], publish=["*"])
    query, headers = (f"authorization={may}", {}) if how == "query" else ("", {"Authorization": f"Bearer {may}"})
    said = "private, " if how == "query" else ""
    with Hub(subscriptions=True) as hub:
        peer = hub.subscribe("a", more=f"&{query}", **headers)
        assert field(peer.received, "cache-control") == f"{said}no-store, no-transform"
        answer = hub.ask("GET", f"{SUBSCRIPTIONS}?{query}", **headers)
        assert answer.get(b"cache-control") == f"{said}no-cache".encode()
        answer = hub.ask("POST", f"{PATH}?{query}", "topic=a", **headers)
        assert (answer.status, answer.get(b"cache-control")) == (200, b"private" if said else None)


# -- reconnection --------------------------------------------------------------------------------


def test_reconnection_the_header_goes_before_the_query() -> None:
    with Hub() as hub:
        first, second = (hub.publish(topic="a", data=data).body.decode() for data in "12")
        peer = hub.subscribe("a", more=f"&lastEventID={second}", Last_Event_ID=first)
        assert [data for _, _, data in events(peer)] == ["2"]
        assert field(peer.received, "last-event-id") == first


@pytest.mark.parametrize("asked", ["earliest", "unknown", "0123456789abcdef-1"])
def test_reconnection_an_empty_history_answers_earliest(asked: str) -> None:
    with Hub() as hub:
        assert field(hub.subscribe("a", Last_Event_ID=asked).received, "last-event-id") == "earliest"
        assert field(hub.subscribe("a").received, "last-event-id") is None


def test_reconnection_every_event_has_an_id() -> None:
    with Hub() as hub:
        peer = hub.subscribe("a")
        given = [
            hub.publish(topic="a", **more).body.decode() for more in ({}, {"id": "own"}, {"type": "t"}, {"id": ""})
        ]
        assert [id for id, _, _ in events(peer)] == given
        assert len(set(given)) == len(given)
        assert all(given)


# -- active subscriptions ------------------------------------------------------------------------


def test_subscriptions_the_event_and_the_document_say_the_same() -> None:
    with Hub(subscriptions=True) as hub:
        watching = hub.subscribe(EVERYONE, **SEER)
        hub.subscribe("https://example.com/{id}", "b", Authorization=f"Bearer {token(payload={'ip': '::1'})}")
        told = [json.loads(data) for _, _, data in events(watching)]
        one, other = (each for each in told if each["topic"] != EVERYONE)
        assert (one["subscriber"], one["active"]) == (other["subscriber"], True)
        assert (
            one["id"]
            == f"{SUBSCRIPTIONS}/{quote('https://example.com/{id}', safe='')}/{quote(one['subscriber'], safe='')}"
        )
        document = json.loads(hub.ask("GET", one["id"], **SEER).body)
        assert document == {**one, "lastEventID": hub.hub.last_id}
        listed = json.loads(hub.ask("GET", SUBSCRIPTIONS, **SEER).body)
        assert (listed["@context"], listed["id"]) == ("https://mercure.rocks/", SUBSCRIPTIONS)
        assert {name: value for name, value in one.items() if name != "@context"} in listed["subscriptions"]


def test_subscriptions_nobody_is_told_of_who_asks_by_head() -> None:
    with Hub(subscriptions=True) as hub:
        watching = hub.subscribe(EVERYONE, **SEER)
        answer = hub.ask("HEAD", f"{PATH}?topic=a")
        assert answer.status == 200
        assert [json.loads(data)["topic"] for _, _, data in events(watching)] == []
        listed = json.loads(hub.ask("GET", SUBSCRIPTIONS, **SEER).body)
        assert [each["topic"] for each in listed["subscriptions"]] == [EVERYONE]


def test_subscriptions_from_the_last_id_on_nobody_is_missed() -> None:
    with Hub(subscriptions=True) as hub:
        answer = hub.ask("GET", SUBSCRIPTIONS, **SEER)
        assert json.loads(answer.body)["lastEventID"] == "earliest"  # nothing has been dispatched
        hub.subscribe("a")
        last_id = json.loads(hub.ask("GET", SUBSCRIPTIONS, **SEER).body)["lastEventID"]
        hub.subscribe("b")
        watching = hub.subscribe(EVERYONE, more=f"&lastEventID={last_id}", **SEER)
        assert [json.loads(data)["topic"] for _, _, data in events(watching)] == ["b", EVERYONE]


def test_subscriptions_a_document_is_validated_by_its_tag() -> None:
    with Hub(subscriptions=True) as hub:
        answer = hub.ask("GET", SUBSCRIPTIONS, **SEER)
        assert answer.get(b"link") == b'</.well-known/mercure>; rel="mercure"'
        assert (answer.get(b"cache-control"), answer.get(b"etag")) == (b"no-cache", b'"earliest"')
        tags = [answer.get(b"etag").decode()]
        for change in (
            lambda: hub.subscribe("a"),
            lambda: hub.publish(topic="x", id="own"),
            lambda: hub.subscribe("b"),
        ):
            again = hub.ask("GET", SUBSCRIPTIONS, If_None_Match=tags[-1], **SEER)
            assert (again.status, again.body, again.get(b"etag").decode()) == (304, b"", tags[-1])
            change()
            changed = hub.ask("GET", SUBSCRIPTIONS, If_None_Match=tags[-1], **SEER)
            assert changed.status == 200
            tags.append(changed.get(b"etag").decode())
        # The same id twice, of a publisher's own, tells nothing of what was between.
        hub.publish(topic="x", id="own")
        assert hub.ask("GET", SUBSCRIPTIONS, If_None_Match=", ".join(tags), **SEER).status == 200
        assert hub.ask("GET", SUBSCRIPTIONS, If_None_Match=tags[-1]).status == 401  # who may not see it learns nothing
        assert hub.ask("GET", f"{SUBSCRIPTIONS}/a/nobody", If_None_Match="*", **SEER).status == 404


# -- in an application ---------------------------------------------------------------------------


def test_an_application_may_publish_what_is_reserved() -> None:
    with Hub() as hub:
        peer = hub.subscribe(f"{PATH}/of-ours")
        hub.hub.publish(f"{PATH}/of-ours", "x")
        assert [data for _, _, data in events(peer)] == ["x"]

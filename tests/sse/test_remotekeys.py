"""Keys that are fetched: when, what is made of what comes, and what holds when nothing comes. The clock is moved by
hand, and what is fetched is what the test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from hardhttp.errors import HTTPError
from hardhttp.sse.hub import EventHub
from hardhttp.sse.jwks import ALGORITHMS
from hardhttp.sse.mercure import Mercure
from hardhttp.sse.remotekeys import (
    FETCH_SECONDS,
    JITTER,
    KEPT_SECONDS,
    LEAST_SECONDS,
    MOST_SECONDS,
    UNKNOWN_KID_SECONDS,
    USUAL_SECONDS,
    Document,
    FetchError,
    RemoteKeys,
)
from hardhttp.sse.tokens import Key, TokenError
from hardhttp.testing import Rig
from tests.sse.test_tokens import jwk_of, jwks, private_key

ES = "ES256"


class Provider:
    """The other side of ``keys``. It answers at once with ``document``, or fails with ``error``; ``waiting`` is a fetch
    that the test ends by itself, when ``holds``."""

    def __init__(self, *kids: str, algorithm: str = ES, chance: float = 0.0, clock: Any = None) -> None:
        self.clock = Clock() if clock is None else clock
        self.fetched_at: list[float] = []
        self.holds = False
        self.waiting: Deferred[Document] | None = None
        self.cancelled = 0
        self.error: Exception | None = None
        self.max_age: float | None = None
        self.publish(*kids)
        self.keys = RemoteKeys(self._fetch, algorithm, self.clock, where="https://id.example", chance=lambda: chance)

    def publish(self, *kids: str) -> None:
        """Of each kid the key has its own number."""
        self.error = None
        self.document = jwks(*(jwk_of(ES, ord(kid), kid=kid) for kid in kids)).encode()

    def _fetch(self) -> Deferred[Document]:
        self.fetched_at.append(self.clock.seconds())
        self.waiting = Deferred(self._cancel)
        waiting = self.waiting
        if not self.holds:
            self.answer()
        return waiting

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def answer(self) -> None:
        waiting, self.waiting = self.waiting, None
        assert waiting is not None
        if self.error is not None:
            waiting.errback(self.error)
        else:
            waiting.callback(Document(self.document, self.max_age))

    def at(self, seconds: float) -> None:
        """Turn the clock to that time, call by call."""
        while (calls := self.clock.getDelayedCalls()) and min(each.getTime() for each in calls) <= seconds:
            self.clock.advance(max(0.0, min(each.getTime() for each in calls) - self.clock.seconds()))
        self.clock.advance(seconds - self.clock.seconds())

    def verdict(self, kid: str | None) -> int:
        """The status a token by that key is answered with."""
        try:
            self.keys.verified(token(kid))
        except HTTPError as error:
            return error.status
        return 200

    def end(self) -> None:
        self.keys.stop()
        assert self.clock.getDelayedCalls() == []


def token(kid: str | None, **claims: Any) -> str:
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode({"mercure": claims}, private_key(ES, ord(kid or "a")), ES, headers)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines of the log, with their level."""
    lines: list[str] = []

    def keep(event: Any) -> None:
        if event.get("log_namespace", "").startswith("hardhttp"):
            lines.append(f"{event['log_level'].name}: {formatEvent(event)}")

    globalLogPublisher.addObserver(keep)
    yield lines
    globalLogPublisher.removeObserver(keep)


# -- what is taken -------------------------------------------------------------------------------


def test_a_token_is_verified_by_what_was_fetched() -> None:
    provider = Provider("a", "b")
    assert (provider.verdict("a"), provider.fetched_at) == (503, [])
    provider.keys.start()
    assert json.loads(provider.keys.verified(token("b", publish=["x"]))) == {"mercure": {"publish": ["x"]}}
    assert [provider.verdict(kid) for kid in ("a", "b", None)] == [200, 200, 401]
    assert provider.fetched_at == [0.0]
    provider.end()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_secrets_are_not_published(algorithm: str) -> None:
    if ALGORITHMS[algorithm] != "oct":
        RemoteKeys(Deferred, algorithm, Clock())
        return
    with pytest.raises(ValueError, match="whoever reads it at the URL could sign"):
        RemoteKeys(Deferred, algorithm, Clock())


def test_an_algorithm_that_is_none() -> None:
    with pytest.raises(ValueError, match="must be one of"):
        RemoteKeys(Deferred, "none", Clock())


def test_keys_of_other_algorithms_are_passed_over() -> None:
    provider = Provider()
    provider.document = jwks(
        jwk_of("RS256", kid="r"), jwk_of("HS256", kid="h"), jwk_of("ES384", kid="c"), jwk_of(ES, ord("a"), kid="a")
    ).encode()
    provider.keys.start()
    assert provider.verdict("a") == 200
    with pytest.raises(TokenError, match="alg of the token"):
        provider.keys.verified(jwt.encode({}, private_key("RS256"), "RS256", {"kid": "r"}))
    assert provider.fetched_at == [0.0]  # which does not make it look again
    provider.end()


BAD = {
    "empty": b"",
    "html": b"<h1>Sign in</h1>",
    "pem": b"-----BEGIN PUBLIC KEY-----",
    "utf-8": b'{"keys": "\xff"}',
    "json": b'{"keys": [',
    "list": b'{"keys": {"a": 1}}',
    "none": b'{"keys": []}',
    "others": jwks(jwk_of("RS256", kid="r")).encode(),
    "secret": jwks(jwk_of("HS256", kid="h")).encode(),
    "twice": b'{"keys": [], "keys": []}',
    "point": jwks({**jwk_of(ES, kid="a"), "x": "AAAA"}).encode(),
    "private": jwks({**jwk_of(ES, kid="a"), "d": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"}).encode(),
    "bytes": b'{"keys": [' + b" " * (256 * 1024) + b"]}",
    "deep": b'{"keys": [' + b"[" * 100_000,
}


@pytest.mark.parametrize("document", BAD.values(), ids=BAD)
def test_a_document_that_is_no_good_changes_nothing(document: bytes, said: list[str]) -> None:
    provider = Provider("a")
    provider.keys.start()
    provider.document = document
    provider.keys.refresh()
    assert len(provider.fetched_at) == 2
    assert (provider.verdict("a"), provider.keys.why_missing()) == (200, None)
    assert [line.split(":")[0] for line in said] == ["info", "warn"]
    line = said[-1]
    assert "those from before are in force for 24 h" in line
    assert "JWKS" in line or "is a private key" in line
    assert len(line) < 250
    for word in ("Sign", "BEGIN", "c2Vj", "AAAA", "\ufffd", "xff"):
        assert word not in line
    provider.end()


# -- when it is fetched --------------------------------------------------------------------------


def test_every_ten_minutes() -> None:
    provider = Provider("a")
    provider.keys.start()
    provider.at(3 * USUAL_SECONDS)
    assert provider.fetched_at == [0, 600, 1200, 1800]
    provider.end()


def test_sooner_by_some_of_it() -> None:
    provider = Provider("a", chance=1.0)
    provider.keys.start()
    provider.at(2 * USUAL_SECONDS)
    assert provider.fetched_at == pytest.approx([0, 600 * (1 - JITTER), 1200 * (1 - JITTER)])
    provider.end()


@pytest.mark.parametrize(
    ("max_age", "seconds"),
    [
        (None, USUAL_SECONDS),
        (0.0, LEAST_SECONDS),
        (LEAST_SECONDS - 1, LEAST_SECONDS),
        (LEAST_SECONDS + 1, LEAST_SECONDS + 1),
        (MOST_SECONDS - 1, MOST_SECONDS - 1),
        (MOST_SECONDS + 1, MOST_SECONDS),
        (1e9, MOST_SECONDS),
    ],
)
def test_when_its_cache_control_says(max_age: float | None, seconds: float) -> None:
    provider = Provider("a")
    provider.max_age = max_age
    provider.keys.start()
    provider.at(seconds)
    assert provider.fetched_at == [0, seconds]
    provider.end()


def test_one_failure_does_not_cost_keys_that_are_good_for_long() -> None:
    provider = Provider("a")
    provider.max_age = 1e9
    provider.keys.start()
    provider.error = FetchError("away")
    provider.at(MOST_SECONDS + USUAL_SECONDS)
    assert (len(provider.fetched_at), provider.verdict("a")) == (3, 200)
    provider.end()


def test_refresh_asks_at_once_and_once() -> None:
    provider = Provider("a")
    provider.keys.refresh()  # not started
    assert provider.fetched_at == []
    provider.keys.start()
    provider.at(10)
    provider.holds = True
    provider.keys.refresh()
    provider.keys.refresh()
    provider.keys.start()
    assert provider.fetched_at == [0, 10]
    provider.answer()
    provider.at(10 + USUAL_SECONDS - 1)
    assert provider.fetched_at == [0, 10]  # the time runs from the last
    provider.end()


# -- rotation ------------------------------------------------------------------------------------


def test_a_kid_that_is_not_known_is_looked_for_at_once(said: list[str]) -> None:
    provider = Provider("a")
    provider.keys.start()
    provider.publish("b")
    assert [provider.verdict("b"), provider.verdict("b")] == [401, 200]
    assert provider.verdict("a") == 401  # the old key has gone
    assert provider.fetched_at == [0, 0]
    assert said[-1] == "info: the keys of https://id.example have changed: 1 new, 1 gone"
    provider.end()


def test_made_up_kids_are_looked_for_once_in_half_a_minute() -> None:
    provider = Provider("a")
    provider.keys.start()
    provider.at(1)
    assert {provider.verdict(chr(0x100 + number)) for number in range(5)} == {401}
    assert provider.fetched_at == [0, 1]
    provider.at(1 + UNKNOWN_KID_SECONDS - 0.5)
    assert provider.verdict("x") == 401
    assert provider.fetched_at == [0, 1]
    provider.at(1 + UNKNOWN_KID_SECONDS)
    assert {provider.verdict(kid) for kid in "xyz"} == {401}
    assert provider.fetched_at == [0, 1, 1 + UNKNOWN_KID_SECONDS]
    assert provider.verdict("a") == 200
    provider.end()


def test_they_are_looked_for_no_more_often_when_nobody_answers() -> None:
    provider = Provider("a")
    provider.keys.start()
    provider.error = FetchError("away")
    for second in range(1, 61):
        provider.at(second)
        assert (provider.verdict("x"), provider.verdict("a")) == (401, 200)
    assert provider.fetched_at == [0, 1, 31]
    provider.end()


def test_a_token_that_names_no_kid_makes_nobody_look() -> None:
    provider = Provider("a", "b")
    provider.keys.start()
    assert provider.verdict(None) == 401
    swapped = jwt.encode({}, private_key(ES, ord("a")), ES, {"kid": "b"})
    with pytest.raises(TokenError, match="does not hold"):
        provider.keys.verified(swapped)
    with pytest.raises(TokenError, match="three parts"):
        provider.keys.verified("x")
    assert provider.fetched_at == [0]
    provider.end()


# -- failures ------------------------------------------------------------------------------------


def test_without_keys_it_tries_again_soon_and_then_less_often(said: list[str]) -> None:
    provider = Provider("a")
    provider.error = FetchError("connect-refused")
    provider.keys.start()
    provider.at(200)
    assert provider.fetched_at == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert provider.keys.why_missing() == "there are no keys of https://id.example: connect-refused"
    provider.publish("a")
    provider.at(243)
    assert (provider.verdict("a"), provider.keys.why_missing()) == (200, None)
    assert said == [
        "error: there are no keys of https://id.example: connect-refused; tokens are answered 503",
        "info: the keys of https://id.example are in force: 1",
    ]
    provider.end()


def test_while_there_are_none_it_is_said_when_to_come_back() -> None:
    provider = Provider("a")
    provider.holds = True

    def wait() -> str:
        with pytest.raises(HTTPError) as caught:
            provider.keys.verified("whatever it is")
        assert (caught.value.status, isinstance(caught.value, TokenError)) == (503, False)
        return caught.value.headers["Retry-After"]

    assert wait() == "1"
    provider.keys.start()
    assert wait() == "1"
    provider.error = FetchError("away")
    provider.holds = False
    provider.answer()
    provider.at(35.5)
    assert (provider.fetched_at[-1], wait()) == (31, "28")
    provider.end()


def test_keys_stay_in_force_for_a_day(said: list[str]) -> None:
    provider = Provider("a", chance=0.5)
    provider.error = FetchError("connect-refused")
    provider.keys.start()
    provider.at(3)
    provider.publish("a")
    provider.at(7)
    provider.error = FetchError("connect-refused")
    end = 7 + KEPT_SECONDS
    provider.at(end - 1)
    assert (provider.verdict("a"), provider.keys.why_missing()) == (200, None)
    assert provider.fetched_at[:6] == [0, 1, 3, 7, 577, 1147]
    provider.clock.rightNow = end  # before any try says so
    assert provider.verdict("a") == 503
    provider.at(end)
    assert provider.verdict("a") == 503
    assert "connect-refused" in (provider.keys.why_missing() or "")
    provider.at(end + 7)
    assert provider.fetched_at[-4:] == [end + wait for wait in (0, 1, 3, 7)]
    provider.publish("a")
    provider.at(end + 15)
    assert provider.verdict("a") == 200
    # One for each state, however many tries there were.
    assert [line.split(":")[0] for line in said] == ["error", "info", "warn", "error", "info"]
    provider.end()


def test_each_success_begins_the_day_anew() -> None:
    provider = Provider("a")
    provider.keys.start()
    provider.at(KEPT_SECONDS - 1)
    provider.error = FetchError("away")
    provider.at(2 * KEPT_SECONDS - 2 * USUAL_SECONDS)
    assert provider.verdict("a") == 200
    provider.end()


def test_no_answer_is_a_failure() -> None:
    provider = Provider("a")
    provider.holds = True
    provider.keys.start()
    provider.at(FETCH_SECONDS - 0.1)
    assert provider.cancelled == 0
    provider.at(FETCH_SECONDS)
    assert provider.cancelled == 1
    assert "no answer within 10 s" in (provider.keys.why_missing() or "")
    provider.holds = False
    provider.at(FETCH_SECONDS + 1)
    assert provider.verdict("a") == 200
    provider.end()


@pytest.mark.parametrize("error", [RuntimeError("a secret"), ValueError("a secret"), CancelledError("a secret")])
def test_an_error_that_is_not_known_is_told_by_its_name(error: Exception, said: list[str]) -> None:
    provider = Provider("a")
    provider.error = error
    provider.keys.start()
    assert type(error).__name__ in said[0]
    assert "secret" not in said[0]
    provider.end()


# -- begin and end -------------------------------------------------------------------------------


@pytest.mark.parametrize("holds", [False, True])
def test_nothing_is_left_of_it_and_it_may_start_again(holds: bool, said: list[str]) -> None:
    provider = Provider("a")
    provider.holds = holds
    provider.keys.start()
    provider.end()
    assert provider.cancelled == holds
    provider.keys.refresh()
    provider.verdict("x")
    provider.end()
    assert len(provider.fetched_at) == 1
    provider.holds = False
    provider.keys.start()
    assert (provider.verdict("a"), len(provider.fetched_at)) == (200, 2)
    assert not any(line.startswith(("warn", "error")) for line in said)
    provider.end()


def test_what_is_kept_between_fetches_is_let_go() -> None:
    closed: Deferred[None] = Deferred()
    assert RemoteKeys(Deferred, ES, Clock(), close=lambda: closed).stop() is closed


def test_a_repr_tells_how_it_stands() -> None:
    provider = Provider("a")
    assert repr(provider.keys) == "<RemoteKeys ES256 of https://id.example: untried>"
    provider.keys.start()
    assert repr(provider.keys) == "<RemoteKeys ES256 of https://id.example: fresh>"
    assert "keys" not in repr(Document(provider.document))
    provider.end()


# -- in a hub ------------------------------------------------------------------------------------


def test_a_hub_answers_503_to_tokens_alone() -> None:
    rig = Rig(None)
    provider = Provider("a", clock=rig.clock)
    provider.error = FetchError("away")
    hub = EventHub(rig.clock, heartbeat_seconds=None)
    mercure = Mercure(hub, publisher_key=provider.keys, subscriber_key=provider.keys, anonymous=True)
    assert mercure.keys == (provider.keys,)
    rig.site.resource = mercure
    provider.keys.start()
    bearer = f"Authorization: Bearer {token('a', publish=['*'], subscribe=['*'])}"

    def ask(method: str, *fields: str, body: str = "") -> Any:
        kind = "Content-Type: application/x-www-form-urlencoded"
        lines = [f"{method} /?topic=t HTTP/1.1", "Host: a", kind, f"Content-Length: {len(body)}", *fields]
        peer = rig.connect()
        peer.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return peer

    with rig:
        for method in ("POST", "GET"):
            (answer,) = ask(method, bearer).responses()
            assert (answer.status, answer.get(b"retry-after")) == (503, b"1")
            assert answer.get(b"www-authenticate") is None
        (told,) = ask("GET", bearer, "Accept: text/event-stream").responses()  # any other status would end it for good
        assert (told.status, told.body, told.get(b"content-type")) == (200, b"retry: 1000\n\n", b"text/event-stream")
        assert ask("POST").responses()[0].status == 401
        assert ask("POST", "Authorization: Basic x").responses()[0].status == 401
        anonymous = ask("GET")
        assert anonymous.received.startswith(b"HTTP/1.1 200")
        provider.publish("a")
        provider.at(rig.clock.seconds() + 1)
        reader = ask("GET", bearer)
        assert reader.received.startswith(b"HTTP/1.1 200")
        assert ask("POST", bearer, body="topic=t&data=x&private=on").responses()[0].status == 200
        provider.publish("b")
        provider.keys.refresh()
        assert ask("POST", bearer).responses()[0].status == 401
        hub.publish(["t"], "still here", private=True)  # what was verified is not judged again
        assert b"still here" in reader.received
        assert b"still here" not in anonymous.received
        provider.keys.stop()
        hub.close_all()


def test_keys_of_a_hub_are_told_each_once() -> None:
    hub = EventHub(Clock(), heartbeat_seconds=None)
    one, other = Key.parse("a" * 32, "HS256"), Key.parse("b" * 32, "HS256")
    assert Mercure(hub, publisher_key=one, subscriber_key=other).keys == (one, other)
    assert Mercure(hub, publisher_key=one, subscriber_key=one).keys == (one,)
    assert Mercure(hub, anonymous=True).keys == ()

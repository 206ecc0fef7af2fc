"""What a signed token allows: times at their bounds, claims of every wrong type, selectors and payload."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.sse.claims import (
    MAX_DATE_SECONDS,
    MAX_DEPTH,
    MAX_PAYLOAD_BYTES,
    MAX_SELECTORS,
    Claims,
    may_publish,
    may_receive,
    read_claims,
)
from hardhttp.sse.tokens import Key, TokenError
from tests.sse.test_tokens import HS256, SECRET, by_hand

KEY = Key.parse(SECRET, "HS256")
NOW = 1_700_000_000
WRONG = [None, True, False, 1, 1.5, "x", "", [], ["x"], {}, {"x": 1}, [[]], [1], [None]]


def claims_of(payload: dict[str, Any] | bytes, now: float = NOW, audience: Any = None, **more: Any) -> Claims:
    return read_claims(by_hand(HS256, payload), KEY, now, audience, **more)


def refused(payload: dict[str, Any] | bytes, now: float = NOW, audience: Any = None, **more: Any) -> str:
    with pytest.raises(TokenError) as caught:
        claims_of(payload, now, audience, **more)
    assert (caught.value.status, caught.value.error) == (401, "invalid_token")
    return caught.value.description


def test_what_a_token_allows() -> None:
    mercure = {"publish": ["*", "a", "a"], "subscribe": ["b", "c", "b"], "payload": {"user": "ada"}}
    token = jwt.encode({"mercure": mercure, "exp": NOW + 60, "nbf": NOW, "iat": NOW, "sub": "x"}, SECRET, "HS256")
    claims = read_claims(token, KEY, NOW)
    assert claims == Claims(("*", "a"), ("b", "c"), {"user": "ada"}, NOW + 60.0)
    assert "ada" not in repr(claims)


@pytest.mark.parametrize("payload", [{}, {"mercure": None}, {"mercure": {}}, {"mercure": {"publish": None, "x": 1}}])
def test_without_claims_nothing_is_allowed(payload: dict[str, Any]) -> None:
    assert claims_of(payload) == Claims(None, (), None, None)


def test_the_claim_may_have_the_name_of_a_url() -> None:
    named = {"https://mercure.rocks/": {"subscribe": ["a"]}}
    assert claims_of(named).subscribe == ("a",)
    assert claims_of({**named, "mercure": {"subscribe": ["b"]}}).subscribe == ("a",)
    assert "mercure is not an object" in refused({"https://mercure.rocks/": []})


def test_the_signature_comes_first() -> None:
    for payload in (b"not JSON", {"exp": 0}, {"mercure": 1}):
        with pytest.raises(TokenError, match="signature"):
            read_claims(by_hand(HS256, payload, secret="another"), KEY, NOW)


# -- times and audience --------------------------------------------------------------------------


@pytest.mark.parametrize("exp", [NOW, float(NOW), NOW + 0.5])
def test_a_token_expires_at_its_time(exp: float) -> None:
    assert claims_of({"exp": exp}, exp - 0.001).expires_at == exp
    assert refused({"exp": exp}, exp) == "the token has expired"
    assert refused({"exp": exp}, exp + 1000) == "the token has expired"
    assert refused({"exp": exp}, exp, leeway_seconds=60) == "the token has expired"


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_is_good_from_its_time_on(name: str) -> None:
    assert claims_of({name: NOW}, NOW) == Claims()
    assert refused({name: NOW}, NOW - 0.001) == f"the token is not good yet: {name} is to come"
    assert claims_of({name: NOW}, NOW - 5, leeway_seconds=5) == Claims()
    assert name in refused({name: NOW}, NOW - 5.001, leeway_seconds=5)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [*(each for each in WRONG if each not in (1, 1.5) or each is True), -1, "1700000000"])
def test_what_is_no_time(name: str, value: Any) -> None:
    assert refused({name: value}) == f"the claim {name} is not a time in seconds"


def test_times_have_an_end() -> None:
    assert claims_of({"exp": MAX_DATE_SECONDS}).expires_at == MAX_DATE_SECONDS
    assert "exp is not a time" in refused({"exp": MAX_DATE_SECONDS + 1})
    assert "exp is not a time" in refused({"exp": 10**4000})
    assert "exp is not a time" in refused(b'{"exp": 1e300}')
    assert claims_of({"nbf": 0, "iat": 0}) == Claims()
    for text, said in ((b"NaN", "NaN"), (b"Infinity", "NaN"), (b"1e999", "too large"), (b"9" * 5000, "digits")):
        assert said in refused(b'{"exp": ' + text + b"}")


@pytest.mark.parametrize(
    ("aud", "audience", "good"),
    [
        ("hub", "hub", True),
        (["other", "hub"], "hub", True),
        ("hub", ["other", "hub"], True),
        ("other", "hub", False),
        ("hu", "hub", False),
        ("hub", "hu", False),
        ("", "hub", False),
        ([], "hub", False),
        ("hub", [], False),
        (["other"], ["hub"], False),
        ("other", None, True),
    ],
)
def test_the_audience_is_judged_when_configured(aud: Any, audience: Any, good: bool) -> None:
    if good:
        claims_of({"aud": aud}, audience=audience)
    else:
        assert refused({"aud": aud}, audience=audience) == "the token is for another audience"


def test_an_audience_is_needed_when_configured() -> None:
    assert refused({}, audience="hub") == "the token is for another audience"


@pytest.mark.parametrize("aud", [each for each in WRONG if not isinstance(each, str) and each not in ([], ["x"])])
@pytest.mark.parametrize("audience", [None, "hub"])
def test_what_is_no_audience(aud: Any, audience: str | None) -> None:
    assert refused({"aud": aud}, audience=audience).startswith("the claim aud is neither")


# -- mercure -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [each for each in WRONG if each is not None and not isinstance(each, dict)])
def test_what_is_no_claim(value: Any) -> None:
    assert refused({"mercure": value}) == "the claim mercure is not an object"


@pytest.mark.parametrize("name", ["publish", "subscribe"])
@pytest.mark.parametrize("value", [each for each in WRONG if each not in (None, [], ["x"])])
def test_what_are_no_selectors(name: str, value: Any) -> None:
    assert refused({"mercure": {name: value}}) == f"the claim mercure.{name} is not a list of strings"


@pytest.mark.parametrize("name", ["publish", "subscribe"])
def test_selectors_are_bounded_in_number(name: str) -> None:
    selectors = [f"t{n}" for n in range(MAX_SELECTORS)]
    assert getattr(claims_of({"mercure": {name: selectors}}), name) == tuple(selectors)
    assert "more than 100 selectors" in refused({"mercure": {name: [*selectors, "t0"]}})


@pytest.mark.parametrize("payload", [None, True, 0, "", "x", [], {}, {"a": [1, {"b": None}]}, "é\x00"])
def test_a_payload_is_any_json(payload: Any) -> None:
    assert claims_of({"mercure": {"payload": payload}}).payload == payload


def test_a_payload_is_bounded() -> None:
    longest = "é" * ((MAX_PAYLOAD_BYTES - 2) // 2)
    text = json.dumps({"mercure": {"payload": longest}}, ensure_ascii=False).encode()
    assert claims_of(text).payload == longest
    assert "more than 4096 bytes" in refused(text.replace("é".encode(), b"xyz", 1))


def test_depth_is_bounded() -> None:
    def nested(depth: int) -> bytes:
        return b'{"mercure": {"payload": ' + b"[" * depth + b"]" * depth + b"}}"

    claims_of(nested(MAX_DEPTH - 2))
    assert "within each other" in refused(nested(MAX_DEPTH - 1))
    assert "within each other" in refused(b'{"x": ' + b"[" * 3000 + b"]" * 2998 + b"}")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"null", "payload of the token is not an object"),
        (b"[]", "payload of the token is not an object"),
        (b'"mercure"', "payload of the token is not an object"),
        (b" ", "payload of the token is empty"),
        (b"publish=*", "payload of the token is not JSON"),
        (b'{"mercure": {"publish": ["*"]}', "payload of the token is not JSON"),
        (b"\xff\xfe{}", "payload of the token is not UTF-8"),
        (b'{"exp": 1, "exp": 9999999999}', "two equal names"),
        (b'{"mercure": {"publish": [], "publish": ["*"]}}', "two equal names"),
        (b'{"mercure": {"publish": ["\\ud800"]}}', "surrogate"),
        (b'{"a": "\\q"}', "not JSON"),
    ],
)
def test_what_are_no_claims(payload: bytes, said: str) -> None:
    description = refused(payload)
    assert said in description
    assert '"' not in description
    assert "\\" not in description


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["exp", "nbf", "iat", "aud", "mercure", "https://mercure.rocks/"])
MERCURE = st.dictionaries(st.sampled_from(["publish", "subscribe", "payload"]), JSON)


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    with contextlib.suppress(TokenError):
        assert claims_of(payload or b" ") == Claims()


@given(st.dictionaries(NAMES, JSON | MERCURE), st.sampled_from([None, "hub", ("a", "b")]))
def test_no_claims_raise_anything_else(payload: dict[str, Any], audience: Any) -> None:
    with contextlib.suppress(TokenError):
        claims = claims_of(payload, audience=audience)
        assert all(isinstance(each, str) for each in (*(claims.publish or ()), *claims.subscribe))
        assert claims.expires_at is None or NOW < claims.expires_at <= MAX_DATE_SECONDS


# -- what is allowed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("publish", "topics", "expected"),
    [
        # strictly: private and public alike, then where public updates need no selector
        (None, ["a"], (False, False, False)),
        ((), ["a"], (False, False, True)),
        (("*",), ["a", "b"], (True, True, True)),
        (("a",), ["a"], (True, True, True)),
        (("a",), ["b"], (False, False, True)),
        (("a",), ["a", "b"], (False, False, True)),
        (("a", "b"), ["b", "a"], (True, True, True)),
        (("https://x/{id}",), ["https://x/1"], (True, True, True)),
        (("https://x/{id}",), ["https://x/1", "https://y/1"], (False, False, True)),
    ],
)
def test_who_may_publish(publish: tuple[str, ...] | None, topics: list[str], expected: tuple[bool, ...]) -> None:
    claims = Claims(publish)
    assert expected == (
        may_publish(claims, topics, private=True),
        may_publish(claims, topics, private=False),
        may_publish(claims, topics, private=False, public_anywhere=True),
    )
    assert may_publish(claims, topics, private=True, public_anywhere=True) is expected[0]


@pytest.mark.parametrize(
    ("subscribe", "topics", "expected"),
    [
        ((), ["a"], False),
        (("*",), ["a"], True),
        (("a",), ["a"], True),
        (("a",), ["b", "a"], True),
        (("a",), ["b"], False),
        (("a",), [], False),
        (("https://x/{id}",), ["z", "https://x/1"], True),
        (("https://x/{id}",), ["https://x/1/2"], False),
    ],
)
def test_who_may_receive(subscribe: tuple[str, ...], topics: list[str], expected: bool) -> None:
    assert may_receive(Claims(("*",), subscribe), topics) is expected


def test_without_a_token_nothing_private_is_received() -> None:
    assert may_receive(None, ["a"]) is False

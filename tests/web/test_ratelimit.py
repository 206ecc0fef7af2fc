"""How often one client may ask."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from hardhttp.testing import Response, Rig
from hardhttp.web.cors import CORS
from hardhttp.web.ratelimit import RateLimited
from tests.web.saying import GET, Says, say


def plain(request: Any) -> bytes:
    return b"said"


def statuses(rig: Rig, count: int, host: str = "192.0.2.1", message: bytes = GET) -> list[int]:
    peer = rig.connect(host)
    answers: list[Response] = []
    for _ in range(count):
        peer.send(message)
        answers = peer.responses()
    return [answer.status for answer in answers]


def test_past_the_rate_it_is_429_and_later_it_is_not() -> None:
    with Rig(limited := RateLimited(Says(plain), "3/m")) as rig:
        peer = rig.connect("192.0.2.1")
        peer.send(GET * 4)
        *served, refused = peer.responses()
        assert [answer.status for answer in served] == [200] * 3
        assert (refused.status, refused.get(b"retry-after")) == (429, b"20")
        assert refused.get(b"cache-control") == b"no-store"
        assert refused.get(b"ratelimit-policy") == b'"default";q=3;w=60'
        assert refused.get(b"ratelimit") == b'"default";r=0;t=20'
        assert b"No more than 3 requests in 60 s" in refused.body
        assert limited.refused == 1
        assert rig.site.statistics.refused["rate-limit"] == 1
        rig.advance(19)
        assert statuses(rig, 1) == [429]
        rig.advance(1)
        assert statuses(rig, 2) == [200, 429]
        assert (limited.refused, len(limited), bool(limited)) == (3, 1, True)


def test_the_connection_goes_on() -> None:
    with Rig(RateLimited(Says(plain), "1/m")) as rig:
        assert statuses(rig, 3) == [200, 429, 429]


def test_a_burst() -> None:
    with Rig(RateLimited(Says(plain), "60/m", burst=2)) as rig:
        assert statuses(rig, 3) == [200, 200, 429]
        rig.advance(1)
        assert statuses(rig, 2) == [200, 429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_whose_bucket(one: str, other: str, same: bool) -> None:
    with Rig(RateLimited(Says(plain), "1/m")) as rig:
        assert statuses(rig, 2, one) == [200, 429]  # loopback is counted too
        assert statuses(rig, 1, other) == [429 if same else 200]


def test_the_address_is_the_one_told_by_a_trusted_proxy() -> None:
    def told(host: bytes) -> bytes:
        return say(X_Forwarded_For=host)

    with Rig(RateLimited(Says(plain), "1/m")) as rig:
        assert statuses(rig, 1, "127.0.0.1", told(b"192.0.2.1")) == [200]
        assert statuses(rig, 1, "127.0.0.1", told(b"192.0.2.2")) == [429]  # nobody trusts it
    with Rig(RateLimited(Says(plain), "1/m")) as rig:
        rig.site.trusted_proxies = ["127.0.0.1"]
        assert statuses(rig, 2, "127.0.0.1", told(b"192.0.2.1")) == [200, 429]
        assert statuses(rig, 1, "127.0.0.1", told(b"192.0.2.2")) == [200]
        assert statuses(rig, 2, "127.0.0.1") == [200, 429]  # the proxy itself


def test_exempt_networks() -> None:
    with Rig(RateLimited(Says(plain), "1/m", exempt=["::ffff:127.0.0.0/104", "2001:db8::/32"])) as rig:
        assert statuses(rig, 3, "127.0.0.1") == [200] * 3
        assert statuses(rig, 3, "::ffff:127.0.0.1") == [200] * 3
        assert statuses(rig, 3, "2001:db8::1") == [200] * 3
        assert statuses(rig, 2, "192.0.2.1") == [200, 429]


def test_keys_of_ones_own() -> None:
    limited = RateLimited(Says(plain), "1/m", key=lambda request: request.getHeader("x-key"))
    with Rig(limited) as rig:
        for key in (b"one", b"two", b"long " * 1000):
            assert statuses(rig, 2, message=say(X_Key=key)) == [200, 429]
        assert statuses(rig, 3) == [200] * 3  # None is not counted
        assert len(limited) == 3
        assert max(map(len, limited._buckets._full_at)) < 64  # a digest, however long it was
        assert not any("one" in key for key in limited._buckets._full_at)


@pytest.mark.parametrize("key", [lambda request: 1 // 0, lambda request: 5, lambda request: ["x"]])
def test_where_a_key_fails_the_address_is_used(key: Any) -> None:
    for message in (GET, say(b"POST", body=b"x")):
        with Rig(RateLimited(Says(plain), "1/m", key=key)) as rig:
            assert statuses(rig, 2, message=message) == [200, 429]
            assert len(rig.flush()) == 2


def test_a_body_is_not_invited_and_counts_once() -> None:
    reached: list[int] = []
    with Rig(
        RateLimited(
            Says(
                lambda request: reached.append(1) or b"",
            ),
            "2/m",
        )
    ) as rig:
        assert statuses(rig, 2, message=say(b"POST", body=b"0123")) == [200, 200]
        peer = rig.connect("192.0.2.1")
        peer.send(say(b"POST", Content_Length=b"4", Expect=b"100-continue"))
        assert [answer.status for answer in peer.responses()] == [429]
        assert len(reached) == 2


def test_mounted_below_it_limits_what_is_below() -> None:
    root = Resource()
    root.putChild(b"login", RateLimited(Says(plain), "1/m"))
    root.putChild(b"free", Says(plain))
    with Rig(root) as rig:
        assert statuses(rig, 2, message=say(target=b"/login")) == [200, 429]
        assert statuses(rig, 3, message=say(target=b"/free")) == [200] * 3


def test_announcing() -> None:
    with Rig(RateLimited(Says(plain), "10/m", burst=20, announce=True)) as rig:
        (response,) = rig.exchange(GET)
        assert response.get(b"ratelimit-policy") == b'"default";q=20;w=120'
        assert response.get(b"ratelimit") == b'"default";r=19;t=6'
    with Rig(RateLimited(Says(plain), "10/m")) as rig:
        assert rig.exchange(GET)[0].get(b"ratelimit") is None


def test_other_origins_can_read_that_it_is_429() -> None:
    with Rig(CORS(RateLimited(Says(plain), "1/m"), ["https://app.example"])) as rig:
        for status in (200, 429):
            (response,) = rig.exchange(say(Origin=b"https://app.example"))
            assert response.status == status
            assert response.get(b"access-control-allow-origin") == b"https://app.example"


def test_many_addresses_neither_fill_it_nor_free_anybody() -> None:
    with Rig(limited := RateLimited(Says(plain), "3/m", max_keys=50)) as rig:
        assert statuses(rig, 4, "198.51.100.1") == [200, 200, 200, 429]
        for n in range(200):
            assert statuses(rig, 1, f"10.0.{n // 250}.{n % 250}") == [200]
        assert (len(limited), limited.forgotten) == (50, 151)
        assert statuses(rig, 1, "198.51.100.1") == [429]


def test_a_clock_of_ones_own() -> None:
    with Rig(RateLimited(Says(plain), "1/m", clock=(clock := Clock()))) as rig:
        assert statuses(rig, 2) == [200, 429]
        rig.advance(60)
        assert statuses(rig, 1) == [429]
        clock.advance(60)
        assert statuses(rig, 1) == [200]


def test_under_twisted_web() -> None:
    limited = RateLimited(resource := Says(plain), "1/m", clock=Clock())

    def walk() -> tuple[Any, Any]:
        request = DummyRequest([b"x"])
        request.prepath.append(request.postpath.pop(0))
        return request, limited.getChildWithDefault(b"x", request)

    assert walk()[1] is resource
    request, answer = walk()
    assert b"429" in answer.render(request)
    assert request.responseCode == 429


@pytest.mark.parametrize(
    "options",
    [{"rate": "x"}, {"rate": "1/m", "burst": 0}, {"rate": "1/m", "max_keys": 0}, {"rate": "1/m", "exempt": "::1"}],
)
def test_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        RateLimited(Says(plain), **options)
    with pytest.raises(ValueError):
        RateLimited(Says(plain), "1/m", exempt=["nowhere"])

"""Headers that tell a browser to do less."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from hardhttp.testing import Response, Rig
from hardhttp.web.securityheaders import MAX_HSTS_SECONDS, SecurityHeaders
from tests.web.saying import GET, Says, say

DEFAULTS = {
    "content-security-policy": "base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def plain(request: Any) -> bytes:
    return b"said"


def ask(resource: Any) -> Response:
    with Rig(resource) as rig:
        return rig.exchange(GET)[0]


def ours(response: Response) -> dict[str, str]:
    names = {*DEFAULTS, "strict-transport-security", "x-own"}
    return {name.decode(): value.decode() for name, value in response.headers if name.decode() in names}


def test_the_defaults() -> None:
    assert ours(ask(SecurityHeaders(Says(plain)))) == DEFAULTS


def test_on_error_pages_too() -> None:
    def broken(request: Any) -> bytes:
        raise RuntimeError

    for resource, status in ((Says(broken), 500), (Resource(), 404)):
        with Rig(SecurityHeaders(resource)) as rig:
            (response,) = rig.exchange(GET)
            assert (response.status, ours(response)) == (status, DEFAULTS)
            rig.flush()


@pytest.mark.parametrize("made", [False, True])
def test_the_applications_own_stay(made: bool) -> None:
    def answer(request: Any) -> bytes:
        if made:
            request.responseHeaders.hasHeader(b"x")
        request.setHeader(b"x-frame-options", b"SAMEORIGIN")
        request.setHeader("Cross-Origin-Opener-Policy", "unsafe-none")
        return b""

    expected = DEFAULTS | {"x-frame-options": "SAMEORIGIN", "cross-origin-opener-policy": "unsafe-none"}
    assert ours(ask(SecurityHeaders(Says(answer)))) == expected


def test_each_can_be_changed_and_left_out() -> None:
    wrapped = SecurityHeaders(
        Says(plain),
        content_security_policy="default-src 'self'",
        frame_options=None,
        referrer_policy="no-referrer",
        permissions_policy=None,
        cross_origin_opener_policy=None,
        cross_origin_resource_policy="cross-origin",
        content_type_options=None,
        more={"X-Own": "1"},
    )
    assert ours(ask(wrapped)) == {
        "content-security-policy": "default-src 'self'",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "cross-origin",
        "x-own": "1",
    }


@pytest.mark.parametrize(("option", "ancestors"), [("DENY", "'none'"), ("SAMEORIGIN", "'self'"), (None, "*")])
def test_the_policy_says_what_frame_options_say(option: str | None, ancestors: str) -> None:
    policy = ours(ask(SecurityHeaders(Says(plain), frame_options=option)))["content-security-policy"]
    assert f"frame-ancestors {ancestors};" in policy


def test_hsts_over_tls_alone() -> None:
    def hsts(**options: Any) -> list[str | None]:
        with Rig(SecurityHeaders(Says(plain), **options)) as rig:
            rig.site.trusted_proxies = ["127.0.0.1"]
            answers = [rig.exchange(say(X_Forwarded_Proto=scheme))[0] for scheme in (b"http", b"https")]
            return [ours(response).get("strict-transport-security") for response in answers]

    assert hsts() == [None, None]
    assert hsts(hsts_seconds=31_536_000) == [None, "max-age=31536000"]
    assert hsts(hsts_seconds=0) == [None, "max-age=0"]
    assert hsts(hsts_seconds=60, hsts_subdomains=True) == [None, "max-age=60; includeSubDomains"]


@pytest.mark.parametrize(
    "options",
    [
        {"frame_options": "ALLOW-FROM x"},
        {"referrer_policy": ""},
        {"referrer_policy": "a\r\nSet-Cookie: b=c"},
        {"content_security_policy": "default-src \u00e9"},
        {"more": {"X Y": "1"}},
        {"hsts_seconds": -1},
        {"hsts_seconds": MAX_HSTS_SECONDS + 1},
    ],
)
def test_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SecurityHeaders(Says(plain), **options)
    SecurityHeaders(Says(plain), hsts_seconds=MAX_HSTS_SECONDS)


def test_requests_share_nothing() -> None:
    """What one answer sets is not in the next one's."""

    def answer(request: Any) -> bytes:
        if request.path == b"/own":
            request.setHeader(b"X-Frame-Options", b"SAMEORIGIN")
        return b""

    with Rig(SecurityHeaders(Says(answer))) as rig:
        assert ours(rig.exchange(say(target=b"/own"))[0])["x-frame-options"] == "SAMEORIGIN"
        assert ours(rig.exchange(GET)[0]) == DEFAULTS


def test_under_twisted_web() -> None:
    request = DummyRequest([b"x"])
    request.prepath.append(request.postpath.pop(0))
    SecurityHeaders(Says(plain)).getChildWithDefault(b"x", request)
    for name, value in DEFAULTS.items():
        assert request.responseHeaders.getRawHeaders(name) == [value]

"""The page to try a hub with, in an application: where it is mounted, and what it may reach."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from hardhttp import EventHub, Router
from hardhttp.sse.debugpage import DebugPage
from hardhttp.sse.mercure import PATH, Mercure
from hardhttp.testing import Response, Rig


def ask(page: DebugPage, path: str) -> Response:
    router = Router()
    router.mount(PATH, Mercure(EventHub(Clock()), anonymous=True))
    router.mount(f"{PATH}/ui", page)
    with Rig(router) as rig:
        return rig.exchange(f"GET {PATH}{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())[0]


def test_it_is_mounted_beside_the_hub() -> None:
    page = DebugPage()
    assert b"debug.js" in ask(page, "/ui/").body
    assert ask(page, "/ui/debug.css").get(b"content-type") == b"text/css; charset=utf-8"
    assert ask(page, "/ui").get(b"location") == b"ui/"
    assert ask(page, "").status == 400, "the hub asks for a topic"


def test_it_reaches_its_own_origin_and_those_it_was_told_of() -> None:
    policy = ask(DebugPage(["https://hub.example", "http://[::1]:8443"]), "/ui/").get(b"content-security-policy")
    assert b"connect-src 'self' https://hub.example http://[::1]:8443;" in (policy or b"")


@pytest.mark.parametrize("origin", ["*", "hub.example", "https://hub.example/", "https://a; x *", "https://a b"])
def test_what_is_no_origin_is_said(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin; one looks like"):
        DebugPage([origin])

"""What is said when nothing else is."""

from __future__ import annotations

import pytest
from twisted.web import server
from twisted.web.resource import NoResource, Resource

from hardhttp.testing import Rig
from tests.web.saying import GET, Says, say


def test_a_method_that_is_known_and_not_allowed() -> None:
    """RFC 9110, 15.5.6: it says what is."""
    with Rig(Says(lambda request: b"")) as rig:
        (response,) = rig.exchange(say(b"DELETE"))
        assert response.status == 405
        assert set((response.get(b"allow") or b"").split(b", ")) == {b"GET", b"HEAD", b"POST"}
        assert b"<h1>405 Method Not Allowed</h1>" in response.body


@pytest.mark.parametrize("method", [b"BREW", b"get", b"PROPFIND"])
def test_a_method_nobody_knows(method: bytes) -> None:
    with Rig(Says(lambda request: b"")) as rig:
        (response,) = rig.exchange(say(method))
        assert response.status == 501
        assert response.get(b"allow") is None


def test_a_method_only_the_resource_knows() -> None:
    class Pot(Resource):
        isLeaf = True

        def render_BREW(self, request: server.Request) -> bytes:
            return b"brewing"

    with Rig(Pot()) as rig:
        assert rig.exchange(say(b"BREW"))[0].body == b"brewing"


def test_nothing_of_the_peers_is_in_a_page() -> None:
    with Rig(Resource()) as rig:
        for target in (b"/<script>", b"/?<script>"):
            assert b"<script>" not in rig.exchange(say(target=target))[0].body
        assert b"<script>" not in rig.exchange(say(b"X<script>".replace(b"<", b"").replace(b">", b"")))[0].body


def test_a_page_is_whole_and_says_its_type() -> None:
    with Rig(NoResource()) as rig:
        (response,) = rig.exchange(GET)
        assert response.status == 404
        assert response.complete


def test_options_star() -> None:
    with Rig(Says(lambda request: b"")) as rig:
        (response,) = rig.exchange(say(b"OPTIONS", b"*"))
        assert (response.status, response.body) == (200, b"")

"""What one sets on a site and sees of it, and its trees."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.web import server
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from hardhttp import Limits, Request, Site
from hardhttp.testing import Rig
from tests.web.saying import GET, Says, say

HELLO = Says(lambda request: b"hello")


# -- trees -------------------------------------------------------------------------------------


def test_a_tree_is_walked_as_twisted_web_walks_it() -> None:
    def where(request: Any) -> bytes:
        return repr((request.prepath, request.postpath, request.sitepath)).encode()

    class Leafless(Resource):
        def getChild(self, name: bytes, request: Any) -> Any:
            return self

        def render_GET(self, request: Any) -> bytes:
            return where(request)

    root = Resource()
    root.putChild(b"leaf", Says(where))
    root.putChild(b"any", Leafless())
    root.putChild(b"", Says(lambda request: b"root"))
    with Rig(root) as rig:
        for target, found in [
            (b"/leaf", "([b'leaf'], [], [])"),
            (b"/leaf/a/b%2Fc/", "([b'leaf'], [b'a', b'b/c', b''], [])"),
            (b"/any/a//b", "([b'any', b'a', b'', b'b'], [], [])"),
            (b"/%6Ceaf?x=/y", "([b'leaf'], [], [])"),
            (b"/", "root"),
        ]:
            assert rig.exchange(say(target=target))[0].body == found.encode()
        assert rig.exchange(say(target=b"/nothing"))[0].status == 404


def test_a_tree_of_resources_that_are_none_of_twisted_webs() -> None:
    @implementer(IResource)
    class Own:
        isLeaf = False

        def __init__(self, name: bytes) -> None:
            self.name = name

        def getChildWithDefault(self, name: bytes, request: Any) -> Any:
            return Own(self.name + b">" + name)

        def putChild(self, path: bytes, child: IResource) -> None: ...

        def render(self, request: Any) -> bytes:
            return self.name

    with Rig(Own(b"root")) as rig:  # type: ignore[arg-type]
        assert rig.exchange(say(target=b"/a/b"))[0].body == b"root>a>b"
        assert rig.exchange(say(b"POST", b"/a/b", b"body"))[0].body == b"root>a>b"


@pytest.mark.parametrize("fails", ["getChild", "render"])
def test_a_failure_anywhere_in_a_tree_is_one_response(fails: str) -> None:
    def fail(*_: object) -> Any:
        raise LookupError("in the tree")

    broken = Resource()
    setattr(broken, fails, fail)
    root = Resource()
    root.putChild(b"broken", broken)
    root.putChild(b"whole", HELLO)
    with Rig(root) as rig:
        first, second = rig.exchange(
            say(target=b"/broken/x" if fails == "getChild" else b"/broken"), say(target=b"/whole")
        )
        assert (first.status, second.body) == (500, b"hello")
        assert len(rig.flush()) == 1


# -- twisted.web's arguments -------------------------------------------------------------------


def test_it_is_a_site() -> None:
    site = Site(HELLO, reactor=Clock())
    assert isinstance(site, server.Site)
    assert site.resource is HELLO
    assert site.requestFactory is Request
    assert (site.displayTracebacks, site.sessions) == (False, {})
    assert site.http2
    assert site.acceptableProtocols() == [b"h2", b"http/1.1"]
    assert not Site(HELLO, reactor=Clock(), http2=False).http2


def test_arguments_by_place_as_twisted_web_takes_them(tmp_path: Any) -> None:
    path = str(tmp_path / "log").encode()
    clock = Clock()
    site = Site(HELLO, None, path, 7, None, clock)
    assert (site.limits.idle_seconds, site.reactor) == (7, clock)
    assert Site(HELLO, reactor=clock, timeout=None).limits == Limits()
    assert Site(HELLO, reactor=clock, timeout=9, limits=Limits(head_seconds=3)).limits == Limits(
        head_seconds=3, idle_seconds=9
    )


# -- limits and hooks --------------------------------------------------------------------------


def test_limits_replaced_while_running() -> None:
    with Rig(Says(lambda request: b"%d" % len(request.content.read()))) as rig:
        peer = rig.connect()
        peer.send(say(b"POST", body=b"x" * 100))
        rig.site.limits = attrs.evolve(rig.site.limits, max_body_bytes=99, max_connections=1)
        peer.send(say(b"POST", body=b"x" * 99))
        assert rig.connect().responses()[0].status == 503
        rig.site.limits = attrs.evolve(rig.site.limits, idle_seconds=5)
        peer.send(say(b"POST", body=b"x" * 100))
        assert [response.status for response in peer.responses()] == [200, 200, 413]


def test_on_accept_may_refuse() -> None:
    asked: list[Any] = []

    def hook(address: Any) -> bool | None:
        asked.append(address)
        return False if address.host == "192.0.2.1" else None

    with Rig(HELLO) as rig:
        rig.site.on_accept = hook
        assert rig.site.on_accept is hook
        refused = rig.connect("192.0.2.1")
        (response,) = refused.responses()
        assert (response.status, response.reason) == (503, "accept-hook")
        refused.half_close()
        assert rig.exchange(GET)[0].body == b"hello"
        assert [(type(address), address.host) for address in asked] == [
            (IPv4Address, "192.0.2.1"),
            (IPv4Address, "127.0.0.1"),
        ]
        assert (rig.site.statistics.rejected, rig.site.statistics.accepted) == (1, 1)


def test_on_accept_that_fails_refuses_and_costs_nothing_else() -> None:
    def hook(address: Any) -> bool:
        raise LookupError("in a hook")

    with Rig(HELLO) as rig:
        rig.site.on_accept = hook
        assert rig.connect().responses()[0].status == 503
        assert len(rig.flush()) == 1
        rig.site.on_accept = None
        assert rig.exchange(GET)[0].status == 200


# -- what one sees -----------------------------------------------------------------------------


def test_statistics() -> None:
    def answer(request: Any) -> bytes:
        if request.path == b"/broken":
            raise LookupError
        request.setResponseCode(int(request.path[1:]))
        return b"body"

    with Rig(Says(answer)) as rig:
        site = rig.site
        peer = rig.connect()
        for target in (b"/200", b"/201", b"/302", b"/404", b"/broken"):
            peer.send(say(target=target))
        peer.send(say(b"HEAD", b"/200"), say(b"BREW", b"/200"))
        rig.exchange(b"garbage\r\n\r\n")
        rig.advance(1)
        figures = site.statistics.snapshot()
        assert figures["requests_by_method"] == {"GET": 5, "HEAD": 1, "other": 2}
        assert figures["responses_by_class"] == {"2xx": 3, "3xx": 1, "4xx": 2, "5xx": 2}
        assert (figures["accepted"], figures["rejected"], figures["errors"]) == (2, 0, 1)
        assert figures["refused_by_reason"] == {"bad-request-line": 1}
        assert figures["requests"] == 8
        assert figures["requests_per_second"] == pytest.approx(8)
        assert figures["uptime_seconds"] == 1
        assert figures["peak_connections"] == 2
        assert figures["bytes_out"] == sum(len(peer.received) for peer in rig.peers)
        assert figures["bytes_in"] > 0
        rig.flush()
        site.statistics.reset()
        rig.advance(1)
        figures = site.statistics.snapshot()
        assert (figures["requests"], figures["accepted"], figures["errors"], figures["bytes_out"]) == (0, 0, 0, 0)
        assert figures["uptime_seconds"] == 1
        assert figures["peak_connections"] == site.connection_count  # what is open stays open


def test_connection_count() -> None:
    with Rig(HELLO) as rig:
        peers = [rig.connect() for _ in range(3)]
        assert rig.site.connection_count == 3
        peers[0].half_close()
        assert rig.site.connection_count == 2
        assert rig.site.ledger.snapshot()["connections"] == 2


def test_cleanup_idle_connections_by_hand() -> None:
    with Rig(HELLO, limits=Limits(idle_seconds=10)) as rig:
        old = rig.connect()
        old.send(GET)
        young = rig.connect()  # it has until head_seconds
        assert rig.site.cleanup_idle_connections() == 0
        rig.clock.rightNow += 11  # time passes, and no sweep has come
        assert rig.site.cleanup_idle_connections() == 1
        rig.clock.turn()
        assert (old.closed, young.closed) == (True, False)
        assert rig.site.statistics.snapshot()["reaped_by_reason"] == {"idle": 1}


def test_the_access_log_is_called_with_each_finished_request_and_may_fail() -> None:
    seen: list[tuple[bytes, int, int]] = []

    def log(request: Any) -> None:
        seen.append((request.path, request.code, request.sentLength))
        if len(seen) == 2:
            raise OSError("no space")

    with Rig(HELLO) as rig:
        rig.site.access_log = log
        responses = rig.exchange(say(target=b"/1"), say(target=b"/2"), say(target=b"/3"))
        assert [response.body for response in responses] == [b"hello"] * 3
        assert seen == [(b"/1", 200, 5), (b"/2", 200, 5), (b"/3", 200, 5)]
        assert [failure.type for failure in rig.flush()] == [OSError]
        rig.site.access_log = None
        rig.exchange(GET)
        assert len(seen) == 3


def test_types_an_application_makes_up_are_not_kept_without_bound() -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"text/x-" + request.path[1:])
        return b"body"

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        for i in range(500):
            peer.send(say(target=b"/%d" % i))
        kinds = [response.get(b"content-type") for response in peer.responses()]
        assert kinds == [b"text/x-%d" % i for i in range(500)]
        assert len(rig.site._preambles) <= 64
        rig.advance(1)
        peer.send(say(target=b"/one"))
        assert peer.responses()[-1].get(b"date") == b"Tue, 14 Nov 2023 22:13:21 GMT"

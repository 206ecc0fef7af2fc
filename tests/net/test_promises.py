"""Pushes: what a client is promised, in which order, within whose bounds, and what becomes of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Hints, Limits, Link
from hardhttp.errors import Reason
from hardhttp.net.promises import MAX_REFUSED, MAX_REMEMBERED
from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.wire.http2 import FrameCutter, Kind
from hardhttp.wire.push import MAX_PUSHES
from tests.web.saying import Says

STYLE = Link("/app.css", "preload", {"as": "style"})
FIELDS = [
    (b"accept-language", b"de"),
    (b"user-agent", b"test"),
    (b"cookie", b"session=secret"),
    (b"authorization", b"Basic secret"),
    (b"referer", b"http://a/"),
]


def taking(rig: Rig, settings: Mapping[SettingCodes, int] = {}) -> HTTP2Peer:
    """A client that takes pushes."""
    return HTTP2Peer(rig, settings={SettingCodes.ENABLE_PUSH: 1, **settings})


def styles(count: int, start: int = 0) -> list[Link]:
    return [Link(f"/s{number}.css", "preload", {"as": "style"}) for number in range(start, start + count)]


class Site(Resource):
    """A page that hints, and whatever else is asked for; ``asked`` are the requests."""

    isLeaf = True

    def __init__(self, *links: Link, answer: Any = b"p {}", **hinted: Any) -> None:
        super().__init__()
        self.links, self.answer, self.hinted = links or (STYLE,), answer, hinted
        self.asked: list[Any] = []

    def render(self, request: Any) -> Any:
        self.asked.append(request)
        if request.path == b"/":
            request.hints(self.links, **self.hinted)
            return b"page"
        return self.answer(request) if callable(self.answer) else self.answer

    @property
    def paths(self) -> list[bytes]:
        return [request.path for request in self.asked]


def asked(number: int) -> bytes:
    """GET of the page, on a stream of this number."""
    head = b"\x82\x86\x84\x01\x01a"
    return len(head).to_bytes(3) + b"\x01\x05" + number.to_bytes(4) + head


def frames(peer: HTTP2Peer) -> list[tuple[Kind, int]]:
    """Kinds and streams of what has come, settings and windows apart."""
    cut = FrameCutter().cut(peer.received)
    return [(Kind(kind), stream) for kind, _, stream, _ in cut if kind in (Kind.HEADERS, Kind.DATA, 3, 5)]


def test_a_promise_comes_first_and_is_kept_by_the_same_site() -> None:
    site = Site()
    with Rig(site) as rig:
        peer = taking(rig)
        number = peer.request(b"GET", b"/", FIELDS)
        (promised,) = peer.streams[number].promised.values()
        assert promised == [
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/app.css"),
            (b":authority", b"a"),
            (b"accept-language", b"de"),
            (b"user-agent", b"test"),
        ]
        response = peer.response(2)
        assert (response.status, response.body, response.complete) == (200, b"p {}", True)
        assert peer.response(number).body == b"page"
        assert frames(peer)[0] == (Kind.PUSH_PROMISE, 1)
        pushed = site.asked[1]
        assert (pushed.uri, pushed.getHeader(b"host"), pushed.getHeader(b"cookie")) == (b"/app.css", b"a", None)
        assert rig.site.statistics.snapshot()["pushes"] == 1
        assert rig.site.ledger.snapshot()["requests"] == 0


def test_promises_go_before_a_103_too() -> None:
    with Rig(Site(to="always")) as rig:
        peer = taking(rig)
        number = peer.request(b"GET", b"/")
        assert frames(peer)[:3] == [(Kind.PUSH_PROMISE, 1), (Kind.HEADERS, 1), (Kind.HEADERS, 1)]
        assert peer.streams[number].interim == [103]


def test_what_is_promised_is_asked_for_when_the_handler_has_returned() -> None:
    """It is no call within a call: the application is not entered twice."""
    depth: list[int] = [0]

    def answer(request: Any) -> bytes:
        assert depth == [0]
        depth[0] += 1
        request.hints([STYLE])
        depth[0] -= 1
        return b""

    with Rig(Says(answer)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert peer.response(2).status == 200


def test_hints_that_come_later_are_pushed_too() -> None:
    waits: list[Any] = []

    def answer(request: Any) -> Any:
        if request.path != b"/":
            return b"p {}"
        waits.append(request)
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = taking(rig)
        number = peer.request(b"GET", b"/")
        waits[0].hints([STYLE])
        assert peer.response(2).body == b"p {}"
        waits[0].write(b"half")
        waits[0].hints(styles(1))  # too late
        waits[0].finish()
        assert peer.response(number).body == b"half"
        assert len(peer.streams[number].promised) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {SettingCodes.ENABLE_PUSH: 0},
        {SettingCodes.MAX_CONCURRENT_STREAMS: 0},
        {SettingCodes.MAX_HEADER_LIST_SIZE: 100},
    ],
)
def test_who_does_not_take_pushes_gets_none(settings: Mapping[SettingCodes, int]) -> None:
    site = Site()
    with Rig(site) as rig:
        peer = taking(rig, settings)
        for _ in range(3):
            assert peer.response(peer.request(b"GET", b"/")).body == b"page"
        assert site.paths == [b"/"] * 3
        assert rig.site.statistics.pushes == 0


def test_a_client_that_changes_its_mind() -> None:
    site = Site(*styles(1))
    with Rig(site) as rig:
        peer = taking(rig)
        peer.wire.update_settings({SettingCodes.ENABLE_PUSH: 0})
        peer.pump()
        peer.request(b"GET", b"/")
        assert site.paths == [b"/"]
        peer.wire.update_settings({SettingCodes.ENABLE_PUSH: 1})
        peer.pump()
        peer.request(b"GET", b"/")
        assert site.paths == [b"/", b"/", b"/s0.css"]


def test_both_bounds_on_how_many_there_are_at_once() -> None:
    waiting = [Deferred[bytes]() for _ in range(6)]
    left = iter(waiting)
    site = Site(*styles(6), answer=lambda request: next(left))
    with Rig(site, limits=Limits(max_pushes=2)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert site.paths == [b"/", b"/s0.css", b"/s1.css"]
        peer.request(b"GET", b"/")
        assert len(site.asked) == 4
        waiting[0].callback(b"")
        peer.request(b"GET", b"/")
        assert site.paths[-1] == b"/s2.css"
        other = taking(rig, {SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        other.request(b"GET", b"/")
        assert site.paths[-2:] == [b"/", b"/s0.css"]
    with Rig(Site(), limits=Limits(max_pushes=0)) as rig:
        taking(rig).request(b"GET", b"/")
        assert rig.site.statistics.pushes == 0


def test_pushes_take_no_place_of_the_client_s_own_requests() -> None:
    site = Site(*styles(5), answer=lambda request: NOT_DONE_YET)
    with Rig(site, limits=Limits(max_streams=3)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert len(peer.protocol.streams) == 5
        numbers = [peer.request(b"GET", b"/wait") for _ in range(3)]
        assert [peer.streams[number].code for number in numbers] == [None, None, None]
        channel = peer.protocol
        channel.dataReceived(asked(9))
        assert 9 not in channel.streams
        assert rig.site.statistics.refused[Reason.STREAMS] == 1


def test_a_request_has_so_many_pushes_and_a_target_one_a_connection() -> None:
    site = Site(*styles(MAX_PUSHES + 3))
    with Rig(site) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert len(site.asked) == 1 + MAX_PUSHES
        peer.request(b"GET", b"/")
        assert len(site.asked) == 2 + MAX_PUSHES
        peer.response(peer.request(b"GET", b"/s1.css"))  # who wants it again asks
        for number in range(MAX_REMEMBERED):
            site.links = tuple(styles(1, 100 + number))
            peer.request(b"GET", b"/")
        assert rig.site.statistics.pushes == MAX_REMEMBERED


def test_a_promise_causes_no_other() -> None:
    def answer(request: Any) -> bytes:
        request.hints(styles(1, len(paths)), to="always")
        paths.append(request.path)
        return b""

    paths: list[bytes] = []
    with Rig(Says(answer)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert paths == [b"/", b"/s0.css"]
        assert peer.streams[2].interim == []
        assert peer.response(2).status == 200


def test_get_alone() -> None:
    site = Site()
    with Rig(site) as rig:
        peer = taking(rig)
        for method in (b"HEAD", b"POST"):
            peer.request(method, b"/")
        assert site.paths == [b"/", b"/"]


def test_none_for_a_proxy_that_speaks_for_many() -> None:
    site = Site()
    with Rig(site) as rig:
        rig.site.trusted_proxies = ["127.0.0.1"]
        taking(rig).request(b"GET", b"/")
        assert site.paths == [b"/"]


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize("why", ["401", "302", "cookie", "fails"])
def test_what_may_not_be_for_the_client_is_not_pushed(why: str, way: str) -> None:
    """The client asks by itself then, with its cookies."""
    ends: list[Any] = []

    def answer(request: Any) -> Any:
        request.notifyFinish().addBoth(ends.append)
        if why == "fails":
            raise LookupError("as it should")
        if why == "cookie":
            request.addCookie(b"session", b"new")
        else:
            request.setResponseCode(int(why))
        if way == "whole":
            return b"no"
        request.write(b"no")
        request.write(b"more")
        return NOT_DONE_YET

    with Rig(Site(answer=answer)) as rig:
        peer = taking(rig)
        number = peer.request(b"GET", b"/")
        assert peer.response(number).body == b"page"
        pushed = peer.streams[2]
        assert (pushed.headers, pushed.body, pushed.code) == (None, b"", ErrorCodes.CANCEL)
        assert len(ends) == 1
        assert not peer.protocol.streams
        rig.flush()


def test_the_client_cancels_a_push() -> None:
    ends: list[Any] = []

    def answer(request: Any) -> int:
        request.notifyFinish().addErrback(lambda failure: ends.append(request.path))
        return NOT_DONE_YET

    site = Site(*styles(3), answer=answer)
    with Rig(site) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        peer.cancel(4)
        assert ends == [b"/s1.css"]
        assert sorted(peer.protocol.streams) == [2, 6]
        peer.cancel(2)
        peer.cancel(6)
        assert rig.site.ledger.snapshot()["requests"] == 0
        rig.advance(121)
        peer.pump()
        assert peer.closed  # it was idle


def test_cancelled_before_it_was_asked_for() -> None:
    """Promise and reset cross within one turn."""
    requests: list[Any] = []

    def answer(request: Any) -> int:
        requests.append(request)
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        channel = peer.protocol
        requests[0].hints([STYLE])
        assert sorted(channel.streams) == [1, 2]
        channel.dataReceived(b"\0\0\4\3\0" + struct.pack(">II", 2, ErrorCodes.CANCEL))
        assert sorted(channel.streams) == [1]
        assert len(requests) == 1
        requests[0].finish()


def test_windows_hold_pushes_back_and_a_shut_one_ends_them() -> None:
    site = Site(answer=b"x" * 100_000)
    with Rig(site) as rig:
        peer = taking(rig, {SettingCodes.INITIAL_WINDOW_SIZE: 10})
        peer.takes_bodies = False
        number = peer.request(b"GET", b"/")
        assert peer.response(number).body == b"page"
        assert peer.streams[2].body == b"x" * 10
        assert peer.protocol.queued == 100_000 - 10
        rig.advance(62)
        peer.pump()
        assert peer.streams[2].code == ErrorCodes.CANCEL
        assert peer.protocol.queued == 0
        assert rig.site.statistics.refused[Reason.SEND_RATE] == 1


def test_the_server_stops_while_a_push_is_under_way() -> None:
    waiting: Deferred[bytes] = Deferred()
    site = Site(answer=lambda request: waiting if request.path == b"/app.css" else NOT_DONE_YET)
    with Rig(site) as rig:
        peer = taking(rig)
        open_one = peer.request(b"GET", b"/open")
        peer.request(b"GET", b"/")
        rig.site.drain()
        site.asked[0].hints(styles(1))
        assert peer.streams[open_one].promised == {}  # nobody is promised anything any more
        site.asked[0].finish()
        waiting.callback(b"p {}")
        assert peer.response(2).body == b"p {}"
        rig.advance(2)
        assert peer.closed


@pytest.mark.parametrize("repeat", [True, False])
def test_link_fields_of_a_final_response(repeat: bool) -> None:
    def answer(request: Any) -> bytes:
        if request.path == b"/":
            request.setHeader(b"Link", b'</b.js>; rel=preload; as=script, </c.js>; rel="preload"; nopush')
        return b"it"

    for push_preloads, paths in ((True, [b"/a.css", b"/b.js"]), (False, [b"/a.css"])):
        rules = {"/": [Link("/a.css", "preload", {"as": "style"})]}
        with Rig(Hints(Says(answer), rules, repeat=repeat, push_preloads=push_preloads)) as rig:
            peer = taking(rig)
            number = peer.request(b"GET", b"/")
            promised = peer.streams[number].promised.values()
            assert [dict(fields)[b":path"] for fields in promised] == paths
            assert {kind for kind, stream in frames(peer)[: len(paths)]} == {Kind.PUSH_PROMISE}
            assert [peer.response(2 + 2 * index).body for index in range(len(paths))] == [b"it"] * len(paths)


def test_no_push_with_an_error_page() -> None:
    def answer(request: Any) -> bytes:
        request.setResponseCode(500)
        request.setHeader(b"Link", b"</b.js>; rel=preload; as=script")
        return b""

    with Rig(Hints(Says(answer), push_preloads=True)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert rig.site.statistics.pushes == 0


def test_a_promise_that_says_too_much_is_not_made() -> None:
    """A frame's worth of user agent, or a target longer than may be asked for."""
    site = Site(Link("/" + "x" * 100, "preload", {"as": "style"}))
    with Rig(site, limits=Limits(max_target_bytes=100)) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/")
        assert site.paths == [b"/"]
    site = Site()
    with Rig(site) as rig:
        peer = taking(rig)
        peer.request(b"GET", b"/", [(b"user-agent", b"x" * 16_380)])
        assert site.paths == [b"/"]


# -- floods -------------------------------------------------------------------------------------


def test_a_client_that_resets_each_push_gets_no_more() -> None:
    """Also when it does so after the whole of it has come."""
    for answer in (b"", lambda request: NOT_DONE_YET):
        site = Site(answer=answer)
        with Rig(site) as rig:
            peer = taking(rig)
            for number in range(100):
                site.links = tuple(styles(1, number))
                peer.request(b"GET", b"/")
                if 2 + 2 * number in peer.streams:
                    peer.send(b"\0\0\4\3\0" + struct.pack(">II", 2 + 2 * number, ErrorCodes.CANCEL))
            assert rig.site.statistics.pushes == MAX_REFUSED
            assert peer.goaways == []
            assert rig.site.ledger.snapshot()["requests"] == 0


def test_pushes_and_resets_in_one_read() -> None:
    """The client guesses our numbers."""
    site = Site(*styles(8))
    with Rig(site, limits=Limits(max_stream_resets=20)) as rig:
        peer = taking(rig)
        resets = b"".join(b"\0\0\4\3\0" + struct.pack(">II", number, ErrorCodes.CANCEL) for number in range(2, 18, 2))
        peer.send(asked(1) + resets)
        assert site.paths == [b"/"]  # none was asked for
        assert not peer.protocol.streams
        peer.send(b"".join(asked(number) + resets for number in range(3, 99, 2)))
        assert len(site.asked) < 60
        rig.advance(6)
        assert peer.closed
        assert rig.site.statistics.closed[Reason.STREAM_RESETS] == 1


def test_the_client_may_not_speak_on_a_pushed_stream() -> None:
    site = Site(answer=lambda request: NOT_DONE_YET)
    for said in (b"\0\0\1\0\1\0\0\0\2x", b"\0\0\1\1\5\0\0\0\2\x82"):
        with Rig(site) as rig:
            peer = taking(rig)
            peer.request(b"GET", b"/")
            peer.send(said)
            channel = peer.protocol
            assert 2 not in channel.streams
            assert rig.site.ledger.snapshot()["requests"] == 0

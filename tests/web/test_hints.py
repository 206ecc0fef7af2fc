"""Early hints over HTTP/1.1: who gets them, when, and what the final response says."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Compressed, Link, RateLimited
from hardhttp.net.channel import Channel
from hardhttp.testing import Rig, every_split
from hardhttp.web.hints import Hints
from hardhttp.wire.links import MAX_LINKS, parse_links
from tests.web.ontwisted import OnTwisted
from tests.web.saying import Says, say

STYLE = Link("/app.css", "preload", {"as": "style"})
FONTS = Link("https://fonts.example", "preconnect", {"crossorigin": True})
LINK = b"</app.css>; rel=preload; as=style"
BROWSER = {"Sec_Fetch_Mode": b"navigate", "Connection": b"keep-alive"}
NAVIGATE = say(**BROWSER)
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: " + LINK + b"\r\n\r\n"


def page(request: Any) -> bytes:
    return b"page"


def hinting(*links: Link, **how: Any) -> Says:
    def answer(request: Any) -> bytes:
        request.hints(links or [STYLE], **how)
        return b"page"

    return Says(answer)


def statuses(
    resource: Any, request: bytes = NAVIGATE, methods: tuple[bytes, ...] = (), **set_on_site: Any
) -> list[int]:
    with Rig(resource) as rig:
        for name, value in set_on_site.items():
            setattr(rig.site, name, value)
        return [response.status for response in rig.exchange(request, methods=methods)]


def final_links(resource: Any, request: bytes = NAVIGATE) -> list[Link]:
    with Rig(resource) as rig:
        *_, response = rig.exchange(request)
        return parse_links([value for name, value in response.headers if name == b"link"])


# -- when ---------------------------------------------------------------------------------------


def test_c01_hints_arrive_before_the_handler_answers() -> None:
    waiting: Deferred[bytes] = Deferred()
    for resource in (Hints(Says(lambda request: waiting), {"/": [STYLE]}),):
        with Rig(resource) as rig:
            peer = rig.connect()
            peer.send(NAVIGATE)
            assert peer.received == EARLY
            waiting.callback(b"page")
            early, final = peer.responses()
            assert (early.status, final.status, final.body) == (103, 200, b"page")
            assert early.get(b"link") == final.get(b"link") == LINK
            assert rig.site.statistics.snapshot()["hints_sent"] == 1


def test_c01_a_rule_is_told_before_the_handler_is_called() -> None:
    seen = []

    def answer(request: Any) -> bytes:
        seen.append(peer.received)
        return b"page"

    with Rig(Hints(Says(answer), {"/": [STYLE]})) as rig:
        peer = rig.connect()
        peer.send(NAVIGATE)
        assert seen == [EARLY]


def test_the_one_pipelined_in_front_is_answered_first() -> None:
    """What waits to be sent together does not keep a hint waiting."""
    waiting: Deferred[bytes] = Deferred()
    tree = Resource()
    tree.putChild(b"first", Says(page))
    seen = []

    def answer(request: Any) -> Deferred[bytes]:
        seen.append(peer.received)
        return waiting

    tree.putChild(b"second", Hints(Says(answer), {"": [STYLE]}))
    with Rig(tree) as rig:
        peer = rig.connect()
        peer.send(say(target=b"/first") + say(target=b"/second", **BROWSER))
        (before,) = seen
        assert before.endswith(b"\r\n\r\npage" + EARLY)
        waiting.callback(b"second")
        assert [response.status for response in peer.responses()] == [200, 103, 200]


def test_at_every_split_of_the_request() -> None:
    for pieces in every_split(NAVIGATE):
        with Rig(Hints(Says(page), {"/": [STYLE]})) as rig:
            assert [response.status for response in rig.exchange(*pieces)] == [103, 200]


@pytest.mark.parametrize("way", ["write", "finish", "gone"])
def test_late_hints_are_dropped_and_counted(way: str) -> None:
    kept = []

    def answer(request: Any) -> Any:
        kept.append(request)
        if way == "write":
            request.write(b"some")
        elif way == "finish":
            request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(NAVIGATE)
        if way == "gone":
            peer.reset()
        before = peer.received
        assert kept[0].hints([STYLE], to="always") is False
        assert peer.received == before
        assert rig.site.statistics.hints_late == 1
        assert rig.site.statistics.hints_sent == 0
        if way == "write":
            kept[0].channel.send_informational(103, {b"Link": (LINK,)})
            assert peer.received == before
            kept[0].finish()


def test_not_on_a_connection_that_was_upgraded() -> None:
    class Other:
        def dataReceived(self, data: bytes) -> None: ...
        def connectionLost(self, reason: Any) -> None: ...
        def makeConnection(self, transport: Any) -> None: ...

    kept = []

    def answer(request: Any) -> Any:
        kept.append(request)
        request.channel.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        request.channel.upgrade(Other())
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(NAVIGATE)
        before = peer.received
        kept[0].hints([STYLE], to="always")
        assert peer.received == before
        peer.reset()


def test_before_a_body_is_invited() -> None:
    with Rig(Hints(Says(page), {"/": [STYLE]})) as rig:
        peer = rig.connect()
        head = say(b"GET", body=b"four", **BROWSER, Expect=b"100-continue")
        peer.send(head[:-4])
        peer.send(b"four")
        assert sorted(response.status for response in peer.responses()) == [100, 103, 200]


# -- to whom ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (say(), [200]),
        (say(Sec_Fetch_Mode=b"cors", Connection=b"keep-alive"), [200]),
        (say(Sec_Fetch_Mode=b"no-cors", Connection=b"keep-alive"), [200]),
        (say(**BROWSER), [103, 200]),
        (say(Sec_Fetch_Mode=b"navigate", Connection=b"x, Keep-Alive"), [103, 200]),
        (say(Sec_Fetch_Mode=b"navigate"), [200]),  # as nginx asks with keep-alive connections
        (say(Sec_Fetch_Mode=b"navigate", Connection=b"close"), [200]),  # and without
        *((say(**BROWSER, **{name: b"x"}), [200]) for name in ("Via", "Forwarded", "X_Forwarded_For")),
    ],
)
def test_auto_is_for_browsers_that_navigate(request_: bytes, expected: list[int]) -> None:
    for resource in (Hints(Says(page), {"/": [STYLE]}), hinting()):
        assert statuses(resource, request_) == expected


def test_auto_is_not_for_trusted_proxies() -> None:
    assert statuses(hinting(), trusted_proxies=["127.0.0.1"]) == [200]
    assert statuses(hinting(to="always"), trusted_proxies=["127.0.0.1"]) == [103, 200]


def test_policies() -> None:
    assert statuses(hinting(), say(), early_hints_to="always") == [103, 200]
    assert statuses(hinting(), NAVIGATE, early_hints_to="never") == [200]
    assert statuses(hinting(to="always"), say(), early_hints_to="never") == [103, 200]
    assert statuses(Hints(Says(page), {"/": [STYLE]}, to="always"), say()) == [103, 200]
    with pytest.raises(ValueError, match="auto, always or never"):
        Hints(Says(page), {}, to="some")
    with Rig(hinting(to="some")) as rig:
        assert rig.exchange(NAVIGATE)[0].status == 500
        assert "auto, always or never" in str(rig.flush()[0].value)


def test_never_to_http_1_0() -> None:
    old = b"GET / HTTP/1.0\r\nSec-Fetch-Mode: navigate\r\n\r\n"
    assert statuses(hinting(to="always"), old) == [200]
    assert final_links(hinting(to="always"), old) == [STYLE]


def test_never_to_head_whose_answer_has_the_links_that_get_has() -> None:
    request = say(b"HEAD", **BROWSER)
    with Rig(Hints(Says(page), {"/": [STYLE]}, to="always")) as rig:
        (response,) = rig.exchange(request, methods=[b"HEAD"])
        assert response.get(b"link") == LINK


def test_rules_are_for_get() -> None:
    request = say(b"POST", body=b"a=b", **BROWSER)
    assert statuses(Hints(Says(page), {"/": [STYLE]}), request) == [200]
    assert statuses(hinting(), request) == [103, 200]


# -- what ---------------------------------------------------------------------------------------


def test_links_are_on_the_final_response_whoever_was_told() -> None:
    for request in (NAVIGATE, say()):
        assert final_links(Hints(Says(page), {"/": [STYLE, FONTS]}), request) == [STYLE, FONTS]
        assert final_links(Hints(Says(page), {"/": [STYLE]}, repeat=False), request) == []
        assert final_links(hinting(repeat=False), request) == []


@pytest.mark.parametrize("set_link", ["setHeader", "addRawHeader"])
def test_what_the_application_sets_stays_as_it_is(set_link: str) -> None:
    own = [b'</2>; rel=next; title="1, 2"', b"</app.css>; rel=preload; as=style; nopush"]

    def answer(request: Any) -> bytes:
        request.hints([STYLE, FONTS])
        if set_link == "setHeader":
            request.setHeader(b"link", own[1])
        else:
            for value in own:
                request.responseHeaders.addRawHeader(b"Link", value)
        return b"page"

    with Rig(Says(answer)) as rig:
        *_, response = rig.exchange(NAVIGATE)
        values = [value for name, value in response.headers if name == b"link"]
        assert values == [*(own[1:] if set_link == "setHeader" else own), FONTS.encode()]


def streamed(request: Any) -> Any:
    request.write(b"pa")
    request.write(b"ge")
    request.finish()
    return NOT_DONE_YET


def typed(request: Any) -> bytes:
    request.setHeader(b"Content-Type", b"text/plain")
    request.addCookie("a", "b")
    return b"page"


@pytest.mark.parametrize("answer", [page, streamed, typed, lambda request: b""])
def test_however_the_response_is_made(answer: Callable[[Any], Any]) -> None:
    for around in (lambda r: r, lambda r: Compressed(r), lambda r: RateLimited(r, "9/s")):
        assert final_links(around(Hints(Says(answer), {"/": [STYLE]}))) == [STYLE]
        assert final_links(Hints(around(Says(answer)), {"/": [STYLE]})) == [STYLE]


def test_not_on_error_pages() -> None:
    def broken(request: Any) -> bytes:
        raise RuntimeError

    def elsewhere(request: Any) -> bytes:
        request.redirect(b"/login")
        return b""

    for answer, status in ((broken, 500), (elsewhere, 302)):
        with Rig(Hints(Says(answer), {"/": [STYLE]})) as rig:
            early, final = rig.exchange(NAVIGATE)
            assert (early.status, final.status, final.get(b"link")) == (103, status, None)
            rig.flush()


def test_nothing_is_hinted_twice_in_a_request() -> None:
    with Rig(Hints(hinting(STYLE, FONTS), {"/": [STYLE]})) as rig:
        first, second, final = rig.exchange(NAVIGATE)
        assert (first.get(b"link"), second.get(b"link")) == (LINK, FONTS.encode())
        assert final.get(b"link") == LINK + b", " + FONTS.encode()
    with Rig(Hints(hinting(), {"/": [STYLE]})) as rig:
        assert [response.status for response in rig.exchange(NAVIGATE)] == [103, 200]
        assert rig.site.statistics.hints_sent == 1

    def answer(request: Any) -> bytes:
        return b"%d %d %d" % tuple(request.hints(links) for links in ([STYLE], [FONTS], [STYLE]))

    with Rig(Says(answer)) as rig:
        assert rig.exchange(NAVIGATE)[-1].body == b"1 1 0"


def test_what_may_be_hinted() -> None:
    bad = [Link("/a", "next"), Link("/a", "preload"), Link("/a", "prefetch", {"as": "style"})]
    for link in bad:
        with Rig(hinting(link)) as rig:
            assert [response.status for response in rig.exchange(NAVIGATE)] == [500]
            (failure,) = rig.flush()
            assert "'/a' is" in str(failure.value)
    assert statuses(hinting(Link("/a", "modulepreload preload", {"as": "script"}))) == [103, 200]


@pytest.mark.parametrize("repeat", [True, False])
def test_a_request_hints_no_more_than_its_bound(repeat: bool) -> None:
    many = [Link(f"/{i}", "preload", {"as": "style"}) for i in range(MAX_LINKS + 1)]
    refused = []

    def answer(request: Any) -> bytes:
        for link in many:
            try:
                request.hints([link], repeat=repeat)
            except ValueError as error:
                refused.append(str(error))
        return b"page"

    assert statuses(Says(answer)) == [103] * MAX_LINKS + [200]
    assert len(refused) == 1
    assert "at most 64" in refused[0]


def test_a_channel_that_can_push_is_given_the_links_first(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def push(channel: Any, links: Any) -> None:
        given.append((links, peer.received))

    monkeypatch.setattr(Channel, "push", push, raising=False)
    for request, site_policy, expected in (
        (NAVIGATE, "auto", [((STYLE,), b"")]),
        (say(), "auto", [((STYLE,), b"")]),  # a 103 is not for it; whether pushes are, its settings say
        (NAVIGATE, "never", []),
    ):
        given.clear()
        with Rig(hinting()) as rig:
            rig.site.early_hints_to = site_policy
            peer = rig.connect()
            peer.send(request)
            assert given == expected


# -- by path ------------------------------------------------------------------------------------


def test_rules_are_found_as_a_router_finds_routes() -> None:
    rules = {"/": [STYLE], "/docs/{rest:path}": [FONTS], "/docs/none": [], "/n/{id:int}/{tab?}": [STYLE]}
    tree = Hints(Says(page), rules)
    found = {
        b"/": [STYLE],
        b"/?a=b": [STYLE],
        b"/docs": [],
        b"/docs/a/b": [FONTS],
        b"/docs/none": [],
        b"/%64ocs/a": [FONTS],
        b"/n/1": [STYLE],
        b"/n/1/x": [STYLE],
        b"/n/x": [],
        b"/other": [],
    }
    for target, links in found.items():
        assert final_links(tree, say(target=target, **BROWSER)) == links, target


def test_patterns_begin_where_it_is_mounted() -> None:
    tree = Resource()
    tree.putChild(b"shop", Hints(Says(page), {"": [FONTS], "/": [STYLE], "/cart": [STYLE]}))
    for target, links in ((b"/shop", [FONTS]), (b"/shop/", [STYLE]), (b"/shop/cart", [STYLE]), (b"/shop/x", [])):
        assert final_links(tree, say(target=target)) == links


# -- and nothing is left ------------------------------------------------------------------------


def test_nothing_is_left_to_the_collector() -> None:
    with Rig(Hints(hinting(FONTS), {"/": [STYLE]})) as rig:
        peer = rig.connect()
        peer.send(NAVIGATE)
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                peer.send(NAVIGATE)
            assert gc.collect() == 0
        finally:
            gc.enable()


def test_under_twisted_web_the_final_response_has_them() -> None:
    server = OnTwisted(Hints(Says(page), {"/": [STYLE], "/none": []}))
    server.send(NAVIGATE)
    assert b"103" not in server.transport.value()
    assert b"\r\nLink: " + LINK + b"\r\n" in server.transport.value()
    server.transport.clear()
    server.send(say(target=b"/none"))
    assert b"200 OK" in server.transport.value()
    assert b"Link" not in server.transport.value()

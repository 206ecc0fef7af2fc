"""``twisted.web.template`` in a Router: what a handler may return, whichever server the router is mounted under."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.template import Element, Tag, TagLoader, XMLString, renderer, slot, tags

from hardhttp.testing import Rig
from hardhttp.web.response import abort
from hardhttp.web.routing import Router
from tests.web.saying import GET
from tests.web.test_routing import ask, either

XMLNS = 'xmlns:t="http://twistedmatrix.com/ns/twisted.web.template/0.1"'
PAGE = f"<html {XMLNS} lang='en'><body><p t:render='greeting'>Hello, <t:slot name='who'/></p></body></html>"


class Greeting(Element):
    loader = XMLString(PAGE)

    def __init__(self, who: Any) -> None:
        super().__init__()
        self._who = who

    @renderer
    def greeting(self, request: Any, tag: Tag) -> Any:
        return tag.fillSlots(who=self._who)


class Failing(Element):
    def __init__(self, call: Any) -> None:
        super().__init__(TagLoader(tags.p(tags.transparent(render="part"))))
        self._call = call

    @renderer
    def part(self, request: Any, tag: Tag) -> Any:
        return self._call()


def routed(handler: Any, *, hooked: bool = False) -> Router:
    router = Router()
    router.get("/")(handler)
    if hooked:
        router.after(lambda request, response: response.headers.setRawHeaders(b"X-After", [b"1"]))
    return router


async def later(value: Any) -> Any:
    return await succeed(value)


HTML = b"text/html; charset=utf-8"
WHOLE = '<!DOCTYPE html>\n<html lang="en"><body><p>Hello, {}</p></body></html>'


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize(
    ("made", "body"),
    [
        (lambda: Greeting("<b> Gr\u00fc\u00dfe"), WHOLE.format("&lt;b&gt; Gr\u00fc\u00dfe")),
        (lambda: later(Greeting("Ada")), WHOLE.format("Ada")),
        (lambda: succeed(Greeting(succeed("Ada"))), WHOLE.format("Ada")),
        (lambda: tags.html(lang="de"), '<!DOCTYPE html>\n<html lang="de"></html>'),
        (lambda: tags.html(), "<!DOCTYPE html>\n<html></html>"),
        (lambda: tags.li(tags.a("one & all", href="/?a=1&b=2")), '<li><a href="/?a=1&amp;b=2">one &amp; all</a></li>'),
        (lambda: tags.transparent("part"), "part"),
    ],
)
def test_it_goes_out_as_html(made: Any, body: str, hooked: bool) -> None:
    response = either(routed(lambda request: made(), hooked=hooked))
    assert (response.status, response.body.decode("utf-8"), response.get(b"content-type")) == (200, body, HTML)
    assert response.get(b"x-after") == (b"1" if hooked else None)
    head = either(routed(lambda request: made(), hooked=hooked), method=b"HEAD")
    assert (head.body, head.get(b"content-length")) == (b"", b"%d" % len(body.encode("utf-8")))


def test_what_the_handler_has_set_stays() -> None:
    def handler(request: Any) -> Tag:
        request.setResponseCode(202)
        request.setHeader(b"content-type", b"application/xhtml+xml")
        return tags.p("made")

    response = either(routed(handler))
    assert (response.status, response.get(b"content-type"), response.body) == (
        202,
        b"application/xhtml+xml",
        b"<p>made</p>",
    )


def test_a_hook_and_an_error_handler_may_answer_by_one() -> None:
    router = routed(lambda request: abort(409))
    router.error(409)(lambda request, error: tags.p("a conflict"))
    router.get("/closed")(lambda request: "never")
    router.before(lambda request: tags.p("closed") if request.path == b"/closed" else None)
    response = either(router)
    assert (response.status, response.get(b"content-type"), response.body) == (409, HTML, b"<p>a conflict</p>")
    assert either(router, b"/closed").body == b"<p>closed</p>"


def test_abort_in_a_renderer() -> None:
    response = either(routed(lambda request: Failing(lambda: abort(404, "no such part"))))
    assert response.status == 404
    assert b"no such part" in response.body
    router = routed(lambda request: Failing(lambda: abort(404)))
    router.error(404)(lambda request, error: "taken")
    assert either(router).body == b"taken"


@pytest.mark.parametrize(
    "made",
    [lambda: Failing(lambda: 1 // 0), lambda: tags.p("a", slot("empty")), lambda: tags.p("a", fail(KeyError("part")))],
)
def test_one_that_fails_is_a_whole_page_of_its_own(made: Any) -> None:
    response = ask(routed(lambda request: made()), failures=1)
    assert response.status == 500
    assert b"<p>a" not in response.body
    assert b"Zero" not in response.body


def test_a_client_that_goes_ends_it_in_silence() -> None:
    cancelled = []
    waiting: list[Deferred[str]] = [Deferred(lambda _: cancelled.append(True))]
    with Rig(routed(lambda request: Greeting(waiting.pop()))) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert (peer.received, waiting) == (b"", [])
        peer.reset()
        rig.clock.turn()
        assert cancelled == [True]
        gc.collect()  # an error that nobody took is told of then, and the rig would find it

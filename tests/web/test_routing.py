"""The router: routes, groups, hooks, errors, mounting, addresses (the router's features under V)."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web import server as twisted_server
from twisted.web.resource import EncodingResourceWrapper, IResource, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hardhttp.errors import Fault, HTTPError, PeerFault, Reason
from hardhttp.interfaces import IRoutesStreams, IStreamingResource
from hardhttp.limits import Limits
from hardhttp.testing import Response, Rig, parse_responses
from hardhttp.web import routing
from hardhttp.web.patterns import Converter
from hardhttp.web.response import Response as Answer
from hardhttp.web.response import abort
from hardhttp.web.routing import SKIP, Group, RouteError, Router, delete, post, put, route
from hardhttp.web.static import StaticFiles
from tests.twistd_process import ENVIRONMENT, ROOT
from tests.web.saying import GET, Says, say

AN_ID = re.compile(rb"<code>[0-9a-f]{16}</code>")


def ask(resource: Any, path: bytes = b"/", method: bytes = b"GET", failures: int = 0, **headers: bytes) -> Response:
    """One request's answer; ``failures`` are how many are logged."""
    with Rig(resource) as rig:
        (response,) = rig.exchange(say(method, path, **headers), methods=[method])
        assert len(rig.flush()) == failures
        return response


def ask_twisted(resource: Any, *messages: bytes, methods: tuple[bytes, ...] = ()) -> list[Response]:
    """The same of ``twisted.web``'s own server."""
    site = twisted_server.Site(resource, timeout=None, reactor=Clock())
    protocol: Any = site.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    for message in messages:
        protocol.dataReceived(message)
    return parse_responses(transport.value(), methods, closed=False)[0]


def either(resource: Any, path: bytes = b"/", method: bytes = b"GET") -> Response:
    """The answer of both servers, which must be alike."""
    ours = ask(resource, path, method)
    (theirs,) = ask_twisted(resource, say(method, path), methods=(method,))
    assert (ours.status, AN_ID.sub(b"", ours.body)) == (theirs.status, AN_ID.sub(b"", theirs.body))
    names = (b"content-type", b"allow", b"location")
    assert [ours.get(name) for name in names] == [theirs.get(name) for name in names]
    return ours


def echo(request: Any, **params: Any) -> Any:
    return {"prepath": [s.decode() for s in request.prepath], "postpath": [s.decode() for s in request.postpath]} | {
        name: repr(value) for name, value in params.items()
    }


# -- routes ------------------------------------------------------------------------------------


def test_it_provides_what_it_says() -> None:
    verifyObject(IResource, Router())
    verifyObject(IRoutesStreams, Router())


def test_v_router_exact_and_param_routes_per_method() -> None:
    router = Router()

    @router.get("/users/{id:int}")
    def show(request: Any, id: int) -> Any:
        return {"id": id, "route": request.route.pattern.text, "params": dict(request.route_params)}

    @router.post("/users")
    async def create(request: Any) -> str:
        await succeed(None)
        return "made"

    @router.put("/users/{id:int}")
    def replace(request: Any, id: int) -> Deferred[bytes]:
        return succeed(b"put %d" % id)

    @router.patch("/users/{id:int}")
    def change(request: Any, id: int) -> str:
        return f"patched {id}"

    @router.delete("/users/{id:int}")
    def remove(request: Any, id: int) -> None: ...

    @router.route("/dav", methods=["PROPFIND", "get"], name="dav")
    def dav(request: Any) -> bytes:
        return request.method

    assert either(router, b"/users/5").body == b'{"id":5,"route":"/users/{id:int}","params":{"id":5}}'
    assert either(router, b"/users/5?a=b/c").status == 200
    assert either(router, b"/users", b"POST").body == b"made"
    assert either(router, b"/users/5", b"PUT").body == b"put 5"
    assert either(router, b"/users/5", b"PATCH").body == b"patched 5"
    assert either(router, b"/users/5", b"DELETE").status == 204
    assert ask(router, b"/dav", b"PROPFIND").body == b"PROPFIND"
    assert either(router, b"/dav").body == b"GET"
    assert ask(router, b"/users/x").status == 404
    assert [found.name for found in router.routes] == ["show", "create", "replace", "change", "remove", "dav"]


def test_v_router_optional_params() -> None:
    router = Router()

    @router.get("/list/{page:int?}")
    def pages(request: Any, page: int = 1) -> str:
        return f"page {page}"

    @router.get("/find/{what?}/{where?}")
    def find(request: Any, what: Any, where: Any) -> str:
        return f"{what} {where} {dict(request.route_params)}"

    @router.get("/any/{a?}")
    def anything(request: Any, **params: Any) -> str:
        return repr(params)

    assert either(router, b"/list").body == b"page 1"
    assert either(router, b"/list/3").body == b"page 3"
    assert either(router, b"/find").body == b"None None {'what': None, 'where': None}"
    assert either(router, b"/find/a").body == b"a None {'what': 'a', 'where': None}"
    assert either(router, b"/find/a/b").body == b"a b {'what': 'a', 'where': 'b'}"
    assert either(router, b"/any").body == b"{'a': None}"


def test_slashes_are_told_apart_unless_asked() -> None:
    router, helpful = Router(), Router(redirect_slashes=True)
    for one in (router, helpful):
        one.get("/a")(lambda request: "a")
        one.get("/b/{x}/")(lambda request, x: x)
        one.post("/c/")(lambda request: "c")
        one.get("/{rest:path}/"[:-1] if one is router else "/d")(lambda request, **rest: "d")
    only = Router()
    only.get("/a")(lambda request: "a")
    assert ask(only, b"/a/").status == 404
    for path, to in (
        (b"/a/?q=1&b=%2F", b"/a?q=1&b=%2F"),
        (b"/b/%C3%A9%2F", b"/b/%C3%A9%2F/"),
    ):
        response = ask(helpful, path)
        assert (response.status, response.get(b"location")) == (308, to)
        assert ask(helpful, to).status == 200
    assert ask(helpful, b"/a/", b"HEAD").status == 308
    assert ask(helpful, b"/c", b"POST").status == 404  # a body is not sent twice
    assert ask(helpful, b"/nowhere/").status == 404


@pytest.mark.parametrize("path", [b"//evil.example/", b"//evil.example", b"/\\evil.example/", b"/%5Cevil.example/"])
def test_a_redirect_for_a_slash_leads_nowhere_else(path: bytes) -> None:
    router = Router(redirect_slashes=True)
    router.get("//{x}")(lambda request, x: x)
    router.get("//{x}/{y}/")(lambda request, x, y: x)
    router.get("/{x}")(lambda request, x: x)
    response = ask(router, path)
    location = response.get(b"location")
    assert location is None or location == path.rstrip(b"/") == b"/%5Cevil.example"


def test_405_says_what_is_allowed_everywhere_the_path_leads() -> None:
    router = Router()
    router.get("/a")(echo)
    router.put("/a")(echo)
    router.post("/{x}")(echo)
    router.route("/{x:path}", methods=["PROPFIND"])(echo)
    for method in (b"DELETE", b"PATCH"):
        response = either(router, b"/a", method)
        assert response.status == 405
        assert response.get(b"allow") == b"GET, HEAD, OPTIONS, POST, PROPFIND, PUT"
    assert ask(router, b"/a", b"BREW").status == 501
    assert ask(router, b"/a", b"PROPFIND").status == 200
    assert ask(router, b"/a/b", b"GET").get(b"allow") == b"OPTIONS, PROPFIND"


def test_head_and_options_by_themselves() -> None:
    router = Router()
    router.get("/a")(lambda request: {"a": 1})
    router.route("/b", methods=["OPTIONS", "HEAD"])(lambda request: request.method)
    head = ask(router, b"/a", b"HEAD")
    assert (head.status, head.body, head.get(b"content-length")) == (200, b"", b"7")
    assert head.get(b"content-type") == b"application/json"
    (theirs,) = ask_twisted(router, say(b"HEAD", b"/a"), methods=(b"HEAD",))
    assert (theirs.status, theirs.body) == (200, b"")
    options = either(router, b"/a", b"OPTIONS")
    assert (options.status, options.body, options.get(b"allow")) == (204, b"", b"GET, HEAD, OPTIONS")
    assert ask(router, b"/b", b"OPTIONS").body == b"OPTIONS"
    assert ask(router, b"/c", b"OPTIONS").status == 404
    assert ask(router, b"/b", b"GET").get(b"allow") == b"HEAD, OPTIONS"


def test_what_cannot_be_is_told_at_once_and_names_both() -> None:
    router = Router()
    router.get("/users/{id}", name="one")(echo)
    with pytest.raises(RouteError, match=r"echo.* stands where a pattern belongs"):
        router.get(echo)  # type: ignore[arg-type] # as one writes @router.get, without the call
    with pytest.raises(RouteError, match="a pattern is text such as '/items', not a bytes"):
        router.get(b"/bytes")(echo)  # type: ignore[arg-type]
    with pytest.raises(RouteError, match=r"GET /users/\{name\} \(.*test_routing.*\) is the same route as GET /users/"):
        router.get("/users/{name}")(lambda request, name: name)
    router.post("/users/{name}")(lambda request, name: name)  # by another method it is another route
    with pytest.raises(RouteError, match=r"GET /x .* has the name 'one', which GET /users/\{id\} .* has"):
        router.get("/x", name="one")(echo)
    with pytest.raises(RouteError, match=r"the handler is called .*'id'"):
        router.get("/y/{id}")(lambda request: "")
    with pytest.raises(RouteError, match="the handler is called"):
        router.get("/y")(lambda: "")
    with pytest.raises(RouteError, match="the handler is called"):
        router.get("/y")(lambda request, more: "")
    with pytest.raises(RouteError, match="cannot be"):
        router.get("/y")("handler")
    with pytest.raises(TypeError, match="a list"):
        router.route("/y", "GET")(echo)
    for methods in ([], [""], ["G T"], ["GET\r\n"], ["G\u00c9T"]):
        with pytest.raises(RouteError, match="which are none"):
            router.route("/y", methods)(echo)
    assert len(router.routes) == 2
    assert ask(router, b"/y").status == 404
    assert Router().get("/z")(echo) is echo


def test_converters_of_ones_own() -> None:
    router = Router(converters={"bits": Converter("bits", lambda text: int(text, 2), bin)})
    router.get("/{x:bits}", name="bits")(echo)
    assert b'"x":"5"' in ask(router, b"/101").body
    assert ask(router, b"/102").status == 404
    assert router.url_for("bits", x=5) == "/0b101"


def test_routes_may_come_while_it_serves() -> None:
    router = Router()
    with Rig(router) as rig:
        assert rig.exchange(say(target=b"/a"))[0].status == 404
        router.get("/a")(lambda request: "a")
        assert rig.exchange(say(target=b"/a"))[0].body == b"a"
        router.before(lambda request: "before")
        assert rig.exchange(say(target=b"/a"))[0].body == b"before"


# -- hooks -------------------------------------------------------------------------------------


class Noted:
    """A router whose hooks and handler note that they were called."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[str] = []
        self.answers = answers
        self.router = Router()
        self.api = self.router.group("/api")
        self.inner = self.api.group("/in")
        for name, group in (("outer", self.router), ("api", self.api), ("inner", self.inner)):
            for number in (1, 2):
                group.before(self.noting(f"before_{name}_{number}"))
                group.after(self.noting(f"after_{name}_{number}"))
        self.inner.get("/a")(self.noting("handler", "answer"))

    def noting(self, name: str, answer: Any = None) -> Callable[..., Any]:
        def noted(request: Any, *response: Any) -> Any:
            self.calls.append(name)
            said = self.answers.get(name, answer)
            return said(request, *response) if callable(said) else said

        return noted


IN_ORDER = [f"before_{name}_{n}" for name in ("outer", "api", "inner") for n in (1, 2)]
BACK = [f"after_{name}_{n}" for name in ("inner", "api", "outer") for n in (2, 1)]


def later(value: Any) -> Callable[..., Any]:
    async def hook(*_: Any) -> Any:
        await succeed(None)
        return value

    return hook


def test_v_router_hooks_run_once_in_their_order() -> None:
    for answers in ({}, {IN_ORDER[1]: later(None), BACK[2]: later(None), "handler": later("answer")}):
        for server in (ask, lambda router, path: ask_twisted(router, say(target=path))[0]):
            noted = Noted(**answers)
            assert server(noted.router, b"/api/in/a").body == b"answer"
            assert noted.calls == [*IN_ORDER, "handler", *BACK]


def test_v_router_before_hook_may_answer() -> None:
    for value in ("instead", lambda request: {"a": 1}, later("instead"), Answer(403, None, b"no"), {}):
        noted = Noted(before_api_1=value)
        response = ask(noted.router, b"/api/in/a")
        assert response.body != b"answer"
        assert noted.calls == [*IN_ORDER[:3], *BACK]


def test_v_router_before_hook_may_abort() -> None:
    def aborts(request: Any) -> None:
        abort(401, "Say who you are.", {"WWW-Authenticate": "Basic"})

    noted = Noted(before_outer_2=aborts)
    response = either(noted.router, b"/api/in/a")
    assert (response.status, response.get(b"www-authenticate")) == (401, b"Basic")
    assert b"Say who you are." in response.body
    assert noted.calls == [*IN_ORDER[:2], *BACK] * 2

    def fails(request: Any) -> None:
        raise RuntimeError("as it should")

    noted = Noted(before_outer_2=fails)
    assert ask(noted.router, b"/api/in/a", failures=1).status == 500
    assert noted.calls == [*IN_ORDER[:2], *BACK]


def test_v_router_before_hook_may_skip_the_rest() -> None:
    for value in (SKIP, later(SKIP)):
        noted = Noted(before_api_2=lambda request, value=value: value() if callable(value) else value)
        assert ask(noted.router, b"/api/in/a").body == b"answer"
        assert noted.calls == [*IN_ORDER[:4], "handler", *BACK]


def test_v_router_after_hooks_see_errors_too() -> None:
    router = Router()
    api = router.group("/api")
    seen: list[Any] = []

    @router.after
    def stamp(request: Any, response: Any) -> None:
        seen.append((response.status, response.headers.getRawHeaders("content-type")))
        response.headers.setRawHeaders("X-Stamped", ["yes"])

    @api.get("/fails")
    def fails(request: Any) -> None:
        raise RuntimeError("as it should")

    api.get("/nan")(lambda request: {"a": float("nan")})
    api.get("/tuple")(lambda request: ("a", 1))
    api.get("/gone")(lambda request: abort(410, "It was here."))
    expected = [(b"/fails", 500, 1), (b"/nan", 500, 1), (b"/tuple", 500, 1), (b"/gone", 410, 0), (b"/none", 404, 0)]
    for path, status, failures in expected:
        response = ask(router, b"/api" + path, failures=failures)
        assert (response.status, response.get(b"x-stamped")) == (status, b"yes")
        assert seen.pop() == (status, ["text/html; charset=utf-8"])
        assert response.get(b"content-type") == b"text/html; charset=utf-8"
    response = ask(router, b"/api/fails", b"POST")
    assert (response.status, response.get(b"x-stamped"), response.get(b"allow")) == (405, b"yes", b"GET, HEAD, OPTIONS")
    assert ask(router, b"/api/fails", b"OPTIONS").get(b"x-stamped") == b"yes"
    assert ask(router, b"/api/gone", Accept=b"application/json").get(b"content-type") == b"application/problem+json"
    assert [status for status, _ in seen] == [405, 204, 410]


def test_an_after_hook_may_change_the_response_or_make_another() -> None:
    router = Router()
    group = router.group()

    @router.after
    def last(request: Any, response: Any) -> None:
        response.body = response.body.upper()
        response.set_cookie("a", "b")

    @group.after
    def first(request: Any, response: Any) -> Answer:
        return Answer.text(response.body.decode() + " changed", 202)

    group.get("/")(lambda request: "text")
    response = either(router)
    assert (response.status, response.body) == (202, b"TEXT CHANGED")
    assert response.get(b"content-type") == b"text/plain; charset=utf-8"
    assert (response.get(b"set-cookie") or b"").startswith(b"a=b;")


def test_an_after_hook_may_put_another_response_around_the_same_body() -> None:
    router = Router()

    @router.get("/")
    def pieces(request: Any) -> Any:
        yield b"a"
        yield b"b"

    router.after(lambda request, response: Answer(201, {"Content-Type": "a/b"}, response.body))
    response = ask(router)
    assert (response.status, response.body) == (201, b"ab")


def test_an_error_says_nothing_of_the_document_it_takes_the_place_of() -> None:
    def handler(request: Any) -> None:
        for name in gone:
            request.setHeader(name, b"1")
        request.setETag(b'"x"')
        abort(404)

    gone = (b"Content-Encoding", b"Content-Disposition", b"Content-Range", b"Content-Language", b"Accept-Ranges")
    by_status, by_hook = Router(), Router()
    by_status.error(404)(lambda request, error: "none")
    by_hook.after(lambda request, response: None)
    for router in (by_status, by_hook, Router()):
        router.get("/")(handler)
        (theirs,) = ask_twisted(router, GET)
        for response in (ask(router), theirs):
            assert response.status == 404
            assert [response.get(name) for name in (*gone, b"ETag")] == [None] * 6


def test_an_after_hook_that_takes_another_response_closes_the_first() -> None:
    closed, kept = [], []

    def pieces(request: Any) -> Any:
        try:
            yield b"a"
        finally:
            closed.append(True)

    def handler(request: Any) -> Any:
        kept.append(begun := pieces(request))
        next(begun)
        return begun

    for hook, status, failures in (
        (lambda request, response: Answer(200, None, b"b"), 200, 0),
        (lambda request, response: 1 / 0, 500, 1),
    ):
        router = Router()
        router.get("/")(handler)
        router.after(hook)
        assert ask(router, failures=failures).status == status
        assert closed.pop()
        assert closed == []


def test_an_after_hook_that_fails_costs_the_answer_and_the_others_run() -> None:
    for said in (lambda request, response: 1 / 0, "not a response", later(5)):
        noted = Noted(after_api_2=said)
        seen: list[int] = []
        noted.answers["after_outer_1"] = lambda request, response, seen=seen: seen.append(response.status)
        with Rig(noted.router) as rig:
            (response,) = rig.exchange(say(target=b"/api/in/a"))
            assert response.status == 500
            assert response.body.startswith(b"<!doctype")
            assert len(rig.flush()) == 1
            assert rig.site.statistics.errors == 1
        assert noted.calls == [*IN_ORDER, "handler", *BACK]
        assert seen == [500]


def test_before_hooks_are_for_handlers() -> None:
    """Where there is no handler there is nothing to go before."""
    router = Router()
    router.get("/a")(echo)
    router.before(lambda request: "closed")
    for path, method, status in ((b"/a", b"OPTIONS", 204), (b"/a", b"POST", 405), (b"/b", b"GET", 404)):
        for after in (False, True):
            if after:
                router.after(lambda request, response: None)
            assert either(router, path, method).status == status


def test_hooks_are_a_groups_own() -> None:
    router = Router()
    a, b = router.group("/a"), router.group("/b")
    a.before(lambda request: "a's")
    for group in (a, b, router):
        group.get("/x")(lambda request: "x")
    assert [ask(router, path).body for path in (b"/a/x", b"/b/x", b"/x")] == [b"a's", b"x", b"x"]


def test_hooks_of_handlers_that_write_for_themselves() -> None:
    """There is no Response to be seen."""
    router = Router()
    called = []
    router.after(lambda request, response: called.append(True))

    @router.get("/")
    async def handler(request: Any) -> None:
        request.write(b"by hand")

    assert ask(router).body == b"by hand"
    assert called == []


# -- errors ------------------------------------------------------------------------------------


class Special(LookupError):
    pass


def failing(error: Exception) -> Callable[..., Any]:
    def handler(request: Any) -> Any:
        request.setHeader(b"Content-Type", b"text/x-wrong")
        raise error

    return handler


def test_errors_are_answered_by_status_and_by_class() -> None:
    router = Router()
    for path, error in {
        "/special": Special("a"),
        "/lookup": LookupError("b"),
        "/key": KeyError("c"),
        "/teapot": HTTPError(418, "short"),
        "/gone": HTTPError(410),
    }.items():
        router.get(path)(failing(error))
    router.error(LookupError)(lambda request, error: {"lookup": str(error)})
    router.error(Special)(later(Answer(400, None, b"special")))
    router.error(404)(lambda request, error: "nothing here")
    router.error(405)(lambda request, error: f"not so: {error.headers['Allow']}")
    router.error(418)(lambda request, error: {"detail": error.detail})
    router.error(HTTPError)(lambda request, error: None)
    for path, status, body in (
        (b"/special", 400, b"special"),
        (b"/lookup", 500, b'{"lookup":"b"}'),
        (b"/key", 500, b'{"lookup":"\'c\'"}'),
        (b"/teapot", 418, b'{"detail":"short"}'),
        (b"/none", 404, b"nothing here"),
        (b"/gone", 410, b""),
    ):
        response = either(router, path)
        assert (response.status, response.body) == (status, body)
        assert response.get(b"content-type") != b"text/x-wrong"
    response = either(router, b"/special", b"POST")
    assert (response.status, response.body) == (405, b"not so: GET, HEAD, OPTIONS")
    assert response.get(b"allow") == b"GET, HEAD, OPTIONS"


def test_the_nearest_group_answers_first() -> None:
    router = Router()
    api = router.group("/api")
    inner = api.group("/{tenant}/in")
    other = router.group("/other")
    for group in (router, api, inner, other):
        group.get("/fails")(lambda request, **_: 1 / 0)
    router.error(ZeroDivisionError)(lambda request, error: "router")
    router.error(404)(lambda request, error: "router 404")
    api.error(ArithmeticError)(lambda request, error: "api")
    api.error(404)(lambda request, error: "api 404")
    inner.error(404)(lambda request, error: "inner 404")
    said = {path: ask(router, path).body for path in (b"/fails", b"/api/fails", b"/api/1/in/fails", b"/other/fails")}
    assert [*said.values()] == [b"router", b"api", b"api", b"router"]
    for path, body in {
        b"/none": b"router 404",
        b"/api": b"api 404",
        b"/api/none": b"api 404",
        b"/api/1/in/none": b"inner 404",
        b"/api/1/out": b"api 404",
        b"/other/none": b"router 404",
        b"/apis": b"router 404",
    }.items():
        assert ask(router, path).body == body


def test_a_handler_for_500_shows_and_the_log_still_knows() -> None:
    router = Router()
    router.get("/")(lambda request: 1 / 0)
    router.error(500)(lambda request, error: {"id": request.request_id})
    with Rig(router) as rig:
        (response,) = rig.exchange(GET)
        assert (response.status, response.get(b"content-type")) == (500, b"application/json")
        assert rig.flush()[0].check(ZeroDivisionError)
        assert rig.site.statistics.errors == 1
    router.error(ZeroDivisionError)(lambda request, error: "expected")
    assert ask(router).body == b"expected"


def test_an_error_handler_that_fails_gives_the_plain_page() -> None:
    for handler in (lambda request, error: 1 / 0, later(("not", "an answer"))):
        router = Router()
        router.get("/")(failing(KeyError("a")))
        router.error(KeyError)(handler)
        router.error(500)(lambda request, error: "not this")
        response = ask(router, failures=1)
        assert response.status == 500
        assert b"not this" not in response.body
    router = Router()
    router.get("/")(failing(KeyError("a")))
    router.error(KeyError)(lambda request, error: abort(404, "No such key."))
    response = ask(router)
    assert response.status == 404
    assert b"No such key." in response.body


def test_faults_are_the_servers() -> None:
    router = Router()
    router.get("/")(failing(PeerFault(400, Reason.BAD_FORM, "a form")))
    router.error(Exception)(lambda request, error: "mine")
    router.after(lambda request, response: None)
    response = ask(router)
    assert (response.status, response.reason) == (400, "bad-form")
    assert issubclass(PeerFault, Fault)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_failure_half_way_ends_the_connection(at_once: bool) -> None:
    router = Router()

    def handler(request: Any) -> None:
        request.write(b"half")
        raise RuntimeError("as it should")

    async def waiting(request: Any) -> None:
        handler(request)

    router.get("/")(handler if at_once else waiting)
    router.error(Exception)(lambda request, error: "mine")
    router.after(lambda request, response: None)
    with Rig(router) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert peer.aborted
        assert not peer.responses()[0].complete
        assert len(rig.flush()) == 1
    site = twisted_server.Site(router, timeout=None, reactor=Clock())
    protocol: Any = site.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(GET)
    assert transport.disconnecting
    assert not transport.value().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("what", [399, 600, 200])
def test_what_is_no_errors_status(what: int) -> None:
    with pytest.raises(ValueError, match=f"not {what}"):
        Router().error(what)


def test_what_is_no_error() -> None:
    for what in ("404", object, BaseException, Exception("a")):
        with pytest.raises(TypeError, match="a status or a class"):
            Router().error(what)  # type: ignore[arg-type]
    router = Router()
    router.error(404)(echo)
    with pytest.raises(RouteError, match="404 is handled by"):
        router.error(404)(echo)


# -- classes -----------------------------------------------------------------------------------


class Users:
    """Handlers, in one object."""

    def __init__(self) -> None:
        self.names = {1: "ada"}

    def get(self, request: Any) -> Any:
        return [*self.names.values()]

    @post("")
    async def make(self, request: Any) -> Any:
        await succeed(None)
        self.names[2] = "bob"
        return Answer(201, None, b"made")

    @routing.get("/{id:int}", name="user")  # not this class's own get
    @put("/{id:int}")
    def one(self, request: Any, id: int) -> Any:
        return {"name": self.names[id], "method": request.method.decode()}

    @delete("/{id:int}")
    def remove(self, request: Any, id: int) -> None:
        del self.names[id]

    @route("/{id:int}/lock", methods=["LOCK"])
    def lock(self, request: Any, id: int) -> str:
        return "locked"

    def helper(self) -> None: ...


class Admins(Users):
    def remove(self, request: Any, id: int) -> None:
        raise AssertionError("is no route here")


def test_a_class_of_handlers_is_added_whole() -> None:
    router = Router()
    group = router.add("/users", Users(), name="users")
    assert isinstance(group, Group)
    assert ask(router, b"/users").body == b'["ada"]'
    assert ask(router, b"/users", b"POST").status == 201
    assert ask(router, b"/users").body == b'["ada","bob"]'
    assert ask(router, b"/users/1").body == b'{"name":"ada","method":"GET"}'
    assert ask(router, b"/users/1", b"PUT").body == b'{"name":"ada","method":"PUT"}'
    assert ask(router, b"/users/1/lock", b"LOCK").body == b"locked"
    assert ask(router, b"/users/2", b"DELETE").status == 204
    assert router.url_for("users.user", id=1) == "/users/1"
    assert router.url_for("users.Users.get") == "/users"
    group.before(lambda request: "closed")
    assert ask(router, b"/users").body == b"closed"
    other = Router()
    other.add("/admins", Admins())
    assert ask(other, b"/admins/1", b"DELETE").status == 405
    with pytest.raises(RouteError, match="object has no method that is a route"):
        other.add("/x", object())


# -- mounting ----------------------------------------------------------------------------------


class Where(Resource):
    """Says how it was found; its children are itself."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        return self

    def render_GET(self, request: Any) -> bytes:
        return b"%r %r" % (request.prepath, request.postpath)

    def render_POST(self, request: Any) -> bytes:
        return b"posted"


def tree_with(router: Router) -> Resource:
    root, below = Resource(), Resource()
    root.putChild(b"a b", below)
    below.putChild(b"api", router)
    return root


def test_it_is_a_leaf_in_any_tree() -> None:
    router = Router()
    router.get("")(echo)
    router.get("/")(echo)
    router.get("/x/{y}")(echo)
    root = tree_with(router)
    before = '"prepath":["a b","api"]'
    assert either(root, b"/a%20b/api").body.decode() == f'{{{before},"postpath":[]}}'
    assert either(root, b"/a%20b/api/").body.decode() == f'{{{before},"postpath":[""]}}'
    assert either(root, b"/a%20b/api/x/%2F").body.decode() == f'{{{before},"postpath":["x","/"],"y":"\'/\'"}}'
    assert ask(root, b"/a%20b/api/none").status == 404


def test_any_resource_is_mounted_in_it(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("a file")
    router = Router()
    router.mount("/where", Where())
    router.mount("/leaf/{tenant}", Says(lambda request: b"%r %r" % (request.postpath, request.route_params["tenant"])))
    router.mount("/files", StaticFiles(str(tmp_path)))
    router.get("/where/else")(lambda request: "a route goes first")
    router.putChild(b"put", Where())
    empty = Resource()
    router.mount("/empty", empty)
    assert either(router, b"/where").body == b"[b'where'] []"
    assert either(router, b"/where/a/%2F").body == b"[b'where', b'a', b'/'] []"
    assert either(router, b"/where/else").body == b"a route goes first"
    assert either(router, b"/where/else", b"POST").body == b"posted"
    assert either(router, b"/leaf/t/a/b").body == b"[b'a', b'b'] 't'"
    assert either(router, b"/put/a").body == b"[b'put', b'a'] []"
    assert ask(router, b"/files/a.txt").body == b"a file"
    assert ask(router, b"/files/../a.txt").status != 200
    assert ask(router, b"/wherever").status == 404
    missing = ask(router, b"/empty/a")
    assert missing.status == 404
    assert b"No Such Resource" not in missing.body  # the page is ours, not twisted.web's
    head = ask(router, b"/where/a", b"HEAD")
    assert (head.status, head.body) == (200, b"")
    response = either(router, b"/where/a", b"DELETE")
    assert (response.status, response.get(b"allow")) == (405, b"GET, HEAD, POST")
    with pytest.raises(TypeError, match="only an IResource"):
        router.mount("/x", object())  # type: ignore[arg-type]
    with pytest.raises(RouteError, match="Where at /where is mounted where Where at /where is"):
        router.mount("/where", Where())


def test_a_mounted_resource_may_encode() -> None:
    router = Router()
    router.mount("/zip", EncodingResourceWrapper(Says(lambda request: b"x" * 1000), [GzipEncoderFactory()]))
    assert ask(router, b"/zip", Accept_Encoding=b"gzip").get(b"content-encoding") == b"gzip"
    # What answers in its place is encoded too, and says so.
    router.error(404)(lambda request, error: "none")
    router.mount("/no", EncodingResourceWrapper(Says(lambda request: abort(404)), [GzipEncoderFactory()]))
    response = ask(router, b"/no", Accept_Encoding=b"gzip")
    assert response.get(b"content-encoding") == b"gzip"
    assert gzip.decompress(response.body) == b"none"


def test_hooks_and_errors_hold_for_what_is_mounted() -> None:
    router = Router()
    group = router.group("/g")
    group.mount("/where", Where())
    group.mount("/fails", Says(failing(KeyError("a"))))
    called = []
    router.after(lambda request, response: called.append(True))
    router.error(KeyError)(lambda request, error: Answer(400, None, b"key"))
    assert ask(router, b"/g/fails").body == b"key"
    assert ask(router, b"/g/where").body == b"[b'g', b'where'] []"
    group.before(later(None))
    assert either(router, b"/g/where/a").body == b"[b'g', b'where', b'a'] []"
    group.before(lambda request: abort(403))
    assert ask(router, b"/g/where").status == 403
    assert called == []  # it writes for itself


def nested() -> tuple[Router, Router, Router]:
    outer, middle, inner = Router(), Router(), Router()
    inner.get("/x/{y?}", name="x")(echo)
    inner.mount("/where", Where())
    middle.mount("/{tenant}/in", inner, name="in")
    outer.group("/g", name="g").mount("/mid", middle, name="mid")
    middle.get("/own", name="own")(echo)  # afterwards
    outer.get("/top", name="top")(echo)
    return outer, middle, inner


def test_routers_in_routers() -> None:
    outer, middle, inner = nested()
    body = b'{"prepath":["g","mid","t","in"],"postpath":["x","1"],"tenant":"\'t\'","y":"\'1\'"}'
    assert either(outer, b"/g/mid/t/in/x/1").body == body
    assert either(outer, b"/g/mid/own").body == b'{"prepath":["g","mid"],"postpath":["own"]}'
    assert either(outer, b"/g/mid/t/in/where/a").body == b"[b'g', b'mid', b't', b'in', b'where', b'a'] []"
    assert ask(middle, b"/t/in/x").status == 200
    assert ask(inner, b"/x").status == 200
    assert [found.pattern.text for found in outer.routes] == ["/g/mid/{tenant}/in/x/{y?}", "/g/mid/own", "/top"]
    with pytest.raises(RouteError, match=r"GET /g/mid/own .* is the same route as GET /g/mid/own"):
        outer.get("/g/mid/own")(echo)
    outer.get("/g/mid/taken")(echo)
    with pytest.raises(RouteError, match=r"GET /g/mid/taken .* is the same route as"):
        middle.get("/taken")(echo)
    assert ask(middle, b"/taken").status == 404  # it is nowhere, then
    with pytest.raises(RouteError, match="mounted in itself"):
        inner.mount("/again", outer)
    with pytest.raises(RouteError, match="mounted in itself"):
        inner.mount("/again", inner)


def test_a_nested_routers_hooks_and_errors_are_inside_the_outer_ones() -> None:
    outer, middle, inner = nested()
    calls: list[str] = []
    for name, router in (("outer", outer), ("middle", middle), ("inner", inner)):
        router.before(lambda request, name=name: calls.append(f"before {name}"))
        router.after(lambda request, response, name=name: calls.append(f"after {name}"))
    assert ask(outer, b"/g/mid/t/in/x").status == 200
    assert calls == ["before outer", "before middle", "before inner", "after inner", "after middle", "after outer"]
    middle.error(404)(lambda request, error: "middle's")
    outer.error(404)(lambda request, error: "outer's")
    calls.clear()
    assert ask(outer, b"/g/mid/t/in/none").body == b"middle's"
    assert calls == ["after inner", "after middle", "after outer"]
    assert ask(outer, b"/g/none").body == b"outer's"
    assert ask(inner, b"/none").status == 404
    # One that is mounted at the root has no prefix, and what is found nowhere is the outer one's.
    outer, inner = Router(), Router()
    inner.error(404)(lambda request, error: "inner's")
    outer.error(404)(lambda request, error: "outer's")
    outer.mount("/", inner)
    assert ask(outer, b"/none").body == b"outer's"


def test_one_router_at_two_places() -> None:
    outer, inner = Router(), Router()
    inner.get("/x", name="x")(echo)
    outer.mount("/a", inner, name="a")
    outer.mount("/b", inner, name="b")
    inner.get("/y")(echo)
    for path in (b"/a/x", b"/b/x", b"/a/y", b"/b/y"):
        assert ask(outer, path).body.decode().startswith(f'{{"prepath":["{path[1:2].decode()}"],')
    assert (outer.url_for("a.x"), outer.url_for("b.x")) == ("/a/x", "/b/x")


# -- addresses ---------------------------------------------------------------------------------


def test_url_for() -> None:
    router = Router()
    api = router.group("/api", name="api")
    api.get("/users/{id:int}/{tab?}", name="user")(echo)
    api.get("")(echo)
    router.get("/files/{rest:path}")(lambda request, rest: rest)
    router.get("/", name="home")(echo)
    assert router.url_for("api.user", id=5) == "/api/users/5"
    assert router.url_for("api.user", id=5, tab="a b") == "/api/users/5/a%20b"
    assert router.url_for("api.echo") == "/api"
    assert router.url_for("home") == "/"
    with pytest.raises(ValueError, match=r"/api/users/\{id:int\}/\{tab\?\} needs id"):
        router.url_for("api.user")
    with pytest.raises(ValueError, match="id is 'x', which is no int"):
        router.url_for("api.user", id="x")
    with pytest.raises(ValueError, match="no place for page"):
        router.url_for("api.user", id=1, page=2)
    with pytest.raises(LookupError, match="no route named 'nobody'"):
        router.url_for("nobody")
    router.get("/one")(echo)
    router.get("/two")(echo)
    with pytest.raises(LookupError, match=r"'echo' is the name of GET /one .* and of GET /two"):
        router.url_for("echo")
    router.get("/three", name="echo")(echo)
    assert router.url_for("echo") == "/three"


def test_url_for_with_a_request_says_where_the_router_is_mounted() -> None:
    outer, middle, inner = nested()
    found: list[str] = []

    def tell(request: Any) -> None:
        for router, name, params in (
            (outer, "top", {}),
            (middle, "own", {}),
            (inner, "x", {}),
            (outer, "g.mid.in.x", {"tenant": "u"}),
        ):
            found.append(router.url_for(name, request=request, **params))

    outer.before(tell)
    root = tree_with(outer)
    for path in (b"/a%20b/api/g/mid/t%2Ft/in/x", b"/a%20b/api/g/mid/t%2Ft/in/where/a/b"):
        for server in (ask, lambda root, path: ask_twisted(root, say(target=path))[0]):
            assert server(root, path).status == 200
            assert found == [
                "/a%20b/api/top",
                "/a%20b/api/g/mid/own",
                "/a%20b/api/g/mid/t%2Ft/in/x",
                "/a%20b/api/g/mid/u/in/x",
            ]
            found.clear()

    @outer.error(404)
    def missing(request: Any, error: Exception) -> str:
        return outer.url_for("top", request=request)

    assert ask(root, b"/a%20b/api/none").body == b"/a%20b/api/top"
    with pytest.raises(ValueError, match="two slashes"):
        outer.url_for("top", request=SimpleNamespace(prepath=[b""]))
    stranger = Router()
    stranger.get("/s", name="s")(echo)
    outer.before(lambda request: stranger.url_for("s", request=request))
    response = ask(root, b"/a%20b/api/top", failures=1)
    assert response.status == 500


# -- bodies as they come -----------------------------------------------------------------------


class Counts(Protocol):
    def __init__(self, request: Any) -> None:
        self.request, self.size = request, 0

    def dataReceived(self, data: bytes) -> None:
        self.size += len(data)

    def connectionLost(self, reason: Any = None) -> None:
        if reason.check(ConnectionDone):
            self.request.write(b"%d" % self.size)
            self.request.finish()


def count(request: Any, **_: Any) -> Any:
    request.deliverBody(Counts(request))
    return NOT_DONE_YET


HEAD_OF_TEN = b"PUT %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def streams() -> Router:
    router, inner = Router(), Router()
    for one in (router, inner):
        one.put("/up/{name}", stream=True)(count)
        one.put("/whole")(lambda request: b"%d" % len(request.content.read()))
    router.mount("/in", inner)
    group = router.group("/closed")
    group.before(lambda request: abort(403))
    group.put("/up", stream=True)(count)
    return router


@pytest.mark.parametrize("path", [b"/up/a", b"/in/up/a", b"/a%20b/api/up/a"])
def test_a_streaming_handler_is_called_before_the_body(path: bytes) -> None:
    router = streams()
    with Rig(tree_with(router) if b"api" in path else router) as rig:
        peer = rig.connect()
        peer.send(HEAD_OF_TEN % path)
        assert peer.received == CONTINUE
        peer.send(b"01234")
        peer.send(b"56789")
        assert peer.responses()[-1].body == b"10"
        # Without a body there is nothing to wait for.
        assert rig.exchange(b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % path)[0].body == b"0"


def test_a_streaming_handlers_hooks_refuse_before_the_body() -> None:
    with Rig(streams(), limits=Limits(max_body_bytes=100)) as rig:
        (response,) = rig.exchange(HEAD_OF_TEN % b"/closed/up")
        assert response.status == 403
        peer = rig.connect()
        peer.send(HEAD_OF_TEN % b"/whole")
        peer.send(b"0123456789")
        assert [response.status for response in peer.responses()] == [100, 200]
        assert peer.responses()[-1].body == b"10"
        assert rig.exchange(HEAD_OF_TEN % b"/none" + b"0123456789")[-1].status == 404


@implementer(IStreamingResource)
class Upload(Resource):
    isLeaf = True

    def render_PUT(self, request: Any) -> Any:
        return count(request)


def test_a_mounted_resource_may_stream_as_in_a_tree() -> None:
    below = Resource()
    below.putChild(b"up", Upload())
    router = Router()
    router.mount("/m", below)
    waits: Deferred[None] = Deferred()
    router.before(lambda request: waits)
    with Rig(router) as rig:
        peer = rig.connect()
        peer.send(HEAD_OF_TEN % b"/m/up")
        assert peer.received == b""
        waits.callback(None)
        assert peer.received == CONTINUE
        peer.send(b"0123456789")
        assert peer.responses()[-1].body == b"10"


# -- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["before", "handler", "after", "error"])
def test_what_is_waited_for_is_cancelled_when_the_client_goes(place: str) -> None:
    cancelled, called = [], []

    def waits(*_: Any) -> Any:
        return Deferred(lambda _: cancelled.append(place))

    router = Router()
    router.before(waits if place == "before" else lambda request: None)
    router.after(waits if place == "after" else lambda request, response: None)
    router.after(lambda request, response: called.append("after"))
    if place == "after":
        router.after(waits)  # runs before the others: the last one said goes first
    router.error(KeyError)(waits)
    handlers = {"handler": waits, "error": failing(KeyError("a"))}
    router.get("/")(handlers.get(place, lambda request: called.append("handler") or "a"))
    with Rig(router) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert cancelled == []
        peer.reset()
        rig.clock.turn()
        assert cancelled == [place]
        assert "after" not in called
        assert ("handler" in called) == (place == "after")
    cancelled.clear()
    called.clear()
    site = twisted_server.Site(router, timeout=None, reactor=Clock())
    protocol: Any = site.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(GET)
    protocol.connectionLost(Failure(ConnectionDone()))
    assert cancelled == [place]
    assert "after" not in called


def test_an_answer_nobody_waits_for_is_let_go() -> None:
    """Also by a handler that does not mind being cancelled."""
    closed, called = [], []

    class Pieces:
        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            raise AssertionError("nobody wants it")

        def close(self) -> None:
            closed.append(True)

    async def handler(request: Any) -> Any:
        await Deferred(lambda waiting: waiting.callback(None))
        return Pieces()

    for hooked in (False, True):
        router = Router()
        router.get("/")(handler)
        if hooked:
            router.after(lambda request, response: called.append(True))
        with Rig(router) as rig:
            peer = rig.connect()
            peer.send(GET)
            peer.reset()
            rig.clock.turn()
        assert closed.pop()
        protocol: Any = twisted_server.Site(router, timeout=None, reactor=Clock()).buildProtocol(None)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(GET)
        protocol.connectionLost(Failure(ConnectionDone()))
        assert closed.pop()
        assert called == closed == []


def test_many_requests_on_one_connection() -> None:
    router = Router()
    router.get("/{id:int}")(lambda request, id: {"id": id})
    router.get("/later/{id:int}")(lambda request, id: succeed({"id": id}))
    with Rig(router) as rig:
        peer = rig.connect()
        for id in range(100):
            peer.send(say(target=b"/%d" % id), say(target=b"/later/%d" % id))
        bodies = [response.body for response in peer.responses()]
        assert bodies == [b'{"id":%d}' % id for id in range(100) for _ in range(2)]


@pytest.mark.slow
def test_nothing_of_a_request_is_left_to_the_collector() -> None:
    words = [sys.executable, "-m", "tests.web.routing_garbage"]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=60)
    result = json.loads(done.stdout)
    marks = ("hardhttp", "Failure", "Deferred", "frame", "coroutine", "generator", "traceback", "Error")
    assert not {name: count for name, count in result["found"].items() if any(mark in name for mark in marks)}
    assert result["left"] < 100

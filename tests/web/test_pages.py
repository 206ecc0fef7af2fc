"""What is said when nothing else is."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.logger import formatEvent, globalLogPublisher
from twisted.web import pages as twisted_pages
from twisted.web import server
from twisted.web.resource import ErrorPage, ForbiddenResource, NoResource, Resource

from hardhttp.errors import Fault, HTTPError, Reason
from hardhttp.limits import Limits
from hardhttp.testing import Rig
from hardhttp.web.pages import Problem, error_page, refusal_page, refused, wants_json
from hardhttp.web.response import Response
from hardhttp.wire.response import reason_phrase
from tests.web.ontwisted import OnTwisted
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


# -- HTML or JSON ----------------------------------------------------------------------------------

ERRORS = [400, 401, 403, 404, 405, 408, 413, 414, 429, 431, 500, 502, 503, 504]
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def errs(status: int = 404, detail: str = "", **options: Any) -> Says:
    return Says(lambda request: error_page(request, status, detail, **options))


@pytest.mark.parametrize("status", ERRORS)
def test_v_error_pages(status: int) -> None:
    with Rig(errs(status, "What <b>went</b> wrong & why.")) as rig:
        (page,) = rig.exchange(say(Accept=BROWSER))
        (problem,) = rig.exchange(say(Accept=b"application/json"))
    for response in (page, problem):
        assert (response.status, response.phrase) == (status, reason_phrase(status))
        assert (response.get(b"cache-control"), response.get(b"vary")) == (b"no-store", b"Accept")
    assert page.get(b"content-type") == b"text/html; charset=utf-8"
    assert (
        b"<h1>%d %b</h1><p>What &lt;b&gt;went&lt;/b&gt; wrong &amp; why." % (status, reason_phrase(status)) in page.body
    )
    assert b"<code>%b</code>" % (page.get(b"x-request-id") or b"-") in page.body
    assert problem.get(b"content-type") == b"application/problem+json"
    request_id = (problem.get(b"x-request-id") or b"").decode()
    assert json.loads(problem.body) == {
        "type": "about:blank",
        "title": reason_phrase(status).decode(),
        "status": status,
        "detail": "What <b>went</b> wrong & why.",
        "instance": f"urn:hardhttp:request:{request_id}",
        "request_id": request_id,
    }


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    with Rig(errs()) as rig:
        (response,) = rig.exchange(GET)
    body = response.body.lower()
    for word in (b"<script", b"src=", b"href=", b"url(", b"@import", b"http:", b"https:", b" on"):
        assert word not in body
    assert b"prefers-color-scheme:dark" in body
    assert len(body) < 1500


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        (None, False),
        (BROWSER, False),
        (b"*/*", False),  # curl
        (b"text/*", False),
        (b"image/png", False),
        (b"application/json", True),
        (b"application/problem+json", True),
        (b"application/vnd.api+json", True),
        (b"application/vnd.api+json;q=0", False),
        (b"image/png, application/json;q=0", False),
        (b"application/json, text/plain, */*", True),  # axios
        (b"application/json;q=0.5, text/html", False),
        (b"application/json, text/html;q=0.9", True),
        (b"application/*", True),
        (b"garbage", False),
    ],
)
def test_who_gets_json(accept: bytes | None, is_json: bool) -> None:
    with Rig(errs()) as rig:
        (response,) = rig.exchange(GET if accept is None else say(Accept=accept))
    assert (response.get(b"content-type") == b"application/problem+json") is is_json
    assert wants_json(accept) is is_json


def test_headers_and_members_of_the_applications() -> None:
    problem = {"type": "https://a.example/low", "balance": 5, "status": 200, "request_id": "forged"}
    with Rig(errs(403, "Low.", headers={"Retry-After": "5"}, problem=problem, title="Not enough")) as rig:
        (response,) = rig.exchange(say(Accept=b"application/json"))
        assert response.get(b"retry-after") == b"5"
        document = json.loads(response.body)
        assert (document["type"], document["title"], document["balance"]) == ("https://a.example/low", "Not enough", 5)
        assert (document["status"], document["request_id"]) == (403, (response.get(b"x-request-id") or b"").decode())
        assert b"<title>403 Not enough</title>" in rig.exchange(GET)[0].body


def test_what_described_another_document_goes_and_the_rest_stays() -> None:
    def answer(request: Any) -> bytes:
        for name in ("Content-Disposition", "Content-Language", "Expires", "Accept-Ranges", "X-Other"):
            request.setHeader(name, "1")
        request.setHeader(b"Content-Length", b"9999")
        request.setHeader(b"Vary", b"Origin")
        request.setETag(b'"a"')
        request.setLastModified(1)
        request.addCookie("a", "b")
        return error_page(request, 404)

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
    names = {name for name, _ in response.headers}
    assert names == {
        *(b"server", b"date", b"content-type", b"content-length", b"vary", b"cache-control", b"x-request-id"),
        *(b"x-other", b"set-cookie"),
    }
    assert response.get(b"vary") == b"Origin, Accept"


def test_head_has_the_length_and_no_page() -> None:
    with Rig(errs()) as rig:
        (response,) = rig.exchange(say(b"HEAD"), methods=[b"HEAD"])
        assert (response.status, response.body) == (404, b"")
        assert int(response.get(b"content-length") or 0) > 500


def test_on_twisted_web() -> None:
    there = OnTwisted(errs(403, "No <way>.", headers={"X-Why": "b"}))
    there.send(say(Accept=b"application/json") + GET)
    problem, page = there.responses()
    assert (problem.status, problem.get(b"x-why")) == (403, b"b")
    document = json.loads(problem.body)
    assert (document["detail"], document["request_id"]) == ("No <way>.", (problem.get(b"x-request-id") or b"").decode())
    assert b"No &lt;way&gt;." in page.body


# -- raised ----------------------------------------------------------------------------------------


def raises(error: Exception) -> Says:
    def answer(request: Any) -> Any:
        request.setHeader(b"X-Other", b"kept")
        raise error

    return Says(answer)


@pytest.mark.parametrize("status", [404, 503])
def test_an_http_error_is_its_page_and_no_failure(status: int) -> None:
    said: list[Any] = []
    globalLogPublisher.addObserver(said.append)
    try:
        with Rig(raises(HTTPError(status, "Because.", {"Retry-After": "9"}, {"x": 1}))) as rig:
            peer = rig.connect()
            peer.send(say(Accept=b"application/json"))
            (response,) = peer.responses()
            assert (response.status, response.get(b"retry-after"), response.get(b"x-other")) == (status, b"9", b"kept")
            document = json.loads(response.body)
            assert (document["detail"], document["x"]) == ("Because.", 1)
            assert rig.flush() == []
            assert rig.site.statistics.errors == (1 if status == 503 else 0)
            peer.send(GET)  # the connection goes on
            assert len(peer.responses()) == 2
    finally:
        globalLogPublisher.removeObserver(said.append)
    lines = [formatEvent(event) for event in said]
    assert any(document["request_id"] in line for line in lines) == (status == 503)


@pytest.mark.parametrize("headers", [{"X": "a\r\nb"}, {"a b": "c"}, {"X": 5}])
def test_an_http_error_that_cannot_be_sent_is_a_500(headers: Any) -> None:
    with Rig(raises(HTTPError(404, "", headers))) as rig:
        (response,) = rig.exchange(GET)
        assert (response.status, response.get(b"x")) == (500, None)
        assert len(rig.flush()) == 2


def test_an_http_error_after_the_response_has_begun() -> None:
    def answer(request: Any) -> Any:
        request.write(b"half")
        raise HTTPError(404)

    with Rig(Says(answer)) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert not peer.responses()[0].complete
        assert peer.aborted
        assert len(rig.flush()) == 1


# -- a site's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "body", "kind"),
    [
        (lambda request, problem: f"{problem.status} {problem.detail}", b"404 Why.", b"text/html; charset=utf-8"),
        (lambda request, problem: b"bytes", b"bytes", b"text/html; charset=utf-8"),
        (lambda request, problem: Response.text("text", 404, {"X": "y"}), b"text", b"text/plain; charset=utf-8"),
        (lambda request, problem: None, None, b"text/html; charset=utf-8"),
    ],
)
def test_a_site_may_make_its_own(own: Any, body: bytes | None, kind: bytes) -> None:
    with Rig(errs(404, "Why.")) as rig:
        rig.site.error_page = own
        (response,) = rig.exchange(GET)
        assert (response.status, response.get(b"content-type")) == (404, kind)
        assert response.body == body or (body is None and b"<h1>404 Not Found</h1><p>Why." in response.body)
        assert response.get(b"x-request-id") is not None
        rig.site.error_page = None
        assert b"<h1>404" in rig.exchange(GET)[0].body


@pytest.mark.parametrize("answer", [5, Response.stream(iter([b"a"])), None])
def test_one_that_fails_costs_nothing(answer: Any) -> None:
    def own(request: Any, problem: Problem) -> Any:
        request.setResponseCode(200)
        return 1 // 0 if answer is None else answer

    with Rig(errs(404)) as rig:
        rig.site.error_page = own
        (response,) = rig.exchange(GET)
        assert (response.status, b"<h1>404 Not Found</h1>" in response.body) == (404, True)
        assert len(rig.flush()) == 1


def test_it_is_asked_for_failures_too() -> None:
    seen: list[Problem] = []
    with Rig(raises(LookupError("secret"))) as rig:
        rig.site.error_page = lambda request, problem: seen.append(problem)
        rig.exchange(GET)
        assert (seen[0].status, "secret" in repr(seen[0])) == (500, False)
        rig.flush()


def test_a_site_may_make_the_pages_of_refusals() -> None:
    seen: list[Any] = []

    def own(problem: Problem, head: Any) -> tuple[bytes, bytes]:
        seen.append((problem.status, head and head.target))
        return b"text/plain", b"no: %d" % problem.status

    with Rig(errs(404), limits=Limits(max_body_bytes=10)) as rig:
        rig.site.refusal_page = own
        (bad,) = rig.exchange(b"GET / HTTP/1.1\r\n\r\n")
        (large,) = rig.exchange(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
        assert (bad.status, bad.get(b"content-type"), bad.body) == (400, b"text/plain", b"no: 400")
        assert (large.status, large.body) == (413, b"no: 413")
        assert seen == [(400, None), (413, b"/up")]
        rig.site.refusal_page = lambda problem, head: 1 // 0  # type: ignore[return-value]
        assert rig.exchange(b"GET / HTTP/1.1\r\n\r\n")[0].status == 400
        assert len(rig.flush()) == 1


# -- twisted.web's stock pages -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "status", "is_ours"),
    [
        (NoResource(), 404, True),
        (ForbiddenResource(), 403, True),
        (NoResource("File not found."), 404, True),
        (NoResource("My own words."), 404, False),
        (twisted_pages.notFound(), 404, True),
        (twisted_pages.forbidden(), 403, True),
        (twisted_pages.notFound(message="My own words."), 404, False),
        (twisted_pages.errorPage(410, "Gone", "My own words."), 410, False),
        (ErrorPage(404, "No Such Resource", "My own words."), 404, False),
    ],
)
def test_stock_pages_are_ours_and_an_applications_are_its_own(page: Any, status: int, is_ours: bool) -> None:
    root = Resource()
    root.putChild(b"a", page)
    with Rig(root) as rig:
        (response,) = rig.exchange(say(target=b"/a"))
        assert response.status == status
        assert (response.get(b"x-request-id") is not None) is is_ours
        assert (b"My own words." in response.body) is not is_ours
        assert b"<h1>404 Not Found</h1>" in rig.exchange(say(target=b"/b"))[0].body


# -- the connection's own refusals -----------------------------------------------------------------

REFUSED = {
    400: b"GET / HTTP/1.1\r\n%b\r\n",
    413: b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: 99999999999\r\n\r\n",
    414: b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n%b\r\n",
    417: b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n%b\r\n",
    431: b"GET / HTTP/1.1\r\nHost: a\r\n%b" + b"X: y\r\n" * 101 + b"\r\n",
    501: b"POST / HTTP/1.1\r\nHost: a\r\n%bTransfer-Encoding: x, chunked\r\n\r\n",
    505: b"GET / HTTP/2.0\r\nHost: a\r\n%b\r\n",
}


@pytest.mark.parametrize("status", REFUSED)
def test_a_refusal_is_a_page_with_an_id_that_is_in_the_log(status: int) -> None:
    said: list[Any] = []
    globalLogPublisher.addObserver(said.append)
    try:
        with Rig(Says(lambda request: b"")) as rig:
            (response,) = rig.exchange(REFUSED[status] % b"")
    finally:
        globalLogPublisher.removeObserver(said.append)
    assert (response.status, response.get(b"content-type")) == (status, b"text/html; charset=utf-8")
    assert b"<h1>%d %b</h1><p>" % (status, reason_phrase(status)) in response.body
    request_id = response.get(b"x-request-id") or b"-"
    assert b"<code>%b</code>" % request_id in response.body
    assert any(request_id.decode() in formatEvent(event) for event in said)


def test_a_refusal_is_json_where_the_head_was_read() -> None:
    with Rig(Says(lambda request: b"")) as rig:
        (response,) = rig.exchange(REFUSED[413] % b"Accept: application/json\r\n")
        assert response.get(b"content-type") == b"application/problem+json"
        assert json.loads(response.body)["status"] == 413
        peer = rig.connect()
        peer.send(say(b"POST", Accept=b"application/json", Content_Length=b"10"))
        rig.advance(70)
        (late,) = peer.responses()
        assert (late.status, json.loads(late.body)["title"]) == (408, "Request Timeout")


def test_a_page_that_fails_is_plain_text() -> None:
    def fails(*_: Any) -> Any:
        raise LookupError

    with Rig(Says(lambda request: b"")) as rig:
        for page, failures in ((fails, 1), (None, 0)):
            rig.site.server.error_page = page
            (response,) = rig.exchange(REFUSED[400] % b"")
            assert response.body.startswith(b"400 Bad Request\n")
            assert len(rig.flush()) == failures


def test_only_so_much_of_accept_is_read_for_a_refusal() -> None:
    fields = [(b"accept", b"a/b," * 256 + b"application/json")]
    head = SimpleNamespace(fields=fields)
    fault = Fault(400, Reason.BAD_HEADER, "why")
    assert refusal_page(refused(fault, "id"), head)[0] == b"text/html; charset=utf-8"  # type: ignore[arg-type]
    fields[0] = (b"accept", b"a/b," * 10 + b"application/json")
    assert refusal_page(refused(fault, "id"), head)[0] == b"application/problem+json"  # type: ignore[arg-type]

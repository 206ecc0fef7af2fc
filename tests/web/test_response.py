"""Responses as values, and on their way out: on our requests and on ``twisted.web``'s."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp.errors import HTTPError
from hardhttp.testing import Response as Received
from hardhttp.testing import Rig
from hardhttp.web.jsontext import encode_json
from hardhttp.web.pieces import PieceProducer
from hardhttp.web.response import Response, abort
from hardhttp.web.routing import Router
from hardhttp.web.sending import WHOLE_BYTES, check_preconditions, etag_of, send
from hardhttp.wire.cookies import cookie_text
from tests.web.ontwisted import OnTwisted
from tests.web.saying import GET, Says, say

Exchange = Callable[..., Received]


def by_us(answer: Callable[[Any], Any], data: bytes = GET) -> Received:
    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(data, methods=[data.split(b" ")[0]])
        return response


def by_twisted(answer: Callable[[Any], Any], data: bytes = GET) -> Received:
    there = OnTwisted(Says(lambda request: send(request, answer(request))))
    there.send(data)
    (response,) = there.responses(data.split(b" ")[0])
    return response


@pytest.fixture(params=[by_us, by_twisted])
def ask(request: pytest.FixtureRequest) -> Exchange:
    """One exchange with a resource that returns a ``Response``, on either kind of request."""
    return request.param  # type: ignore[no-any-return]


# -- values --------------------------------------------------------------------------------------


def test_v_responses_as_text_html_json_redirect(ask: Exchange) -> None:
    text = ask(lambda request: Response.text("Gr\u00fc\u00dfe", 201))
    assert (text.status, text.body) == (201, "Gr\u00fc\u00dfe".encode())
    assert text.get(b"content-type") == b"text/plain; charset=utf-8"
    html = ask(lambda request: Response.html("<p>\u00fc"))
    assert (html.body, html.get(b"content-type")) == ("<p>\u00fc".encode(), b"text/html; charset=utf-8")
    json = ask(lambda request: Response.json({"a": ["\u00fc", None, 1.5]}, headers={"X-A": "b"}))
    assert json.body == '{"a":["\u00fc",null,1.5]}'.encode()
    assert (json.get(b"content-type"), json.get(b"x-a")) == (b"application/json", b"b")
    moved = ask(lambda request: Response.redirect("/there?a=\u00fc"))
    assert (moved.status, moved.get(b"location"), moved.body) == (303, b"/there?a=%C3%BC", b"")
    plain = ask(lambda request: Response(202, {"X-A": ["b", "c"]}, "text"))
    assert (plain.status, plain.body, plain.get(b"x-a")) == (202, b"text", b"b, c")
    assert plain.get(b"content-type") == b"text/html; charset=utf-8"


@pytest.mark.parametrize(
    "given",
    [
        {"X-A": "b", "X-C": ["d", b"e"]},
        [("X-A", "b"), ("X-C", "d"), (b"x-c", b"e")],
        Headers({"X-A": ["b"], "X-C": ["d", "e"]}),
    ],
)
def test_headers_in_every_form(given: Any) -> None:
    assert dict(Response(headers=given).headers.getAllRawHeaders()) == {b"X-A": [b"b"], b"X-C": [b"d", b"e"]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"X": 5}, "'X' cannot be set to a int: it is text or bytes"),
        ({"X": None}, "'X' cannot be set to a NoneType"),
        ({"X": ["a", 5]}, "'X' cannot be set to a int"),
        ([("X", 5)], "'X' cannot be set to a int"),
        ("X: 5", "headers are str; they are Headers, a mapping or pairs"),
    ],
)
def test_headers_that_are_none(given: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Response(headers=given)
    with pytest.raises(TypeError, match="'X' cannot be set to a int"):
        Response().headers.addRawHeader("X", 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [0, 100, 199, 600, 1000, -1, "200", None, 200.0])
def test_a_status_that_is_none(status: Any) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        Response(status)


@pytest.mark.parametrize("status", [200, 300, 304, 305, 306, 309])
def test_a_redirect_that_is_none(status: int) -> None:
    with pytest.raises(ValueError):
        Response.redirect("/", status)


def test_a_redirect_that_the_client_chose_and_leads_elsewhere_is_its_mistake() -> None:
    with pytest.raises(ValueError, match="a path of this site"):
        Response.redirect("//evil.example")
    there = by_us(lambda request: Response.redirect(request.query["next"]), say(target=b"/?next=//evil.example"))
    assert (there.status, there.get(b"location")) == (400, None)
    assert b"a path of this site" in there.body
    assert b"evil" not in there.body


def test_json_that_is_none() -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            Response.json(value)
    with pytest.raises(TypeError):
        Response.json(object())
    assert Response.json(object(), default=lambda value: "x").body == b'"x"'
    for default in (None, str):
        with pytest.raises(ValueError):
            Response.json("\ud800", default=default)  # what no client could read


def test_json_is_what_a_handler_returns_as_json() -> None:
    @dataclass
    class Point:
        x: int
        at: date

    found = {"point": Point(1, date(2026, 1, 2)), "all": {2, 1}, "text": "\u00e9"}
    assert Response.json(found).body == encode_json(found)
    assert Response.json(Point(1, date(2026, 1, 2))).body == b'{"x":1,"at":"2026-01-02"}'


def test_the_type_is_among_the_headers_and_may_be_changed() -> None:
    response = Response.text("a")
    assert response.headers.getRawHeaders(b"content-type") == [b"text/plain; charset=utf-8"]
    response.headers.setRawHeaders("Content-Type", ["text/x"])
    assert by_us(lambda request: response).get(b"content-type") == b"text/x"


def test_a_repr_says_nothing_of_the_contents() -> None:
    response = Response.text("secret", headers={"X": "secret"})
    response.set_cookie("secret", "secret")
    assert "secret" not in repr(response)


def test_cookies(ask: Exchange) -> None:
    def answer(request: Any) -> Response:
        response = Response.text("")
        response.set_cookie("a", "b c", max_age=5)
        response.set_cookie("d", b"e", secure=True, same_site="None")
        response.delete_cookie("f")
        return response

    cookies = [value for name, value in ask(answer).headers if name == b"set-cookie"]
    assert len(cookies) == 3
    assert cookies[0] == b"a=b%20c; Max-Age=5; Path=/; HttpOnly; SameSite=Lax"
    assert cookie_text(cookies[0].partition(b";")[0][2:]) == "b c"
    assert cookies[2].startswith(b"f=; Expires=Thu, 01 Jan 1970")


def test_what_was_set_on_the_request_before_stays(ask: Exchange) -> None:
    def answer(request: Any) -> Response:
        request.setHeader(b"X-Before", b"1")
        request.setHeader(b"X-Both", b"1")
        request.setHeader(b"Vary", b"Origin")
        request.addCookie("before", "1")
        response = Response.text("", headers={"X-Both": "2", "Vary": "Accept, origin"})
        response.set_cookie("after", "2")
        return response

    response = ask(answer)
    assert (response.get(b"x-before"), response.get(b"x-both")) == (b"1", b"2")
    assert response.get(b"vary") == b"Origin, Accept"
    assert {value.partition(b"=")[0] for name, value in response.headers if name == b"set-cookie"} == {
        b"before",
        b"after",
    }


def test_framing_is_not_the_applications(ask: Exchange) -> None:
    response = ask(lambda request: Response.text("abc", headers={"Content-Length": "99", "Transfer-Encoding": "x"}))
    assert (response.body, response.complete) == (b"abc", True)
    assert response.get(b"transfer-encoding") is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body(ask: Exchange, status: int) -> None:
    response = ask(lambda request: Response(status, None, b"not sent"))
    assert (response.status, response.body, response.get(b"content-length")) == (status, b"", None)


def test_head_is_as_get_would_be(ask: Exchange) -> None:
    response = ask(lambda request: Response.text("abc"), say(b"HEAD"))
    assert (response.status, response.body, response.get(b"content-length")) == (200, b"", b"3")


@pytest.mark.parametrize("later", [succeed, lambda response: _soon(response)])
def test_a_response_may_come_later(later: Callable[[Response], Any]) -> None:
    assert by_us(lambda request: later(Response.text("a"))).body == b"a"


async def _soon(response: Response) -> Response:
    return response


def test_abort() -> None:
    def answer(request: Any) -> Any:
        abort(403, "Not you.", {"X-Why": "because"})

    response = by_us(answer)
    assert (response.status, response.get(b"x-why")) == (403, b"because")
    assert b"Not you." in response.body


# -- preconditions ---------------------------------------------------------------------------------


def document(request: Any) -> Response:
    headers = {"Cache-Control": "max-age=5", "Content-Language": "en", "Content-Location": "/d", "X-Other": "y"}
    return Response(200, headers, b"text", content_type="text/plain", conditional=True, last_modified=784111777.9)


def test_a_document_that_has_not_changed(ask: Exchange) -> None:
    first = ask(document)
    etag = first.get(b"etag")
    assert (first.status, etag) == (200, etag_of(b"text"))
    assert first.get(b"last-modified") == b"Sun, 06 Nov 1994 08:49:37 GMT"
    for data in (say(If_None_Match=b'"x", W/' + etag), say(b"HEAD", If_None_Match=etag)):
        response = ask(document, data)
        assert (response.status, response.body) == (304, b"")
        names = {name for name, _ in response.headers} - {b"server", b"date", b"connection"}
        assert names == {b"etag", b"cache-control", b"content-location", b"x-other"}
    assert ask(document, say(If_None_Match=b'"x"')).status == 200
    assert ask(document, say(If_Modified_Since=b"Sunday, 06-Nov-94 08:49:37 GMT")).status == 304
    assert ask(document, say(If_None_Match=b'"x"', If_Modified_Since=b"Sun Nov  6 08:49:37 1994")).status == 200


def test_a_document_that_is_not_what_was_expected(ask: Exchange) -> None:
    response = ask(document, say(If_Match=b'"x"'))
    assert response.status == 412
    assert response.get(b"etag") is None
    assert b"<h1>412 Precondition Failed</h1>" in response.body
    assert ask(document, say(If_Match=etag_of(b"text"))).status == 200
    assert ask(document, say(If_Unmodified_Since=b"Sun, 06 Nov 1994 08:49:36 GMT")).status == 412


def test_several_lines_of_a_field_are_one(ask: Exchange) -> None:
    lines = b'GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: "x"\r\nIf-None-Match: %b\r\nIf-None-Match: "y"\r\n\r\n'
    assert ask(document, lines % etag_of(b"text")).status == 304


@pytest.mark.parametrize("etag", ["v1", '"v1', 'v"1"', '"a"b"', '"a b"', 'w/"v1"', '"a\r\nX: y"'])
def test_a_tag_that_is_none_is_a_failure_of_the_handlers(etag: str) -> None:
    with Rig(Says(lambda request: Response(200, None, "text", etag=etag))) as rig:
        (response,) = rig.exchange(GET)
        assert response.status == 500
        (failure,) = rig.flush()
        assert "no tag in quotes" in failure.getErrorMessage()
    assert by_us(lambda request: Response(200, None, "text", etag='W/"v1"')).status == 200


def test_only_a_2xx_to_get_or_head_is_conditional(ask: Exchange) -> None:
    etag = b'"a"'
    assert ask(lambda request: Response(404, None, "x", etag=etag), say(If_None_Match=etag)).status == 404
    assert ask(lambda request: Response(200, None, "x", etag=etag), say(b"POST", If_None_Match=etag)).status == 200


def test_304_with_last_modified_alone_keeps_it(ask: Exchange) -> None:
    date = b"Sun, 06 Nov 1994 08:49:37 GMT"
    response = ask(lambda request: Response(200, None, "x", last_modified=784111777), say(If_Modified_Since=date))
    assert (response.status, response.get(b"last-modified")) == (304, date)


def test_nothing_was_modified_in_the_future() -> None:
    with Rig(Says(lambda request: Response(200, None, b"x", last_modified=2e9))) as rig:
        (first,) = rig.exchange(GET)
        now = first.get(b"last-modified") or b""
        assert now == first.get(b"date")
        rig.advance(10)
        # What changes after now is not what a client has from now.
        (second,) = rig.exchange(say(If_Modified_Since=now))
        assert (second.status, second.get(b"last-modified")) == (200, second.get(b"date"))


def test_before_something_is_changed(ask: Exchange) -> None:
    done = []

    def answer(request: Any) -> Any:
        try:
            check_preconditions(request, b'"now"')
        except HTTPError as error:
            return Response(error.status)
        done.append(1)
        return Response(204)

    assert ask(answer, say(b"POST", If_Match=b'"before"')).status == 412
    assert ask(answer, say(b"POST", If_None_Match=b"*")).status == 412
    assert not done
    assert ask(answer, say(b"POST", If_Match=b'"now"')).status == 204
    assert ask(answer, say(b"POST")).status == 204
    assert len(done) == 2


# -- twisted.web's own setETag and setLastModified ------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 200),
        ({"If_None_Match": b'"a"'}, 304),
        ({"If_None_Match": b'"x","a"'}, 304),
        ({"If_None_Match": b'W/"a"'}, 304),
        ({"If_None_Match": b"*"}, 304),
        ({"If_None_Match": b'"x"'}, 200),
        ({"If_Match": b'"a"'}, 200),
        ({"If_Match": b'"x"'}, 412),
        ({"If_Modified_Since": b"Sun, 06 Nov 1994 08:49:37 GMT"}, 304),
        ({"If_Modified_Since": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
        ({"If_Modified_Since": b"never"}, 200),
        ({"If_None_Match": b'"x"', "If_Modified_Since": b"Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
        ({"If_Unmodified_Since": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 412),
        ({"If_Match": b'"a"', "If_Unmodified_Since": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
    ],
)
@pytest.mark.parametrize("tag_first", [True, False])
def test_setters_of_validators(fields: dict[str, bytes], status: int, tag_first: bool) -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Content-Type", b"text/x")
        request.setHeader(b"Expires", b"0")
        calls = [lambda: request.setETag(b'"a"'), lambda: request.setLastModified(784111776.5)]
        cached = [call() for call in (calls if tag_first else calls[::-1])]
        assert (request.code != 200) == any(cached)
        return b"" if any(cached) else b"text"

    response = by_us(answer, say(**fields))
    assert (response.status, response.body) == (status, b"text" if status == 200 else b"")
    assert response.get(b"etag") == b'"a"'
    if status == 304:
        assert (response.get(b"content-type"), response.get(b"last-modified")) == (None, None)
        assert response.get(b"expires") == b"0"


def test_setters_of_validators_elsewhere() -> None:
    def answer(request: Any) -> bytes:
        assert request.setETag(b"") is None
        request.setResponseCode(404)
        assert request.setETag(b'"a"') is None  # 13.2.1: what is refused anyway is refused as it is
        return b"gone"

    assert by_us(answer, say(If_None_Match=b'"a"')).status == 404
    assert by_us(lambda request: request.setETag(b'"a"') or b"x", say(b"POST", If_None_Match=b'"a"')).status == 412


# -- files -----------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every file that a response opens."""
    files: list[Any] = []
    from hardhttp.web import response

    class Watched(response.OpenFile):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            files.append(self)

    monkeypatch.setattr(response, "OpenFile", Watched)
    return files


def test_v_responses_as_file(ask: Exchange, tmp_path: Path, opened: list[Any]) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"<p>")
    os.utime(path, (784111777, 784111777))

    def answer(request: Any) -> Response:
        return Response.file(path, download_name="\u00fc.html")

    response = ask(answer)
    assert (response.status, response.body, response.get(b"content-length")) == (200, b"<p>", b"3")
    assert response.get(b"content-type") == b"text/html; charset=utf-8"
    assert response.get(b"content-disposition") == b"attachment; filename=\"_.html\"; filename*=UTF-8''%C3%BC.html"
    assert response.get(b"last-modified") == b"Sun, 06 Nov 1994 08:49:37 GMT"
    etag = response.get(b"etag")
    assert etag is not None
    assert ask(answer, say(If_None_Match=etag)).status == 304
    assert ask(answer, say(If_Match=b'"x"')).status == 412
    head = ask(answer, say(b"HEAD"))
    assert (head.body, head.get(b"content-length")) == (b"", b"3")
    path.write_bytes(b"<b>")
    assert ask(answer, say(If_None_Match=etag)).status == 200
    assert len(opened) == 6 - 1
    assert all(file.descriptor == -1 for file in opened)


@pytest.mark.parametrize("size", [0, 1, WHOLE_BYTES, WHOLE_BYTES + 1, 3_000_000])
def test_a_file_of_any_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    with Rig(Says(lambda request: Response.file(tmp_path / "a"))) as rig:
        (response,) = rig.exchange(GET)
        assert response.body == data
        assert response.get(b"content-type") == b"application/octet-stream" or not size
        assert rig.site.ledger.snapshot()["files"] == 0


def test_a_file_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "pipe"):
        with pytest.raises(OSError):
            Response.file(path)


def test_a_file_is_closed_on_every_path(tmp_path: Path, opened: list[Any]) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(3_000_000))

    def bad(request: Any) -> Response:
        response = Response.file(path)
        response.headers._rawHeaders[b"X"] = [b"a\r\nb"]
        return response

    with Rig(Says(lambda request: Response.file(path))) as rig:
        peer = rig.connect()
        peer.take(1000)
        peer.send(GET)
        assert rig.site.ledger.snapshot()["files"] == 1
        peer.reset()
        rig.advance(3)
        assert rig.site.ledger.snapshot()["files"] == 0
    with Rig(Says(bad)) as rig:
        assert rig.exchange(GET)[0].status == 500
        rig.flush()

    async def late(request: Any) -> Response:
        try:
            await Deferred()
        except CancelledError:
            return Response.file(path)  # when nobody waits any more
        raise AssertionError

    before = len(opened)
    with Rig(Says(late)) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        rig.advance(1)
    assert len(opened) == before + 1
    with pytest.raises(ValueError):
        Response.file(path, headers={"X": "\r\n"})
    Response.file(path).close()
    assert all(file.descriptor == -1 for file in opened)


def test_a_file_that_a_hook_throws_away_is_closed(tmp_path: Path) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("as it should")

    def another(request: Any, response: Response) -> Response:
        return Response.text("x")

    def another_body(request: Any, response: Response) -> None:
        response.body = b"x"

    (tmp_path / "a").write_bytes(bytes(WHOLE_BYTES + 1))
    descriptors = set(os.listdir("/proc/self/fd"))
    for after in (fail, another, another_body):
        for error in (False, True):
            router = Router()
            router.get("/")(fail if error else lambda request: Response.file(tmp_path / "a"))
            router.error(RuntimeError)(lambda request, error: Response.file(tmp_path / "a"))
            router.after(after)
            with Rig(router) as rig:
                assert rig.exchange(GET)[0].body != bytes(WHOLE_BYTES + 1)
                rig.flush()
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_a_file_that_becomes_shorter_ends_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(3_000_000))
    with Rig(Says(lambda request: Response.file(path))) as rig:
        peer = rig.connect()
        peer.take(100_000)
        peer.send(GET)
        path.write_bytes(b"")
        peer.take(None)
        rig.advance(2)
        assert peer.aborted
        assert not peer.responses()[0].complete


def test_a_short_file_that_becomes_shorter_is_not_sent(tmp_path: Path) -> None:
    def answer(request: Any) -> Response:
        (tmp_path / "a").write_bytes(b"12345")
        response = Response.file(tmp_path / "a")
        (tmp_path / "a").write_bytes(b"123")
        return response

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
        assert (response.status, response.get(b"etag")) == (500, None)
        assert len(rig.flush()) == 1


# -- streams -----------------------------------------------------------------------------------------


class Pieces:
    """Yields ``pieces`` one by one, either way, and says how many were taken and whether it was closed."""

    def __init__(self, pieces: list[Any], waits: bool = False) -> None:
        self.pieces = pieces
        self.taken = 0
        self.closed = 0
        self.waiting: list[Deferred[None]] = []
        self.waits = waits

    def plain(self) -> Iterator[Any]:
        try:
            for piece in self.pieces:
                self.taken += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1

    async def awaited(self) -> AsyncIterator[Any]:
        try:
            for piece in self.pieces:
                if self.waits:
                    self.waiting.append(Deferred())
                    await self.waiting[-1]
                self.taken += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed += 1


def streams(pieces: Pieces, kind: str) -> Callable[[Any], Response]:
    return lambda request: Response.stream(getattr(pieces, kind)(), content_type="text/plain")


KINDS = pytest.mark.parametrize("kind", ["plain", "awaited"])


@KINDS
def test_v_responses_as_stream(ask: Exchange, kind: str) -> None:
    pieces = Pieces([b"one", "z\u00f6", b"", bytearray(b"3")])
    response = ask(streams(pieces, kind))
    assert (response.status, response.body, response.complete) == (200, "onez\u00f63".encode(), True)
    assert response.get(b"transfer-encoding") == b"chunked"
    assert response.get(b"content-type") == b"text/plain"
    assert pieces.closed == 1


@KINDS
def test_a_stream_without_pieces(ask: Exchange, kind: str) -> None:
    response = ask(streams(Pieces([]), kind))
    assert (response.status, response.body, response.complete) == (200, b"", True)


@KINDS
def test_a_stream_of_known_length(ask: Exchange, kind: str) -> None:
    pieces = Pieces([b"one", b"two"])
    response = ask(lambda request: Response(200, {"Content-Length": "6"}, getattr(pieces, kind)()))
    assert (response.body, response.get(b"content-length"), response.get(b"transfer-encoding")) == (
        b"onetwo",
        b"6",
        None,
    )


def test_any_iterable_will_do(ask: Exchange) -> None:
    assert ask(lambda request: Response(200, None, [b"a", "b"])).body == b"ab"
    assert ask(lambda request: Response(200, None, iter([b"a"]))).body == b"a"


@KINDS
@pytest.mark.parametrize("status", [200, 204, 304])
def test_a_stream_whose_body_is_not_asked_for_is_closed(ask: Exchange, kind: str, status: int) -> None:
    pieces = Pieces([b"one"])
    iterator = getattr(pieces, kind)()
    data = say(b"HEAD") if status == 200 else GET
    response = ask(lambda request: Response(status, None, iterator), data)
    assert (response.status, response.body, pieces.taken) == (status, b"", 0)
    closed = next(iterator, None) if kind == "plain" else iterator.ag_frame
    assert closed is None


@KINDS
def test_the_next_piece_is_asked_for_when_the_client_takes_more(kind: str) -> None:
    pieces = Pieces([bytes(50_000)] * 100)
    with Rig(Says(streams(pieces, kind))) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        assert peer.received == b""
        rig.advance(5)
        assert 0 < pieces.taken <= 3
        taken = pieces.taken
        peer.take(200_000)
        assert taken < pieces.taken <= taken + 6
        peer.take(None)
        rig.advance(1)
        (response,) = peer.responses()
        assert (len(response.body), pieces.closed) == (5_000_000, 1)


@KINDS
def test_a_quick_iterator_and_a_quick_client_leave_the_reactor_to_others(kind: str) -> None:
    pieces = Pieces([b"x"] * 1000)
    with Rig(Says(streams(pieces, kind))) as rig:
        peer = rig.connect()
        peer._socket.incoming.append(GET)
        seen = []
        rig.clock.callLater(0, lambda: seen.append(pieces.taken))
        assert len(peer.responses()[0].body) == 1000
        assert seen[0] < 1000


@KINDS
@pytest.mark.parametrize("on_twisted", [False, True])
def test_a_client_that_goes_closes_the_iterator(kind: str, on_twisted: bool) -> None:
    pieces = Pieces([bytes(50_000)] * 100)
    answer = streams(pieces, kind)
    if on_twisted:
        there = OnTwisted(Says(lambda request: send(request, answer(request))))
        there.protocol.dataReceived(GET)
        there.lose()
        there.turn()
        assert not [call for call in there.clock.getDelayedCalls() if call.time == there.clock.seconds()]
    else:
        with Rig(Says(answer)) as rig:
            peer = rig.connect()
            peer.take(0)
            peer.send(GET)
            peer.reset()
            rig.advance(1)
    assert pieces.closed == 1
    assert pieces.taken < 100


def test_a_client_that_goes_cancels_what_is_waited_for() -> None:
    pieces = Pieces([b"one"], waits=True)
    with Rig(Says(streams(pieces, "awaited"))) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        rig.advance(1)
        assert pieces.waiting[0].called
        assert pieces.closed == 1


def test_one_that_will_not_be_cancelled_is_closed_when_it_is_done() -> None:
    waiting: Deferred[None] = Deferred()
    closed = []

    async def stubborn() -> AsyncIterator[bytes]:
        try:
            try:
                await Deferred()
            except CancelledError:
                await waiting
            yield b"late"
        finally:
            closed.append(1)

    with Rig(Says(lambda request: Response.stream(stubborn()))) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        rig.advance(1)
        assert closed == []
        waiting.callback(None)
        assert closed == [1]


@KINDS
def test_the_head_goes_with_the_first_piece_even_an_empty_one(kind: str) -> None:
    pieces = Pieces([b"", b"one"], waits=True)
    with Rig(Says(streams(pieces, "awaited"))) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert peer.received == b""
        pieces.waiting[0].callback(None)
        assert peer.received.endswith(b"\r\n\r\n")
        pieces.waiting[1].callback(None)
        assert b"one" in peer.received


@KINDS
@pytest.mark.parametrize("error", [LookupError("secret"), HTTPError(404, "Not that."), HTTPError(503)])
def test_a_failure_before_the_first_piece_is_answered(ask: Exchange, kind: str, error: Exception) -> None:
    status = getattr(error, "status", 500)
    pieces = Pieces([error])
    if ask is by_us:
        with Rig(Says(streams(pieces, kind))) as rig:
            (response,) = rig.exchange(GET)
            assert len(rig.flush()) == (0 if isinstance(error, HTTPError) else 1)
            assert rig.site.statistics.errors == (0 if status == 404 else 1)
    else:
        response = ask(streams(pieces, kind))
    assert (response.status, response.complete) == (status, True)
    assert b"secret" not in response.body
    assert pieces.closed == 1


@KINDS
@pytest.mark.parametrize("bad", [LookupError("secret"), HTTPError(404), 5, None, {"a": 1}])
def test_a_failure_half_way_ends_the_connection(kind: str, bad: Any) -> None:
    pieces = Pieces([b"one", bad, b"never"])
    with Rig(Says(streams(pieces, kind))) as rig:
        peer = rig.connect()
        peer.send(GET)
        (response,) = peer.responses()
        assert (response.status, response.body, response.complete) == (200, b"3\r\none\r\n", False)
        assert peer.aborted
        assert len(rig.flush()) == 1
    there = OnTwisted(Says(lambda request: send(request, streams(again, kind)(request))))
    again = Pieces([b"one", bad, b"never"])
    there.send(GET)
    assert there.transport.aborted
    assert b"\r\n0\r\n" not in there.transport.value()
    assert (pieces.closed, again.closed) == (1, 1)


@pytest.mark.parametrize("body", [5, {"a": 1}, object()])
def test_a_body_that_is_none(body: Any) -> None:
    with Rig(Says(lambda request: Response(200, None, body))) as rig:
        assert rig.exchange(GET)[0].status == 500
        (failure,) = rig.flush()
        assert failure.check(TypeError)


def test_a_transport_that_is_full_from_the_start() -> None:
    class Full:
        site = None
        written: list[bytes] = []

        def registerProducer(self, producer: Any, streaming: bool) -> None:
            producer.pauseProducing()

        def write(self, data: bytes) -> None:
            self.written.append(data)

    pieces = Pieces([b"one"])
    producer = PieceProducer(Full(), pieces.plain())
    producer.start()
    assert pieces.taken == 0
    producer.stopProducing()


def test_a_stream_for_a_client_that_has_gone_is_closed() -> None:
    kept: list[Any] = []
    iterator = Pieces([b"one"]).plain()
    with Rig(Says(lambda request: kept.append(request) or NOT_DONE_YET)) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        rig.advance(1)
        assert send(kept.pop(), Response.stream(iterator)) is NOT_DONE_YET
        assert next(iterator, None) is None


def test_pipelined_behind_a_stream() -> None:
    answers = iter([Response.stream(iter([b"a", b"b"])), Response.text("c")])
    with Rig(Says(lambda request: next(answers))) as rig:
        peer = rig.connect()
        peer.send(GET + GET)
        assert [response.body for response in peer.responses()] == [b"ab", b"c"]


def test_a_stream_may_take_as_long_as_it_likes_once_it_has_begun() -> None:
    pieces = Pieces([b"one", b"two"], waits=True)
    from hardhttp import Limits

    with Rig(Says(streams(pieces, "awaited")), limits=Limits(handling_seconds=5)) as rig:
        peer = rig.connect()
        peer.send(GET)
        pieces.waiting[0].callback(None)
        rig.advance(100)
        pieces.waiting[1].callback(None)
        assert peer.responses()[0].body == b"onetwo"
        slow = rig.connect()
        slow.send(GET)
        rig.advance(6)
        assert slow.responses()[0].status == 503


@implementer(IBodyProducer)
class Body:
    """An ``IBodyProducer`` that tells what was asked of it."""

    def __init__(self, length: Any = 3) -> None:
        self.length = length
        self.calls: list[str] = []
        self.consumer: Any = None
        self.done: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.calls.append("start")
        self.consumer = consumer
        consumer.registerProducer(self, True)
        return self.done

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


@pytest.mark.parametrize("length", [3, UNKNOWN_LENGTH])
def test_a_body_producer(ask: Exchange, length: Any) -> None:
    body = Body(length)

    def start(consumer: Any) -> Deferred[None]:
        consumer.write(b"a")
        consumer.write(b"bc")
        consumer.unregisterProducer()
        return succeed(None)

    body.startProducing = start  # type: ignore[method-assign]
    response = ask(lambda request: Response(200, None, body))
    assert (response.body, response.get(b"content-length")) == (b"abc", b"3" if length == 3 else None)
    head = ask(lambda request: Response(200, None, Body(length)), say(b"HEAD"))
    assert head.get(b"content-length") == (b"3" if length == 3 else None)


def test_a_body_producer_waits_for_the_client_and_is_stopped_when_it_goes() -> None:
    body = Body(UNKNOWN_LENGTH)
    with Rig(Says(lambda request: Response.stream(body))) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        body.consumer.write(bytes(200_000))
        assert body.calls == ["start", "pause"]
        peer.take(None)
        assert body.calls == ["start", "pause", "resume"]
        peer.reset()
        rig.advance(1)
        assert body.calls[-1] == "stop"
        body.consumer.write(b"late")
        body.done.callback(None)  # and that is nothing to anybody


def test_a_body_producer_that_fails() -> None:
    early, late = Body(), Body()
    early.done = fail(LookupError())
    for body, status in ((early, 500), (late, 200)):
        with Rig(Says(lambda request, body=body: Response.stream(body))) as rig:
            peer = rig.connect()
            peer.send(GET)
            if body is late:
                body.consumer.write(b"a")
                body.done.errback(LookupError())
            (response,) = peer.responses()
            assert (response.status, response.complete) == (status, status == 500)
            assert len(rig.flush()) == 1


# -- nothing is left ---------------------------------------------------------------------------------

ANSWERS: list[Callable[[Any], Any]] = [
    lambda request: Response.text("a", headers={"X": "y"}),
    lambda request: Response.stream(iter([b"a", b"b"])),
    lambda request: Response.stream(Pieces([b"a", b"b"]).awaited()),
    lambda request: Response.stream(Pieces([LookupError()]).awaited()),
    lambda request: Response.stream(Pieces([b"a", LookupError()]).plain()),
    lambda request: Response.stream(Pieces([HTTPError(404)]).plain()),
    lambda request: Response.stream(Body(5)),
    lambda request: Response.file(__file__),
    lambda request: abort(404),
]


def left_to_the_collector(answer: Callable[[Any], Any]) -> list[str]:
    """What one exchange leaves behind of ours, while the collector does not run."""
    with Rig(Says(answer)) as rig:
        for _ in range(2):
            peer = rig.connect()
            gc.collect()
            gc.disable()
            peer.send(GET)
            rig.flush()
            peer.reset()
            rig.advance(1)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = [type(item) for item in gc.garbage]
        gc.garbage.clear()
        gc.enable()
    return [kind.__name__ for kind in found if kind.__module__.partition(".")[0] in ("hardhttp", "twisted", "tests")]


@pytest.mark.slow
def test_v05_nothing_is_left_to_the_collector() -> None:
    """In a process of its own: pytest-twisted keeps tracebacks."""
    script = (
        "from tests.web.test_response import ANSWERS, left_to_the_collector as left\n"
        "print([(i, left(answer)) for i, answer in enumerate(ANSWERS) if left(answer)])"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stdout + done.stderr

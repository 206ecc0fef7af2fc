"""Header injection: text that would forge a header or a response, by every way a header is set.

Each string is tried by each way, on our requests and (where the way is not our request's own) on
``twisted.web``'s. What comes over the connection must be exactly one well-formed response, in which no
field has a name or a line that the application did not ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hardhttp.errors import HTTPError
from hardhttp.testing import Rig
from hardhttp.web.response import Response
from hardhttp.web.sending import send
from hardhttp.wire.disposition import content_disposition
from tests.web.ontwisted import OnTwisted
from tests.web.saying import GET, Says

# What ends a line, or might for somebody: alone, doubled, folded, encoded, in other alphabets.
_ENDS = [
    "\r\n",
    "\n",
    "\r",
    "\n\n",
    "\r\r",
    "\r\n\r\n",
    "\n\r",
    "\r\n ",
    "\r\n\t",
    "\n\t",
    "\0",
    "\0\r\n",
    "\r\0\n",
    "\v",
    "\f",
    "\x1b",
    "\x7f",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "\u0d0a",  # its low bytes are CR and LF, for whoever cuts text to bytes
    "\u560a",
    "\u010d\u010a",
    "\ud800",
]
_FORGED = [
    "Injected: yes",
    "Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nInjected: yes\r\n\r\n",
    "<script>alert(1)</script>",
]
CORPUS = [f"before{end}{forged}" for end in _ENDS for forged in _FORGED]
CORPUS += [end + "Injected: yes" for end in _ENDS] + ["Injected: yes" + end for end in _ENDS]


def in_headers(text: str) -> Response:
    return Response(200, {"X-Given": text}, b"body")


def as_bytes(text: str) -> Response:
    return Response(200, [(b"X-Given", text.encode("utf-8", "surrogatepass"))], b"body")


def as_name(text: str) -> Response:
    return Response(200, {text: "yes"}, b"body")


def behind_the_checks(text: str) -> Response:
    response = Response(200, {"X-Given": "a"}, b"body")
    response.headers._rawHeaders[b"X-Given"] = [text.encode("utf-8", "surrogatepass")]
    return response


def name_behind_the_checks(text: str) -> Response:
    response = Response(200, {"X-Given": "a"}, b"body")
    response.headers._rawHeaders[text.encode("utf-8", "surrogatepass")] = [b"yes"]
    return response


def _cookie(**options: Any) -> Response:
    response = Response(200, None, b"body")
    response.set_cookie(**{"name": "given", "value": "", **options})
    return response


def _deleted(text: str) -> Response:
    response = Response(200, None, b"body")
    response.delete_cookie(text)
    return response


def _raise(error: HTTPError) -> Response:
    raise error


# By a Response: each makes one that might hold the text.
WAYS: dict[str, Callable[[str], Response]] = {
    "headers": in_headers,
    "headers as bytes": as_bytes,
    "a header's name": as_name,
    "headers behind the checks": behind_the_checks,
    "a name behind the checks": name_behind_the_checks,
    "content type": lambda text: Response(200, None, b"body", content_type=text),
    "etag": lambda text: Response(200, None, b"body", etag=text.encode("utf-8", "surrogatepass")),
    "etag as text": lambda text: Response(200, None, b"body", etag=text),
    "redirect": lambda text: Response.redirect("/" + text),
    "redirect elsewhere": lambda text: Response.redirect("https://a.example/" + text, external=True),
    "redirect to a host": lambda text: Response.redirect("https://" + text, external=True),
    "cookie name": lambda text: _cookie(name=text),
    "cookie value": lambda text: _cookie(value=text),
    "cookie value as bytes": lambda text: _cookie(value=text.encode("utf-8", "surrogatepass")),
    "cookie domain": lambda text: _cookie(domain=text),
    "cookie path": lambda text: _cookie(path="/" + text),
    "cookie same site": lambda text: _cookie(same_site=text),
    "deleted cookie": _deleted,
    "file name": lambda text: Response.file(__file__, download_name=text),
    "inline file name": lambda text: Response(
        200, {"Content-Disposition": content_disposition(text, "inline").decode()}, b"body"
    ),
    "abort": lambda text: _raise(HTTPError(404, text, {"X-Given": text})),
    "abort by name": lambda text: _raise(HTTPError(404, text, {text: "yes"})),
    "detail and problem": lambda text: _raise(HTTPError(404, text, None, {"type": text, text: text})),
}


# On the request itself, as twisted.web's applications do.
def _on_request(call: Callable[[Any, Any], object], as_bytes: bool) -> Callable[[Any, str], bytes]:
    def answer(request: Any, text: str) -> bytes:
        call(request, text.encode("utf-8", "surrogatepass") if as_bytes else text)
        return b"body"

    return answer


_CALLS: dict[str, Callable[[Any, Any], object]] = {
    "setHeader": lambda request, text: request.setHeader("X-Given", text),
    "setHeader, plain": lambda request, text: request.setHeader("Cache-Control", text),
    "setHeader by name": lambda request, text: request.setHeader(text, "yes"),
    "addRawHeader": lambda request, text: request.responseHeaders.addRawHeader("X-Given", text),
    "addCookie name": lambda request, text: request.addCookie(text, "v"),
    "addCookie value": lambda request, text: request.addCookie("given", text),
    "addCookie path": lambda request, text: request.addCookie("given", "v", path=text),
    "addCookie domain": lambda request, text: request.addCookie("given", "v", domain=text),
    "addCookie expires": lambda request, text: request.addCookie("given", "v", expires=text),
    "addCookie comment": lambda request, text: request.addCookie("given", "v", comment=text),
    "addCookie max_age": lambda request, text: request.addCookie("given", "v", max_age=text),
    "addCookie sameSite": lambda request, text: request.addCookie("given", "v", sameSite=text),
    "redirect": lambda request, text: request.redirect(text),
    "setETag": lambda request, text: request.setETag(text),
    "message": lambda request, text: request.setResponseCode(200, text),
    "cookies": lambda request, text: request.cookies.append(b"given=" + text),
}
ON_REQUEST = {
    f"{name} as {'bytes' if raw else 'text'}": _on_request(call, raw)
    for name, call in _CALLS.items()
    for raw in (True, False)
}

# Every field that an answer here may have. What an application names itself is a token or nothing.
EXPECTED = {
    b"server",
    b"date",
    b"content-length",
    b"content-type",
    b"content-disposition",
    b"cache-control",
    b"etag",
    b"last-modified",
    b"location",
    b"set-cookie",
    b"vary",
    b"x-given",
    b"x-request-id",
    b"connection",
}


def check(responses: list[Any], text: str) -> None:
    (response,) = responses  # the reader is strict: a bare CR, LF or NUL anywhere is an error of its own
    assert response.complete
    names = [name for name, _ in response.headers]
    assert set(names) <= EXPECTED, (text, names)
    single = [name for name in names if name != b"set-cookie"]
    assert len(single) == len(set(single)), (text, names)
    assert names.count(b"set-cookie") <= 1
    for name, value in response.headers:
        if name == b"set-cookie":
            assert value.startswith((b"given=", b"before", b"Injected")), value
            if b";" in value:  # an attribute is one that was asked for
                known = (b"path", b"domain", b"expires", b"max-age", b"comment", b"secure", b"httponly", b"samesite")
                attributes = [part.strip().partition(b"=")[0].lower() for part in value.split(b";")[1:]]
                assert set(attributes) <= set(known)
    if response.get(b"content-type") == b"text/html; charset=utf-8":
        assert b"<script>" not in response.body


def test_the_corpus_is_large_enough() -> None:
    assert len(set(CORPUS)) >= 100


@pytest.mark.parametrize("way", WAYS)
def test_by_a_response(way: str) -> None:
    text = ""
    with Rig(Says(lambda request: WAYS[way](text))) as rig:
        for text in CORPUS:
            check(rig.exchange(GET), text)
            rig.flush()


def _answered_on_twisted(request: Any, make: Callable[[str], Response], text: str) -> Any:
    try:
        return send(request, make(text))
    except (ValueError, HTTPError):
        return b"refused"


@pytest.mark.parametrize("way", [way for way in WAYS if "abort" not in way and "detail" not in way])
def test_by_a_response_on_twisted_web(way: str) -> None:
    for text in CORPUS:
        there = OnTwisted(Says(lambda request, text=text: _answered_on_twisted(request, WAYS[way], text)))
        there.send(GET)
        check(there.responses(), text)


@pytest.mark.parametrize("way", ON_REQUEST)
def test_by_the_request(way: str) -> None:
    text = ""
    with Rig(Says(lambda request: ON_REQUEST[way](request, text))) as rig:
        # A phrase may hold what is not ASCII (RFC 9112, 4), and the reader here takes none.
        for text in CORPUS if "message" not in way else filter(str.isascii, CORPUS):
            check(rig.exchange(GET), text)
            rig.flush()

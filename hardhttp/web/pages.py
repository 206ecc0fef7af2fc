"""Error pages: what is said for a 4xx or 5xx, in HTML or as JSON (RFC 9457).

Who asks for JSON (``application/json``, ``application/problem+json`` or any ``+json`` at least as much as
for HTML) gets a problem document; browsers, and ``Accept: */*`` as ``curl`` sends it, get HTML. Both carry the
request's id, which is also sent as ``X-Request-ID`` (on error pages alone) and stands in the log beside
what went wrong. Details are escaped. A page loads nothing and runs nothing.

A site may make its own: ``site.error_page = f(request, problem)`` returns bytes, text, a ``Response``,
or ``None`` for ours. One that fails is logged, and ours goes out.

``refusal_page`` is for the connection's own refusals, often of attacks: it costs microseconds. A site may
make these too: ``site.refusal_page = f(problem, head)`` returns a type and a body; there is no request then,
and ``head`` is ``None`` where none could be read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import util

from hardhttp.errors import Fault
from hardhttp.web.beforehead import drop_field, vary_on
from hardhttp.wire.grammar import FIELD_VALUE, TOKEN
from hardhttp.wire.head import Head
from hardhttp.wire.negotiation import preferred, wants_other
from hardhttp.wire.response import reason_phrase

if TYPE_CHECKING:
    pass

__all__ = ["Problem", "error_page", "failed", "refusal_page", "refused", "render", "wants_json"]

_log = Logger(namespace="hardhttp")

HTML = b"text/html; charset=utf-8"
JSON = b"application/problem+json"

_PAGE = """\
<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>{status} {title}</title>
<style>
:root{{color-scheme:light dark;--ink:#1d2733;--quiet:#66717f;--paper:#f6f7f9;--rule:#2b6cb0}}
@media(prefers-color-scheme:dark){{:root{{--ink:#e4e9ef;--quiet:#93a0ae;--paper:#14191f;--rule:#63a4e8}}}}
body{{font:1rem/1.6 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0}}
main{{max-width:40rem;margin:15vh auto;padding:0 1.5rem;border-left:.25rem solid var(--rule)}}
h1{{font-size:1.6rem;line-height:1.25;margin:0}}p{{margin:.6rem 0 0}}small{{color:var(--quiet)}}
pre{{overflow:auto}}
</style>
<main><h1>{status} {title}</h1>{detail}{id}</main>
"""
_ID = "<p><small>Request <code>{}</code></small>"

# What describes the document that an error page takes the place of.
_REPLACED = (
    b"Accept-Ranges",
    b"Content-Disposition",
    b"Content-Language",
    b"Content-Length",
    b"Content-Range",
    b"ETag",
    b"Expires",
    b"Last-Modified",
)
_OFFERS = ("text/html", "application/problem+json", "application/json")
# A request's Accept is read no further than this on the way of an attack.
MAX_ACCEPT_BYTES = 1024


@attrs.frozen
class Problem:
    """What went wrong, for whoever shows it. ``members`` are further ones of the JSON document."""

    status: int
    title: str
    detail: str
    request_id: str
    members: Mapping[str, Any] = attrs.field(factory=dict)

    def document(self) -> dict[str, Any]:
        """The problem document (RFC 9457, 3.1)."""
        document: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            document["detail"] = self.detail
        document["instance"] = f"urn:hardhttp:request:{self.request_id}"
        document |= self.members
        return {**document, "status": self.status, "request_id": self.request_id}

    def json(self) -> bytes:
        return json.dumps(self.document(), default=str).encode("ascii") + b"\n"

    def html(self) -> bytes:
        detail = f"<p>{escape(self.detail)}" if self.detail else ""
        return _html(self.status, self.title, detail, self.request_id)


def _html(status: int, title: str, detail: str, request_id: str) -> bytes:
    page = _PAGE.format(status=status, title=escape(title), detail=detail, id=_ID.format(escape(request_id)))
    return page.encode("utf-8", "replace")


def wants_json(accept: bytes | None) -> bool:
    """Whether an Accept field prefers a problem document to HTML."""
    if accept is None or b"/" not in accept:
        return False
    chosen = preferred(accept, _OFFERS)
    if chosen is not None:
        return chosen != "text/html"
    return wants_other(accept, "json")  # application/vnd.api+json and its like


def error_page(
    request: Any,
    status: int,
    detail: str = "",
    headers: Mapping[str, str] | None = None,
    problem: Mapping[str, Any] | None = None,
    title: str | None = None,
) -> bytes:
    """Set ``status`` and its headers on any ``IRequest``, and return the page.

    ``detail`` is text for the client, ``title`` stands for the status's phrase, ``problem`` are further
    members of the JSON document. Fields that described another document are taken off ``request``;
    others stay. Raises ``ValueError`` for a header that cannot be sent.
    """
    phrase = reason_phrase(status).decode("ascii")
    found = Problem(status, phrase if title is None else title, detail, _id_of(request), dict(problem or {}))
    return _put(request, found, headers)


def _put(request: Any, problem: Problem, headers: Mapping[str, str] | None, html_detail: str | None = None) -> bytes:
    fields = {name.encode("ascii"): value.encode("utf-8") for name, value in (headers or {}).items()}
    for name, value in fields.items():
        if TOKEN.fullmatch(name) is None or FIELD_VALUE.fullmatch(value) is None:
            raise ValueError(f"the header field {name!r} cannot be sent")
    drop_document(request)
    request.setResponseCode(problem.status)
    page = _from_site(request, problem)
    if page is None:
        if wants_json(request.getHeader(b"accept")):
            kind, page = JSON, problem.json()
        elif html_detail is not None:
            kind, page = HTML, _html(problem.status, problem.title, html_detail, problem.request_id)
        else:
            kind, page = HTML, problem.html()
        request.setHeader(b"Content-Type", kind)
        vary_on(request, [b"Accept"])
    request.setHeader(b"Cache-Control", b"no-store")  # the page is this request's, not the document's
    request.setHeader(b"X-Request-ID", problem.request_id.encode("latin-1", "replace"))
    for name, value in fields.items():
        request.setHeader(name, value)
    return page


def drop_document(request: Any) -> None:
    """Take off ``request`` what described another document than the one that answers it now."""
    for name in _REPLACED:
        drop_field(request, name)
    if getattr(request, "_encoder", None) is None:  # else what is sent will be encoded indeed
        drop_field(request, b"Content-Encoding")
    if getattr(request, "etag", None) or getattr(request, "lastModified", None):
        request.etag = request.lastModified = None


def _from_site(request: Any, problem: Problem) -> bytes | None:
    """The site's own page, if it has one."""
    own = getattr(getattr(request, "site", None), "error_page", None)
    if own is None:
        return None
    try:
        return _as_page(request, own(request, problem))
    except Exception:
        _log.failure("the site's error_page failed; request {id} gets the ordinary one", id=problem.request_id)
        request.setResponseCode(problem.status)
        return None


def _as_page(request: Any, answer: Any) -> bytes | None:
    if answer is None or isinstance(answer, bytes):
        if answer is not None:
            request.setHeader(b"Content-Type", HTML)
        return answer
    if isinstance(answer, str):
        request.setHeader(b"Content-Type", HTML)
        return answer.encode("utf-8")
    # A Response; this module lies below the one that has it.
    body = answer.body
    if not isinstance(body, (bytes, str)):
        answer.close()
        raise TypeError(f"an error page's body is {type(body).__name__}; it must be bytes or str")
    request.setResponseCode(answer.status)
    request.setHeader(b"Content-Type", HTML)
    for name, values in answer.headers.getAllRawHeaders():
        request.responseHeaders.setRawHeaders(name, values)
    return body if isinstance(body, bytes) else body.encode("utf-8")


def _id_of(request: Any) -> str:
    request_id = getattr(request, "request_id", None)
    return request_id if isinstance(request_id, str) else secrets.token_hex(8)


def render(request: Any, status: int, detail: str = "") -> bytes:
    """As ``error_page``, with a ``detail`` that is HTML already; without it where JSON is asked for."""
    problem = Problem(status, reason_phrase(status).decode("ascii"), "", _id_of(request))
    return _put(request, problem, None, detail)


def failed(request: Any, failure: Failure | None) -> bytes:
    """The page of a failed handler: its id, and the traceback only in development."""
    said = "The server could not answer. Its log says why, under the request's id."
    problem = Problem(500, "Internal Server Error", said, _id_of(request))
    if failure is None:
        return _put(request, problem, None)
    problem = attrs.evolve(problem, members={"traceback": failure.getTraceback()})
    return _put(request, problem, None, f"<p>{said}" + util.formatFailure(failure).decode("utf-8", "replace"))


# -- for the connection's own refusals -------------------------------------------------------


def refused(fault: Fault, request_id: str) -> Problem:
    """What there is to tell of ``fault``."""
    return Problem(fault.status, _phrase(fault.status), fault.detail, request_id)


def refusal_page(problem: Problem, head: Head | None) -> tuple[bytes, bytes]:
    """The type and the body of the page for a refusal; ``head`` is the request's, where it was read."""
    accept = None
    for name, value in () if head is None else head.fields:
        if name == b"accept":
            accept = value[:MAX_ACCEPT_BYTES]
    return (JSON, problem.json()) if wants_json(accept) else (HTML, problem.html())


def _phrase(status: int) -> str:
    return reason_phrase(status).decode("ascii")

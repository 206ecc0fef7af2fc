"""A ``Response`` onto a request: ours, or ``twisted.web``'s.

``send`` evaluates preconditions, sets status and headers, and gives what ``render`` may return. Whatever
happens, the response's body is closed: when it has been sent, when it need not be (HEAD, 304, 412), when
the client goes, and when something fails.

Headers set on the request before stay, unless the response sets them; Set-Cookie and Vary are added to.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from twisted.web.iweb import IBodyProducer
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import HTTPError
from hardhttp.net.sendfile import FileProducer, OpenFile, read_span
from hardhttp.web import pages
from hardhttp.web.beforehead import vary_on
from hardhttp.web.pieces import BodyRelay, PieceProducer
from hardhttp.web.responding import Responding
from hardhttp.web.response import FileBody, Response
from hardhttp.wire.conditional import ENTITY_TAG, evaluate, http_date, kept_in_304
from hardhttp.wire.grammar import FIELD_VALUE, TOKEN
from hardhttp.wire.ranges import Span
from hardhttp.wire.response import has_no_body

__all__ = ["check_preconditions", "etag_of", "field", "send"]

# A file no longer than this is read at once and goes out with its head.
WHOLE_BYTES = 64 * 1024

_FRAMING = frozenset({b"Content-Length", b"Transfer-Encoding"})


def send(request: Any, response: Response) -> Any:
    """Put ``response`` on ``request``: the bytes that ``render`` may return, or ``NOT_DONE_YET``.

    Who is not in ``render`` any more writes the bytes and finishes. Raises ``ValueError`` for a header
    that cannot be sent, before anything is.
    """
    try:
        return _send(request, response)
    except BaseException:
        response.close()
        raise


def _send(request: Any, response: Response) -> Any:
    body, status = response.body, response.status
    if isinstance(body, str):
        body = body.encode("utf-8")
        if response._type is None and not response.headers.hasHeader(b"Content-Type"):
            response.headers.setRawHeaders(b"Content-Type", [b"text/html; charset=utf-8"])
    elif body is None:
        body = b""
    fields = _fields(response, body)
    if 200 <= status < 300 and (
        response.etag is not None or response.last_modified is not None or response.conditional
    ):
        verdict = _judge(request, response, body, fields)
        if verdict == 412:
            response.close()
            return pages.error_page(request, 412, "The document is not, or is no longer, what the request expects.")
        if verdict == 304:
            status = 304
            _reduce(request, fields)
    request.setResponseCode(status)
    _set(request, fields)
    if type(body) is bytes and not (status != 200 and has_no_body(status)):
        return body
    if request.method == b"HEAD" or has_no_body(status):
        return _without_body(request, response, status, body)
    return _begin(request, response, body)


def _fields(response: Response, body: Any) -> list[tuple[bytes, list[bytes]]]:
    """The response's own fields, each of which has been looked at."""
    if response._headers is None:
        return [] if response._type is None else [(b"Content-Type", [response._type])]
    whole = isinstance(body, (bytes, bytearray, memoryview, FileBody))
    fields = []
    for name, values in response._headers.getAllRawHeaders():
        if TOKEN.fullmatch(name) is None or any(FIELD_VALUE.fullmatch(value) is None for value in values):
            raise ValueError(f"the header field {name!r} cannot be sent")
        if name not in _FRAMING or (name == b"Content-Length" and not whole):
            fields.append((name, list(values)))
    return fields


def _judge(request: Any, response: Response, body: Any, fields: list[tuple[bytes, list[bytes]]]) -> int | None:
    """Add the validators; what the request's preconditions say. A body that is made by then is not made again."""
    etag = response.etag
    if etag is None and response.conditional and isinstance(body, bytes):
        etag = etag_of(body)
    when = None if response.last_modified is None else int(response.last_modified)
    if when is not None and isinstance(request, Responding):
        when = min(when, int(request.site.server.now))  # RFC 9110, 8.8.2.1: never later than Date
    if etag is not None:
        if ENTITY_TAG.fullmatch(etag) is None:
            raise ValueError("the response's ETag is no tag in quotes, such as '\"v1\"'")
        fields.append((b"ETag", [etag]))
    if when is not None:
        fields.append((b"Last-Modified", [http_date(when)]))
    # RFC 9110, 13.2.1: other methods have done by now what their preconditions might have forbidden.
    if request.method not in (b"GET", b"HEAD"):
        return None
    return evaluate(request.method, lambda name: field(request, name), etag, when)


def etag_of(body: bytes) -> bytes:
    """A strong ETag for these very bytes."""
    return b'"' + urlsafe_b64encode(sha256(body).digest()[:15]) + b'"'


def field(request: Any, name: bytes) -> bytes | None:
    """The combined value of a request's field (RFC 9110, 5.3); ``name`` in lower case."""
    if isinstance(request, Responding):
        return request.combined(name)
    values = request.requestHeaders.getRawHeaders(name)
    return b", ".join(values) if values else None


def check_preconditions(request: Any, etag: bytes | None = None, last_modified: float | None = None) -> None:
    """Before a PUT, PATCH, POST or DELETE changes anything: raise ``HTTPError`` 412 if it must not.

    ``etag`` and ``last_modified`` are those of the document as it is now.
    """
    when = None if last_modified is None else int(last_modified)
    if evaluate(request.method, lambda name: field(request, name), etag, when) == 412:
        raise HTTPError(412, "The document is not, or is no longer, what the request expects.")


def _reduce(request: Any, fields: list[tuple[bytes, list[bytes]]]) -> None:
    """Leave what a 304 has (RFC 9110, 15.4.5)."""
    has_etag = any(name == b"ETag" for name, _ in fields)
    fields[:] = [(name, values) for name, values in fields if kept_in_304(name, has_etag=has_etag)]
    if isinstance(request, Responding):
        return  # it does the same to whatever else it has
    for name, _ in [*request.responseHeaders.getAllRawHeaders()]:
        if not kept_in_304(name, has_etag=has_etag):
            request.responseHeaders.removeHeader(name)


def _set(request: Any, fields: Iterable[tuple[bytes, list[bytes]]]) -> None:
    for name, values in fields:
        if name == b"Vary":
            vary_on(request, [item.strip() for value in values for item in value.split(b",")])
        elif name == b"Set-Cookie" and hasattr(request, "cookies"):
            request.cookies.extend(values)  # twisted.web puts these in place of any others
        elif len(values) == 1:
            request.setHeader(name, values[0])
        else:
            request.responseHeaders.setRawHeaders(name, values)


def _without_body(request: Any, response: Response, status: int, body: Any) -> Any:
    """A response that is a head alone."""
    if request.method == b"HEAD" and not has_no_body(status):
        size = _size(body)
        if size is not None:
            request.setHeader(b"Content-Length", b"%d" % size)
    response.close()
    if isinstance(request, Responding):
        return b""
    request.write(b"")  # twisted.web would say Content-Length: 0
    request.finish()
    return NOT_DONE_YET


def _size(body: Any) -> int | None:
    """How long a body will be, where that is known."""
    if isinstance(body, FileBody):
        return body.size
    length = body.length if IBodyProducer.providedBy(body) else None
    return length if isinstance(length, int) else None


def _begin(request: Any, response: Response, body: Any) -> Any:
    """Start what sends a body that is not bytes; from here on the body is its."""
    response.body = b""
    try:
        if isinstance(body, FileBody):
            return _begin_file(request, body)
        if isinstance(body, (bytes, bytearray, memoryview)):
            return bytes(body)
        if IBodyProducer.providedBy(body):
            producer: Any = BodyRelay(request, body)
        elif hasattr(body, "__aiter__") or (hasattr(body, "__iter__") and not hasattr(body, "keys")):
            producer = PieceProducer(request, body)
        else:
            raise TypeError(f"a response's body is {type(body).__name__}; it can be bytes, str, a file or an iterator")
    except BaseException:
        response.body = body
        raise
    producer.start()
    return NOT_DONE_YET


def _begin_file(request: Any, body: FileBody) -> Any:
    if body.size <= WHOLE_BYTES:
        data = read_span(body.file.descriptor, Span(0, body.size)) if body.size else b""
        body.close()
        if len(data) != body.size:
            raise OSError("a file became shorter while it was sent")
        return data
    request.setHeader(b"Content-Length", b"%d" % body.size)
    file = body.file
    if isinstance(request, Responding):
        file = OpenFile(body.file.descriptor, request.site.ledger)
        body.file.descriptor = -1  # it is the other's now, and in the ledger
    FileProducer(request, file, [Span(0, body.size)]).start()
    return NOT_DONE_YET

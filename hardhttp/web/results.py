"""What a handler returns, as what a request sends.

    dict, list, a mapping, a dataclass's or attrs class's instance     JSON
    str                                                                 HTML, as UTF-8
    bytes                                                               as they are
    None                                                                204, or the status that was set, and no body
    Response                                                            itself
    an iterator, a generator, either asynchronous, an IBodyProducer     sent as it comes
    NOT_DONE_YET                                                        the handler writes and finishes by itself

An ``Element`` or ``Tag`` of ``twisted.web.template`` has to be rendered first, by ``rendered``: it becomes HTML.

A Content-Type that the handler has set stays. Anything else, a tuple for one, is a ``TypeError``: what
it was meant to say would be a guess. Deferreds, coroutines and templates have been waited for before they come here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.web.error import FlattenerError
from twisted.web.iweb import IBodyProducer
from twisted.web.server import NOT_DONE_YET
from twisted.web.template import Element, Tag, flattenString

from hardhttp.errors import HTTPError
from hardhttp.web.jsontext import encode_json, is_record
from hardhttp.web.responding import Responding
from hardhttp.web.response import Response, close_body
from hardhttp.web.sending import send

__all__ = ["TEMPLATES", "discard", "is_later", "make_response", "rendered", "send_value"]

TEMPLATES = (Element, Tag)
DOCTYPE = b"<!DOCTYPE html>\n"
HTML = b"text/html; charset=utf-8"
JSON = b"application/json"


def is_later(value: Any) -> bool:
    """Whether ``value`` is to be waited for."""
    return isinstance(value, Deferred) or iscoroutine(value)


async def rendered(request: Any, template: Element | Tag) -> bytes:
    """The template as HTML, with a doctype if it is a whole page. Raises what ``abort`` does in one of its renderers,
    and ``FlattenerError``, which says where in the template, for all else.
    """
    try:
        page = await flattenString(request, template)
    except FlattenerError as error:
        cause, roots, _ = error.args
        for root in roots:
            if isinstance(root, Deferred):  # it has failed still, and would log that once more
                root.addErrback(lambda _: None)
        if not isinstance(cause, (HTTPError, CancelledError)):
            raise
    else:
        return _page(request, page)
    try:
        raise cause  # not while the other is handled, which holds it
    finally:
        del cause, roots


def _page(request: Any, page: bytes) -> bytes:
    if not _has_type(request):
        request.setHeader(b"Content-Type", HTML)
    return DOCTYPE + page if page.startswith((b"<html>", b"<html ")) else page


def send_value(request: Any, value: Any) -> Any:
    """Put ``value`` on any ``IRequest``: the bytes that ``render`` may return, or ``NOT_DONE_YET``.

    Raises ``TypeError`` for what is no answer, and what ``encode_json`` raises.
    """
    kind = type(value)
    if kind is dict or kind is list:
        body = encode_json(value)
        if not _has_type(request):
            request.setHeader(b"Content-Type", JSON)
        return body
    if kind is bytes:
        return value
    if kind is str:
        if not _has_type(request):
            request.setHeader(b"Content-Type", HTML)
        return value.encode("utf-8")
    if value is NOT_DONE_YET:
        return value
    if value is None and request.startedWriting:
        # The handler has written the answer itself; what it returned, nothing, is its end.
        if not request.finished:
            request.finish()
        return NOT_DONE_YET
    return send(request, make_response(request, value))


def make_response(request: Any, value: Any) -> Response:
    """``value`` as a ``Response`` with the status that was set on ``request``."""
    if isinstance(value, Response):
        return value
    status = request.code
    given = _has_type(request)
    if isinstance(value, (dict, list, Mapping)) or is_record(value):
        return Response(status, None, encode_json(value), content_type=None if given else JSON)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Response(status, None, bytes(value))
    if isinstance(value, str):
        return Response(status, None, value.encode("utf-8"), content_type=None if given else HTML)
    if value is None:
        return Response(204 if status == 200 else status)
    if isinstance(value, (Iterator, AsyncIterator)) or IBodyProducer.providedBy(value):
        return Response(status, None, value, content_type=None if given else HTML)
    raise TypeError(
        f"a handler returned {type(value).__name__}; it can be a str, bytes, dict, list, dataclass, None, Response,"
        " iterator, IBodyProducer, Element or Tag, or a Deferred or coroutine of one"
    )


def discard(value: Any) -> None:
    """Let go of an answer that will not be sent."""
    if isinstance(value, Response):
        value.close()
    elif isinstance(value, (Iterator, AsyncIterator)) or IBodyProducer.providedBy(value):
        close_body(value)


def _has_type(request: Any) -> bool:
    if isinstance(request, Responding):
        return request._has_header(b"Content-Type")
    return bool(request.responseHeaders.hasHeader(b"content-type"))

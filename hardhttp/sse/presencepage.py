"""Who is subscribed, to be asked for: the documents of Mercure's subscription API.

A document is JSON-LD: all subscriptions, those of a topic, or one of them. ``lastEventID`` in it is where to
subscribe from, to miss nobody who comes or goes after it. Its ETag is of what it says, so that asking again
costs no more than a 304. Whether the asker may see it is judged before, by whoever calls ``show``.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.http import CACHED
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import HTTPError
from hardhttp.sse.history import EARLIEST
from hardhttp.sse.presence import CONTEXT, PATH
from hardhttp.web.jsontext import encode_json
from hardhttp.web.pages import error_page

if TYPE_CHECKING:
    from hardhttp.sse.presence import LocalPresence
    from hardhttp.sse.sharedpresence import SharedPresence

__all__ = ["show", "url_of"]

ETAG_BYTES = 16


def url_of(path: Sequence[str]) -> str:
    """Where the subscriptions of ``path`` stand: of nothing, a topic, or a topic and a subscriber's id."""
    return "/".join([f"{PATH}/subscriptions", *(quote(segment, safe="") for segment in path)])


def show(request: Any, presence: LocalPresence | SharedPresence, path: Sequence[str], last_id: str) -> bytes | int:
    """Answer with the subscriptions of ``path``; what ``render`` returns. Raises ``HTTPError``.

    ``last_id`` is of before, so that who goes on from there misses nobody.
    """
    found = presence.find(path)
    if not isinstance(found, Deferred):
        return _document(request, path, found, last_id)
    request.notifyFinish().addErrback(lambda _: found.cancel())
    document = found.addCallback(lambda present: _document(request, path, present, last_id))
    document.addErrback(_refusal, request).addBoth(_answer, request)
    return NOT_DONE_YET


def _document(request: Any, path: Sequence[str], found: list[dict[str, Any]], last_id: str) -> bytes:
    """Raises ``HTTPError`` for a subscription that is not there."""
    if len(path) == 2:
        if not found:
            raise HTTPError(404)
        document: dict[str, Any] = {"@context": CONTEXT, **found[0], "lastEventID": last_id}
    else:
        document = {"@context": CONTEXT, "id": url_of(path), "type": "Subscriptions", "lastEventID": last_id}
        document["subscriptions"] = found
    body = encode_json(document)
    request.setHeader(b"Content-Type", b"application/ld+json")
    request.setHeader(b"Cache-Control", b"no-cache")
    request.setHeader(b"Link", b'<%b>; rel="mercure"' % PATH.encode("ascii"))
    # Somebody may be listed before he is told of, where a broker keeps the list.
    nothing_yet = last_id == EARLIEST and not found
    tag = EARLIEST if nothing_yet else blake2b(body, digest_size=ETAG_BYTES).hexdigest()
    return b"" if request.setETag(b'"%b"' % tag.encode("ascii")) is CACHED else body


def _refusal(failure: Failure, request: Any) -> bytes | Failure:
    error = failure.value
    if not isinstance(error, HTTPError):
        return failure
    return error_page(request, error.status, error.detail, error.headers, error.problem)


def _answer(became: bytes | Failure, request: Any) -> None:
    """Whoever asked may have gone."""
    if not isinstance(became, Failure):
        request.write(became)
        request.finish()
    elif not became.check(CancelledError):
        request.processingFailed(became)

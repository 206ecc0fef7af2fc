"""How a file that was found is answered with: by preconditions, by coding, by ranges, whole.

RFC 9110 in the order it asks for: the variant is chosen (12), then preconditions are judged (13.2.2), then
ranges (14). A small file is bytes to be returned; a large one is handed to ``FileProducer``. Nothing is
sent of a file that is not the one that was found.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.web.server import NOT_DONE_YET

from hardhttp.net.sendfile import FileProducer, OpenFile, read_span
from hardhttp.net.server import Server
from hardhttp.web.beforehead import set_field, vary_on
from hardhttp.web.filecache import FileCache, Found, Variant
from hardhttp.web.fileroot import Visit
from hardhttp.web.pages import error_page
from hardhttp.web.sending import field
from hardhttp.wire.conditional import evaluate, if_range_holds, kept_in_304
from hardhttp.wire.negotiation import preferred_coding
from hardhttp.wire.ranges import Span, content_range, multipart_pieces, parse_ranges, unsatisfied_range

__all__ = ["SMALL_BYTES", "answer_file", "now_of", "server_of", "set_fields"]

# Up to this a file is one read, and one write with its head.
SMALL_BYTES = 64 * 1024


def answer_file(request: Any, visit: Visit, found: Found, cache: FileCache) -> Any:
    """Send ``found``; ``None`` when it is no longer what it was."""
    coding = "identity"
    if found.codings:
        coding = preferred_coding(field(request, b"accept-encoding"), found.codings) or "identity"
    variant = found.variants[coding]
    status = evaluate(request.method, partial(field, request), variant.etag, variant.last_modified)
    if status == 412:
        return error_page(request, 412)
    if status == 304:
        set_fields(request, {n: v for n, v in variant.fields.items() if kept_in_304(n, has_etag=True)})
        request.setResponseCode(304)
        return b""
    spans = _spans(request, variant)
    if spans == ():
        headers = {"Content-Range": unsatisfied_range(variant.size).decode("ascii")}
        return error_page(request, 416, headers=headers)
    if variant.size <= SMALL_BYTES:
        content = _content(visit, found, variant, cache)
        return None if content is None else _send_small(request, variant, content, spans)
    return _send_large(request, visit, variant, spans)


def _spans(request: Any, variant: Variant) -> tuple[Span, ...] | None:
    """The ranges asked for; only GET has any (RFC 9110, 14.2)."""
    asked = field(request, b"range") if request.method == b"GET" else None
    if asked is None:
        return None
    date = now_of(request)
    condition = field(request, b"if-range")
    if not if_range_holds(condition, variant.etag, variant.last_modified, 0 if date is None else int(date)):
        return None
    return parse_ranges(asked, variant.size)


def _content(visit: Visit, found: Found, variant: Variant, cache: FileCache) -> bytes | None:
    if variant.content is not None:
        return variant.content
    descriptor, place = visit.open(variant.relative)
    try:
        content = read_span(descriptor, Span(0, variant.size + 1))
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if not variant.is_of(place.status) or not variant.is_of(after) or len(content) != variant.size:
        return None
    cache.keep(found, variant, content)
    return content


def _send_small(request: Any, variant: Variant, content: bytes, spans: tuple[Span, ...] | None) -> bytes:
    set_fields(request, variant.fields)
    if spans is not None:
        pieces, _ = _part(request, variant, spans)
        content = b"".join(content[piece.start : piece.stop] if isinstance(piece, Span) else piece for piece in pieces)
    if request.method == b"HEAD":
        request.setHeader(b"Content-Length", b"%d" % len(content))
        return b""
    return content


def _send_large(request: Any, visit: Visit, variant: Variant, spans: tuple[Span, ...] | None) -> Any:
    descriptor, place = visit.open(variant.relative)
    if not variant.is_of(place.status):
        os.close(descriptor)
        return None
    server = server_of(request)
    file = OpenFile(descriptor, None if server is None else server.ledger)
    try:
        set_fields(request, variant.fields)
        pieces: list[bytes | Span] = [Span(0, variant.size)]
        length = variant.size
        if spans is not None:
            pieces, length = _part(request, variant, spans)
        request.setHeader(b"Content-Length", b"%d" % length)
    except BaseException:
        file.close()
        raise
    if request.method == b"HEAD":
        file.close()
        return b""
    FileProducer(request, file, pieces).start()
    return NOT_DONE_YET


def _part(request: Any, variant: Variant, spans: tuple[Span, ...]) -> tuple[list[bytes | Span], int]:
    """A 206's body, in pieces, and its length (RFC 9110, 15.3.7); sets its headers."""
    request.setResponseCode(206)
    if len(spans) == 1:
        request.setHeader(b"Content-Range", content_range(spans[0], variant.size))
        return list(spans), spans[0].length
    boundary = secrets.token_hex(12).encode("ascii")
    pieces, length = multipart_pieces(spans, variant.size, variant.fields[b"Content-Type"], boundary)
    request.setHeader(b"Content-Type", b"multipart/byteranges; boundary=" + boundary)
    return pieces, length


def set_fields(request: Any, fields: Mapping[bytes, bytes]) -> None:
    """Set response headers that are known to be sound; of Vary nothing is lost."""
    plain = getattr(request, "plain_headers", None)
    if plain is not None and b"Vary" not in plain:
        plain.update(fields)
        return
    for name, value in fields.items():
        if name == b"Vary":
            vary_on(request, [value])
        else:
            set_field(request, name, value)


def server_of(request: Any) -> Server | None:
    server = getattr(getattr(request, "site", None), "server", None)
    return server if isinstance(server, Server) else None


def now_of(request: Any) -> float | None:
    """Seconds since the epoch by the site's clock; ``None`` where there is none to ask."""
    server = server_of(request)
    return None if server is None else server.now

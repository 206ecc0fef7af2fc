"""Compressed responses: a wrapper that encodes what is below it, where that is right and safe.

What it promises: a body is encoded only for who accepts that (RFC 9110, 12.5.3), never twice, never
in part, never against ``no-transform``. Whole bodies stay whole, with their length, unless they are so large
that compressing them would hold the reactor; then they go out in slices, turn by turn, as the client
takes them. A stream is flushed at each write, so that what is written arrives.

An answer that may mix a secret with what an attacker chose is left alone, because its length would give the secret away
(BREACH, CVE-2013-3587); ``docs/compression.rst`` has the rule, ``mixes_secrets`` decides.

The decision is made right before the head (``hardhttp.web.beforehead``); under ``twisted.web``'s own
server there is no such moment, and nothing is encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import IPullProducer
from twisted.web.resource import IResource
from zope.interface import implementer

from hardhttp.web.beforehead import drop_field, field, set_field, vary_on
from hardhttp.web.codings import AVAILABLE, Coding, coding
from hardhttp.web.wrapping import Wrapper
from hardhttp.wire.grammar import list_items
from hardhttp.wire.negotiation import preferred_coding
from hardhttp.wire.response import has_no_body

__all__ = ["TYPES", "Compressed"]

# What shrinks. Pictures, films, sound, archives and web fonts are compressed already.
TYPES = (
    "text/*",
    "*+json",
    "*+xml",
    "application/javascript",
    "application/json",
    "application/problem+json",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
)
# Named or not at all: each subscriber would have a compressor of its own for as long as it listens.
EVENT_STREAM = "text/event-stream"

MIN_BYTES = 1024  # less fits one packet with its head either way
# A body up to this is compressed at once: 1 to 3 ms. A larger one is a stream of slices: 1 ms a turn.
WHOLE_BYTES = 128 * 1024
SLICE_BYTES = 64 * 1024
MAX_STREAMS = 128  # some 0.2 to 0.5 MiB each
# Values of Accept-Encoding whose outcome is kept: browsers have a handful between them.
KEPT_FIELDS, KEPT_BYTES = 64, 128
KEPT_TYPES = 64

_VARY = (b"Accept-Encoding",)
# They are of the body as it was (RFC 9530; RFC 9110, 14.3).
_OF_THE_BODY = (b"Content-Digest", b"Repr-Digest", b"Digest", b"Content-MD5", b"Content-Encoding", b"Content-Range")


class Compressed(Wrapper):
    """``resource``, compressed for clients that accept it.

    Bodies shorter than ``min_bytes`` are left alone (streams have no length, and are not), and so are
    content types not among ``types``: each is ``type/subtype``, ``type/*`` or ``*+suffix``, and
    ``text/event-stream`` only when named. ``codings`` are those offered, the one liked best first: by
    default those of ``br``, ``zstd`` and ``gzip`` that are installed; ``levels`` maps them to levels.
    With ``secrets`` answers are compressed that may hold some. At most ``max_streams`` compressors are
    open at a time; what comes then goes out as it is, and is counted in ``declined``.

    Raises ``ValueError`` for what cannot be, and ``ImportError`` for a coding named that is not installed.
    """

    def __init__(
        self,
        resource: IResource,
        *,
        min_bytes: int = MIN_BYTES,
        types: Iterable[str] = TYPES,
        codings: Iterable[str] = AVAILABLE,
        levels: Mapping[str, int] | None = None,
        secrets: bool = False,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        super().__init__(resource)
        if min_bytes < 0 or max_streams < 0:
            raise ValueError(f"min_bytes is {min_bytes!r} and max_streams {max_streams!r}; neither may be below 0")
        if isinstance(types, str) or isinstance(codings, str):
            raise ValueError("types and codings must be lists")
        self._min_bytes = min_bytes
        self._types = frozenset(kind.lower() for kind in types)
        if bad := next((kind for kind in self._types if "/" not in kind and not kind.startswith("*+")), None):
            raise ValueError(f"types has {bad!r}; it must be like text/plain, text/* or *+json")
        self._kinds: dict[bytes, bool] = {}
        given = dict(levels or {})
        self._codings = {name: coding(name, given.pop(name, None)) for name in codings}
        if given:
            raise ValueError(f"levels has {', '.join(map(repr, given))}, which is not offered")
        self._secrets = secrets
        self._max_streams = max_streams
        self._accepted = lru_cache(KEPT_FIELDS)(self._read_accepted)
        self.streams = 0
        self.declined = 0

    def begin(self, request: Any) -> None:
        ask = getattr(request, "encode_with", None)
        if ask is not None:
            ask(self)

    # -- what a request asks when its head is due -------------------------------------------------

    def encode_whole(self, request: Any, body: bytes) -> bytes | None:
        """What to send for ``body``; ``None`` when that is seen to. A failure is logged, and ``body`` sent."""
        try:
            if request.method == b"HEAD" and not body:
                self._head_alone(request)
                return body
            chosen = self._chosen(request, len(body))
            if chosen is None:
                return body
            if len(body) > WHOLE_BYTES:
                return self._in_slices(request, chosen, body)
            coded = chosen.whole(body)
            if len(coded) >= len(body) and self._identity_will_do(request):
                return body
        except Exception:
            request.site.server.failed("a response could not be compressed")
            return body
        self._mark(request, chosen)
        return coded

    def encode_stream(self, request: Any) -> _Stream | None:
        """The encoder of a body about to begin, or ``None``."""
        try:
            if request.method == b"HEAD":
                self._head_alone(request)
                return None
            chosen = self._chosen(request, _length(request))
            if chosen is None:
                return None
            stream = self._open(request, chosen, flush=True)
        except Exception:
            request.site.server.failed("a response could not be compressed")
            return None
        if stream is not None:
            self._mark(request, chosen)
        return stream

    def _head_alone(self, request: Any) -> None:
        """The head of what GET would send, as far as that is known (RFC 9110, 9.3.2)."""
        length = _length(request)
        chosen = self._chosen(request, length)
        if chosen is not None and length is not None:
            self._mark(request, chosen)

    def _in_slices(self, request: Any, chosen: Coding, body: bytes) -> bytes | None:
        if request.method == b"HEAD":
            self._mark(request, chosen)
            return b""
        stream = self._open(request, chosen, flush=False)
        if stream is None:
            return body
        request.registerProducer(_Slices(request, body), False)
        request._encoder = stream
        self._mark(request, chosen)
        return None

    # -- deciding -----------------------------------------------------------------------------------

    def _chosen(self, request: Any, size: int | None) -> Coding | None:
        """The coding for a body of ``size`` (``None``: not known); Vary is set where it depends on the client."""
        code = request.code
        if code == 304:
            self._not_modified(request)
            return None
        if has_no_body(code):
            return None
        kind = field(request, b"Content-Type") or request.defaultContentType
        if kind is None or not self._is_compressible(kind):
            return None
        vary_on(request, _VARY)
        accept = request.getHeader(b"accept-encoding")
        if accept is None:
            return None
        chosen, identity_will_do = self._accepts(accept)
        if chosen is None or (size is not None and size < self._min_bytes and identity_will_do):
            return None
        if size == 0 or code == 206 or b"no-transform" in _members(request, b"Cache-Control"):
            return None
        if any(field(request, name) is not None for name in _OF_THE_BODY):
            return None
        return chosen if self._secrets or not mixes_secrets(request) else None

    def _not_modified(self, request: Any) -> None:
        """A 304 has what the 200 would have had (RFC 9110, 15.4.5): our weak tag, if that is what was asked with."""
        vary_on(request, _VARY)
        etag = request.etag or field(request, b"ETag")
        if etag is not None and b"W/" + etag in (request.getHeader(b"if-none-match") or b""):
            _weaken(request)

    def _is_compressible(self, kind: bytes) -> bool:
        known = self._kinds.get(kind)
        if known is None:
            known = self._matches(kind.partition(b";")[0].strip().lower().decode("latin-1"))
            if len(self._kinds) < KEPT_TYPES:  # an application's types are few; one that makes them up is not kept
                self._kinds[kind] = known
        return known

    def _matches(self, kind: str) -> bool:
        if kind in self._types:
            return True
        if kind == EVENT_STREAM:
            return False
        suffix = kind.rpartition("+")[2]
        return f"{kind.partition('/')[0]}/*" in self._types or f"*+{suffix}" in self._types

    def _accepts(self, accept: bytes) -> tuple[Coding | None, bool]:
        if len(accept) > KEPT_BYTES:
            return self._read_accepted(accept)
        return self._accepted(accept)

    def _read_accepted(self, accept: bytes) -> tuple[Coding | None, bool]:
        """What an Accept-Encoding gets of us, and whether it would take a body as it is."""
        chosen = preferred_coding(accept, tuple(self._codings))
        return self._codings.get(chosen or ""), preferred_coding(accept, ()) is not None

    def _identity_will_do(self, request: Any) -> bool:
        return self._accepts(request.getHeader(b"accept-encoding"))[1]

    # -- doing --------------------------------------------------------------------------------------

    def _mark(self, request: Any, chosen: Coding) -> None:
        """Say in the head what the body is now."""
        set_field(request, b"Content-Encoding", chosen.token)
        drop_field(request, b"Content-Length")
        drop_field(request, b"Accept-Ranges")  # ranges are of the body as it is, and are not mixed with this one
        _weaken(request)

    def _open(self, request: Any, chosen: Coding, flush: bool) -> _Stream | None:
        if self.streams >= self._max_streams:
            self.declined += 1
            return None
        stream = _Stream(chosen, flush)
        self.streams += 1
        request.notifyFinish().addBoth(self._closed)
        return stream

    def _closed(self, _: object) -> None:
        self.streams -= 1


def mixes_secrets(request: Any) -> bool:
    """Whether the answer may hold what only one user is to know.

    So it is when the client gave credentials and the application looked at them, or may have: an
    Authorization field, a cookie that was read (a session's is), a cookie that is set. And when
    the application says so: ``Cache-Control: private``.
    """
    if request.getHeader(b"authorization") is not None:
        return True
    if request._cookies or field(request, b"Set-Cookie") is not None:
        return True
    if b"private" in _members(request, b"Cache-Control"):
        return True
    # Cookies and headers are parsed when they are first asked for, so that one sees who did.
    asked = request.__dict__
    looked = "received_cookies" in asked or "requestHeaders" in asked or b"cookie" in _members(request, b"Vary")
    return looked and request.getHeader(b"cookie") is not None


def _members(request: Any, name: bytes) -> list[bytes]:
    value = field(request, name)
    return [] if value is None else list_items([value])


def _length(request: Any) -> int | None:
    length = field(request, b"Content-Length")
    return int(length) if length is not None and length.isdigit() and len(length) < 20 else None


def _weaken(request: Any) -> None:
    """The coded body is not the other's bytes (RFC 9110, 8.8.1), so a strong tag must not name both.

    A weak one still does for If-None-Match, which is compared weakly (13.1.2); a tag of its own would
    have to be taken back from every request's conditions.
    """
    if request.etag is not None:
        if not request.etag.startswith(b"W/"):
            request.etag = b"W/" + request.etag
        return
    etag = field(request, b"ETag")
    if etag is not None and not etag.startswith(b"W/"):
        set_field(request, b"ETag", b"W/" + etag)


class _Stream:
    """The encoder of one response, as ``twisted.web``'s ``_IRequestEncoder`` has it."""

    __slots__ = ("_encoder", "_flush")

    def __init__(self, chosen: Coding, flush: bool) -> None:
        self._encoder = chosen.stream()
        self._flush = flush

    def encode(self, data: bytes) -> bytes:
        return self._encoder.encode(data, self._flush) if data else b""

    def finish(self) -> bytes:
        return self._encoder.finish()


@implementer(IPullProducer)
class _Slices:
    """Writes a body piece by piece, one a turn of the reactor, when the client takes it."""

    def __init__(self, request: Any, body: bytes) -> None:
        self._request: Any = request
        self._body = body
        self._position = 0

    def resumeProducing(self) -> None:
        request = self._request
        if request is None:
            return
        piece = self._body[self._position : self._position + SLICE_BYTES]
        self._position += SLICE_BYTES
        request.write(piece)
        if self._position >= len(self._body) and self._request is not None:
            self.stopProducing()
            request.unregisterProducer()
            request.finish()

    def stopProducing(self) -> None:
        self._request, self._body = None, b""

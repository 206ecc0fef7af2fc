"""``StaticFiles``: the files of a directory, as they are now.

A resource to be mounted anywhere, under ``hardhttp.Site``, inside a ``Router`` or under
``twisted.web``. It decides what a request is answered with: the file, part of it, a compressed sibling
of it, or that it has not changed. What may be reached is judged by ``fileroot``; what is known of a file,
and for how long, is ``filecache``'s; large files go out by ``hardhttp.net.sendfile``.

Nothing is read at the start and nothing is believed unseen: a file added, changed or removed is seen by
the next request. Whatever may not be served is not there: the answer is 404 and tells nothing more.

Looking and reading block, as they do in nginx without aio: a few looks, and at most 64 KiB of a small
file or one turn's bytes of a large one.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import Reason
from hardhttp.net.sendfile import FileProducer, OpenFile, read_span
from hardhttp.net.server import Server
from hardhttp.web.beforehead import set_field, vary_on
from hardhttp.web.contenttypes import type_table
from hardhttp.web.filecache import FileCache, Found, Variant
from hardhttp.web.fileroot import ABSENT, FileRoot, Place, Visit
from hardhttp.web.listing import MAX_LISTED, listing_page
from hardhttp.web.pages import error_page
from hardhttp.web.variants import Variants
from hardhttp.wire.conditional import evaluate, if_range_holds, kept_in_304
from hardhttp.wire.negotiation import preferred, preferred_coding
from hardhttp.wire.ranges import Span, content_range, multipart_pieces, parse_ranges, unsatisfied_range

__all__ = ["StaticFiles"]

# Up to this a file is one read, and one write with its head.
SMALL_BYTES = 64 * 1024
# A file that changes each time it is looked at is given up on after so many looks.
MAX_LOOKS = 4

_CONDITIONS = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"range"}
)
_CONDITIONS_AND_CODINGS = _CONDITIONS | {b"accept-encoding"}
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_METHODS = b"GET, HEAD, OPTIONS"


class StaticFiles(Resource):
    """The files beneath ``directory``.

    ``index``: names tried for a directory. ``listing``: whether a directory without one is shown.
    ``dotfiles``: whether names that begin with a dot are served (``.well-known`` always is).
    ``follow_symlinks``: whether links that lead out of the directory are followed.
    ``cache_control``: pairs of a pattern (``fnmatch``, on the path below ``directory``) and the value of
    Cache-Control; the first that matches counts, ``None`` sends none. Where none matches, fingerprinted
    names are immutable for a year and all else is ``no-cache``: kept, and asked about each time.
    ``precompressed``: whether siblings ``.br``, ``.zst`` and ``.gz`` are sent to those who take them.
    ``fallback``: a file sent, with 200, where there is none, to whoever asks for HTML at a path without
    an extension. ``content_types``: additions by extension. ``nosniff``: X-Content-Type-Options.
    ``cache_bytes``: contents of small files kept in memory; 0 for none.

    Raises ``ValueError`` for arguments that make no sense. The directory need not be there yet.
    """

    isLeaf = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        index: Sequence[str] = ("index.html",),
        listing: bool = False,
        dotfiles: bool = False,
        follow_symlinks: bool = False,
        cache_control: Iterable[tuple[str, str | None]] | None = None,
        precompressed: bool = True,
        fallback: str | None = None,
        content_types: Mapping[str, str] | None = None,
        nosniff: bool = True,
        max_listed: int = MAX_LISTED,
        cache_bytes: int = 16 * 1024 * 1024,
        max_cached_files: int = 1024,
    ) -> None:
        super().__init__()
        self._root = root = FileRoot(directory, dotfiles=dotfiles, follow_symlinks=follow_symlinks)
        self._index = [self._own_name(name, "index") for name in ([index] if isinstance(index, str) else index)]
        self._listing = listing
        self._max_listed = max_listed
        self._fallback = b"" if fallback is None else self._own_name(fallback, "fallback")
        self._nosniff = nosniff
        self._variants = Variants(
            root.path,
            types=type_table(content_types),
            cache_control=cache_control or (),
            precompressed=precompressed,
            nosniff=nosniff,
        )
        look = os.stat if follow_symlinks else os.lstat
        self.cache = FileCache(
            root.path, look, max_entries=max_cached_files if cache_bytes else 0, max_bytes=cache_bytes
        )

    def _own_name(self, name: str, what: str) -> bytes:
        relative = self._root.relative([os.fsencode(part) for part in name.split("/")])
        if not relative or relative.endswith(b"/"):
            raise ValueError(f"{what} is {name!r}; it must be the name of a file that may be served")
        return relative

    def has(self, segment: bytes) -> bool:
        """Whether ``segment`` names a file or directory right here that may be served."""
        return self._root.has(segment)

    # -- requests -----------------------------------------------------------------------------

    def render(self, request: Any) -> Any:
        method = request.method
        if method != b"GET" and method != b"HEAD":
            return self._other_method(request)
        relative = self._root.relative(request.postpath)
        if relative is None:
            return self._absent(request)
        if not request.postpath and not request.path.endswith(b"/"):
            return self._redirect(request)  # mounted here, and asked for without the slash
        found = self.cache.get(relative)
        if found is not None:
            variant = found.variants["identity"]
            if variant.content is not None and method == b"GET" and _is_simple(request, found.varies):
                _set(request, variant.fields)
                return variant.content
        try:
            return self._serve(request, relative, found)
        except OSError as error:
            return self._failed(request, error)

    def _other_method(self, request: Any) -> bytes:
        if request.method == b"OPTIONS":
            request.setResponseCode(204)
            request.setHeader(b"Allow", _METHODS)
            return b""
        return error_page(request, 405, headers={"Allow": _METHODS.decode("ascii")})

    def _serve(self, request: Any, relative: bytes, found: Found | None) -> Any:
        """Answer with what is at ``relative``, of which ``found`` may be known already."""
        for _ in range(MAX_LOOKS):
            with self._root.visit() as visit:
                if found is None:
                    found = self._find(request, visit, relative)
                if not isinstance(found, Found):
                    return found
                answer = self._answer(request, visit, found)
                if answer is not None:
                    return answer
                found = None  # it changed between a look and an opening
        raise OSError(errno.EBUSY, "a file changes each time it is looked at")

    # -- finding ------------------------------------------------------------------------------

    def _find(self, request: Any, visit: Visit, relative: bytes) -> Any:
        """What is at ``relative``: ``Found``, or the answer when it is no file."""
        path = relative.rstrip(b"/")
        try:
            place = visit.look(path)
            if place.is_directory:
                return self._directory(request, visit, relative, path)
            if place.is_file and not relative.endswith(b"/"):
                return self._found(request, visit, relative, path, place)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
        if self._falls_back(request, path):
            vary_on(request, [b"Accept"])
            page = self._fallback
            return self.cache.get(page) or self._found(request, visit, page, page, visit.look(page))
        return self._absent(request)

    def _directory(self, request: Any, visit: Visit, relative: bytes, path: bytes) -> Any:
        if relative and not relative.endswith(b"/"):
            return self._redirect(request)
        for name in self._index:
            try:
                place = visit.look(relative + name)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                continue
            if place.is_file:
                return self._found(request, visit, relative, relative + name, place)
        if not self._listing:
            return self._absent(request)
        descriptor, _ = visit.open(path)
        try:
            page = listing_page(
                request,
                descriptor,
                root=not path,
                dotfiles=self._root.dotfiles,
                shows=partial(_shows, visit, relative),
                max_listed=self._max_listed,
            )
        finally:
            os.close(descriptor)
        if self._nosniff:
            request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return page

    def _falls_back(self, request: Any, path: bytes) -> bool:
        """Whether the fallback stands for ``path``: a page of an application that finds its way by itself."""
        if not self._fallback or b"." in path.rpartition(b"/")[2]:
            return False
        accept = request.getHeader(b"accept")
        return accept is not None and b"text/html" in accept.lower() and preferred(accept, ["text/html"]) is not None

    def _found(self, request: Any, visit: Visit, key: bytes, path: bytes, place: Place) -> Found:
        now = _now(request)
        found = self._variants.of(visit, key, path, place, now)
        if found.settled(now):
            self.cache.put(found)
        return found

    # -- answering ----------------------------------------------------------------------------

    def _answer(self, request: Any, visit: Visit, found: Found) -> Any:
        """Send ``found``; ``None`` when it is no longer what it was."""
        coding = "identity"
        if found.codings:
            coding = preferred_coding(_combined(request, b"accept-encoding"), found.codings) or "identity"
        variant = found.variants[coding]
        status = evaluate(request.method, partial(_combined, request), variant.etag, variant.last_modified)
        if status == 412:
            return error_page(request, 412)
        if status == 304:
            _set(request, {n: v for n, v in variant.fields.items() if kept_in_304(n, has_etag=True)})
            request.setResponseCode(304)
            return b""
        spans = self._spans(request, variant)
        if spans == ():
            headers = {"Content-Range": unsatisfied_range(variant.size).decode("ascii")}
            return error_page(request, 416, headers=headers)
        if variant.size <= SMALL_BYTES:
            content = self._content(visit, found, variant)
            return None if content is None else self._send_small(request, variant, content, spans)
        return self._send_large(request, visit, variant, spans)

    def _spans(self, request: Any, variant: Variant) -> tuple[Span, ...] | None:
        """The ranges asked for; only GET has any (RFC 9110, 14.2)."""
        asked = _combined(request, b"range") if request.method == b"GET" else None
        if asked is None:
            return None
        date = _now(request)
        condition = _combined(request, b"if-range")
        if not if_range_holds(condition, variant.etag, variant.last_modified, 0 if date is None else int(date)):
            return None
        return parse_ranges(asked, variant.size)

    def _content(self, visit: Visit, found: Found, variant: Variant) -> bytes | None:
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
        self.cache.keep(found, variant, content)
        return content

    def _send_small(self, request: Any, variant: Variant, content: bytes, spans: tuple[Span, ...] | None) -> bytes:
        _set(request, variant.fields)
        if spans is not None:
            pieces, _ = _part(request, variant, spans)
            content = b"".join(
                content[piece.start : piece.stop] if isinstance(piece, Span) else piece for piece in pieces
            )
        if request.method == b"HEAD":
            request.setHeader(b"Content-Length", b"%d" % len(content))
            return b""
        return content

    def _send_large(self, request: Any, visit: Visit, variant: Variant, spans: tuple[Span, ...] | None) -> Any:
        descriptor, place = visit.open(variant.relative)
        if not variant.is_of(place.status):
            os.close(descriptor)
            return None
        server = _server(request)
        file = OpenFile(descriptor, None if server is None else server.ledger)
        try:
            _set(request, variant.fields)
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

    # -- what is not served -------------------------------------------------------------------

    def _absent(self, request: Any) -> bytes:
        return error_page(request, 404)

    def _redirect(self, request: Any) -> bytes:
        """To the same path with a slash.

        The reference is relative and begins with ``./``, so it cannot name another host, and it holds
        behind a proxy that takes a prefix off.
        """
        path, question, query = request.uri.partition(b"?")
        request.setResponseCode(301)
        request.setHeader(b"Location", b"./" + path.rpartition(b"/")[2] + b"/" + question + query)
        request.setHeader(b"Cache-Control", b"no-cache")  # what is a directory may be a file tomorrow
        request.setHeader(b"Content-Length", b"0")
        return b""

    def _failed(self, request: Any, error: OSError) -> bytes:
        """The page for what the file system refused; raises ``error`` when it is a fault."""
        if error.errno in ABSENT:
            return self._absent(request)
        if error.errno in _FORBIDDEN:
            return error_page(request, 403)
        if error.errno in _EXHAUSTED:
            server = _server(request)
            if server is not None:
                server.refused(Reason.DESCRIPTORS, "no descriptor is left for a file; it was answered 503")
            return error_page(request, 503, headers={"Retry-After": "2"})
        raise error


def _is_simple(request: Any, varies: bool) -> bool:
    """Whether ``request`` asks for the whole file as it is."""
    names = _CONDITIONS_AND_CODINGS if varies else _CONDITIONS
    head = getattr(request, "head", None)
    if head is None or "requestHeaders" in request.__dict__:
        return not any(map(request.requestHeaders.hasHeader, names))
    for name, _ in head.fields:  # noqa: SIM110 -- a generator would cost as much again
        if name in names:
            return False
    return True


def _combined(request: Any, name: bytes) -> bytes | None:
    """A field's value, its lines joined (RFC 9110, 5.2)."""
    values = request.requestHeaders.getRawHeaders(name)
    return None if values is None else b", ".join(values)


def _set(request: Any, fields: Mapping[bytes, bytes]) -> None:
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


def _shows(visit: Visit, directory: bytes, name: bytes) -> bool:
    """Whether a link in ``directory`` leads to what would be served."""
    try:
        place = visit.look(directory + name)
    except OSError:
        return False
    return place.is_file or place.is_directory


def _server(request: Any) -> Server | None:
    server = getattr(getattr(request, "site", None), "server", None)
    return server if isinstance(server, Server) else None


def _now(request: Any) -> float | None:
    """Seconds since the epoch by the site's clock; ``None`` where there is none to ask."""
    server = _server(request)
    return None if server is None else server.now

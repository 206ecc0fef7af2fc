"""``StaticFiles``: the files of a directory, as they are now.

A resource to be mounted anywhere, under ``hardhttp.Site``, inside a ``Router`` or under
``twisted.web``. It finds what a path stands for: a file, the index of a directory, its listing, a
redirect, a fallback, or nothing. What may be reached is judged by ``fileroot``; what is known of a file,
and for how long, is ``filecache``'s; what a file can be sent as is ``variants``', and what HTTP makes of
that is ``fileanswer``'s.

Nothing is read at the start and nothing is believed unseen: a file added, changed or removed is seen by
the next request. Whatever may not be served is not there: the answer is 404 and tells nothing more.

Looking and reading block, as they do in nginx without aio: a few looks, and at most 64 KiB of a small
file or one turn's bytes of a large one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.web.resource import Resource

from hardhttp.errors import Reason
from hardhttp.web.beforehead import vary_on
from hardhttp.web.contenttypes import type_table
from hardhttp.web.fileanswer import answer_file, now_of, server_of, set_fields
from hardhttp.web.filecache import FileCache, Found
from hardhttp.web.fileroot import ABSENT, FileRoot, Place, Visit
from hardhttp.web.listing import MAX_LISTED, listing_page
from hardhttp.web.pages import error_page
from hardhttp.web.variants import Variants
from hardhttp.wire.negotiation import preferred

__all__ = ["StaticFiles"]

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
                set_fields(request, variant.fields)
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
                answer = answer_file(request, visit, found, self.cache)
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
        now = now_of(request)
        found = self._variants.of(visit, key, path, place, now)
        if found.settled(now):
            self.cache.put(found)
        return found

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
            server = server_of(request)
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


def _shows(visit: Visit, directory: bytes, name: bytes) -> bool:
    """Whether a link in ``directory`` leads to what would be served."""
    try:
        place = visit.look(directory + name)
    except OSError:
        return False
    return place.is_file or place.is_directory

"""What a file can be sent as: itself, and compressed siblings of it; with the headers that say so.

A sibling (``app.js.br`` beside ``app.js``) counts when it is not older than its file: one made before the
file was last changed holds what the file no longer says, and is left alone. Each variant has an entity
tag of its own, strong, made of its size, its time in nanoseconds, its inode and its coding.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import translate
from hashlib import blake2b

from hardhttp.web.contenttypes import content_type
from hardhttp.web.filecache import Found, Variant, witness
from hardhttp.web.fileroot import ABSENT, Place, Visit
from hardhttp.wire.conditional import MAX_DATE_SECONDS, http_date
from hardhttp.wire.grammar import FIELD_VALUE

__all__ = ["Variants", "is_fingerprinted"]

# Codings in our order of preference, and the siblings that hold them.
_SIBLINGS = (("br", b".br"), ("zstd", b".zst"), ("gzip", b".gz"))
# app.3f2a9c1b.js, app-3f2a9c1b.min.css: at least eight hexadecimal digits, a letter and a figure among
# them, so that neither a date nor a word is taken for one.
_FINGERPRINT = re.compile(rb"[.\-_](?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,64}\.", re.IGNORECASE)
_IMMUTABLE = b"public, max-age=31536000, immutable"


def is_fingerprinted(name: bytes) -> bool:
    """Whether a file's name says what is in it, so that what it holds never changes."""
    return _FINGERPRINT.search(name) is not None


class Variants:
    """Makes ``Found`` of files below ``root``; see ``StaticFiles`` for the arguments."""

    def __init__(
        self,
        root: bytes,
        *,
        types: Mapping[bytes, bytes],
        cache_control: Iterable[tuple[str, str | None]],
        precompressed: bool,
        nosniff: bool,
    ) -> None:
        self._root = root
        self._types = types
        self._rules = [_rule(pattern, value) for pattern, value in cache_control]
        self._siblings = _SIBLINGS if precompressed else ()
        self._nosniff = nosniff

    def of(self, visit: Visit, key: bytes, path: bytes, place: Place, now: float | None) -> Found:
        """The file at ``path`` with its siblings. ``now`` is the time of the response, if known.

        It has witnesses, by which it may be believed later, when no link led to any of it.
        """
        own = self._variant(path, path, place.status, "identity", now)
        found = Found(key, {"identity": own})
        witnesses, straight = [witness(self._absolute(path), place.status)], place.straight
        for coding, sibling_path, sibling in self._beside(visit, path):
            found.varies = True
            straight = straight and sibling.straight
            witnesses.append(witness(self._absolute(sibling_path), sibling.status))
            if sibling.status.st_mtime_ns >= place.status.st_mtime_ns:
                found.variants[coding] = self._variant(path, sibling_path, sibling.status, coding, now)
        if found.varies:
            for variant in found.variants.values():
                variant.fields[b"Vary"] = b"Accept-Encoding"
        found.codings = tuple(coding for coding in found.variants if coding != "identity")
        if straight:
            parent, *above = _directories(path)
            witnesses.append(witness(self._absolute(parent), visit.look(parent).status))
            found.witnesses = tuple(witnesses)
            found.ancestors = tuple(self._absolute(directory) for directory in above if directory)
        return found

    def _beside(self, visit: Visit, path: bytes) -> Iterator[tuple[str, bytes, Place]]:
        for coding, suffix in self._siblings:
            try:
                place = visit.look(path + suffix)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                continue
            if place.is_file:
                yield coding, path + suffix, place

    def _absolute(self, path: bytes) -> bytes:
        return os.path.join(self._root, path) if path else self._root

    def _variant(self, path: bytes, held_by: bytes, status: os.stat_result, coding: str, now: float | None) -> Variant:
        """A representation of the file at ``path``, which the file at ``held_by`` holds."""
        # RFC 9110, 8.8.2.1: no date later than the response's own.
        latest = MAX_DATE_SECONDS if now is None else int(now)
        modified = max(0, min(int(status.st_mtime), latest))
        name = path.rpartition(b"/")[2]
        fields = {
            b"Content-Type": content_type(name, self._types),
            b"Last-Modified": http_date(modified),
            b"ETag": _etag(status, coding),
            b"Accept-Ranges": b"bytes",
        }
        if coding != "identity":
            fields[b"Content-Encoding"] = coding.encode("ascii")
        cache_control = self._cache_control(path, name)
        if cache_control:
            fields[b"Cache-Control"] = cache_control
        if self._nosniff:
            fields[b"X-Content-Type-Options"] = b"nosniff"
        return Variant(held_by, status, fields[b"ETag"], modified, fields)

    def _cache_control(self, path: bytes, name: bytes) -> bytes | None:
        text = os.fsdecode(path)
        for pattern, value in self._rules:
            if pattern.fullmatch(text) is not None:
                return value
        return _IMMUTABLE if is_fingerprinted(name) else b"no-cache"


def _etag(status: os.stat_result, coding: str) -> bytes:
    """A strong entity tag (RFC 9110, 8.8.3); hashed, for nobody need know the inode."""
    made_of = f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {coding}".encode("ascii")
    return b'"%b"' % blake2b(made_of, digest_size=12).hexdigest().encode("ascii")


def _directories(path: bytes) -> Iterator[bytes]:
    """The directories above ``path``, the nearest first; the last, the root, is ``b""``."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _rule(pattern: str, value: str | None) -> tuple[re.Pattern[str], bytes | None]:
    encoded = None if value is None else value.encode("utf-8")
    if encoded is not None and FIELD_VALUE.fullmatch(encoded) is None:
        raise ValueError(f"Cache-Control for {pattern!r} is {value!r}; it must be one line of text")
    return re.compile(translate(pattern)), encoded

"""Which links of a response are pushed to its client, over a protocol that can (RFC 9113, 8.4).

A push is a promise: a request that the server makes in its client's name, and answers. So it is made only
for what the client would surely ask for next, and may be asked for by anybody: ``rel=preload`` without
``nopush``, at this origin, by GET, and with no credential among its fields. What is pushed is never the
cause of more pushes, and how many there are is bounded.

This is a decision and nothing else: whoever calls it knows whether the client allows pushes, numbers the
streams and sends the frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

import attrs

from hardhttp.wire.grammar import TARGET
from hardhttp.wire.links import Link

__all__ = ["MAX_PUSHES", "PUSHED_FIELDS", "Push", "pushes"]

# For one request. What a page needs first is little, and each is sent whether or not it is cached already.
MAX_PUSHES = 8
# What Caddy copies. Neither Cookie nor Authorization: a promised response may outlive its request in a cache.
PUSHED_FIELDS = frozenset({b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"user-agent"})
_AUTHORITY = re.compile(r"(\[[^\[\]@]+\]|[^\[\]:@]+)(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@attrs.frozen
class Push:
    """A request to promise: GET of ``target`` (a path and its query) at the origin of the request that caused it.

    ``fields`` are names in lower case and values, pseudo-header fields not among them.
    """

    target: bytes
    fields: tuple[tuple[bytes, bytes], ...] = ()


def pushes(
    links: Iterable[Link],
    *,
    method: bytes,
    scheme: bytes,
    authority: bytes,
    target: bytes,
    fields: Iterable[tuple[bytes, bytes]] = (),
    is_pushed: bool = False,
    max_pushes: int = MAX_PUSHES,
) -> list[Push]:
    """What to promise with the response to a request, in the order of ``links``, each target once.

    ``method``, ``scheme``, ``authority`` (Host) and ``target`` (path and query) are the request's, ``fields`` its
    header fields with names in lower case. ``is_pushed``: the request was promised itself. Never raises.
    """
    if is_pushed or method != b"GET":
        return []
    base = f"{scheme.decode('latin-1')}://{authority.decode('latin-1')}{target.decode('latin-1')}"
    copied: tuple[tuple[bytes, bytes], ...] | None = None
    found: dict[bytes, Push] = {}
    for link in links:
        if len(found) >= max_pushes:
            break
        wanted = _target(link, base)
        if wanted is None or wanted == target:
            continue
        if copied is None:
            copied = tuple((name, value) for name, value in fields if name in PUSHED_FIELDS)
        found[wanted] = Push(wanted, copied)
    return list(found.values())


def _target(link: Link, base: str) -> bytes | None:
    """The path and query a link leads to, or ``None`` when that is not to be pushed."""
    if "preload" not in link.rel or link.get("nopush") is not None or link.anchor:
        return None
    if link.get("media") is not None or link.get("imagesrcset") is not None:
        return None  # the client may choose another, or none
    if "\\" in link.target:
        return None  # a browser reads it as "/", and may be led to another host
    try:
        here, there = urlsplit(base), urlsplit(urljoin(base, link.target))
        if _origin(there.scheme, there.netloc) != _origin(here.scheme, here.netloc):
            return None
    except ValueError:
        return None
    path = (there.path or "/") + (f"?{there.query}" if there.query else "")
    encoded = path.encode("latin-1")
    return encoded if encoded.startswith(b"/") and TARGET.fullmatch(encoded) is not None else None


def _origin(scheme: str, authority: str) -> tuple[str, str, int]:
    """RFC 6454, 4. Raises ``ValueError`` for what has none."""
    found = _AUTHORITY.fullmatch(authority)
    if scheme not in _DEFAULT_PORTS or found is None:
        raise ValueError("no origin")
    return scheme, found[1].lower(), int(found[2]) if found[2] else _DEFAULT_PORTS[scheme]

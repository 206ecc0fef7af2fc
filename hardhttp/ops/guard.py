"""Who may ask the admin side, and how.

A browser on the same machine is the way in for a stranger's page, so:

- The Host of a request must be an address or ``localhost``. A page that has its own name point to 127.0.0.1 (DNS
  rebinding) sends that name. With a token any name will do, for such a page has none.
- No header of CORS is ever sent, and a request that a page of another origin makes is refused by its Origin.
- Nor is one answered that such a page makes without an Origin (an image, a script), where the browser says so by
  Sec-Fetch-Site. Following a link is no such request: it shows the page to its user, and no other page sees it.
- The token (``Authorization: Bearer TOKEN``) is compared in a time that does not depend on what is wrong with it.
  ``OPEN`` paths need none: a load balancer asks them.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.address import UNIXAddress
from twisted.web.resource import IResource, Resource

from hardhttp.errors import HTTPError
from hardhttp.web.pages import error_page

__all__ = ["OPEN", "Guarded", "is_local_name"]

OPEN = frozenset({b"/healthz", b"/readyz"})
# By itself, or typed in or followed by its user (Fetch Metadata, 2.2).
_OWN_SITES = (None, b"same-origin", b"none")


class Guarded(Resource):
    """``resource``, for those who may. Without a ``token`` none is asked for; ``opened`` are paths that need none."""

    isLeaf = True

    def __init__(self, resource: IResource, token: str | None = None, opened: Collection[bytes] = ()) -> None:
        super().__init__()
        self._open = OPEN.union(opened)
        self._resource = resource
        self._token = None if token is None else token.encode("utf-8")

    def render(self, request: Any) -> Any:
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cross-Origin-Resource-Policy", b"same-origin")
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        request.setHeader(b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'")
        try:
            self._judge(request)
        except HTTPError as error:
            return error_page(request, error.status, error.detail, error.headers)
        return self._resource.render(request)

    def _judge(self, request: Any) -> None:
        host = (request.getHeader(b"host") or b"").decode("latin-1")
        by_socket = isinstance(request.getHost(), UNIXAddress)
        if self._token is None and not by_socket and not is_local_name(host):
            raise HTTPError(421, "The admin side is asked by its address, or as localhost, unless it has a token.")
        origin = request.getHeader(b"origin")
        if origin is not None and _authority(origin.decode("latin-1")) != host.lower():
            raise HTTPError(403, "Pages of other origins may not use the admin side.")
        navigates = request.getHeader(b"sec-fetch-mode") == b"navigate" and request.method == b"GET"
        if request.getHeader(b"sec-fetch-site") not in _OWN_SITES and not navigates:
            raise HTTPError(403, "Pages of other origins may not use the admin side.")
        if self._token is not None and request.path not in self._open and not self._has_token(request):
            raise HTTPError(401, "The admin side needs its token.", {"WWW-Authenticate": 'Bearer realm="admin"'})

    def _has_token(self, request: Any) -> bool:
        scheme, _, given = (request.getHeader(b"authorization") or b"").partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token or b"")


def _authority(origin: str) -> str:
    """Host and port of an origin; what is none (``null``) has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_local_name(host: str) -> bool:
    """Whether a Host is an address, or ``localhost``; a name of anybody's is neither."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

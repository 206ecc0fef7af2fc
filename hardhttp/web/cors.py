"""Cross-Origin Resource Sharing, as the Fetch standard has it (https://fetch.spec.whatwg.org/, 3.3).

A wrapper that lets scripts of other origins read what is below. It answers preflights itself; on all
other answers, error pages and refusals included, it says at the last moment who may read them. It has the
last word: the application's own Access-Control-Allow-Origin and -Credentials are replaced or taken away.

Whom it lets in is decided by whole origins: scheme, host and port. A ``*`` in a host stands for exactly
one label. An Origin field is never sent back that was not found among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from twisted.web.resource import IResource

from hardhttp.web import pages
from hardhttp.web.beforehead import before_head, drop_field, set_field, vary_on
from hardhttp.web.wrapping import Answer, Wrapper
from hardhttp.wire.grammar import TOKEN, list_items

__all__ = ["CORS", "Origins"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# What a browser sends with a simple request; Content-Type with a value that is not simple, such as JSON.
ALWAYS_ALLOWED = ("Accept", "Accept-Language", "Content-Language", "Content-Type")
# Chromium keeps no preflight longer than two hours, Firefox a day.
MAX_AGE_SECONDS = 86_400
# Names echoed where any header is allowed.
MAX_ECHOED_NAMES = 100

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = rf"(?:(?:{_LABEL}|\*)(?:\.(?:{_LABEL}|\*))*|\[[0-9a-f:.]+\])"
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST})(?::([0-9]{{1,5}}))?")
_USUAL_PORTS = {"http": "80", "https": "443"}

_PREFLIGHT_VARY = (b"Origin", b"Access-Control-Request-Method", b"Access-Control-Request-Headers")
_ORIGIN_VARY = (b"Origin",)


class Origins:
    """Which origins are meant by a list of them.

    Each is ``scheme://host`` or ``scheme://host:port`` as a browser sends it, ``null`` (sandboxed frames
    and ``data:`` pages, so anybody can be it), or a pattern: ``https://*.example.org``, where each ``*`` is
    a whole label. Or ``*`` alone, for all. Raises ``ValueError`` for what no browser would send, or is too wide.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        if isinstance(origins, (str, bytes)):
            raise ValueError(f"origins is {origins!r}; it must be a list of origins")
        given = [origin if origin in ("*", "null") else _checked(origin) for origin in origins]
        if not given:
            raise ValueError("origins is empty; who may read must be named")
        self.any = "*" in given
        if self.any and len(given) > 1:
            raise ValueError("origins has '*' among others; it must stand alone")
        self._exact = frozenset(origin.encode("ascii") for origin in given if "*" not in origin)
        patterns = [re.escape(origin).replace(r"\*", _LABEL) for origin in given if "*" in origin and origin != "*"]
        self._pattern = re.compile("|".join(patterns).encode("ascii")) if patterns else None

    def __contains__(self, origin: bytes) -> bool:
        if origin in self._exact or self.any:
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None


def _checked(origin: str) -> str:
    """An origin or a pattern in the form in which a browser sends it (RFC 6454, 6.2)."""
    lower = origin.lower()
    found = _ORIGIN.fullmatch(lower)
    if found is None:
        raise ValueError(f"{origin!r} is not an origin such as https://app.example, without a path, or null")
    scheme, host, port = found.groups()
    if port is not None and (port == _USUAL_PORTS.get(scheme) or not 0 < int(port) < 65_536 or port[0] == "0"):
        raise ValueError(f"{origin!r} has a port that no browser sends")
    if "*" in host:
        last = host.split(".")[-2:]
        if "*" in last and last != ["*", "localhost"]:
            raise ValueError(f"{origin!r} is too wide: the last two labels must be named")
    return lower


class CORS(Wrapper):
    """``resource``, readable by scripts of ``origins`` (see ``Origins``).

    With ``credentials`` they are read with the user's cookies, so ``*`` cannot be allowed: ``ValueError``.
    ``methods`` and ``headers`` are what may be asked besides what needs no permission (``headers="*"`` for any),
    ``expose`` the response headers a script sees besides the usual ones. ``max_age_seconds`` is how long
    a browser need not ask again. ``private_network`` lets public pages reach a private address.

    A request from another origin is answered as ever, but its answer cannot be read; with ``refuse``
    it is answered 403 and does not reach the application.
    """

    def __init__(
        self,
        resource: IResource,
        origins: Iterable[str],
        *,
        credentials: bool = False,
        methods: Iterable[str] = METHODS,
        headers: Iterable[str] = (),
        expose: Iterable[str] = (),
        max_age_seconds: int = 600,
        private_network: bool = False,
        refuse: bool = False,
    ) -> None:
        super().__init__(resource)
        self.origins = Origins(origins)
        if self.origins.any and credentials:
            raise ValueError("origins is '*' with credentials; name the origins that may act as the user")
        if not 0 <= max_age_seconds <= MAX_AGE_SECONDS:
            raise ValueError(f"max_age_seconds is {max_age_seconds!r}; it must be from 0 to {MAX_AGE_SECONDS:,}")
        self._any_header = headers == "*"
        names = () if self._any_header else headers
        self._methods = _names("methods", methods)
        self._headers = _names("headers", dict.fromkeys([*ALWAYS_ALLOWED, *_listed("headers", names)]))
        self._expose = _names("expose", expose)
        self._credentials = credentials
        self._max_age = b"%d" % max_age_seconds
        self._private_network = private_network
        self._refuse = refuse
        self._preflight_vary = (
            *(() if self.origins.any else _ORIGIN_VARY),
            *_PREFLIGHT_VARY[1:],
            *((b"Access-Control-Request-Private-Network",) if private_network else ()),
        )

    def begin(self, request: Any) -> IResource | None:
        origin = request.getHeader(b"origin")
        if request.method == b"OPTIONS" and origin is not None:
            # Without this field it is an ordinary OPTIONS, and the application's.
            asked = request.getHeader(b"access-control-request-method")
            if asked is not None:
                return Answer(self._preflight)
        before_head(request, self._set)
        if self._refuse and origin is not None and not self._may_ask(request, origin):
            return Answer(self._forbid)
        return None

    def _may_ask(self, request: Any, origin: bytes) -> bool:
        """Whether the origin is one of ours, or the one that is asked: browsers name that too, with a POST."""
        return origin in self.origins or origin == own_origin(request)

    def _set(self, request: Any) -> None:
        """The headers of an answer that is no preflight's (Fetch, 3.3.3)."""
        if self.origins.any:
            set_field(request, b"Access-Control-Allow-Origin", b"*")
        else:
            # Also where there is no Origin, or another: a cache must not give this answer to those it is not for.
            vary_on(request, _ORIGIN_VARY)
            origin = request.getHeader(b"origin")
            if origin is None or origin not in self.origins:
                drop_field(request, b"Access-Control-Allow-Origin")
                drop_field(request, b"Access-Control-Allow-Credentials")
                return
            set_field(request, b"Access-Control-Allow-Origin", origin)
        if self._credentials:
            set_field(request, b"Access-Control-Allow-Credentials", b"true")
        else:
            drop_field(request, b"Access-Control-Allow-Credentials")
        if self._expose:
            set_field(request, b"Access-Control-Expose-Headers", self._expose)

    def _preflight(self, request: Any) -> bytes:
        """Fetch, 3.3.2 and 4.8. What is not allowed is left out, and the browser does not go on."""
        request.setResponseCode(204)
        vary_on(request, self._preflight_vary)
        origin = request.getHeader(b"origin")
        if origin not in self.origins:
            return b""
        set_field(request, b"Access-Control-Allow-Origin", b"*" if self.origins.any else origin)
        if self._credentials:
            set_field(request, b"Access-Control-Allow-Credentials", b"true")
        set_field(request, b"Access-Control-Allow-Methods", self._methods)
        set_field(request, b"Access-Control-Allow-Headers", self._allowed_headers(request))
        set_field(request, b"Access-Control-Max-Age", self._max_age)
        if self._private_network and request.getHeader(b"access-control-request-private-network") == b"true":
            set_field(request, b"Access-Control-Allow-Private-Network", b"true")
        return b""

    def _allowed_headers(self, request: Any) -> bytes:
        asked = request.getHeader(b"access-control-request-headers") if self._any_header else None
        if asked is None:
            return self._headers
        names = list_items([asked])[:MAX_ECHOED_NAMES]
        return b", ".join(name for name in names if TOKEN.fullmatch(name) is not None) or self._headers

    def _forbid(self, request: Any) -> bytes:
        return pages.error_page(request, 403, "This may not be asked from a page of that origin.")


def _listed(what: str, names: Iterable[str]) -> list[str]:
    if isinstance(names, (str, bytes)):
        raise ValueError(f"{what} is {names!r}; it must be a list of names")
    return list(names)


def _names(what: str, names: Iterable[str]) -> bytes:
    """A list of tokens as a field's value."""
    encoded = []
    for name in _listed(what, names):
        if not name.isascii() or TOKEN.fullmatch(name.encode("ascii")) is None or name == "*":
            raise ValueError(f"{what} has {name!r}; each must be a name")
        encoded.append(name.encode("ascii"))
    return b", ".join(encoded)


def own_origin(request: Any) -> bytes:
    """The origin of the page that would have asked its own server so."""
    info = getattr(request, "client_info", None)
    if info is None or not info.is_told:
        return (b"https://" if request.isSecure() else b"http://") + (request.getHeader(b"host") or b"").lower()
    port = "" if str(info.port) == _USUAL_PORTS[info.scheme] else f":{info.port}"
    return f"{info.scheme}://{info.host}{port}".lower().encode("ascii")

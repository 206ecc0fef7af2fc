"""Cookies (RFC 6265, and its revision draft-ietf-httpbis-rfc6265bis).

What a browser sends is read leniently and within a bound: nothing it sends is an error, and the cost
grows with its length and no faster. What we send is made strictly: what a browser would drop, or read
as something else, is refused with the reason.

A value given as ``bytes`` goes out as it is. A value given as ``str`` is percent-encoded where it must
be (``%`` too), and ``cookie_text`` turns it back. ``parse_cookies`` decodes nothing, so what it gives is
what came; it keeps quotes, as browsers and ``twisted.web`` do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote, unquote

from hardhttp.wire.conditional import http_date
from hardhttp.wire.grammar import FIELD_VALUE, TOKEN

__all__ = [
    "MAX_COOKIE_BYTES",
    "SameSite",
    "cookie_text",
    "delete_cookie",
    "parse_cookies",
    "plain_cookie",
    "set_cookie",
]

SameSite = Literal["Lax", "Strict", "None"] | None

# 6265bis, 5.6: a browser ignores a cookie whose name and value are longer together, and an attribute
# whose value is.
MAX_COOKIE_BYTES = 4096
MAX_ATTRIBUTE_BYTES = 1024
# Past four hundred days a browser takes that for it (6265bis, 5.5); a number no browser could misread.
MAX_AGE_SECONDS = 1 << 53

# RFC 6265, 4.1.1: cookie-octet, and the quotes that may stand around it.
_OCTETS = rb"[!#-+\--:<-\[\]-~]*"
_VALUE = re.compile(_OCTETS + rb'|"' + _OCTETS + rb'"')
# Everything cookie-octet allows, without the "%" that quote() itself writes.
_UNQUOTED = "!#$&'()*+-./:<=>?@[]^_`{|}~"
_HOST_NAME = re.compile(
    rb"\.?(?:[0-9A-Za-z_](?:[0-9A-Za-z_-]{0,61}[0-9A-Za-z_])?\.)*[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
)
_PATH = re.compile(rb"/[ -:<-~]*")
_SAME_SITE = {"lax": b"Lax", "strict": b"Strict", "none": b"None"}

# 6265bis, 4.1.3, and what its later drafts add: what a name that begins so promises. Names match in any case.
_PREFIXES = {
    b"__secure-": (False, False),
    b"__host-": (True, False),
    b"__http-": (False, True),
    b"__host-http-": (True, True),
}


# -- reading -----------------------------------------------------------------------------------


def parse_cookies(values: Iterable[bytes], max_cookies: int) -> dict[bytes, bytes]:
    """The cookies in the values of a request's Cookie fields; never raises.

    The first of a name wins, because browsers send the most specific first (RFC 6265, 5.4). What has no
    ``=`` or no name is left out, and so is what is beyond ``max_cookies``. A ``;`` ends a cookie even
    within quotes, as it does for browsers: else one cookie could hide others.
    """
    cookies: dict[bytes, bytes] = {}
    for value in values:
        for pair in value.split(b";"):
            name, separator, text = pair.partition(b"=")
            name = name.strip(b" \t")
            if separator and name and name not in cookies:
                if len(cookies) >= max_cookies:
                    return cookies
                cookies[name] = text.strip(b" \t")
    return cookies


def cookie_text(value: bytes) -> str:
    """A cookie's value as text: quotes around it gone, percent-decoded UTF-8; never raises."""
    if len(value) >= 2 and value[:1] == value[-1:] == b'"':
        value = value[1:-1]
    return unquote(value.decode("utf-8", "replace"), errors="replace")


# -- making ------------------------------------------------------------------------------------


def set_cookie(
    name: str | bytes,
    value: str | bytes,
    *,
    max_age: int | None = None,
    expires: float | None = None,
    domain: str | bytes | None = None,
    path: str | bytes | None = "/",
    secure: bool = False,
    http_only: bool = True,
    same_site: SameSite = "Lax",
    partitioned: bool = False,
) -> bytes:
    """The value of a Set-Cookie field.

    ``max_age`` is in seconds, ``expires`` in seconds since the epoch. Without either the cookie lasts
    as long as the browser's session. ``same_site=None`` leaves the attribute out.

    Raises ``ValueError`` for what cannot be sent or would be dropped: a name that is no token, a
    ``bytes`` value with a control character, blank, quote, comma, semicolon, backslash or non-ASCII
    byte, more than 4096 bytes of both, a domain or path that is none, ``SameSite=None`` or
    ``Partitioned`` without ``Secure``, and a broken promise of a ``__Host-`` or ``__Secure-`` name.
    The message never holds the value.
    """
    named = _ascii(name, "a cookie's name")
    if TOKEN.fullmatch(named) is None:
        raise ValueError(f"{named[:40]!r} is no name for a cookie: it must be a token")
    encoded = quote(value, safe=_UNQUOTED).encode("ascii") if isinstance(value, str) else value
    if _VALUE.fullmatch(encoded) is None:
        raise ValueError(f"the value of cookie {named!r} holds a byte that cannot be sent; give it as str to encode it")
    if len(named) + len(encoded) > MAX_COOKIE_BYTES:
        raise ValueError(
            f"cookie {named!r} is {len(named) + len(encoded)} bytes; browsers drop it past {MAX_COOKIE_BYTES}"
        )
    parts = [named + b"=" + encoded]
    if expires is not None:
        parts.append(b"Expires=" + http_date(expires))
    if max_age is not None:
        parts.append(b"Max-Age=%d" % _age(max_age))
    if domain is not None:
        parts.append(b"Domain=" + _attribute(domain, "Domain", _HOST_NAME))
    path = None if path is None else _attribute(path, "Path", _PATH)
    if path is not None:
        parts.append(b"Path=" + path)
    if secure:
        parts.append(b"Secure")
    if http_only:
        parts.append(b"HttpOnly")
    site = None if same_site is None else _SAME_SITE.get(str(same_site).lower())
    if site is not None:
        parts.append(b"SameSite=" + site)
    elif same_site is not None:
        raise ValueError("same_site must be 'Lax', 'Strict', 'None' or None")
    if partitioned:
        parts.append(b"Partitioned")
    if not secure and (site == b"None" or partitioned):
        raise ValueError(
            f"cookie {named!r} is {'Partitioned' if partitioned else 'SameSite=None'}, so it must be secure"
        )
    check_prefix(named, secure=secure, http_only=http_only, host_only=domain is None and path == b"/")
    return b"; ".join(parts)


def delete_cookie(
    name: str | bytes,
    *,
    domain: str | bytes | None = None,
    path: str | bytes | None = "/",
    secure: bool = False,
    partitioned: bool = False,
) -> bytes:
    """The value of a Set-Cookie field that makes a browser forget the cookie.

    ``domain``, ``path`` and ``partitioned`` must be those it was set with: they are part of which one
    it is. A name that must be secure is.
    """
    secure = secure or partitioned or _ascii(name, "a cookie's name").lower().startswith(tuple(_PREFIXES))
    return set_cookie(name, b"", max_age=0, expires=0, domain=domain, path=path, secure=secure, partitioned=partitioned)


def plain_cookie(
    name: str | bytes,
    value: str | bytes,
    expires: str | bytes | None = None,
    domain: str | bytes | None = None,
    path: str | bytes | None = None,
    max_age: str | bytes | int | None = None,
    comment: str | bytes | None = None,
    secure: bool | None = None,
    http_only: bool | None = False,
    same_site: str | bytes | None = None,
) -> bytes:
    """The value of a Set-Cookie field, as ``twisted.web``'s ``addCookie`` makes it of text that is ready.

    A line end or a ``;`` becomes a blank. Raises ``ValueError`` for a name that is no token, another
    control character, ``SameSite=None`` without ``Secure``, and a broken promise of the name.
    """
    named = _softened(name)
    if TOKEN.fullmatch(named) is None:
        raise ValueError(f"{named[:40]!r} is no name for a cookie: it must be a token")
    parts = [named + b"=" + _softened(value)]
    given = ((b"Expires", expires), (b"Domain", domain), (b"Path", path), (b"Max-Age", max_age), (b"Comment", comment))
    parts += [what + b"=" + _softened(text) for what, text in given if text is not None]
    if secure:
        parts.append(b"Secure")
    if http_only:
        parts.append(b"HttpOnly")
    if same_site:
        site = _softened(same_site).lower()
        if site.decode("latin-1") not in _SAME_SITE:
            raise ValueError(f"invalid value for sameSite: {site!r}")
        if site == b"none" and not secure:
            raise ValueError(f"cookie {named!r} is SameSite=None, so it must be secure")
        parts.append(b"SameSite=" + site)
    check_prefix(
        named, secure=bool(secure), http_only=bool(http_only), host_only=domain is None and path in ("/", b"/")
    )
    cookie = b"; ".join(parts)
    if FIELD_VALUE.fullmatch(cookie) is None:
        raise ValueError(f"cookie {named!r} holds a control character")
    return cookie


def _softened(text: str | bytes | int) -> bytes:
    encoded = text if isinstance(text, bytes) else str(text).encode("utf-8")
    return b" ".join(encoded.splitlines()).replace(b";", b" ")


def check_prefix(name: bytes, *, secure: bool, http_only: bool, host_only: bool) -> None:
    """Raise ``ValueError`` when ``name`` promises what the attributes do not keep (6265bis, 4.1.3)."""
    if not name.startswith(b"__"):
        return
    lower = name.lower()
    for prefix, (needs_host, needs_http) in _PREFIXES.items():
        if not lower.startswith(prefix):
            continue
        if not secure:
            raise ValueError(f"cookie {name!r} must be secure, as its prefix says")
        if needs_host and not host_only:
            raise ValueError(f"cookie {name!r} must have path '/' and no domain, as its prefix says")
        if needs_http and not http_only:
            raise ValueError(f"cookie {name!r} must be HttpOnly, as its prefix says")


def _ascii(text: str | bytes, what: str) -> bytes:
    if isinstance(text, bytes):
        return text
    if not text.isascii():
        raise ValueError(f"{what} must be ASCII")
    return text.encode("ascii")


def _age(seconds: int) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise ValueError(f"max_age must be a whole number of seconds, not {type(seconds).__name__}")
    return max(0, min(seconds, MAX_AGE_SECONDS))


def _attribute(value: str | bytes, what: str, pattern: re.Pattern[bytes]) -> bytes:
    encoded = _ascii(value, f"a cookie's {what}")
    if len(encoded) > MAX_ATTRIBUTE_BYTES or pattern.fullmatch(encoded) is None:
        raise ValueError(f"not a {what} for a cookie: {encoded[:80]!r}")
    return encoded

"""Response headers: ``twisted.web``'s, made and set faster."""

from __future__ import annotations

from typing import Final

from twisted.web.http_headers import Headers

__all__ = ["PLAIN_NAMES", "ResponseHeaders"]

# What applications set all day and the server need not interpret: each spelling, to the name it goes
# out under. Anything else takes the ordinary way.
PLAIN_NAMES: Final = {
    spelling: name
    for name in (
        b"Access-Control-Allow-Origin",
        b"Cache-Control",
        b"Content-Disposition",
        b"Content-Language",
        b"Content-Security-Policy",
        b"Content-Type",
        b"Expires",
        b"Location",
        b"Referrer-Policy",
        b"Retry-After",
        b"Vary",
        b"X-Content-Type-Options",
        b"X-Frame-Options",
    )
    for lower in (name.lower(),)
    for spelling in (name, lower, name.decode("ascii"), lower.decode("ascii"))
}


class ResponseHeaders(Headers):
    """Headers that begin with Server, Date and what has been set already."""

    __slots__ = ()

    def __init__(self, server: bytes, date: bytes, fields: dict[bytes, bytes] | None) -> None:
        self._rawHeaders = {b"Server": [server], b"Date": [date]}
        for name, value in (fields or {}).items():
            self._rawHeaders[name] = [value]

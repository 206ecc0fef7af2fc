"""Where a redirect may lead.

A redirect whose target a visitor chose (``?next=...``) must not lead to another site, so a target is a
path of this site unless the caller says otherwise. Browsers read targets in their own way: they take
``\\`` for ``/``, drop tabs and line ends anywhere and blanks in front, and take ``//host`` for another
site (WHATWG URL, 4.4). None of these is mended here: all are refused.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from hardhttp.wire.grammar import HOST

__all__ = ["MAX_TARGET_BYTES", "location"]

# What clients and proxies take in one field.
MAX_TARGET_BYTES = 8192
# Everything a browser may be sent as it is; what is not ASCII is percent-encoded.
_SAFE = "!#$%&'()*+,-./:;<=>?@[]^_`{|}~\""
_BLANKS = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_EXTERNAL = re.compile(r"https?://([^/?#]+)", re.IGNORECASE)


def location(to: str, *, external: bool = False) -> bytes:
    """The value of a Location field that leads to ``to``.

    ``to`` is a path of this site, ``/...``, with what may follow it; with ``external`` an ``http`` or
    ``https`` URL will do too. Raises ``ValueError`` with the reason for anything else.
    """
    if not isinstance(to, str):
        raise TypeError(f"a redirect's target is str, not {type(to).__name__}")
    if _BLANKS.search(to) is not None:
        raise ValueError("a redirect's target may hold no blank, control character or backslash")
    if to.startswith("//") or not to.startswith("/"):
        if not external:
            raise ValueError("a redirect leads to a path of this site, '/...', unless it is external")
        found = _EXTERNAL.match(to)
        if found is None:
            raise ValueError("an external redirect leads to an http or https URL")
        host = found[1]
        if not host.isascii() or host.startswith(":") or HOST.fullmatch(host.encode("ascii")) is None:
            raise ValueError("a redirect's target must name a host, in ASCII and without a user")
    try:
        target = quote(to, safe=_SAFE).encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("a redirect's target must be encodable as UTF-8") from None
    if len(target) > MAX_TARGET_BYTES:
        raise ValueError(f"a redirect's target is {len(target)} bytes; {MAX_TARGET_BYTES} are allowed")
    return target

"""The grammar of RFC 9110 and RFC 9112, as far as the rest of ``wire`` needs it.

Patterns are meant for ``fullmatch``. Nothing here keeps state or caches what a peer sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "AUTHORITY",
    "CHUNK_LINE",
    "FIELD_LINES",
    "FIELD_VALUE",
    "HOST",
    "TARGET",
    "TOKEN",
    "VERSION",
    "list_items",
]

_TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'

# RFC 9110, 5.6.2
TOKEN = re.compile(_TCHAR + rb"+")

# RFC 9110, 5.5. CTL other than HTAB is refused: CR, LF and NUL must be, the rest may be.
FIELD_VALUE = re.compile(rb"[\t -~\x80-\xff]*")

# RFC 9112, 5: no white space before the colon, no line folding.
FIELD_LINES = re.compile(rb"(?:" + _TCHAR + rb"+:[\t -~\x80-\xff]*\r\n)*")

# RFC 9112, 2.3. Any digit is grammar; which versions are spoken is decided elsewhere.
VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")

# RFC 9112, 3.2. Wider than RFC 3986 by what browsers send unencoded (``"<>[\]^`{|}``); no
# fragment, no white space, nothing outside US-ASCII.
TARGET = re.compile(rb'[!"$-~]+')

_URI_HOST = (
    rb"(?:(?:[!$&'()*+,;=\-._~0-9A-Za-z]|%[0-9A-Fa-f]{2})+"
    rb"|\[(?:[0-9A-Fa-f:.]+|v[0-9A-Fa-f]+\.[!$&'()*+,;=:\-._~0-9A-Za-z]+)\])"
)

# RFC 9110, 7.2: uri-host [ ":" port ]. A reg-name may be empty (RFC 3986, 3.2.2), but not that of an http or
# https URI: who meets one rejects it (RFC 9110, 4.2.1), and what a request asks for is such a URI.
HOST = re.compile(_URI_HOST + rb"(?::[0-9]{0,5})?")

# RFC 9112, 3.2.3: the target of CONNECT.
AUTHORITY = re.compile(_URI_HOST + rb":[0-9]{1,5}")

# RFC 9112, 7.1: 1*HEXDIG [ chunk-ext ]. Sixteen digits are more than any body.
CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})"
    rb"(?:[ \t]*;[ \t]*" + _TCHAR + rb"+(?:[ \t]*=[ \t]*(?:" + _TCHAR + rb"+|" + _QUOTED + rb"))?)*"
)


def list_items(values: Iterable[bytes]) -> list[bytes]:
    """The members, lower case, of a ``#token`` field given as several field lines.

    Empty members are left out (RFC 9110, 5.6.1.2).
    """
    return [item for value in values for part in value.split(b",") if (item := part.strip(b" \t").lower())]

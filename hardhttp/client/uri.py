"""Where a request goes, read from its URI (RFC 3986, RFC 9110, 4.2).

Strict where leniency would send a request, or its credentials, elsewhere than one reader of the URI
thinks: no user in the authority, no control character, no blank, no backslash in it. A host that is
not ASCII is encoded by IDNA 2008, as UTS 46 maps it.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import idna
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.web.error import SchemeNotSupported

from hardhttp.client.errors import ClientReason, RequestRefused

__all__ = ["Address", "parse_uri"]

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^#]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@\x00-\x20\x7f]+)(?::([0-9]{0,5}))?")
# RFC 1035, 2.3.4: labels of 63 octets, 253 in all as they are written.
_NAME = re.compile(r"(?=.{1,253}\.?\Z)(?:[A-Za-z0-9_\-]{1,63}\.)*[A-Za-z0-9_\-]{1,63}\.?")
# What resolvers take for an address, in ways that no two readers agree on: 127.1, 2130706433, 0x7f.1.
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[Xx][0-9A-Fa-f]*)\.?")
_TARGET = re.compile(r'[!"$-~]*')  # as wire.grammar.TARGET
DEFAULT_PORTS = {"http": 80, "https": 443}
UNIX = "http+unix"


class Address(NamedTuple):
    """``key`` is (scheme, host, port), a Unix socket's (``http+unix``, path, 0); ``field`` is for Host."""

    key: tuple[str, str, int]
    field: bytes
    target: bytes

    @property
    def absolute(self) -> bytes:
        """The target in absolute-form, for a proxy (RFC 9112, 3.2.2)."""
        return self.key[0].encode("ascii") + b"://" + self.field + self.target


def parse_uri(uri: bytes | str) -> Address:
    """Where ``uri`` leads. Raises ``RequestRefused``, or ``SchemeNotSupported`` for a scheme of others."""
    try:
        text = uri if isinstance(uri, str) else uri.decode("utf-8")
    except UnicodeDecodeError:
        raise _refused("it is not UTF-8") from None
    found = _URI.match(text)
    if found is None:
        raise _refused("it has no scheme and authority")
    scheme, authority, target = found.groups()
    scheme = scheme.lower()
    if _TARGET.fullmatch(target) is None:
        raise _refused("its path or query holds characters that must be percent-encoded")
    path = (target if target[:1] == "/" else "/" + target).encode("ascii")
    if scheme == UNIX:
        socket_path = unquote_to_bytes(authority).decode("utf-8", "surrogateescape")
        if not socket_path.startswith("/") or "\0" in socket_path:
            raise _refused("a Unix socket is named by its percent-encoded absolute path")
        return Address((UNIX, socket_path, 0), b"localhost", path)
    if scheme not in DEFAULT_PORTS:
        raise SchemeNotSupported(f"this agent speaks {', '.join(DEFAULT_PORTS)} and {UNIX}, not {scheme!r}")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise _refused("its authority is not a host and port" + (", and names a user" if "@" in authority else ""))
    host = _host(match[1])
    port = int(match[2] or DEFAULT_PORTS[scheme])
    if not 0 < port < 65536:
        raise _refused("its port is not from 1 to 65535")
    field = host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"
    return Address((scheme, host.strip("[]"), port), field.encode("ascii"), path)


def _host(host: str) -> str:
    """In lower case, and in ASCII."""
    if host[0] == "[":
        if not isIPv6Address(host[1:-1]):
            raise _refused("its host is no address of IPv6")
        return host.lower()
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise _refused("its host is no internationalised name") from None
    if _NAME.fullmatch(host) is None or (_NUMBER.fullmatch(host) is not None and not isIPAddress(host)):
        raise _refused("its host is not a name or address")
    return host.lower()


def _refused(text: str) -> RequestRefused:
    return RequestRefused(ClientReason.BAD_URI, f"the URI cannot be asked: {text}")

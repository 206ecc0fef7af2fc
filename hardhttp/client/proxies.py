"""Which proxy a request goes through, if any.

``Proxy`` is a proxy's address and what it is told to let us in; ``Proxy.parse`` reads one from a URL.
``proxy_for`` asks the environment, as curl and Go do. Where these two differ, this is the rule:

- lower-case names win over upper-case ones (curl), and an empty value is as good as none (both);
- ``HTTP_PROXY`` is not read where ``REQUEST_METHOD`` is set: in a CGI program it is the header field
  ``Proxy`` of whoever asks (httpoxy, CVE-2016-5385). ``http_proxy`` is safe (both);
- in ``NO_PROXY`` a name stands for itself and all below it, with a leading dot or without (curl; to Go a
  leading dot leaves out the name itself), ports and networks count (Go), members are parted by commas or
  white space (curl);
- loopback is nothing special (curl; Go never sends it to a proxy).

Nothing here is cached: an environment is a mapping, and is read when it is asked. A password is never in a
``repr`` or in an error.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Self
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

import attrs
import idna

from hardhttp.wire.socks import sign_in

__all__ = ["Proxy", "ProxyURLError", "no_proxy", "proxy_for"]

# What a proxy's URL may leave out: the schemes' own, as Go has them. Curl takes 1080 for http, which is of SOCKS.
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
MAX_PORT = 65_535
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class ProxyURLError(ValueError):
    """A proxy's URL that cannot be used. ``source`` names the option or the variable it came from."""

    def __init__(self, source: str, detail: str) -> None:
        super().__init__(f"{source}: {detail}")
        self.source, self.detail = source, detail


@attrs.frozen
class Proxy:
    """A proxy: what it speaks (``http``, ``https`` for that over TLS, ``socks5``), where, and with which credentials.

    ``authorization`` is the value of ``Proxy-Authorization``, or ``None``. A ``CONNECT`` carries it
    (``hardhttp.client.tunnel``), and so does a plain request for an ``http:`` URL, whose target is then the whole
    URL (RFC 9112, 3.2.2). It must never reach an origin. For SOCKS it is the message to sign in with (RFC 1929).
    Two proxies are equal only when it is the same, so a ``Proxy`` can be part of a pool's key.

    ``socks5h`` is another name for ``socks5``: either way a proxy is told the name of a host, and looks it up.
    """

    scheme: str
    host: str
    port: int
    authorization: bytes | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, source: str = "proxy") -> Self:
        """The proxy at ``url``: ``[SCHEME://][user[:password]@]host[:port][/]``.

        The scheme is ``http``, ``https``, ``socks5`` or ``socks5h``; without one it is ``http``. User and password
        are percent-decoded and sent as Basic (RFC 7617), or as SOCKS has it (RFC 1929), in UTF-8 where they are not
        ASCII. Raises ``ProxyURLError``, which quotes neither.
        """
        if url != url.strip() or any(character < "!" or character == "\x7f" for character in url):
            raise ProxyURLError(source, "white space or a control character in the URL")
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            raise ProxyURLError(source, "not a URL: see its brackets and its port") from None
        if parts.scheme in ("socks", "socks4", "socks4a"):
            raise ProxyURLError(source, f"{parts.scheme} is not spoken; socks5 is")
        if parts.scheme not in DEFAULT_PORTS:
            raise ProxyURLError(source, "the scheme is none of http, https, socks5 and socks5h")
        if not parts.hostname:
            raise ProxyURLError(source, "no host")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ProxyURLError(source, "a path, a query or a fragment; a proxy has none")
        host = _ascii_host(parts.hostname, source)
        if port is not None and not 1 <= port <= MAX_PORT:
            raise ProxyURLError(source, f"the port is not from 1 to {MAX_PORT}")
        return cls(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], _authorization(parts, source))

    @property
    def is_secure(self) -> bool:
        """Whether the proxy itself is spoken to over TLS."""
        return self.scheme == "https"

    @property
    def is_socks(self) -> bool:
        """Whether the proxy speaks SOCKS 5, for every request; else it speaks HTTP."""
        return self.scheme in ("socks5", "socks5h")

    def __str__(self) -> str:
        """As a URL, without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def _ascii_host(host: str, source: str) -> str:
    if ":" in host:
        return host  # IPv6
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        name = ""
    if not _NAME.fullmatch(name):
        raise ProxyURLError(source, "the host is not a name of the DNS") from None
    return name


def _authorization(parts: SplitResult, source: str) -> bytes | None:
    """The credentials in a URL as RFC 7617, 2 or RFC 1929, 2 sends them."""
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not at:
        return None
    user, _, password = (unquote_to_bytes(piece) for piece in userinfo.partition(":"))
    if parts.scheme in ("socks5", "socks5h"):
        try:
            return sign_in(user, password)
        except ValueError as error:
            raise ProxyURLError(source, str(error)) from None
    if b":" in user:
        # RFC 7617, 2: a user-id with a colon cannot be told from its password.
        raise ProxyURLError(source, "a colon in the user's name")
    if any(byte < 32 or byte == 127 for byte in user + password):
        raise ProxyURLError(source, "a control character in the user's name or password")
    return b"Basic " + b64encode(user + b":" + password)


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for a request to ``scheme://host:port``, as ``environ`` says; ``None`` for none.

    ``environ`` is ``os.environ`` or like it: ``http_proxy`` or ``https_proxy`` by the request's scheme, else
    ``all_proxy``, unless ``no_proxy`` names the host. ``host`` may stand in brackets. Raises ``ProxyURLError``
    that names the variable.
    """
    for name in _variables(scheme, environ):
        value = environ.get(name, "")
        if value:
            excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
            return None if no_proxy(host, port, excepted) else Proxy.parse(value, name)
    return None


def _variables(scheme: str, environ: Mapping[str, str]) -> Iterator[str]:
    yield f"{scheme}_proxy"
    if scheme != "http" or "REQUEST_METHOD" not in environ:
        yield f"{scheme.upper()}_PROXY"
    yield "all_proxy"
    yield "ALL_PROXY"


def no_proxy(host: str, port: int, excepted: str) -> bool:
    """Whether ``excepted``, the value of ``NO_PROXY``, names ``host``.

    Members: ``*`` for all; a name, which stands for all below it too (``example.com``, ``.example.com`` and
    ``*.example.com`` are the same); an address; a network (``10.0.0.0/8``); each name and address with a port, if
    only that one is meant. A member that is none of these names nothing.
    """
    host = _bare(host)
    return any(_names(member, host, port) for member in excepted.replace(",", " ").split())


def _bare(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _names(member: str, host: str, port: int) -> bool:
    if member == "*":
        return True
    if "/" in member:
        return _in_network(member, host)
    name, only = _cut_port(member)
    if only is not None and only != str(port):
        return False
    name = _bare(name)
    if (address := _address(host)) is not None:
        return address == _address(name)  # no address lies below a name: 10.0.0.1 is not within 0.0.1
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _in_network(member: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(member, strict=False)
    except ValueError:
        return False


def _cut_port(member: str) -> tuple[str, str | None]:
    """A member without its port, and the port; a bare IPv6 address has none."""
    if member.startswith("["):
        name, _, rest = member.partition("]")
        return name, rest.removeprefix(":") or None
    if member.count(":") == 1:
        name, _, port = member.partition(":")
        return name, port
    return member, None

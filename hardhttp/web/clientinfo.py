"""Who asked, and for what: as the connection shows it, and as trusted proxies tell it.

Behind a proxy every connection is the proxy's. What it says of its client, in ``Forwarded`` or in the
``X-Forwarded-*`` fields, is believed when the connection's peer is in ``Site.trusted_proxies``, and as far
as ``hardhttp.wire.forwarded`` says. From anybody else these fields are only text.

It is worked out when something asks, once for a request. What follows from it, in
``hardhttp.web.request.Request``: ``isSecure``, ``getClientAddress``, ``getRequestHostname``,
``prePathURL`` and ``URLPath`` speak of the client and of what it asked for, and ``request_id`` is the
proxy's when it gives one. ``client_info.seen`` is who is at the other end of the socket, always.
"""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web import server

from hardhttp.net.server import Server
from hardhttp.web.clientcertificate import ClientCertificate, client_certificate
from hardhttp.web.lazy import lazy
from hardhttp.wire import forwarded
from hardhttp.wire.head import Head

__all__ = ["ClientInfo", "Told", "peer_text", "told_address"]

# An id as others make them: UUIDs, ULIDs, W3C trace ids, nginx's $request_id.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TELLING = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NOTHING = forwarded.Told()
UNIX = "unix"


@attrs.frozen
class ClientInfo:
    """``seen`` and ``address`` are IP addresses as text, ``unix`` for a Unix socket's peer, or empty.

    ``seen`` is the peer of the socket; ``address`` the client's, as trusted proxies say, else the peer's.
    ``scheme`` (``http`` or ``https``), ``host`` (without port, empty where none was said) and ``port`` are
    what the client asked for; an IPv6 ``host`` is in brackets. ``client_port`` is 0 when it is not known.
    """

    seen: str
    address: str
    scheme: str
    host: str
    port: int
    client_port: int = 0
    is_told: bool = False  # a trusted proxy has said something of these
    request_id: str | None = None  # its X-Request-ID


def peer_text(peer: Any) -> str:
    """An ``IAddress`` as text."""
    return UNIX if isinstance(peer, UNIXAddress) else str(getattr(peer, "host", None) or "")


def _told(known: Server, head: Head) -> tuple[forwarded.Told | None, str | None]:
    """What a trusted peer tells, and the request's id, if it is fit for a log."""
    held: dict[bytes, list[bytes]] = {}
    given = None
    for name, value in head.fields:
        if name in _TELLING:
            held.setdefault(name, []).append(value)
        elif name == b"x-request-id":
            given = value
    request_id = given.decode("ascii") if given and _REQUEST_ID.fullmatch(given) else None
    return forwarded.read(lambda name: held.get(name, ()), known.trusts_address) if held else None, request_id


def told_address(known: Server, peer: Any, head: Head | None) -> str:
    """Whose a message is, by its head alone."""
    told = _told(known, head)[0] if head is not None and known.trusts(peer) else None
    return peer_text(peer) if told is None or told.address is None else str(told.address)


def _client_info(request: Any) -> ClientInfo:
    channel, head = request.channel, request.head
    if channel is None:
        peer = vars(request).get("client")  # kept where it was asked for
        return ClientInfo(peer_text(peer), peer_text(peer), "http", "", 80, getattr(peer, "port", 0))
    peer, found, request_id = channel.getPeer(), None, None
    if head is not None and channel.server.trusts(peer):
        found, request_id = _told(channel.server, head)
    told = found or _NOTHING
    scheme = told.scheme or ("https" if channel.isSecure() else "http")
    host, port = forwarded.split_host(told.host or request.getHeader(b"host") or b"") or (b"", None)
    if port is None:
        listening = getattr(channel.getHost(), "port", 0) if found is None else _DEFAULT_PORTS[scheme]
        port = told.host_port or int(listening)
    address, client_port = peer_text(peer), getattr(peer, "port", 0)
    if told.address is not None:
        address, client_port = str(told.address), told.port or 0
    seen = peer_text(channel.socket_peer())
    return ClientInfo(seen, address, scheme, host.decode("ascii"), port, client_port, found is not None, request_id)


class Told(server.Request):
    """The part of a request in which trusted proxies have a say."""

    channel: Any

    @lazy
    def client_info(self) -> ClientInfo:
        """Who asked, and for what, as trusted proxies tell it."""
        return _client_info(self)

    @lazy
    def client_certificate(self) -> ClientCertificate | None:
        """The certificate that the client has shown, verified; ``None`` without one."""
        return client_certificate(self.channel)

    @lazy
    def client(self) -> Any:
        """What ``getClientAddress`` returns: the client's address as told, or the connection's peer."""
        channel = self.channel
        if channel is None:
            return None
        peer = channel.getPeer()
        if not channel.server.trusts_any or self.client_info.address == peer_text(peer):
            return peer
        info = self.client_info
        return (IPv6Address if ":" in info.address else IPv4Address)("TCP", info.address, info.client_port)

    @lazy
    def request_id(self) -> str:
        """An id for this request, in logs and on error pages: a trusted proxy's ``X-Request-ID``, or a new one."""
        channel = self.channel
        told = self.client_info.request_id if channel is not None and channel.server.trusts_any else None
        return told or secrets.token_hex(8)

    def isSecure(self) -> bool:
        """Whether the client speaks TLS: to this server, or to the trusted proxy that says so."""
        channel = self.channel
        if self._forceSSL:  # setHost has said so
            return True
        if channel is None:
            return False
        return bool(self.client_info.scheme == "https" if channel.server.trusts_any else channel.isSecure())

    def setHost(self, host: bytes, port: int, ssl: bool = False) -> None:
        super().setHost(host, port, ssl)
        info = self.client_info
        if info.is_told:  # the application knows better
            scheme = "https" if self.isSecure() else "http"
            self.client_info = attrs.evolve(info, host=host.decode("ascii"), port=port, scheme=scheme)

    def getRequestHostname(self) -> bytes:
        """The host that the client asked for, without a port and without brackets."""
        info = self.client_info if self.channel is not None and self.channel.server.trusts_any else None
        if info is None or not (info.is_told and info.host):
            hostname: bytes = super().getRequestHostname()
            return hostname
        return bytes(info.host.strip("[]").encode("ascii"))

    def _prePathURL(self, prepath: list[bytes]) -> bytes:
        """What ``prePathURL``, ``URLPath`` and ``rememberRootURL`` of ``twisted.web`` are made of."""
        info = self.client_info
        if not (info.is_told and info.host):
            url: bytes = super()._prePathURL(prepath)
            return url
        port = "" if info.port == _DEFAULT_PORTS[info.scheme] else f":{info.port}"
        path = "/".join([quote(segment, safe="") for segment in prepath])
        return f"{info.scheme}://{info.host}{port}/{path}".encode("ascii")

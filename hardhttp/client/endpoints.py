"""How a host is reached: by TCP, TLS, a Unix socket, or whatever stands in between.

The agent asks one object for the ``Route`` to (scheme, host, port). A route holds a stream endpoint of
Twisted's; so a proxy, a tunnel or a test puts itself in the way by giving another.
"""

from __future__ import annotations

from typing import Any, Protocol

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.posixbase import PosixReactorBase
from twisted.web.iweb import IPolicyForHTTPS

from hardhttp.client.limits import ClientLimits
from hardhttp.client.tls import TLSEndpoint, Verifier
from hardhttp.client.uri import UNIX
from hardhttp.net.dial import DialEndpoint, HostEndpoint

__all__ = ["Endpoints", "Route", "Routes"]


@attrs.frozen(eq=False)
class Route:
    """``endpoint`` connects, TLS included. With ``absolute_form`` a request names the whole URI, as a
    proxy is asked, and ``fields`` go with it. ``proxied`` says that the endpoint has a proxy to wait for."""

    endpoint: IStreamClientEndpoint
    absolute_form: bool = False
    fields: tuple[tuple[bytes, bytes], ...] = attrs.field(default=(), repr=False)  # a proxy's credentials are there
    proxied: bool = False

    def connect_seconds(self, limits: ClientLimits) -> float:
        """How long a connection may take."""
        return limits.connect_seconds + (limits.proxy_seconds if self.proxied else 0.0)


class Routes(Protocol):
    """What an agent asks."""

    def route(self, scheme: str, host: str, port: int) -> Route:
        """How to reach a host. Called when the first connection to it is needed."""


class Endpoints:
    """Routes without a proxy.

    ``tls_policy`` makes the TLS of each host; without one certificates are verified, with the host's name, against
    ``trust_root`` or the platform's, and with ``http2`` it is offered to origins. All requests go to
    ``unix_socket``, where given.
    """

    def __init__(
        self,
        reactor: Any,
        limits: ClientLimits,
        tls_policy: IPolicyForHTTPS | None = None,
        unix_socket: str | None = None,
        bind_address: str | None = None,
        trust_root: Any = None,
        *,
        http2: bool = False,
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._unix_socket = unix_socket
        self._bind = None if bind_address is None else (bind_address, 0)
        self._verifier = Verifier(tls_policy, trust_root, http2=http2)

    def route(self, scheme: str, host: str, port: int) -> Route:
        endpoint = self.stream(scheme, host, port)
        return Route(self.secured(endpoint, host, port) if scheme == "https" else endpoint)

    def stream(self, scheme: str, host: str, port: int) -> IStreamClientEndpoint:
        """What connects to a host, TLS left out."""
        # ``IReactorFDSet`` says less: Twisted's MemoryReactor has it too, and would be given real sockets.
        if not isinstance(self._reactor, PosixReactorBase):
            return self._stock(scheme, host, port)
        if scheme == UNIX or self._unix_socket is not None:
            return DialEndpoint(self._reactor, UNIXAddress(self._unix_socket or host))
        if isIPAddress(host):
            return DialEndpoint(self._reactor, IPv4Address("TCP", host, port), self._bind)
        if isIPv6Address(host):
            return DialEndpoint(self._reactor, IPv6Address("TCP", host, port), self._bind)
        return HostEndpoint(self._reactor, host, port, self._bind)

    def _stock(self, scheme: str, host: str, port: int) -> IStreamClientEndpoint:
        """The same for a reactor that watches no descriptors: one of memory, or of another system."""
        seconds = self._limits.connect_seconds
        if scheme == UNIX or self._unix_socket is not None:
            return UNIXClientEndpoint(self._reactor, self._unix_socket or host, seconds)
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, seconds, self._bind)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, seconds, self._bind)
        return HostnameEndpoint(self._reactor, host, port, seconds, self._bind)

    def secured(
        self, endpoint: IStreamClientEndpoint, host: str, port: int, *, proxy: bool = False
    ) -> IStreamClientEndpoint:
        """``endpoint`` with TLS to ``host``, which may be a ``proxy``, over it."""
        return TLSEndpoint(self._reactor, self._verifier.creator(host, port, proxy=proxy), endpoint)

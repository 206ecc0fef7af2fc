"""How a host is reached: by TCP, TLS, a Unix socket, or whatever stands in between.

The agent asks one object, an ``Endpoints``, for the ``Route`` to (scheme, host, port). A route holds a
stream endpoint of Twisted's; so a proxy, a tunnel or a test puts itself in the way by giving another.
Names are looked up and connected to by ``HostnameEndpoint`` (RFC 8305: one address after another, a
little apart, the first that answers wins); addresses are connected to at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Protocol

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.iweb import IPolicyForHTTPS

from hardhttp.client.limits import ClientLimits
from hardhttp.client.uri import UNIX

__all__ = ["Endpoints", "Route", "Routes"]

# Contexts are costly to make: those of the hosts asked last are kept.
MAX_CONTEXTS = 256


@attrs.frozen(eq=False)
class Route:
    """``endpoint`` connects, TLS included. With ``absolute_form`` a request names the whole URI, as a
    proxy is asked, and ``fields`` go with it. ``proxied`` says that the endpoint has a proxy to wait for."""

    endpoint: IStreamClientEndpoint
    absolute_form: bool = False
    fields: tuple[tuple[bytes, bytes], ...] = ()
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

    ``tls_policy`` makes the TLS of each host; without one certificates are verified, with the
    host's name, against the platform's trust roots. All requests go to ``unix_socket``, where given.
    """

    def __init__(
        self,
        reactor: Any,
        limits: ClientLimits,
        tls_policy: IPolicyForHTTPS | None = None,
        unix_socket: str | None = None,
        bind_address: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._limits = limits
        self._policy = tls_policy
        self._unix_socket = unix_socket
        self._bind = None if bind_address is None else (bind_address, 0)
        self._contexts: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def route(self, scheme: str, host: str, port: int) -> Route:
        endpoint = self.stream(scheme, host, port)
        return Route(self.secured(endpoint, host, port) if scheme == "https" else endpoint)

    def stream(self, scheme: str, host: str, port: int) -> IStreamClientEndpoint:
        """What connects to a host, TLS left out."""
        seconds = self._limits.connect_seconds
        if scheme == UNIX or self._unix_socket is not None:
            path = host if self._unix_socket is None else self._unix_socket
            return UNIXClientEndpoint(self._reactor, path, seconds)
        if isIPAddress(host):
            return TCP4ClientEndpoint(self._reactor, host, port, seconds, self._bind)
        if isIPv6Address(host):
            return TCP6ClientEndpoint(self._reactor, host, port, seconds, self._bind)
        return HostnameEndpoint(self._reactor, host, port, seconds, self._bind)

    def secured(self, endpoint: IStreamClientEndpoint, host: str, port: int) -> IStreamClientEndpoint:
        """``endpoint`` with TLS to ``host`` over it."""
        context = self._contexts.pop((host, port), None)
        if context is None:
            if self._policy is not None:
                context = self._policy.creatorForNetloc(host.encode("ascii"), port)
            else:
                context = optionsForClientTLS(host, acceptableProtocols=[b"http/1.1"])
            while len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts[host, port] = context
        secured: IStreamClientEndpoint = wrapClientTLS(context, endpoint)
        return secured

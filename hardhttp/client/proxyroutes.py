"""The way of each request where there are proxies.

An agent asks its routes how to reach a host. These ask ``proxy_for``, or know one proxy for all, and then:

- ``https``: TLS to the origin, in a tunnel (``hardhttp.client.tunnel``). Nothing of the request is outside of it, and
  the credentials are in the ``CONNECT`` alone.
- ``http``: the request goes to the proxy, with the whole URL as its target, and the credentials as a field of it. A
  proxy that speaks SOCKS opens a tunnel for these too.
- a Unix socket, and whatever ``NO_PROXY`` names: directly.

Connections are pooled by origin, in a tunnel or not: no connection serves two origins, and what one of them sends too
much cannot reach another. A proxy that says ``close`` when it opens a tunnel is believed: it serves one request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from hardhttp.client.connection import Connection
from hardhttp.client.endpoints import Endpoints, Route
from hardhttp.client.errors import ClientReason, RequestRefused
from hardhttp.client.limits import ClientLimits
from hardhttp.client.proxies import Proxy, ProxyURLError, proxy_for
from hardhttp.client.tunnel import TunnelEndpoint
from hardhttp.client.uri import UNIX

__all__ = ["ENVIRONMENT", "ProxyRoutes", "proxy_routes"]

ENVIRONMENT = "environment"


def proxy_routes(reactor: Any, limits: ClientLimits, endpoints: Endpoints, proxy: Proxy | str) -> ProxyRoutes:
    """Routes through what an agent is told: a ``Proxy``, its URL, or ``"environment"``. Raises ``ProxyURLError``."""
    if isinstance(proxy, Proxy):
        return ProxyRoutes(reactor, limits, endpoints, proxy)
    return ProxyRoutes(reactor, limits, endpoints, os.environ if proxy == ENVIRONMENT else Proxy.parse(proxy))


class ProxyRoutes:
    """Routes through ``proxy``: a ``Proxy``, or the environment's, which is asked anew for each new connection.

    ``endpoints`` reach proxies and origins, and know whom to trust; for a proxy spoken to over TLS too.
    """

    def __init__(
        self, reactor: Any, limits: ClientLimits, endpoints: Endpoints, proxy: Proxy | Mapping[str, str]
    ) -> None:
        self._reactor, self._limits, self._endpoints, self._proxy = reactor, limits, endpoints, proxy

    def route(self, scheme: str, host: str, port: int) -> Route:
        """How to reach a host. Raises ``RequestRefused`` when the environment names no usable proxy."""
        proxy = None if scheme == UNIX else self._choose(scheme, host, port)
        if proxy is None:
            return self._endpoints.route(scheme, host, port)
        via = self._endpoints.stream("http", proxy.host, proxy.port)
        if proxy.is_secure:
            via = self._endpoints.secured(via, proxy.host, proxy.port, proxy=True)
        if scheme == "https" or proxy.is_socks:
            return Route(_Tunnelled(self, proxy, via, scheme, host, port), proxied=True)
        fields = () if proxy.authorization is None else ((b"Proxy-Authorization", proxy.authorization),)
        return Route(via, absolute_form=True, fields=fields)

    def _choose(self, scheme: str, host: str, port: int) -> Proxy | None:
        if isinstance(self._proxy, Proxy):
            return self._proxy
        try:
            return proxy_for(scheme, host, port, self._proxy)
        except ProxyURLError as error:
            raise RequestRefused(ClientReason.BAD_PROXY, str(error)) from None

    def tunnel(
        self, proxy: Proxy, via: IStreamClientEndpoint, scheme: str, host: str, port: int, told: Any
    ) -> IStreamClientEndpoint:
        """A tunnel to ``host:port`` through ``proxy``, which ``via`` reaches; with TLS in it for ``https``."""
        limits = self._limits
        tunnel = TunnelEndpoint(
            self._reactor,
            proxy,
            host,
            port,
            limits.proxy_seconds,
            connect_seconds=limits.connect_seconds,
            via=via,
            told=told,
        )
        return self._endpoints.secured(tunnel, host, port) if scheme == "https" else tunnel


@implementer(IStreamClientEndpoint)
@attrs.frozen(eq=False)
class _Tunnelled:
    """The endpoint of one origin behind a proxy; each connection is a tunnel of its own."""

    routes: ProxyRoutes = attrs.field(repr=False)
    proxy: Proxy
    via: IStreamClientEndpoint
    scheme: str
    host: str
    port: int

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        answers: list[Any] = []

        def connected(connection: Any) -> Any:
            if answers and answers[0].closes and isinstance(connection, Connection):
                connection.serve_once()
            return connection

        endpoint = self.routes.tunnel(self.proxy, self.via, self.scheme, self.host, self.port, answers.append)
        return endpoint.connect(protocolFactory).addCallback(connected)

"""A site as a service: listening, draining, and starting again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort

from hardhttp.net.port import EagerReactor
from hardhttp.net.proxyprotocol import ProxyProtocolFactory
from hardhttp.web.site import Site

__all__ = ["HTTPService", "listen", "service"]


def listen(reactor: Any, description: str, site: Site, *, proxy_protocol: bool = False) -> Deferred[IListeningPort]:
    """Listen at ``description`` (a Twisted endpoint string) on the fast port.

    ``tcp:``, ``unix:``, ``ssl:``, ``systemd:`` and whatever plugins add; an endpoint that is not made
    of TCP or Unix sockets works as it is. Fails with ``CannotListenError``.

    With ``proxy_protocol`` connections from ``site.trusted_proxies`` must begin with a PROXY header,
    before TLS where there is any; see ``hardhttp.net.proxyprotocol``.
    """

    def wrap(factory: Any) -> ProxyProtocolFactory:
        return ProxyProtocolFactory(factory, site.server)

    eager = EagerReactor(reactor, site.server.exhausted, wrap if proxy_protocol else None)
    return serverFromString(eager, description).listen(site)


class HTTPService(Service):
    """Serves ``site`` at each of ``descriptions`` while running.

    ``stopService`` stops listening, drains for up to ``Limits.drain_seconds`` and fires when the last
    connection has gone. The site, its resources and its sessions stay as they are: ``startService``
    serves as before. ``proxy_protocol`` is ``listen``'s.
    """

    name = "hardhttp"

    def __init__(
        self, site: Site, descriptions: Sequence[str], reactor: Any = None, *, proxy_protocol: bool = False
    ) -> None:
        self.site = site
        self.proxy_protocol = proxy_protocol
        self.descriptions = tuple(descriptions)
        self._reactor = reactor
        self.ports: list[IListeningPort] = []
        self.listening: Deferred[Any] | None = None

    def privilegedStartService(self) -> Deferred[list[IListeningPort]]:
        """Begin to listen while the process may still have ports below 1024."""
        super().privilegedStartService()
        return self._listen()

    def startService(self) -> Deferred[list[IListeningPort]]:
        """Begin to listen, if not begun; fires with the ports, or with the first failure once the others are closed."""
        super().startService()
        return self.listening if self.listening is not None else self._listen()

    def _listen(self) -> Deferred[list[IListeningPort]]:
        reactor = self._reactor
        if reactor is None:
            from twisted.internet import reactor
        waiting: list[Deferred[Any]] = [
            listen(reactor, description, self.site, proxy_protocol=self.proxy_protocol).addCallback(self._listens)
            for description in self.descriptions
        ]
        all_listen = DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True)
        self.listening = all_listen.addCallbacks(lambda _: self.ports, self._cannot_listen)
        return self.listening

    def _listens(self, port: IListeningPort) -> IListeningPort:
        self.ports.append(port)
        return port

    def _cannot_listen(self, failure: Any) -> Any:
        error = failure.value.subFailure
        self.running = 0
        return self._stop_listening().addCallback(lambda _: error)

    def _stop_listening(self) -> Deferred[Any]:
        ports, self.ports = self.ports, []
        self.listening = None
        return DeferredList([d for port in ports if (d := port.stopListening()) is not None])

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        # Draining first marks the site, so that nobody who slips in is served half.
        drained = self.site.drain()
        return DeferredList([self._stop_listening(), drained]).addCallback(lambda _: None)


def service(site: Site, *descriptions: str, reactor: Any = None, proxy_protocol: bool = False) -> HTTPService:
    """An ``IService`` that serves ``site`` at each endpoint description."""
    descriptions = descriptions or ("tcp:8080:interface=127.0.0.1",)
    return HTTPService(site, descriptions, reactor, proxy_protocol=proxy_protocol)

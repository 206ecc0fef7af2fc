"""A site as a service: listening, draining, and starting again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort

from hardhttp.net.inherited import Given, Inherited, InheritedError, socket_name
from hardhttp.net.port import EagerReactor
from hardhttp.net.proxyprotocol import ProxyProtocolFactory
from hardhttp.net.sharing import SharedPort
from hardhttp.net.tlsendpoint import TLSListen, read_tls
from hardhttp.net.tlspolicy import TLSPolicy
from hardhttp.web.site import Site

__all__ = ["HTTPService", "listen", "service"]


def listen(
    reactor: Any,
    description: str | TLSListen,
    site: Site,
    *,
    proxy_protocol: bool = False,
    tls: TLSPolicy | None = None,
    inherited: Inherited | None = None,
) -> Deferred[IListeningPort]:
    """Listen at ``description`` (a Twisted endpoint string) on the fast port.

    ``tcp:``, ``unix:``, ``systemd:`` and whatever plugins add; an endpoint that is not made
    of TCP or Unix sockets works as it is. ``tls:`` and ``ssl:`` look after their certificates
    (``hardhttp.net.tlsendpoint``), and agree to what ``tls`` says. Fails with ``CannotListenError``; raises
    ``CertificateError``, and ``ValueError`` for what is no endpoint.

    With ``proxy_protocol`` connections from ``site.trusted_proxies`` must begin with a PROXY header,
    before TLS where there is any; see ``hardhttp.net.proxyprotocol``. A socket of that address among the
    ``inherited`` is adopted.
    """
    eager = _eager(reactor, site, proxy_protocol, inherited)
    where = read_tls(description, reactor, tls) if isinstance(description, str) else description
    return (serverFromString(eager, str(description)) if where is None else where.on(eager)).listen(site)


def _eager(reactor: Any, site: Site, proxy_protocol: bool, inherited: Inherited | None) -> EagerReactor:
    def wrap(factory: Any) -> ProxyProtocolFactory:
        return ProxyProtocolFactory(factory, site.server)

    return EagerReactor(reactor, site.server.exhausted, wrap if proxy_protocol else None, inherited)


class HTTPService(Service):
    """Serves ``site`` at each of ``descriptions`` while running.

    ``stopService`` stops listening, drains for up to ``Limits.drain_seconds`` and fires when the last
    connection has gone. The site, its resources and its sessions stay as they are: ``startService``
    serves as before. ``proxy_protocol``, ``tls`` and ``inherited`` are ``listen``'s; a description may be
    ``systemd:NAME`` too, for the inherited sockets of that name. What is ``systemd:`` alone is ``listen_rest``'s.
    """

    name = "hardhttp"

    def __init__(
        self,
        site: Site,
        descriptions: Sequence[str | TLSListen],
        reactor: Any = None,
        *,
        proxy_protocol: bool = False,
        tls: TLSPolicy | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self.site = site
        self.inherited = Inherited() if inherited is None else inherited
        self.proxy_protocol, self.tls = proxy_protocol, tls
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
        waiting = [maybeDeferred(self._listen_at, each) for each in self.descriptions]
        # Kept before it can fail: who cannot listen forgets it, and may try again.
        self.listening = all_listen = DeferredList(waiting, fireOnOneErrback=True, consumeErrors=True)
        return all_listen.addCallbacks(lambda _: self.ports, self._cannot_listen)

    def _listen_at(self, description: str | TLSListen) -> Any:
        name = socket_name(description) if isinstance(description, str) else None
        if name is not None:
            return self._adopt(description, self.inherited.take_named(name)) if name else None
        return listen(
            self._get_reactor(),
            description,
            self.site,
            proxy_protocol=self.proxy_protocol,
            tls=self.tls,
            inherited=self.inherited,
        ).addCallback(self.ports.append)

    def listen_rest(self) -> None:
        """Listen on the inherited sockets that no other has taken, for ``systemd:``. Raises ``InheritedError``."""
        self._adopt("systemd:", self.inherited.take_rest())

    def _adopt(self, description: object, given: Sequence[Given]) -> None:
        if not given:
            raise InheritedError(f"{description}: no such socket was passed to this process")
        eager = _eager(self._get_reactor(), self.site, self.proxy_protocol, None)
        for each in given:
            self.ports.append(eager.adopt(each, self.site))

    def _get_reactor(self) -> Any:
        if self._reactor is not None:
            return self._reactor
        from twisted.internet import reactor

        return reactor

    def _cannot_listen(self, failure: Any) -> Any:
        error = failure.value.subFailure
        return self.close_ports().addCallback(lambda _: error)

    def close_ports(self) -> Deferred[Any]:
        """Listen no more, after a start that failed: nobody is served, so nothing drains."""
        self.running = 0
        return self._stop_listening()

    def _stop_listening(self) -> Deferred[Any]:
        ports, self.ports = self.ports, []
        self.listening = None
        return DeferredList([d for port in ports if (d := port.stopListening()) is not None])

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        for port in self.ports:
            if isinstance(port, SharedPort):
                port.take_waiting()
        # Draining first marks the site, so that nobody who slips in is served half.
        drained = self.site.drain()
        return DeferredList([self._stop_listening(), drained]).addCallback(lambda _: None)


def service(
    site: Site,
    *descriptions: str | TLSListen,
    reactor: Any = None,
    proxy_protocol: bool = False,
    tls: TLSPolicy | None = None,
) -> HTTPService:
    """An ``IService`` that serves ``site`` at each endpoint description."""
    descriptions = descriptions or ("tcp:8080:interface=127.0.0.1",)
    return HTTPService(site, descriptions, reactor, proxy_protocol=proxy_protocol, tls=tls)

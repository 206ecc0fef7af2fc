"""TLS to a server: whom it must be, and how it is spoken.

By default the certificate is verified for the host's name, against the platform's trust roots, as
``twisted.internet.ssl.optionsForClientTLS`` does it; an ``IPolicyForHTTPS`` may decide otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from hardhttp.net.tls import TLSProtocol

__all__ = ["Contexts", "TLSEndpoint"]

# Contexts are costly to make: those of the hosts asked last are kept.
MAX_CONTEXTS = 256


class _Factory(TLSMemoryBIOFactory):
    # Small writes are not held back for a turn: whole requests are written here.
    protocol = TLSProtocol
    noisy = False


@implementer(IStreamClientEndpoint)
class TLSEndpoint:
    """``endpoint`` with TLS over it. Its Deferred fires when the handshake begins."""

    def __init__(self, reactor: Any, context: Any, endpoint: IStreamClientEndpoint) -> None:
        self._reactor = reactor
        self._context = context
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        secured = _Factory(self._context, True, protocolFactory, self._reactor)
        return self._endpoint.connect(secured).addCallback(_wrapped)


def _wrapped(protocol: Any) -> IProtocol:
    wrapped: IProtocol = protocol.wrappedProtocol
    return wrapped


class Contexts:
    """What each host must show, as connection creators; those of the last hosts are kept."""

    def __init__(self, policy: IPolicyForHTTPS | None) -> None:
        self._policy = policy
        self._kept: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def of(self, host: str, port: int) -> Any:
        """The ``IOpenSSLClientConnectionCreator`` for a host."""
        context = self._kept.pop((host, port), None)
        if context is None:
            if self._policy is not None:
                context = self._policy.creatorForNetloc(host.encode("ascii"), port)
            else:
                context = optionsForClientTLS(host, acceptableProtocols=[b"http/1.1"])
            while len(self._kept) >= MAX_CONTEXTS:
                self._kept.popitem(last=False)
        self._kept[host, port] = context
        return context

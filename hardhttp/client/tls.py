"""TLS to a server: whom it must be, and how it is spoken.

A certificate must lead to a trusted root and name the host that is asked (RFC 9110, 4.3.4), or the
handshake fails and nothing is sent. Twisted's ``optionsForClientTLS`` promises the same, and leaves a
circle behind for every connection; here one context serves all hosts, and looks up in the handshake
which of them it is for. An ``IPolicyForHTTPS`` may decide otherwise.
"""

from __future__ import annotations

from typing import Any

from OpenSSL.crypto import X509
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER, Connection
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import CertificateOptions, platformTrust
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from hardhttp.net.tls import TLSProtocol

__all__ = ["TLSEndpoint", "Verifier"]


class _Factory(TLSMemoryBIOFactory):
    # Small writes are not held back for a turn: whole requests are written here.
    protocol = TLSProtocol
    noisy = False

    def __init__(self, creator: Any, wrapped: IProtocolFactory, reactor: Any) -> None:
        super().__init__(creator, True, wrapped, reactor)
        self.creator = creator


@implementer(IStreamClientEndpoint)
class TLSEndpoint:
    """``endpoint`` with TLS over it, as ``creator`` makes it. Its Deferred fires when the handshake begins."""

    def __init__(self, reactor: Any, creator: Any, endpoint: IStreamClientEndpoint) -> None:
        self._reactor = reactor
        self._creator = creator
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        secured = _Factory(self._creator, protocolFactory, self._reactor)
        return self._endpoint.connect(secured).addCallback(_wrapped)


def _wrapped(protocol: Any) -> IProtocol:
    wrapped: IProtocol = protocol.wrappedProtocol
    return wrapped


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes the TLS to one host. ``identity`` is what its certificate must name."""

    def __init__(self, context: Any, host: str) -> None:
        self._context = context
        # RFC 6066, 3: an address is not sent as a server's name.
        self._name = None if isIPAddress(host) or isIPv6Address(host) else host.encode("ascii")
        self.identity = DNS_ID(host) if self._name is not None else IPAddress_ID(host)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        connection = Connection(self._context, None)
        connection.set_app_data(tlsProtocol)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


def _verify(connection: Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
    """OpenSSL asks of each certificate whether it will do; of the host's own, whether it is the host's."""
    if not ok or depth:
        return bool(ok)
    protocol: Any = connection.get_app_data()
    try:
        verify_service_identity(extract_patterns(certificate), [protocol.factory.creator.identity], [])
    except Exception:  # an exception raised further is lost, and so would be the verdict
        failure = Failure()
        failure.cleanFailure()
        protocol.failVerification(failure)
        return False
    return True


class Verifier:
    """Makes connection creators for hosts: by ``policy``, or with certificates verified against ``trust_root``
    (an ``IOpenSSLTrustRoot``; the platform's by default). With ``http2`` they offer it (RFC 7301)."""

    def __init__(self, policy: IPolicyForHTTPS | None = None, trust_root: Any = None, *, http2: bool = False) -> None:
        self._policy = policy
        self._trust_root = trust_root
        self._http2 = http2
        self._contexts: dict[bool, Any] = {}

    def creator(self, host: str, port: int, *, proxy: bool = False) -> Any:
        """The ``IOpenSSLClientConnectionCreator`` for a host; a ``proxy`` is spoken to in HTTP/1.1."""
        if self._policy is not None:
            return self._policy.creatorForNetloc(host.encode("ascii"), port)
        http2 = self._http2 and not proxy
        context = self._contexts.get(http2)
        if context is None:
            trust = platformTrust() if self._trust_root is None else self._trust_root
            protocols = [b"h2", b"http/1.1"] if http2 else [b"http/1.1"]
            context = CertificateOptions(trustRoot=trust).getContext()
            # Twisted offers what ``acceptableProtocols`` says only on connections that it makes itself.
            context.set_alpn_protos(protocols)
            context.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
            self._contexts[http2] = context
        return _Creator(context, host)

"""TLS between a client and a peer of these tests: an authority, what it signed for loopback, and who trusts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from tests.certificates import Authority

__all__ = ["Trust"]


@implementer(IOpenSSLContextFactory)
class _Serves:
    """One context for everybody."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def getContext(self) -> SSL.Context:
        return self._context


@implementer(IPolicyForHTTPS)
class Trust:
    """``server`` is for ``serve(..., context=)``; a client trusts it by ``creatorForNetloc`` or ``to(host)``."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        issued = self.authority.issue("127.0.0.1", "localhost")
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(issued.leaf)
        context.use_privatekey(issued.private)
        self.pem = issued.pem(folder / "loopback.pem")
        self.server = _Serves(context)
        self.root = trustRootFromCertificates([Certificate.loadPEM(self.authority.path.read_bytes())])

    def to(self, host: str) -> Any:
        return optionsForClientTLS(host, trustRoot=self.root)

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        return self.to(hostname.decode("ascii"))

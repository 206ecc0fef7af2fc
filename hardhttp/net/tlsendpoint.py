"""``tls:`` and ``ssl:``, as endpoints whose certificates look after themselves.

    tls:443:/etc/letsencrypt/live         a directory: certbot's, or one of NAME.pem files; chosen by SNI
    tls:443:/etc/tls/site.pem:privateKey=/etc/tls/site.key
    ssl:443:privateKey=key.pem:certKey=cert.pem:extraCertChain=chain.pem      Twisted's own words

Both take ``interface`` and ``backlog``; ``tls:`` takes ``default``, the name served to clients that say none.
A description is read once, and so are its certificates: what is wrong is known before a port is opened.

``ssl:`` with ``sslmethod`` or ``dhParameters`` is left to Twisted: its contexts are its own, and never read again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import _parse as parse_description
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime, IStreamServerEndpoint
from zope.interface import implementer

from hardhttp.net.certificates import Files
from hardhttp.net.certificatestore import Certificates
from hardhttp.net.tlspolicy import TLSPolicy

__all__ = ["TLSEndpoint", "TLSListen", "names_path", "read_tls"]

BACKLOG = 511


@attrs.frozen
class TLSListen:
    """Where to listen for TLS, and with which certificates."""

    port: int
    certificates: Certificates
    interface: str = ""
    backlog: int = BACKLOG

    def on(self, reactor: Any) -> TLSEndpoint:
        return TLSEndpoint(reactor, self)


@implementer(IStreamServerEndpoint)
class TLSEndpoint:
    """``listen`` on ``reactor``, an ``IReactorSSL``."""

    def __init__(self, reactor: Any, where: TLSListen) -> None:
        self._reactor, self._where = reactor, where

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        where = self._where
        return execute(
            self._reactor.listenSSL,
            where.port,
            protocolFactory,
            where.certificates,
            backlog=where.backlog,
            interface=where.interface,
        )


def read_tls(
    description: str, clock: IReactorTime, policy: TLSPolicy | None = None, path: str | None = None
) -> TLSListen | None:
    """What ``description`` says, or ``None`` when it is not of TLS (or Twisted's own affair).

    ``path`` is where the certificates are when ``tls:`` names none. Raises ``ValueError`` for what cannot be read,
    and ``CertificateError``.
    """
    kind = description.partition(":")[0].lower()
    if kind not in ("tls", "ssl"):
        return None
    words, named = parse_description(description)
    if "sslmethod" in named or "dhParameters" in named or (kind == "ssl" and len(words) > _OURS):
        return None
    read: Any = _read_ssl if kind == "ssl" else _read_tls
    try:
        signature(read).bind(clock, policy, path, *words[1:], **named)
    except TypeError as error:
        raise ValueError(f"{kind}: takes {_TAKES[kind]}, but there is {error}") from None
    listen: TLSListen = read(clock, policy, path, *words[1:], **named)
    return listen


def names_path(description: str) -> bool:
    """Whether ``description`` says where its certificates are."""
    words, named = parse_description(description)
    return words[0].lower() == "ssl" or len(words) > 2 or "path" in named


_OURS = 4  # ssl:PORT:KEY:CERTIFICATE; what Twisted would take next is its sslmethod
_TAKES = {
    "tls": "PORT, PATH, privateKey, default, interface and backlog",
    "ssl": "PORT, privateKey, certKey, extraCertChain, interface and backlog",
}


def _whole(text: str, what: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= most):
        raise ValueError(f"{what} is {text!r}; it must be a number from 0 to {most}")
    return int(text)


def _read_tls(
    clock: Any,
    policy: TLSPolicy | None,
    elsewhere: str | None,
    port: str,
    path: str | None = None,
    *,
    privateKey: str | None = None,
    default: str | None = None,
    interface: str = "",
    backlog: str = str(BACKLOG),
) -> TLSListen:
    path = path or elsewhere
    if path is None:
        raise ValueError("tls: needs a certificate: tls:443:PATH, a PEM file or a directory of them")
    # A daemon's directory may be another when they are read again.
    find: str | Callable[[], list[Files]] = os.path.abspath(path)
    if privateKey is not None:
        find = _one(path, privateKey)
    certificates = Certificates(find, clock, policy=policy, default=default)
    return TLSListen(_whole(port, "the port", 65_535), certificates, interface, _whole(backlog, "backlog", 1 << 16))


def _read_ssl(
    clock: Any,
    policy: TLSPolicy | None,
    elsewhere: str | None,
    port: str,
    privateKey: str = "server.pem",
    certKey: str | None = None,
    *,
    extraCertChain: str | None = None,
    interface: str = "",
    backlog: str = str(BACKLOG),
) -> TLSListen:
    certificates = Certificates(_one(certKey or privateKey, privateKey, extraCertChain), clock, policy=policy)
    return TLSListen(_whole(port, "the port", 65_535), certificates, interface, _whole(backlog, "backlog", 1 << 16))


def _one(certificate: str, key: str, chain: str | None = None) -> Callable[[], list[Files]]:
    paths = [None if path is None else os.path.abspath(path) for path in (certificate, key, chain)]
    files = Files(Path(certificate).stem, *paths)  # type: ignore[arg-type]
    return lambda: [files]

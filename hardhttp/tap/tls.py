"""What ``twistd hardhttp`` listens on, and all that its options say of TLS.

Certificates are read while options are parsed, so that a wrong one is a ``usage.UsageError`` which names the
option, the file and what is wrong, before a port is open and before privileges are given up.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import Logger
from twisted.python import usage
from twisted.web.resource import IResource

from hardhttp.net.certificates import Certificate, CertificateError
from hardhttp.net.inherited import socket_name
from hardhttp.net.selfsigned import development_certificate, public_key_pin
from hardhttp.net.tlsendpoint import TLSListen, names_path, read_tls
from hardhttp.net.tlspolicy import CIPHERS, TLSPolicy
from hardhttp.tap.checks import check_endpoint
from hardhttp.units import UnitError, parse_seconds
from hardhttp.web.httpsredirect import ACMEChallenges, HTTPSRedirect

__all__ = ["DEVELOPMENT_LISTEN", "certificates_of", "hsts_settings", "read_listen", "secured"]

DEVELOPMENT_LISTEN = "tls:8443:interface=127.0.0.1"
_log = Logger(namespace="hardhttp")
_HSTS_WORDS = {"includesubdomains": "hsts_subdomains", "preload": "hsts_preload"}


def read_listen(options: Mapping[str, Any], reactor: Any) -> list[str | TLSListen]:
    """What ``--listen`` and the options of TLS ask for. Raises ``usage.UsageError``."""
    descriptions = list(options["listen"])
    folder = None
    if options["tls-development"]:
        if not any(text.partition(":")[0].lower() in ("tls", "ssl") for text in descriptions):
            descriptions.append(DEVELOPMENT_LISTEN)
        folder = _development(reactor)
    elif options["tls-development-public"]:
        raise usage.UsageError("--tls-development-public is for --tls-development, which is not given")
    policy = _policy(options)
    listening = [_read_one(text, options, policy, folder, reactor) for text in descriptions]
    if not any(isinstance(where, TLSListen) for where in listening):
        for name in ("tls-minimum", "tls-ciphers", "tls-client-ca", "tls-client-certificate"):
            if options[name] is not None:
                raise usage.UsageError(f"--{name} is for TLS, and no --listen tls: or ssl: is given")
    return listening


def certificates_of(listening: Iterable[str | TLSListen]) -> list[Any]:
    return [where.certificates for where in listening if isinstance(where, TLSListen)]


def _read_one(
    text: str, options: Mapping[str, Any], policy: TLSPolicy, folder: str | None, reactor: Any
) -> str | TLSListen:
    try:
        where = read_tls(text, reactor, policy, folder)
    except CertificateError as error:
        name = "tls-client-ca" if policy.client_ca is not None and policy.client_ca in str(error) else "listen"
        raise usage.UsageError(f"--{name} {options[name] if name != 'listen' else repr(text)}: {error}") from None
    except ValueError as error:
        raise usage.UsageError(f"--listen {text!r}: {error}") from None
    if where is None:
        if socket_name(text) is None:
            check_endpoint(text)
        return text
    if folder is None or names_path(text) or options["tls-development-public"]:
        return where
    if where.interface and not _is_loopback(where.interface):
        raise usage.UsageError(
            f"--listen {text!r}: others could reach it, and --tls-development is for this machine alone; "
            "let interface be 127.0.0.1 or ::1, or give --tls-development-public too"
        )
    return attrs.evolve(where, interface=where.interface or "127.0.0.1")


def _is_loopback(interface: str) -> bool:
    try:
        return ip_address(interface).is_loopback
    except ValueError:
        return False


def _policy(options: Mapping[str, Any]) -> TLSPolicy:
    mode, authorities = options["tls-client-certificate"], options["tls-client-ca"]
    if mode is not None and authorities is None:
        raise usage.UsageError("--tls-client-certificate is for --tls-client-ca, and none is given")
    asked: dict[str, Any] = {
        "tls-minimum": {"minimum": options["tls-minimum"] or "1.2"},
        "tls-ciphers": {"ciphers": options["tls-ciphers"] or CIPHERS},
        "tls-client-certificate": {"client_certificate": mode or "required"},
    }
    given: dict[str, Any] = {"client_ca": None if authorities is None else os.path.abspath(authorities)}
    for name, field in asked.items():
        given |= field
        try:
            policy = TLSPolicy(**given)
        except ValueError as error:
            raise usage.UsageError(f"--{name} is {options[name]}: {error}") from None
    unfit = policy.unfit_for_http2()
    if unfit and not options["no-http2"]:
        _log.warn(
            "--tls-ciphers has {names}, which HTTP/2 forbids (RFC 9113, appendix A): it is spoken over TLS 1.3 alone, "
            "and HTTP/1.1 over TLS 1.2",
            names=", ".join(unfit[:3]) + (f" and {len(unfit) - 3} more" if unfit[3:] else ""),
        )
    return policy


# -- a certificate for development ---------------------------------------------------------------


def _development(reactor: Any) -> str:
    """The folder of the certificate, made if need be."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    folder = Path(home, "hardhttp", "development")
    try:
        certificate, made = development_certificate(folder, socket.gethostname(), reactor.seconds())
    except CertificateError as error:
        raise usage.UsageError(f"--tls-development: {error}") from None
    _tell(certificate, made)
    return str(folder)


def _tell(certificate: Certificate, made: bool) -> None:
    """What it is, and how to have a client trust it."""
    path = certificate.files.certificate
    _log.info(
        "--tls-development: {how} {path}, good for {names}",
        how="a certificate was made:" if made else "the certificate is",
        path=path,
        names=", ".join(certificate.names),
    )
    _log.info("--tls-development: its SHA-256 fingerprint is {print}", print=certificate.fingerprint)
    _log.info(
        "--tls-development: to trust it: curl --cacert {path}; chromium --user-data-dir=FOLDER "
        "--ignore-certificate-errors-spki-list={pin}; or import that file where your browser keeps certificates",
        path=path,
        pin=public_key_pin(certificate),
    )


# -- around what is served -------------------------------------------------------------------------


def hsts_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--hsts`` says, as ``SecurityHeaders`` takes it. Raises ``usage.UsageError``."""
    text = options["hsts"]
    if text is None:
        return {}
    if options["tls-development"]:
        raise usage.UsageError(
            "--hsts with --tls-development would have browsers refuse plain HTTP of every other program on localhost"
        )
    seconds, *words = map(str.strip, text.split(","))
    settings: dict[str, Any] = {}
    try:
        settings["hsts_seconds"] = int(parse_seconds(seconds))
    except UnitError as error:
        raise usage.UsageError(f"--hsts: {error}") from None
    for word in words:
        if word.lower() not in _HSTS_WORDS:
            raise usage.UsageError(f"--hsts {text}: {word!r} is neither includeSubDomains nor preload")
        settings[_HSTS_WORDS[word.lower()]] = True
    return settings


def secured(resource: IResource, options: Mapping[str, Any], listening: Sequence[str | TLSListen]) -> IResource:
    """``resource`` behind ``--redirect-to-https`` and ``--acme-challenge``. Raises ``usage.UsageError``."""
    served: Any = resource
    if options["redirect-to-https"]:
        ports = [where.port for where in listening if isinstance(where, TLSListen)]
        if not ports and options["trusted-proxies"] is None:
            raise usage.UsageError("--redirect-to-https: nothing listens for TLS (--listen tls:443:PATH)")
        if ports and not ports[0]:
            raise usage.UsageError("--redirect-to-https needs a --listen tls: of a port that is known, not 0")
        stores = certificates_of(listening)

        def covers(host: str) -> bool:
            return any(store.covers(host) for store in stores)

        served = HTTPSRedirect(served, port=ports[0] if ports else 443, covers=covers if stores else None)
    directory = options["acme-challenge"]
    if directory is not None:
        if not os.path.isdir(directory):
            raise usage.UsageError(f"--acme-challenge {directory} is not a directory")
        served = ACMEChallenges(served, os.path.abspath(directory))
    found: IResource = served
    return found

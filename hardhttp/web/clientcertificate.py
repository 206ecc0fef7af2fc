"""Who a client is, by the certificate it has shown in the handshake.

A certificate is here only if it was verified: signed by one of the authorities of ``TLSPolicy.client_ca``, within
its dates, and its key proven. What a proxy says of a certificate is not believed here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes

__all__ = ["ClientCertificate", "client_certificate"]


@attrs.frozen
class ClientCertificate:
    """``subject`` and ``issuer`` are as RFC 4514 writes them: ``CN=ann,O=Example``.

    ``common_name`` is the subject's, or empty. ``names`` are its alternative names: domains, addresses of mail
    and URIs. ``fingerprint`` is SHA-256 in hexadecimal, and ``certificate`` all there is.
    """

    subject: str
    issuer: str
    common_name: str
    names: tuple[str, ...]
    serial: int
    expires: datetime
    fingerprint: str
    certificate: x509.Certificate = attrs.field(repr=False, eq=False)


def client_certificate(channel: Any) -> ClientCertificate | None:
    """What the client at the other end of ``channel`` has shown; ``None`` where it has not, or was not asked."""
    shown: x509.Certificate | None = getattr(channel, "peer_certificate", None)
    if shown is None:
        return None
    common = shown.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return ClientCertificate(
        subject=shown.subject.rfc4514_string(),
        issuer=shown.issuer.rfc4514_string(),
        common_name=str(common[0].value) if common else "",
        names=_names(shown),
        serial=shown.serial_number,
        expires=shown.not_valid_after_utc,
        fingerprint=shown.fingerprint(hashes.SHA256()).hex(),
        certificate=shown,
    )


def _names(shown: x509.Certificate) -> tuple[str, ...]:
    try:
        names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds = (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier)
    return tuple(str(name.value) for name in names if isinstance(name, kinds))

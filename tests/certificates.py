"""Certificates for tests: an authority of one's own, and what it signs."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["DAY", "Authority", "Issued"]

DAY = datetime.timedelta(days=1)
_OTHER_USES = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
_SIGNS = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    decipher_only=False,
    **dict.fromkeys(_OTHER_USES, False),
)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Issued:
    """A certificate in PEM, and its key."""

    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.leaf = certificate
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.private = key
        self.key = self.sealed(None)

    def sealed(self, passphrase: bytes | None) -> bytes:
        kind = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, kind)

    def certbot(self, folder: Path) -> Path:
        """As certbot's ``live/NAME``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fullchain.pem").write_bytes(self.certificate)
        (folder / "privkey.pem").write_bytes(self.key)
        return folder

    def pem(self, path: Path) -> Path:
        """Certificate and key in one file."""
        path.write_bytes(self.certificate + self.key)
        return path


class Authority:
    """Signs certificates; ``path`` holds its own."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._serial = 0
        self.certificate = (
            self._builder(self._name, self._key, now() - DAY, now() + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name.replace(' ', '-')}.crt"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any, begin: datetime.datetime, end: datetime.datetime) -> Any:
        self._serial += 1
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(self._serial)
            .not_valid_before(begin)
            .not_valid_after(end)
            # Python 3.13's clients ask for these (VERIFY_X509_STRICT).
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue(
        self,
        *names: str,
        common_name: str = "",
        begin: datetime.datetime | None = None,
        end: datetime.datetime | None = None,
        mail: str | None = None,
    ) -> Issued:
        """A certificate for ``names``, from a day ago (``begin``) to ten days from now (``end``)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0])])
        builder = self._builder(subject, key, begin or now() - DAY, end or now() + 10 * DAY)
        alternatives: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(name)) if name.replace(".", "").isdigit() or ":" in name
            else x509.DNSName(name)
            for name in names
        ]  # fmt: skip
        if mail is not None:
            alternatives.append(x509.RFC822Name(mail))
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        return Issued(builder.sign(self._key, hashes.SHA256()), key)

"""A certificate for development, made once and signed by itself.

It is good for ``localhost``, the loopback addresses and this machine's name, and for nothing else: it is no
authority, so that whoever trusts it trusts these names alone, even when the key is stolen. It lasts as long as
Apple's clients take (825 days), and is made anew when its last month has begun or when it lacks a name.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hardhttp.net.certificates import Certificate, CertificateError, Files, load_certificate

__all__ = ["LOCAL_NAMES", "development_certificate", "public_key_pin"]

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
DAYS = 820
RENEW_DAYS = 30


def development_certificate(folder: Path, machine: str, now_seconds: float) -> tuple[Certificate, bool]:
    """The certificate in ``folder``, and whether it had to be made. Raises ``CertificateError``.

    ``machine`` is this machine's name. The key is readable by its owner alone, and so is the folder if it is made.
    """
    names = [*LOCAL_NAMES, *_fit(machine)]
    files = Files("development", str(folder / "localhost.pem"), str(folder / "localhost.key"))
    found = _usable(files, names, now_seconds)
    if found is not None:
        return found, False
    try:
        _make(folder, files, names, now_seconds)
    except OSError as error:
        raise CertificateError(f"{folder}: no certificate can be kept there: {error.strerror}") from None
    return load_certificate(files), True


def _fit(machine: str) -> Iterable[str]:
    """``machine``, if a certificate can say it."""
    name = machine.lower().rstrip(".")
    labels = name.split(".")
    fit = len(name) < 64 and all(label and label.replace("-", "").isalnum() for label in labels) and name.isascii()
    return [name] if fit and name not in LOCAL_NAMES else []


def _usable(files: Files, names: list[str], now_seconds: float) -> Certificate | None:
    try:
        found = load_certificate(files)
    except CertificateError:
        return None
    soon = now_seconds + RENEW_DAYS * 86_400
    return found if set(names) <= set(found.names) and found.complaint(soon) is None else None


def _make(folder: Path, files: Files, names: list[str], now_seconds: float) -> None:
    now = datetime.fromtimestamp(now_seconds, UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "hardhttp development"),
            x509.NameAttribute(NameOID.COMMON_NAME, names[-1]),
        ]
    )
    signing = {"digital_signature": True} | dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign"), False
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(**signing, crl_sign=False, encipher_only=False, decipher_only=False), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    written = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _replace(Path(files.key), written, 0o600)
    _replace(Path(files.certificate), made.public_bytes(serialization.Encoding.PEM), 0o644)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is never there in part, nor for a moment readable by others."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(new, path)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def public_key_pin(certificate: Certificate) -> str:
    """What Chromium's ``--ignore-certificate-errors-spki-list`` takes: SHA-256 of the public key, in base64."""
    key = certificate.leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(sha256(key).digest()).decode("ascii")

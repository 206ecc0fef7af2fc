"""Certificates as files hold them: found, read, and judged before anybody is shown one.

A path is a PEM file, or a directory of them in one of the layouts people have: certbot's ``live``
(``NAME/fullchain.pem`` and ``NAME/privkey.pem``), one such folder, or ``NAME.pem`` files that hold the key
too or have ``NAME.key`` beside them (as txsni's). Whatever is wrong is a ``CertificateError`` that names the
file and says what would do; it never quotes what is in a key.

Nothing is kept here. ``hardhttp.net.certificatestore`` keeps what was read, and asks again when files change.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

__all__ = ["Certificate", "CertificateError", "Files", "find_files", "load_authorities", "load_certificate", "stamp"]

# A chain is a few KiB; what is larger is no certificate, and a pipe has no end.
MAX_FILE_BYTES = 1 << 20
# Each is looked at every few seconds, in the turn of the reactor.
MAX_CERTIFICATES = 1_000
_CERTBOT = ("fullchain.pem", "privkey.pem")


class CertificateError(Exception):
    """A certificate, its key or its chain cannot be used. The text names the file."""


@attrs.frozen
class Files:
    """Where a certificate is: ``key`` may be the same file, ``chain`` holds what is not in ``certificate``."""

    name: str
    certificate: str
    key: str
    chain: str | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.certificate, self.key, self.chain)))


@attrs.frozen
class Certificate:
    """A certificate, its chain without the root, and its key; ``names`` are those it is good for, in lower case."""

    files: Files
    names: tuple[str, ...]
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...] = attrs.field(repr=False)
    key: Any = attrs.field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256, as browsers and ``openssl x509 -fingerprint`` write it."""
        return self.leaf.fingerprint(hashes.SHA256()).hex(":").upper()

    def complaint(self, now_seconds: float) -> str | None:
        """What its dates say against it, if anything."""
        now = datetime.fromtimestamp(now_seconds, UTC)
        if now >= self.leaf.not_valid_after_utc:
            return f"{self.files.certificate} expired on {_date(self.leaf.not_valid_after_utc)}"
        if now < self.leaf.not_valid_before_utc:
            return f"{self.files.certificate} is not valid before {_date(self.leaf.not_valid_before_utc)}"
        return None


def _date(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def stamp(paths: Iterable[str]) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when a file does: its time, size and inode; ``None`` for one that is not there."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)


def find_files(path: str) -> list[Files]:
    """The certificates at ``path``, in the order of their names. Raises ``CertificateError`` when there are none."""
    if not os.path.isdir(path):
        return [Files(Path(path).stem, path, path)]
    if os.path.exists(os.path.join(path, _CERTBOT[0])):
        return [_pair(path)]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None
    found = []
    for name in names:
        full = os.path.join(path, name)
        stem, suffix = os.path.splitext(name)
        if name.startswith("."):
            continue
        if os.path.exists(os.path.join(full, _CERTBOT[0])):
            found.append(_pair(full))
        elif suffix == ".pem" and os.path.isfile(full):
            key = os.path.join(path, f"{stem}.key")
            found.append(Files(stem, full, key if os.path.exists(key) else full))
    if not found:
        raise CertificateError(
            f"{path} holds no certificate: it must have NAME/{_CERTBOT[0]} with NAME/{_CERTBOT[1]}, or NAME.pem"
        )
    if len(found) > MAX_CERTIFICATES:
        raise CertificateError(f"{path} holds {len(found):,} certificates; there may be {MAX_CERTIFICATES:,}")
    return found


def _pair(folder: str) -> Files:
    certificate, key = (os.path.join(folder, name) for name in _CERTBOT)
    return Files(os.path.basename(os.path.abspath(folder)), certificate, key)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise CertificateError(f"{path} does not exist") from None
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise CertificateError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes, and no certificate is")
    return data or b""


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe that nobody writes would hold the reactor


def _certificates(path: str, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None


def load_authorities(path: str) -> list[x509.Certificate]:
    """The certificates that clients' are to be signed by. Raises ``CertificateError``."""
    return _certificates(path, _read(path))


def load_certificate(files: Files) -> Certificate:
    """Read a certificate and all it needs. Raises ``CertificateError``."""
    data = _read(files.certificate)
    leaf, *chain = _certificates(files.certificate, data)
    if files.chain is not None:
        chain += _certificates(files.chain, _read(files.chain))
    key = _key(files.key, data if files.key == files.certificate else _read(files.key))
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise CertificateError(f"the key in {files.key} is not that of the certificate in {files.certificate}")
    return Certificate(files, _names(leaf), leaf, tuple(chain), key)


def _key(path: str, data: bytes) -> Any:
    try:
        return serialization.load_pem_private_key(_key_block(data), None)
    except TypeError:
        raise CertificateError(
            f"the key in {path} needs a passphrase; `openssl pkey -in {path} -out FILE` writes one that does not"
        ) from None
    except ValueError:
        what = "a private key that cannot be read" if b"PRIVATE KEY-----" in data else "no private key in PEM"
        raise CertificateError(f"{path} holds {what}") from None
    except Exception as error:  # of an algorithm this OpenSSL does not know
        raise CertificateError(f"the key in {path} cannot be used ({type(error).__name__})") from None


def _key_block(data: bytes) -> bytes:
    """From where the key begins: a certificate may stand before it, and parameters of its curve."""
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(b"-----BEGIN ") and line.rstrip().endswith(b"PRIVATE KEY-----"):
            return b"\n".join(lines[number:])
    return data


def _public(key: Any) -> bytes:
    written: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return written


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    """Its alternative names; what a subject's common name says no client has believed for years (RFC 9525, 2)."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    domains = alternatives.get_values_for_type(x509.DNSName)
    addresses = map(str, alternatives.get_values_for_type(x509.IPAddress))
    return tuple(dict.fromkeys([*(name.lower().rstrip(".") for name in domains), *addresses]))

"""TLS to a Redis: whom it is believed, who we are, and in which words it is told why not.

Redis is often run with certificates of one's own, and by default asks for its clients' too. So a URL may name files, in
PEM: ``ca`` (whom to believe, instead of whom the system does), ``cert`` and ``key`` (who we are; the key may stand in
the same file). They are read when the URL is, lest a service begins that can never connect, and again for each
connection, so that they may be renewed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["RedisTLS", "trouble"]

NAMES = ("ca", "cert", "key")


@attrs.frozen
class RedisTLS:
    """The paths of the files, or ``None``."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, query: Mapping[str, Sequence[str]]) -> RedisTLS:
        """Raises ``ValueError`` for what is not there, or cannot be read."""
        if set(query) - set(NAMES):
            raise ValueError(f"the Redis URL may name the files {', '.join(NAMES)}, and nothing else")
        made = cls(**{name: values[-1] for name, values in query.items()})
        if made.key is not None and made.cert is None:
            raise ValueError("the Redis URL names a key without a cert")
        made.options("localhost")
        return made

    def options(self, host: str) -> Any:
        """What Twisted makes of it to connect to ``host``. Raises ``ValueError`` that names the file."""
        from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS, trustRootFromCertificates

        trusted = own = None
        if self.ca is not None:
            whom = [Certificate.loadPEM(pem) for pem in _blocks(_read("ca", self.ca))]
            if not whom:
                raise ValueError(f"the Redis URL's ca: there is no certificate in {self.ca}")
            trusted = trustRootFromCertificates(whom)
        if self.cert is not None:
            texts = _read("cert", self.cert), _read("key", self.key or self.cert)
            try:
                own = PrivateCertificate.loadPEM(b"\n".join(texts))
            except Exception:  # its words may hold what it could not read
                raise ValueError("the Redis URL's cert and key cannot be used together") from None
        return optionsForClientTLS(host, trusted, own)


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"the Redis URL's {name}: {error.strerror}: {path}") from None


def _blocks(text: bytes) -> list[bytes]:
    """The certificates in a file, each by itself."""
    end = b"-----END CERTIFICATE-----"
    return [part + end for part in text.split(end)[:-1]]


def trouble(error: BaseException | None, host: str) -> str | None:
    """Why there is no TLS with ``host``, in words; ``None`` if that is not what is wrong."""
    from OpenSSL.SSL import Error
    from service_identity import VerificationError
    from service_identity.exceptions import CertificateError

    if isinstance(error, VerificationError | CertificateError):
        return f"its certificate is not that of {host}"
    if isinstance(error, Error):
        said = error.args[0] if error.args else None
        reasons = [each[-1] for each in said if each[-1]] if isinstance(said, list | tuple) else []
        return f"TLS failed: {reasons[-1] if reasons else 'the connection was closed'}"
    return None

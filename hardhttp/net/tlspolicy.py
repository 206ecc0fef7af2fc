"""What is agreed to in a TLS handshake, and the OpenSSL context that says so.

TLS 1.2 and 1.3, with ephemeral keys and authenticated ciphers alone (Mozilla's intermediate profile,
RFC 9325); the server's order of ciphers holds; no compression (CRIME) and no renegotiation. Sessions
are resumed by tickets, so that no memory is held for a client that may come back; the key that seals them
lives as long as the context (see ``hardhttp.net.certificatestore``, which makes new ones).

``TLSPolicy`` is a value. What protocol is spoken (ALPN) is no part of it: that is asked of the site, in
each handshake.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IProtocolNegotiationFactory

from hardhttp.net.certificates import Certificate

__all__ = ["CLIENT_CERTIFICATE", "VERSIONS", "NoProtocolError", "TLSPolicy", "make_context", "said_by"]

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
CLIENT_CERTIFICATE = {
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
    "optional": SSL.VERIFY_PEER,
}
# 128 bits are enough for all that is not kept for decades, and a quarter faster; ChaCha20 for who has no AES.
CIPHERS = (
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20"
)
# RFC 8446, 4.6.1 allows seven days; nginx keeps five minutes, Go seven days.
TICKET_SECONDS = 4 * 3600
# OpenSSL's names of what appendix A of RFC 9113 leaves: ephemeral keys with AEAD, and all of TLS 1.3.
_FIT = re.compile(r"TLS_|(?:EC)?DHE-.*(?:GCM|CCM|CHACHA20)")
_OPERATORS = ("!", "-", "+", "@")


def _known_version(policy: Any, attribute: Any, version: str) -> None:
    if version not in VERSIONS:
        raise ValueError(f"minimum is {version!r}; it must be {' or '.join(VERSIONS)}")


def _known_mode(policy: Any, attribute: Any, mode: str) -> None:
    if mode not in CLIENT_CERTIFICATE:
        raise ValueError(f"client_certificate is {mode!r}; it must be {' or '.join(CLIENT_CERTIFICATE)}")


@attrs.frozen
class TLSPolicy:
    """``minimum`` is the oldest version, ``1.2`` or ``1.3``.

    ``ciphers`` are OpenSSL's names and strings, with colons between, best first; those that begin with ``TLS_``
    are for TLS 1.3. ``client_ca`` is a file of certificates in PEM, one of which must have signed a client's
    own; a client without one is turned away where ``client_certificate`` is ``required``, and not where it is
    ``optional``. Raises ``ValueError``.
    """

    minimum: str = attrs.field(default="1.2", validator=_known_version)
    ciphers: str = attrs.field(default=CIPHERS)
    client_ca: str | None = None
    client_certificate: str = attrs.field(default="required", validator=_known_mode)

    def __attrs_post_init__(self) -> None:
        new, old = self._split()
        for suite in new:
            _accepts("set_tls13_ciphersuites", suite, "a cipher of TLS 1.3")
        for text in old:
            if not text.startswith(_OPERATORS):
                _accepts("set_cipher_list", text, "a cipher that OpenSSL knows")
        if old:
            _accepts("set_cipher_list", ":".join(old), "a choice of ciphers")
        elif self.minimum == "1.2":
            raise ValueError("ciphers has none for TLS 1.2; add one, or let minimum be 1.3")

    def unfit_for_http2(self) -> list[str]:
        """The ciphers that HTTP/2 does not take (RFC 9113, appendix A): neither ephemeral nor authenticated.

        Where there are any, HTTP/2 is agreed on over TLS 1.3 alone: with which of them a client of TLS 1.2 would end
        is not known when the protocol is chosen, and browsers refuse to go on.
        """
        if self.minimum != "1.2":
            return []
        context = SSL.Context(SSL.TLS_METHOD)
        self.apply(context)
        return [name for name in SSL.Connection(context, None).get_cipher_list() if _FIT.match(name) is None]

    def _split(self) -> tuple[list[str], list[str]]:
        """Ciphers of TLS 1.3, and those of TLS 1.2."""
        texts = [text.strip() for text in self.ciphers.split(":")]
        return [t for t in texts if t.startswith("TLS_")], [t for t in texts if not t.startswith("TLS_")]

    def apply(self, context: SSL.Context) -> None:
        """Have ``context`` agree to no more than this."""
        new, old = self._split()
        context.set_min_proto_version(VERSIONS[self.minimum])
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection holds no record's room
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_timeout(TICKET_SECONDS)
        if new:
            context.set_tls13_ciphersuites(":".join(new).encode("ascii"))
        if old:
            context.set_cipher_list(":".join(old).encode("ascii"))


def _accepts(method: str, text: str, what: str) -> None:
    try:
        getattr(SSL.Context(SSL.TLS_METHOD), method)(text.encode("ascii"))
    except (SSL.Error, UnicodeEncodeError):
        raise ValueError(f"ciphers: {text!r} is not {what}") from None


class NoProtocolError(SSL.Error):
    """The client offers protocols, and none that the site speaks (RFC 7301, 3.2)."""


def _choose_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """The first protocol of the site's that the client offers."""
    site: Any = IProtocolNegotiationFactory(connection.get_app_data().factory.wrappedFactory, None)
    if site is None:
        return SSL.NO_OVERLAPPING_PROTOCOLS  # it speaks what it speaks
    for protocol in site.acceptableProtocols():
        if protocol in offered:
            return protocol
    # A fatal alert, so that what is meant for a server of another protocol is never taken for a request (ALPACA).
    raise NoProtocolError([("", "", "no application protocol")])


def _choose_with_old_ciphers(connection: SSL.Connection, offered: list[bytes]) -> Any:
    """The same, where not all ciphers are fit for HTTP/2."""
    if connection.get_protocol_version_name() == "TLSv1.2":
        offered = [protocol for protocol in offered if protocol != b"h2"]
    return _choose_protocol(connection, offered)


def make_context(
    certificate: Certificate,
    policy: TLSPolicy,
    session_id: bytes,
    authorities: list[x509.Certificate] | None = None,
) -> SSL.Context:
    """What serves ``certificate``; ``authorities`` are those of ``policy.client_ca``. Raises ``SSL.Error``.

    Sessions are resumed only among contexts of the same ``session_id``, at most 32 bytes.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    policy.apply(context)
    context.use_certificate(certificate.leaf)
    for above in certificate.chain:
        context.add_extra_chain_cert(above)
    context.use_privatekey(certificate.key)
    context.set_alpn_select_callback(_choose_with_old_ciphers if policy.unfit_for_http2() else _choose_protocol)
    context.set_session_id(session_id)
    if authorities is not None:
        context.set_verify(CLIENT_CERTIFICATE[policy.client_certificate])
        store: Any = context.get_cert_store()
        for authority in authorities:
            store.add_cert(X509.from_cryptography(authority))
            context.add_client_ca(authority)
    return context


def said_by(error: SSL.Error) -> str:
    """What OpenSSL says, in words."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    return ", ".join(str(reason[-1]) for reason in reasons) or "OpenSSL does not say why"

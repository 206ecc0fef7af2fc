"""Key material: what an operator configures, as keys that verify.

A secret, a public key or a certificate in PEM, or a JWKS document (RFC 7517) becomes one or more keys for
one algorithm (RFC 7518). Of a certificate only the key counts: who configures it says that he trusts it.
The text is read for the algorithm that was configured, so a public key never becomes a shared secret
(RFC 8725, 2.1), and a private key, which has no business in a hub, is refused. What is wrong is said
without a word of the text. The cryptography is PyJWT's, imported when a key is read: it is needed by
nobody who configures none.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from hardhttp.wire.jsonbody import JSONError, parse_json

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

__all__ = ["ALGORITHMS", "EXAMPLE_SECRET", "Keys", "algorithm_of", "is_example", "read_jwks", "read_keys", "short_of"]

# By kid; under None the only key there is, when it has none.
Keys = dict[str | None, Any]

# The JWK type of each algorithm's keys (RFC 7518, 6.1; RFC 8037, 2). There is no "none".
ALGORITHMS = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    **dict.fromkeys(("RS256", "RS384", "RS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384"), "EC"),
    "EdDSA": "OKP",
}
# RFC 7518, 3.4: the curve belongs to the algorithm. A key in PEM on another is refused by PyJWT.
_CURVES = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519"}
# RFC 7518, 3.2: as many as the hash has; 3.3 for RSA.
_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
MIN_RSA_BITS = 2048

_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
MAX_TEXT_CHARACTERS = 256 * 1024
MAX_KEYS = 100
MAX_DEPTH = 8

# Signs the tokens of the reference hub's demo and conformance suite, so everybody has it.
EXAMPLE_SECRET = b"!ChangeThisMercureHubJWTSecretKey!"


def algorithm_of(name: str) -> Algorithm:
    """PyJWT's part that verifies. Raises ``ValueError`` for one not in ``ALGORITHMS`` or not installed."""
    if name not in ALGORITHMS:
        raise ValueError(f"the algorithm of a token must be one of {', '.join(ALGORITHMS)}")
    try:
        import jwt

        return jwt.get_algorithm_by_name(name)
    except (ImportError, NotImplementedError):
        raise ValueError("tokens need PyJWT and cryptography: pip install hardhttp[mercure]") from None


def read_keys(text: str, algorithm: str, verifier: Algorithm) -> Keys:
    """The keys in ``text``, by kid; one that is no JWKS under ``None``.

    Of a JWKS, the keys that are not for verifying with this algorithm are passed over (RFC 7517, 5).
    Raises ``ValueError``.
    """
    if not text.strip():
        raise ValueError("the key is empty")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"the key is longer than {MAX_TEXT_CHARACTERS:,} characters")
    if text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) and ('"keys"' in text or '"kty"' in text):
        return read_jwks(text, algorithm, verifier)
    if ALGORITHMS[algorithm] == "oct":
        # PyJWT looks for keys of other kinds too, but a PEM that lost its end is public all the same.
        if "-----BEGIN " in text or "---- BEGIN " in text:
            raise ValueError(f"the key is a PEM block, not a secret for {algorithm}; configure its own algorithm")
        return {None: _prepared(text, algorithm, verifier)}
    return {None: _checked(_prepared(text.strip(), algorithm, verifier), algorithm)}


def short_of(secret: Any, algorithm: str) -> str | None:
    """What to warn of when a shared secret is shorter than RFC 7518, 3.2 allows."""
    needed = _SECRET_BYTES.get(algorithm)
    if needed is None or len(secret) >= needed:
        return None
    return f"the {algorithm} secret has {len(secret)} bytes; RFC 7518, 3.2 asks for {needed} or more, at random"


def is_example(secret: Any, algorithm: str) -> bool:
    """Whether it is the reference hub's example."""
    return ALGORITHMS[algorithm] == "oct" and hmac.compare_digest(secret.strip(), EXAMPLE_SECRET)


def _prepared(text: str, algorithm: str, verifier: Algorithm) -> Any:
    try:
        if text.startswith(_CERTIFICATE):
            text = _key_of_certificate(text)
        return verifier.prepare_key(text.encode("utf-8"))
    except Exception:  # PyJWT's, cryptography's and Python's own, some of which quote the key
        kind = ALGORITHMS[algorithm]
        wanted = "a secret, or is a key of another kind" if kind == "oct" else f"a public {kind} key in PEM"
        raise ValueError(f"the key for {algorithm} is not {wanted}") from None


def _key_of_certificate(text: str) -> str:
    """Its public key, in PEM again: how strong that is, and on which curve, is judged as of any other."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_pem_x509_certificate(text.encode("ascii")).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def _checked(key: Any, algorithm: str) -> Any:
    """A key that verifies and does no more, and is as strong as its algorithm."""
    if hasattr(key, "private_bytes"):
        raise ValueError(f"the key for {algorithm} is a private key; a hub needs only the public one")
    if ALGORITHMS[algorithm] == "RSA" and key.key_size < MIN_RSA_BITS:
        raise ValueError(f"the RSA key has {key.key_size} bits; RFC 7518, 3.3 asks for {MIN_RSA_BITS} or more")
    return key


# -- JWKS ----------------------------------------------------------------------------------------


def read_jwks(text: str, algorithm: str, verifier: Algorithm) -> Keys:
    """The keys of a JWKS document for this algorithm, by kid. Raises ``ValueError``."""
    try:
        document = parse_json(text.encode("utf-8", "replace"), MAX_DEPTH, unique_keys=True)
    except JSONError as error:
        raise ValueError(str(error).replace("the body", "the JWKS", 1)) from None
    listed = None
    if isinstance(document, dict):
        listed = document.get("keys", [document] if "kty" in document else None)
    if not isinstance(listed, list) or not all(isinstance(jwk, dict) for jwk in listed):
        raise ValueError("the JWKS has no list of keys")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"the JWKS has {len(listed)} keys; at most {MAX_KEYS} are taken")
    keys: Keys = {}
    for jwk in listed:
        if _is_for(jwk, algorithm):
            kid = jwk.get("kid")
            if kid is not None and not isinstance(kid, str):
                raise ValueError("a kid in the JWKS is not a string")
            if kid in keys:
                raise ValueError(f"the JWKS has two keys for {algorithm} with the same kid, or without any")
            keys[kid] = _of_jwk(jwk, algorithm, verifier)
    if not keys:
        raise ValueError(f"the JWKS has no key for {algorithm}")
    if len(keys) > 1 and None in keys:
        raise ValueError(f"the JWKS has several keys for {algorithm}, and one has no kid to find it by")
    return keys


def _is_for(jwk: dict[str, Any], algorithm: str) -> bool:
    """RFC 7517, 4.1 to 4.4: whether it verifies signatures made with ``algorithm``."""
    operations = jwk.get("key_ops")
    return (
        jwk.get("kty") == ALGORITHMS[algorithm]
        and jwk.get("alg") in (None, algorithm)
        and jwk.get("use") in (None, "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and (algorithm not in _CURVES or jwk.get("crv") == _CURVES[algorithm])
    )


def _of_jwk(jwk: dict[str, Any], algorithm: str, verifier: Algorithm) -> Any:
    try:
        key = verifier.prepare_key(verifier.from_jwk(jwk))
    except Exception:  # as above
        raise ValueError(f"a key for {algorithm} in the JWKS is malformed") from None
    return _checked(key, algorithm)

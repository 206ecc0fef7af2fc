"""Tokens: where a request carries one, whether its signature holds, and how it is refused.

A token is a JWS in compact form (RFC 7515, 3.1), borne in a request as RFC 6750 says. Its algorithm is
that of the key that was configured: what the token says of itself is compared, never followed, and
``none`` is no algorithm here. The framing is ours, strict and bounded, so that no two texts are the
same token; the cryptography is PyJWT's, which compares in constant time. Nothing is kept of a token,
and nothing here prints one.

What a signed token allows is for ``hardhttp.sse.claims``.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Container
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from hardhttp.errors import HTTPError, LimitFault
from hardhttp.limits import Limits
from hardhttp.sse.jwks import Keys, algorithm_of, is_example, read_jwks, read_keys, short_of
from hardhttp.web.forms import query_fields
from hardhttp.wire.jsonbody import JSONError, parse_json

if TYPE_CHECKING:
    from jwt.algorithms import Algorithm

__all__ = [
    "COOKIE",
    "MAX_TOKEN_CHARACTERS",
    "Found",
    "Key",
    "TokenError",
    "UnknownKeyError",
    "Verifies",
    "cookie_origin_allowed",
    "find_token",
]

COOKIE = b"mercureAuthorization"
# A browser keeps no cookie of more than 4 KiB, and a request target is 8 KiB at most.
MAX_TOKEN_CHARACTERS = 8192
# A header is flat; a JWK within it, which nobody reads, is one level more.
MAX_HEADER_DEPTH = 4

_LIMITS = Limits()
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
# RFC 6750, 2.1; the scheme matches in any case (RFC 9110, 11.1).
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.I)
_SCHEME = re.compile(rb"bearer(?: |$)", re.I)
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
# RFC 6750, 3: what may stand in error_description.
_NOT_SAID = re.compile(r"[^ !#-\[\]-~]")
# A browser's Referer, up to the end of its origin.
_PAGE = re.compile(rb"(https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?)(?:[/?#].*)?", re.I | re.S)


class TokenError(HTTPError):
    """A request refused for its token, as RFC 6750, 3.1 has it; an ``HTTPError`` with its challenge.

    ``error`` is ``invalid_request`` (400), ``invalid_token`` (401), ``insufficient_scope`` (403), or empty
    (401) when there was no token at all. ``description`` says why, and quotes nothing of the token.
    """

    def __init__(self, status: int, error: str, description: str) -> None:
        description = _NOT_SAID.sub("'", description)
        challenge = 'Bearer realm="mercure"'
        if error:
            challenge += f', error="{error}", error_description="{description}"'
        super().__init__(status, description, {"WWW-Authenticate": challenge})
        self.error = error
        self.description = description

    @property
    def www_authenticate(self) -> bytes:
        """The value of the WWW-Authenticate field."""
        return self.headers["WWW-Authenticate"].encode("ascii")

    @classmethod
    def missing(cls) -> TokenError:
        """401: no token came, and one is needed. No error code, as RFC 6750, 3.1 asks."""
        return cls(401, "", "a token is needed")

    @classmethod
    def malformed(cls, description: str) -> TokenError:
        """400: the request does not carry its token as it must."""
        return cls(400, "invalid_request", description)

    @classmethod
    def invalid(cls, description: str) -> TokenError:
        """401: the token is malformed, expired, or not signed by the key."""
        return cls(401, "invalid_token", description)

    @classmethod
    def insufficient(cls, description: str) -> TokenError:
        """403: the token holds, and does not allow this."""
        return cls(403, "insufficient_scope", description)


class UnknownKeyError(TokenError):
    """401: the token names a key by its kid, and there is none of that name. There may be one later."""


# -- keys ----------------------------------------------------------------------------------------


class Verifies(Protocol):
    """What a hub asks of its keys: a ``Key``, or ``hardhttp.sse.remotekeys.RemoteKeys``."""

    def verified(self, token: str) -> bytes:
        """The payload of a token whose signature holds. Raises ``HTTPError``: ``TokenError`` for a token that is
        no good."""


@attrs.frozen(eq=False)
class Key:
    """What verifies tokens: made by ``Key.parse``, one algorithm, one key or several by kid.

    ``warnings`` are sentences for the log of whoever configured it: a secret that is short, or the
    reference hub's example (``is_the_example``), with which anybody can sign.
    """

    algorithm: str
    _verifier: Algorithm
    _keys: Keys
    is_the_example: bool
    warnings: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, algorithm: str) -> Key:
        """The key in ``text`` for ``algorithm``, one of ``hardhttp.sse.jwks.ALGORITHMS``.

        ``text`` is the secret itself for HS256, HS384 and HS512 (a line end is part of it: who reads it
        from a file takes that off), a public key in PEM for the others, or a JWKS document for any. One
        that is at a URL, and changes, is for ``hardhttp.sse.remotekeys``.

        Raises ``ValueError`` for another algorithm, and for a key of another kind: a public key is no
        secret, a private key not needed, RSA under 2048 bits too weak. The message never holds the key.
        """
        verifier = algorithm_of(algorithm)
        keys = read_keys(text, algorithm, verifier)
        is_the_example = any(is_example(key, algorithm) for key in keys.values())
        warnings = [warning for key in keys.values() if (warning := short_of(key, algorithm)) is not None]
        if is_the_example:
            warnings.insert(0, "the key is the Mercure documentation's example: anybody can sign with it")
        return cls(algorithm, verifier, keys, is_the_example, tuple(dict.fromkeys(warnings)))

    @classmethod
    def of_jwks(cls, document: bytes, algorithm: str) -> Key:
        """The keys for ``algorithm`` in a JWKS document. Raises ``ValueError``, which quotes nothing of it."""
        verifier = algorithm_of(algorithm)
        try:
            text = document.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("the JWKS is not UTF-8") from None
        return cls(algorithm, verifier, read_jwks(text, algorithm, verifier), False, ())

    @property
    def kids(self) -> frozenset[str | None]:
        """The names of the keys; ``None`` is that of one without."""
        return frozenset(self._keys)

    def __repr__(self) -> str:
        return f"<Key {self.algorithm}{f', {len(self._keys)} keys' if len(self._keys) > 1 else ''}>"

    def verified(self, token: str) -> bytes:
        """The payload of a token whose signature holds (RFC 7515, 5.2). Raises ``TokenError``."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise TokenError.invalid(f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")
        parts = _COMPACT.fullmatch(token)
        if parts is None:
            raise TokenError.invalid("the token is not three parts of base64url")
        signed = token[: parts.end(2)].encode("ascii")
        key = self._chosen(_decoded(parts[1], "header"))
        payload = _decoded(parts[2], "payload")
        if not self._verifier.verify(signed, key, _decoded(parts[3], "signature")):
            raise TokenError.invalid("the signature of the token does not hold")
        return payload

    def _chosen(self, encoded: bytes) -> Any:
        """The key that the header names, where there are several."""
        try:
            header = parse_json(encoded, MAX_HEADER_DEPTH, unique_keys=True)
        except JSONError as error:
            raise TokenError.invalid(str(error).replace("the body", "the header of the token", 1)) from None
        if not isinstance(header, dict):
            raise TokenError.invalid("the header of the token is not an object")
        if header.get("alg") != self.algorithm:
            raise TokenError.invalid(f"the alg of the token is not {self.algorithm}")
        if "crit" in header:  # RFC 7515, 4.1.11: extensions that must be understood; none is
            raise TokenError.invalid("the token has crit, and no extension is understood")
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise TokenError.invalid("the kid of the token is not a string")
        if None in self._keys:  # one key, which has no kid
            return self._keys[None]
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if kid is None:
            raise TokenError.invalid("the token has no kid and so names no key, and there are several")
        if kid not in self._keys:
            raise UnknownKeyError.invalid("the kid of the token names no key")
        return self._keys[kid]


def _decoded(part: str, what: str) -> bytes:
    """Base64url without padding (RFC 7515, 2), and only the one text that encodes these bytes."""
    try:
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        decoded = None
    if decoded is None or urlsafe_b64encode(decoded).rstrip(b"=") != part.encode("ascii"):
        raise TokenError.invalid(f"the {what} of the token is not base64url")
    return decoded


# -- in a request --------------------------------------------------------------------------------


@attrs.frozen
class Found:
    """A token as a request carries it, not verified.

    ``from_cookie`` when the browser sent it by itself, ``from_query`` when it is in the URL, for all to log.
    """

    token: str = attrs.field(repr=False)
    from_cookie: bool = False
    from_query: bool = False


def find_token(request: Any, cookie: bytes = COOKIE) -> Found | None:
    """The token of an ``IRequest``: Authorization, else the query's ``authorization``, else the cookie.

    The first that is present counts, the others are not looked at: an empty or malformed one is present.
    Raises ``TokenError``: 400 for one that is malformed or there twice, 401 for another scheme than
    Bearer (RFC 6750, 3.1) or a token of more than 8192 characters.
    """
    fields = request.requestHeaders.getRawHeaders(b"authorization")
    if fields:
        return Found(_of_field(fields))
    query = request.uri.partition(b"?")[2]
    if query:
        values = _query_values(request, query)
        if values:
            if len(values) > 1:
                raise TokenError.malformed("authorization is in the query more than once")
            return Found(_fit(values[0].encode("utf-8"), "authorization in the query"), from_query=True)
    value = request.getCookie(cookie)
    return None if value is None else Found(_fit(value, "the cookie"), from_cookie=True)


def cookie_origin_allowed(request: Any, publish_origins: Container[bytes]) -> bool:
    """Whether a POST whose token came by cookie comes from a page that may publish.

    Browsers send cookies with what any page asks for, so its Origin must be in ``publish_origins`` (an
    ``hardhttp.web.cors.Origins``, or origins in bytes as browsers write them), or where there is no Origin
    that of its Referer. Without either, or with two, it is not allowed.
    """
    origins = request.requestHeaders.getRawHeaders(b"origin")
    if origins:
        return len(origins) == 1 and origins[0] in publish_origins
    pages = request.requestHeaders.getRawHeaders(b"referer") or []
    page = _PAGE.fullmatch(pages[0]) if len(pages) == 1 else None
    if page is None:
        return False
    origin: bytes = page[1].lower()
    usual_port = b":443" if origin.startswith(b"https") else b":80"
    return origin.removesuffix(usual_port) in publish_origins


def _of_field(fields: list[bytes]) -> str:
    if len(fields) > 1:
        raise TokenError.malformed("there is more than one Authorization field")
    field = fields[0].strip(b" \t")
    found = _BEARER.fullmatch(field)
    if found is not None:
        return _fit(found[1], "Authorization")
    if field and _SCHEME.match(field) is None:
        raise TokenError(401, "", "Authorization must be of the scheme Bearer")
    raise TokenError.malformed("Authorization is not Bearer and a token")


def _query_values(request: Any, query: bytes) -> list[str]:
    try:
        return query_fields(query, getattr(getattr(request, "site", None), "limits", _LIMITS)).getlist("authorization")
    except LimitFault as fault:
        raise TokenError.malformed(f"the query has {fault.detail}") from None


def _fit(value: bytes, where: str) -> str:
    if len(value) > MAX_TOKEN_CHARACTERS:
        raise TokenError.invalid(f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")
    if _TOKEN.fullmatch(value) is None:
        raise TokenError.malformed(f"{where} does not hold a token")
    return value.decode("ascii")

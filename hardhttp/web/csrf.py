"""Against cross-site request forgery: what changes something must come from a page of this site.

Two things are asked of such a request. What the browser says of where it comes from (``Sec-Fetch-Site``,
``Origin``) must be this site, where it says anything. And it must bear a token that only a page of this
site can have been given: in a form's field, or in a header set by a script.

The token is made of the session's id, so there is nothing to keep, it ends with the session, and
``session.rotate()`` at login makes those of before worthless. It is masked anew for each response: a page
that is compressed with it does not give it away, byte by byte, by its length (BREACH).

The same-site attribute of the session's cookie is the first defence (RFC 6265bis, 5.6.7); this is the second.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Coroutine
from typing import Any

from hardhttp.errors import HTTPError

__all__ = ["FIELD", "HEADER", "check_csrf", "csrf_protect", "csrf_token"]

HEADER = b"X-CSRF-Token"
FIELD = "csrf_token"

# RFC 9110, 9.2.1: these change nothing.
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_PROOF_BYTES = 32
# A mask and a masked proof, as 86 letters.
_TOKEN_LETTERS = 86
_PORTS = {"http": ":80", "https": ":443"}


def csrf_token(request: Any) -> str:
    """A token for a form's field ``csrf_token`` or the header ``X-CSRF-Token``; another one at each call.

    The client has a session from then on. Raises ``RuntimeError`` when it has none and the response's head
    has been sent.
    """
    mask = secrets.token_bytes(_PROOF_BYTES)
    return urlsafe_b64encode(mask + _xor(mask, _proof(request.session.secret))).decode("ascii").rstrip("=")


def check_csrf(request: Any, *, trusted_origins: Collection[str] = ()) -> None:
    """Raise ``HTTPError`` 403 unless the request comes from a page of this site.

    The token is looked for in the header and then in the form, which is read for that: one that is
    malformed or too large raises as ``request.form()`` does. ``trusted_origins``
    (``"https://admin.example"``) may post here too, with a token.
    """
    _check_origin(request, trusted_origins)
    token = _from_header(request)
    if token is None and _has_form(request):
        token = request.form().get(FIELD)
    _check_token(request, token)


def csrf_protect(request: Any) -> Coroutine[Any, Any, None] | None:
    """A hook, ``router.before(csrf_protect)``: whatever may change something is checked as by ``check_csrf``."""
    if request.method in _SAFE:
        return None
    _check_origin(request, ())
    token = _from_header(request)
    if token is None and _has_form(request):
        return _check_form(request)
    _check_token(request, token)
    return None


async def _check_form(request: Any) -> None:
    form = await request.load_form()  # in turns with everything else, however long it is
    _check_token(request, form.get(FIELD))


# -- where it comes from -----------------------------------------------------------------------


def _check_origin(request: Any, trusted: Collection[str]) -> None:
    """What the browser says of the page that asks (Fetch, 3.1; Fetch Metadata, 2.3)."""
    given = request.combined(b"origin")  # two of them are none that is known
    origin = None if given is None else given.decode("latin-1").lower()
    if origin is not None and origin in {each.lower() for each in trusted}:
        return
    site = request.combined(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        raise HTTPError(403, "The request comes from a page of another site.")
    if origin is not None and origin != _own_origin(request):
        raise HTTPError(403, "The request comes from a page of another origin.")


def _own_origin(request: Any) -> str:
    """The origin of this site's pages, as the browser sees it."""
    info = request.client_info
    if info.is_told:  # a trusted proxy knows
        host = f"{info.host}:{info.port}"
    else:
        host = (request.getHeader(b"host") or b"").decode("latin-1")
    return f"{info.scheme}://{host.lower().removesuffix(_PORTS[info.scheme])}"


# -- the token ---------------------------------------------------------------------------------


def _from_header(request: Any) -> str | None:
    given = request.getHeader(HEADER)
    return None if given is None else given.decode("latin-1")


def _has_form(request: Any) -> bool:
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    return kind in (b"application/x-www-form-urlencoded", b"multipart/form-data")


def _check_token(request: Any, token: str | None) -> None:
    if token is None:
        raise HTTPError(403, f"The request has no {HEADER.decode()} and its form no {FIELD}.")
    session = request.session
    if not session.has_id or not _is_proof(token, session.secret):
        raise HTTPError(403, "The form was made for another session, or an older one: load its page again.")


def _is_proof(token: str, secret: bytes) -> bool:
    if len(token) != _TOKEN_LETTERS or not token.isascii():
        return False
    try:
        given = urlsafe_b64decode(token + "==")
    except ValueError:
        return False
    mask, masked = given[:_PROOF_BYTES], given[_PROOF_BYTES:]
    return hmac.compare_digest(_xor(mask, masked), _proof(secret)) if len(given) == 2 * _PROOF_BYTES else False


def _proof(secret: bytes) -> bytes:
    return hmac.digest(secret, b"hardhttp csrf", "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))

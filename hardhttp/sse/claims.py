"""What a token allows: its times, its audience, and its claim ``mercure`` (the Mercure protocol; RFC 7519).

A token is taken whole or not at all: one claim of the wrong type, and it is refused with the claim's
name. Times are judged by the ``now`` that is given, never by a clock of this module's own. What comes
out is a small value, bounded in everything, that holds nothing of the token itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

import attrs

from hardhttp.sse.tokens import TokenError, Verifies
from hardhttp.sse.topics import matches
from hardhttp.wire.jsonbody import JSONError, parse_json

__all__ = ["MAX_PAYLOAD_BYTES", "MAX_SELECTORS", "Claims", "may_publish", "may_receive", "read_claims"]

# In each of publish and subscribe: every private update is tried against all of them.
MAX_SELECTORS = 100
# Of mercure.payload as JSON: it is sent again with each subscription's begin and end.
MAX_PAYLOAD_BYTES = 4096
MAX_DEPTH = 16  # arrays and objects within each other, in all claims
# The end of the year 9999: past it no date of Python's, and no timer of a reactor's, is safe.
MAX_DATE_SECONDS = 253_402_300_799

# The first is for issuers whose own claims must be URLs; it comes before the other, as in the reference hub.
_NAMES = ("https://mercure.rocks/", "mercure")


@attrs.frozen
class Claims:
    """``publish`` is ``None`` for one who may not publish. ``expires_at`` is in seconds since the epoch.

    ``subscribe`` are the selectors for private updates, ``payload`` any JSON value, shown to others in
    subscription events.
    """

    publish: tuple[str, ...] | None = None
    subscribe: tuple[str, ...] = ()
    payload: Any = attrs.field(default=None, repr=False)
    expires_at: float | None = None


def read_claims(
    token: str,
    key: Verifies,
    now: float,
    audience: str | Collection[str] | None = None,
    *,
    leeway_seconds: float = 0.0,
) -> Claims:
    """The claims of a token signed by ``key`` and good at ``now`` (seconds since the epoch).

    It expires at ``exp``, not after it (RFC 7519, 4.1.4), and is good from ``nbf`` on; an ``iat`` to come
    is refused. ``leeway_seconds`` is how far the issuer's clock may be ahead, for ``nbf`` and ``iat``. With
    ``audience`` one of these names must be in ``aud``; without, ``aud`` is not judged.

    Raises ``TokenError`` (401 ``invalid_token``) for whatever else it is, and what ``key`` raises.
    """
    claims = _object(key.verified(token))
    expires_at = _date(claims, "exp")
    if expires_at is not None and now >= expires_at:
        raise TokenError.invalid("the token has expired")
    for name in ("nbf", "iat"):
        begins_at = _date(claims, name)
        if begins_at is not None and now + leeway_seconds < begins_at:
            raise TokenError.invalid(f"the token is not good yet: {name} is to come")
    _check_audience(claims, {audience} if isinstance(audience, str) else audience)
    mercure: Any = next((claims[name] for name in _NAMES if claims.get(name) is not None), {})
    if not isinstance(mercure, dict):
        raise TokenError.invalid("the claim mercure is not an object")
    return Claims(_selectors(mercure, "publish"), _selectors(mercure, "subscribe") or (), _payload(mercure), expires_at)


def may_publish(claims: Claims, topics: Iterable[str], private: bool, *, public_anywhere: bool = False) -> bool:
    """Whether all ``topics`` of an update are allowed: one that is not refuses the update.

    With ``public_anywhere`` an update that is not private needs no selector, only the claim ``publish``,
    be it empty: what the protocol allowed up to its version 7. Otherwise an empty claim allows nothing.
    """
    if claims.publish is None:
        return False
    if public_anywhere and not private:
        return True
    return all(_any_matches(claims.publish, topic) for topic in topics)


def may_receive(claims: Claims | None, topics: Iterable[str]) -> bool:
    """Whether a private update of ``topics`` is for this subscriber: one that is allowed is enough."""
    return claims is not None and any(_any_matches(claims.subscribe, topic) for topic in topics)


def _any_matches(selectors: tuple[str, ...], topic: str) -> bool:
    return any(matches(selector, topic) for selector in selectors)


# -- one claim after another ---------------------------------------------------------------------


def _object(payload: bytes) -> dict[str, Any]:
    try:
        claims = parse_json(payload, MAX_DEPTH, unique_keys=True)
    except JSONError as error:
        raise TokenError.invalid(str(error).replace("the body", "the payload of the token", 1)) from None
    if not isinstance(claims, dict):
        raise TokenError.invalid("the payload of the token is not an object")
    return claims


def _date(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, 2)."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_DATE_SECONDS:
        raise TokenError.invalid(f"the claim {name} is not a time in seconds")
    return float(value)


def _check_audience(claims: dict[str, Any], audience: Collection[str] | None) -> None:
    given = claims.get("aud", [])
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise TokenError.invalid("the claim aud is neither a string nor a list of strings")
    if audience is not None and not any(name in audience for name in named):
        raise TokenError.invalid("the token is for another audience")


def _selectors(mercure: dict[str, Any], name: str) -> tuple[str, ...] | None:
    """Each once, in order; ``None`` when there is no such claim, or ``null``."""
    given = mercure.get(name)
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(selector, str) for selector in given):
        raise TokenError.invalid(f"the claim mercure.{name} is not a list of strings")
    if len(given) > MAX_SELECTORS:
        raise TokenError.invalid(f"the claim mercure.{name} has more than {MAX_SELECTORS} selectors")
    return tuple(dict.fromkeys(given))


def _payload(mercure: dict[str, Any]) -> Any:
    payload = mercure.get("payload")
    if payload is not None:
        encoded = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        if len(encoded) > MAX_PAYLOAD_BYTES:
            raise TokenError.invalid(f"the claim mercure.payload is more than {MAX_PAYLOAD_BYTES} bytes of JSON")
    return payload

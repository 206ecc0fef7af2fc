"""Which of what we can send a client prefers (RFC 9110, 12.4 and 12.5).

All of them read a field's value leniently: what cannot be read is left out, and of a list only the
first members are looked at, so that the cost has a bound whatever comes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["preferred", "preferred_coding", "wants_other"]

# Browsers send a dozen.
MAX_MEMBERS = 64

# RFC 9110, 12.4.2
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def _members(header: bytes) -> list[tuple[str, float]]:
    """Each member in lower case, with its weight. Parameters other than ``q`` are left out."""
    members: list[tuple[str, float]] = []
    for part in header.decode("latin-1").lower().split(",", MAX_MEMBERS)[:MAX_MEMBERS]:
        name, *parameters = (piece.strip(" \t") for piece in part.split(";", MAX_MEMBERS))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        if name and _WEIGHT.fullmatch(weight) is not None:
            members.append((name, float(weight)))
    return members


def preferred(header: bytes | None, offers: Sequence[str]) -> str | None:
    """The media type among ``offers`` that an Accept field prefers, or ``None`` when it wants none of them.

    Offers are types without parameters, in lower case, the one we like best first. The most specific
    range that names an offer gives its weight. Among equals one that was named goes before one that
    only a wildcard lets in, and then comes our own order. No field, or an empty one, accepts all.
    """
    if header is None or not header.strip(b" \t"):
        return offers[0] if offers else None
    ranges: dict[str, float] = {}
    for name, weight in _members(header):
        ranges.setdefault(name, weight)
    best: tuple[float, int] = (0.0, 0)
    chosen = None
    for offer in offers:
        rank = _rank(offer, ranges)
        if rank[0] > 0 and rank > best:
            best, chosen = rank, offer
    return chosen


def wants_other(header: bytes, suffix: str) -> bool:
    """Whether an Accept field names a type that ends with ``suffix``, and does not refuse it."""
    return any(name.endswith(suffix) and weight > 0 for name, weight in _members(header))


def _rank(offer: str, ranges: dict[str, float]) -> tuple[float, int]:
    """The weight of an offer, and how specific the range is that gives it (RFC 9110, 12.5.1)."""
    for specificity, name in ((3, offer), (2, offer.partition("/")[0] + "/*"), (1, "*/*")):
        if name in ranges:
            return ranges[name], specificity
    return 0.0, 0


def preferred_coding(header: bytes | None, offers: Sequence[str]) -> str | None:
    """The content coding to use: one of ``offers``, ``"identity"``, or ``None`` when none is acceptable.

    Offers are in our own order, best first, without ``"identity"``, which is always possible. It is the
    answer when there is no field or an empty one, and whenever nothing we offer is wanted as much. It is
    refused only by ``identity;q=0`` or ``*;q=0`` (RFC 9110, 12.5.3).
    """
    if header is None:
        return "identity"
    weights: dict[str, float] = {}
    for name, weight in _members(header):
        weights.setdefault(name.removeprefix("x-") if name in ("x-gzip", "x-compress") else name, weight)
    others = weights.get("*", 0.0)
    chosen, best = None, 0.0
    for offer in offers:
        weight = weights.get(offer, others)
        if offer != "identity" and weight > best:
            chosen, best = offer, weight
    if "identity" in weights:
        own = weights["identity"]
        return "identity" if own > best else chosen
    if chosen is not None:
        return chosen
    return None if weights.get("*") == 0.0 else "identity"

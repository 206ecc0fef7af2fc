"""When to come back, as a server says it (RFC 9110, 10.2.3)."""

from __future__ import annotations

from hardhttp.wire.conditional import parse_http_date

__all__ = ["parse_retry_after"]

# A hundred years, and more digits than that takes.
_MAX_SECONDS = 3_153_600_000
_MAX_DIGITS = 64


def parse_retry_after(value: bytes | None, now: float, date: bytes | None = None) -> float | None:
    """Seconds from now, at least 0, or None for what is neither a number nor a date.

    A date is reckoned from the response's own ``Date`` where it has one, so that the two clocks need not agree, else
    from ``now`` (seconds since the epoch).
    """
    if value is None:
        return None
    text = value.strip(b" \t")
    if text.isdigit():
        return float(min(int(text[:_MAX_DIGITS]), _MAX_SECONDS))
    at = parse_http_date(text)
    if at is None:
        return None
    said = parse_http_date(date) if date is not None else None
    return min(max(0.0, at - (now if said is None else said)), float(_MAX_SECONDS))

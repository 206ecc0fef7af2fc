"""Conditional requests (RFC 9110, 13), their dates and their entity tags.

``evaluate`` is the whole of section 13.2.2 in its order; nothing else in the package decides what a
precondition means. It knows neither request nor response: it is given the request's fields by a
function, and the validators of what would be sent.

A condition that cannot be read is as if it were not there where the RFC says so (dates), and matches
nothing where it does not (tags).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

__all__ = ["ENTITY_TAG", "evaluate", "http_date", "if_range_holds", "kept_in_304", "parse_http_date"]

# RFC 9110, 13.2.1: preconditions are nothing to methods that neither select nor change a representation.
_UNCONDITIONAL = frozenset({b"CONNECT", b"OPTIONS", b"TRACE"})
_SAFE = frozenset({b"GET", b"HEAD"})

# RFC 9110, 8.8.3: what is sent.
ENTITY_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
# The same in a list, with or without blanks. What stands without quotes is read too: some
# applications set such tags, and their clients send them back. What touches a quoted one makes it another:
# ``w/"a"`` is not strong (``W/`` is case-sensitive), and not weak either.
_TAG = re.compile(rb'[^\s,"]*"[^"]*"[^\s,]*|[^\s,"]+')

_MONTHS = {name: n for n, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_TIME = rb"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
# RFC 9110, 5.6.7: the form of today, that of RFC 850, and asctime's. A wrong weekday changes nothing.
_DATES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rb"[a-z]{3}, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4}) " + _TIME + rb" GMT",
        rb"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d) " + _TIME + rb" GMT",
        rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d) " + _TIME + rb" (?P<year>\d{4})",
    )
)
MAX_DATE_BYTES = 40
MAX_DATE_SECONDS = 253_402_300_799  # the last second of the year 9999

# RFC 9110, 15.4.5: of what describes the representation a 304 has these alone. Last-Modified is for
# caches where there is no ETag.
_NOT_IN_304 = frozenset(
    {
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-range",
        b"content-type",
        b"accept-ranges",
        b"transfer-encoding",
    }
)


def evaluate(
    method: bytes, get: Callable[[bytes], bytes | None], etag: bytes | None, last_modified: int | None
) -> int | None:
    """What the request's preconditions make of a response that would be a 2xx: 304, 412, or ``None``: send it.

    ``get(b"if-none-match")`` is the combined value of a field. ``etag`` is the representation's, with
    its quotes (and ``W/`` when it is weak), ``last_modified`` in seconds since the epoch.
    """
    if method in _UNCONDITIONAL:
        return None
    if (tags := get(b"if-match")) is not None:  # 13.2.2, step 1
        if not _matches(tags, etag, weakly=False):
            return 412
    elif last_modified is not None and (text := get(b"if-unmodified-since")) is not None:  # step 2
        since = parse_http_date(text)
        if since is not None and last_modified > since:
            return 412
    if (tags := get(b"if-none-match")) is not None:  # step 3
        if _matches(tags, etag, weakly=True):
            return 304 if method in _SAFE else 412
    elif method in _SAFE and last_modified is not None and (text := get(b"if-modified-since")) is not None:  # step 4
        since = parse_http_date(text)
        if since is not None and last_modified <= since:
            return 304
    return None


def if_range_holds(value: bytes | None, etag: bytes | None, last_modified: int | None, date: int) -> bool:
    """Whether a Range may be answered with a part (RFC 9110, 13.1.5).

    ``value`` is the If-Range field's, ``date`` the time of the response. True when there is no
    condition. A tag is compared strongly; a date must be the very one, and one that is a strong
    validator: a second old at least, since a thing can change twice in one (8.8.2.2).
    """
    if value is None:
        return True
    value = value.strip(b" \t")
    if value.endswith(b'"'):
        return etag is not None and value == etag and not etag.startswith(b"W/")
    since = parse_http_date(value)
    return since is not None and since == last_modified and last_modified < date


def _matches(tags: bytes, etag: bytes | None, *, weakly: bool) -> bool:
    """Whether a field's list of tags holds ``etag`` (RFC 9110, 8.8.3.2)."""
    if tags.strip(b" \t") == b"*":
        return True
    if etag is None or not (weakly or not etag.startswith(b"W/")):
        return False
    if weakly:
        opaque = etag.removeprefix(b"W/")
        return any(tag.removeprefix(b"W/") == opaque for tag in _TAG.findall(tags))
    return etag in _TAG.findall(tags)


def kept_in_304(name: bytes, *, has_etag: bool) -> bool:
    """Whether a 304 keeps a field that the 200 would have had (RFC 9110, 15.4.5); ``name`` is in any case.

    It drops what describes the content it does not carry. What is not about the content (cookies, CORS,
    Server) stays.
    """
    lower = name.lower()
    return lower not in _NOT_IN_304 and not (has_etag and lower == b"last-modified")


# -- dates -------------------------------------------------------------------------------------


def parse_http_date(value: bytes) -> int | None:
    """Seconds since the epoch, or ``None`` for what is no date (RFC 9110, 5.6.7).

    All three forms are read. A year of two digits is one of 1970 to 2069. Anything behind a ``;``, as
    old browsers sent, is left out.
    """
    text = value[: MAX_DATE_BYTES * 2].partition(b";")[0].strip(b" \t")
    if len(text) > MAX_DATE_BYTES:
        return None
    for pattern in _DATES:
        if (match := pattern.fullmatch(text)) is not None:
            return _seconds(match)
    return None


def _seconds(match: re.Match[bytes]) -> int | None:
    year, month = int(match["year"]), _MONTHS.get(match["month"].lower())
    if month is None:
        return None
    if len(match["year"]) == 2:
        year += 1900 if year >= 70 else 2000
    second = min(int(match["second"]), 59) if match["second"] == b"60" else int(match["second"])  # a leap second
    try:
        moment = datetime(year, month, int(match["day"]), int(match["hour"]), int(match["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp())


def http_date(seconds: float) -> bytes:
    """``seconds`` since the epoch as RFC 9110 writes a date; raises ``ValueError`` past the year 9999."""
    if not -62_135_596_800 <= seconds <= MAX_DATE_SECONDS:
        raise ValueError("a date must be one of the years 1 to 9999")
    return formatdate(int(seconds), usegmt=True).encode("ascii")

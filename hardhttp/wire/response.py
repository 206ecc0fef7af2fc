"""Responses to bytes (RFC 9112, 4 to 7).

What would split a response (CR, LF or NUL in a name, a value or a reason phrase) is refused here,
whoever let it in above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus

from hardhttp.errors import Fault
from hardhttp.wire.grammar import FIELD_VALUE, TOKEN

__all__ = ["CONTINUE", "LAST_CHUNK", "chunk", "encode_head", "has_no_body", "reason_phrase", "refusal", "refusal_parts"]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_PHRASES = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}
_PHRASES |= {413: b"Content Too Large", 414: b"URI Too Long", 416: b"Range Not Satisfiable"}

_CONTROLS = bytes({*range(32), 127} - {9})
# Names that need no look: what most responses are made of.
_KNOWN = frozenset({b"Server", b"Date", b"Content-Type", b"Content-Length", b"Connection", b"ETag", b"Last-Modified"})


def reason_phrase(status: int) -> bytes:
    """The phrase for ``status``, as RFC 9110 names it."""
    return _PHRASES.get(status, b"Unknown Status")


def has_no_body(status: int) -> bool:
    """Whether a response with ``status`` ends at its head (RFC 9112, 6.3)."""
    return status == 204 or status == 304 or status < 200


def _make_status_line(status: int, phrase: bytes) -> bytes:
    if not 100 <= status <= 999 or FIELD_VALUE.fullmatch(phrase) is None:
        raise ValueError(f"not a status line: {status!r}")
    return b"HTTP/1.1 %d %s\r\n" % (status, phrase)


_status_line = cache(_make_status_line)  # called with registered phrases alone


def encode_head(status: int, phrase: bytes, fields: Mapping[bytes, Iterable[bytes]]) -> bytes:
    """A response's head, its blank line included; ``fields`` maps names to values.

    Raises ``ValueError`` for a name that is no token and for CR, LF, NUL or another control
    character in a value; the message names the field and never its value.
    """
    parts = [_status_line(status, phrase) if phrase == _PHRASES.get(status) else _make_status_line(status, phrase)]
    lines = 1
    for name, values in fields.items():
        if name not in _KNOWN and TOKEN.fullmatch(name) is None:
            raise ValueError(f"the header field {name!r} cannot be sent: its name is no token")
        for value in values:
            parts += (name, b": ", value, b"\r\n")
            lines += 1
    parts.append(b"\r\n")
    block = b"".join(parts)
    # One look at the whole: the only control characters are the ends of our lines.
    if len(block.translate(None, _CONTROLS)) != len(block) - 2 * lines - 2:
        name = next(n for n, values in fields.items() if any(FIELD_VALUE.fullmatch(v) is None for v in values))
        raise ValueError(f"the header field {name!r} cannot be sent: its value holds a control character")
    return block


def chunk(data: bytes) -> bytes:
    """``data`` (not empty) as one chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def refusal_parts(
    fault: Fault,
    date: bytes,
    *,
    page: tuple[bytes, bytes] | None = None,
    request_id: str | None = None,
    more: Mapping[bytes, Iterable[bytes]] | None = None,
) -> tuple[dict[bytes, Iterable[bytes]], bytes]:
    """Fields and body of what answers ``fault``.

    ``page`` is a content type and a body to send instead of two lines of plain text; ``more`` are fields
    besides its own.
    """
    if page is None:
        text = b"%d %s\n%s\n" % (fault.status, reason_phrase(fault.status), fault.detail.encode("utf-8"))
        page = b"text/plain; charset=utf-8", text
    kind, body = page
    fields: dict[bytes, Iterable[bytes]] = {
        **(more or {}),
        b"Date": [date],
        b"Content-Type": [kind],
        b"Content-Length": [b"%d" % len(body)],
        b"Cache-Control": [b"no-store"],
        b"X-Refused": [fault.reason.value.encode("ascii")],
    }
    if request_id is not None:
        fields[b"X-Request-ID"] = [request_id.encode("ascii")]
    return fields, body


def refusal(
    fault: Fault,
    date: bytes,
    *,
    retry_after_seconds: int | None = None,
    head_only: bool = False,
    page: tuple[bytes, bytes] | None = None,
    request_id: str | None = None,
    more: Mapping[bytes, Iterable[bytes]] | None = None,
) -> bytes:
    """The whole response that answers ``fault`` and ends its connection; see ``refusal_parts``."""
    fields, body = refusal_parts(fault, date, page=page, request_id=request_id, more=more)
    fields[b"Connection"] = [b"close"]
    if retry_after_seconds is not None:
        fields[b"Retry-After"] = [b"%d" % retry_after_seconds]
    head = encode_head(fault.status, reason_phrase(fault.status), fields)
    return head if head_only else head + body

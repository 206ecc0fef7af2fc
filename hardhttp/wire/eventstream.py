"""Server-sent events to bytes (HTML standard, 9.2.5 and 9.2.6)."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["COMMENT", "encode_event", "encode_retry"]

# Invisible to a page; keeps proxies from thinking the stream dead.
COMMENT = b":\n\n"

_LINE_END = re.compile(rb"\r\n|\r|\n")
_ONE_LINE = re.compile(r"[^\r\n\0]*")


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode("utf-8")
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def encode_event(data: Any, event: str | None = None, id: str | None = None) -> bytes:
    """One event, its blank line included.

    ``data`` is ``str``, ``bytes`` in UTF-8, or anything JSON can say. Raises ``ValueError`` for an
    ``event`` or ``id`` that holds a line end or NUL: a browser would ignore or mistake it.
    """
    lines = []
    for name, value in ((b"event", event), (b"id", id)):
        if value is not None:
            if _ONE_LINE.fullmatch(value) is None:
                raise ValueError(f"{name.decode()} must be one line without NUL")
            lines.append(b"%s: %s\n" % (name, value.encode("utf-8")))
    lines += [b"data: %s\n" % line for line in _LINE_END.split(_bytes(data))]
    lines.append(b"\n")
    return b"".join(lines)


def encode_retry(seconds: float) -> bytes:
    """Tell the client how long to wait before it reconnects."""
    return b"retry: %d\n\n" % round(seconds * 1000)

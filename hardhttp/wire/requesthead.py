"""A request's head to bytes (RFC 9112, 3 and 5), for a client.

What would split a request (CR, LF or NUL in the method, the target or a field) is refused here,
whoever let it in above. Messages name the field and never its value, which may be a credential.
"""

from __future__ import annotations

from collections.abc import Iterable

from hardhttp.wire.grammar import FIELD_VALUE, TARGET, TOKEN

__all__ = ["LAST_CHUNK", "encode_chunk", "encode_request"]

LAST_CHUNK = b"0\r\n\r\n"
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"})
_CONTROLS = bytes({*range(32), 127} - {9})
# Names that need no look: what most requests are made of.
_KNOWN = frozenset(
    {b"Accept", b"Accept-Encoding", b"Authorization", b"Content-Type", b"Cookie", b"Host", b"User-Agent"}
)


def encode_request(method: bytes, target: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A request's head, its blank line included; ``fields`` are (name, value).

    Raises ``ValueError`` for a method that is no token, for a target with bytes that must be
    percent-encoded, for a name that is no token and for a control character in a value.
    """
    if method not in _METHODS and TOKEN.fullmatch(method) is None:
        raise ValueError("the method is not a token")
    if TARGET.fullmatch(target) is None:
        raise ValueError("the target holds bytes that must be percent-encoded")
    parts = [method, b" ", target, b" HTTP/1.1\r\n"]
    lines = 2
    for name, value in fields:
        if name not in _KNOWN and TOKEN.fullmatch(name) is None:
            raise ValueError(f"the header field {name!r} cannot be sent: its name is no token")
        parts += (name, b": ", value, b"\r\n")
        lines += 1
    parts.append(b"\r\n")
    block = b"".join(parts)
    # One look at the whole: the only control characters are the ends of our lines.
    if len(block.translate(None, _CONTROLS)) != len(block) - 2 * lines:
        name = next(n for n, value in fields if FIELD_VALUE.fullmatch(value) is None)
        raise ValueError(f"the header field {name!r} cannot be sent: its value holds a control character")
    return block


def encode_chunk(data: bytes) -> bytes:
    """``data`` (not empty) as one chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)

"""A response's header block (RFC 7541), made without the dynamic table.

Every field is a literal that no table remembers, so a block depends on nothing that was sent before: it can be
made once and sent to everybody, and a client cannot have us keep a table for it. ``NO_TABLE`` says so, once, at
the start of a connection's first block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from hardhttp.wire.grammar import FIELD_VALUE, TOKEN

__all__ = [
    "CONNECTION_SPECIFIC",
    "NO_TABLE",
    "block_status",
    "encode_block",
    "encode_field",
    "encode_integer",
    "encode_length",
    "encode_status",
]

# RFC 9113, 8.2.2
CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)

# RFC 7541, 6.3: the table's size is 0 from now on.
NO_TABLE: Final = b"\x20"

# Names an application makes up are not remembered without bound.
MAX_NAMES = 512
_WITHOUT_INDEX, _NEVER_INDEXED = 0x00, 0x10  # 6.2.2 and 6.2.3
# What intermediaries must not keep in a table either (7.1.3): it is worth guessing.
_SECRET = frozenset({b"set-cookie", b"cookie", b"authorization", b"proxy-authorization", b"www-authenticate"})

# Appendix A: the names from index 15 on, and the statuses that have an index of their own.
_STATIC_NAMES: Final = {
    name: index
    for index, name in enumerate(
        b"accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age allow "
        b"authorization cache-control content-disposition content-encoding content-language content-length "
        b"content-location content-range content-type cookie date etag expect expires from host if-match "
        b"if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards "
        b"proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie "
        b"strict-transport-security transfer-encoding user-agent vary via www-authenticate".split(),
        15,
    )
}
_STATUSES: Final = {
    status: bytes([0x80 | index]) for index, status in enumerate((200, 204, 206, 304, 400, 404, 500), 8)
}

_STATUS_BY_INDEX: Final = {index: status for status, index in _STATUSES.items()}

# What goes before a value, by the name as an application spells it; ``None``: the field is not sent at all.
_prefixes: dict[bytes, bytes | None] = {}


def encode_integer(number: int, bits: int, flags: int) -> bytes:
    """RFC 7541, 5.1."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([flags | number])
    number -= most
    octets = [flags | most]
    while number >= 128:
        octets.append(number & 127 | 128)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _prefix(name: bytes) -> bytes | None:
    """How a field of this name begins. Raises ``ValueError`` for what is no token."""
    if TOKEN.fullmatch(name) is None:
        raise ValueError(f"the header field {name!r} cannot be sent: its name is no token")
    lower = name.lower()
    made: bytes | None = None
    if lower not in CONNECTION_SPECIFIC:
        flags = _NEVER_INDEXED if lower in _SECRET else _WITHOUT_INDEX
        index = _STATIC_NAMES.get(lower)
        if index is None:
            made = bytes([flags]) + encode_integer(len(lower), 7, 0) + lower
        else:
            made = encode_integer(index, 4, flags)
    if len(_prefixes) < MAX_NAMES:
        _prefixes[name] = made
    return made


def encode_field(name: bytes, value: bytes) -> bytes:
    """One field, its name in lower case; nothing for one that is a connection's (RFC 9113, 8.2.2).

    Raises ``ValueError`` for a name that is no token and for a control character in a value.
    """
    prefix = _prefixes[name] if name in _prefixes else _prefix(name)
    if prefix is None:
        return b""
    if FIELD_VALUE.fullmatch(value) is None:
        raise ValueError(f"the header field {name!r} cannot be sent: its value holds a control character")
    if value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        value = value.strip(b" \t")  # 8.2.1
    size = len(value)
    return b"%b%c%b" % (prefix, size, value) if size < 127 else prefix + encode_integer(size, 7, 0) + value


def encode_length(length: int) -> bytes:
    """A length as the value of a field whose name has been said."""
    digits = b"%d" % length
    return b"%c%b" % (len(digits), digits)


def encode_status(status: int) -> bytes:
    """The field ``:status``, which comes first. Raises ``ValueError`` for what is no status."""
    known = _STATUSES.get(status)
    if known is not None:
        return known
    if not 100 <= status <= 999:
        raise ValueError(f"not a status: {status!r}")
    return b"\x08\x03%d" % status


def block_status(block: bytes) -> int:
    """The status that a block of ours begins with."""
    return int(block[2:5]) if block[:1] == b"\x08" else _STATUS_BY_INDEX[block[:1]]


def encode_block(status: int, fields: Mapping[bytes, Iterable[bytes]]) -> bytes:
    """A response's header block; ``fields`` maps names, as an application spells them, to values.

    Raises ``ValueError`` as ``encode_field`` does; the message names the field and never its value.
    """
    parts = [encode_status(status)]
    for name, values in fields.items():
        parts += [encode_field(name, value) for value in values]
    return b"".join(parts)

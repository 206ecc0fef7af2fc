"""A push as HTTP/2 says it: PUSH_PROMISE, and which responses may follow one (RFC 9113, 8.4).

Which links of a response become promises is decided in ``hardhttp.wire.push``. Here they become a request's fields,
a header block of them and a frame. Like all our blocks it depends on no table.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder

from hardhttp.wire.fieldblock import encode_field
from hardhttp.wire.http2 import END_HEADERS, FRAME_BYTES
from hardhttp.wire.push import Push

__all__ = ["MAX_PROMISE_BYTES", "list_bytes", "may_be_pushed", "promise_frame", "promised_fields", "request_block"]

# A promise is one frame: what there is to say of a request that carries no cookie is never longer.
MAX_PROMISE_BYTES = FRAME_BYTES - 4
# RFC 7541, appendix A: fields of the static table as they are, and names of it.
_WHOLE = {(b":method", b"GET"): b"\x82", (b":scheme", b"http"): b"\x86", (b":scheme", b"https"): b"\x87"}
_NAMES = {b":authority": b"\x01", b":path": b"\x04"}

Field = tuple[bytes, bytes]


def promised_fields(push: Push, scheme: bytes, authority: bytes) -> list[Field]:
    """The fields of the request that is promised, pseudo-header fields first (RFC 9113, 8.3.1)."""
    first = [(b":method", b"GET"), (b":scheme", scheme), (b":path", push.target), (b":authority", authority)]
    return [*first, *push.fields]


def request_block(fields: Iterable[Field]) -> bytes:
    """A request's header block. Raises ``ValueError`` as ``fieldblock.encode_field`` does."""
    parts: list[bytes] = []
    for field in fields:
        name, value = field
        whole = _WHOLE.get(field)
        if whole is not None:
            parts.append(whole)
        elif name in _NAMES:
            parts += [_NAMES[name], _string(value)]
        else:
            parts.append(encode_field(name, value))
    return b"".join(parts)


def _string(value: bytes) -> bytes:
    """RFC 7541, 5.2: as a field's value is written, whatever its name."""
    return encode_field(b"accept", value)[2:]


def list_bytes(fields: Iterable[Field]) -> int:
    """The size of a list of fields as a client's SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113, 6.5.2)."""
    return sum([len(name) + len(value) + 32 for name, value in fields])


def promise_frame(stream: int, promised: int, block: bytes) -> bytes:
    """PUSH_PROMISE (RFC 9113, 6.6) on ``stream``; ``block`` is not longer than ``MAX_PROMISE_BYTES``."""
    size = (4 + len(block)).to_bytes(3)
    return b"%b\x05%c%b%b%b" % (size, END_HEADERS, stream.to_bytes(4), promised.to_bytes(4), block)


def may_be_pushed(block: bytes) -> bool:
    """Whether a response with this header block may answer a promise.

    What is promised carries no cookie and no credential. So an answer that asks for them, or leads elsewhere, is not
    what the client would get; and one that sets a cookie would take the place of the client's own.
    """
    fields = [*Decoder().decode(block, raw=True)]
    return fields[0][1][:1] == b"2" and all(field[0] != b"set-cookie" for field in fields)

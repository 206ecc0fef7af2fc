"""Header blocks in (RFC 7541): ``hpack``'s decoder, with its loop written out.

Most fields that a client sends are one octet, an index into a table; ``hpack`` makes several objects and a log
message of each. Here such a field is one look into ``hpack``'s own table, and its tuple is the table's. Tables,
their bounds and Huffman's code stay the library's; the bounds of this loop are the library's too: the size of a list
(``max_header_list_size``), of an integer, and of the table (``max_allowed_table_size``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpack.exceptions import HPACKDecodingError, InvalidTableSizeError, OversizedHeaderListError
from hpack.hpack import Decoder
from hpack.huffman_table import decode_huffman

__all__ = ["FieldDecoder"]

# RFC 7541, 4.1
OVERHEAD_BYTES = 32
# More than any index, length or size: five octets, as hpack has it.
MAX_SHIFT = 28


class FieldDecoder(Decoder):
    """A decoder of one connection. It gives fields as bytes, always."""

    def decode(self, data: bytes, raw: bool = True) -> Iterable[Any]:
        """The fields of a block. Raises ``HPACKError``; the connection cannot go on then."""
        table, most = self.header_table, self.max_header_list_size
        entry = table.get_by_index
        fields: list[tuple[bytes, bytes]] = []
        size, at, end = 0, 0, len(data)
        try:
            while at < end:
                first = data[at]
                if first & 0x80:  # 6.1: an indexed field
                    index, at = (first & 0x7F, at + 1) if first < 0xFF else _integer(data, at, 7)
                    field = entry(index)
                elif first & 0x60 == 0x20:  # 6.3: the table's size
                    if fields:
                        raise HPACKDecodingError("a table size update behind a field")
                    wanted, at = _integer(data, at, 5)
                    if wanted > self.max_allowed_table_size:
                        raise InvalidTableSizeError("the table would be larger than it may")
                    self.header_table_size = wanted
                    continue
                else:  # 6.2: a literal, by an indexed name or a literal one
                    bits = 6 if first & 0x40 else 4
                    index, at = _integer(data, at, bits)
                    if index:
                        name = entry(index)[0]
                    else:
                        name, at = _string(data, at)
                    value, at = _string(data, at)
                    field = name, value
                    if bits == 6:
                        table.add(name, value)
                fields.append(field)
                size += OVERHEAD_BYTES + len(field[0]) + len(field[1])
                if size > most:
                    raise OversizedHeaderListError(f"a header list larger than {most}")
        except IndexError:
            raise HPACKDecodingError("a block that is cut short") from None
        if self.header_table_size > self.max_allowed_table_size:
            raise InvalidTableSizeError("the table is larger than it may be")
        return fields


def _integer(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """RFC 7541, 5.1: an integer, and where it ends."""
    most = (1 << bits) - 1
    number = data[at] & most
    at += 1
    if number < most:
        return number, at
    shift = 0
    while True:
        octet = data[at]
        at += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
        shift += 7
        if shift > MAX_SHIFT:
            raise HPACKDecodingError("an integer beyond any bound")


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """RFC 7541, 5.2: a string, and where it ends."""
    coded = data[at] & 0x80
    length, at = _integer(data, at, 7)
    end = at + length
    text = data[at:end]
    if len(text) != length:
        raise HPACKDecodingError("a string that is cut short")
    return (bytes(decode_huffman(text)) if coded else text), end

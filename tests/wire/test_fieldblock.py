"""A response's header block: what any decoder makes of it, and what is never sent."""

from __future__ import annotations

import pytest
from hpack.hpack import Decoder
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.fieldblock import (
    CONNECTION_SPECIFIC,
    MAX_NAMES,
    NO_TABLE,
    _prefixes,
    encode_block,
    encode_field,
    encode_length,
    encode_status,
)
from hardhttp.wire.grammar import FIELD_VALUE, TOKEN

NAMES = st.from_regex(TOKEN, fullmatch=True) | st.sampled_from([name for name, _ in HeaderTable.STATIC_TABLE[14:]])
VALUES = st.from_regex(FIELD_VALUE, fullmatch=True) | st.binary(min_size=120, max_size=300).map(
    lambda b: b.hex().encode()
)


def decoded(block: bytes) -> list[tuple[bytes, bytes]]:
    """What a decoder without a table makes of ``block``: it depends on nothing that went before."""
    decoder = Decoder()
    decoder.max_allowed_table_size = 0
    decoder.max_header_list_size = 100_000
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(NO_TABLE + block, raw=True)]


@given(status=st.integers(100, 999), fields=st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_whatever_is_said_arrives(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    given_fields: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        given_fields.setdefault(name, []).append(value)
    wanted = [
        (name.lower(), value.strip(b" \t"))
        for name, values in given_fields.items()
        for value in values
        if name.lower() not in CONNECTION_SPECIFIC
    ]
    assert decoded(encode_block(status, given_fields)) == [(b":status", b"%d" % status), *wanted]


@pytest.mark.parametrize("name", sorted(CONNECTION_SPECIFIC))
def test_what_is_for_one_connection_is_left_out(name: bytes) -> None:
    assert encode_field(name.title(), b"x") == b""


@pytest.mark.parametrize("length", [0, 126, 127, 128, 254, 255, 16_510, 70_000])
def test_lengths(length: int) -> None:
    assert decoded(encode_block(200, {b"X": [b"y" * length]}))[1] == (b"x", b"y" * length)
    assert decoded(encode_status(200) + b"\x0f\x0d" + encode_length(length))[1] == (b"content-length", b"%d" % length)


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\0b", b"\x7f"])
def test_values_that_would_forge_a_field(value: bytes) -> None:
    with pytest.raises(ValueError, match="'X'") as raised:
        encode_field(b"X", value)
    assert value.decode() not in str(raised.value)


@pytest.mark.parametrize("name", [b"", b"a b", b"a:b", b":status", b"a\r\n"])
def test_names_that_are_no_tokens(name: bytes) -> None:
    with pytest.raises(ValueError, match="no token"):
        encode_field(name, b"x")


@pytest.mark.parametrize("status", [99, 1000, -1])
def test_what_is_no_status(status: int) -> None:
    with pytest.raises(ValueError, match="not a status"):
        encode_status(status)


def test_a_cookie_is_never_to_be_indexed() -> None:
    assert encode_field(b"Set-Cookie", b"a=b")[0] & 0xF0 == 0x10
    assert encode_field(b"Vary", b"a")[0] & 0xF0 == 0x00


def test_names_that_are_made_up_are_not_remembered_without_bound() -> None:
    for number in range(2 * MAX_NAMES):
        assert encode_field(b"x-%d" % number, b"y").endswith(b"\x01y")
    assert len(_prefixes) <= MAX_NAMES

"""Our decoder of header blocks is hpack's, only faster: whatever comes, both say the same."""

from __future__ import annotations

import pytest
from hpack import Encoder
from hpack.exceptions import HPACKError
from hpack.hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.fielddecoder import FieldDecoder

NAMES = st.sampled_from([b":path", b"cookie", b"x-long-name", b"accept", b"", b"user-agent"]) | st.binary(max_size=20)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=200) | st.just(b"same"), st.booleans()), max_size=8)
# Bytes near what a block is made of: random ones hardly ever get beyond the first.
PIECES = st.sampled_from([b"\x82", b"\xbe", b"\xff\x00", b"\x40", b"\x00", b"\x20", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f"])
BLOCKS = st.lists(PIECES | st.binary(max_size=4), max_size=8).map(b"".join)


def outcome(decoder: Decoder, block: bytes) -> object:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except HPACKError:
        return HPACKError


@given(lists=st.lists(FIELDS, max_size=4), huffman=st.booleans(), sizes=st.lists(st.integers(0, 4096), max_size=2))
def test_whatever_an_encoder_says(lists: list, huffman: bool, sizes: list[int]) -> None:
    encoder, ours, theirs = Encoder(), FieldDecoder(), Decoder()
    for number, fields in enumerate(lists):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        block = encoder.encode(fields, huffman=huffman)
        assert outcome(ours, block) == outcome(theirs, block) == [(name, value) for name, value, _ in fields]
        assert ours.header_table.dynamic_entries == theirs.header_table.dynamic_entries


@given(blocks=st.lists(BLOCKS, min_size=1, max_size=4))
def test_whatever_anybody_says(blocks: list[bytes]) -> None:
    ours, theirs = FieldDecoder(), Decoder()
    for block in blocks:
        said = outcome(theirs, block)
        assert outcome(ours, block) == said
        if said is HPACKError:
            return


@pytest.mark.parametrize("size", [100, 101])
def test_a_list_at_its_bound_and_past_it(size: int) -> None:
    block = Encoder().encode([(b"x" * 8, b"y" * (size - 40))])
    assert (outcome(FieldDecoder(100), block) is HPACKError) == (size > 100)


def test_an_integer_that_never_ends() -> None:
    assert outcome(FieldDecoder(), b"\xff" * 1000) is HPACKError

"""Promises as frames, and which responses may answer them."""

from __future__ import annotations

import pytest
from hpack import Decoder
from hyperframe.frame import Frame, PushPromiseFrame

from hardhttp.wire.fieldblock import encode_block
from hardhttp.wire.promise import list_bytes, may_be_pushed, promise_frame, promised_fields, request_block
from hardhttp.wire.push import Push

PUSH = Push(b"/a?b=" + b"c" * 300, ((b"accept", b"*/*"), (b"user-agent", b"x" * 200), (b"cache-control", b"")))


@pytest.mark.parametrize("scheme", [b"http", b"https"])
def test_a_block_says_its_fields_and_touches_no_table(scheme: bytes) -> None:
    fields = promised_fields(PUSH, scheme, b"a.example:8443")
    decoder = Decoder()
    assert [*decoder.decode(request_block(fields), raw=True)] == fields
    assert not decoder.header_table.dynamic_entries
    assert list_bytes(fields) == sum(len(name) + len(value) + 32 for name, value in fields)


def test_a_frame() -> None:
    block = request_block(promised_fields(PUSH, b"https", b"a"))
    data = promise_frame(7, 12, block)
    frame, size = Frame.parse_frame_header(memoryview(data[:9]))
    frame.parse_body(memoryview(data[9:]))
    assert isinstance(frame, PushPromiseFrame)
    assert (frame.stream_id, frame.promised_stream_id, frame.data, size) == (7, 12, block, len(data) - 9)
    assert frame.flags == {"END_HEADERS"}


@pytest.mark.parametrize(
    ("status", "fields", "may"),
    [
        (200, {}, True),
        (204, {b"Content-Type": [b"text/css"]}, True),
        (199, {}, False),
        (304, {}, False),
        (401, {}, False),
        (500, {}, False),
        (200, {b"Set-Cookie": [b"a=b"]}, False),
        (200, {b"X": [b"set-cookie"]}, True),
    ],
)
def test_what_may_be_pushed(status: int, fields: dict[bytes, list[bytes]], may: bool) -> None:
    assert may_be_pushed(encode_block(status, fields)) is may

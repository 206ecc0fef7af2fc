"""Request heads, as a client writes them."""

from __future__ import annotations

import pytest

from hardhttp.wire.requesthead import encode_chunk, encode_request


def test_a_head() -> None:
    fields = [(b"Host", b"a"), (b"X-Y", b"1\t\xff")]
    assert encode_request(b"GET", b"/a?b", fields) == b"GET /a?b HTTP/1.1\r\nHost: a\r\nX-Y: 1\t\xff\r\n\r\n"
    assert encode_request(b"M-SEARCH", b"*", []) == b"M-SEARCH * HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0", b"\x7f", b"\r\nX: y"])
def test_control_characters_are_refused_everywhere(byte: bytes) -> None:
    for method, target, name, value in [
        (b"GET" + byte, b"/", b"A", b"b"),
        (b"GET", b"/" + byte, b"A", b"b"),
        (b"GET", b"/", b"A" + byte, b"b"),
        (b"GET", b"/", b"A", b"secret" + byte),
        (b"GET", b"/", b"Host", b"secret" + byte),
    ]:
        with pytest.raises(ValueError) as caught:
            encode_request(method, target, [(name, value)])
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("method", "target"), [(b"", b"/"), (b"G T", b"/"), (b"GET", b""), (b"GET", b"/ /")])
def test_lines_that_are_none(method: bytes, target: bytes) -> None:
    with pytest.raises(ValueError):
        encode_request(method, target, [])


def test_a_chunk() -> None:
    assert encode_chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"

"""The PROXY header: every rule of both versions, at every split, at every bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.errors import PeerFault, Reason
from hardhttp.testing import every_split
from hardhttp.wire.proxyprotocol import (
    MAX_BINARY_BYTES,
    MAX_TEXT_BYTES,
    ProxyHeader,
    crc32c,
    parse_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4 = bytes([192, 0, 2, 43, 198, 51, 100, 7, 0x12, 0x67, 0x01, 0xBB])
FOUR = ProxyHeader(("192.0.2.43", 4711), ("198.51.100.7", 443))
TCP6 = bytes.fromhex("20010db8000000000000000000000001 20010db8000000000000000000000002 1267 01bb")
MAPPED = bytes(10) + b"\xff\xff"
SIX = ProxyHeader(("2001:db8::1", 4711), ("2001:db8::2", 443))


def binary(command: int = 0x21, family: int = 0x11, body: bytes = TCP4, size: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, family]) + (len(body) if size is None else size).to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def with_checksum(header: bytes, at: int) -> bytes:
    return header[:at] + crc32c(header).to_bytes(4, "big") + header[at + 4 :]


CHECKED = with_checksum(binary(body=TCP4 + tlv(1, b"h2") + tlv(3, bytes(4)) + tlv(4, b"")), 16 + 12 + 5 + 3)

GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.43 198.51.100.7 4711 443\r\n", FOUR),
    "TCP6": (b"PROXY TCP6 2001:db8::1 2001:db8:0::2 4711 443\r\n", SIX),
    "ports": (
        b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
        ProxyHeader(("255.255.255.255", 65535), ("0.0.0.0", 0)),
    ),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", ProxyHeader()),
    "UNKNOWN with more": (b"PROXY UNKNOWN " + b"f" * (MAX_TEXT_BYTES - 16) + b"\r\n", ProxyHeader()),
    "IPv4 in IPv6": (b"PROXY TCP6 ::ffff:192.0.2.43 ::ffff:c633:6407 4711 443\r\n", FOUR),
    "2 TCP4": (binary(), FOUR),
    "2 TCP6": (binary(family=0x21, body=TCP6), SIX),
    "2 IPv4 in IPv6": (
        binary(family=0x21, body=MAPPED + TCP4[:4] + MAPPED + TCP4[4:]),
        FOUR,
    ),
    "2 TLVs": (binary(body=TCP4 + tlv(1, b"h2") + tlv(0xEE, b"")), FOUR),
    "2 checksum": (CHECKED, FOUR),
    "2 longest": (binary(body=TCP4 + tlv(0xE0, bytes(MAX_BINARY_BYTES - 15))), FOUR),
    "2 LOCAL": (binary(command=0x20, family=0, body=b""), ProxyHeader()),
    "2 LOCAL with all ignored": (binary(command=0x20, family=0x99, body=b"\x03\xff"), ProxyHeader()),
    "2 UNSPEC": (binary(family=0x00, body=b"\x03\xff"), ProxyHeader()),
    "2 UDP": (binary(family=0x12), ProxyHeader()),
    "2 UNIX": (binary(family=0x31, body=bytes(216)), ProxyHeader()),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_header_at_every_split(name: str) -> None:
    raw, header = GOOD[name]
    rest = b"GET / HTTP/1.1\r\n"
    assert parse_proxy_header(raw + rest) == (header, len(raw))
    for pieces in every_split(raw) if len(raw) < 300 else ([raw[:5], raw[5:]], [raw[:-1], raw[-1:]]):
        data = b""
        for piece in pieces:
            assert data == b"" or parse_proxy_header(data) is None
            data += piece
        assert parse_proxy_header(data) == (header, len(raw))


BAD = {
    "none": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "lower case": b"proxy TCP4 192.0.2.43 198.51.100.7 4711 443\r\n",
    "too long": b"PROXY UNKNOWN " + b"f" * (MAX_TEXT_BYTES - 15) + b"\r\n",
    "endless": b"PROXY UNKNOWN" + b" " * (MAX_TEXT_BYTES - 13),
    "no protocol": b"PROXY \r\n",
    "UNKNOWNX": b"PROXY UNKNOWNX\r\n",
    "UDP4": b"PROXY UDP4 192.0.2.43 198.51.100.7 4711 443\r\n",
    "two spaces": b"PROXY TCP4  192.0.2.43 198.51.100.7 4711 443\r\n",
    "a space behind": b"PROXY TCP4 192.0.2.43 198.51.100.7 4711 443 \r\n",
    "a tab": b"PROXY TCP4\t192.0.2.43 198.51.100.7 4711 443\r\n",
    "bare LF": b"PROXY TCP4 192.0.2.43 198.51.100.7 4711 443\n\r\n",
    "bare CR": b"PROXY TCP4 192.0.2.43 198.51.100.7 4711 443\r\r\n",
    "leading zero": b"PROXY TCP4 192.0.2.43 198.51.100.7 04711 443\r\n",
    "address with zero": b"PROXY TCP4 192.0.2.043 198.51.100.7 4711 443\r\n",
    "port": b"PROXY TCP4 192.0.2.43 198.51.100.7 65536 443\r\n",
    "negative port": b"PROXY TCP4 192.0.2.43 198.51.100.7 -1 443\r\n",
    "one port": b"PROXY TCP4 192.0.2.43 198.51.100.7 443\r\n",
    "wrong family": b"PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
    "wrong family 6": b"PROXY TCP6 192.0.2.43 198.51.100.7 4711 443\r\n",
    "no address": b"PROXY TCP4 192.0.2.256 198.51.100.7 4711 443\r\n",
    "name": b"PROXY TCP4 a.example 198.51.100.7 4711 443\r\n",
    "scope": b"PROXY TCP6 fe80::1%eth0 2001:db8::2 4711 443\r\n",
    "NUL": b"PROXY TCP4 192.0.2.43\0 198.51.100.7 4711 443\r\n",
    "signature": b"\r\n\r\n\0\r\nQUIX",
    "2 version 1": binary(command=0x11),
    "2 version 3": binary(command=0x31),
    "2 command": binary(command=0x22),
    "2 family": binary(family=0x41),
    "2 transport": binary(family=0x13),
    "2 short": binary(body=TCP4[:-1]),
    "2 short 6": binary(family=0x21, body=TCP6[:-1]),
    "2 short UNIX": binary(family=0x31, body=bytes(215)),
    "2 long": binary(body=b"", size=MAX_BINARY_BYTES + 1),
    "2 longest there is": binary(body=b"", size=0xFFFF),
    "2 long LOCAL": binary(command=0x20, family=0, body=b"", size=MAX_BINARY_BYTES + 1),
    "2 TLV cut": binary(body=TCP4 + b"\x04\x00"),
    "2 TLV too long": binary(body=TCP4 + b"\x04\x00\x02x"),
    "2 checksum": CHECKED[:-4] + bytes([CHECKED[-4] ^ 1]) + CHECKED[-3:],
    "2 address with checksum": CHECKED[:16] + bytes([193]) + CHECKED[17:],
    "2 short checksum": binary(body=TCP4 + tlv(3, bytes(3))),
    "2 two checksums": with_checksum(binary(body=TCP4 + tlv(3, bytes(4)) * 2), 16 + 12 + 3),
}


def feed(pieces: list[bytes]) -> None:
    data = b""
    for piece in pieces:
        data += piece
        assert parse_proxy_header(data) is None


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_at_every_split(name: str) -> None:
    """Refused as soon as it can be told, and never taken for a header on the way."""
    for pieces in every_split(BAD[name]):
        with pytest.raises(PeerFault) as caught:
            feed(pieces)
        assert (caught.value.status, caught.value.reason) == (400, Reason.BAD_PROXY_HEADER)


def test_the_checksum_s_own_test_vector() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4's polynomial
    assert crc32c(bytes(32)) == 0x8A9136AA


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_no_header_or_not_enough(data: bytes) -> None:
    for start in (b"", b"PROXY TCP4 ", SIGNATURE + b"\x21\x11\x00\x20"):
        try:
            found = parse_proxy_header(start + data)
        except PeerFault:
            continue
        assert found is None or found[1] <= len(start + data)
        assert found is not None or len(start + data) < 16 + MAX_BINARY_BYTES


def test_nothing_is_awaited_past_the_bound() -> None:
    assert parse_proxy_header(b"PROXY UNKNOWN " + b"x" * (MAX_TEXT_BYTES - 15)) is None
    with pytest.raises(PeerFault, match="107"):
        parse_proxy_header(b"PROXY UNKNOWN " + b"x" * (MAX_TEXT_BYTES - 14))
    assert parse_proxy_header(binary(body=b"", size=MAX_BINARY_BYTES)) is None

"""The PROXY protocol's header, versions 1 and 2: who is at the other end of a proxy's connection.

A proxy that passes on bytes and not messages sends it before them, below TLS. It is read here as the
specification says (HAProxy, "The PROXY protocol", 2020-03-05), every byte judged, nothing guessed: what
is not exactly a header is a ``PeerFault``, as soon as that can be told. It is bounded: version 1 by the
107 bytes of its own rule, version 2 by ``MAX_BINARY_BYTES`` behind its first 16.

Who may send one is the caller's to decide.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

import attrs

from hardhttp.errors import PeerFault, Reason

__all__ = ["MAX_BINARY_BYTES", "MAX_TEXT_BYTES", "ProxyHeader", "parse_proxy_header"]

MAX_TEXT_BYTES = 107  # 2.1: the longest line there is, its CRLF included
MAX_BINARY_BYTES = 4096

_TEXT = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_BYTES = 16
# 2.1: one space, no leading zero in a port.
_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) " + _PORT + b" " + _PORT)

_LOCAL, _PROXY = 0, 1
_STREAM = 1
# 2.2: the bytes of addresses and ports, by family; UNSPEC has none, and a Unix address is no one's.
_INET, _INET6 = 1, 2
_ADDRESS_BYTES = (0, 12, 36, 216)
_TLV_CRC32C = 0x03


@attrs.frozen
class ProxyHeader:
    """Where the proxied connection comes from and went to, as (address, port).

    Both are ``None`` where the header does not say (LOCAL, UNKNOWN, UNSPEC, anything but TCP): then the
    connection's own addresses hold.
    """

    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def parse_proxy_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """The header at the start of ``data`` and its length, or ``None`` while more is needed.

    Raises ``PeerFault``, with ``Reason.BAD_PROXY_HEADER``.
    """
    if data[:1] == _SIGNATURE[:1]:
        return _binary(data)
    if not data.startswith(_TEXT[: len(data)]):
        raise _fault("the connection does not begin with a PROXY header")
    return _text(data)


def _written(address: IPv4Address | IPv6Address) -> str:
    """An address as text; one of IPv4 in IPv6, as sockets for both have it, is the IPv4 one."""
    return str(getattr(address, "ipv4_mapped", None) or address)


def _fault(detail: str) -> PeerFault:
    return PeerFault(400, Reason.BAD_PROXY_HEADER, detail)


# -- version 1 -----------------------------------------------------------------------------------


def _text(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\r\n", 0, MAX_TEXT_BYTES)
    if end < 0:
        if len(data) >= MAX_TEXT_BYTES:
            raise _fault(f"the PROXY line is longer than {MAX_TEXT_BYTES} bytes")
        return None
    line = data[:end]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(), end + 2  # 2.1: what follows UNKNOWN is ignored
    found = _LINE.fullmatch(line)
    if found is None:
        raise _fault("the PROXY line is malformed")
    kind = IPv4Address if found[1] == b"4" else IPv6Address
    try:
        source, destination = (_written(kind(found[i].decode("ascii"))) for i in (2, 3))
    except ValueError:
        raise _fault("the PROXY line holds no address of its family") from None
    ports = int(found[4]), int(found[5])
    if max(ports) > 65535:
        raise _fault("the PROXY line holds a port above 65535")
    return ProxyHeader((source, ports[0]), (destination, ports[1])), end + 2


# -- version 2 -----------------------------------------------------------------------------------


def _binary(data: bytes) -> tuple[ProxyHeader, int] | None:
    if not data.startswith(_SIGNATURE[: len(data)]):
        raise _fault("the connection does not begin with a PROXY header")
    if len(data) < _FIXED_BYTES:
        return None
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    size = int.from_bytes(data[14:16], "big")
    if version != 2 or command not in (_LOCAL, _PROXY):
        raise _fault("the PROXY header's version or command is unknown")
    if size > MAX_BINARY_BYTES:
        raise _fault(f"the PROXY header is longer than {MAX_BINARY_BYTES} bytes")
    if command == _PROXY:
        if family >= len(_ADDRESS_BYTES) or transport > 2:  # 2.2: to be dropped, not to be guessed at
            raise _fault("the PROXY header's address family or transport is unknown")
        if size < _ADDRESS_BYTES[family]:
            raise _fault("the PROXY header is too short for its addresses")
    end = _FIXED_BYTES + size
    if len(data) < end:
        return None
    if command == _LOCAL or not family:
        return ProxyHeader(), end  # 2.2: all that follows is ignored
    _check(data[:end], _FIXED_BYTES + _ADDRESS_BYTES[family])
    if transport != _STREAM or family not in (_INET, _INET6):
        return ProxyHeader(), end
    return _addresses(data, family), end


def _addresses(data: bytes, family: int) -> ProxyHeader:
    kind, size = (IPv4Address, 4) if family == _INET else (IPv6Address, 16)
    at = _FIXED_BYTES
    source, destination = (_written(kind(data[i : i + size])) for i in (at, at + size))
    at += 2 * size
    ports = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
    return ProxyHeader((source, ports[0]), (destination, ports[1]))


def _check(header: bytes, at: int) -> None:
    """2.2.1 to 2.2.3: the TLVs fill what is left; of them only the checksum is of use here."""
    while at < len(header):
        size = int.from_bytes(header[at + 1 : at + 3], "big")
        value = at + 3
        if value + size > len(header):
            raise _fault("the PROXY header's last TLV is cut off")
        if header[at] == _TLV_CRC32C:
            zeroed = header[:value] + bytes(size) + header[value + size :]
            if size != 4 or crc32c(zeroed) != int.from_bytes(header[value : value + size], "big"):
                raise _fault("the PROXY header's checksum is wrong")
        at = value + size


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC32C = _table()


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF

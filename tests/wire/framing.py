"""Frames as a client makes them, and as it reads a server's (RFC 6455, 5.2)."""

from __future__ import annotations

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "PING", "PONG", "TEXT", "closing", "frame", "header", "parse"]

# First bytes, with FIN.
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A
FIN = 0x80
MASK = b"\x01\x02\x03\x04"


def header(first: int, size: int, mask: bytes = MASK) -> bytes:
    """A frame's header; with an empty ``mask`` it is not masked."""
    bit = 0x80 if mask else 0
    if size <= 125:
        return bytes((first, bit | size)) + mask
    if size <= 0xFFFF:
        return bytes((first, bit | 126)) + size.to_bytes(2, "big") + mask
    return bytes((first, bit | 127)) + size.to_bytes(8, "big") + mask


def frame(first: int, payload: bytes = b"", mask: bytes = MASK) -> bytes:
    """A client's frame."""
    if not mask:
        return header(first, len(payload), mask) + payload
    repeated = int.from_bytes((mask * (len(payload) // 4 + 1))[: len(payload)], "big")
    masked = (int.from_bytes(payload, "big") ^ repeated).to_bytes(len(payload), "big")
    return header(first, len(payload), mask) + masked


def closing(code: int | None = 1000, text: str = "") -> bytes:
    """A client's Close."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + text.encode())


def parse(data: bytes) -> list[tuple[int, bytes]]:
    """A server's frames: first bytes and payloads. ``ValueError`` for half a one, or a masked one."""
    found, at = [], 0
    while at < len(data):
        if len(data) < at + 2 or data[at + 1] & 0x80:
            raise ValueError(f"no frame: {data[at : at + 20]!r}")
        first, size = data[at], data[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        if len(data) < at + size:
            raise ValueError("half a frame")
        found.append((first, data[at : at + size]))
        at += size
    return found

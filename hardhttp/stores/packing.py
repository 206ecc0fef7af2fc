"""A session's texts as one string of bytes.

First the length in bytes of each key and value, in decimal with spaces between and a newline behind, then
the keys and values themselves: ``b"1 2\\na42"`` is ``{"a": "42"}``. Any text comes back as it was, NUL and
lone surrogates included, and a Lua script writes it without a library.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["encode", "pack", "unpack"]


def encode(text: str) -> bytes:
    """``text`` as UTF-8; a lone surrogate, which JSON can hold, gets three bytes of its own."""
    return text.encode("utf-8", "surrogatepass")


def pack(texts: Mapping[str, str]) -> bytes:
    """``texts`` as bytes."""
    pieces = [encode(piece) for pair in texts.items() for piece in pair]
    return b"%b\n%b" % (" ".join([str(len(piece)) for piece in pieces]).encode(), b"".join(pieces))


def unpack(packed: bytes) -> dict[str, str]:
    """What ``pack`` was given. Raises ``ValueError`` for bytes it cannot have made."""
    lengths, newline, joined = packed.partition(b"\n")
    pieces = []
    start = 0
    for length in map(int, lengths.split()):
        if length < 0:
            raise ValueError("a length is negative")
        pieces.append(joined[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    if not newline or start != len(joined) or len(pieces) % 2:
        raise ValueError("the lengths do not add up")
    return dict(zip(pieces[::2], pieces[1::2], strict=True))

"""Bodies as they come: by length, or in chunks (RFC 9112, 6 and 7).

A decoder is given bytes and gives back the payload in them, until ``done``; then ``rest`` is what
follows the body. It keeps at most one unfinished line. How much a body may hold in all is judged
here for chunks, because only here it is known; a length is judged with the head.
"""

from __future__ import annotations

from typing import Protocol

from hardhttp.errors import LimitFault, PeerFault, Reason
from hardhttp.wire.grammar import CHUNK_LINE, FIELD_LINES

__all__ = ["BodyBounds", "BodyDecoder", "ChunkedBody", "LengthBody", "length_of"]

# A chunk line is a number and, in practice, nothing else.
MAX_CHUNK_LINE_BYTES = 4096
# What framing may cost beyond sixteen bytes a chunk and as much again as its data; Go's figure.
MAX_EXCESS_BYTES = 16 * 1024
# Sixteen digits in hexadecimal are what a chunk's size may have, too.
MAX_LENGTH = (1 << 64) - 1


class BodyBounds(Protocol):
    """What a chunked body is judged by: a server's ``Limits``, or a client's bounds."""

    @property
    def max_body_bytes(self) -> float: ...
    @property
    def max_head_bytes(self) -> int: ...
    @property
    def max_headers(self) -> int: ...


def length_of(digits: bytes) -> int:
    """A Content-Length, which is digits alone; one that overflows at another reader is none (RFC 9110, 8.6)."""
    digits = digits.lstrip(b"0")
    if len(digits) > 20 or (length := int(digits or b"0")) > MAX_LENGTH:
        raise PeerFault(400, Reason.BAD_FRAMING, "Content-Length is more than 64 bits hold")
    return length


class LengthBody:
    """A body of ``length`` bytes."""

    __slots__ = ("remaining", "rest")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.rest = b""

    @property
    def done(self) -> bool:
        return not self.remaining

    def receive(self, data: bytes) -> list[bytes]:
        """The payload in ``data``."""
        if len(data) > self.remaining:
            data, self.rest = data[: self.remaining], data[self.remaining :]
        self.remaining -= len(data)
        return [data] if data else []


class ChunkedBody:
    """A chunked body, with its trailer section.

    ``receive`` raises ``Fault``: 400 for bad framing, 413 past ``max_body_bytes``, 431 for a
    trailer section past the bounds of a head. ``trailers`` are (lower-case name, value).
    """

    __slots__ = ("_carry", "_excess", "_limits", "_looked", "_received", "_remaining", "_state", "rest", "trailers")

    # Where in the grammar: a chunk's line, its data, the CRLF behind it, the trailers, the end.
    LINE, DATA, CRLF, TRAILERS, DONE = range(5)

    def __init__(self, limits: BodyBounds) -> None:
        self._limits = limits
        self._state = self.LINE
        self._carry = b""
        self._remaining = 0
        self._received = 0
        self._excess = 0
        self._looked = 0  # bytes of the trailers that were looked through, lest a trickle costs their square
        self.rest = b""
        self.trailers: list[tuple[bytes, bytes]] = []

    @property
    def done(self) -> bool:
        return self._state == self.DONE

    def receive(self, data: bytes) -> list[bytes]:
        """The payload in ``data``, in pieces."""
        if self._carry:
            data, self._carry = self._carry + data, b""
        pieces: list[bytes] = []
        position, size = 0, len(data)
        while position < size:
            state = self._state
            if state == self.DATA:
                piece = data[position : position + self._remaining]
                pieces.append(piece)
                position += len(piece)
                self._remaining -= len(piece)
                if not self._remaining:
                    self._state = self.CRLF
            elif state == self.LINE:
                end = self._line_end(data, position, MAX_CHUNK_LINE_BYTES)
                if end < 0:
                    break
                self._chunk_line(data[position:end])
                position = end + 2
            elif state == self.CRLF:
                if data[position] != 0x0D or (position + 1 < size and data[position + 1] != 0x0A):
                    raise PeerFault(400, Reason.BAD_CHUNK, "a chunk is longer than it said")
                if position + 1 == size:
                    break
                position += 2
                self._state = self.LINE
            elif state == self.TRAILERS:
                end = self._trailers_end(data, position)
                if end < 0:
                    break
                position = end
                self._state = self.DONE
            else:
                break
        if self._state == self.DONE:
            self.rest = data[position:]
        else:
            self._carry = data[position:]
        return pieces

    def _line_end(self, data: bytes, position: int, bound: int) -> int:
        """Where the line at ``position`` ends, or -1; a bare LF or an endless line is refused."""
        newline = data.find(b"\n", position, position + bound + 2)
        if newline < 0:
            if len(data) - position > bound + 1:
                raise PeerFault(400, Reason.BAD_CHUNK, "a chunk's line is too long")
            return -1
        if newline == position or data[newline - 1] != 0x0D:
            raise PeerFault(400, Reason.BAD_CHUNK, "lines end in CR LF")
        return newline - 1

    def _chunk_line(self, line: bytes) -> None:
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            raise PeerFault(400, Reason.BAD_CHUNK, "a chunk does not begin with its size in hexadecimal")
        size = int(match[1], 16)
        self._received += size
        if self._received > self._limits.max_body_bytes:
            raise LimitFault(413, Reason.BODY_BYTES, f"the body is longer than {self._limits.max_body_bytes} bytes")
        self._excess = max(0, self._excess + len(line) - 16 - 2 * size)
        if self._excess > MAX_EXCESS_BYTES:
            raise PeerFault(400, Reason.BAD_CHUNK, "more chunk framing than data")
        self._remaining = size
        self._state = self.DATA if size else self.TRAILERS

    def _trailers_end(self, data: bytes, position: int) -> int:
        """Where the trailer section at ``position`` ends (its blank line included), or -1."""
        if data.startswith(b"\r\n", position):
            return position + 2
        bound = self._limits.max_head_bytes
        begin, stop = position + self._looked, min(len(data), position + bound)
        end = data.find(b"\r\n\r\n", max(position, begin - 3), stop)
        if end >= 0:
            stop = end + 4
        lines_end = data.count(b"\r\n", max(position, begin - 1), stop)
        if (data[position] == 0x0D and stop - position > 1) or data.count(b"\n", begin, stop) != lines_end:
            raise PeerFault(400, Reason.BAD_CHUNK, "lines end in CR LF")
        if end < 0:
            if len(data) - position >= bound:
                raise LimitFault(431, Reason.HEAD_BYTES, f"the trailers are longer than {bound} bytes")
            self._looked = stop - position
            return -1
        section = data[position : end + 2]
        if FIELD_LINES.fullmatch(section) is None:
            raise PeerFault(400, Reason.BAD_CHUNK, "the trailers are not made of well-formed field lines")
        lines = section[:-2].split(b"\r\n")
        if len(lines) > self._limits.max_headers:
            raise LimitFault(431, Reason.HEADERS, f"more than {self._limits.max_headers} trailer fields")
        for line in lines:
            name, _, value = line.partition(b":")
            self.trailers.append((name.lower(), value.strip(b" \t")))
        return end + 4


BodyDecoder = LengthBody | ChunkedBody

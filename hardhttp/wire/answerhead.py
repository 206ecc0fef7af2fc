"""A response's head, as a client reads it: found inside a bound, judged as strictly as a request's.

What frames the message is judged here (RFC 9112, 6.3), because what two readers may frame in two ways
is how one response becomes two: lines end in CR LF, nothing is folded, there is one Content-Length or
``chunked`` and nothing else. The verdict on a head depends on its bytes alone, never on how they were
split: an incomplete head is refused only for what no continuation could mend, and in the order in
which a whole one would be judged (status line, bare LF, length; then the fields).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hardhttp.errors import LimitFault, PeerFault, Reason
from hardhttp.wire.body import ChunkedBody, LengthBody
from hardhttp.wire.grammar import FIELD_LINES, list_items
from hardhttp.wire.response import has_no_body

__all__ = ["AnswerBounds", "AnswerHead", "AnswerTail", "UntilClose", "body_of", "parse_answer"]

# RFC 9112, 4: the blank before the phrase is required, and left out by many.
_STATUS_LINE = re.compile(rb"HTTP/([0-9])\.([0-9]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_BEGINNING = b"HTTP/"
_DECIDING = re.compile(rb"\n([CcTt](?i:ontent-length|ransfer-encoding|onnection)):[ \t]*([^\r]*)")
# The status of our own a proxy would answer: nobody is told it, the reason is what counts.
_BAD_GATEWAY = 502


class AnswerBounds(NamedTuple):
    """What a response may be: ``max_body_bytes`` is ``inf`` where there is no bound."""

    max_head_bytes: int
    max_headers: int
    max_informational: int
    max_body_bytes: float


class UntilClose:
    """A body that the connection's end ends (RFC 9112, 6.3, 8), of at most ``bound`` bytes."""

    __slots__ = ("_bound", "received", "rest")

    done = False

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self.received = 0
        self.rest = b""

    def receive(self, data: bytes) -> list[bytes]:
        """All of it. Raises ``LimitFault`` past the bound."""
        self.received += len(data)
        if self.received > self._bound:
            raise LimitFault(_BAD_GATEWAY, Reason.BODY_BYTES, f"the body is longer than {self._bound} bytes")
        return [data] if data else []


AnswerTail = LengthBody | ChunkedBody | UntilClose


class AnswerHead:
    """One response's head.

    ``keep_alive`` is what the peer says of the connection; a body that ends with it denies it again.
    ``content_length`` is ``None`` without a Content-Length; ``chunked`` and it exclude each other.
    """

    __slots__ = ("_fields", "chunked", "content_length", "keep_alive", "lines", "phrase", "status", "version")

    def __init__(self, version: tuple[int, int], status: int, phrase: bytes, lines: bytes) -> None:
        self.version = version
        self.status = status
        self.phrase = phrase
        self.lines = lines
        self._fields: list[tuple[bytes, bytes]] | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = version == (1, 1)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields, (name as it came, value), in order."""
        fields = self._fields
        if fields is None:
            fields = self._fields = [
                (name, value.strip(b" \t"))
                for name, _, value in [line.partition(b":") for line in self.lines[2:-4].split(b"\r\n")]
                if name
            ]
        return fields

    def take_fields(self, fields: list[tuple[bytes, bytes]]) -> None:
        """These are the fields: a head that HTTP/2 brings has no lines."""
        self._fields = fields

    def values(self, name: bytes) -> list[bytes]:
        """The values of the fields called ``name`` (lower case)."""
        return [value for known, value in self.fields if known.lower() == name]

    def __repr__(self) -> str:
        return f"<AnswerHead {self.status}>"  # fields hold cookies


def parse_answer(
    data: bytes, start: int, bounds: AnswerBounds, previous: AnswerHead | None = None
) -> tuple[AnswerHead, int] | None:
    """The head that begins at ``data[start]`` and where it ends, or ``None`` if more is needed.

    ``previous`` may be the connection's head before this one: field lines that were judged once are
    not judged twice. Raises ``Fault``; its status means nothing to a client, its reason does.
    """
    end = data.find(b"\r\n\r\n", start)
    if end < 0 or end + 4 - start > bounds.max_head_bytes:
        _judge_prefix(data, start, bounds)
        return None
    line_end = data.find(b"\r\n", start)
    version, status, phrase = _status_line(data[start:line_end])
    lines = data[line_end : end + 4]
    head = AnswerHead(version, status, phrase, lines)
    if (
        previous is not None
        and lines == previous.lines
        and version == previous.version
        and lines.count(b"\n") - 2 <= bounds.max_headers  # which may be another's
    ):
        head._fields = previous._fields
        head.content_length, head.chunked = previous.content_length, previous.chunked
        head.keep_alive = previous.keep_alive
        return head, end + 4
    if FIELD_LINES.fullmatch(lines, 2, len(lines) - 2) is None:
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_HEADER, "the header is not made of well-formed field lines")
    if lines.count(b"\n") - 2 > bounds.max_headers:
        raise LimitFault(_BAD_GATEWAY, Reason.HEADERS, f"more than {bounds.max_headers} header fields")
    _decide(head)
    return head, end + 4


def _judge_prefix(data: bytes, start: int, bounds: AnswerBounds) -> None:
    """Refuse an incomplete head for what no continuation could mend."""
    window = data[start : start + bounds.max_head_bytes]
    if not window.startswith(_BEGINNING[: len(window)]):
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_STATUS_LINE, "a response does not begin like this")
    line_end = window.find(b"\n")
    if line_end >= 0:
        if window[line_end - 1] != 0x0D:
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_STATUS_LINE, "lines end in CR LF")
        _status_line(window[: line_end - 1])
        if window.count(b"\n") != window.count(b"\r\n"):
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_HEADER, "lines end in CR LF")
    if len(data) - start > bounds.max_head_bytes:
        raise LimitFault(_BAD_GATEWAY, Reason.HEAD_BYTES, f"the head is longer than {bounds.max_head_bytes} bytes")


def _status_line(line: bytes) -> tuple[tuple[int, int], int, bytes]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_STATUS_LINE, "a status line is VERSION SP STATUS SP PHRASE")
    major, minor, status, phrase = match.groups()
    if major != b"1":
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_VERSION, "this client speaks HTTP/1.0 and HTTP/1.1")
    # RFC 9110, 2.5: a higher minor version is read as the highest one spoken.
    return (1, 0 if minor == b"0" else 1), int(status), phrase or b""


def _decide(head: AnswerHead) -> None:
    """Judge the fields that frame the message."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    for name, value in _DECIDING.findall(head.lines):
        size = len(name)  # the three differ in length
        if size == 14:
            lengths.append(value.rstrip(b" \t"))
        elif size == 10:
            connection.append(value)
        elif size == 17:
            codings.append(value)
    if connection:
        options = list_items(connection)
        head.keep_alive = b"close" not in options and (head.keep_alive or b"keep-alive" in options)
    if codings:
        _judge_codings(head, codings, lengths)
    elif lengths:
        head.content_length = _length(lengths)


def _judge_codings(head: AnswerHead, codings: list[bytes], lengths: list[bytes]) -> None:
    """RFC 9112, 6.1 and 6.3: only ``chunked``, only in HTTP/1.1, never beside Content-Length."""
    if lengths:
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_FRAMING, "Transfer-Encoding and Content-Length together")
    if head.version == (1, 0):
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_FRAMING, "Transfer-Encoding in HTTP/1.0")
    if list_items(codings) != [b"chunked"]:
        raise PeerFault(_BAD_GATEWAY, Reason.UNKNOWN_CODING, "the only transfer coding spoken here is chunked, once")
    head.chunked = True


def _length(lengths: list[bytes]) -> int:
    """RFC 9110, 8.6: 1*DIGIT, once."""
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_FRAMING, "Content-Length is not one decimal number")
    digits = lengths[0].lstrip(b"0")
    if len(digits) > 18:
        raise LimitFault(_BAD_GATEWAY, Reason.BODY_BYTES, "Content-Length is beyond any bound")
    return int(digits or b"0")


def body_of(head: AnswerHead, method: bytes, bounds: AnswerBounds) -> AnswerTail | None:
    """How the body behind a final ``head`` is framed (RFC 9112, 6.3), or ``None`` where there is none.

    Raises ``LimitFault`` for a length past the bound, before any of it is read.
    """
    if method == b"HEAD" or has_no_body(head.status) or head.content_length == 0:
        return None
    if head.chunked:
        return ChunkedBody(bounds)
    if head.content_length is None:
        return UntilClose(bounds.max_body_bytes)
    if head.content_length > bounds.max_body_bytes:
        raise LimitFault(_BAD_GATEWAY, Reason.BODY_BYTES, f"the body is longer than {bounds.max_body_bytes} bytes")
    return LengthBody(head.content_length)

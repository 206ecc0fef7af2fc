"""A response's head as HTTP/2 brings it: from fields to the same ``AnswerHead`` that HTTP/1.1's bytes make.

A response that is malformed (RFC 9113, 8.1.1) costs its stream: ``StreamFault``. One that is well-formed and too
large is refused as over HTTP/1.1: ``LimitFault``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hardhttp.errors import LimitFault, Reason
from hardhttp.wire.answerhead import AnswerBounds, AnswerHead
from hardhttp.wire.fieldblock import CONNECTION_SPECIFIC
from hardhttp.wire.http2 import ErrorCodes, StreamFault
from hardhttp.wire.http2head import judge_characters, judge_size
from hardhttp.wire.response import has_no_body, reason_phrase

__all__ = ["StreamBody", "answer_head", "judge_trailers"]

_STATUS = re.compile(rb"[1-9][0-9]{2}")
_VERSION = (2, 0)
Fields = Sequence[tuple[bytes, bytes]]


def answer_head(fields: Fields, ended: bool, bounds: AnswerBounds) -> AnswerHead:
    """The head that ``fields`` make; ``ended``: no body follows. Raises ``StreamFault`` or ``LimitFault``."""
    # 8.3.2: one pseudo-header field, and it comes first. Another one further behind is no token.
    name, value = fields[0] if fields else (b"", b"")
    if name != b":status" or _STATUS.fullmatch(value) is None:
        raise _malformed("a response begins with one :status of three digits")
    status, given = int(value), list(fields[1:])
    judge_characters(given)
    judge_size(given, bounds)
    lengths: set[bytes] = set()
    for name, value in given:
        if name in CONNECTION_SPECIFIC:
            raise _malformed("a field that is for one connection alone")  # 8.2.2
        if name == b"content-length":
            lengths.add(value)
    if status < 200 and (ended or status == 101):
        raise _malformed("an interim response that ends the stream, or would upgrade it")  # 8.1, 8.6
    head = AnswerHead(_VERSION, status, reason_phrase(status), b"")
    head.take_fields(given)
    if lengths:
        head.content_length = _length(lengths)
    return head


def judge_trailers(fields: Fields, ended: bool, bounds: AnswerBounds) -> None:
    """Judge a trailer section (RFC 9113, 8.1). Raises ``StreamFault`` or ``LimitFault``."""
    if not ended:
        raise _malformed("trailers that do not end the stream")
    judge_characters(fields)
    judge_size(fields, bounds)


class StreamBody:
    """A body, as long as its head says and no longer than ``bounds`` allow. ``received`` counts."""

    __slots__ = ("_bound", "_length", "received")

    def __init__(self, head: AnswerHead, method: bytes, bounds: AnswerBounds) -> None:
        """Raises ``LimitFault`` for a length past the bound, before any of it is read."""
        empty = method == b"HEAD" or has_no_body(head.status)
        self._length = 0 if empty else head.content_length
        self._bound = bounds.max_body_bytes
        self.received = 0
        if self._length is not None and self._length > self._bound:
            raise self._too_long()

    @property
    def length(self) -> int | None:
        """As the head says; ``None`` when it does not."""
        return self._length

    def receive(self, size: int, ended: bool) -> None:
        """``size`` more have come. Raises ``StreamFault`` or ``LimitFault``."""
        self.received += size
        length = self._length
        if length is not None and (self.received > length or (ended and self.received != length)):
            raise _malformed("the body is not as long as was said")  # 8.1.1
        if self.received > self._bound:
            raise self._too_long()

    def _too_long(self) -> LimitFault:
        return LimitFault(502, Reason.BODY_BYTES, f"the body is longer than {self._bound} bytes")


def _malformed(detail: str) -> StreamFault:
    return StreamFault(ErrorCodes.PROTOCOL_ERROR, detail)


def _length(lengths: set[bytes]) -> int:
    """RFC 9110, 8.6: 1*DIGIT, the same wherever it is said."""
    said = lengths.pop()
    if lengths or not said.isdigit():
        raise _malformed("Content-Length is not one decimal number")
    digits = said.lstrip(b"0")
    if len(digits) > 18:
        raise LimitFault(502, Reason.BODY_BYTES, "Content-Length is beyond any bound")
    return int(digits or b"0")

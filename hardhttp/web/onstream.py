"""A response over HTTP/2: what HTTP/1.1 says in a head of bytes is a header block here, and framing is the stream's.

Which of the two a request does is decided by its channel (``multiplexed``), where ``Responding`` makes a head. An
ordinary 200 is a block that the site has made for all of its type in this second, and a length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hardhttp.wire.fieldblock import encode_block, encode_field, encode_length
from hardhttp.wire.response import has_no_body

__all__ = ["OnStream"]

# RFC 7541, 6.2.2: a literal that no table keeps, by the 28th name of the static table.
_CONTENT_LENGTH = b"\x0f\x0d"


class OnStream:
    """The part of ``hardhttp.web.responding.Responding`` that speaks to a stream."""

    code: int
    method: bytes
    site: Any
    startedWriting: Any
    sentLength: int
    defaultContentType: bytes | None
    _headers: Any
    _plain: dict[bytes, bytes] | None
    _cookies: list[bytes] | None
    _is_plain: Callable[[], bool]
    _complete: Callable[[int | None], dict[bytes, Sequence[bytes]]]
    _finished: Callable[[], None]

    def _respond_on_stream(self, stream: Any, body: bytes) -> None:
        """Send a whole response."""
        length = len(body)
        if self.method == b"HEAD" or has_no_body(self.code):
            block, body = encode_block(self.code, self._fields(length or None)), b""
        elif self._headers is None and self.code == 200 and self._is_plain():
            block = self._plain_block(length)
        else:
            block = encode_block(self.code, self._fields(length))
        self.sentLength = len(body)
        self.startedWriting = 1
        stream.respond(block, body)
        self._finished()

    def _plain_block(self, length: int) -> bytes:
        """``_plain_head``, for HTTP/2."""
        fields, kind = self._plain, self.defaultContentType if length else None
        if fields is None:
            return b"%b%b%b" % (self.site.preamble_block(kind), _CONTENT_LENGTH, encode_length(length))
        parts = [self.site.preamble_block(fields.get(b"Content-Type", kind))]
        parts += [encode_field(name, value) for name, value in fields.items() if name != b"Content-Type"]
        return b"%b%b%b" % (b"".join(parts), _CONTENT_LENGTH, encode_length(length))

    def _fields(self, length: int | None) -> dict[bytes, Sequence[bytes]]:
        """All fields of a response over HTTP/2."""
        raw = self._complete(length)
        if self._cookies:
            raw[b"Set-Cookie"] = [*raw.get(b"Set-Cookie", ()), *self._cookies]
        return raw

    def _begin_on_stream(self, stream: Any) -> None:
        """Send the head of a response whose end is not known."""
        stream.send_head(encode_block(self.code, self._fields(None)))
        self.startedWriting = 1
        stream.began()

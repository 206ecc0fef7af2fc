"""What a proxy answers to CONNECT (RFC 9110, 9.3.6): a head, perhaps behind interim ones, and no more.

``TunnelAnswerParser`` takes bytes as they come, in any pieces, and gives the answer when its head is whole. The
verdict does not depend on the pieces. All heads together are bounded in bytes, and the interim ones in number, so a
proxy that says ``100 Continue`` for ever, or one byte a second, is bounded by the caller's deadline and by these.

What follows the head is not looked at: behind a 2xx it is the tunnel's, whatever ``Content-Length`` or
``Transfer-Encoding`` say ("A client MUST ignore" them there), and behind any other status it is the body of a
refusal, of which the caller shows a piece.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from hardhttp.errors import LimitFault, PeerFault, Reason
from hardhttp.wire.grammar import FIELD_LINES, list_items

__all__ = ["TunnelAnswer", "TunnelAnswerParser"]

# RFC 9112, 4. Proxies answer with 1.0 too (tinyproxy), and some leave out the space before an empty phrase.
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_BEGINNING: Final = b"HTTP/1."
_END: Final = b"\r\n\r\n"
_BAD_GATEWAY: Final = 502  # the status of a fault that is the proxy's, where one is asked for


@attrs.frozen
class TunnelAnswer:
    """The final answer's head. ``fields`` are (lower-case name, value) in order."""

    status: int
    phrase: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    def get(self, name: bytes) -> list[bytes]:
        """The values of the field ``name``, which is lower case."""
        return [value for key, value in self.fields if key == name]

    @property
    def is_open(self) -> bool:
        """Whether the tunnel is open: any 2xx (RFC 9110, 9.3.6)."""
        return 200 <= self.status < 300

    @property
    def closes(self) -> bool:
        """Whether the proxy says that it closes the connection after this, in either field it may use."""
        return b"close" in list_items([*self.get(b"connection"), *self.get(b"proxy-connection")])

    def __str__(self) -> str:
        return f"the answer was {self.status}"


class TunnelAnswerParser:
    """Reads one answer. ``rest`` is what came behind its head."""

    __slots__ = ("_buffer", "_informational", "_max_head_bytes", "_max_informational", "_seen_bytes", "rest")

    def __init__(self, max_head_bytes: int, max_informational: int) -> None:
        self._max_head_bytes, self._max_informational = max_head_bytes, max_informational
        self._buffer = bytearray()
        self._informational = 0
        self._seen_bytes = 0  # of heads that are done with
        self.rest = b""

    def feed(self, data: bytes) -> TunnelAnswer | None:
        """The answer, once its head is whole.

        Raises ``LimitFault`` for a head or heads too long or too many, and ``PeerFault`` for what is no HTTP/1 answer.
        """
        begin = max(0, len(self._buffer) - len(_END) + 1)
        self._buffer += data
        while (end := self._buffer.find(_END, begin)) >= 0:
            self._judge_size(end + len(_END))
            answer = _parse(bytes(self._buffer[:end]))
            del self._buffer[: end + len(_END)]
            self._seen_bytes += end + len(_END)
            begin = 0
            if answer.status >= 200:
                self.rest = bytes(self._buffer)
                self._buffer.clear()
                return answer
            self._count(answer)
        self._judge_beginning()
        self._judge_size(len(self._buffer))
        return None

    def _judge_beginning(self) -> None:
        """Whoever speaks another protocol is known by its first bytes, and not waited for."""
        begun = bytes(self._buffer[: len(_BEGINNING)])
        if not _BEGINNING.startswith(begun):
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_VERSION, "the proxy's answer is not HTTP/1")

    def _judge_size(self, size: int) -> None:
        if self._seen_bytes + size > self._max_head_bytes:
            raise LimitFault(
                _BAD_GATEWAY,
                Reason.HEAD_BYTES,
                f"the proxy's answer has a head of more than {self._max_head_bytes} bytes",
            )

    def _count(self, answer: TunnelAnswer) -> None:
        if answer.status == 101:  # RFC 9110, 15.2.2: only where an upgrade was asked for
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_HEADER, "the proxy switches protocols, and was not asked to")
        self._informational += 1
        if self._informational > self._max_informational:
            raise LimitFault(
                _BAD_GATEWAY, Reason.HEADERS, f"the proxy sends more than {self._max_informational} interim answers"
            )


def _parse(head: bytes) -> TunnelAnswer:
    line, _, lines = head.partition(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_VERSION, "the proxy's answer is not HTTP/1")
    if lines and FIELD_LINES.fullmatch(lines + b"\r\n") is None:
        raise PeerFault(_BAD_GATEWAY, Reason.BAD_HEADER, "a header field of the proxy's answer is not one")
    fields = tuple(
        (name.lower(), value.strip(b" \t"))
        for name, _, value in (line.partition(b":") for line in lines.split(b"\r\n") if line)
    )
    return TunnelAnswer(int(match[1]), match[2] or b"", fields)

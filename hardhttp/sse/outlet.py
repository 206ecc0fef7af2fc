"""Where one subscriber's events go: to its request, by the shortest way there is.

Most of what a subscriber is sent, thousands of others are sent too, and most of what that costs is the way
through request, connection and transport, each of which looks at something and counts. Where nothing stands
between an event and a plain socket that keeps up, ``take`` sends it there; what went by is counted later, at the
latest before anything looks at the count. Everything else goes by the request.

A stream that is compressed is so here, last of all: see ``hardhttp.sse.coding``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hardhttp.web.responding import Responding
from hardhttp.web.watching import ResponseWatcher

if TYPE_CHECKING:
    from hardhttp.sse.coding import GzipStream

__all__ = ["Outlet"]


class _Between:
    """Stands for the transport where there is no straight way: its queue is never empty."""

    dataBuffer = b"-"


_BETWEEN = _Between()


class Outlet(ResponseWatcher):
    """The way to ``request``, which is ``None`` after the end."""

    __slots__ = ("_coding", "_past_bytes", "_past_data_bytes", "_plain", "request")

    def __init__(self, request: Any) -> None:
        self.request = request
        self._coding: GzipStream | None = None
        # Of a plain connection, its transport; None until that is known.
        self._plain: Any = None if isinstance(request, Responding) else _BETWEEN
        # What went past the request and its connection, and is not counted there yet.
        self._past_bytes = self._past_data_bytes = 0

    def take(self, data: bytes, framed: bytes) -> int:
        """Send what many are sent; ``framed`` is ``data`` as a chunk. How many bytes went past the connection."""
        if self._coding is not None:
            data, framed = self._coding.encode(data)
        plain = self._plain
        if plain is None or plain.dataBuffer:
            self._take_by_request(data, framed)
            return 0
        size = len(framed)
        try:
            sent = plain.socket.send(framed)
        except (OSError, AttributeError):
            sent = 0  # it is full, or the socket has gone: the transport finds out which
        self._past_bytes += size
        self._past_data_bytes += len(data)
        if sent < size:
            self.count_past()
            plain.write(framed[sent:])
        return size

    def _take_by_request(self, data: bytes, framed: bytes) -> None:
        request = self.request
        if request is None:
            return
        self.count_past()
        send = getattr(request, "writeChunk", None)
        if send is None:
            request.write(data)
            return
        send(data, framed)
        if self._plain is None and self.request is not None and not request.is_corked:
            self._plain = request.plain_transport() or _BETWEEN

    def write(self, data: bytes) -> None:
        """Send what is for this one alone, or seldom."""
        if self.request is not None:
            self.request.write(data if self._coding is None else self._coding.encode(data)[0])

    def begin(self, coding: GzipStream | None, hello: bytes) -> None:
        """The first bytes; from here on ``coding`` is the stream's."""
        if coding is None:
            self.request.write(hello)
        else:
            self.request.write(coding.begin() + coding.encode(hello)[0])
            self._coding = coding

    def finish(self) -> Any:
        """The last bytes, if the stream has any. The request it was."""
        self.count_past()
        request, coding = self.request, self._coding
        if request is not None and coding is not None:
            request.write(coding.end())
        return request

    def count_past(self) -> None:
        """Let the request and its connection know what went past them."""
        if self._past_bytes:
            if self.request is not None:
                self.request.count_past(self._past_data_bytes, self._past_bytes)
            self._past_bytes = self._past_data_bytes = 0

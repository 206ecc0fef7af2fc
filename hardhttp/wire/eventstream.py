"""Server-sent events to bytes, and back (HTML standard, 9.2.5 and 9.2.6).

What ``encode_event`` makes, ``Parser`` and every browser read back as it was given, but that each line
end in ``data`` becomes LF; what they would not is refused. ``Parser`` takes a stream however it was
cut, in time linear in its bytes, and holds no more than one line and one event, both bounded. Whoever
must not be given more events than he has room for takes them with ``Parser.read``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import attrs

__all__ = ["COMMENT", "Event", "EventTooLargeError", "Parser", "encode_event", "encode_retry"]

# Invisible to a page; keeps proxies from thinking the stream dead. A line is enough: some clients (httpx-sse) take
# each blank line after the first id for an event without data.
COMMENT = b":\n"
# What a timer of 32 bits can hold in milliseconds: a longer wait that a server asks for is this one.
MAX_RETRY_MS = 2**31 - 1

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_ONE_LINE = re.compile(r"[^\r\n\0]*")


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        data.decode("utf-8")  # raises for what a browser would replace
        return data
    said = (
        data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    )
    return said.encode("utf-8")


def encode_event(
    data: Any, event: str | None = None, id: str | None = None, *, retry_seconds: float | None = None
) -> bytes:
    """One event, its blank line included.

    ``data`` is ``str``, ``bytes`` in UTF-8, or anything JSON can say. ``retry_seconds`` tells the client
    how long to wait before it reconnects. Raises ``ValueError`` for what a browser would ignore or
    mistake: an ``event`` or ``id`` that holds a line end or NUL, an empty ``event`` (an empty ``id`` is
    fine: it makes the client forget the last one), bytes that are not UTF-8, a number that is none, and
    a ``retry_seconds`` below 0 or past 32 bits of milliseconds. Raises ``TypeError`` for what JSON
    cannot say.
    """
    if event == "":
        raise ValueError("event must not be empty: a browser takes it for 'message'")
    lines = []
    for name, value in ((b"event", event), (b"id", id)):
        if value is not None:
            if _ONE_LINE.fullmatch(value) is None:
                raise ValueError(f"{name.decode()} must be one line without NUL")
            lines.append(b"%s: %s\n" % (name, value.encode("utf-8")))
    if retry_seconds is not None:
        lines.append(encode_retry(retry_seconds)[:-1])
    lines += [b"data: %s\n" % line for line in _LINE_END.split(_bytes(data))]
    lines.append(b"\n")
    return b"".join(lines)


def encode_retry(seconds: float) -> bytes:
    """Tell the client how long to wait before it reconnects; ``ValueError`` as in ``encode_event``."""
    if not 0 <= seconds * 1000 <= MAX_RETRY_MS:  # NaN neither
        raise ValueError(f"a retry of {seconds!r} seconds; it must be from 0 to {MAX_RETRY_MS / 1000:,}")
    return b"retry: %d\n\n" % round(seconds * 1000)


@attrs.frozen
class Event:
    """An event as a page sees it.

    ``id`` is the last event id at that place of the stream, whether or not this event gave it.
    ``retry_ms`` is what this event's own lines asked for, in milliseconds, or None.
    """

    type: str
    data: str
    id: str
    retry_ms: int | None = None


class EventTooLargeError(ValueError):
    """A line, an event or an id is longer than its bound. ``events`` came before it in a parser's same ``feed``."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.events: Sequence[Event] = ()


class Parser:
    """Reads a stream of events as a browser does (HTML standard, 9.2.6).

    ``last_event_id`` is what a reconnect should send; ``retry_ms`` is the latest wait asked for, by an
    event or by none, or None. Both outlive the stream: begin the next with ``Parser(last_event_id=...)``.
    ``max_id_bytes`` bounds an ``id`` in bytes, since a reconnect sends it back in a header field; None for a line's
    bound.
    """

    def __init__(
        self,
        *,
        max_line_bytes: int = 1 << 20,
        max_event_bytes: int = 1 << 20,
        max_id_bytes: int | None = None,
        last_event_id: str = "",
    ) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._max_line = max_line_bytes
        self._max_event = max_event_bytes
        self._max_id = max_line_bytes if max_id_bytes is None else max_id_bytes
        self._line = bytearray()  # the part of a line that has come
        self._after_cr = False  # an LF now belongs to the line end before it
        self._first = True  # no line yet: a BOM may stand here
        self._failed: str | None = None
        self._id = last_event_id
        self._begin()

    def _begin(self) -> None:
        self._type = b""
        self._data: bytearray | None = None  # one LF behind each line, the last one's too
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with ``data``; what has no blank line yet waits for more.

        Raises ``EventTooLargeError`` for a line of more than ``max_line_bytes``, data of more than
        ``max_event_bytes`` or an id of more than ``max_id_bytes``, then and ever after.
        """
        return self.read(data, 0, None)[0]

    def read(self, data: bytes, start: int, max_events: int | None) -> tuple[list[Event], int]:
        """``feed`` with ``data[start:]``, but no further than the end of event number ``max_events``.

        Returns the events and where it stopped, which is ``start`` for the next call with the same ``data``. A fault
        that lies beyond is raised by the call that comes to it.
        """
        events: list[Event] = []
        try:
            return events, self._take(data, start, events, max_events)
        except EventTooLargeError as error:
            self._failed = str(error)
            self._line.clear()
            self._begin()
            error.events = events
            raise

    def _take(self, data: bytes, start: int, events: list[Event], max_events: int | None) -> int:
        if self._failed is not None:
            raise EventTooLargeError(self._failed)
        if start >= len(data):
            return start
        if self._after_cr and data[start] == 0x0A:
            start += 1
        self._after_cr = False
        for end in _LINE_END.finditer(data, start):
            self._hold(data[start : end.start()])
            start = end.end()
            line = bytes(self._line)
            self._line.clear()
            self._read(line, events)
            if len(events) == max_events:
                break
        else:
            self._hold(data[start:])
            start = len(data)
        self._after_cr = start == len(data) and data[-1] == 0x0D
        return start

    def _hold(self, part: bytes) -> None:
        if len(self._line) + len(part) > self._max_line:
            raise EventTooLargeError(f"a line of the event stream is longer than {self._max_line:,} bytes")
        self._line += part

    def _read(self, line: bytes, events: list[Event]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            if self._data is None:
                self._data = bytearray()
            if len(self._data) + len(value) > self._max_event:
                raise EventTooLargeError(f"the data of an event is longer than {self._max_event:,} bytes")
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._type = value
        elif name == b"id":
            if len(value) > self._max_id:
                raise EventTooLargeError(f"the id of an event is longer than {self._max_id:,} bytes")
            if b"\0" not in value:
                self._id = _text(value)
        elif name == b"retry" and value.isdigit():
            digits = value.lstrip(b"0")[:11] or b"0"
            self.retry_ms = self._retry = min(int(digits), MAX_RETRY_MS)

    def _dispatch(self, events: list[Event]) -> None:
        self.last_event_id = self._id  # also when nothing is dispatched
        if self._data is not None:
            del self._data[-1]
            type_ = _text(self._type) or "message"
            events.append(Event(type_, self._data.decode("utf-8", "replace"), self._id, self._retry))
        self._begin()


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")

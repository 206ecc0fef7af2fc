"""One message to many WebSockets, a slice of time after another.

A message is encoded once: a server's frames are not masked, so the same bytes serve for all. They are written to
one socket after another, for a few milliseconds at a time, so that ten thousand sockets never hold the reactor
(P7). Messages go out in the order in which they were sent to the group, to whoever was in it then; what one socket is
sent by ``socket.send`` meanwhile may come before them.

Nothing is compressed here, whatever a client has agreed to: compression with a context is a client's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from hardhttp.web.opensocket import WebSocket
from hardhttp.wire.websocket import Message, encode

__all__ = ["Slow", "WebSocketGroup"]

# How long a slice holds the reactor, and after how many sockets it looks at the clock.
SLICE_SECONDS = 0.002
LOOK_EVERY = 32


class Slow(StrEnum):
    """What becomes of a socket whose client does not take what is sent."""

    CLOSE = "close"  # it gets everything, until more than a bound waits for it: then it is closed
    DROP = "drop"  # what is sent while it waits goes by it, counted in its ``dropped``


class WebSocketGroup:
    """Sockets that are sent the same. A socket that ends leaves all its groups.

    ``max_waiting_bytes`` is what may wait to be sent to the group: past it, ``broadcast`` serves the first message
    to its end before it returns. ``clock`` is an ``IReactorTime``.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, clock: IReactorTime, *, slow: Slow | str = Slow.CLOSE, max_waiting_bytes: int = 8 << 20) -> None:
        if not max_waiting_bytes > 0:
            raise ValueError(f"max_waiting_bytes is {max_waiting_bytes!r}; it must be more than 0")
        self._clock = clock
        self._drops = Slow(slow) is Slow.DROP
        self._max_bytes = max_waiting_bytes
        self._members: dict[WebSocket, None] = {}
        self._listed: tuple[WebSocket, ...] | None = None  # the members, until someone comes or goes
        self._waiting: deque[tuple[bytes, Iterator[WebSocket]]] = deque()
        self.waiting_bytes = 0
        self._turn: IDelayedCall | None = None
        self._serving = False  # whoever broadcasts within waits for the next slice

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, socket: object) -> bool:
        return socket in self._members

    def __bool__(self) -> bool:
        return True

    def add(self, socket: WebSocket) -> None:
        """``socket`` is in the group, if it is open."""
        if socket.is_open and socket not in self._members:
            self._members[socket] = None
            self._listed = None
            socket.joined(self)

    def remove(self, socket: WebSocket) -> None:
        """``socket`` is not in the group."""
        if socket in self._members:
            del self._members[socket]
            self._listed = None
            socket.left(self)
            if not self._members:
                self._forget()

    def broadcast(self, message: Message) -> int:
        """Send ``message`` to every member; how many they are. Raises ``TypeError`` for what is no message."""
        frame = encode(message)
        if not self._members:
            return 0
        if self._listed is None:
            self._listed = tuple(self._members)
        self._waiting.append((frame, iter(self._listed)))
        self.waiting_bytes += len(frame)
        count = len(self._listed)
        if not self._serving:
            while self.waiting_bytes > self._max_bytes and self._waiting:
                self._serve(None)
            if self._turn is None:
                self._slice()
        return count

    def _slice(self) -> None:
        self._turn = None
        until = self._clock.seconds() + SLICE_SECONDS
        while self._waiting:
            self._serve(LOOK_EVERY)
            if self._clock.seconds() >= until:
                break
        if self._waiting and self._turn is None:
            self._turn = self._clock.callLater(0, self._slice)

    def _serve(self, count: int | None) -> None:
        """Serve ``count`` members with the first message; it is over when there are fewer."""
        first = self._waiting[0]
        frame, rest = first
        turn = list(islice(rest, count))
        self._serving = True
        for socket in turn:
            if socket not in self._members:
                continue
            if self._drops and socket.waits:
                socket.dropped += 1
                continue
            try:
                socket.send_encoded(frame)
            except Exception:
                self._log.failure("a WebSocket could not be served")
                socket.abort()
        self._serving = False
        if (count is None or len(turn) < count) and self._waiting and self._waiting[0] is first:
            self._waiting.popleft()
            self.waiting_bytes -= len(frame)

    def _forget(self) -> None:
        """Nobody is left."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._waiting.clear()
        self.waiting_bytes = 0

"""The way out of a WebSocket: what is sent, as far as its client takes it.

What is sent goes to the connection at once. Where the client does not take it, ``await socket.send(...)`` waits, and
who does not wait finds the socket ended at a bound. What is sent while something that came is being handed on goes
out together. Of a client's pings only the last one is answered when it does not read.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from hardhttp.errors import Reason
from hardhttp.net.carrier import Carrier
from hardhttp.web.socketstate import ASKED, Ended, State, WebSocketClosed
from hardhttp.web.watching import ResponseWatcher
from hardhttp.wire.websocket import Message, encode, encode_pong
from hardhttp.wire.websocketdeflate import Agreed, Deflater

__all__ = ["Sent", "SocketOutput"]

# What is sent while messages are handed on goes out together, up to this much.
CORK_BYTES = 64 * 1024


class Sent:
    """What ``send`` returns: awaited, it waits until there is room for more. It need not be."""

    __slots__ = ("_socket",)

    def __init__(self, socket: SocketOutput) -> None:
        self._socket = socket

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._socket.has_room().__await__()


class SocketOutput(ResponseWatcher):
    """What ``hardhttp.web.opensocket.WebSocket`` says. ``follower`` is a push producer that is paused with it."""

    __slots__ = (
        "_carrier",
        "_cork",
        "_corked",
        "_deflater",
        "_pong",
        "_senders",
        "_server",
        "_state",
        "dropped",
        "follower",
        "reason",
        "waits",
    )

    def __init__(self, server: Any, agreed: Agreed | None) -> None:
        self._server = server
        self._state = State.OPEN
        self._carrier: Carrier | None = None
        self._deflater = None if agreed is None else Deflater(agreed)
        self._senders: list[Deferred[None]] | None = None
        self._cork: list[bytes] | None = None
        self._corked = 0
        self._pong: bytes | None = None  # the answer to the client's last ping, while it does not take any
        self.reason: Ended | None = None
        self.waits = False  # for the client to take what was sent
        self.follower: Any = None
        self.dropped = 0  # messages of groups that went by while it waited

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._state <= ASKED

    @property
    def queued_bytes(self) -> int:
        """Sent, and not taken by the client."""
        return 0 if self._carrier is None else self._carrier.unsent_bytes

    def send(self, message: Message) -> Sent:
        """Send text (``str``) or bytes. Awaited, it waits until the client has taken what was sent.

        Who does not wait ends the socket when more than ``max_websocket_unsent_bytes`` wait already. On a
        socket that is closed it does nothing and is counted; awaited, it raises ``WebSocketClosed``. Raises
        ``TypeError`` for what is no message.
        """
        if self._state > ASKED:
            self._server.statistics.ignored_writes += 1
        else:
            self.send_encoded(encode(message, self._deflater))
        return Sent(self)

    def send_encoded(self, frames: bytes) -> None:
        """Send messages that ``hardhttp.wire.websocket.encode`` has made bytes of, for many sockets."""
        carrier = self._carrier
        if self._state > ASKED or carrier is None:
            self._server.statistics.ignored_writes += 1
        elif self.waits and carrier.unsent_bytes > self._server.limits.max_websocket_unsent_bytes:
            detail = "a WebSocket was sent more than its client takes"
            self._server.refused(Reason.UNSENT_BYTES, detail, peer=carrier.getPeer())
            self._abort(Ended.OVERFLOW, Reason.UNSENT_BYTES)
        else:
            self._write(frames)

    def has_room(self) -> Deferred[None]:
        """Fires when the client has taken what was sent; fails with ``WebSocketClosed``."""
        if self._state > ASKED:
            return fail(WebSocketClosed(str(self.reason)))
        if not self.waits:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._forget_sender)
        if self._senders is None:
            self._senders = []
        self._senders.append(waiting)
        return waiting

    def _forget_sender(self, sender: Deferred[None]) -> None:
        if self._senders is not None and sender in self._senders:
            self._senders.remove(sender)

    def _abort(self, reason: Ended, why: Reason) -> None:
        raise AssertionError("a socket knows how to end")

    # -- its connection ---------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        cork = self._cork
        if cork is None:
            if self._carrier is not None:
                self._carrier.write(data)
            return
        cork.append(data)
        self._corked += len(data)
        if self._corked >= CORK_BYTES:
            self._uncork()
            self._cork = []

    def _uncork(self) -> None:
        cork, self._cork = self._cork, None
        self._corked = 0
        if cork and self._carrier is not None:
            self._carrier.write(b"".join(cork))

    def _answer_ping(self) -> None:
        if not self.waits and self._pong is not None and self._state <= ASKED:
            payload, self._pong = self._pong, None
            self._write(encode_pong(payload))

    def pauseProducing(self) -> None:
        """The client does not take what was sent."""
        self.waits = True
        if self.follower is not None:
            self.follower.pauseProducing()

    def resumeProducing(self) -> None:
        self.waits = False
        senders, self._senders = self._senders, None
        self._answer_ping()
        for waiting in senders or ():
            waiting.callback(None)
        if self.follower is not None and not self.waits:
            self.follower.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is ending; ``connectionLost`` follows."""

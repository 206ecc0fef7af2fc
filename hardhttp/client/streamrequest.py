"""The sending half of a client's HTTP/2 stream: a request's head, and its body as the server's windows allow.

A body that waits for a window, or for its turn, waits here; past ``HIGH_BYTES`` whoever makes it is paused. The
connection owns the turn (``hardhttp.client.http2``), the stream its deadlines and its end
(``hardhttp.client.stream2``); this owns the bytes.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

from twisted.python.failure import Failure

from hardhttp.client.errors import ClientError, ClientReason, RequestBodyFailed
from hardhttp.client.exchange import Exchange
from hardhttp.client.http1 import CONTINUE_SECONDS
from hardhttp.client.response import Response
from hardhttp.client.sending import StreamSender
from hardhttp.net.ledger import UNSENT
from hardhttp.wire.deadlines import NEVER
from hardhttp.wire.http2 import FRAME_BYTES, ErrorCodes, data_frame
from hardhttp.wire.http2client import WireStream

if TYPE_CHECKING:
    from hardhttp.client.http2 import Connection2

__all__ = ["Saying", "StreamRequest"]

# What a producer may be ahead of the server.
HIGH_BYTES = 64 * 1024


class Saying(IntEnum):
    """How much of the request is said."""

    BODY = 0  # more of it will be written
    LAST = 1  # all of it is written, and some waits
    ALL = 2  # the server has been sent the end


class StreamRequest(WireStream):
    """What ``Stream`` says; that class knows its deadlines (``_due``) and how it ends (``fail``)."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_exchange",
        "_offset",
        "_queue",
        "_response",
        "_sender",
        "_sending_paused",
        "has_turn",
        "queued",
        "saying",
    )

    def __init__(
        self, connection: Connection2, exchange: Exchange, number: int, send_window: int, receive_window: int
    ) -> None:
        super().__init__(number, send_window, receive_window)
        self._connection: Connection2 | None = connection
        self._exchange = exchange
        self._response: Response | None = None
        self._sender: StreamSender | None = None
        self._queue: deque[bytes] = deque()
        self._offset = 0  # into its first piece
        self._sending_paused = False
        self.has_turn = False  # it stands in the connection's queue of those that have something to send
        self.queued = 0  # bytes that wait
        self.saying = Saying.BODY

    def _due(self, deadline: float) -> None:
        raise AssertionError("a stream knows its deadlines")

    def fail(self, error: ClientError, code: ErrorCodes | None = ErrorCodes.CANCEL) -> None:
        raise AssertionError("a stream knows how to end")

    def begin(self) -> None:
        """Send the request's head, and of its body what may be sent."""
        connection, exchange = self._connection, self._exchange
        assert connection is not None
        producer, content = exchange.producer, exchange.content
        if producer is None and not content:
            self.saying = Saying.ALL
        connection.send_head(self, exchange, ended=self.saying is Saying.ALL)
        if producer is None:
            if content:
                self.saying = Saying.LAST
                self._enqueue(content)
            self._await_head()
            return
        self._sender = sender = StreamSender(self, producer, b"", invited=not exchange.expects)
        if exchange.expects:
            self._due(connection.seconds() + CONTINUE_SECONDS)
        else:
            sender.begin()

    def _await_head(self) -> None:
        """The request is with the server, or waits for its windows."""
        connection, exchange = self._connection, self._exchange
        if connection is None or self._response is not None:
            return
        seconds: float | None = None  # it is the producer's turn
        if self.saying is Saying.ALL:
            seconds = exchange.limits.first_byte_seconds
        elif self.queued:
            seconds = exchange.limits.body_idle_seconds
        self._due(NEVER if seconds is None else connection.seconds() + seconds)

    def send(self, data: bytes) -> None:
        """Part of the body."""
        self._enqueue(data)
        sender = self._sender
        if self.queued >= HIGH_BYTES and not self._sending_paused and sender is not None:
            self._sending_paused = True
            sender.pauseProducing()

    def _enqueue(self, data: bytes) -> None:
        connection = self._connection
        if connection is None:
            return
        self._queue.append(data)
        self.queued += len(data)
        connection.pool.ledger.hold(self, UNSENT, self.queued)
        connection.wants_turn(self)

    def take_turn(self) -> bool:
        """Send one frame of the body; whether the stream has more to send, for which there is room."""
        connection = self._connection
        if connection is None or self.saying is Saying.ALL:
            return False
        ends, queued = self.saying is Saying.LAST, self.queued
        if not queued and not ends:
            return False
        room = min(self.send_window, connection.wire.send_window, FRAME_BYTES)
        if queued and room <= 0:
            return False
        data = self._dequeue(room) if queued else b""
        size = len(data)
        self.send_window -= size
        connection.wire.send_window -= size
        last = ends and size == queued
        if last:
            self.saying = Saying.ALL
        connection.put(data_frame(self.number, data, end=last))
        connection.wire.conduct.sent(connection.seconds(), size, cut_short=size < queued and room < FRAME_BYTES)
        connection.pool.ledger.hold(self, UNSENT, self.queued)
        self._await_head()
        return not last and bool(self.queued)

    def may_resume(self) -> None:
        """What waited has gone, perhaps."""
        if self._sending_paused and not self.queued and self._sender is not None:
            self._sending_paused = False
            self._sender.resumeProducing()

    def _dequeue(self, room: int) -> bytes:
        """The first bytes that wait, ``room`` at most."""
        pieces, left = [], room
        while self._queue and left:
            first = self._queue[0]
            piece = first[self._offset : self._offset + left]
            pieces.append(piece)
            left -= len(piece)
            self._offset += len(piece)
            if self._offset == len(first):
                self._queue.popleft()
                self._offset = 0
        self.queued -= room - left
        return b"".join(pieces)

    # -- for the sender, whose connection and transport this is -----------------------------

    @property
    def transport(self) -> Self:
        return self

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """The connection asks the sender by ``may_resume``."""

    def unregisterProducer(self) -> None:
        """See ``registerProducer``."""

    def sending_blocked(self, blocked: bool) -> None:
        """The producer is ahead of the server, or may write again."""
        self._await_head()

    def body_sent(self) -> None:
        """All of the body is written."""
        connection = self._connection
        if connection is not None:
            self.saying = Saying.LAST
            self._await_head()
            connection.wants_turn(self)

    def body_failed(self, failure: Failure) -> None:
        text = "the request's body could not be made"
        self.fail(RequestBodyFailed(ClientReason.REQUEST_BODY, text, [failure], sent=True), ErrorCodes.CANCEL)

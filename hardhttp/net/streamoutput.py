"""The sending half of an HTTP/2 stream: from what an application writes to frames, as the client takes them.

Bytes that the client has no window for, or that wait for their turn, wait here. Whoever produces them is paused past
``HIGH_BYTES``; whoever writes on without heed is bounded by the connection's ``max_unsent_bytes``; and a client that
leaves them waiting must take them at the pace of any response, or the stream is reset.

It is also what an application gets as its request's transport, and what stands for the socket's own queue where
somebody asks how much is unsent. The connection owns the turn (``Multiplexed``); this owns the bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

from twisted.internet.interfaces import IConsumer, ITransport
from zope.interface import implementer

from hardhttp.errors import Reason
from hardhttp.net.outbound import PullLoop
from hardhttp.net.server import TOO_FAST, TOO_SLOWLY
from hardhttp.wire.deadlines import Pace
from hardhttp.wire.fieldblock import encode_block
from hardhttp.wire.http2 import FRAME_BYTES, ErrorCodes, data_frame

if TYPE_CHECKING:
    from hardhttp.net.multiplexed import Multiplexed
    from hardhttp.wire.http2head import StreamHead
    from hardhttp.wire.priority import Priority

__all__ = ["Said", "StreamOutput", "Turn"]

# What a producer may be ahead of its client; a transport's own queue is as long.
HIGH_BYTES = 64 * 1024


class Said(IntEnum):
    """How much of the response has been said by the application, and to the client."""

    NOTHING = 0
    HEAD = 1
    LAST = 2  # all is said here, and some of it waits
    ALL = 3  # the client has been sent the end


class Turn(IntEnum):
    """What came of a stream's turn to send."""

    MORE = 0
    NO_MORE = 1  # nothing is left, or its window is shut
    WAITS = 2  # for the connection's window


@implementer(ITransport, IConsumer)
class StreamOutput:
    """What ``hardhttp.net.stream2.Stream`` says; that class knows how a stream ends (``reset``)."""

    __slots__ = (
        "__weakref__",
        "_connection",
        "_head",
        "_offset",
        "_paced_by_window",
        "_paused",
        "_producer",
        "_queue",
        "_send_pace",
        "_sent",
        "bodiless",
        "has_turn",
        "number",
        "priority",
        "queued",
        "reason",
        "request",
        "said",
        "server",
        "site",
        "window",
    )

    multiplexed = True
    is_pushed = False  # its request is a promise of ours
    is_extended_connect = False  # it asks for a WebSocket
    sends_files = False
    is_upgraded = False
    disconnecting = False
    is_corked = False  # whatever is written in one turn of the reactor goes out together anyway

    def __init__(self, connection: Multiplexed, number: int, window: Any) -> None:
        self._connection: Multiplexed | None = connection
        self.server = connection.server
        self.site = connection.site
        self.number = number
        self.window = window  # h2's stream, which knows the client's window
        self.said = Said.NOTHING
        self.reason: Reason | None = None
        self.request: Any = None
        self.has_turn = False  # it stands in the connection's queue of those that have something to send
        self.queued = 0  # bytes of the response that wait
        self.priority: Priority | None = None  # what its client has said of its turn
        self.bodiless = False  # it answers HEAD, whatever the application takes the method for
        self._head: StreamHead | None = None
        self._queue: deque[bytes] = deque()
        self._offset = 0  # into the first piece of the queue
        self._sent = 0
        self._send_pace: Pace | None = None
        self._paced_by_window = False
        self._producer: Any = None
        self._paused = False

    def reset(self, code: ErrorCodes) -> None:
        raise AssertionError("a stream knows how to end")

    def abort(self, reason: Reason, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """End now, because of ``reason``."""
        if self._connection is not None:
            if self.reason is None:
                self.reason = reason
            self.reset(code)

    def abortConnection(self) -> None:
        """The application gives this response up; the connection goes on."""
        self.abort(Reason.APPLICATION, ErrorCodes.CANCEL)

    loseConnection = abortConnection

    # -- the response goes out ----------------------------------------------------------------

    def send_informational(self, status: int, fields: Mapping[bytes, Iterable[bytes]] | None = None) -> None:
        """An interim response (RFC 9110, 15.2), before the final one; afterwards it is not sent."""
        if self._connection is not None and self.said is Said.NOTHING:
            self._connection.send_head(self, encode_block(status, fields or {}))

    def respond(self, block: bytes, body: bytes) -> None:
        """The whole response: its header block and its body."""
        connection = self._connection
        if connection is not None and self.said is Said.NOTHING:
            self.said = Said.LAST
            connection.send_whole(self, block, b"" if self.bodiless else body)

    def send_head(self, block: bytes) -> None:
        """The head of a response whose body follows by ``write``."""
        if self._connection is not None and self.said is Said.NOTHING:
            self.said = Said.HEAD
            self._connection.send_head(self, block)

    def write(self, data: bytes) -> None:
        """Part of the body."""
        connection = self._connection
        if connection is None or self.said is not Said.HEAD or not data or self.bodiless:
            return
        if self.queued and connection.queued > self.server.limits.max_unsent_bytes:
            self.server.refused(Reason.UNSENT_BYTES, TOO_FAST, peer=connection.peer)
            self.abort(Reason.UNSENT_BYTES)
            return
        self.queue(data)
        if self.queued >= HIGH_BYTES:
            connection.hold_unsent()
            if not self._paused and self._producer is not None:
                self._pause()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def queue(self, data: bytes) -> None:
        connection = self._connection
        assert connection is not None
        self._queue.append(data)
        self.queued += len(data)
        connection.queued += len(data)
        connection.wants_turn(self)

    def take_turn(self) -> Turn:
        """Send one frame of the body."""
        connection = self._connection
        assert connection is not None
        queued, ends = self.queued, self.said is Said.LAST
        if not queued:
            if ends:
                connection.put(data_frame(self.number, b"", end=True))
                self._all_said()
            return Turn.NO_MORE
        wire, window = connection.wire, self.window
        room = min(window.outbound_flow_control_window, FRAME_BYTES)
        if room <= 0:
            return Turn.NO_MORE
        if wire.outbound_flow_control_window < room:
            room = wire.outbound_flow_control_window
            if room <= 0:
                return Turn.WAITS
        data = self._take(room)
        size = len(data)
        last = ends and size == queued
        window.outbound_flow_control_window -= size
        wire.outbound_flow_control_window -= size
        connection.put(data_frame(self.number, data, end=last))
        connection.conduct.sent(self.server.now, size, cut_short=size < queued)
        self._sent += size
        connection.sent += size
        if last:
            self._all_said()
            return Turn.NO_MORE
        return Turn.MORE if self.queued or ends else Turn.NO_MORE

    def _take(self, room: int) -> bytes:
        """The first bytes of the queue, ``room`` at most."""
        queue, offset = self._queue, self._offset
        first = queue[0]
        if len(first) - offset > room:
            data = first[offset : offset + room]
            self._offset += room
        else:
            data = first[offset:] if offset else first
            queue.popleft()
            self._offset = 0
            if queue and len(data) + len(queue[0]) <= room:
                pieces, size = [data], len(data)
                while queue and size + len(queue[0]) <= room:
                    size += len(queue[0])
                    pieces.append(queue.popleft())
                data = b"".join(pieces)
        self.queued -= len(data)
        if self._connection is not None:
            self._connection.queued -= len(data)
        return data

    def _all_said(self) -> None:
        self.said = Said.ALL
        if self.request is None:
            self._end_if_said()

    def _end_if_said(self) -> None:
        raise AssertionError("a stream knows how to end")

    def _judge_output(self, now: float) -> None:
        """The client has bytes to take: does it open its window?

        Where it has, what matters is what the connection sends: this stream waits for its turn.
        """
        connection, limits = self._connection, self.server.limits
        assert connection is not None
        shut = self.window.outbound_flow_control_window <= 0
        taken = self._sent if shut else connection.sent
        if self._send_pace is None or shut is not self._paced_by_window:
            self._send_pace = Pace(now, limits.send_seconds, limits.send_bytes_per_second, taken)
            self._paced_by_window = shut
        else:
            self._send_pace.progress(now, taken)
        if now >= self._send_pace.deadline:
            self.server.refused(Reason.SEND_RATE, TOO_SLOWLY, peer=connection.peer)
            self.abort(Reason.SEND_RATE, ErrorCodes.CANCEL)

    # -- producers ----------------------------------------------------------------------------

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("another producer is registered")
        connection = self._connection
        if connection is None:
            producer.stopProducing()
            return
        self._producer = producer if streaming else PullLoop(self.server.clock, producer, self._producer_failed)
        self._paused = False
        if connection.choked or self.queued >= HIGH_BYTES:
            self._pause()

    def unregisterProducer(self) -> None:
        producer, self._producer = self._producer, None
        if isinstance(producer, PullLoop):
            producer.pauseProducing()

    def _producer_failed(self) -> None:
        self.server.failed("a producer failed")
        self.abort(Reason.INTERNAL)

    def _pause(self) -> None:
        self._paused = True
        self._producer.pauseProducing()

    def connection_choked(self) -> None:
        """The transport's queue is long."""
        if self._producer is not None and not self._paused:
            self._pause()

    def may_resume(self) -> None:
        """There is room again, perhaps."""
        connection = self._connection
        if self._paused and not self.queued and connection is not None and not connection.choked:
            self._paused = False
            if self._producer is not None:
                self._producer.resumeProducing()

    # -- as a transport, and for whoever knows a channel --------------------------------------

    def cork(self) -> None:
        """Nothing: see ``is_corked``."""

    def plain_transport(self) -> None:
        """No socket takes what a stream says as it is."""

    @property
    def factory(self) -> Any:
        return self.site

    @property
    def transport(self) -> Self:
        """What an application gets as its request's transport: this stream, never the connection."""
        return self

    @property
    def base(self) -> Self | None:
        """What the bytes of this stream wait in; ``None`` when it has ended."""
        return None if self._connection is None else self

    @property
    def _tempDataLen(self) -> int:
        """What waits here and in the connection's transport, by the name that transports give it."""
        return self.queued + (0 if self._connection is None else self._connection.transport_bytes)

    @property
    def socket(self) -> Any:
        return None if self._connection is None else getattr(self._connection.base, "socket", None)

    def getPeer(self) -> Any:
        return None if self._connection is None else self._connection.getPeer()

    def socket_peer(self) -> Any:
        return None if self._connection is None else self._connection.socket_peer()

    def getHost(self) -> Any:
        return None if self._connection is None else self._connection.getHost()

    def isSecure(self) -> bool:
        return self._connection is not None and self._connection.isSecure()

    @property
    def peer_certificate(self) -> Any:
        """The client's certificate, where the connection knows of one."""
        return getattr(self._connection, "peer_certificate", None)

    def sendFile(self, descriptor: int, offset: int, count: int, more: bool) -> int | None:
        raise NotImplementedError("files go through frames here")

    def upgrade(self, protocol: Any) -> None:
        raise NotImplementedError("HTTP/2 has no Upgrade (RFC 9113, 8.6)")

    _protocolUpgradeForWebsockets = upgrade

    def setTimeout(self, seconds: float | None) -> None:
        """Does nothing: deadlines are not an application's to move."""

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Send a head made by hand."""
        fields: dict[bytes, Sequence[bytes]] = dict(headers.getAllRawHeaders())
        self.send_head(encode_block(int(code), fields))

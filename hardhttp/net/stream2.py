"""A stream of an HTTP/2 connection: one request and its response.

To a request it is what a channel is to a request over HTTP/1.1: it has the same methods, and their promises are
the same. What a response says goes to the connection as frames; bytes of a body that the client has no window
for wait here. Whoever produces them is paused past ``HIGH_BYTES``; a client that leaves bytes waiting must take
them at the pace of any response, or the stream is reset. The body of a request is taken as the application takes
it, and only then is the client invited to send more.

A stream is the connection's; it lets go of everything when it ends (``lost``, or ``Channel2.over``).
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IConsumer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import Fault, LimitFault, OurFault, PeerFault, Reason
from hardhttp.net.outbound import PullLoop
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.wire.deadlines import NEVER, Pace
from hardhttp.wire.fieldblock import encode_block
from hardhttp.wire.http2 import FRAME_BYTES, ErrorCodes, data_frame
from hardhttp.wire.response import refusal_parts

if TYPE_CHECKING:
    from hardhttp.net.channel2 import Channel2
    from hardhttp.wire.http2head import StreamHead

__all__ = ["Said", "Stream", "Turn"]

IDLE, BODY, DISPATCH, HANDLING = Phase.IDLE, Phase.BODY, Phase.DISPATCH, Phase.HANDLING
EXPECT_BODY, CALL, LATER, LOST = Event.EXPECT_BODY, Event.CALL, Event.LATER, Event.LOST

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
class Stream:
    """One stream. ``number`` is its identifier, ``reason`` why it ended before its time.

    Its phase is a connection's, from BODY on: the table of HTTP/1.1 serves.
    """

    __slots__ = (
        "__weakref__",
        "_body_pace",
        "_connection",
        "_handling_seconds",
        "_head",
        "_offset",
        "_paced_by_window",
        "_paused",
        "_producer",
        "_queue",
        "_send_pace",
        "_sent",
        "_started",
        "_trailers",
        "_waiting",
        "deadline",
        "has_turn",
        "held",
        "keep_alive",
        "number",
        "phase",
        "queued",
        "reason",
        "request",
        "said",
        "server",
        "site",
        "waiting_bytes",
        "window",
    )

    multiplexed = True
    sends_files = False
    is_upgraded = False
    disconnecting = False

    def __init__(self, connection: Channel2, number: int, window: Any) -> None:
        self._connection: Channel2 | None = connection
        self.server = connection.server
        self.site = connection.site
        self.number = number
        self.window = window  # h2's stream, which knows the client's window
        self.phase = IDLE
        self.said = Said.NOTHING
        self.deadline = NEVER
        self.reason: Reason | None = None
        self.request: Any = None
        self.keep_alive = True  # requests set it; streams end one by one
        self.has_turn = False  # it stands in the connection's queue of those that have something to send
        self.queued = 0  # bytes of the response that wait
        self.held = 0  # bytes of the request's body in memory
        self.waiting_bytes = 0
        self._queue: deque[bytes] = deque()
        self._offset = 0  # into the first piece of the queue
        self._sent = 0
        self._send_pace: Pace | None = None
        self._paced_by_window = False
        self._producer: Any = None
        self._paused = False
        self._head: StreamHead | None = None
        self._waiting: deque[tuple[bytes, int]] | None = None  # pieces of a body that is paused
        self._trailers: list[tuple[bytes, bytes]] | None = None  # once the body has ended behind those pieces
        self._body_pace: Pace | None = None
        self._handling_seconds: float | None = None
        self._started = 0.0

    def __repr__(self) -> str:
        return f"<Stream {self.number} {self.phase.name} {self.said.name}>"

    # -- the request comes in -----------------------------------------------------------------

    def begin(self, head: StreamHead, ended: bool) -> None:
        """The head is whole; with ``ended`` the message is."""
        connection = self._connection
        assert connection is not None
        self._head = head
        if not ended:
            self._expect_body(head)
            return
        self.request = request = connection.request_factory(self)
        self.phase = MOVES[IDLE][CALL]
        request.gotHead(head)
        request.process()
        if self.phase is DISPATCH:
            self.phase = MOVES[DISPATCH][LATER]

    def _expect_body(self, head: StreamHead) -> None:
        connection = self._connection
        assert connection is not None
        self.phase = MOVES[IDLE][EXPECT_BODY]
        limits = self.server.limits
        if head.content_length is not None and head.content_length > limits.max_body_bytes:
            raise LimitFault(413, Reason.BODY_BYTES, f"the body is longer than {limits.max_body_bytes} bytes")
        self.request = request = connection.request_factory(self)
        self._started = self.server.seconds()
        self._pace_body(0)
        request.gotHead(head)
        if request.streamBody():
            if not request.wantsBody:
                self.pause_body()
        elif head.expect_continue:
            self.send_informational(100)

    def receive(self, data: bytes, size: int) -> None:
        """Part of the body, for which ``size`` of the windows was used. Raises ``Fault``."""
        if self.phase is not BODY or self.request is None:
            self._consumed(size)  # nobody wants it
        elif self._body_pace is None:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((data, size))
            self._wait(len(data))
        else:
            self._deliver(data, size)

    def _wait(self, change: int) -> None:
        self.waiting_bytes += change
        if self._connection is not None:
            self._connection.hold_input(change)

    def _consumed(self, size: int) -> None:
        if self._connection is not None and size:
            self._connection.invite(self.number, size)

    def _deliver(self, data: bytes, size: int) -> None:
        request, limits = self.request, self.server.limits
        if request.receivedBytes + len(data) > limits.max_body_bytes:
            raise LimitFault(413, Reason.BODY_BYTES, f"the body is longer than {limits.max_body_bytes} bytes")
        if data:
            request.handleContentChunk(data)
        self._consumed(size)
        if self.phase is BODY:
            self.progress(0)
            self._hold_body(request.heldBytes)

    def progress(self, partial: int) -> None:
        """The body has come as far as this, and ``partial`` bytes of a frame further."""
        if self._body_pace is not None and self.phase is BODY and self.request is not None:
            self._body_pace.progress(self.server.seconds(), self.request.receivedBytes + partial)
            self.deadline = min(self._body_pace.deadline, self._started + self.server.limits.max_body_seconds)

    def _hold_body(self, held: int) -> None:
        change, self.held = held - self.held, held
        if change and self._connection is not None:
            self._connection.hold_body(change)

    def body_ended(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The client has said all."""
        if self.phase is not BODY:
            return
        if self.request is None or self._waiting or self._body_pace is None:
            self._trailers = trailers  # for later; or it is only noted that nothing more will come
            return
        self._body_pace = self._trailers = None
        self.deadline = NEVER
        request = self.request
        request.trailers = trailers
        if request.streams:
            self.phase = MOVES[BODY][LATER]
            self.handle_within(self._handling_seconds)
            request.bodyEnded()
            return
        self.phase = MOVES[BODY][CALL]
        request.process()
        if self.phase is DISPATCH:
            self.phase = MOVES[DISPATCH][LATER]

    # -- what a streaming body asks -----------------------------------------------------------

    def invite_body(self) -> None:
        """A streaming resource wants its body now."""
        head, request = self._head, self.request
        if self.phase is BODY and head is not None:
            if head.expect_continue and not request.receivedBytes and not self._waiting and not request.startedWriting:
                self.send_informational(100)
            self.resume_body()

    def pause_body(self) -> None:
        """Take no more of the body for now; its deadline rests too, for the wait is ours."""
        if self.phase is BODY:
            self._body_pace = None
            seconds = self._handling_seconds
            self.deadline = NEVER if seconds is None else self.server.seconds() + seconds

    @property
    def body_is_paused(self) -> bool:
        return self.phase is BODY and self._body_pace is None and self.request is not None

    def resume_body(self) -> None:
        if not self.body_is_paused:
            return
        self._pace_body(self.request.receivedBytes)
        try:
            while self._waiting and self.phase is BODY and self._body_pace is not None:
                data, size = self._waiting.popleft()
                self._wait(-len(data))
                self._deliver(data, size)
            if self._trailers is not None and not self._waiting and self.phase is BODY and self._body_pace is not None:
                self.body_ended(self._trailers)
        except Fault as fault:
            self.refuse(fault)

    def _pace_body(self, received: int) -> None:
        now, limits = self.server.seconds(), self.server.limits
        self._body_pace = Pace(now, limits.body_seconds, limits.body_bytes_per_second, received)
        self.deadline = min(self._body_pace.deadline, self._started + limits.max_body_seconds)

    def handle_within(self, seconds: float | None) -> None:
        """The application has answered nothing yet; it must begin to within ``seconds``."""
        if seconds is None:
            return
        if self.phase is DISPATCH or self.phase is HANDLING:
            self.deadline = self.server.seconds() + seconds
        elif self.phase is BODY:
            self._handling_seconds = seconds

    def began(self) -> None:
        """The response has begun: the application's deadline is met."""
        self._handling_seconds = None
        if self.phase is DISPATCH or self.phase is HANDLING or self.body_is_paused:
            self.deadline = NEVER

    # -- the response goes out ----------------------------------------------------------------

    def send_informational(self, status: int, fields: Mapping[bytes, Iterable[bytes]] | None = None) -> None:
        """An interim response (RFC 9110, 15.2), before the final one; afterwards it is not sent."""
        if self._connection is not None and self.said is Said.NOTHING:
            self._connection.send_head(self, encode_block(status, fields or {}))

    @property
    def _is_bodiless(self) -> bool:
        """An answer to HEAD ends at its head, whatever the application takes the method for."""
        return self._head is not None and self._head.method == b"HEAD"

    def respond(self, block: bytes, body: bytes) -> None:
        """The whole response: its header block and its body."""
        connection = self._connection
        if connection is not None and self.said is Said.NOTHING:
            self.said = Said.LAST
            connection.send_whole(self, block, b"" if self._is_bodiless else body)

    def send_head(self, block: bytes) -> None:
        """The head of a response whose body follows by ``write``."""
        if self._connection is not None and self.said is Said.NOTHING:
            self.said = Said.HEAD
            self._connection.send_head(self, block)

    def write(self, data: bytes) -> None:
        """Part of the body."""
        connection = self._connection
        if connection is None or self.said is not Said.HEAD or not data or self._is_bodiless:
            return
        if self.queued and connection.queued > self.server.limits.max_unsent_bytes:
            self.server.refused(Reason.UNSENT_BYTES, "a response was written faster than its client takes it")
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
        if self.request is None and self._connection is not None:
            self._connection.over(self)

    def requestDone(self, request: Any) -> None:
        """The response to ``request`` has been written whole."""
        if request is not self.request or self._connection is None:
            return
        self.request = None
        self._hold_body(0)
        self.deadline = NEVER
        self._body_pace = None
        if self.said is Said.HEAD:
            self.said = Said.LAST
            self._connection.wants_turn(self)
        self._end_if_said()

    def refuse(self, fault: Fault) -> None:
        """Answer ``fault``, where the response has not begun, and end the stream."""
        connection = self._connection
        if connection is None:
            return
        server, head = self.server, self._head
        request, self.request = self.request, None
        request_id = getattr(request, "request_id", None) or secrets.token_hex(8)
        said = server.refused(fault.reason, fault.detail, request_id)
        more = request.refusal_fields(fault.status) if request is not None and not request.startedWriting else None
        self.reason = fault.reason
        if request is not None:
            request.connectionLost(Failure(fault.with_traceback(None)))
        elif said:
            server.tell_refused(self.getPeer(), head, fault.status, fault.reason, request_id)
        self._hold_body(0)
        self._body_pace = None
        if self.said is not Said.NOTHING:
            self.reset(_code_of(fault))
            return
        server.statistics.response(b"other" if head is None else head.method, fault.status)
        fields, body = refusal_parts(
            fault, server.date(), page=server.page(fault, head, request_id), request_id=request_id, more=more
        )
        self.deadline = NEVER
        self.respond(encode_block(fault.status, fields), body)
        self._end_if_said()

    def _end_if_said(self) -> None:
        if self.said is Said.ALL and self._connection is not None:
            self._connection.over(self)

    # -- ends ---------------------------------------------------------------------------------

    @property
    def has_trailers(self) -> bool:
        """Whether the end of the body has come, behind pieces of it that wait."""
        return self._trailers is not None

    @property
    def is_half(self) -> bool:
        """Whether the client has more to say."""
        return self.phase is BODY and self._trailers is None

    def reset(self, code: ErrorCodes) -> None:
        """End now; what waits is dropped."""
        if self._connection is not None:
            self._connection.reset(self, code)

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

    def drain(self) -> None:
        """The server stops: a stream of events says so and ends."""
        if self.request is not None:
            self.request.drain()

    def lost(self, failure: Failure | None) -> None:
        """Let go of everything; whoever was to answer is told that nobody waits, and why."""
        if self._connection is None:
            return
        self._hold_body(0)
        if self.waiting_bytes:
            self._wait(-self.waiting_bytes)
        self._connection.queued -= self.queued
        request, self.request = self.request, None
        producer, self._producer = self._producer, None
        self._queue.clear()
        self.queued = 0
        self.deadline = NEVER
        self.phase = MOVES[self.phase][LOST]
        if request is not None and failure is not None:
            self.server.guard(request.connectionLost, failure)
        if producer is not None:
            self.server.guard(producer.stopProducing)
        self._connection = self.window = self._waiting = self._trailers = self._head = None
        self._send_pace = self._body_pace = None

    # -- deadlines ----------------------------------------------------------------------------

    def reap(self, now: float) -> None:
        if self.queued:
            self._judge_output(now)
        else:
            self._send_pace = None
        connection = self._connection
        if connection is None:
            return
        if self._body_pace is not None and connection.invites_nothing:
            self._pace_body(self.request.receivedBytes)  # other bodies wait for their applications: not its fault
        if now >= self.deadline:
            self._expire(now)

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
            self.server.refused(Reason.SEND_RATE, "a client takes its response too slowly")
            self.abort(Reason.SEND_RATE, ErrorCodes.CANCEL)

    def _expire(self, now: float) -> None:
        limits = self.server.limits
        if self.phase is HANDLING or self.body_is_paused:
            self.refuse(OurFault(503, Reason.HANDLING_SECONDS, "the application did not answer in time"))
        elif self.phase is BODY and now >= self._started + limits.max_body_seconds:
            detail = f"the body did not come within {limits.max_body_seconds:g} s"
            self.refuse(LimitFault(408, Reason.BODY_SECONDS, detail))
        elif self.phase is BODY:
            detail = f"the body comes slower than {limits.body_bytes_per_second} bytes/s"
            self.refuse(LimitFault(408, Reason.BODY_RATE, detail))

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
        """What is written in one turn of the reactor goes out together anyway."""

    @property
    def factory(self) -> Any:
        return self.site

    @property
    def transport(self) -> Stream:
        """What an application gets as its request's transport: this stream, never the connection."""
        return self

    @property
    def base(self) -> Stream | None:
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


def _code_of(fault: Fault) -> ErrorCodes:
    """What a reset says of ``fault``."""
    if isinstance(fault, PeerFault):
        return ErrorCodes.PROTOCOL_ERROR
    return ErrorCodes.ENHANCE_YOUR_CALM if isinstance(fault, LimitFault) else ErrorCodes.INTERNAL_ERROR

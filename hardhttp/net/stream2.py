"""A stream of an HTTP/2 connection: one request and its response.

To a request it is what a channel is to a request over HTTP/1.1: it has the same methods, and their promises are
the same. The body of a request is taken as the application takes it, and only then is the client invited to send
more; what it says meanwhile waits here, inside its window. How the response goes out is ``StreamOutput``'s.

A stream is the connection's; it lets go of everything when it ends (``lost``, or ``Multiplexed.over``).
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.python.failure import Failure

from hardhttp.errors import Fault, LimitFault, OurFault, PeerFault, Reason
from hardhttp.net.multiplexed import Multiplexed
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.streamoutput import Said, StreamOutput
from hardhttp.wire.deadlines import NEVER, Pace
from hardhttp.wire.fieldblock import encode_block
from hardhttp.wire.http2 import ErrorCodes, StreamFault
from hardhttp.wire.http2head import StreamHead
from hardhttp.wire.links import Link
from hardhttp.wire.response import refusal_parts

__all__ = ["Stream", "code_of"]

IDLE, BODY, DISPATCH, HANDLING = Phase.IDLE, Phase.BODY, Phase.DISPATCH, Phase.HANDLING
EXPECT_BODY, CALL, LATER, LOST = Event.EXPECT_BODY, Event.CALL, Event.LATER, Event.LOST


# A piece of a body that waits is at least as long, unless it is the last: DATA may be a few bytes.
LEAST_PIECE_BYTES = 1024


class Stream(StreamOutput):
    """One stream. ``number`` is its identifier, ``reason`` why it ended before its time.

    Its phase is a connection's, from BODY on: the table of HTTP/1.1 serves.
    """

    __slots__ = (
        "_body_left",
        "_body_pace",
        "_handling_seconds",
        "_started",
        "_trailers",
        "_waiting",
        "deadline",
        "held",
        "keep_alive",
        "phase",
        "waiting_bytes",
    )

    def __init__(self, connection: Multiplexed, number: int, window: Any) -> None:
        super().__init__(connection, number, window)
        self.phase = IDLE
        self.deadline = NEVER
        self.keep_alive = True  # requests set it; streams end one by one
        self.held = 0  # bytes of the request's body in memory
        self.waiting_bytes = 0
        self._waiting: deque[tuple[bytes, int]] | None = None  # pieces of a body that is paused
        self._trailers: list[tuple[bytes, bytes]] | None = None  # once the body has ended behind those pieces
        self._body_left: int | None = None  # of what Content-Length said
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
        self._body_left = head.content_length
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
        """Part of the body, for which ``size`` of the windows was used. Raises ``Fault``, and ``StreamFault`` for more
        than Content-Length said."""
        if self.phase is not BODY or self.request is None or not data:
            self._consumed(size)  # nobody wants it, or it is padding
            return
        if self._body_left is not None:
            self._body_left -= len(data)
            if self._body_left < 0:
                self._consumed(size)
                raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "a body is longer than its Content-Length")
        if self._body_pace is None:
            self._keep(data, size)
        else:
            self._deliver(data, size)

    def _keep(self, data: bytes, size: int) -> None:
        """It waits, and the windows with it. Small pieces are put together: each costs more than it says."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = deque()
        if waiting and len(waiting[-1][0]) < LEAST_PIECE_BYTES:
            before, used = waiting.pop()
            waiting.append((before + data, used + size))
        else:
            waiting.append((data, size))
        self._wait(len(data))

    def _wait(self, change: int) -> None:
        self.waiting_bytes += change
        if self._connection is not None:
            self._connection.hold_input(change)

    def _consumed(self, size: int) -> None:
        if self._connection is not None and size:
            self._connection.invite(self.number, size)

    def _deliver(self, data: bytes, size: int) -> None:
        connection, request, limits = self._connection, self.request, self.server.limits
        assert connection is not None
        try:
            if request.receivedBytes + len(data) > limits.max_body_bytes:
                raise LimitFault(413, Reason.BODY_BYTES, f"the body is longer than {limits.max_body_bytes} bytes")
            request.handleContentChunk(data)
        finally:
            connection.invite(self.number, size)  # whatever became of it: the window is not this stream's alone
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
        """The client has said all. Raises ``Fault``, and ``StreamFault`` for less than Content-Length said."""
        if self.phase is not BODY:
            return
        if self._body_left and self.request is not None:
            raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "a body is shorter than its Content-Length")
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

    # -- pushes -------------------------------------------------------------------------------

    def push(self, links: Iterable[Link]) -> None:
        """Promise the client what is behind ``links``, before it reads of them (RFC 9113, 8.4).

        Nothing happens where it does not take pushes, or has been promised enough.
        """
        if self._connection is not None and self.request is not None and self.said is Said.NOTHING:
            self._connection.push(self, links)

    @property
    def head(self) -> StreamHead | None:
        """What was asked, until the stream has ended."""
        return self._head

    # -- the response has been made -----------------------------------------------------------

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
        said = server.refused(fault.reason, fault.detail, request_id, connection.peer)
        more = request.refusal_fields(fault.status) if request is not None and not request.startedWriting else None
        self.reason = fault.reason
        if request is not None:
            request.connectionLost(Failure(fault.with_traceback(None)))
        elif said:
            server.tell_refused(self.getPeer(), head, fault.status, fault.reason, request_id)
        self._hold_body(0)
        self._body_pace = None
        if self.said is not Said.NOTHING:
            self.reset(code_of(fault))
            return
        server.statistics.response(b"other" if head is None else head.method, fault.status)
        fields, body = refusal_parts(
            fault, server.date(), page=server.page(fault, head, request_id), request_id=request_id, more=more
        )
        self.deadline = NEVER
        self.respond(encode_block(fault.status, fields), body)
        self._end_if_said()

    # -- ends ---------------------------------------------------------------------------------

    def _end_if_said(self) -> None:
        if self.said is Said.ALL and self._connection is not None:
            self._connection.over(self)

    @property
    def weight(self) -> int:
        """Bytes that are held for it."""
        return self.queued + self.held + self.waiting_bytes

    @property
    def is_half(self) -> bool:
        """Whether the client has more to say."""
        return self.phase is BODY and self._trailers is None

    def reset(self, code: ErrorCodes) -> None:
        """End now; what waits is dropped."""
        if self._connection is not None:
            self._connection.reset(self, code)

    def drain(self) -> None:
        """The server stops: a stream of events says so and ends."""
        if self.request is not None:
            self.request.drain()

    def lost(self, failure: Failure | None) -> None:
        """Let go of everything; whoever was to answer is told that nobody waits, and why."""
        if self._connection is None:
            return
        self._hold_body(0)
        if self._waiting:
            self._wait(-self.waiting_bytes)
            self._consumed(sum([size for _, size in self._waiting]))
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


def code_of(fault: Fault) -> ErrorCodes:
    """What a reset says of ``fault``."""
    if isinstance(fault, PeerFault):
        return ErrorCodes.PROTOCOL_ERROR
    return ErrorCodes.ENHANCE_YOUR_CALM if isinstance(fault, LimitFault) else ErrorCodes.INTERNAL_ERROR

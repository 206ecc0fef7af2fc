"""An HTTP/1.1 connection: requests in, responses out, in order.

To what every connection does (``hardhttp.net.connection``) this adds what bytes mean. The buffer
holds part of a head, or what is pipelined behind the request being answered, never more than its
bound: then the input is paused. Nothing is parsed while the peer does not take what it was sent.

A channel calls the server's request factory and drives the request it makes; what a request is, it
does not know.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IConsumer, IHandshakeListener
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import Fault, LimitFault, OurFault, Reason
from hardhttp.net.connection import Connection
from hardhttp.net.ledger import BODY, INPUT
from hardhttp.net.outbound import has_unread
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.server import FIRST_REQUEST_SECONDS, Server
from hardhttp.net.told import is_bare
from hardhttp.wire.body import BodyDecoder, ChunkedBody, LengthBody
from hardhttp.wire.deadlines import NEVER, Pace
from hardhttp.wire.head import Head
from hardhttp.wire.response import CONTINUE, encode_head, reason_phrase, refusal

__all__ = ["Channel"]

IDLE, HEAD, BODY_PHASE, DISPATCH, HANDLING, UPGRADED, LINGERING, CLOSING, CLOSED = Phase
PART, EXPECT_BODY, CALL, LATER, DONE, UPGRADE, LINGER, CLOSE, LOST = Event

# Responses to pipelined requests are sent together, up to about this much.
CORK_BYTES = 64 * 1024
# Of the preface, as much as makes a request line.
HTTP2_BEGINS = b"PRI * HTTP/2.0\r\n"
# What a client may still send to us while we linger.
MAX_DISCARDED_BYTES = 1 << 20


@implementer(IConsumer, IHandshakeListener)
class Channel(Connection):
    """One HTTP/1.1 connection.

    ``request_factory(channel)`` makes requests; see ``hardhttp.web.request.Request`` for what is
    asked of them. ``keep_alive`` says whether the connection goes on after this response.
    """

    __slots__ = (
        "_body_pace",
        "_cork",
        "_corked",
        "_decoder",
        "_handling_seconds",
        "_head",
        "_previous",
        "_started",
        "factory",
        "keep_alive",
        "request_factory",
        "site",
    )

    _log = Logger(namespace="hardhttp")

    def __init__(self, server: Server, request_factory: Callable[[Any], Any], peer: Any = None) -> None:
        super().__init__(server, peer)
        self.phase = HEAD  # the first one is due from the moment the connection is made
        self.request_factory = request_factory
        self.factory: Any = None
        self.site: Any = None
        self.keep_alive = True
        self._head: Head | None = None
        self._previous: Head | None = None  # the last request's
        self._decoder: BodyDecoder | None = None
        self._cork: list[bytes] | None = None
        self._corked = 0
        self._handling_seconds: float | None = None  # while a body comes
        self._body_pace: Pace | None = None
        self._started = 0.0

    # -- requests in --------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        server = self.server
        server.now = server.seconds()
        server.statistics.bytes_in += len(data)
        self.bytes_in += len(data)
        phase = self.phase
        if phase is IDLE or phase is HEAD:
            if self._input:
                data, self._input = self._input + data, b""
            self._advance(data)
        elif phase is BODY_PHASE:
            self._advance(data)
        elif phase is HANDLING or phase is DISPATCH:
            self._wait(self._input + data)
        elif phase is UPGRADED:
            self._upgraded.dataReceived(data)
        else:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARDED_BYTES:
                self.abort(Reason.ABORT_SECONDS)

    def _advance(self, data: bytes) -> None:
        """Go as far as ``data`` reaches."""
        position, size = 0, len(data)
        try:
            while True:
                phase = self.phase
                if phase is IDLE or phase is HEAD:
                    if position == size:
                        break
                    if self.choked:
                        self._wait(data[position:])
                        break
                    found = self.server.parser.parse(data, position, self.server.limits, self._previous)
                    if found is None:
                        self._partial(data[position:] if position else data)
                        break
                    head, position = found
                    if position < size and self._cork is None:
                        self._cork = []
                    self._begin(head, position < size)
                elif phase is BODY_PHASE:
                    if position == size:
                        break
                    data = self._receive_body(data[position:] if position else data)
                    position, size = 0, len(data)
                else:
                    if position < size:
                        self._behind(data[position:])
                    break
        except Fault as fault:
            if fault.reason is Reason.BAD_VERSION and self._goes_on_as_http2(data[position:]):
                return
            self.refuse(fault, data[position:])
        except Exception:
            self._log.failure("a request could not be handed to the application")
            self.abort(Reason.INTERNAL)
        if self._cork is not None:
            self._uncork()
            self._cork = None

    def handshakeCompleted(self) -> None:
        """TLS is there, and the client has chosen a protocol (RFC 7301)."""
        if getattr(self._transport, "negotiatedProtocol", None) == b"h2":
            self._become_http2(b"")

    def _goes_on_as_http2(self, data: bytes) -> bool:
        """Whether this is a client that knows that we speak HTTP/2 (RFC 9113, 3.3)."""
        if self._written or not data.startswith(HTTP2_BEGINS):
            return False
        return self._become_http2(data)

    def _become_http2(self, data: bytes) -> bool:
        """Pass the connection on, with what has come of it, as a new one."""
        transport, base, server = self._transport, self._base, self.server
        if server.http2 is None:
            return False
        if getattr(base, "protocol", None) is self:
            below, name = base, "protocol"
        elif getattr(transport, "wrappedProtocol", None) is self:
            below, name = transport, "wrappedProtocol"
        else:
            return False
        channel = server.http2(server, self.request_factory, transport.getPeer())
        channel.factory = channel.site = self.site
        transport.unregisterProducer()
        self.phase, self.deadline = CLOSED, NEVER
        self._transport = self._base = None
        self._input = b""
        self._cork = None
        server.passed_on(transport)
        setattr(below, name, channel)
        channel.makeConnection(transport)
        if data:
            channel.dataReceived(data)
        if server.draining:
            channel.drain()
        return True

    def _partial(self, data: bytes) -> None:
        """Keep part of a head; its deadline runs from its first byte and nothing moves it."""
        self._input = data
        server = self.server
        server.hold(self._transport, INPUT, len(data))
        if self.phase is IDLE and data.strip(b"\r\n"):  # an empty line behind a request begins nothing
            self.phase = MOVES[IDLE][PART]
            self.deadline = server.seconds() + server.limits.head_seconds

    def _behind(self, data: bytes) -> None:
        """``data`` came behind a request that is not answered yet, or never will be here."""
        if self.phase is UPGRADED:
            self._upgraded.dataReceived(data)
        else:
            self._wait(data)

    def _wait(self, data: bytes) -> None:
        """Keep what is behind the current request, or cannot be answered yet, up to its bound."""
        if self.phase >= LINGERING:
            return
        self._input = data
        self.server.hold(self._transport, INPUT, len(data))
        if len(data) >= self.server.limits.max_pipelined_bytes:
            self._pause_input()

    def _begin(self, head: Head, more: bool) -> None:
        """A head is whole."""
        if self.phase is HEAD:
            self.server.ledger.hold(self._transport, INPUT, 0)
        self.keep_alive = head.keep_alive and not self.server.draining
        self._head = head
        if head.chunked or head.content_length:
            self._expect_body(head, more)
            return
        self.request = request = self.request_factory(self)
        self.phase = MOVES[self.phase][CALL]
        self.deadline = NEVER
        request.gotHead(head)
        request.process()
        if self.phase is DISPATCH:
            self.phase = MOVES[DISPATCH][LATER]

    def handle_within(self, seconds: float | None) -> None:
        """The application has answered nothing yet; it must begin to within ``seconds``."""
        if seconds is None:
            return
        if self.phase is DISPATCH or self.phase is HANDLING:
            self.deadline = self.server.seconds() + seconds
        elif self.phase is BODY_PHASE:
            self._handling_seconds = seconds  # they run when the body does not, or has ended

    def began(self) -> None:
        """The response has begun: the application's deadline is met."""
        self._handling_seconds = None
        if self.phase is DISPATCH or self.phase is HANDLING or self.body_is_paused:
            self.deadline = NEVER

    def _expect_body(self, head: Head, more: bool) -> None:
        """Judge a body by its head, before it is invited."""
        limits = self.server.limits
        if head.content_length is not None and head.content_length > limits.max_body_bytes:
            raise LimitFault(413, Reason.BODY_BYTES, f"the body is longer than {limits.max_body_bytes} bytes")
        self.request = request = self.request_factory(self)
        self.phase = MOVES[self.phase][EXPECT_BODY]
        self._decoder = ChunkedBody(limits) if head.chunked else LengthBody(head.content_length or 0)
        self._started = self.server.seconds()
        self._handling_seconds = None
        self._pace_body(0)
        request.gotHead(head)
        if request.streamBody():
            if not request.wantsBody:
                self.pause_body()
        elif head.expect_continue and not more:
            self.write(CONTINUE)

    def invite_body(self) -> None:
        """A streaming resource wants its body now."""
        head = self._head
        if self.phase is BODY_PHASE and head is not None:
            if head.expect_continue and not self._input and not self.request.startedWriting:
                self.write(CONTINUE)
            self.resume_body()

    def pause_body(self) -> None:
        """Take no more of the body for now; its deadline rests too, for the wait is ours."""
        if self.phase is BODY_PHASE:
            self._body_pace = None
            seconds = self._handling_seconds
            self.deadline = NEVER if seconds is None else self.server.seconds() + seconds
            self._pause_input()

    @property
    def body_is_paused(self) -> bool:
        return self.phase is BODY_PHASE and self._body_pace is None

    def resume_body(self) -> None:
        if self.body_is_paused:
            self._pace_body(self._received)
            waiting, self._input = self._input, b""
            self.server.hold(self._transport, INPUT, 0)
            self._resume_input()
            if waiting:
                self._advance(waiting)

    @property
    def _received(self) -> int:
        return 0 if self.request is None else int(self.request.receivedBytes)

    def _pace_body(self, received: int) -> None:
        now, limits = self.server.seconds(), self.server.limits
        self._body_pace = Pace(now, limits.body_seconds, limits.body_bytes_per_second, received)
        self.deadline = min(self._body_pace.deadline, self._started + limits.max_body_seconds)

    def _receive_body(self, data: bytes) -> bytes:
        """Take the body's part of ``data``; what is behind it is returned."""
        decoder, request, head = self._decoder, self.request, self._head
        assert decoder is not None and head is not None  # ours, not the peer's: the phase says so
        if self._body_pace is None:
            self._wait(self._input + data)
            return b""
        pieces = decoder.receive(data)
        for piece in pieces:
            request.handleContentChunk(piece)
            if self.phase is not BODY_PHASE:
                return b""
        if not decoder.done:
            server = self.server
            if self._body_pace is not None:  # a piece's receiver may have paused the body
                self._body_pace.progress(server.seconds(), request.receivedBytes)
                self.deadline = min(self._body_pace.deadline, self._started + server.limits.max_body_seconds)
            server.hold(self._transport, BODY, request.heldBytes)
            return b""
        self._decoder = self._body_pace = None
        self.deadline = NEVER
        self._resume_input()
        rest = decoder.rest
        if rest and self._cork is None:
            self._cork = []
        request.trailers = decoder.trailers if isinstance(decoder, ChunkedBody) else []
        if request.streams:
            self.phase = MOVES[self.phase][LATER]
            self.handle_within(self._handling_seconds)
            request.bodyEnded()
        elif self.phase is BODY_PHASE:
            self.server.hold(self._transport, BODY, request.heldBytes)
            if self.phase is not BODY_PHASE:
                return b""  # too much was held, and most of it here
            self.phase = MOVES[BODY_PHASE][CALL]
            request.process()
            if self.phase is DISPATCH:
                self.phase = MOVES[DISPATCH][LATER]
        return rest

    # -- responses out ----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send ``data`` now, or with the responses before it."""
        transport = self._transport
        if transport is None:
            return
        size = len(data)
        self.server.statistics.bytes_out += size
        if self._cork is not None:
            if size >= CORK_BYTES:  # joined with others it would be a copy for each connection
                self._uncork()
                self._send(data)
                return
            self._cork.append(data)
            self._corked += size
            if self._corked >= CORK_BYTES:
                self._uncork()
        elif self.choked:
            self._send(data)
        else:
            self._written += size
            transport.write(data)

    def send_informational(self, status: int, fields: Mapping[bytes, Iterable[bytes]]) -> None:
        """An interim response (RFC 9110, 15.2), sent at once; when the final one has begun it is not sent."""
        if BODY_PHASE <= self.phase < UPGRADED and self.request is not None and not self.request.startedWriting:
            self.write(encode_head(status, reason_phrase(status), fields))
            self._uncork()

    @property
    def sends_files(self) -> bool:
        """Whether ``sendFile`` can: over TLS, and over a stock transport, it cannot."""
        return is_bare(self._transport) and getattr(self._transport, "sends_files", False)

    def sendFile(self, descriptor: int, offset: int, count: int, more: bool) -> int | None:
        """Send part of an open file; see ``hardhttp.net.sendfile.SendsFiles``."""
        transport = self._transport
        if transport is None:
            return None
        self._file_bytes = count
        if self._cork is not None:
            transport.resumeWhenWritable()  # what comes before it goes first
            return None
        sent: int | None = transport.sendFile(descriptor, offset, count, more)
        if sent:
            self._written += sent
            self._file_bytes = count - sent
            self.server.statistics.bytes_out += sent
        return sent

    @property
    def is_corked(self) -> bool:
        """Whether something written is held back for now, to go out with what follows."""
        return self._cork is not None

    def plain_transport(self) -> Any:
        """The transport, if the client gets what its socket is given, unless this ``is_corked``; see ``count_past``."""
        transport = self._transport
        if getattr(transport, "sends_at_once", False) and is_bare(transport):
            return transport
        return None

    def count_past(self, size: int) -> None:
        """So many bytes were sent without coming by here; whoever sent them adds them to the server's ``bytes_out``."""
        self._written += size

    def cork(self) -> None:
        """What the application writes before it returns is sent together."""
        if self.phase is DISPATCH and self._cork is None:
            self._cork = []

    def _uncork(self) -> None:
        cork = self._cork
        if cork:
            self._cork = []
            self._corked = 0
            if self._transport is not None:
                self._send(b"".join(cork))

    def requestDone(self, request: Any) -> None:
        """The response to ``request`` has been written whole."""
        if request is not self.request:
            return
        self.request = None
        server = self.server
        if self.phase is BODY_PHASE:
            # The rest of the body is not wanted; only closing says so.
            self._linger(Reason.RESPONSE_END)
            return
        previous, self._head = self._head, None
        self._previous = previous if previous is not None and previous.repeatable else None
        if server.ledger.held_bytes:
            server.ledger.hold(self._transport, BODY, 0)
        if not self.keep_alive or server.draining:
            self._uncork()
            if self._input:
                self._linger(Reason.RESPONSE_END)
            else:
                self._close(Reason.DRAINED if server.draining else Reason.RESPONSE_END)
            return
        if self.phase is DISPATCH:
            self.phase = MOVES[DISPATCH][DONE]
            self.deadline = server.now + server.limits.idle_seconds
            return
        self.phase = MOVES[self.phase][DONE]
        self.deadline = server.seconds() + server.limits.idle_seconds
        if self._input:
            self._go_on()

    def _go_on(self) -> None:
        """Take up what has been waiting."""
        self.server.now = self.server.seconds()  # for a head that is whole, it is read now
        waiting, self._input = self._input, b""
        self.server.ledger.hold(self._transport, INPUT, 0)
        self._resume_input()
        self._advance(waiting)

    # -- ends -------------------------------------------------------------------------------

    def refuse(self, fault: Fault, beginning: bytes = b"") -> None:
        """Answer ``fault`` with a whole response and end the connection.

        ``beginning`` is that of a head that is none, or is not whole.
        """
        if self.phase >= UPGRADED:
            return
        server, head = self.server, self._head
        request, self.request = self.request, None
        request_id = getattr(request, "request_id", None) or secrets.token_hex(8)
        said = server.refused(fault.reason, fault.detail, request_id, self.peer)
        started = request is not None and request.startedWriting
        more = request.refusal_fields(fault.status) if request is not None and not started else None
        if request is not None:
            request.connectionLost(Failure(fault.with_traceback(None)))
        elif said and self._transport is not None:
            server.tell_refused(self.getPeer(), head, fault.status, fault.reason, request_id)
        if started or self._transport is None:
            self.abort(fault.reason)
            return
        server.statistics.response(b"other" if head is None else head.method, fault.status)
        # RFC 9110, 9.3.2: whatever else is wrong with it, who asked by HEAD reads no content.
        by_head = beginning.lstrip(b"\r\n").startswith(b"HEAD ") if head is None else head.method == b"HEAD"
        page = server.page(fault, head, request_id)
        self.write(refusal(fault, server.date(), head_only=by_head, page=page, request_id=request_id, more=more))
        self._uncork()
        self._linger(fault.reason)

    def drain(self) -> None:
        """The server stops: this response is the last one."""
        self.keep_alive = False
        if self.phase is IDLE and not has_unread(self._base):
            self._close(Reason.DRAINED)
        elif self.phase is IDLE or (self.phase is HEAD and not self._input):
            # A request is here and not read yet, or is on its way by a connection made for it.
            self.deadline = min(self.deadline, self.server.seconds() + FIRST_REQUEST_SECONDS)
        elif self.request is not None:
            self.request.drain()

    def shed(self) -> None:
        """Too much is held, and most of it here."""
        fault = OurFault(503, Reason.BUFFERED_BYTES, "the server holds as much as it may")
        if self.phase is BODY_PHASE:
            self.refuse(fault)
        else:
            self.server.refused(fault.reason, fault.detail, peer=self.peer)
            self.abort(fault.reason)

    # -- deadlines --------------------------------------------------------------------------

    def _expire(self) -> None:
        phase, limits = self.phase, self.server.limits
        if phase is IDLE:
            self._close(Reason.DRAINED if self.server.draining else Reason.IDLE)
        elif phase is HEAD and not self._input:  # there is nothing to answer
            self._close(Reason.DRAINED if self.server.draining else Reason.HEAD_SECONDS)
        elif phase is HEAD:
            detail = f"the head did not come within {limits.head_seconds:g} s"
            self.refuse(LimitFault(408, Reason.HEAD_SECONDS, detail), self._input)
        elif phase is HANDLING or self.body_is_paused:
            self.refuse(OurFault(503, Reason.HANDLING_SECONDS, "the application did not answer in time"))
        elif phase is BODY_PHASE:
            if self.server.seconds() >= self._started + limits.max_body_seconds:
                detail = f"the body did not come within {limits.max_body_seconds:g} s"
                self.refuse(LimitFault(408, Reason.BODY_SECONDS, detail))
            else:
                detail = f"the body comes slower than {limits.body_bytes_per_second} bytes/s"
                self.refuse(LimitFault(408, Reason.BODY_RATE, detail))
        elif phase is UPGRADED:
            self.deadline = NEVER
            self._upgraded.wake()
        else:
            self.abort(Reason.ABORT_SECONDS)

    def _forget(self) -> None:
        self._uncork()  # what has been said is said
        self._decoder = self._body_pace = self._head = self._previous = self._cork = None

    # -- for applications that know twisted.web's channel ---------------------------------------

    def setTimeout(self, seconds: float | None) -> None:
        """Does nothing: deadlines are not an application's to move."""

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        """Send a head made by hand."""
        self.write(encode_head(int(code), reason, dict(headers.getAllRawHeaders())))

    _protocolUpgradeForWebsockets = Connection.upgrade  # what twisted.web.websocket calls

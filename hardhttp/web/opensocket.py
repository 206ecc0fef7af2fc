"""An open WebSocket: messages to its application and back, and its end.

What comes is handed on one message after another. A handler that does not keep up is waited for: messages wait in
an inbox, bounded in number and bytes, and past that nothing is read from the client. What is sent goes to the
connection at once; where the client does not take it ``await socket.send(...)`` waits, and who does not wait finds
the socket ended at a bound. One client that says a thousand things at once is served some of them in a turn.

There is no timer: the connection says when a time has come (``wake``), for a ping, its answer, or the end of a close.
Every close is said to the client where it can hear it, and has an abort behind it. There is one way out,
``connectionLost``; what ended it first is its ``reason``.

Below it is a ``Carrier`` and nothing else, so it does not matter what that stands on.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator
from enum import IntEnum, StrEnum
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import Reason
from hardhttp.net.ledger import MESSAGES, WEBSOCKETS
from hardhttp.net.upgrade import Carrier
from hardhttp.web.watching import ResponseWatcher
from hardhttp.wire.websocket import (
    Closed,
    Event,
    Message,
    Ping,
    Pong,
    WebSocketFault,
    encode,
    encode_close,
    encode_ping,
    encode_pong,
)
from hardhttp.wire.websocketdeflate import Deflater
from hardhttp.wire.websockethandshake import Handshake

if TYPE_CHECKING:
    from hardhttp.web.socketgroup import WebSocketGroup
    from hardhttp.wire.websocketframes import Frames

__all__ = ["Application", "Ended", "WebSocket", "WebSocketClosed"]

# What one client has said is taken so many frames at a time; then others have their turn.
FRAMES_PER_TURN = 256
# What is sent while that is done goes out together, up to this much.
CORK_BYTES = 64 * 1024
# Pings are this much earlier than was said, at random, so that they spread out.
JITTER = 0.25
# Most are in none, and share this.
NO_GROUPS: frozenset[Any] = frozenset()

_WRONG = {1007: Reason.BAD_MESSAGE, 1009: Reason.MESSAGE_BYTES}


class Ended(StrEnum):
    """Why a WebSocket ended."""

    CLIENT = "client"  # it said Close
    CLOSED = "closed"  # the application closed it, or its handler returned
    LOST = "lost"  # the connection ended without a Close
    PROTOCOL = "protocol"  # the client sent what may not be
    BAD_DATA = "bad-data"  # its text was no UTF-8, or its compression was broken
    TOO_BIG = "too-big"  # a message was longer than it may be
    OVERFLOW = "overflow"  # the client did not take what was sent
    PONG_SECONDS = "pong-seconds"  # it did not answer a ping
    FAILED = "failed"  # the application raised
    DRAINED = "drained"  # the server stopped


_ENDED = {1007: Ended.BAD_DATA, 1009: Ended.TOO_BIG}


class WebSocketClosed(Exception):
    """The socket is closed: nothing can be sent or received on it."""


class _State(IntEnum):
    OPEN = 0
    ASKED = 1  # the client has said Close; the application is still taking what came before
    CLOSING = 2  # we have said Close, and wait for the client's
    ENDING = 3  # all is said, and the connection was told to end
    ENDED = 4


class _Move(IntEnum):
    ASK = 0  # the client says Close while its messages wait
    CLOSE = 1  # we say Close first
    END = 2  # both have said it, or the client broke the rules
    LOSE = 3


_O, _A, _C, _E, _X = _State
# A row a state, a column a move.
_MOVES = (
    # ASK CLOSE END LOSE
    (_A, _C, _E, _X),  # OPEN
    (_A, _E, _E, _X),  # ASKED
    (_C, _C, _E, _X),  # CLOSING
    (_E, _E, _E, _X),  # ENDING
    (_X, _X, _X, _X),  # ENDED
)


class Application:
    """What is called for a socket. The first two may be coroutine functions, or return a ``Deferred``.

    ``on_drain``, where there is one, is to end the socket when the server stops.
    """

    __slots__ = ("on_close", "on_connect", "on_drain", "on_message")

    def __init__(
        self,
        on_connect: Callable[[WebSocket], Any] | None,
        on_message: Callable[[WebSocket, Message], Any] | None,
        on_close: Callable[[WebSocket], object],
        on_drain: Callable[[], object] | None = None,
    ) -> None:
        self.on_connect = on_connect
        self.on_message = on_message
        self.on_close = on_close
        self.on_drain = on_drain


class Sent:
    """What ``send`` returns: awaited, it waits until there is room for more. It need not be."""

    __slots__ = ("_socket",)

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._socket.has_room().__await__()


@implementer(IProtocol, IPushProducer)
class WebSocket(ResponseWatcher):
    """An open WebSocket.

    ``request`` is the one that opened it, ``subprotocol`` what was agreed on (or ``None``), ``data`` the
    application's own. After the end ``reason`` says why, ``close_code`` and ``close_text`` what the
    client's Close said (1006 without one).
    """

    __slots__ = (
        "__weakref__",
        "_application",
        "_busy",
        "_carrier",
        "_cork",
        "_corked",
        "_deflater",
        "_frames",
        "_groups",
        "_held",
        "_inbox",
        "_inbox_bytes",
        "_input_paused",
        "_kept_bytes",
        "_ping",
        "_pong",
        "_reader",
        "_reader_end",
        "_received",
        "_received_at_ping",
        "_senders",
        "_server",
        "_state",
        "_taken",
        "_turn",
        "_why",
        "close_code",
        "close_text",
        "data",
        "dropped",
        "follower",
        "reason",
        "request",
        "subprotocol",
        "waits",
    )

    _log = Logger(namespace="hardhttp")

    def __init__(self, request: Any, handshake: Handshake, application: Application, frames: Frames) -> None:
        self.request = request
        self.subprotocol = None if handshake.subprotocol is None else handshake.subprotocol.decode("ascii")
        self.data: Any = None
        self.reason: Ended | None = None
        self.close_code = 1006
        self.close_text = ""
        self.waits = False  # for the client to take what was sent
        self.follower: Any = None  # a push producer that is paused while it waits
        self.dropped = 0  # messages of groups that went by while it waited
        self._server = request.site.server
        agreed = handshake.deflate
        self._frames = frames
        self._deflater = None if agreed is None else Deflater(agreed)
        self._kept_bytes = self._held = 0 if agreed is None else agreed.held_bytes
        self._application = application
        self._carrier: Carrier | None = None
        self._state = _State.OPEN
        self._why: Reason | None = None  # the connection's, once it is closing
        self._inbox: deque[Message] = deque()
        self._inbox_bytes = 0
        self._reader: Deferred[Message] | None = None
        self._reader_end: type[Exception] = WebSocketClosed  # what it is told when no message will come
        self._taken = 0  # messages that were handed on
        self._senders: list[Deferred[None]] | None = None
        self._busy: Deferred[Any] | None = None  # what the application was called for is not done
        self._groups: set[WebSocketGroup] | frozenset[Any] = NO_GROUPS
        self._input_paused = False
        self._turn: IDelayedCall | None = None
        self._cork: list[bytes] | None = None
        self._corked = 0
        self._ping: bytes | None = None  # one that is not answered
        self._pong: bytes | None = None  # the answer to the client's last one, while it does not take any
        self._received = self._received_at_ping = 0

    def __repr__(self) -> str:
        return f"<WebSocket {self._state.name.lower()}>"

    # -- what an application asks ---------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._state <= _State.ASKED

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
        if self._state > _State.ASKED:
            self._server.statistics.ignored_writes += 1
        else:
            self.send_encoded(encode(message, self._deflater))
        return Sent(self)

    def send_encoded(self, frames: bytes) -> None:
        """Send messages that ``hardhttp.wire.websocket.encode`` has made bytes of, for many sockets."""
        carrier = self._carrier
        if self._state > _State.ASKED or carrier is None:
            self._server.statistics.ignored_writes += 1
        elif self.waits and carrier.unsent_bytes > self._server.limits.max_websocket_unsent_bytes:
            self._server.refused(Reason.UNSENT_BYTES, "a WebSocket was sent more than its client takes")
            self._abort(Ended.OVERFLOW, Reason.UNSENT_BYTES)
        else:
            self._write(frames)

    def has_room(self) -> Deferred[None]:
        """Fires when the client has taken what was sent; fails with ``WebSocketClosed``."""
        if self._state > _State.ASKED:
            return fail(WebSocketClosed(str(self.reason)))
        if not self.waits:
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._forget_sender)
        if self._senders is None:
            self._senders = []
        self._senders.append(waiting)
        return waiting

    def receive(self) -> Deferred[Message]:
        """The next message. Fails with ``WebSocketClosed`` when none will come.

        Raises ``RuntimeError`` when somebody waits for it already, or where there is an ``on_message``.
        """
        return self._receive(WebSocketClosed)

    def __aiter__(self) -> WebSocket:
        return self

    def __anext__(self) -> Deferred[Message]:
        return self._receive(StopAsyncIteration)

    def _receive(self, ended: type[Exception]) -> Deferred[Message]:
        if self._reader is not None or self._application.on_message is not None:
            raise RuntimeError("the messages of this WebSocket go to another reader")
        if self._inbox:
            message = self._take_waiting()
            if self._input_paused:
                self._read()
            return succeed(message)
        if self._state is _State.ASKED:
            self._answer_close()
        if self._state is not _State.OPEN:
            return fail(ended(str(self.reason)))
        self._reader = Deferred(self._forget_reader)
        self._reader_end = ended
        return self._reader

    def close(self, code: int = 1000, text: str = "") -> None:
        """Close it: the client is told, has ``abort_seconds`` to answer, and is then cut off.

        What has come and was not taken is dropped. Raises ``ValueError`` for a code that may not be said.
        """
        self._close(code, text, Ended.CLOSED, Reason.APPLICATION)

    def abort(self) -> None:
        """End it now, without a word."""
        self._abort(Ended.CLOSED, Reason.APPLICATION)

    def joined(self, group: WebSocketGroup) -> None:
        """``group`` says so: it is to be told of the end."""
        self._groups = {*self._groups, group}

    def left(self, group: WebSocketGroup) -> None:
        self._groups = {*self._groups} - {group} or NO_GROUPS

    # -- what comes -----------------------------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        """The handshake is over. ``transport`` is a ``Carrier``."""
        self._carrier = carrier = transport
        server = self._server
        carrier.hold(WEBSOCKETS, 1)
        carrier.hold(MESSAGES, self._held)
        carrier.registerProducer(self, True)
        carrier.wake_at(server.seconds() + self._ping_seconds())
        if self._application.on_connect is not None:
            self._call(self._application.on_connect, self)
        self._read()

    def connectionMade(self) -> None:
        """Nothing is left to do: ``makeConnection`` has done it."""

    def dataReceived(self, data: bytes) -> None:
        if self._state <= _State.CLOSING:
            self._received += len(data)
            self._frames.feed(data)
            self._read()

    def _read(self) -> None:
        """Take what has come, as far as there is room for it, and write the answers together."""
        if self._cork is not None or self._turn is not None:
            return  # it is done below, or soon
        self._cork = []
        left = FRAMES_PER_TURN
        try:
            while self._takes and left:
                event = self._frames.next()
                if event is None:
                    break
                left -= 1
                self._take(event)
                if self._inbox:
                    self._hand_waiting()
        except WebSocketFault as fault:
            self._wrong(fault)
        finally:
            self._uncork()
        if not left and self._takes:
            self._turn = self._server.clock.callLater(0, self._read_on)
        self._balance()

    def _read_on(self) -> None:
        self._turn = None
        self._read()

    @property
    def _takes(self) -> bool:
        """Whether one more message is taken from the client."""
        if not self._inbox:
            return self._state is _State.OPEN or self._state is _State.CLOSING
        limits = self._server.limits
        share = 2 if self._input_paused else 1  # once it is full, half of it is to be empty
        return self._state is _State.CLOSING or (
            self._state is _State.OPEN
            and len(self._inbox) * share <= limits.max_websocket_messages - 1
            and self._inbox_bytes * share < limits.max_websocket_message_bytes
        )

    def _balance(self) -> None:
        """Read from the client while there is room; say what is held."""
        carrier = self._carrier
        if carrier is None or self._state >= _State.ENDING:
            return
        pause = self._turn is not None or not (self._takes or self._state is _State.ASKED)
        if pause is not self._input_paused:
            self._input_paused = pause
            if pause:
                carrier.pauseProducing()
            else:
                carrier.resumeProducing()
        held = self._kept_bytes + self._inbox_bytes + self._frames.held_bytes
        if held != self._held:
            self._held = held
            carrier.hold(MESSAGES, held)

    def _take(self, event: Event) -> None:
        if isinstance(event, (str, bytes)):
            if self._state is _State.OPEN:
                self._hand(event)
        elif isinstance(event, Ping):
            self._pong = event.payload  # RFC 6455, 5.5.3: the answer to the last one is enough
            self._answer_ping()
        elif isinstance(event, Pong):
            if event.payload == self._ping and self._carrier is not None:
                self._ping = None
                self._carrier.wake_at(self._server.seconds() + self._ping_seconds())
        else:
            self._closed_by_client(event)

    def _answer_ping(self) -> None:
        if not self.waits and self._pong is not None and self._state <= _State.ASKED:
            payload, self._pong = self._pong, None
            self._write(encode_pong(payload))

    # -- the application ------------------------------------------------------------------------

    def _hand(self, message: Message) -> None:
        """To whoever waits for it, or to where it waits."""
        reader, on_message = self._reader, self._application.on_message
        if reader is not None:
            self._reader = None
            self._taken += 1
            reader.callback(message)
        elif on_message is None or self._busy is not None or self._inbox:
            self._inbox.append(message)
            self._inbox_bytes += message.__sizeof__()
        else:
            self._taken += 1
            self._call(on_message, self, message)

    def _take_waiting(self) -> Message:
        message = self._inbox.popleft()
        self._inbox_bytes -= message.__sizeof__()
        self._taken += 1
        return message

    def _hand_waiting(self) -> None:
        """To ``on_message``, as long as it is done at once."""
        on_message = self._application.on_message
        while self._inbox and self._busy is None and on_message is not None and self.is_open:
            self._call(on_message, self, self._take_waiting())

    def _call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call the application; what it raises costs this socket."""
        try:
            result = function(*args)
        except Exception:
            self._failed(Failure())
            return
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            self._busy = result
            result.addCallbacks(self._called, self._call_failed)

    def _called(self, _: object) -> None:
        self._busy = None
        if self._application.on_message is None:  # it was the handler, and it has returned
            self._close(1000, "", Ended.CLOSED, Reason.APPLICATION)
        elif self._cork is None:  # else who has called goes on
            self._cork = []
            self._hand_waiting()
            self._uncork()
            if self._state is _State.ASKED and self._busy is None:
                self._answer_close()
            self._read()

    def _call_failed(self, failure: Failure) -> None:
        self._busy = None
        self._failed(failure)

    def _failed(self, failure: Failure) -> None:
        """The application raised: that is an ordinary end where it was told of one, and else costs this socket."""
        told = failure.check(WebSocketClosed) or (self._state is _State.ENDED and failure.check(CancelledError))
        if not told:
            self._server.statistics.errors += 1
            self._log.failure("a WebSocket's application failed: {path!r}", failure=failure, path=self.request.path)
        failure.cleanFailure()
        self._close(1011, "", Ended.FAILED, Reason.INTERNAL)

    # -- what goes out --------------------------------------------------------------------------

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

    # -- time -----------------------------------------------------------------------------------

    def _ping_seconds(self) -> float:
        return float(self._server.limits.websocket_ping_seconds * random.uniform(1 - JITTER, 1))

    def wake(self) -> None:
        """What was waited for has not come."""
        carrier, now = self._carrier, self._server.seconds()
        if carrier is None:
            return
        if self._state is _State.ASKED:
            self._answer_close()
        elif self._state is _State.OPEN:
            self._judge_life(carrier, now)
        elif self._state is _State.CLOSING:
            if carrier.unsent_bytes:  # our Close waits behind what the client still takes; its pace is judged
                carrier.wake_at(now + self._server.limits.abort_seconds)
            else:
                carrier.abort_for(Reason.ABORT_SECONDS)

    def _judge_life(self, carrier: Carrier, now: float) -> None:
        limits = self._server.limits
        if self._input_paused or carrier.unsent_bytes:
            self._ping = None  # an answer would not be seen, or is not due: the pace of sending is judged
            carrier.wake_at(now + self._ping_seconds())
        elif self._ping is None or self._has_progressed(limits.websocket_pong_seconds):
            if self._ping is None:
                self._ping = random.randbytes(4)
                self._write(encode_ping(self._ping))
            self._received_at_ping = self._received
            carrier.wake_at(now + limits.websocket_pong_seconds)
        else:
            self._server.refused(Reason.PONG_SECONDS, "a WebSocket's client did not answer a ping")
            self._note(Ended.PONG_SECONDS, Reason.PONG_SECONDS)
            self._finish(1011, "no answer to a ping", linger=False)

    def _has_progressed(self, seconds: float) -> bool:
        """Whether the answer may be behind a message that comes, and not too slowly."""
        came = self._received - self._received_at_ping
        return bool(self._frames.held_bytes and came >= self._server.limits.body_bytes_per_second * seconds)

    # -- the end --------------------------------------------------------------------------------

    def drained(self) -> None:
        """The server stops."""
        if self._application.on_drain is not None:
            self._application.on_drain()
            return
        self._close(1001, "", Ended.DRAINED, Reason.DRAINED)

    def _note(self, reason: Ended, why: Reason) -> None:
        """The first cause is the reason."""
        if self.reason is None:
            self.reason, self._why = reason, why

    def _closed_by_client(self, event: Closed) -> None:
        """5.5.1: it is answered, once what came before it has been taken."""
        self.close_code, self.close_text = event.code, event.text
        self._note(Ended.CLIENT, Reason.UPGRADED_END)
        taking = self._inbox or (self._taken and self._busy is not None and self._reader is None)
        if self._state is _State.OPEN and taking and self._carrier is not None:
            self._state = _MOVES[self._state][_Move.ASK]
            self._carrier.wake_at(self._server.seconds() + self._server.limits.abort_seconds)
        elif self._state is _State.CLOSING:
            self._end(linger=False)
        else:
            self._answer_close()

    def _answer_close(self) -> None:
        """The client's Close, said back."""
        self._finish(self.close_code, "", linger=False)

    def _close(self, code: int, text: str, reason: Ended, why: Reason) -> None:
        """We are the first to say it."""
        frame = encode_close(code, text)
        if self._state is _State.ASKED:
            self._answer_close()
        if self._state is not _State.OPEN or self._carrier is None:
            return
        self._note(reason, why)
        self._state = _MOVES[self._state][_Move.CLOSE]
        self._write(frame)
        self._carrier.wake_at(self._server.seconds() + self._server.limits.abort_seconds)
        self._tell_reader()
        self._balance()

    def _wrong(self, fault: WebSocketFault) -> None:
        """The client broke a rule or a bound."""
        why = _WRONG.get(fault.code, Reason.BAD_MESSAGE)
        self._server.refused(why, f"a WebSocket was closed with {fault.code}: {fault.detail}")
        self._note(_ENDED.get(fault.code, Ended.PROTOCOL), why)
        if self._state is _State.CLOSING:
            self._end(linger=True)
        else:
            self._finish(fault.code, fault.detail, linger=True)

    def _finish(self, code: int, text: str, *, linger: bool) -> None:
        """Say Close, and expect nothing more."""
        if self._state < _State.CLOSING:
            self._write(encode_close(code, text))
            self._end(linger=linger)

    def _end(self, *, linger: bool) -> None:
        """All is said. A client that may be sending is to read it before it is cut off (RFC 9112, 9.6)."""
        carrier = self._carrier
        if self._state >= _State.ENDING or carrier is None:
            return
        self._state = _MOVES[self._state][_Move.END]
        self._uncork()
        (carrier.linger_for if linger else carrier.close_for)(self._why or Reason.UPGRADED_END)
        self._tell_reader()

    def _abort(self, reason: Ended, why: Reason) -> None:
        if self._state < _State.ENDED and self._carrier is not None:
            self._note(reason, why)
            self._state = _MOVES[self._state][_Move.END]
            self._carrier.abort_for(why)
            self._tell_reader()

    def connectionLost(self, _: object) -> None:
        """The one way out: whoever waits is told, and nothing is kept."""
        if self._state is _State.ENDED:
            return
        self._state = _MOVES[self._state][_Move.LOSE]
        if self.reason is None:
            self.reason = Ended.LOST
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.unregisterProducer()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        self._deflater = self._cork = self._pong = self.follower = None
        self._frames.end()
        for group in tuple(self._groups):
            group.remove(self)
        self._tell_reader()
        senders, self._senders = self._senders, None
        for waiting in senders or ():
            waiting.errback(WebSocketClosed(self.reason))
        busy = self._busy
        if busy is not None:
            busy.cancel()
        self._application.on_close(self)

    def _tell_reader(self) -> None:
        """No message will come."""
        self._inbox.clear()
        self._inbox_bytes = 0
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.errback(self._reader_end(str(self.reason)))

    def _forget_reader(self, reader: Deferred[Message]) -> None:
        self._reader = None

    def _forget_sender(self, sender: Deferred[None]) -> None:
        if self._senders is not None and sender in self._senders:
            self._senders.remove(sender)

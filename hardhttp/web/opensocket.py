"""An open WebSocket: messages to its application, and the application's own view of it.

What comes is handed on one message after another. A handler that does not keep up is waited for: messages wait in
an inbox, bounded in number and bytes, and past that nothing is read from the client. One client that says a
thousand things at once is served some of them in a turn.

What goes out is in ``hardhttp.web.socketoutput``, how it ends in ``hardhttp.web.socketends``. Below is a ``Carrier``
and nothing else, so it does not matter what that stands on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import fail as failed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from hardhttp.errors import Reason
from hardhttp.net.failing import fail
from hardhttp.net.ledger import MESSAGES, WEBSOCKETS
from hardhttp.web.socketends import SocketEnds
from hardhttp.web.socketstate import ASKED, CLOSING, ENDED, ENDING, MOVES, OPEN, Ended, Move, WebSocketClosed
from hardhttp.wire.websocket import Event, Message, Ping, Pong, WebSocketFault
from hardhttp.wire.websockethandshake import Handshake

if TYPE_CHECKING:
    from hardhttp.web.socketgroup import WebSocketGroup
    from hardhttp.wire.websocketframes import Frames

__all__ = ["Application", "Ended", "WebSocket", "WebSocketClosed"]

# What one client has said is taken so many frames at a time; then others have their turn.
FRAMES_PER_TURN = 256
# Most are in none, and share this.
NO_GROUPS: frozenset[Any] = frozenset()


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


@implementer(IProtocol, IPushProducer)
class WebSocket(SocketEnds):
    """An open WebSocket.

    ``request`` is the one that opened it, ``subprotocol`` what was agreed on (or ``None``), ``data`` the
    application's own. After the end ``reason`` says why, ``close_code`` and ``close_text`` what the
    client's Close said (1006 without one).
    """

    __slots__ = (
        "__weakref__",
        "_application",
        "_busy",
        "_frames",
        "_groups",
        "_held",
        "_inbox",
        "_inbox_bytes",
        "_is_held_back",
        "_kept_bytes",
        "_reader",
        "_reader_end",
        "_taken",
        "_turn",
        "data",
        "request",
        "subprotocol",
    )

    _log = Logger(namespace="hardhttp")

    def __init__(self, request: Any, handshake: Handshake, application: Application, frames: Frames) -> None:
        agreed = handshake.deflate
        super().__init__(request.site.server, agreed)
        self.request = request
        self.subprotocol = None if handshake.subprotocol is None else handshake.subprotocol.decode("ascii")
        self.data: Any = None
        self._application = application
        self._frames = frames
        self._kept_bytes = self._held = 0 if agreed is None else agreed.held_bytes
        self._inbox: deque[Message] = deque()
        self._inbox_bytes = 0
        self._is_held_back = False  # memory is short: nothing more of a message is read
        self._reader: Deferred[Message] | None = None
        self._reader_end: type[Exception] = WebSocketClosed  # what it is told when no message will come
        self._taken = 0  # messages that were handed on
        self._busy: Deferred[Any] | None = None  # what the application was called for is not done
        self._turn: IDelayedCall | None = None  # when more of what has come is taken
        self._groups: set[WebSocketGroup] | frozenset[Any] = NO_GROUPS

    def __repr__(self) -> str:
        return f"<WebSocket {self._state.name.lower()}>"

    # -- what an application asks ---------------------------------------------------------------

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
        if self._state is ASKED:
            self._answer_close()
        if self._state is not OPEN:
            return failed(ended(str(self.reason)))
        self._reader = Deferred(self._forget_reader)
        self._reader_end = ended
        return self._reader

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
        if self._state <= CLOSING:
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
            return self._state is OPEN or self._state is CLOSING
        limits = self._server.limits
        share = 2 if self._input_paused else 1  # once it is full, half of it is to be empty
        return self._state is CLOSING or (
            self._state is OPEN
            and len(self._inbox) * share <= limits.max_websocket_messages - 1
            and self._inbox_bytes * share < limits.max_websocket_message_bytes
        )

    def _balance(self) -> None:
        """Read from the client while there is room; say what is held."""
        carrier = self._carrier
        if carrier is None or self._state >= ENDING:
            return
        held_back = self._is_held_back and self._state is OPEN
        pause = self._turn is not None or held_back or not (self._takes or self._state is ASKED)
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

    # -- when memory is short, as a body is (``hardhttp.net.budget``) -----------------------------

    @property
    def incoming_bytes(self) -> int:
        """Of messages that come, or wait for the application."""
        return self._inbox_bytes + self._frames.held_bytes if self._state is OPEN else 0

    @property
    def body_is_paused(self) -> bool:
        return self._is_held_back and self._state is OPEN

    def pause_body(self) -> None:
        """Read no more from the client for now; nothing is expected of it meanwhile."""
        self._is_held_back = True
        self._balance()

    def resume_body(self) -> None:
        self._is_held_back = False
        self._balance()

    def _take(self, event: Event) -> None:
        if isinstance(event, (str, bytes)):
            if self._state is OPEN:
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
        except BaseException:
            self._failed(Failure())
            return
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            self._busy = result
            result.addCallbacks(self._called, self._call_failed)
        elif self._application.on_message is None:
            self._called(None)

    def _called(self, _: object) -> None:
        self._busy = None
        if self._application.on_message is None:  # it was the handler, and it has returned
            self._close(1000, "", Ended.CLOSED, Reason.APPLICATION)
        elif self._cork is None:  # else who has called goes on
            self._cork = []
            self._hand_waiting()
            self._uncork()
            if self._state is ASKED and self._busy is None:
                self._answer_close()
            self._read()

    def _call_failed(self, failure: Failure) -> None:
        self._busy = None
        self._failed(failure)

    def _failed(self, failure: Failure) -> None:
        """The application raised: that is an ordinary end where it was told of one, and else costs this socket."""
        told = failure.check(WebSocketClosed) or (self._state is ENDED and failure.check(CancelledError))
        if not told:
            self._server.statistics.errors += 1
            self._log.failure("a WebSocket's application failed: {path!r}", failure=failure, path=self.request.path)
        failure.cleanFailure()
        self._close(1011, "", Ended.FAILED, Reason.INTERNAL)

    # -- the end --------------------------------------------------------------------------------

    def drained(self) -> None:
        """The server stops."""
        if self._application.on_drain is not None:
            self._application.on_drain()
            return
        self._close(1001, "", Ended.DRAINED, Reason.DRAINED)

    def connectionLost(self, _: object) -> None:
        """The one way out: whoever waits is told, and nothing is kept."""
        if self._state is ENDED:
            return
        self._state = MOVES[self._state][Move.LOSE]
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
            fail(waiting, WebSocketClosed(self.reason))
        busy = self._busy
        if busy is not None:
            busy.cancel()
        self._application.on_close(self)

    @property
    def _is_coming(self) -> bool:
        return self._frames.held_bytes > 0

    @property
    def _is_taking(self) -> bool:
        return bool(self._inbox or (self._taken and self._busy is not None and self._reader is None))

    def _tell_reader(self) -> None:
        """No message will come."""
        self._inbox.clear()
        self._inbox_bytes = 0
        reader, self._reader = self._reader, None
        if reader is not None:
            fail(reader, self._reader_end(str(self.reason)))

    def _forget_reader(self, reader: Deferred[Message]) -> None:
        self._reader = None

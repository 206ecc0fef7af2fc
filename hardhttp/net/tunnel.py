"""A stream that becomes a WebSocket: extended CONNECT (RFC 8441), and the ``Carrier`` of what it opens.

Until it is opened it is a request like any other, answered by a response like any other. ``upgrade`` hands it over:
from then on DATA is what the protocol is given and what it writes. What the protocol does not read waits inside the
stream's window, which opens again only as it is taken; what the client does not take waits as the body of any response
does, within the same bounds and at the same pace. END_STREAM is what the end of a TCP connection is over HTTP/1.1
(RFC 8441, 5): each side says its own, and who does not in ``abort_seconds`` is reset.

An application that knows WebSockets over HTTP/1.1 alone can take nothing over here. Whatever it answers then, the
client is told HTTP_1_1_REQUIRED and may come again so; what a ``WebSocketResource`` answers is for the client.

What a protocol asks for never ends its stream within the call: ``connectionLost`` comes when it has returned.
"""

from __future__ import annotations

from typing import Any, Self

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from hardhttp.errors import Fault, OurFault, Reason
from hardhttp.net.multiplexed import Multiplexed
from hardhttp.net.phase import MOVES, Event, Phase
from hardhttp.net.stream2 import Stream, code_of
from hardhttp.net.streamoutput import Said
from hardhttp.wire.deadlines import NEVER
from hardhttp.wire.fieldblock import block_status
from hardhttp.wire.http2 import HEADER_BYTES, ErrorCodes

__all__ = ["Tunnel"]

UPGRADED, LINGERING, CLOSED = Phase.UPGRADED, Phase.LINGERING, Phase.CLOSED
# A client's frame is masked: four bytes behind the first two (RFC 6455, 5.2).
LEAST_MESSAGE_BYTES = 6
# What those answer who do not know what they were asked.
_OF_STRANGERS = frozenset({400, 405, 426, 500, 501})


class Tunnel(Stream):
    """One stream that asks for a WebSocket. Once ``upgrade`` was called it is a ``hardhttp.net.carrier.Carrier``.

    Its phase then is UPGRADED, and LINGERING when our last byte is said.
    """

    __slots__ = ("_holds", "_is_meant", "_reads", "_upgraded")

    is_extended_connect = True

    def __init__(self, connection: Multiplexed, number: int, window: Any) -> None:
        super().__init__(connection, number, window)
        self._upgraded: Any = None
        self._is_meant = False  # somebody knows what it asks for
        self._reads = True
        self._holds: dict[str, int] = {}  # for the protocol, by kind

    # -- before it is opened --------------------------------------------------------------------

    def expect_upgrade(self) -> None:
        """Whoever is asked knows that this is a WebSocket: what is answered is for its client."""
        self._is_meant = True

    def respond(self, block: bytes, body: bytes) -> None:
        if self._is_for_client(block):
            super().respond(block, body)
        elif self._connection is not None and self.said is Said.NOTHING:
            self.said = Said.ALL
            self._connection.cancel(self.number, ErrorCodes.HTTP_1_1_REQUIRED)

    def send_head(self, block: bytes) -> None:
        if self._is_for_client(block):
            super().send_head(block)
        elif self._connection is not None and self.said is Said.NOTHING:
            self._end_soon(ErrorCodes.HTTP_1_1_REQUIRED)

    def _is_for_client(self, block: bytes) -> bool:
        status = block_status(block)
        return self._is_meant or not (200 <= status < 300 or status in _OF_STRANGERS)

    def refuse(self, fault: Fault) -> None:
        if self.phase < UPGRADED:
            super().refuse(fault)
        else:
            peer = None if self._connection is None else self._connection.peer
            self.server.refused(fault.reason, fault.detail, peer=peer)
            self.abort(fault.reason, code_of(fault))

    def upgrade(self, protocol: Any) -> None:
        """From now on the stream is ``protocol``'s; the head of the answer has been sent."""
        self._upgraded = protocol
        self.phase = MOVES[self.phase][Event.UPGRADE]
        self.deadline = NEVER
        protocol.makeConnection(self)
        self._take_waiting()

    @property
    def is_upgraded(self) -> bool:  # type: ignore[override]
        return self._upgraded is not None

    @property
    def transport(self) -> Self:
        return self

    @transport.setter
    def transport(self, value: Any) -> None:
        """autobahn takes a connection over so."""
        raise OurFault(501, Reason.CONNECT, "a library that takes connections over cannot take a stream")

    # -- what comes -----------------------------------------------------------------------------

    def receive(self, data: bytes, size: int) -> None:
        connection = self._connection
        if connection is None:
            return
        if len(data) >= LEAST_MESSAGE_BYTES and size < HEADER_BYTES:
            connection.conduct.was_message()
        if self.phase > UPGRADED or not data:
            self._consumed(size)
        elif self.phase is UPGRADED and self._reads and not self._waiting:
            self._give(data, size)
        else:
            self._keep(data, size)

    def _give(self, data: bytes, size: int) -> None:
        connection = self._connection
        assert connection is not None
        try:
            self._upgraded.dataReceived(data)
        except Exception:
            self.server.failed("a protocol on a stream failed")
            self.abort(Reason.INTERNAL)
        connection.invite(self.number, size)

    def pauseProducing(self) -> None:
        """Bring no more: it waits in the window."""
        self._reads = False

    def resumeProducing(self) -> None:
        self._reads = True
        self._take_waiting()

    def _take_waiting(self) -> None:
        while self._waiting and self._reads and self.phase is UPGRADED:
            data, size = self._waiting.popleft()
            self._wait(-len(data))
            self._give(data, size)
        if self._trailers is not None and not self._waiting and self.phase is UPGRADED:
            self._close(Reason.CLIENT_CLOSED)

    def body_ended(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The client has said its last byte."""
        self._trailers = trailers
        if self.phase is UPGRADED:
            self._take_waiting()
        elif self.phase is LINGERING:
            if self.said is Said.ALL and self._connection is not None:
                self._connection.over(self)
        else:
            self.abort(Reason.CLIENT_CLOSED, ErrorCodes.CANCEL)  # whoever waits for an answer does not hang up

    @property
    def is_half(self) -> bool:
        return self._trailers is None and self.phase is not CLOSED

    # -- Carrier, with what StreamOutput has ----------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        return self.queued

    def close_for(self, reason: Reason) -> None:
        """Say END_STREAM once all is sent, and wait for the client's."""
        if self.phase is UPGRADED:
            self._close(reason)

    linger_for = close_for

    def abort_for(self, reason: Reason) -> None:
        self.abort(reason, ErrorCodes.CANCEL)

    def hold(self, kind: str, amount: int) -> None:
        change = amount - self._holds.get(kind, 0)
        self._holds[kind] = amount
        if change and self._connection is not None:
            self._connection.hold_more(kind, change)

    def wake_at(self, seconds: float) -> None:
        if self.phase is UPGRADED:
            self.deadline = seconds

    @property
    def weight(self) -> int:
        return super().weight + sum(self._holds.values())

    # -- ends -----------------------------------------------------------------------------------

    def loseConnection(self) -> None:
        if self.phase is UPGRADED:
            self._close(Reason.APPLICATION)
        else:
            self.abortConnection()

    def _close(self, reason: Reason) -> None:
        connection = self._connection
        if connection is None:
            return
        if self.reason is None:
            self.reason = reason
        self.phase = MOVES[self.phase][Event.LINGER]
        self.deadline = NEVER
        self._drop_waiting()
        self.said = Said.LAST
        connection.wants_turn(self)

    def _drop_waiting(self) -> None:
        for data, size in self._waiting or ():
            self._wait(-len(data))
            self._consumed(size)
        self._waiting = None

    def _all_said(self) -> None:
        if self.phase is not LINGERING:
            super()._all_said()
            return
        self.said = Said.ALL
        if self._trailers is None:
            self.deadline = self.server.seconds() + self.server.limits.abort_seconds
        elif self._connection is not None:
            self._connection.over(self)

    def abort(self, reason: Reason, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        if self._connection is not None:
            if self.reason is None:
                self.reason = reason
            self._end_soon(code)

    def _end_soon(self, code: ErrorCodes) -> None:
        """Say and take nothing more; the end comes when whoever asks for it has returned."""
        if self.phase < LINGERING:
            self.phase = MOVES[self.phase][Event.LINGER]
            self.said = Said.ALL
            self._drop_waiting()
        self.deadline = NEVER
        self.server.clock.callLater(0, self.reset, code)

    def lost(self, failure: Failure | None) -> None:
        connection, upgraded = self._connection, self._upgraded
        if connection is None:
            return
        for kind, amount in self._holds.items():
            connection.hold_more(kind, -amount)
        self._holds = {}
        failure = Failure(ConnectionDone()) if failure is None else failure
        super().lost(failure)
        if upgraded is not None:
            self.server.guard(upgraded.connectionLost, failure)
            self._upgraded = None

    # -- deadlines ------------------------------------------------------------------------------

    def _expire(self, now: float) -> None:
        if self.phase is UPGRADED:
            self.deadline = NEVER
            self._upgraded.wake()
        elif self.phase is LINGERING and self._connection is not None:
            self._connection.over(self)
        else:
            super()._expire(now)

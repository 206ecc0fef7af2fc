"""How a WebSocket ends, and what is done in time so that it does.

There is no timer: the connection says when a time has come (``wake``), for a ping, its answer, or the end of a close.
Every close is said to the client where it can hear it, and has an abort behind it. There is one way out,
``connectionLost``; what ended it first is its ``reason``.
"""

from __future__ import annotations

import random
from typing import Any

from hardhttp.errors import Reason
from hardhttp.net.carrier import Carrier
from hardhttp.web.socketoutput import SocketOutput
from hardhttp.web.socketstate import ASKED, CLOSING, ENDED, ENDING, MOVES, OPEN, Ended, Move
from hardhttp.wire.websocket import Closed, WebSocketFault, encode_close, encode_ping
from hardhttp.wire.websocketdeflate import Agreed

__all__ = ["SocketEnds"]

# Pings are this much earlier than was said, at random, so that they spread out.
JITTER = 0.25

# Of what a client does wrong, by the code it is told: the connection's reason, and the socket's.
_WRONG = {1007: (Reason.BAD_MESSAGE, Ended.BAD_DATA), 1009: (Reason.MESSAGE_BYTES, Ended.TOO_BIG)}
_OTHERWISE = Reason.BAD_MESSAGE, Ended.PROTOCOL


class SocketEnds(SocketOutput):
    """What ``hardhttp.web.opensocket.WebSocket`` says; that class makes what is declared here."""

    __slots__ = ("_input_paused", "_ping", "_received", "_received_at_ping", "_why", "close_code", "close_text")

    def __init__(self, server: Any, agreed: Agreed | None) -> None:
        super().__init__(server, agreed)
        self._why: Reason | None = None  # the connection's, once it is closing
        self._input_paused = False  # nothing is read from the client
        self._ping: bytes | None = None  # one that is not answered
        self._received = self._received_at_ping = 0
        self.close_code = 1006
        self.close_text = ""

    # -- asked for --------------------------------------------------------------------------------

    def close(self, code: int = 1000, text: str = "") -> None:
        """Close it: the client is told, has ``abort_seconds`` to answer, and is then cut off.

        What has come and was not taken is dropped. Raises ``ValueError`` for a code that may not be said.
        """
        self._close(code, text, Ended.CLOSED, Reason.APPLICATION)

    def abort(self) -> None:
        """End it now, without a word."""
        self._abort(Ended.CLOSED, Reason.APPLICATION)

    # -- time -------------------------------------------------------------------------------------

    def _ping_seconds(self) -> float:
        return float(self._server.limits.websocket_ping_seconds * random.uniform(1 - JITTER, 1))

    def wake(self) -> None:
        """What was waited for has not come."""
        carrier, now = self._carrier, self._server.seconds()
        if carrier is None:
            return
        if self._state is ASKED:
            self._answer_close()
        elif self._state is OPEN:
            self._judge_life(carrier, now)
        elif self._state is CLOSING:
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
            detail = "a WebSocket's client did not answer a ping"
            self._server.refused(Reason.PONG_SECONDS, detail, peer=carrier.getPeer())
            self._note(Ended.PONG_SECONDS, Reason.PONG_SECONDS)
            self._finish(1011, "no answer to a ping", linger=False)

    def _has_progressed(self, seconds: float) -> bool:
        """Whether the answer may be behind a message that comes, and not too slowly."""
        came = self._received - self._received_at_ping
        return bool(self._is_coming and came >= self._server.limits.body_bytes_per_second * seconds)

    # -- the end ----------------------------------------------------------------------------------

    def _note(self, reason: Ended, why: Reason) -> None:
        """The first cause is the reason."""
        if self.reason is None:
            self.reason, self._why = reason, why

    def _closed_by_client(self, event: Closed) -> None:
        """5.5.1: it is answered, once what came before it has been taken."""
        self.close_code, self.close_text = event.code, event.text
        self._note(Ended.CLIENT, Reason.UPGRADED_END)
        if self._state is OPEN and self._is_taking and self._carrier is not None:
            self._state = MOVES[self._state][Move.ASK]
            self._carrier.wake_at(self._server.seconds() + self._server.limits.abort_seconds)
        elif self._state is CLOSING:
            self._end(linger=False)
        else:
            self._answer_close()

    def _answer_close(self) -> None:
        """The client's Close, said back."""
        self._finish(self.close_code, "", linger=False)

    def _close(self, code: int, text: str, reason: Ended, why: Reason) -> None:
        """We are the first to say it."""
        frame = encode_close(code, text)
        if self._state is ASKED:
            self._answer_close()
        if self._state is not OPEN or self._carrier is None:
            return
        self._note(reason, why)
        self._state = MOVES[self._state][Move.CLOSE]
        self._write(frame)
        self._carrier.wake_at(self._server.seconds() + self._server.limits.abort_seconds)
        self._tell_reader()
        self._balance()

    def _wrong(self, fault: WebSocketFault) -> None:
        """The client broke a rule or a bound."""
        why, reason = _WRONG.get(fault.code, _OTHERWISE)
        peer = None if self._carrier is None else self._carrier.getPeer()
        self._server.refused(why, f"a WebSocket was closed with {fault.code}: {fault.detail}", peer=peer)
        self._note(reason, why)
        if self._state is CLOSING:
            self._end(linger=True)
        else:
            self._finish(fault.code, fault.detail, linger=True)

    def _finish(self, code: int, text: str, *, linger: bool) -> None:
        """Say Close, and expect nothing more."""
        if self._state < CLOSING:
            self._write(encode_close(code, text))
            self._end(linger=linger)

    def _end(self, *, linger: bool) -> None:
        """All is said. A client that may be sending is to read it before it is cut off (RFC 9112, 9.6)."""
        carrier = self._carrier
        if self._state >= ENDING or carrier is None:
            return
        self._state = MOVES[self._state][Move.END]
        self._uncork()
        (carrier.linger_for if linger else carrier.close_for)(self._why or Reason.UPGRADED_END)
        self._tell_reader()

    def _abort(self, reason: Ended, why: Reason) -> None:
        if self._state < ENDED and self._carrier is not None:
            self._note(reason, why)
            self._state = MOVES[self._state][Move.END]
            self._carrier.abort_for(why)
            self._tell_reader()

    # -- of the incoming side -----------------------------------------------------------------------

    @property
    def _is_coming(self) -> bool:
        """Whether part of a message has come."""
        raise NotImplementedError

    @property
    def _is_taking(self) -> bool:
        """Whether the application has something that came before, or it waits for it."""
        raise NotImplementedError

    def _balance(self) -> None:
        """Read from the client while there is room."""
        raise NotImplementedError

    def _tell_reader(self) -> None:
        """No message will come."""
        raise NotImplementedError

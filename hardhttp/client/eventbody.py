"""One response's body, read as events.

Bytes come as the transport brings them; they are decoded and parsed no faster than there is room for events, so what
waits, waits in the form in which it came, and the transport is paused meanwhile. A transport that brings more although
it is paused is given up at ``max_unread_bytes``. A long piece is parsed in several turns of the reactor.

The end of a body is told after the last event in it. A body that brings no byte for ``idle_seconds`` is ended; while
it is paused for the reader's sake that time stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any
from typing import Protocol as Shape

from twisted.internet import protocol
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from hardhttp.client.bodies import drop
from hardhttp.client.eventanswer import Ending, EndReason
from hardhttp.client.eventlimits import EventLimits
from hardhttp.wire.decoding import DecodedTooLargeError, Decoder, DecodingError
from hardhttp.wire.eventstream import Event, EventTooLargeError, Parser

__all__ = ["BodyReader", "EventBody"]

# Decoded at once.
_STEP_BYTES = 64 * 1024
# In one turn of the reactor: some three milliseconds, or half of one.
_TURN_EVENTS = 500
_TURN_BYTES = 64 * 1024


class BodyReader(Shape):
    """Whose the events are. ``body_ended`` is called once, with an ``Ending`` where no other body would do better."""

    def room(self) -> int: ...
    def body_events(self, events: list[Event]) -> None: ...
    def body_ended(self, ending: Ending | None) -> None: ...


class _Phase(Enum):
    READING = auto()
    PAUSED = auto()  # the transport is, because there is no room or too much to do
    ENDING = auto()  # the transport is gone; some of what it brought is unread
    ENDED = auto()


class EventBody(protocol.Protocol):
    """Give it to ``IResponse.deliverBody``. ``end()`` frees all it has, at any moment, and tells nobody."""

    def __init__(
        self, reader: BodyReader, parser: Parser, decoder: Decoder, clock: IReactorTime, limits: EventLimits
    ) -> None:
        self._reader: BodyReader | None = reader
        self._parser = parser
        self._decoder = decoder
        self._clock = clock
        self._limits = limits
        self._phase = _Phase.READING
        self._text = b""  # decoded, and parsed as far as _start
        self._start = 0
        self._last_byte_at = clock.seconds()
        self._later: IDelayedCall | None = None
        self._idle: IDelayedCall | None = None
        if limits.idle_seconds is not None:
            self._idle = clock.callLater(limits.idle_seconds, self._judge_idle, limits.idle_seconds)

    @property
    def unread_bytes(self) -> int:
        return self._decoder.unread_bytes + len(self._text) - self._start

    # -- as the transport calls it --------------------------------------------------------------

    def connectionMade(self) -> None:
        if self._phase is _Phase.ENDED:
            self._drop()

    def dataReceived(self, data: bytes) -> None:
        if self._phase is _Phase.ENDED:
            return
        self._last_byte_at = self._clock.seconds()
        if self.unread_bytes + len(data) > max(self._limits.max_unread_bytes, len(data)):
            self._finish(Ending(EndReason.UNREAD_BYTES, "the transport does not heed a pause"))
            return
        self._decoder.give(data)
        self.go_on()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.transport = None
        if self._phase is _Phase.ENDED:
            return
        self._phase = _Phase.ENDING
        self._cancel_idle()
        self.go_on()

    # -- as the reader calls it -----------------------------------------------------------------

    def go_on(self) -> None:
        """There is something to parse, or room for it."""
        if self._later is not None or self._phase is _Phase.ENDED:
            return
        try:
            self._work()
        except EventTooLargeError as error:
            self._tell(list(error.events))
            self._finish(Ending(EndReason.EVENT_BYTES, str(error)))
        except DecodedTooLargeError as error:
            self._finish(Ending(EndReason.DECODED_BYTES, str(error)))
        except DecodingError:
            self._finish(None)  # cut off, or damaged on the way

    def end(self) -> None:
        """Free everything."""
        self._phase = _Phase.ENDED
        self._reader = None
        self._text = b""
        self._start = 0
        self._decoder.clear()
        self._cancel_idle()
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._drop()

    # -- within ---------------------------------------------------------------------------------

    def _work(self) -> None:
        """Whatever is called from here may call ``go_on`` again: nothing is held in a variable meanwhile."""
        done_bytes = done_events = 0
        while self._reader is not None:
            room = self._reader.room()
            if not room:
                self._pause()
                return
            if done_events >= _TURN_EVENTS or done_bytes >= _TURN_BYTES:
                self._pause()
                self._later = self._clock.callLater(0, self._go_on_later)
                return
            if self._start >= len(self._text):
                self._text, self._start = self._decoder.take(_STEP_BYTES), 0
                if not self._text:
                    break
            before, most = self._start, min(room, _TURN_EVENTS - done_events)
            events, self._start = self._parser.read(self._text, before, most)
            done_bytes += self._start - before
            done_events += len(events)
            self._tell(events)
        if self._phase is _Phase.ENDING:
            self._finish(None)
        elif self._phase is _Phase.PAUSED:
            self._phase = _Phase.READING
            self._last_byte_at = self._clock.seconds()
            self._of_transport("resumeProducing")

    def _go_on_later(self) -> None:
        self._later = None
        self.go_on()

    def _tell(self, events: list[Event]) -> None:
        if events and self._reader is not None:
            self._reader.body_events(events)

    def _pause(self) -> None:
        if self._phase is _Phase.READING:
            self._phase = _Phase.PAUSED
            self._of_transport("pauseProducing")

    def _finish(self, ending: Ending | None) -> None:
        reader = self._reader
        self.end()
        if reader is not None:
            reader.body_ended(ending)

    def _judge_idle(self, idle_seconds: float) -> None:
        quiet = self._clock.seconds() - self._last_byte_at if self._phase is _Phase.READING else 0.0
        if quiet >= idle_seconds:
            self._idle = None
            self._finish(None)
        else:
            self._idle = self._clock.callLater(idle_seconds - quiet, self._judge_idle, idle_seconds)

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _of_transport(self, name: str) -> None:
        act: Callable[[], Any] | None = getattr(self.transport, name, None)
        if act is not None:
            act()

    def _drop(self) -> None:
        transport, self.transport = self.transport, None
        drop(transport)

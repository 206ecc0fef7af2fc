"""A stream of events that is made again whenever it breaks (HTML standard, 9.2).

``EventSource`` asks any ``IAgent`` for a stream and gives its events to one reader, each once and in order, over
however many connections it takes. A reader that is slow stops the transport. What a server says of waiting
(``retry:``, ``Retry-After``) is heeded within bounds, with jitter and a back-off; what it says of the end (204, a fatal
status, another content type) is the end. ``close()`` frees everything at once.

A source is always in one phase:

=========  ==============================================  ==============================
phase      what it has                                     ``state``
=========  ==============================================  ==============================
NEW        nothing                                         ``CONNECTING``
ASKING     a request and its deadline                      ``CONNECTING``
READING    an ``EventBody``                                ``OPEN``
WAITING    a timer                                         ``CONNECTING``
CLOSED     events that are not read yet, unless ``close``  ``CLOSED``
=========  ==============================================  ==============================

What is asked is ``eventrequest``'s, what a response means ``eventanswer``'s, how long to wait ``patience``'s. A body is
read in ``eventbody``, and events wait in ``eventqueue``.
Redirects, proxies, TLS and pools are the agent's. Time is the clock's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from random import Random
from types import TracebackType
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from hardhttp.client.bodies import discard
from hardhttp.client.eventanswer import Ending, EndReason, EventSourceError, Later, Stream, judge
from hardhttp.client.eventbody import EventBody
from hardhttp.client.eventlimits import EventLimits
from hardhttp.client.eventqueue import EventQueue
from hardhttp.client.eventrequest import EventRequest
from hardhttp.client.gap import Gap, gap_of
from hardhttp.client.patience import Patience
from hardhttp.wire.decoding import decoder
from hardhttp.wire.eventstream import Event, Parser

__all__ = ["EventSource", "SourceState"]

log = Logger()


class SourceState(Enum):
    """As a browser's ``readyState``."""

    CONNECTING = 0
    OPEN = 1
    CLOSED = 2


class _Phase(Enum):
    NEW = auto()
    ASKING = auto()
    READING = auto()
    WAITING = auto()
    CLOSED = auto()


_STATE = {
    _Phase.NEW: SourceState.CONNECTING,
    _Phase.ASKING: SourceState.CONNECTING,
    _Phase.READING: SourceState.OPEN,
    _Phase.WAITING: SourceState.CONNECTING,
    _Phase.CLOSED: SourceState.CLOSED,
}


@implementer(IPushProducer)
class EventSource:
    """The events of ``url``, as an async iterator, or given to a function.

    .. code-block:: python

       async with EventSource(agent, "https://example.com/events", clock=reactor) as source:
           async for event in source:
               print(event.type, event.data)

    ``agent`` is any ``IAgent``. ``headers`` go with each request, ``Authorization`` too; ``body`` is bytes, sent again
    each time. ``last_event_id`` is where to begin. ``random`` is for tests. Nothing is asked for before there is a
    reader: ``async for``, ``deliver`` or ``produce``, one of them once.

    Iterating ends when ``close`` was called or the server has said that there is no more (204). It raises
    ``EventSourceError`` when the stream will not come back. An event of type ``gap`` of a hub of ours comes as a
    ``Gap``. ``ending`` says how it has ended, and is None before.
    """

    def __init__(
        self,
        agent: IAgent,
        url: str | bytes,
        *,
        clock: IReactorTime,
        method: bytes = b"GET",
        headers: Headers | Mapping[str, str] | None = None,
        body: bytes | None = None,
        last_event_id: str | None = None,
        limits: EventLimits | None = None,
        random: Random | None = None,
    ) -> None:
        self._request = EventRequest(agent, url, method, headers, body)
        self._clock = clock
        self._limits = EventLimits() if limits is None else limits
        self._patience = Patience(self._limits, Random() if random is None else random)
        self._last_event_id = last_event_id or ""
        self._retry_seconds = self._limits.retry_seconds
        self.ending: Ending | None = None
        self._phase = _Phase.NEW
        self._attempt = 0
        self._asked: Deferred[IResponse] | None = None
        self._timer: IDelayedCall | None = None
        self._reading: EventBody | None = None
        self._parser: Parser | None = None
        self._opened_at = 0.0
        self._events_since = 0  # it was opened
        self._queue = EventQueue(self._limits.max_queued_events, self._limits.max_queued_bytes)
        self._on_state: list[Callable[[SourceState], None]] = []

    def __repr__(self) -> str:
        """Without what may be secret: of the URL only its origin and path."""
        return f"<EventSource {self._request!r} {self._phase.name}>"

    # -- reading --------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        self._start()
        return self

    async def __anext__(self) -> Event | Gap:
        self._start()
        event = await self._queue.next()
        if event is not None:
            return event
        if self.ending is not None and self.ending.is_error:
            raise EventSourceError(self.ending)
        raise StopAsyncIteration

    def deliver(self, receive: Callable[[Event | Gap], None]) -> Deferred[Ending]:
        """Call ``receive`` with each event. What it raises is logged, and the next event comes.

        ``pauseProducing`` and ``resumeProducing`` hold it off. The Deferred is ``when_ended()``.
        """
        self._queue.give_to(receive)
        self._start()
        return self.when_ended()

    def produce(self, consumer: Any) -> Deferred[Ending]:
        """``deliver`` to the ``write`` of an ``IConsumer`` that takes events; this is its producer until they end."""
        self._queue.give_to(consumer.write)
        consumer.registerProducer(self, True)
        self._start()
        return self.when_ended().addCallback(_unregister, consumer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- what is to be known --------------------------------------------------------------------

    @property
    def state(self) -> SourceState:
        return _STATE[self._phase]

    @property
    def failures(self) -> int:
        """Attempts since the last event, or the last stream that was open for long."""
        return self._patience.failures

    @property
    def queued_events(self) -> int:
        return len(self._queue)

    @property
    def last_event_id(self) -> str:
        """What the next attempt will say. Events may wait that have come since the last one that was read."""
        return self._last_event_id if self._parser is None else self._parser.last_event_id

    @property
    def retry_seconds(self) -> float:
        """What the server has asked for, the least that counts for it, or the limits' own."""
        if self._parser is None or self._parser.retry_ms is None:
            return self._retry_seconds
        return max(self._limits.min_retry_seconds, self._parser.retry_ms / 1000)

    def on_state(self, told: Callable[[SourceState], None]) -> None:
        """Call ``told`` with each new state; what it raises is logged."""
        if self._phase is not _Phase.CLOSED:
            self._on_state.append(told)

    def when_ended(self) -> Deferred[Ending]:
        """Fires when no event will come any more and all that came are read, or ``close`` was called. Never fails."""
        return self._queue.when_ended()

    # -- IPushProducer --------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self._queue.pause()
        if self._reading is not None:
            self._reading.go_on()

    def resumeProducing(self) -> None:
        self._queue.resume()

    def stopProducing(self) -> None:
        self.close()

    def close(self) -> None:
        """End it now: the connection is dropped, what waits is forgotten, iterating ends. Twice is once."""
        ending = Ending(EndReason.CLOSED, "closed here")
        self._end(ending)
        self._queue.clear(ending)

    # -- one attempt ----------------------------------------------------------------------------

    def _start(self) -> None:
        if self._phase is _Phase.NEW:
            self._ask()

    def _ask(self) -> None:
        self._attempt += 1
        self._timer = self._clock.callLater(self._limits.head_seconds, self._failed)
        self._move(_Phase.ASKING)  # which is no new state, so nobody is told and closes it
        try:
            asked = self._request.send(self.last_event_id)
        except Exception as error:
            self._cannot(type(error))
            return
        self._asked = asked
        asked.addCallbacks(
            self._answered, self._unanswered, callbackArgs=(self._attempt,), errbackArgs=(self._attempt,)
        )

    def _answered(self, response: IResponse, attempt: int) -> None:
        if self._phase is not _Phase.ASKING or attempt != self._attempt:
            discard(response)  # the agent could not be stopped
            return
        self._asked = None
        self._release()
        answer = judge(response, self._clock.seconds())
        if isinstance(answer, Stream):
            self._read(response, answer.coding)
            return
        discard(response)
        if isinstance(answer, Later):
            self._end_or_wait(self._patience.refused(answer.ending), answer.retry_after_seconds)
        else:
            self._end(answer.ending)

    def _unanswered(self, failure: Failure, attempt: int) -> None:
        if self._phase is not _Phase.ASKING or attempt != self._attempt:
            return
        self._asked = None
        if failure.check(TypeError, ValueError, SchemeNotSupported):
            self._cannot(failure.type)
        else:
            self._failed()

    def _read(self, response: IResponse, coding: bytes) -> None:
        limits = self._limits
        self._parser = Parser(
            max_line_bytes=limits.max_line_bytes,
            max_event_bytes=limits.max_event_bytes,
            max_id_bytes=limits.max_id_bytes,
            last_event_id=self.last_event_id,
        )
        body = EventBody(self, self._parser, decoder(coding, max_ratio=limits.max_ratio), self._clock, limits)
        self._reading, self._queue.wake = body, body.go_on
        self._events_since = 0
        self._opened_at = self._clock.seconds()
        self._move(_Phase.READING)
        response.deliverBody(body)  # one that has ended drops its transport

    # -- as the body tells it -------------------------------------------------------------------

    def room(self) -> int:
        """How many more events the body may bring."""
        return self._queue.room()

    def body_events(self, events: list[Event]) -> None:
        self._patience.well()
        self._events_since += len(events)
        self._queue.put([event if event.type != "gap" else gap_of(event) or event for event in events])

    def body_ended(self, ending: Ending | None) -> None:
        """Called once for a body, which has freed all it had."""
        self._end_body()
        open_seconds = self._clock.seconds() - self._opened_at
        if ending is not None:
            self._end(ending)
        elif self._events_since or open_seconds > self._limits.max_retry_seconds:
            self._patience.well()  # if only quiet
            self._end_or_wait(None)
        else:
            self._end_or_wait(self._patience.failed())

    def _end_body(self) -> EventBody | None:
        """Keep what the next attempt must know of this one."""
        self._last_event_id, self._retry_seconds = self.last_event_id, self.retry_seconds
        body, self._reading = self._reading, None
        self._parser = self._queue.wake = None
        return body

    # -- between attempts -----------------------------------------------------------------------

    def _failed(self) -> None:
        """No answer came, or none in time."""
        self._release()
        self._end_or_wait(self._patience.failed())

    def _end_or_wait(self, ending: Ending | None, retry_after_seconds: float = 0.0) -> None:
        if ending is not None:
            self._end(ending)
            return
        seconds = self._patience.wait_seconds(self.retry_seconds, retry_after_seconds)
        self._timer = self._clock.callLater(seconds, self._again)
        self._move(_Phase.WAITING)

    def _again(self) -> None:
        self._timer = None
        self._ask()

    # -- the end --------------------------------------------------------------------------------

    def _cannot(self, kind: type[BaseException] | None) -> None:
        name = "an exception" if kind is None else kind.__name__
        self._end(Ending(EndReason.REQUEST, f"the agent refuses the request: {name}"))

    def _end(self, ending: Ending) -> None:
        if self._phase is _Phase.CLOSED:
            return
        self._release()
        self.ending = ending
        self._move(_Phase.CLOSED)
        self._on_state.clear()
        self._queue.end(ending)

    def _release(self) -> None:
        """Give back all that a phase has."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        self._attempt += 1  # whatever is answered from now on is too late
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
        body = self._end_body()
        if body is not None:
            body.end()

    def _move(self, phase: _Phase) -> None:
        before, self._phase = self.state, phase
        now = self.state
        if now is not before:
            for told in list(self._on_state):
                self._tell(told, now)

    def _tell(self, told: Callable[[SourceState], None], state: SourceState) -> None:
        try:
            told(state)
        except Exception:
            log.failure("who is told of an event source's state failed")


def _unregister(ending: Ending, consumer: Any) -> Ending:
    consumer.unregisterProducer()
    return ending

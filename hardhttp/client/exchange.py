"""One request on its way: what it asks, where it is, and whom it will tell.

An exchange is in exactly one stage. Until it has a connection it stands in the deadlines' list by
itself; from then on the connection answers for it. It ends once: its Deferred fires, and whatever it
held is let go. What stays, for ``response.request``, is what was asked.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest, IResponse
from zope.interface import implementer

from hardhttp.client.errors import reason_of
from hardhttp.client.limits import ClientLimits
from hardhttp.client.sending import BytesBody
from hardhttp.net.failing import fail
from hardhttp.wire.answerhead import AnswerBounds
from hardhttp.wire.deadlines import NEVER

if TYPE_CHECKING:
    from hardhttp.client.connection import Connection
    from hardhttp.client.host import Host
    from hardhttp.client.pool import Pool
    from hardhttp.client.stream2 import Stream

__all__ = ["Exchange", "Stage", "answer_bounds"]

# RFC 9110, 9.2.2
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})


class Stage(IntEnum):
    """Where an exchange is."""

    QUEUED = 0  # no connection is free
    DIALING = 1  # one is being made for it
    CONNECTED = 2  # a connection has it
    DONE = 3


def answer_bounds(limits: ClientLimits) -> AnswerBounds:
    """What ``limits`` say of a response, for ``wire``."""
    body = NEVER if limits.max_body_bytes is None else limits.max_body_bytes
    return AnswerBounds(limits.max_head_bytes, limits.max_headers, limits.max_informational, body)


@implementer(IClientRequest)
class Exchange:
    """A request. ``method``, ``absoluteURI`` and ``headers`` are what was asked (``IClientRequest``).

    ``head`` is the request's head as HTTP/1.1 has it; ``fields`` (Host first) and ``target`` are what it was made
    of. ``content`` is a body of known bytes, ``producer`` makes any other. ``due`` is when
    ``total_seconds`` have passed.
    """

    __slots__ = (
        "absoluteURI",
        "bounds",
        "connection",
        "content",
        "deadline",
        "deferred",
        "dial",
        "due",
        "expects",
        "fields",
        "head",
        "headers",
        "host",
        "keep_alive",
        "limits",
        "method",
        "moves",
        "number",
        "pool",
        "producer",
        "stage",
        "target",
        "upgrades",
    )

    def __init__(
        self, method: bytes, uri: bytes, headers: Headers, producer: Any, limits: ClientLimits, bounds: AnswerBounds
    ) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = headers
        self.producer = producer
        self.limits = limits
        self.bounds = bounds
        self.head = self.content = self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.keep_alive = True  # the request does not say close
        self.expects = False  # it says Expect: 100-continue
        self.upgrades = False  # it asks for another protocol
        self.moves = 0  # from connections that turned out to be dead, or did not want it
        self.number = 0
        self.due = NEVER
        self.deadline = NEVER
        self.stage = Stage.QUEUED
        self.pool: Pool | None = None
        self.host: Host | None = None
        self.dial: Deferred[Any] | None = None
        self.connection: Connection | Stream | None = None
        self.deferred: Deferred[IResponse] | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again, when its first answer was that the connection is gone."""
        producer = self.producer
        again = producer is None or isinstance(producer, BytesBody)
        return again and not self.moves and self.method in _IDEMPOTENT

    def expire(self, now: float) -> None:
        """It waits too long, for a connection or in the queue."""
        if self.pool is not None:
            self.pool.overdue(self, now)

    def cancel(self, deferred: Deferred[IResponse]) -> None:
        """The application has cancelled its Deferred: everything is let go at once."""
        self.deferred = None
        if self.pool is not None:
            self.pool.cancelled(self)
        fail(deferred, CancelledError())

    def fail(self, error: Exception | Failure) -> None:
        """End without a response."""
        pool, failure = self.pool, error if isinstance(error, Failure) else Failure(error)
        if pool is not None:
            pool.statistics.failed[reason_of(failure.value)] += 1
        deferred = self._end()
        if deferred is not None:
            fail(deferred, failure)

    def answer(self, response: IResponse) -> None:
        """End with the response's head; its body may still be coming."""
        deferred = self._end()
        if deferred is not None:
            deferred.callback(response)

    def _end(self) -> Deferred[IResponse] | None:
        self.stage = Stage.DONE
        self.producer = self.pool = self.host = self.dial = self.connection = None
        self.head = self.content = b""
        self.fields = []
        deferred, self.deferred = self.deferred, None
        return deferred

    def __repr__(self) -> str:
        return f"<Exchange {self.stage.name}>"  # the URI may hold a token

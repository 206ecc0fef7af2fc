"""Requests tried again, where nobody can be harmed by it.

``RetryingAgent`` wraps any ``IAgent``. What it tries again:

- what was never sent, whatever its method: no name, no connection, no place in the queue; but not a tunnel that a
  proxy has refused by a 3xx or 4xx, unless that says "later" (408, 425, 429);
- an idempotent method (RFC 9110, 9.2.2) whose kept connection ended before a byte of the answer: the server had closed
  it when the request was on its way (RFC 9112, 9.3.1). On a connection of its own the same may be the request's own
  doing, so that is tried again only with ``retry_fresh``; an agent that does not say which it was, as
  ``twisted.web.client``'s does not, counts as fresh (its pool has done the other case itself);
- answers of ``statuses``, none unless asked for, to idempotent methods.

A body is sent again only if it was not begun, or if it can be made again (``again()``, as ``BytesBody`` has it).
Nothing begins after ``total_seconds``; an attempt that has begun has the inner agent's own deadlines. Waits have full
jitter; a ``Retry-After`` is the least of its wait, and one past its bound is not waited for.

One ``_Call`` owns a request's attempts; cancelling its Deferred frees them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError, TimeoutError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web._newclient import RequestGenerationFailed, RequestNotSent, RequestTransmissionFailed
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from hardhttp.client.bodies import discard
from hardhttp.client.breaker import CircuitOpenError
from hardhttp.client.layers import takes_limits
from hardhttp.client.waits import full_jitter
from hardhttp.limits import KiB, _count, _seconds
from hardhttp.wire.retryafter import parse_retry_after

__all__ = ["IDEMPOTENT", "RetryPolicy", "RetryingAgent"]

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
# What can mend itself: "try later", and what a proxy says of a server that is being restarted.
_RETRYABLE = frozenset({429, 502, 503, 504})
_AGENT_CLOSED = "agent-closed"
# Of the statuses by which a proxy refuses a tunnel, those that are no verdict.
_LATER = frozenset({408, 425, 429})


def _statuses(given: Any) -> frozenset[int]:
    return frozenset(given)


def _check_statuses(policy: RetryPolicy, attribute: Any, value: frozenset[int]) -> None:
    if not value <= _RETRYABLE:
        raise ValueError(f"statuses has {sorted(value - _RETRYABLE)}; it may have {sorted(_RETRYABLE)}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """What is tried again and how often. Raises ``ValueError`` (``LimitError``) that names the field and the bound."""

    # As urllib3 and most SDKs do it.
    max_retries: int = _count(3, 1000, "attempts after the first", 0)
    # A user has left by then.
    total_seconds: float = _seconds(30.0, "from the call, after which no attempt begins")
    base_seconds: float = _seconds(0.2, "the longest first wait; it doubles with each further one")
    max_wait_seconds: float = _seconds(10.0, "the longest wait")
    max_retry_after_seconds: float = _seconds(20.0, "the longest Retry-After that is waited for")
    statuses: frozenset[int] = attrs.field(default=frozenset(), converter=_statuses, validator=_check_statuses)
    retry_fresh: bool = False
    max_discarded_bytes: int = _count(64 * KiB, 1 << 30, "read of an answer that is not wanted, to keep its connection")


class Fate(Enum):
    """What became of a request that failed."""

    NOT_SENT = auto()
    LOST_REUSED = auto()  # the connection ended before a byte of the answer, and had served before
    LOST = auto()  # the same, and it had not, or nobody knows
    FINAL = auto()


def fate(failure: Failure) -> Fate:
    """By Twisted's exceptions, and by ``sent`` and ``reused`` where an agent's errors have them."""
    error: Any = failure.value
    if isinstance(error, (CancelledError, CircuitOpenError, ValueError, RequestGenerationFailed)):
        return Fate.FINAL
    if getattr(error, "reason", None) == _AGENT_CLOSED:
        return Fate.FINAL
    sent = getattr(error, "sent", None)
    if sent is None:
        return _fate_of_stock(error)
    status = getattr(error, "status", None)
    if isinstance(status, int) and 300 <= status < 500 and status not in _LATER:
        return Fate.FINAL  # a proxy's: it will refuse the tunnel again, and may count wrong passwords
    if not sent and isinstance(error, (ConnectError, DNSLookupError, RequestNotSent, ResponseNeverReceived)):
        return Fate.NOT_SENT
    if isinstance(error, ResponseNeverReceived) and not isinstance(error, TimeoutError):
        return Fate.LOST_REUSED if getattr(error, "reused", False) else Fate.LOST
    return Fate.FINAL


def _fate_of_stock(error: BaseException) -> Fate:
    if isinstance(error, (ConnectError, DNSLookupError, RequestNotSent)):
        return Fate.NOT_SENT
    if isinstance(error, (ResponseNeverReceived, RequestTransmissionFailed)) and all(
        reason.check(ConnectionClosed) for reason in error.reasons
    ):
        return Fate.LOST
    return Fate.FINAL


@implementer(IAgent)
class RetryingAgent:
    """``agent``, with retries. ``retries`` and ``given_up`` count, for metrics. ``random`` is for tests."""

    def __init__(
        self, agent: IAgent, *, clock: IReactorTime, policy: RetryPolicy | None = None, random: Random | None = None
    ) -> None:
        self.agent: Any = agent
        self.limits = getattr(agent, "limits", None)
        self.takes_limits = takes_limits(agent)
        self.clock = clock
        self.policy = RetryPolicy() if policy is None else policy
        self.random = Random() if random is None else random
        self.retries = 0
        self.given_up = 0  # retryable, but no more attempts or no more time

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
        **options: Any,
    ) -> Deferred[IResponse]:
        """As ``IAgent`` has it; ``options`` are handed on. Fires with the first answer that is final, or fails as the
        last attempt did.
        """
        body = bodyProducer if bodyProducer is None or hasattr(bodyProducer, "again") else _Body(bodyProducer)
        return _Call(self, partial(self.agent.request, **options), method, uri, headers, body).begin()


@implementer(IBodyProducer)
class _Body:
    """A body that cannot be made again, but knows whether it was begun."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.length = body.length
        self.begun = False

    def again(self) -> _Body | None:
        """The same body for another attempt, or None where there is none."""
        return None if self.begun else self

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self.begun = True
        started: Deferred[None] = self._body.startProducing(consumer)
        return started

    def pauseProducing(self) -> None:
        self._body.pauseProducing()

    def resumeProducing(self) -> None:
        self._body.resumeProducing()

    def stopProducing(self) -> None:
        if self.begun:  # else it may serve another attempt
            self._body.stopProducing()


class _Call:
    """One request and its attempts: at any time one of ``_asked`` and ``_timer`` is there, until the result is."""

    def __init__(
        self,
        retrying: RetryingAgent,
        request: Callable[..., Deferred[IResponse]],
        method: bytes,
        uri: bytes,
        headers: Headers | None,
        body: Any,
    ) -> None:
        self._retrying = retrying
        self._request = request
        self._policy = retrying.policy
        self._method, self._uri, self._headers = method, uri, headers
        self._body = body
        self._retries = 0
        self._began_at = retrying.clock.seconds()
        self._asked: Deferred[IResponse] | None = None
        self._timer: IDelayedCall | None = None
        self._discarding: Any = None
        self._result: Deferred[IResponse] | None = None

    def begin(self) -> Deferred[IResponse]:
        result: Deferred[IResponse] = Deferred(self._cancel)
        self._result = result
        self._ask()
        return result

    def _ask(self) -> None:
        headers = None if self._headers is None else self._headers.copy()
        self._asked = asked = maybeDeferred(self._request, self._method, self._uri, headers, self._body)
        asked.addCallbacks(self._answered, self._failed)

    def _answered(self, response: IResponse) -> None:
        self._asked = None
        policy = self._policy
        if response.code not in policy.statuses or self._method not in IDEMPOTENT:
            self._end(response)
            return
        headers = response.headers
        after, date = (headers.getRawHeaders(name, [None])[-1] for name in (b"retry-after", b"date"))
        asked_seconds = parse_retry_after(after, self._retrying.clock.seconds(), date) or 0.0
        if asked_seconds > policy.max_retry_after_seconds or not self._wait(asked_seconds):
            self._end(response)
        else:
            self._discarding = discard(response, policy.max_discarded_bytes)

    def _failed(self, failure: Failure) -> None:
        self._asked = None
        what = fate(failure)
        may = what is Fate.NOT_SENT or (
            self._method in IDEMPOTENT
            and (what is Fate.LOST_REUSED or (what is Fate.LOST and self._policy.retry_fresh))
        )
        if not may or not self._wait(0.0):
            self._end(failure)

    def _wait(self, asked_seconds: float) -> bool:
        """Whether there will be another attempt."""
        if self._result is None:
            return False
        policy, clock = self._policy, self._retrying.clock
        body = None if self._body is None else self._body.again()
        if self._body is not None and body is None:
            return False
        seconds = asked_seconds + full_jitter(
            self._retrying.random, policy.base_seconds, policy.max_wait_seconds, self._retries
        )
        late = clock.seconds() - self._began_at + seconds > policy.total_seconds
        if self._retries >= policy.max_retries or late:
            self._retrying.given_up += 1
            return False
        self._body = body
        self._retries += 1
        self._retrying.retries += 1
        self._timer = clock.callLater(seconds, self._again)
        return True

    def _again(self) -> None:
        self._timer = None
        self._end_discarding()
        self._ask()

    def _end_discarding(self) -> None:
        discarding, self._discarding = self._discarding, None
        if discarding is not None:
            discarding.end()

    def _end(self, result: IResponse | Failure) -> None:
        told, self._result = self._result, None
        self._body = None
        if told is not None:
            told.callback(result)  # a Failure makes it fail
        elif not isinstance(result, Failure):
            discard(result)  # cancelled, and the inner agent answers all the same

    def _cancel(self, _: Deferred[IResponse]) -> None:
        self._result = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end_discarding()
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
        self._body = None

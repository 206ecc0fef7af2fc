"""A circuit breaker for each host: whoever is down is left alone for a while.

``BreakerAgent`` wraps any ``IAgent`` and counts, for each origin (scheme, host and port), what became of its requests
over the last ``window_seconds``. Where ``min_failures`` of them have failed, and at least ``failure_ratio`` of all, the
circuit opens: requests fail at once with ``CircuitOpenError``, which says when it will be tried again. Then one request
goes through as a probe; if that succeeds all do, else the circuit stays open, each time twice as long, up to
``max_open_seconds``.

==========  ==================================  =========================================
state       a request                           it moves
==========  ==================================  =========================================
CLOSED      goes through and is counted         to OPEN at the bounds above
OPEN        fails at once                       to HALF_OPEN by the first after its time
HALF_OPEN   one goes through, others fail       by the probe: to CLOSED or to OPEN
==========  ==================================  =========================================

What counts as a failure: no connection, no answer or none in time, a broken answer, and an answer of ``statuses``. Not
counted is what says nothing of the host: a request that was cancelled, that cannot be made, or that found the agent's
own queue full. What happens to a body after its head has come is not seen here.

There is no timer: states are judged when they are asked for. What is remembered is bounded by ``max_hosts``; the origin
that was asked least recently is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web._newclient import RequestGenerationFailed, RequestNotSent
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from hardhttp.client.layers import takes_limits
from hardhttp.limits import _count, _limit, _seconds

__all__ = ["BreakerAgent", "BreakerPolicy", "Circuit", "CircuitOpenError", "CircuitState"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
# The window is counted in as many parts: a count is at most one part too old.
_PARTS = 10
# ``reason`` codes of an agent's errors that say nothing of the host.
_NEUTRAL_REASONS = frozenset({"max-queued", "agent-closed", "cancelled", "max-redirects"})
_NEUTRAL = (CancelledError, ValueError, TypeError, SchemeNotSupported, RequestGenerationFailed)


class CircuitState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@attrs.frozen(kw_only=True)
class BreakerPolicy:
    """When a circuit opens and for how long. Raises ``LimitError`` that names the field and the bound."""

    # One failure is an accident; five at half of all are none.
    min_failures: int = _count(5, 1_000_000, "failures in a window, below which a circuit stays closed")
    failure_ratio: float = _limit(0.5, 0.0, 1.0, "of a window's requests that must have failed; 0: the number alone")
    window_seconds: float = _seconds(10.0, "over which requests are counted")
    # A restart takes some seconds.
    open_seconds: float = _seconds(5.0, "from a circuit's opening to its first probe; doubled with each that fails")
    max_open_seconds: float = _seconds(60.0, "the longest that a circuit stays open without a probe")
    # A probe that nobody hears of again must not close the way for ever.
    probe_seconds: float = _seconds(30.0, "for a probe to be answered; then another is sent")
    max_hosts: int = _count(1000, 1_000_000, "origins remembered; the one asked least recently is forgotten")
    statuses: frozenset[int] = attrs.field(default=frozenset({502, 503, 504}), converter=frozenset)


class CircuitOpenError(RequestNotSent):
    """Nothing was sent: ``origin`` has failed too often. ``retry_seconds`` from now it will be tried again."""

    sent = reused = False

    def __init__(self, origin: str, retry_seconds: float) -> None:
        super().__init__(
            f"{origin} has failed too often; it will be tried again in {retry_seconds:.1f} s"
            if retry_seconds > 0
            else f"{origin} has failed too often; a request that tries it again is on its way"
        )
        self.origin = origin
        self.retry_seconds = retry_seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.origin, self.retry_seconds)


@attrs.frozen
class Circuit:
    """What is known of an origin: counts are of the window, ``retry_seconds`` is 0 unless it is open."""

    state: CircuitState
    requests: int
    failures: int
    retry_seconds: float


class _Host:
    """One origin. ``turn`` grows with each change of state, so that what began before it is not counted after it."""

    __slots__ = ("opened", "parts", "probe_until", "state", "turn", "until")

    def __init__(self) -> None:
        self.state = CircuitState.CLOSED
        self.turn = 0
        self.until = 0.0  # open
        self.probe_until = 0.0
        self.opened = 0  # in a row
        self.parts: deque[list[float]] = deque()  # [began at, requests, failures]

    def count(self, now: float, part_seconds: float, failed: bool) -> None:
        if not self.parts or now - self.parts[-1][0] >= part_seconds:
            self.parts.append([now, 0, 0])
        self.parts[-1][1] += 1
        self.parts[-1][2] += failed

    def totals(self, now: float, window_seconds: float) -> tuple[int, int]:
        """Requests and failures of the window; what is older is forgotten."""
        while self.parts and now - self.parts[0][0] >= window_seconds:
            self.parts.popleft()
        return int(sum(part[1] for part in self.parts)), int(sum(part[2] for part in self.parts))

    def move(self, state: CircuitState) -> None:
        self.state = state
        self.turn += 1


@implementer(IAgent)
class BreakerAgent:
    """``agent``, with a circuit for each origin. ``refused`` and ``opened`` count, for metrics."""

    def __init__(self, agent: IAgent, *, clock: IReactorTime, policy: BreakerPolicy | None = None) -> None:
        self.agent: Any = agent
        self.limits = getattr(agent, "limits", None)
        self.takes_limits = takes_limits(agent)
        self.clock = clock
        self.policy = BreakerPolicy() if policy is None else policy
        self.refused = 0
        self.opened = 0
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
        **options: Any,
    ) -> Deferred[IResponse]:
        """As ``IAgent`` has it; ``options`` are handed on. Fails with ``CircuitOpenError`` where a circuit is open."""
        origin = _origin(uri)
        if origin is None:
            refused: Deferred[IResponse] = self.agent.request(method, uri, headers, bodyProducer, **options)
            return refused
        host = self._host(origin)
        wait_seconds = self._admit(host)
        if wait_seconds is not None:
            self.refused += 1
            return fail(CircuitOpenError(origin, wait_seconds))
        try:
            asked: Deferred[IResponse] = self.agent.request(method, uri, headers, bodyProducer, **options)
        except Exception:
            self._neutral(host, host.turn)
            raise
        asked.addCallbacks(self._answered, self._failed, callbackArgs=(host, host.turn), errbackArgs=(host, host.turn))
        return asked

    def circuit(self, uri: bytes) -> Circuit:
        """What is known of the origin of ``uri``."""
        origin = _origin(uri)
        host = None if origin is None else self._hosts.get(origin)
        return Circuit(CircuitState.CLOSED, 0, 0, 0.0) if host is None else self._describe(host)

    def circuits(self) -> dict[str, Circuit]:
        """What is known of every origin that is remembered, such as ``https://example.com:443``."""
        return {origin: self._describe(host) for origin, host in self._hosts.items()}

    # -- within ---------------------------------------------------------------------------------

    def _host(self, origin: str) -> _Host:
        host = self._hosts.get(origin)
        if host is None:
            host = self._hosts[origin] = _Host()
            if len(self._hosts) > self.policy.max_hosts:
                self._hosts.popitem(last=False)
        else:
            self._hosts.move_to_end(origin)
        return host

    def _admit(self, host: _Host) -> float | None:
        """None for a request that may go, else the seconds to wait."""
        now = self.clock.seconds()
        if host.state is CircuitState.CLOSED:
            return None
        until = host.until if host.state is CircuitState.OPEN else host.probe_until
        if now < until:
            return until - now if host.state is CircuitState.OPEN else 0.0
        host.move(CircuitState.HALF_OPEN)
        host.probe_until = now + self.policy.probe_seconds
        return None

    def _answered(self, response: IResponse, host: _Host, turn: int) -> IResponse:
        self._count(host, turn, response.code in self.policy.statuses)
        return response

    def _failed(self, failure: Failure, host: _Host, turn: int) -> Failure:
        if failure.check(*_NEUTRAL) or getattr(failure.value, "reason", None) in _NEUTRAL_REASONS:
            self._neutral(host, turn)
        else:
            self._count(host, turn, True)
        return failure

    def _neutral(self, host: _Host, turn: int) -> None:
        if turn == host.turn and host.state is CircuitState.HALF_OPEN:
            host.probe_until = self.clock.seconds()  # the next one is the probe

    def _count(self, host: _Host, turn: int, failed: bool) -> None:
        if turn != host.turn:
            return
        policy, now = self.policy, self.clock.seconds()
        if host.state is CircuitState.HALF_OPEN:
            if failed:
                self._open(host, now)
            else:
                host.opened = 0
                host.parts.clear()
                host.move(CircuitState.CLOSED)
            return
        host.count(now, policy.window_seconds / _PARTS, failed)
        requests, failures = host.totals(now, policy.window_seconds)
        if failed and failures >= policy.min_failures and failures >= policy.failure_ratio * requests:
            self._open(host, now)

    def _open(self, host: _Host, now: float) -> None:
        open_seconds = min(self.policy.max_open_seconds, self.policy.open_seconds * 2.0 ** min(host.opened, 32))
        host.opened += 1
        host.until = now + open_seconds
        host.parts.clear()
        host.move(CircuitState.OPEN)
        self.opened += 1

    def _describe(self, host: _Host) -> Circuit:
        now = self.clock.seconds()
        requests, failures = host.totals(now, self.policy.window_seconds)
        wait = max(0.0, host.until - now) if host.state is CircuitState.OPEN else 0.0
        return Circuit(host.state, requests, failures, wait)


def _origin(uri: Any) -> str | None:
    """Without user and password."""
    try:
        parts = urlsplit(uri.decode("ascii"))
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
    except (AttributeError, KeyError, ValueError):
        return None
    if not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"

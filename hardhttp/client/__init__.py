"""The client: event streams, retries and a circuit breaker for any ``IAgent``."""

from hardhttp.client.breaker import BreakerAgent, BreakerPolicy, Circuit, CircuitOpenError, CircuitState
from hardhttp.client.eventanswer import Ending, EndReason, EventSourceError
from hardhttp.client.eventlimits import EventLimits
from hardhttp.client.eventsource import EventSource, State
from hardhttp.client.gap import Gap
from hardhttp.client.retrying import RetryingAgent, RetryPolicy

__all__ = [
    "BreakerAgent",
    "BreakerPolicy",
    "Circuit",
    "CircuitOpenError",
    "CircuitState",
    "EndReason",
    "Ending",
    "EventLimits",
    "EventSource",
    "EventSourceError",
    "Gap",
    "RetryPolicy",
    "RetryingAgent",
    "State",
]

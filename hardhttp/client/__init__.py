"""The client: event streams, retries and a circuit breaker for any ``IAgent``."""

from hardhttp.client.eventanswer import Ending, EndReason, EventSourceError
from hardhttp.client.eventlimits import EventLimits
from hardhttp.client.eventsource import EventSource, State
from hardhttp.client.gap import Gap

__all__ = ["EndReason", "Ending", "EventLimits", "EventSource", "EventSourceError", "Gap", "State"]

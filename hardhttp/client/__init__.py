"""The HTTP client: an ``IAgent`` that no response, proxy or silence can leak.

These are its public names; what else stands in the modules may change.
"""

from typing import TYPE_CHECKING, Any

from hardhttp.client.agent import Agent
from hardhttp.client.breaker import BreakerAgent, BreakerPolicy, Circuit, CircuitOpenError, CircuitState
from hardhttp.client.decoding import DecodingAgent
from hardhttp.client.endpoints import Endpoints, Route, Routes
from hardhttp.client.errors import (
    AgentClosed,
    BadResponse,
    BodyAborted,
    BodyTimeout,
    BodyUnread,
    ClientError,
    ClientReason,
    ConnectTimeout,
    NoResponse,
    QueueFull,
    QueueTimeout,
    RequestBodyFailed,
    RequestRefused,
    ResponseCut,
    ResponseTimeout,
    ResponseTooLarge,
    TLSFailed,
    TLSTimeout,
    TooManyRedirects,
    reason_of,
)
from hardhttp.client.eventanswer import Ending, EndReason, EventSourceError
from hardhttp.client.eventlimits import EventLimits
from hardhttp.client.eventsource import EventSource, SourceState
from hardhttp.client.gap import Gap
from hardhttp.client.limits import ClientLimits
from hardhttp.client.proxies import Proxy, ProxyURLError, proxy_for
from hardhttp.client.redirects import RedirectAgent
from hardhttp.client.response import Response
from hardhttp.client.retrying import RetryingAgent, RetryPolicy
from hardhttp.client.sending import BytesBody
from hardhttp.client.tunnel import TunnelEndpoint, TunnelError

if TYPE_CHECKING:
    from hardhttp.client.treqclient import HTTPClient

__all__ = [
    "Agent",
    "AgentClosed",
    "BadResponse",
    "BodyAborted",
    "BodyTimeout",
    "BodyUnread",
    "BreakerAgent",
    "BreakerPolicy",
    "BytesBody",
    "Circuit",
    "CircuitOpenError",
    "CircuitState",
    "ClientError",
    "ClientLimits",
    "ClientReason",
    "ConnectTimeout",
    "DecodingAgent",
    "EndReason",
    "Ending",
    "Endpoints",
    "EventLimits",
    "EventSource",
    "EventSourceError",
    "Gap",
    "HTTPClient",
    "NoResponse",
    "Proxy",
    "ProxyURLError",
    "QueueFull",
    "QueueTimeout",
    "RedirectAgent",
    "RequestBodyFailed",
    "RequestRefused",
    "Response",
    "ResponseCut",
    "ResponseTimeout",
    "ResponseTooLarge",
    "RetryPolicy",
    "RetryingAgent",
    "Route",
    "Routes",
    "SourceState",
    "TLSFailed",
    "TLSTimeout",
    "TooManyRedirects",
    "TunnelEndpoint",
    "TunnelError",
    "proxy_for",
    "reason_of",
]


def __getattr__(name: str) -> Any:
    """``HTTPClient`` needs treq, which not everybody has."""
    if name == "HTTPClient":
        from hardhttp.client.treqclient import HTTPClient

        return HTTPClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

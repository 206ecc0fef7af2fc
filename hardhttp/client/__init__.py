"""The HTTP client: an ``IAgent`` that no response, proxy or silence can leak.

These are its public names; what else stands in the modules may change.
"""

from hardhttp.client.agent import Agent
from hardhttp.client.endpoints import Endpoints, Route, Routes
from hardhttp.client.errors import (
    AgentClosed,
    BadResponse,
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
from hardhttp.client.limits import ClientLimits
from hardhttp.client.proxies import Proxy, ProxyURLError, proxy_for
from hardhttp.client.response import Response
from hardhttp.client.sending import BytesBody
from hardhttp.client.tunnel import TunnelEndpoint, TunnelError

__all__ = [
    "Agent",
    "AgentClosed",
    "BadResponse",
    "BodyTimeout",
    "BodyUnread",
    "BytesBody",
    "ClientError",
    "ClientLimits",
    "ClientReason",
    "ConnectTimeout",
    "Endpoints",
    "NoResponse",
    "Proxy",
    "ProxyURLError",
    "QueueFull",
    "QueueTimeout",
    "RequestBodyFailed",
    "RequestRefused",
    "Response",
    "ResponseCut",
    "ResponseTimeout",
    "ResponseTooLarge",
    "Route",
    "Routes",
    "TLSFailed",
    "TLSTimeout",
    "TooManyRedirects",
    "TunnelEndpoint",
    "TunnelError",
    "proxy_for",
    "reason_of",
]

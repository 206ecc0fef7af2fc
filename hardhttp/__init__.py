"""A Twisted HTTP and Server-Sent-Events server that can be left running for months."""

from hardhttp.errors import HTTPError
from hardhttp.interfaces import IStreamingResource
from hardhttp.limits import Limits
from hardhttp.net.tlspolicy import TLSPolicy
from hardhttp.sse.hub import EventHub
from hardhttp.sse.stream import EventStream
from hardhttp.web.accesslog import AccessLog
from hardhttp.web.compression import Compressed
from hardhttp.web.cors import CORS
from hardhttp.web.hints import Hints
from hardhttp.web.httpsredirect import HTTPSRedirect
from hardhttp.web.ratelimit import RateLimited
from hardhttp.web.request import Request
from hardhttp.web.response import Response, abort
from hardhttp.web.routing import Router
from hardhttp.web.securityheaders import SecurityHeaders
from hardhttp.web.service import HTTPService, listen, service
from hardhttp.web.sessions import Sessions
from hardhttp.web.site import Site
from hardhttp.web.static import StaticFiles
from hardhttp.web.websocket import WebSocketResource
from hardhttp.wire.links import Link

__version__ = "0.1.0"

__all__ = [
    "CORS",
    "AccessLog",
    "Compressed",
    "EventHub",
    "EventStream",
    "HTTPError",
    "HTTPSRedirect",
    "HTTPService",
    "Hints",
    "IStreamingResource",
    "Limits",
    "Link",
    "RateLimited",
    "Request",
    "Response",
    "Router",
    "SecurityHeaders",
    "Sessions",
    "Site",
    "StaticFiles",
    "TLSPolicy",
    "WebSocketResource",
    "abort",
    "listen",
    "service",
]

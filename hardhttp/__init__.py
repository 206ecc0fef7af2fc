"""A Twisted HTTP and Server-Sent-Events server that can be left running for months."""

from hardhttp.interfaces import IStreamingResource
from hardhttp.limits import Limits
from hardhttp.sse.stream import EventStream
from hardhttp.web.request import Request
from hardhttp.web.service import HTTPService, listen, service
from hardhttp.web.site import Site

__version__ = "0.1.0"

__all__ = ["EventStream", "HTTPService", "IStreamingResource", "Limits", "Request", "Site", "listen", "service"]

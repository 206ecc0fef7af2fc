"""What can go wrong with a request, in the classes that users of ``IAgent`` already catch.

Each error carries a ``reason`` (fit for a metric's label), says whether any of the request may have
reached the peer (``sent``) and whether the connection had served before (``reused``): what a retry
needs to know. What a name look-up or a connection attempt raises is passed on as Twisted raises it;
``reason_of`` has a code for these too. No message quotes what the peer sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from OpenSSL.SSL import Error as TLSError
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError, RequestNotSent
from twisted.web.client import RequestGenerationFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.http import _DataLoss

from hardhttp.errors import Fault, LimitFault, Reason

__all__ = [
    "AgentClosed",
    "BadResponse",
    "BodyAborted",
    "BodyTimeout",
    "BodyUnread",
    "ClientError",
    "ClientReason",
    "ConnectTimeout",
    "NoResponse",
    "QueueFull",
    "QueueTimeout",
    "RequestBodyFailed",
    "RequestRefused",
    "ResponseCut",
    "ResponseTimeout",
    "ResponseTooLarge",
    "TLSFailed",
    "TLSTimeout",
    "TooManyRedirects",
    "fault_of_peer",
    "reason_of",
]


class ClientReason(StrEnum):
    """Why a request failed, or a connection was closed."""

    # ordinary ends of a connection
    PEER_CLOSED = "peer-closed"
    NOT_KEPT = "not-kept"  # one side said close, or the body needed it
    IDLE_SECONDS = "idle-connection-seconds"
    IDLE_COUNT = "max-idle-connections"
    EVICTED = "evicted"  # another host waited for its place
    AGENT_CLOSED = "agent-closed"
    UPGRADED_END = "upgraded-end"
    GOAWAY = "goaway"  # HTTP/2: the server takes no more requests
    SPARE = "spare"  # HTTP/2: another connection to the host has room
    # what was asked
    BAD_METHOD_OR_FIELD = "bad-request"
    BAD_URI = "bad-uri"
    REQUEST_BODY = "request-body"  # its producer failed, or made another length than it said
    CANCELLED = "cancelled"
    ABORTED = "aborted"  # the application wants no more of the body
    # no connection
    NAME = "name"
    CONNECT_REFUSED = "connect-refused"
    CONNECT = "connect"
    CONNECT_SECONDS = "connect-seconds"
    TLS = "tls"
    TLS_SECONDS = "tls-seconds"
    BAD_PROXY = "bad-proxy"  # its URL in the environment is none
    PROXY_UNREACHED = "proxy-unreached"  # its name, its address or its port did not answer
    PROXY_SECONDS = "proxy-seconds"
    PROXY_CLOSED = "proxy-closed"  # before its answer was whole; or TLS to it failed
    PROXY_REFUSED = "proxy-refused"
    PROXY_EARLY = "proxy-early"  # bytes behind its answer that nobody in the tunnel can have sent
    QUEUE_FULL = "max-queued"
    QUEUE_SECONDS = "queue-seconds"
    # no response, or half of one
    NO_RESPONSE = "no-response"
    CUT = "cut"
    REFUSED = "refused-stream"  # HTTP/2: the server has not looked at the request
    RESET = "stream-reset"  # HTTP/2: by the server
    SETTINGS_SECONDS = "settings-seconds"
    PING_SECONDS = "ping-seconds"
    UNASKED = "unasked-bytes"  # beyond a response, or before a request
    FIRST_BYTE_SECONDS = "first-byte-seconds"
    SEND_SECONDS = "send-seconds"  # the peer takes none of the request's body
    BODY_IDLE_SECONDS = "body-idle-seconds"
    BODY_RATE = "body-bytes-per-second"
    UNREAD_SECONDS = "unread-seconds"
    TOTAL_SECONDS = "total-seconds"
    DECODED_BYTES = "max-decoded-bytes"
    DECODING = "decoding"
    REDIRECTS = "max-redirects"
    OTHER = "other"


class _Unparsed(ParseError):
    """``ParseError`` without the data, which no error quotes."""

    def __init__(self, text: str) -> None:
        super().__init__(text, b"")


class ClientError(Exception):
    """A request that failed; ``reason`` says why, ``response`` how far it came."""

    _beneath: type[Exception] = ConnectionAborted  # what ``reasons`` has where nothing else was

    def __init__(
        self,
        reason: ClientReason | Reason,
        text: str,
        reasons: Sequence[Failure] = (),
        response: Any = None,
        *,
        sent: bool = False,
        reused: bool = False,
    ) -> None:
        Exception.__init__(self, text)
        self.reason = reason
        self.text = text
        self._reasons = list(reasons)
        self.response = response
        self.sent = sent
        self.reused = reused
        self.osError = None  # what Twisted's ConnectError has

    @property
    def reasons(self) -> list[Failure]:
        """What was beneath: one or more, as Twisted promises of ``ResponseFailed`` and its like."""
        return self._reasons or [Failure(self._beneath(self.text))]

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, or one for another process, where there is no response to hold.
        return _restored, (type(self), self.args, {**vars(self), "response": None})

    def __str__(self) -> str:
        return f"{self.reason.value}: {self.text}"


def _restored(kind: type[ClientError], args: tuple[Any, ...], state: dict[str, Any]) -> ClientError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


class RequestRefused(ClientError, ValueError):
    """What was asked cannot be sent."""


class AgentClosed(ClientError, RequestNotSent):
    """The agent has been closed."""


class QueueFull(ClientError, RequestNotSent):
    """``max_queued`` requests wait already."""


class QueueTimeout(ClientError, RequestNotSent, TimeoutError):
    """No connection came free within ``queue_seconds``."""


class ConnectTimeout(ClientError, TimeoutError):
    """No connection within ``connect_seconds``."""


class TLSTimeout(ConnectTimeout):
    """No end of the TLS handshake within ``tls_seconds``."""


class TLSFailed(ClientError, ResponseNeverReceived):
    """The TLS handshake failed, or the certificate is not the host's."""


class NoResponse(ClientError, ResponseNeverReceived):
    """The connection ended before a byte of the response."""


class ResponseTimeout(ClientError, ResponseNeverReceived, TimeoutError):
    """No response in time."""

    _beneath = TimeoutError


class ResponseCut(ClientError, ResponseFailed):
    """The connection ended within the response."""

    @property
    def reasons(self) -> list[Failure]:
        """What ended the connection, and that data was lost: Scrapy and others look for that one."""
        return [*self._reasons, Failure(_DataLoss(self.text))]


class BodyAborted(ResponseCut, CancelledError):
    """The application wanted no more of the body: what a cancelled ``readBody`` fails with too."""


class BodyTimeout(ClientError, ResponseFailed, TimeoutError):
    """The body came too slowly, or not at all."""

    _beneath = TimeoutError


class BodyUnread(ClientError, ResponseFailed):
    """Nobody took the body within ``unread_seconds``."""

    _beneath = TimeoutError


class BadResponse(ClientError, ResponseFailed):
    """The peer broke the protocol."""

    _beneath = _Unparsed


class ResponseTooLarge(BadResponse):
    """The response is larger than a limit allows."""


class RequestBodyFailed(ClientError, RequestGenerationFailed):
    """The request's body producer failed, or made another length than it said."""


class TooManyRedirects(ClientError, ResponseFailed):
    """A redirect that is not followed: one too many, or one that leads nowhere."""


def fault_of_peer(fault: Fault, response: Any = None) -> BadResponse:
    """The error for what ``wire`` refused of a response."""
    kind = ResponseTooLarge if isinstance(fault, LimitFault) else BadResponse
    return kind(fault.reason, fault.detail, response=response, sent=True)


_KNOWN: tuple[tuple[type[BaseException], ClientReason], ...] = (
    (CancelledError, ClientReason.CANCELLED),
    (DNSLookupError, ClientReason.NAME),
    (ConnectionRefusedError, ClientReason.CONNECT_REFUSED),
    (TimeoutError, ClientReason.CONNECT_SECONDS),
    (TLSError, ClientReason.TLS),
    (ConnectError, ClientReason.CONNECT),
)


def reason_of(error: BaseException | None) -> str:
    """The reason code of whatever a request has failed with."""
    if isinstance(error, ClientError):
        return error.reason.value
    return next((reason.value for kind, reason in _KNOWN if isinstance(error, kind)), ClientReason.OTHER.value)

"""What can go wrong, by whose fault it is.

A ``Fault`` carries all that one place needs to answer it: the status, a reason code (one of
``Reason``: a closed set, fit for a metric's label) and a sentence for whoever debugs the client.
Peers' data never meets ``assert``: whatever a peer sends becomes a ``PeerFault``, whatever it
sends too much or too slowly of a ``LimitFault``, and what we cannot do an ``OurFault``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

__all__ = [
    "BrokerAwayError",
    "Fault",
    "HTTPError",
    "LimitError",
    "LimitFault",
    "OurFault",
    "PeerFault",
    "Reason",
    "SessionTooLargeError",
    "StoreError",
]


class Reason(StrEnum):
    """Why a connection ended or a request was refused."""

    # ordinary ends
    CLIENT_CLOSED = "client-closed"
    CLIENT_RESET = "client-reset"
    RESPONSE_END = "response-end"  # close was asked for, or the response needed it
    IDLE = "idle"
    DRAINED = "drained"
    APPLICATION = "application"  # the application closed it
    KILLED = "killed"  # whoever looks after the server ended it, on the admin side
    UPGRADED_END = "upgraded-end"
    # what the peer sent
    BAD_REQUEST_LINE = "bad-request-line"
    BAD_TARGET = "bad-target"
    BAD_HEADER = "bad-header"
    BAD_HOST = "bad-host"
    BAD_FRAMING = "bad-framing"
    BAD_CHUNK = "bad-chunk"
    BAD_FORM = "bad-form"
    BAD_EXPECTATION = "bad-expectation"
    BAD_VERSION = "bad-version"
    BAD_STATUS_LINE = "bad-status-line"  # of a response, as the client reads it
    BAD_PROXY_HEADER = "bad-proxy-header"  # a trusted proxy did not begin with a PROXY header, or with a broken one
    TLS_HANDSHAKE = "tls-handshake"  # no version, cipher or protocol in common; no certificate, or none of ours
    BAD_MESSAGE = "bad-message"  # of a WebSocket: a frame that may not be, or text that is not UTF-8
    UNKNOWN_CODING = "unknown-coding"
    BAD_FRAME = "bad-frame"  # what HTTP/2 does not allow
    CONNECT = "connect"
    # limits
    HEAD_BYTES = "head-bytes"
    HEADERS = "headers"
    INFORMATIONAL = "informational"  # more 1xx responses than the client reads
    TARGET_BYTES = "target-bytes"
    BODY_BYTES = "body-bytes"
    FORM_FIELDS = "form-fields"
    FORM_BYTES = "form-bytes"
    STREAMS = "streams"  # of one HTTP/2 connection; the one too many may be tried again
    STREAM_RESETS = "stream-resets"
    CONTROL_FRAMES = "control-frames"
    MESSAGE_BYTES = "message-bytes"  # a WebSocket's message was too long, or in too many frames
    UNSENT_BYTES = "unsent-bytes"
    BUFFERED_BYTES = "buffered-bytes"
    CONNECTIONS = "connections"
    CONNECTIONS_PER_ADDRESS = "connections-per-address"
    RATE_LIMIT = "rate-limit"  # of requests, per client: it was answered 429, and the connection goes on
    ACCEPT_HOOK = "accept-hook"
    DESCRIPTORS = "descriptors"
    # deadlines
    HEAD_SECONDS = "head-seconds"
    BODY_RATE = "body-rate"
    BODY_SECONDS = "body-seconds"
    HANDLING_SECONDS = "handling-seconds"
    SEND_RATE = "send-rate"
    PONG_SECONDS = "pong-seconds"
    ABORT_SECONDS = "abort-seconds"
    DRAIN_SECONDS = "drain-seconds"
    # ours
    DRAINING = "draining"
    SHORT_RESPONSE = "short-response"  # the application sent less than its Content-Length
    INTERNAL = "internal"


class LimitError(ValueError):
    """A limit was given a value it cannot have.

    ``name`` is the field, ``value`` what was given, ``low`` and ``high`` the bounds it must keep.
    """

    def __init__(self, name: str, value: Any, low: float, high: float) -> None:
        super().__init__(f"{name} is {value!r}; it must be a number from {low:,} to {high:,}")
        self.name, self.value, self.low, self.high = name, value, low, high


class HTTPError(Exception):
    """An application's own answer to one request; the connection goes on.

    Raise it in a handler, a hook or anything they call. ``detail`` is a sentence for the client, put
    on the error page as text; ``headers`` go with it (``{"Retry-After": "5"}``); ``problem`` holds
    further members of the JSON document (RFC 9457, 3.2), such as ``type``.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        if not 400 <= status <= 599:
            raise ValueError(f"status is {status!r}; an error's is from 400 to 599")
        super().__init__(f"{status} {detail}".rstrip())
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.problem = dict(problem or {})


class BrokerAwayError(HTTPError):
    """What was published cannot be brought to the other nodes now: 503, unless somebody catches it.

    ``str()`` says why, and where the broker is; who published is told neither.
    """

    def __init__(self, why: str) -> None:
        super().__init__(503, f"Events cannot be published now: {why}.", {"Retry-After": "2"})
        self.detail = "Events cannot be published now."


class Fault(Exception):
    """A message or a connection that ends here.

    ``status`` is the answer where one can be given, ``reason`` its code, ``detail`` a sentence
    that quotes nothing of the peer's.
    """

    def __init__(self, status: int, reason: Reason, detail: str) -> None:
        super().__init__(f"{status} {reason.value}: {detail}")
        self.status = status
        self.reason = reason
        self.detail = detail


class PeerFault(Fault):
    """The peer broke the protocol."""


class LimitFault(Fault):
    """The peer sent, took or asked for more than a limit allows, or too slowly."""


class OurFault(Fault):
    """We cannot do what was rightly asked."""


class StoreError(Exception):
    """A store could not do what was asked: its server is away, its disk is full."""


class SessionTooLargeError(ValueError):
    """A session would be larger than ``Limits.max_session_bytes``."""

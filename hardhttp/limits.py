"""Every limit of the server, in one frozen object, each with its reason.

A ``Limits`` is a value: it is checked when it is made, it never changes, and to change a
running server one replaces it whole (``site.limits = attrs.evolve(site.limits, ...)``).
Every name ends in its unit or begins with ``max_``, counts apart from ``_bytes``.
The command line's options are made from these fields (``hardhttp.tap``), so a field added here
is an option at once, with its ``help`` and its bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from hardhttp.errors import LimitError

__all__ = ["Limits"]

KiB = 1024
MiB = 1024 * KiB
DAY_SECONDS = 86_400.0


def _within(low: float, high: float) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator: a finite number from ``low`` to ``high``, both included."""

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise LimitError(attribute.name, value, low, high)
        if attribute.metadata["whole"] and value != int(value):
            raise LimitError(attribute.name, value, low, high)

    return check


def _limit(default: Any, low: float, high: float, help: str, *, optional: bool = False) -> Any:
    """Declare a limit; an ``int`` bound below makes it a whole number."""
    check: Any = _within(low, high)
    return attrs.field(
        default=default,
        validator=attrs.validators.optional(check) if optional else check,
        metadata={"low": low, "high": high, "help": help, "whole": isinstance(low, int), "optional": optional},
    )


def _count(default: int, high: int, help: str, low: int = 1) -> Any:
    return _limit(default, low, high, help)


def _seconds(default: float | None, help: str, high: float = DAY_SECONDS) -> Any:
    return _limit(default, 0.01, high, help, optional=default is None)


@attrs.frozen(kw_only=True)
class Limits:
    """What one server may hold and how long it waits.

    Raises ``hardhttp.errors.LimitError`` (a ``ValueError``) that names the field, the value and
    the bound. All sizes are bytes, all times seconds.
    """

    # -- how many ---------------------------------------------------------------------------
    # gunicorn's figure. It fits the usual soft limit of 1024 descriptors.
    max_connections: int = _count(1000, 1_000_000, "connections open at once; more are answered 503")
    # Six connections a browser, some thirty browsers behind one translated address.
    max_connections_per_address: int = _count(
        200, 1_000_000, "connections from one address (IPv6: one /64); loopback and trusted proxies are exempt"
    )
    # nginx's http2_max_concurrent_streams.
    max_streams: int = _count(128, 10_000, "requests at once on an HTTP/2 connection; more are refused, to be retried")
    # gunicorn's, for both: rapid reset (CVE-2023-44487) and what makes us reset (CVE-2025-8671).
    max_stream_resets: int = _count(
        200, 1_000_000, "HTTP/2 streams that a client resets, or has reset, in ten seconds; more end the connection"
    )
    # nginx's http2_max_concurrent_pushes.
    max_pushes: int = _count(10, 10_000, "pushes at once on an HTTP/2 connection, for hinted links; 0 for none", 0)
    # SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION, empty DATA; bodies and requests pay for some.
    max_control_frames: int = _count(
        1000, 1_000_000, "HTTP/2 frames in ten seconds that bring nothing; more end the connection"
    )
    # As nginx and Apache allow.
    max_headers: int = _count(100, 10_000, "header fields in a request; more are answered 431")
    # PHP's max_input_vars and Django's DATA_UPLOAD_MAX_NUMBER_FIELDS.
    max_form_fields: int = _count(1000, 1_000_000, "fields parsed from a query or a form; more are answered 413")
    # A browser keeps at most some 180 for a domain.
    max_cookies: int = _count(200, 10_000, "cookies read from a request; those beyond are ignored")
    # PHP's max_file_uploads is 20.
    max_form_files: int = _count(100, 100_000, "files in a form; more are answered 413")
    # Python's own parser gives up at some 1000; nobody nests by hand as deep as this.
    max_json_depth: int = _count(64, 500, "arrays and objects within each other in a JSON body; more is answered 400")
    # With max_session_bytes this bounds one store; the one idle longest is given up first.
    max_sessions: int = _count(100_000, 100_000_000, "sessions in the store; past it the oldest is given up")
    # A megabyte in frames of 64 bytes.
    max_websocket_frames: int = _count(16_384, 1 << 24, "frames of one WebSocket message; more close it with 1009")
    # Enough that a handler is not woken for each one.
    max_websocket_messages: int = _count(64, 1_000_000, "WebSocket messages a handler has not taken; then none is read")

    # -- how large --------------------------------------------------------------------------
    # nginx: 4 buffers of 8 KiB. Node: 16 KiB.
    max_head_bytes: int = _count(32 * KiB, 1 * MiB, "a request line with its header; more is answered 431", 256)
    # RFC 9112, 3: at least 8000 octets are recommended.
    max_target_bytes: int = _count(8 * KiB, 1 * MiB, "a request target; more is answered 414", 16)
    # Above most forms and pictures, below what a thousand at once would make of memory.
    max_body_bytes: int = _count(10 * MiB, 1 << 40, "a request body; more is answered 413", 0)
    # Tomcat's maxPostSize; Django's DATA_UPLOAD_MAX_MEMORY_SIZE is 2.5 MB.
    max_form_bytes: int = _count(2 * MiB, 1 << 30, "text of a form, its files apart; more is answered 413", 0)
    # Fastify's bodyLimit. Nobody else is served while the parser works; of brackets it makes thirty times their size.
    max_json_bytes: int = _count(1 * MiB, 1 << 30, "a body taken as JSON; more is answered 413", 0)
    # Past this a body goes to a temporary file: most forms and JSON never do, and max_buffered_bytes holds for all.
    spool_bytes: int = _count(2 * MiB, 1 << 30, "of a request body kept in memory; more is spooled to a file", 0)
    # One read of the socket.
    max_pipelined_bytes: int = _count(64 * KiB, 16 * MiB, "requests kept behind the one being answered", 1)
    # A response written without heed to backpressure; a single write may be larger.
    max_unsent_bytes: int = _count(16 * MiB, 1 << 30, "unsent on a connection when more is written to it", 1)
    # The websockets library's; aiohttp takes 4 MiB, tornado 10, uvicorn 16.
    max_websocket_message_bytes: int = _count(1 * MiB, 1 << 30, "a WebSocket message; a longer one closes it with 1009")
    # A client that takes none of a thousand messages of a kilobyte will not take the next one.
    max_websocket_unsent_bytes: int = _count(1 * MiB, 1 << 30, "unsent on a WebSocket when more is sent to it", 1)
    # A quarter of a GiB: 1000 connections, 256 KiB each.
    max_buffered_bytes: int = _count(
        256 * MiB, 1 << 40, "held in memory by the whole process, in every buffer, queue and store", 64 * KiB
    )
    # Django and Rails keep 4 KiB where the cookie is the session.
    max_session_bytes: int = _count(64 * KiB, 16 * MiB, "keys and values of one session", 64)
    max_sessions_bytes: int = _count(
        64 * MiB, 1 << 40, "keys and values of all sessions; past it the oldest is given up", KiB
    )

    # -- how long ---------------------------------------------------------------------------
    # Apache's mod_reqtimeout: 20 s.
    head_seconds: float = _seconds(20.0, "from the first byte to the end of a request's head (or to its TLS handshake)")
    # Judged over windows of this length; nginx waits as long between two reads.
    body_seconds: float = _seconds(60.0, "in which a request body must bring body_bytes_per_second on average")
    # Kestrel's MinRequestBodyDataRate.
    body_bytes_per_second: int = _count(240, 1 << 30, "a request body's minimum rate", 0)
    # 10 MiB at 3 KiB/s.
    max_body_seconds: float = _seconds(3600.0, "for a whole request body, however fast it comes")
    # A handler may wait as long as it likes, until told otherwise here or on a resource.
    handling_seconds: float | None = _seconds(None, "for a handler to begin its response; off by default")
    # nginx waits as long between two writes.
    send_seconds: float = _seconds(60.0, "in which a client must take send_bytes_per_second on average")
    # Kestrel's MinResponseDataRate.
    send_bytes_per_second: int = _count(240, 1 << 30, "a response's minimum rate", 0)
    # Between nginx's 75 s and Caddy's 5 min.
    idle_seconds: float = _seconds(120.0, "without a request on an open connection")
    # uvicorn's and websockets' 20 s and 20 s.
    websocket_ping_seconds: float = _seconds(20.0, "between two pings to a WebSocket", 3600.0)
    websocket_pong_seconds: float = _seconds(20.0, "for the answer to a ping", 3600.0)
    # Apache and nginx linger for 2 to 5 s.
    abort_seconds: float = _seconds(5.0, "from a polite close to an abort")
    # gunicorn's graceful_timeout.
    drain_seconds: float = _seconds(30.0, "for responses in flight to end when the service stops", 3600.0)
    # A session lives minutes; half of one more does not matter.
    cleanup_seconds: float = _seconds(30.0, "between two sweeps of expired sessions", 3600.0)
    # ASP's and the servlet containers' 20 to 30 minutes.
    session_idle_seconds: float = _seconds(1200.0, "from a session's last request to its end", 366 * DAY_SECONDS)
    # OWASP: an absolute end too, of a working day or less.
    session_seconds: float = _seconds(43_200.0, "from a session's beginning to its end", 366 * DAY_SECONDS)

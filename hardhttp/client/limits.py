"""Every limit of the client, in one frozen object, each with its reason.

As ``hardhttp.limits.Limits`` is for the server: a value, checked when it is made, whose names end in
their unit or begin with ``max_``. ``None`` stands where a limit may be off: for a stream without end,
an answer that is long in coming, a download of any size. All else has a bound, whatever is asked for.

An ``Agent`` has one, and a single request may bring its own: what the pool holds is then still judged
by the agent's.
"""

from __future__ import annotations

from typing import Any

import attrs

from hardhttp.limits import DAY_SECONDS, KiB, MiB, _count, _limit, _seconds

__all__ = ["ClientLimits"]


def _optional_seconds(default: float | None, help: str) -> Any:
    return _limit(default, 0.01, DAY_SECONDS, help, optional=True)


@attrs.frozen(kw_only=True)
class ClientLimits:
    """What one agent may hold and how long it waits.

    Raises ``hardhttp.errors.LimitError`` (a ``ValueError``) that names the field, the value and the
    bound. All sizes are bytes, all times seconds.
    """

    # -- how long ---------------------------------------------------------------------------
    # Two lost SYNs are sent again after 1 and 3 s; Go's dialer takes 30, httpx 5.
    connect_seconds: float = _seconds(15.0, "to look up a name and connect to one of its addresses")
    # Go's TLSHandshakeTimeout.
    tls_seconds: float = _seconds(10.0, "for a TLS handshake")
    # As long as for a connection: the proxy makes one.
    proxy_seconds: float = _seconds(15.0, "for a proxy to answer CONNECT")
    # Most proxies give up on what is behind them after 60 s.
    first_byte_seconds: float | None = _optional_seconds(
        60.0, "from a request sent to the end of the response's head; neither a trickle nor a 1xx moves it"
    )
    # nginx's proxy_read_timeout; judged over windows of this length.
    body_idle_seconds: float | None = _optional_seconds(
        60.0, "in which a body must bring body_bytes_per_second on average, and a peer take some of ours"
    )
    # Kestrel's MinResponseDataRate, which it asks of those it sends to.
    body_bytes_per_second: int = _count(240, 1 << 30, "a response body's minimum rate; 0: one byte in a window", 0)
    # Whoever has not asked for a body in a minute has forgotten it.
    unread_seconds: float = _seconds(60.0, "for the application to take a body that has come; then it is closed")
    # What a trickle above the minimum rate can hold a connection.
    total_seconds: float | None = _optional_seconds(3600.0, "from the call to the last byte of the body")
    # Twice as long as a name, a connection and a handshake that fail.
    queue_seconds: float = _seconds(60.0, "in the queue for a connection")
    # As long as a handshake: they are the server's first words.
    settings_seconds: float = _seconds(10.0, "for an HTTP/2 server's SETTINGS")
    # gRPC's keepalive asks after 10 s at least, Go's ReadIdleTimeout is off; routers forget a connection in minutes.
    ping_seconds: float = _seconds(
        15.0, "in which nothing comes on an HTTP/2 connection with requests before a PING, and then for its answer"
    )
    # Below nginx's 75 s and Node's keep-alive hints, so that the server is seldom the first to close.
    idle_connection_seconds: float = _seconds(30.0, "without a request, before a kept connection is closed")

    # -- how large --------------------------------------------------------------------------
    # As the server's bound, doubled for Set-Cookie and Content-Security-Policy.
    max_head_bytes: int = _count(64 * KiB, 16 * MiB, "a response's status line with its header", 256)
    # aiohttp's and Python's http.client's are 100 and below.
    max_headers: int = _count(200, 10_000, "header fields in a response")
    # Go's; 100, 102 and 103 come once or twice.
    max_informational: int = _count(5, 1000, "1xx responses before the final one", 0)
    # treq and readBody make one piece of it in memory.
    max_body_bytes: int | None = _limit(
        100 * MiB, 0, 1 << 50, "a response's body as it comes over the wire", optional=True
    )
    max_decoded_bytes: int | None = _limit(100 * MiB, 0, 1 << 50, "a response's body once it is decoded", optional=True)

    # With a round trip of 50 ms this is 5 MB/s for one body.
    stream_window_bytes: int = _count(
        256 * KiB, (1 << 31) - 1, "of one HTTP/2 body that a server may send and nobody has taken", 1024
    )

    # -- how many ---------------------------------------------------------------------------
    # What RFC 9113 (6.5.2) asks servers to allow at least.
    max_streams: int = _count(100, 10_000, "requests at once on an HTTP/2 connection; the server may allow fewer")
    # As the server has them.
    max_stream_resets: int = _count(
        200, 1_000_000, "HTTP/2 streams that a server resets in ten seconds; more end the connection"
    )
    max_control_frames: int = _count(
        1000, 1_000_000, "HTTP/2 frames in ten seconds that bring nothing; more end the connection"
    )
    # httpx's and aiohttp's.
    max_connections: int = _count(100, 1_000_000, "connections at once, those being made included")
    # Six are a browser's to one host; a service talks to few hosts and more to each.
    max_connections_per_host: int = _count(32, 1_000_000, "connections at once to one scheme, host and port")
    # Ten for each connection.
    max_queued: int = _count(1000, 10_000_000, "requests that wait for a connection; more fail at once", 0)
    # httpx's.
    max_idle_connections: int = _count(20, 1_000_000, "connections kept open without a request", 0)
    # Go's and curl's manner; Twisted's and browsers' 20, RFC 2068's 5.
    max_redirects: int = _count(10, 100, "redirects followed for one request", 0)

    def __attrs_post_init__(self) -> None:
        if self.max_connections_per_host > self.max_connections:
            # Not an error: a small max_connections alone says enough.
            object.__setattr__(self, "max_connections_per_host", self.max_connections)

"""Every limit of an event source, in one frozen object, each with its reason.

As ``hardhttp.limits.Limits`` is for the server: a value, checked when it is made, whose names end in
their unit or begin with ``max_``. ``None`` stands where a limit may be off.

An agent's own bounds are those of answers that end; ``without_end`` takes off what a stream may not have.
"""

from __future__ import annotations

from typing import Any

import attrs

from hardhttp.client.layers import takes_limits
from hardhttp.client.limits import ClientLimits
from hardhttp.limits import DAY_SECONDS, KiB, MiB, _count, _limit, _seconds

__all__ = ["EventLimits", "without_end"]


@attrs.frozen(kw_only=True)
class EventLimits:
    """What one ``EventSource`` may hold and how long it waits.

    Raises ``hardhttp.errors.LimitError`` (a ``ValueError``) that names the field, the value and the
    bound. All sizes are bytes, all times seconds.
    """

    # -- how long ---------------------------------------------------------------------------
    # A hub answers at once; a balancer in front may have to start one.
    head_seconds: float = _seconds(30.0, "from a request to the head of its response; then it is a failure")
    # Twice Mercure's 40 s between heartbeats, and some.
    idle_seconds: float | None = _limit(
        90.0, 0.01, DAY_SECONDS, "without a byte, before a stream is dropped and made again; None: never", optional=True
    )
    # As browsers wait.
    retry_seconds: float = _seconds(3.0, "before a stream is made again, where the server has said nothing else")
    # Against a server that says retry: 0 and hangs up.
    min_retry_seconds: float = _seconds(0.5, "the least that a server's retry: counts for")
    # What a user is said to wait for after the network is back.
    max_retry_seconds: float = _seconds(60.0, "the most that a server's retry: or the back-off counts for")
    max_retry_after_seconds: float = _seconds(600.0, "the most that a server's Retry-After counts for")

    # -- how many ---------------------------------------------------------------------------
    # Some twenty minutes of a server that is not well.
    max_refusals: int = _count(20, 1_000_000, "answers of 408, 429 or 5xx, one after another, that are tried again", 0)
    max_failures: int | None = _limit(
        None, 0, 1_000_000, "attempts without an event, one after another; None: without end", optional=True
    )
    # As many as Mercure keeps for a subscriber.
    max_queued_events: int = _count(1000, 10_000_000, "events that wait for their reader; then the transport is paused")

    # -- how large --------------------------------------------------------------------------
    max_queued_bytes: int = _count(1 * MiB, 1 << 40, "text of events that wait, likewise; at least one event may wait")
    max_line_bytes: int = _count(1 * MiB, 1 << 32, "a line of the stream")
    max_event_bytes: int = _count(1 * MiB, 1 << 32, "the data of one event")
    # It is sent back in a header field; servers take 8 KiB of those, some 4.
    max_id_bytes: int = _count(1 * KiB, 64 * KiB, "the id of an event")
    # What is on its way when a transport is paused, and a window of HTTP/2.
    max_unread_bytes: int = _count(1 * MiB, 1 << 32, "what a transport may bring although it is paused")
    # Events that are alike come near to 200 in gzip; a bomb has 1000.
    max_ratio: float = _limit(300.0, 1.0, 1_000_000.0, "what a compressed stream may become, past its first MiB")


def without_end(agent: Any) -> dict[str, ClientLimits]:
    """The options of a request for a stream: for an agent of ours, which says its ``limits``, these without what bounds
    a body as a whole. ``EventLimits`` bound it piece by piece. For any other agent there are none.
    """
    limits = getattr(agent, "limits", None)
    if not isinstance(limits, ClientLimits) or not takes_limits(agent):
        return {}
    return {
        "limits": attrs.evolve(
            limits,
            total_seconds=None,
            body_idle_seconds=None,
            unread_seconds=DAY_SECONDS,  # a reader may be slow
            max_body_bytes=None,
            max_decoded_bytes=None,
        )
    }

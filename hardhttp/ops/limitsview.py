"""Every limit as data: its value, its default, its bounds, and how often it was hit.

A limit is hit when something was refused or ended for its reason code; the counts are the server's, since its
start. For a limit that only shapes what is done (a size past which a body is spooled) there is nothing to count,
and ``hits`` is ``None``.
"""

from __future__ import annotations

from typing import Any

import attrs

from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.net.server import Server
from hardhttp.net.statistics import Statistics

__all__ = ["REASONS", "limits_view"]

# The reason code that says that a limit was hit; two limits of one bound share theirs.
REASONS: dict[str, Reason] = {
    "max_connections": Reason.CONNECTIONS,
    "max_connections_per_address": Reason.CONNECTIONS_PER_ADDRESS,
    "max_streams": Reason.STREAMS,
    "max_stream_resets": Reason.STREAM_RESETS,
    "max_control_frames": Reason.CONTROL_FRAMES,
    "max_headers": Reason.HEADERS,
    "max_form_fields": Reason.FORM_FIELDS,
    "max_websocket_frames": Reason.MESSAGE_BYTES,
    "max_head_bytes": Reason.HEAD_BYTES,
    "max_target_bytes": Reason.TARGET_BYTES,
    "max_body_bytes": Reason.BODY_BYTES,
    "max_form_bytes": Reason.FORM_BYTES,
    "max_unsent_bytes": Reason.UNSENT_BYTES,
    "max_websocket_message_bytes": Reason.MESSAGE_BYTES,
    "max_websocket_unsent_bytes": Reason.UNSENT_BYTES,
    "max_buffered_bytes": Reason.BUFFERED_BYTES,
    "head_seconds": Reason.HEAD_SECONDS,
    "body_seconds": Reason.BODY_RATE,
    "body_bytes_per_second": Reason.BODY_RATE,
    "max_body_seconds": Reason.BODY_SECONDS,
    "handling_seconds": Reason.HANDLING_SECONDS,
    "send_seconds": Reason.SEND_RATE,
    "send_bytes_per_second": Reason.SEND_RATE,
    "idle_seconds": Reason.IDLE,
    "websocket_pong_seconds": Reason.PONG_SECONDS,
    "abort_seconds": Reason.ABORT_SECONDS,
    "drain_seconds": Reason.DRAIN_SECONDS,
}


def hits(statistics: Statistics, reason: Reason) -> int:
    """How often: a refusal that ended its connection is counted in both, so the larger is the number."""
    return max(statistics.refused[reason], statistics.closed[reason])


def limits_view(server: Server) -> list[dict[str, Any]]:
    rows = []
    for field in attrs.fields(Limits):
        reason = REASONS.get(field.name)
        rows.append(
            {
                "name": field.name,
                "value": getattr(server.limits, field.name),
                "default": field.default,
                "low": field.metadata["low"],
                "high": field.metadata["high"],
                "bounds": field.metadata["help"],
                "reason": None if reason is None else reason.value,
                "hits": None if reason is None else hits(server.statistics, reason),
            }
        )
    return rows

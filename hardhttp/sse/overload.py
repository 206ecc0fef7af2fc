"""A refusal that browsers survive.

A native EventSource that is answered with anything but 200 never comes back. So one that asks for
``text/event-stream`` alone is told in a stream when to come again, and the stream ends; whoever would
take something else gets a 503 with ``Retry-After``.
"""

from __future__ import annotations

import math
from typing import Any

from hardhttp.errors import HTTPError
from hardhttp.wire.eventstream import encode_retry
from hardhttp.wire.grammar import list_items

__all__ = ["overloaded"]


def overloaded(request: Any, retry_seconds: float, why: str = "There are too many subscribers.") -> bytes:
    """Answer a subscription there is no room for now; what ``render`` returns. Raises ``HTTPError`` (503)."""
    accepted = list_items([request.getHeader(b"accept") or b""])
    if [each.partition(b";")[0].strip() for each in accepted] != [b"text/event-stream"]:
        raise HTTPError(503, why, {"Retry-After": str(math.ceil(retry_seconds))})
    request.setHeader(b"Content-Type", b"text/event-stream")
    request.setHeader(b"Cache-Control", b"no-store, no-transform")
    request.setHeader(b"Connection", b"close")
    return encode_retry(retry_seconds)

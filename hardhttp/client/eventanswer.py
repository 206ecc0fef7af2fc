"""What a response means to an event source (HTML standard, 9.2.2), and why one has ended.

The standard knows three answers: a stream, 204, and failure for good. Servers have a fourth: not now. A browser's tab
is lost by one 502 of a balancer; this client is not:

=================================  ============================================================
200 and ``text/event-stream``      a stream
204                                stop, and do not come back
408, 429, 5xx but 501 and 505      come back later, ``max_refusals`` times; ``Retry-After`` is heeded
any other, or another type         fatal
=================================  ============================================================

Redirects are the agent's: one that arrives here is fatal.
"""

from __future__ import annotations

from enum import StrEnum

import attrs
from twisted.web.iweb import IResponse

from hardhttp.wire.decoding import CODINGS
from hardhttp.wire.retryafter import parse_retry_after

__all__ = ["EndReason", "Ending", "EventSourceError", "Later", "Over", "Stream", "judge"]

_TRY_AGAIN = frozenset({408, 429, *range(500, 600)} - {501, 505})
_TYPE = b"text/event-stream"


class EndReason(StrEnum):
    """Why an event source has ended: a closed set, fit for a metric's label."""

    CLOSED = "closed"  # by us
    STOPPED = "stopped"  # by the server: 204
    STATUS = "status"
    CONTENT_TYPE = "content-type"
    CONTENT_CODING = "content-coding"
    REFUSALS = "refusals"  # max_refusals
    FAILURES = "failures"  # max_failures
    EVENT_BYTES = "event-bytes"  # a line, an event or an id was too long
    DECODED_BYTES = "decoded-bytes"  # max_ratio
    UNREAD_BYTES = "unread-bytes"  # the transport brought more although it was paused
    REQUEST = "request"  # the agent cannot make such a request


@attrs.frozen
class Ending:
    """How an event source has ended. ``detail`` quotes nothing of the peer's, nor of the request."""

    reason: EndReason
    detail: str = ""
    status: int | None = None

    @property
    def is_error(self) -> bool:
        return self.reason not in (EndReason.CLOSED, EndReason.STOPPED)


class EventSourceError(Exception):
    """The events have ended, and will not come back: ``ending`` says why."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(f"{ending.reason.value}: {ending.detail}")
        self.ending = ending

    def __reduce__(self) -> tuple[type[EventSourceError], tuple[Ending]]:
        return type(self), (self.ending,)


@attrs.frozen
class Stream:
    """A stream of events, in a content coding of ``hardhttp.wire.decoding``."""

    coding: bytes


@attrs.frozen
class Later:
    """Not now; after ``retry_after_seconds``, where it says. ``ending`` is for when that was said too often."""

    retry_after_seconds: float
    ending: Ending


@attrs.frozen
class Over:
    """There will be no stream."""

    ending: Ending


def judge(response: IResponse, now: float) -> Stream | Later | Over:
    """Never raises. ``now`` is seconds since the epoch, for a ``Retry-After`` that is a date."""
    status = response.code
    if status == 204:
        return Over(Ending(EndReason.STOPPED, "the server has no more", 204))
    if status in _TRY_AGAIN:
        after = parse_retry_after(_last(response, b"retry-after"), now, _last(response, b"date"))
        return Later(after or 0.0, Ending(EndReason.REFUSALS, f"answered {status}", status))
    if status != 200:
        return Over(Ending(EndReason.STATUS, f"answered {status}", status))
    kind = (_last(response, b"content-type") or b"").partition(b";")[0].strip(b" \t").lower()
    if kind != _TYPE:
        return Over(Ending(EndReason.CONTENT_TYPE, "what was answered is no text/event-stream", status))
    coding = b",".join(response.headers.getRawHeaders(b"content-encoding", [])).strip(b" \t").lower()
    if coding not in (b"", b"identity", b"x-gzip", *CODINGS):
        return Over(Ending(EndReason.CONTENT_CODING, "a content coding that was not asked for", status))
    return Stream(coding)


def _last(response: IResponse, name: bytes) -> bytes | None:
    values = response.headers.getRawHeaders(name)
    return values[-1] if values else None

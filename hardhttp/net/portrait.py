"""One connection, as someone who looks after the server sees it.

Nothing is kept for this: a portrait is drawn from what the connection knows anyway, when it is asked for.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import attrs
from twisted.internet.interfaces import IAddress

from hardhttp.errors import Reason
from hardhttp.net.connection import Connection
from hardhttp.net.outbound import unsent_bytes
from hardhttp.net.phase import Phase
from hardhttp.wire.deadlines import NEVER

__all__ = ["MAX_REQUESTS", "Portrait", "portrait", "unanswered_seconds", "waited_seconds"]

# Of an HTTP/2 connection, so many are shown.
MAX_REQUESTS = 8


@attrs.frozen
class Portrait:
    """``seen`` is whose socket it is, where that is not ``peer``'s (a proxy told of it). ``requests`` are those not
    answered yet, at most ``MAX_REQUESTS`` of ``request_count``. ``queued_bytes`` have not been taken by the kernel,
    ``held`` is what the ledger has. ``deadline`` is on the server's clock, ``None`` where nothing is due."""

    protocol: str
    phase: str
    peer: IAddress | None
    seen: IAddress | None
    secure: bool
    requests: tuple[Any, ...]
    request_count: int
    bytes_in: int
    bytes_out: int
    queued_bytes: int
    held: dict[str, int]
    deadline: float | None
    reason: Reason | None


def portrait(connection: Any) -> Portrait | None:
    """Of a connection in a server's tracker; ``None`` when it has just ended."""
    if not isinstance(connection, Connection):
        return _awaiting_header(connection)
    transport = connection._transport
    if transport is None:
        return None
    pace = connection._send_pace
    due = min(connection.deadline, NEVER if pace is None else pace.deadline)
    if connection.multiplexed:
        streams = connection.streams.values()  # type: ignore[attr-defined]
        due = min([due, *(stream.deadline for stream in streams)])
    peer, seen = connection.getPeer(), connection.socket_peer()
    return Portrait(
        protocol=_protocol(connection),
        phase=connection.phase.name.lower(),
        peer=peer,
        seen=None if seen == peer else seen,
        secure=connection.isSecure(),
        requests=tuple(_requests(connection)),
        request_count=connection.request_count,
        bytes_in=connection.bytes_in,
        bytes_out=connection._written,
        queued_bytes=unsent_bytes(connection._base),
        held=connection.server.ledger.held(transport),
        deadline=None if due == NEVER else due,
        reason=connection.reason,
    )


def _requests(connection: Connection) -> list[Any]:
    if not connection.multiplexed:
        return [] if connection.request is None else [connection.request]
    streams = connection.streams.values()  # type: ignore[attr-defined]
    return [stream.request for stream in islice(streams, MAX_REQUESTS) if stream.request is not None]


def unanswered_seconds(connection: Any) -> float:
    """How long a request of ``connection`` has waited for the first byte of its answer; 0 when none does."""
    if not isinstance(connection, Connection):
        return 0.0
    waiting = [request.elapsed_seconds for request in _requests(connection) if not request.startedWriting]
    return max(waiting, default=0.0)


def waited_seconds(connection: Any, made: float, now: float) -> float:
    """The longest that somebody waits at ``connection``, made at ``made``; 0 when nobody does.

    The client waits for an answer's first byte; we wait for the rest of a head, or for the client to take what is sent.
    """
    if not isinstance(connection, Connection):
        return now - made  # for its PROXY header
    waited = unanswered_seconds(connection)
    if connection._send_pace is not None:
        waited = max(waited, now - connection._send_pace.since)
    if connection.phase is Phase.HEAD and connection.deadline != NEVER:
        waited = max(waited, now - (connection.deadline - connection.server.limits.head_seconds))
    return waited


def _protocol(connection: Connection) -> str:
    """What is spoken: a name of ours, or the type's of whatever has taken the connection over."""
    if connection._upgraded is not None:
        return type(connection._upgraded).__name__
    return "HTTP/2" if connection.multiplexed else "HTTP/1.1"


def _awaiting_header(connection: Any) -> Portrait | None:
    """One whose PROXY header has not come."""
    transport = connection._transport
    if transport is None:
        return None
    return Portrait(
        protocol="PROXY",
        phase="head",
        peer=transport.getPeer(),
        seen=None,
        secure=False,
        requests=(),
        request_count=0,
        bytes_in=len(connection._data),
        bytes_out=0,
        queued_bytes=0,
        held=connection.server.ledger.held(transport),
        deadline=connection._deadline,
        reason=connection.reason,
    )

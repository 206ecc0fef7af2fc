"""The table of connections, live: pages of rows that JSON can say, and the way to end one.

A connection is known by its number, which no other has or had, so that whoever ends one ends the one that was
looked at. A page is bounded, and so is the time that it takes. Of a request the method and the target are
shown, without the values of parameters that may be secrets.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.logger import Logger

from hardhttp.errors import Reason
from hardhttp.net.portrait import Portrait, portrait
from hardhttp.net.server import Server
from hardhttp.web.clientinfo import peer_text
from hardhttp.web.loglines import masked

__all__ = ["MAX_PAGE", "connection_row", "connections_page", "kill"]

# A row takes some ten microseconds.
MAX_PAGE = 200
MAX_TARGET_CHARACTERS = 200

_log = Logger(namespace="hardhttp")


def connections_page(server: Server, after: int = -1, limit: int = 100) -> dict[str, Any]:
    """Up to ``limit`` connections whose numbers are above ``after``, the oldest first.

    ``next`` is what ``after`` must be for the page behind, ``None`` when there is none.
    """
    now = server.seconds()
    found = list(islice((entry for entry in server.tracker.entries() if entry[1] > after), limit + 1))
    rows = []
    for connection, number, since in found[:limit]:
        seen = portrait(connection)
        if seen is not None:
            rows.append(connection_row(seen, number, now - since, now))
    return {
        "open": len(server.tracker),
        "connections": rows,
        "next": found[limit - 1][1] if len(found) > limit else None,
    }


def kill(server: Server, number: int) -> bool:
    """Abort the connection of this number; whether there was one."""
    for connection, each, _ in server.tracker.entries():
        if each == number:
            seen = portrait(connection)
            whose = "" if seen is None else f" of {_address(seen.peer)}"
            _log.info("connection {number}{whose} is ended by the admin side", number=number, whose=whose)
            connection.abort(Reason.KILLED)
            return True
    return False


def request_line(request: Any) -> str:
    """Method and target, without secrets, no longer than a row bears."""
    target = masked(request.uri or b"").decode("latin-1")
    if len(target) > MAX_TARGET_CHARACTERS:
        target = target[: MAX_TARGET_CHARACTERS - 3] + "..."
    return f"{(request.method or b'').decode('latin-1')[:20]} {target}"


def _address(address: Any) -> str | None:
    if address is None:
        return None
    if isinstance(address, UNIXAddress):
        return "unix"
    port = getattr(address, "port", None)
    return peer_text(address) if port is None else f"{peer_text(address)} {port}"


def connection_row(seen: Portrait, number: int, age: float, now: float) -> dict[str, Any]:
    """What JSON says of the connection ``number``, ``age`` seconds old."""
    lasted = max(age, 1.0)
    return {
        "id": number,
        "peer": _address(seen.peer),
        "seen": _address(seen.seen),
        "tls": seen.secure,
        "protocol": seen.protocol,
        # Between two requests, but for a client that has not taken its answer: nobody would call that idle.
        "phase": "sending" if seen.phase == "idle" and seen.queued_bytes else seen.phase,
        "age_seconds": round(age, 3),
        "requests": [request_line(request) for request in seen.requests],
        "request_count": seen.request_count,
        "request_seconds": max((round(request.elapsed_seconds, 3) for request in seen.requests), default=None),
        "bytes_in": seen.bytes_in,
        "bytes_out": seen.bytes_out,
        "bytes_in_per_second": round(seen.bytes_in / lasted, 1),
        "bytes_out_per_second": round(seen.bytes_out / lasted, 1),
        "queued_bytes": seen.queued_bytes,
        "held": seen.held,
        "due_seconds": None if seen.deadline is None else round(seen.deadline - now, 3),
        "reason": None if seen.reason is None else seen.reason.value,
    }

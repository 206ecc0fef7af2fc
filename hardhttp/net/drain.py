"""Stopping without loss: responses in flight end, then everything does."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from hardhttp.errors import Reason
from hardhttp.net.server import Server

__all__ = ["cut_short", "drain"]

LOOK_SECONDS = 0.05


def drain(server: Server) -> Deferred[None]:
    """Tell every connection that this response is its last; abort those that outlast ``drain_seconds``.

    Fires when none is open, or when the server starts again. Idle connections close at once; streams are
    asked to end.
    """
    server.draining = True
    deadline = server.seconds() + server.limits.drain_seconds
    for channel in server.tracker:
        server.guard(channel.drain)

    def look() -> None:
        if not (server.draining and (len(server.tracker) or len(server.refusals))):
            loop.stop()  # nobody is left, or the server has started again
        elif server.seconds() >= deadline:
            cut_short(server)

    loop = LoopingCall(look)
    loop.clock = server.clock
    return loop.start(LOOK_SECONDS).addCallback(lambda _: None)


def cut_short(server: Server) -> None:
    """Abort what is left, as when ``drain_seconds`` are over."""
    for left in (*server.tracker, *server.refusals):
        server.guard(left.abort, Reason.DRAIN_SECONDS)

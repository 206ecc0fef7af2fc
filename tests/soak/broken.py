"""Servers that are broken on purpose, one for each kind of leak: ``python -m tests.soak.broken PORT KIND``.

Each is a sound hardhttp site with one fault an application could have. ``none`` has none.

``connection``: whoever goes by reset stays in a list, with a buffer. ``timer``: a timer for each request that waits,
which its client's departure does not cancel. ``buffer``: what came of an upload that was cut off is kept. ``session``:
a session for everybody who looks. ``subscriber``: who left a stream of events is still written to, into a queue.
``descriptor``: a descriptor for each upload, which only a whole upload gives back.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import LoopingCall
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

import hardhttp
from hardhttp import IStreamingResource

KINDS = ("none", "connection", "timer", "buffer", "session", "subscriber", "descriptor")
LEAKED_BYTES = 64 * 1024
kept: list[Any] = []


def some() -> bytes:
    """What is leaked each time; random, so that it is really there."""
    return os.urandom(LEAKED_BYTES)


class Page(Resource):
    def render_GET(self, request: Any) -> bytes:
        return b"here"


class Later(Resource):
    isLeaf = True

    def __init__(self, reactor: Any, leaks: bool) -> None:
        super().__init__()
        self.reactor, self.leaks = reactor, leaks

    def render_GET(self, request: Any) -> int:
        held = some()
        call = self.reactor.callLater(3600, lambda: len(held))
        if not self.leaks:
            request.notifyFinish().addBoth(lambda _: call.cancel())
        return NOT_DONE_YET


class Keep(Protocol):
    def __init__(self, request: Any, kind: str) -> None:
        self.request, self.kind = request, kind
        self.came: list[bytes] = []
        self.file = os.dup(0) if kind == "descriptor" else None

    def dataReceived(self, data: bytes) -> None:
        self.came.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        if reason.check(ConnectionDone):
            if self.file is not None:
                os.close(self.file)
            self.request.finish()
        elif self.kind == "buffer":
            kept.append(self.came)
        self.came = []


@implementer(IStreamingResource)
class Upload(Resource):
    isLeaf = True

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def render_POST(self, request: Any) -> int:
        request.deliverBody(Keep(request, self.kind))
        return NOT_DONE_YET


class Look(Resource):
    isLeaf = True

    def __init__(self, leaks: bool) -> None:
        super().__init__()
        self.leaks = leaks

    def render_GET(self, request: Any) -> bytes:
        if self.leaks:
            kept.append({"session": some()})
        return b"seen"


class Events(Resource):
    isLeaf = True

    def __init__(self, reactor: Any, leaks: bool) -> None:
        super().__init__()
        self.leaks = leaks
        self.queues: dict[Any, list[bytes]] = {}
        ticks = LoopingCall(self.tick)
        ticks.clock = reactor
        ticks.start(1.0)

    def tick(self) -> None:
        for request in list(self.queues):
            request.write(b"data: tick\n\n")

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        request.write(b"data: hello\n\n")
        self.queues[request] = [some()]
        if not self.leaks:
            request.notifyFinish().addBoth(lambda _: self.queues.pop(request))
        return NOT_DONE_YET


class Remembered(ProtocolWrapper):
    """Keeps something of whoever goes by reset."""

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        if not reason.check(ConnectionDone):
            kept.append(some())
        super().connectionLost(reason)


class Remembering(WrappingFactory):
    protocol = Remembered


def main() -> None:
    from twisted.internet import reactor

    port, kind = int(sys.argv[1]), sys.argv[2]
    assert kind in KINDS
    root = Page()
    root.putChild(b"", root)
    root.putChild(b"later", Later(reactor, kind == "timer"))
    root.putChild(b"upload", Upload(kind))
    root.putChild(b"look", Look(kind == "session"))
    root.putChild(b"events", Events(reactor, kind == "subscriber"))
    site: Any = hardhttp.Site(root, reactor=reactor)
    twisted: Any = reactor
    twisted.listenTCP(port, Remembering(site) if kind == "connection" else site, interface="127.0.0.1")
    twisted.run()


if __name__ == "__main__":
    main()

"""hardhttp: a tree for ``twistd hardhttp --app hardhttp.soak.applications.hardhttp_app:root``."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.soak.applications.contents import HELLO, LARGE
from hardhttp.sse.stream import EventStream
from hardhttp.web.websocket import WebSocketResource

__all__ = ["make_root", "root"]


class Hello(Resource):
    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"content-type", b"text/plain")
        return HELLO


class Large(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return LARGE


class Upload(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        size = 0
        while piece := request.content.read(1 << 16):
            size += len(piece)
        return b"%d" % size


class Look(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"known" if request.session.get("name") else b"new"


class Write(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.session["visits"] = request.session.get("visits", 0) + 1
        return b"noted"


class Later(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> int:
        return NOT_DONE_YET


async def echo(socket: Any) -> None:
    async for message in socket:
        await socket.send(message)


class Pages(Hello):
    """The tree. ``close`` ends its ticks."""

    def __init__(self, clock: IReactorTime, events: EventStream) -> None:
        super().__init__()
        self._ticks = LoopingCall(events.publish, "tick")
        self._ticks.clock = clock
        self._ticks.start(1.0, now=False)

    def close(self) -> None:
        self._ticks.stop()


def make_root(clock: IReactorTime) -> Pages:
    """The tree; its events tick by ``clock``."""
    events = EventStream(clock)
    root = Pages(clock, events)
    root.putChild(b"", root)
    for name, resource in ((b"large", Large()), (b"upload", Upload()), (b"look", Look()), (b"session", Write())):
        root.putChild(name, resource)
    root.putChild(b"later", Later())
    root.putChild(b"events", events)
    try:
        root.putChild(b"websocket", WebSocketResource(echo))
    except ImportError:  # wsproto is not installed
        pass
    return root


def root() -> IResource:
    """For ``--app``."""
    from twisted.internet import reactor

    return make_root(reactor)

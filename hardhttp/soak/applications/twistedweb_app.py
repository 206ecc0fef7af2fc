"""twisted.web: ``python -m hardhttp.soak.applications.twistedweb_app PORT``."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from hardhttp.soak.applications.contents import HELLO, LARGE, port


class Hello(Resource):
    def render_GET(self, request: Any) -> bytes:
        return HELLO


class Large(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return LARGE


class Upload(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


class Look(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.getSession()
        return b"seen"


class Later(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> int:
        return NOT_DONE_YET


class Events(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.listening: set[Any] = set()
        LoopingCall(self.tick).start(1.0)

    def tick(self) -> None:
        for request in list(self.listening):
            request.write(b"data: tick\n\n")

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        request.write(b": hello\n\n")
        self.listening.add(request)
        request.notifyFinish().addBoth(lambda _: self.listening.discard(request))
        return NOT_DONE_YET


def main() -> None:
    from twisted.internet import reactor

    root = Hello()
    root.putChild(b"", root)
    for name, resource in ((b"large", Large()), (b"upload", Upload()), (b"look", Look()), (b"session", Look())):
        root.putChild(name, resource)
    root.putChild(b"later", Later())
    root.putChild(b"events", Events())
    twisted: Any = reactor
    twisted.listenTCP(port(), Site(root), interface="127.0.0.1")
    twisted.run()


if __name__ == "__main__":
    main()

"""A tree of twisted.web resources as any user writes it; two servers run it unchanged."""

from __future__ import annotations

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from benchmarks.messages import HELLO
from benchmarks.servers.options import big, objects_report

__all__ = ["make_tree"]


class Hello(Resource):
    """Thirteen bytes of text."""

    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-type", b"text/plain")
        return HELLO


class Read(Resource):
    """The same, having asked for all that a server may prepare lazily."""

    isLeaf = True

    def render_GET(self, request):
        page = request.args[b"page"][0]
        agent = request.getHeader(b"user-agent") or b""
        theme = request.getCookie(b"theme") or b""
        request.setHeader(b"content-type", b"text/plain")
        request.setHeader(b"x-seen", b"%b %d %b" % (page, len(agent), theme))
        request.addCookie(b"visited", b"2026-11-22", path=b"/")
        request.write(HELLO)
        request.finish()
        return NOT_DONE_YET


class Count(Resource):
    """How long the body was."""

    isLeaf = True

    def render_POST(self, request):
        request.setHeader(b"content-type", b"text/plain")
        return b"%d" % len(request.content.read())


class Big(Resource):
    """More than socket buffers hold."""

    isLeaf = True
    body = big()

    def render_GET(self, request):
        request.setHeader(b"content-type", b"application/octet-stream")
        return self.body


class Fail(Resource):
    """A handler with a fault."""

    isLeaf = True

    def render_GET(self, request):
        raise RuntimeError("asked to fail")


class Objects(Resource):
    """What the collector finds, and how much of it belongs to ``package``."""

    isLeaf = True

    def __init__(self, package):
        super().__init__()
        self.package = package

    def render_GET(self, request):
        request.setHeader(b"content-type", b"application/json")
        return objects_report(self.package)


def make_tree(package: str) -> Resource:
    """The root; ``package`` is whose objects ``/objects`` looks for."""
    root, level = Resource(), Resource()
    root.putChild(b"a", level)
    level.putChild(b"b", Hello())
    level.putChild(b"read", Read())
    root.putChild(b"post", Count())
    root.putChild(b"big", Big())
    root.putChild(b"fail", Fail())
    root.putChild(b"objects", Objects(package))
    return root

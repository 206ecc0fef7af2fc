"""What both Twisted programs serve beside the stream: a page, what was held, and the publisher's door."""

from __future__ import annotations

from collections.abc import Callable

from twisted.web.resource import Resource

from benchmarks.messages import EVENTS_PATH, HOLDS_PATH, PUBLISH_PATH
from benchmarks.servers.sse_holds import Holds
from benchmarks.servers.tree import Hello

__all__ = ["make_root"]


class Publish(Resource):
    """The body is an event's data."""

    isLeaf = True

    def __init__(self, publish: Callable[[bytes], None]) -> None:
        super().__init__()
        self._publish = publish

    def render_POST(self, request):
        self._publish(request.content.read())
        request.setResponseCode(204)
        return b""


class Held(Resource):
    """The longest hold since it was last asked for."""

    isLeaf = True

    def __init__(self, reactor) -> None:
        super().__init__()
        self._holds = Holds(reactor.callLater)

    def render_GET(self, request):
        request.setHeader(b"content-type", b"application/json")
        return self._holds.report()


def make_root(reactor, stream: Resource, publish: Callable[[bytes], None]) -> Resource:
    """The tree, with ``stream`` in its place."""
    root, level = Resource(), Resource()
    root.putChild(b"a", level)
    level.putChild(b"b", Hello())
    root.putChild(EVENTS_PATH.strip("/").encode(), stream)
    root.putChild(PUBLISH_PATH.strip("/").encode(), Publish(publish))
    root.putChild(HOLDS_PATH.strip("/").encode(), Held(reactor))
    return root

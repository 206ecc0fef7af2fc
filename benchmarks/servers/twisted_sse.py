"""Events on ``twisted.web.server.Site`` as its own documentation would have them: ``request.write`` to each."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from benchmarks.servers.options import parse
from benchmarks.servers.sse_resources import make_root
from benchmarks.servers.twisted_run import listen_stock, run
from benchmarks.servers.twisted_tree import QuietSite


class Stream(Resource):
    """Everyone who listens."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self._requests: set = set()

    def render_GET(self, request):
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        request.notifyFinish().addBoth(lambda _: self._requests.discard(request))
        self._requests.add(request)
        request.write(b": hello\n\n")
        return NOT_DONE_YET

    def publish(self, data: bytes) -> None:
        event = b"data: %b\n\n" % data
        for request in list(self._requests):
            request.write(event)


def main() -> None:
    options = parse()
    stream = Stream()
    listen_stock(reactor, QuietSite(make_root(reactor, stream, stream.publish), timeout=600), options)
    run(reactor, options)


if __name__ == "__main__":
    main()

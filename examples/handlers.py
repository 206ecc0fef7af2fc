"""What a handler may return, and what becomes of one that fails or whose client leaves."""

import sys

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.web.resource import Resource

from hardhttp import Site


class Answer(Resource):
    """A leaf whose GET is ``handler``."""

    isLeaf = True

    def __init__(self, handler):
        super().__init__()
        self.handler = handler

    def render_GET(self, request):
        return self.handler(request)


def text(request):
    return "Grüße\n"


def deferred(request):
    return deferLater(reactor, 0.01, lambda: b"later\n")


async def awaited(request):
    await deferLater(reactor, 0.01)
    return b"awaited\n"


async def pieces(request):
    """Writes for itself; what it returns, nothing, ends the response."""
    for i in range(3):
        request.write(f"piece {i}\n".encode())
        await deferLater(reactor, 0.01)


async def patient(request):
    """Is cancelled when its client leaves."""
    try:
        await deferLater(reactor, 3600)
    except CancelledError:
        print("cancelled", flush=True)
        raise


def broken(request):
    raise RuntimeError("the log has this, with an id; the client has the id")


if __name__ == "__main__":
    root = Resource()
    for handler in (text, deferred, awaited, pieces, patient, broken):
        root.putChild(handler.__name__.encode(), Answer(handler))
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

"""An upload of any size, taken as it comes: its checksum needs no more memory than a piece of it.

curl -T large.iso http://127.0.0.1:8080/
"""

import hashlib
import sys

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource, Limits, Site


class Checksum(Protocol):
    """Hashes each piece in a thread; the client waits meanwhile."""

    def __init__(self, request):
        self.request = request
        self.hash = hashlib.sha256()
        self.size = 0
        self.working = False
        self.whole = None  # not known yet
        self.waiting = b""

    def dataReceived(self, data):
        self.size += len(data)
        self.waiting += data
        self.transport.pauseProducing()
        self.work()

    def work(self):
        if not self.working and self.waiting:
            self.working = True
            piece, self.waiting = self.waiting, b""
            deferToThread(self.hash.update, piece).addCallback(self.worked)
        elif not self.working and self.whole:
            self.request.setHeader(b"Content-Type", b"text/plain")
            self.request.write(f"{self.size} {self.hash.hexdigest()}\n".encode())
            self.request.finish()

    def worked(self, _):
        self.working = False
        self.transport.resumeProducing()
        self.work()

    def connectionLost(self, reason):
        self.whole = reason.check(ConnectionDone) is not None
        self.work()


@implementer(IStreamingResource)
class Upload(Resource):
    isLeaf = True

    def render_PUT(self, request):
        # The head is here, the body is not: to refuse it now costs nobody anything.
        if request.getHeader(b"authorization") == b"Basic bm9ib2R5Og==":
            request.setResponseCode(403)
            return b"not you\n"
        request.deliverBody(Checksum(request))
        return NOT_DONE_YET


if __name__ == "__main__":
    site = Site(Upload(), limits=Limits(max_body_bytes=10 << 30))
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

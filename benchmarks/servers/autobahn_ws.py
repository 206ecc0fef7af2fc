"""autobahn on Twisted, as resources of ``twisted.web``; a broadcast is prepared once."""

from __future__ import annotations

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from benchmarks.messages import HELLO, HELLO_PATH
from benchmarks.servers.options import parse
from benchmarks.servers.twisted_run import run

EVERYONE: set = set()


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


class Crowd(WebSocketServerProtocol):
    def onOpen(self):
        EVERYONE.add(self)

    def onMessage(self, payload, isBinary):
        prepared = self.factory.prepareMessage(payload, isBinary)
        for each in EVERYONE:
            each.sendPreparedMessage(prepared)

    def onClose(self, wasClean, code, reason):
        EVERYONE.discard(self)


def main() -> None:
    options = parse()
    root = Resource()
    for name, protocol in ((b"echo", Echo), (b"crowd", Crowd)):
        factory = WebSocketServerFactory()
        factory.protocol = protocol
        factory.startFactory()
        root.putChild(name, WebSocketResource(factory))
    below = root
    *parents, leaf = HELLO_PATH.strip("/").encode().split(b"/")
    for name in parents:
        child = Resource()
        below.putChild(name, child)
        below = child
    below.putChild(leaf, Data(HELLO, "text/plain"))
    reactor.listenTCP(options.port, Site(root), 4096, "127.0.0.1")
    run(reactor, options)


if __name__ == "__main__":
    main()

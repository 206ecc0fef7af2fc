"""A program for twisted.web in which one line is new: where Site comes from."""

import sys

from twisted.internet import reactor
from twisted.web.resource import Resource

from hardhttp import Site


class Hello(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"Hello, world.\n"


if __name__ == "__main__":
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(Hello()), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

"""A small API with all that stands around an application: security headers, compression, CORS and rate limits.

Scripts of an origin and of subdomains may use it, each client twenty times a minute; whatever it answers is
compressed where that is right.
"""

import json
import sys

from twisted.internet import reactor
from twisted.web.resource import Resource

from hardhttp import Site
from hardhttp.web.compression import Compressed
from hardhttp.web.cors import CORS
from hardhttp.web.ratelimit import RateLimited
from hardhttp.web.securityheaders import SecurityHeaders

PAGE = b"""<!doctype html><html lang=en><meta charset=utf-8><title>Words</title><h1>Words</h1>
<p>There is a <a href="api/words">list</a>, <a href="api/words?many">also a long one</a>.
"""


class Words(Resource):
    isLeaf = True

    def __init__(self):
        super().__init__()
        self.words = ["one", "two", "three"]

    def render_GET(self, request):
        request.setHeader("Content-Type", "application/json")
        times = 2000 if b"many" in request.args else 1
        return json.dumps(self.words * times).encode()

    def render_POST(self, request):
        self.words = [*self.words, request.content.read(100).decode("utf-8", "replace")][-100:]
        request.setResponseCode(204)
        return b""


class Page(Resource):
    isLeaf = True

    def render_GET(self, request):
        return PAGE


def make_root():
    api = Resource()
    api.putChild(b"words", Words())
    # CORS stands outside the rate limit, so that a script can read that it has asked too often.
    limited = RateLimited(api, "20/m", announce=True)
    root = Resource()
    root.putChild(b"", Page())
    root.putChild(b"api", CORS(limited, ["https://app.example", "https://*.example.org"], expose=["RateLimit"]))
    return SecurityHeaders(Compressed(root), cross_origin_resource_policy=None)


if __name__ == "__main__":
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(make_root()), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

"""A tree of parts, with limits of one's own, on the fast port."""

import json
import sys

import attrs
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.static import Data

from hardhttp import Limits, Site, listen


class Figures(Resource):
    """The server's own figures; what it holds is in ``ledger``."""

    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"Content-Type", b"application/json")
        site = request.site
        return json.dumps({"statistics": site.statistics.snapshot(), "ledger": site.ledger.snapshot()}).encode()


class Tighten(Resource):
    """Limits are replaced whole, while the server runs."""

    isLeaf = True

    def render_POST(self, request):
        request.site.limits = attrs.evolve(request.site.limits, max_body_bytes=int(request.args[b"max_body_bytes"][0]))
        return f"{request.site.limits.max_body_bytes}\n"


def not_from_the_test_network(address):
    """Refuses a connection by returning False."""
    return not address.host.startswith("192.0.2.")


async def main(reactor, port="8080"):
    root = Resource()
    root.putChild(b"", Data(b"<p>Ask for /figures.\n", "text/html; charset=utf-8"))
    root.putChild(b"figures", Figures())
    root.putChild(b"limits", Tighten())
    site = Site(root, reactor=reactor, limits=Limits(max_body_bytes=1000, idle_seconds=30))
    site.on_accept = not_from_the_test_network
    listening = await listen(reactor, f"tcp:{port}:interface=127.0.0.1", site)
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    # When the reactor stops, what is being answered is answered first.
    reactor.addSystemEventTrigger("before", "shutdown", site.drain)
    await Deferred()


if __name__ == "__main__":
    task.react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])

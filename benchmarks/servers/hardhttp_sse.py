"""hardhttp's events: an ``EventHub`` on ``hardhttp.listen``, every limit on."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.web.resource import Resource

import hardhttp
from benchmarks.servers.hardhttp_tree import description, fail
from benchmarks.servers.options import parse
from benchmarks.servers.sse_resources import make_root
from benchmarks.servers.twisted_run import run
from hardhttp.sse.hub import EventHub

TOPIC = "events"


class Events(Resource):
    """Subscribe by GET."""

    isLeaf = True

    def __init__(self, hub: EventHub) -> None:
        super().__init__()
        self._hub = hub

    def render_GET(self, request):
        return self._hub.subscribe(request, TOPIC)


def main() -> None:
    options = parse()
    limits = hardhttp.Limits()
    if options.max_connections:
        limits = hardhttp.Limits(max_connections=options.max_connections)
    hub = EventHub(reactor)
    root = make_root(reactor, Events(hub), lambda data: hub.publish(TOPIC, data))
    site = hardhttp.Site(root, limits=limits, reactor=reactor)
    hardhttp.listen(reactor, description(options), site).addErrback(fail)
    run(reactor, options)


if __name__ == "__main__":
    main()

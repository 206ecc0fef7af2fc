"""A clock that ticks in every browser that looks, and a POST that tells them all something."""

import sys

from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.static import Data

from hardhttp import EventStream, Site

PAGE = b"""<!doctype html><meta charset=utf-8><title>Ticks</title><pre id=log></pre>
<script>
const source = new EventSource("events"), log = document.getElementById("log");
source.addEventListener("tick", event => { log.textContent += event.data + "\\n"; });
source.onmessage = event => { log.textContent += "told: " + event.data + "\\n"; };
</script>
"""


class Tell(Resource):
    isLeaf = True

    def __init__(self, events):
        super().__init__()
        self.events = events

    def render_POST(self, request):
        self.events.publish(request.content.read())
        request.setResponseCode(204)
        return b""


if __name__ == "__main__":
    events = EventStream(reactor, heartbeat_seconds=15, max_queued_events=100)
    ticks = iter(range(sys.maxsize))
    LoopingCall(lambda: events.publish({"tick": next(ticks)}, event="tick")).start(0.2)
    root = Resource()
    root.putChild(b"", Data(PAGE, "text/html; charset=utf-8"))
    root.putChild(b"events", events)
    root.putChild(b"tell", Tell(events))
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

"""Following an event stream: each event once, though the server hangs up after every tenth.

Without SOURCE in the environment the stream is this program's own.
"""

import os
import sys

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource

from hardhttp import EventHub, Site
from hardhttp.client import Agent, EventLimits, EventSource, EventSourceError, Gap
from hardhttp.sse.history import MemoryHistory


class Ticks(Resource):
    """A hub's topic, with a history: who comes back is given what he has missed."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.hub = EventHub(reactor, history=MemoryHistory(reactor), retry_seconds=(0.1, 0.2))
        self.numbers = iter(range(sys.maxsize))

    def render_GET(self, request):
        last = request.getHeader(b"last-event-id")
        return self.hub.subscribe(request, ["ticks"], last_event_id="earliest" if last is None else last.decode())

    def tick(self):
        number = next(self.numbers)
        self.hub.publish("ticks", f"tick {number}")
        if number % 10 == 9:
            self.hub.close_all()


async def follow(url):
    limits = EventLimits(retry_seconds=0.1, min_retry_seconds=0.1, idle_seconds=60)
    source = EventSource(Agent(reactor), url, clock=reactor, limits=limits)
    source.on_state(lambda state: print(state.name, flush=True))
    reactor.addSystemEventTrigger("before", "shutdown", source.close)
    try:
        async for event in source:
            if isinstance(event, Gap):
                print(f"lost: {event.first} to {event.last}, {event.reason}", flush=True)
            else:
                print(event.data, flush=True)
    except EventSourceError as error:
        print(error, flush=True)
    print(f"ended: {source.ending.reason}", flush=True)


if __name__ == "__main__":
    ticks = Ticks()
    LoopingCall(ticks.tick).start(0.05)
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(ticks), interface="127.0.0.1")
    here = f"http://127.0.0.1:{port.getHost().port}/"
    print(here, flush=True)
    following = ensureDeferred(follow(os.environ.get("SOURCE", here)))
    reactor.run()

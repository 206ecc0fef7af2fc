"""One hub in several processes: run it twice with the same BROKER, and who listens to one hears the other.

BROKER=redis://127.0.0.1:6379/0 python several_processes.py 8080
BROKER=redis://127.0.0.1:6379/0 python several_processes.py 8081
"""

import os
import sys

from twisted.internet import reactor

from hardhttp import EventHub, Router, Site
from hardhttp.brokers import open_broker

router = Router()
hub = EventHub(reactor, broker=open_broker(os.environ.get("BROKER", "memory:"), reactor), broker_away="queue")
reactor.addSystemEventTrigger("before", "shutdown", hub.stop)


@router.get("/events")
def listen(request):
    """A browser that comes back, to whichever process, brings the id of the last event it has had."""
    last = request.getHeader(b"last-event-id")
    return hub.subscribe(request, "news", last_event_id=None if last is None else last.decode("utf-8", "replace"))


@router.post("/news")
async def tell(request):
    """Answered when every process has the event, or will have it."""
    receipt = await hub.publish("news", request.form()["text"]).when_published()
    return {"id": receipt.id, "here": receipt.matched}


@router.get("/ready")
def ready(request):
    request.setResponseCode(200 if hub.broker_state == "ready" else 503)
    return {"broker": hub.broker_state, "nodes": hub.everywhere.nodes, "waiting": hub.unpublished}


if __name__ == "__main__":
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(router), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

"""A server with a small budget and something that fills each kind of what the budget counts; see test_budget.

It prints its port, and answers each line on its standard input with what it holds and has held at most. A line
``publish COUNT SIZE`` publishes so many events.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver
from twisted.web.resource import Resource

from hardhttp import Limits, Site, WebSocketResource, listen
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.web.sessions import Sessions
from hardhttp.web.websocket import WebSocket

MiB = 1 << 20
LIMITS = Limits(
    max_connections=5000,
    max_buffered_bytes=int(sys.argv[1]) * MiB,
    max_sessions_bytes=4096 * MiB,
    head_seconds=300,
    body_seconds=300,
    send_seconds=300,
)


class Kinds(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        if request.path == b"/session":
            request.session["much"] = os.urandom(24 * 1024).hex()
            return b"kept"
        return os.urandom(4 * MiB)  # nobody else's

    def render_POST(self, request: Any) -> bytes:
        return b"taken"


async def never_reads(socket: WebSocket) -> None:
    await Deferred()


class Orders(LineOnlyReceiver):
    delimiter = b"\n"

    def __init__(self, hub: EventHub, site: Site) -> None:
        self.hub, self.site = hub, site

    def lineReceived(self, line: bytes) -> None:
        word, *numbers = line.split()
        if word == b"publish":
            for _ in range(int(numbers[0])):
                self.hub.publish("t", os.urandom(int(numbers[1]) // 2).hex())
        budget = self.site.server.budget
        with open("/proc/self/status") as file:
            kib = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in file) if name[:2] == "Vm"}
        said = {
            "rss": kib["VmRSS"] * 1024,
            "peak": kib["VmHWM"] * 1024,
            "held": budget.held_bytes,
            "kinds": {**self.site.ledger.snapshot(), **{keeper.kind: keeper.held() for keeper in budget.keepers}},
            "pressure": int(budget.pressure),
            "shed": budget.shed_count,
            "held_back": budget.held_back_count,
            "refused": self.site.statistics.refused["buffered-bytes"],
        }
        self.sendLine(json.dumps(said).encode())


def main() -> None:
    gc.disable()
    hub = EventHub(reactor, history=MemoryHistory(reactor, max_bytes=4096 * MiB), max_queued_bytes=64 * MiB)
    root = Resource()
    for name in (b"big", b"session", b"post"):
        root.putChild(name, Kinds())
    root.putChild(b"ws", WebSocketResource(never_reads))
    root.putChild(b"hub", Mercure(hub, anonymous=True))
    site = Site(root, limits=LIMITS, reactor=reactor, sessions=Sessions())
    hub.counted_by(site.server)
    orders = Orders(hub, site)
    StandardIO(orders)
    listening = listen(reactor, "tcp:0:interface=127.0.0.1", site)
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))
    reactor.run()


if __name__ == "__main__":
    main()

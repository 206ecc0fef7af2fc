"""A page made of what other services answer: each asked within its bounds, each failure by its reason."""

import json
import sys

from twisted.internet import reactor
from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp import Site
from hardhttp.client import Agent, ClientLimits, HTTPClient, reason_of


class Service(Resource):
    """The others: one that answers, one that sends too much, one that says nothing."""

    isLeaf = True

    def render_GET(self, request):
        if request.path == b"/price":
            request.setHeader(b"Content-Type", b"application/json")
            return b'{"pence": 310}'
        return b"x" * 2_000_000 if request.path == b"/large" else NOT_DONE_YET


class Page(Resource):
    isLeaf = True

    def __init__(self, agent, base):
        super().__init__()
        self.agent = agent
        self.client = HTTPClient(agent)
        self.base = base

    def render_GET(self, request):
        if request.path == b"/figures":
            return json.dumps([self.agent.ledger.snapshot(), self.agent.statistics.snapshot()]).encode() + b"\n"
        return ensureDeferred(self.page())

    async def page(self):
        names = ("price", "large", "silent")
        answers = await DeferredList([ensureDeferred(self.ask(name)) for name in names])
        return "".join(f"{name}: {answer}\n" for name, (_, answer) in zip(names, answers)).encode()

    async def ask(self, name):
        try:
            response = await self.client.get(f"{self.base}/{name}", timeout=1)
            return await response.json()
        except Exception as error:
            return reason_of(error)


if __name__ == "__main__":
    others = reactor.listenTCP(0, Site(Service()), interface="127.0.0.1")
    agent = Agent(reactor, ClientLimits(connect_seconds=2, first_byte_seconds=0.2, max_body_bytes=1_000_000))
    root = Page(agent, f"http://127.0.0.1:{others.getHost().port}")
    reactor.addSystemEventTrigger("before", "shutdown", agent.close)
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

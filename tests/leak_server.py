"""The server of the leak tests, in a process of its own, without the garbage collector.

It serves every way a request can go, on two ports (ours and the reactor's own), and answers commands
on its standard input, one a line, each with one line of JSON:

    look      what is held now: resident memory, the ledger, the tracker, live objects of the package
    collect   what the collector finds, by type, and where the code of what was running is
    stop      stop listening and drain; then what is still pending on the reactor
"""

from __future__ import annotations

import gc
import json
import os
import types
from collections import Counter
from typing import Any

from twisted.internet import defer, reactor, stdio
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner
from twisted.protocols.basic import LineReceiver
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import EventHub, EventStream, IStreamingResource, Limits, Site, WebSocketResource, listen
from hardhttp.net.poller import Poller
from hardhttp.sse.websocket import EventSockets
from hardhttp.web.websocket import WebSocket

LIMITS = Limits(
    head_seconds=1,
    body_seconds=1,
    idle_seconds=1,
    send_seconds=1,
    abort_seconds=1,
    handling_seconds=1,
    max_body_bytes=100_000,
    max_form_fields=10,
    spool_bytes=20_000,
    max_target_bytes=1000,
    max_head_bytes=4096,
    max_websocket_message_bytes=100_000,
    websocket_ping_seconds=1,
    websocket_pong_seconds=1,
)


class Hello(Resource):
    def getChild(self, name: bytes, request: Any) -> Resource:
        return self

    def render_GET(self, request: Any) -> bytes:
        request.notifyFinish().addErrback(lambda _: None)
        return b"hello"

    def render_POST(self, request: Any) -> bytes:
        return b"%d %d" % (len(request.content.read()), len(request.args))


class Headers(Resource):
    """Everything that is made when it is asked for."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"X-Test", b"1")
        request.addCookie(b"a", b"b")
        request.getHeader(b"user-agent")
        _ = (request.args, request.requestHeaders, request.received_cookies, request.client, request.host)
        _ = (request.transport, request.content, request.elapsed_seconds, request.request_id)
        return b"headers"


class Fails(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        raise RuntimeError("as it should")


class FailsHalfway(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.write(b"half")
        raise RuntimeError("as it should")


class Coroutine(Resource):
    isLeaf = True

    async def render_GET(self, request: Any) -> bytes:
        await deferLater(reactor, 0)
        if b"fail" in request.args:
            raise RuntimeError("as it should")
        return b"coroutine"


class Inline(Resource):
    isLeaf = True

    @defer.inlineCallbacks
    def render_GET(self, request: Any) -> Any:
        yield deferLater(reactor, 0)
        if b"fail" in request.args:
            raise RuntimeError("as it should")
        return b"inline"


class Waits(Resource):
    """A coroutine that its client's departure, or its deadline, cancels."""

    isLeaf = True

    async def render_GET(self, request: Any) -> bytes:
        await deferLater(reactor, 600)
        return b"never"


class Never(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        return NOT_DONE_YET


class Large(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"x" * 3_000_000


class Written(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        request.write(b"in ")
        request.write(b"pieces")
        request.finish()
        request.write(b"after the end")
        return NOT_DONE_YET


class Produced(Resource):
    """From a pull producer."""

    isLeaf = True

    class Producer:
        def __init__(self, request: Any) -> None:
            self._request = request
            self._left = 20

        def resumeProducing(self) -> None:
            self._left -= 1
            self._request.write(b"y" * 10_000)
            if not self._left:
                self._request.unregisterProducer()
                self._request.finish()
                self._request = None

        def stopProducing(self) -> None:
            self._request = None

    def render_GET(self, request: Any) -> Any:
        request.registerProducer(self.Producer(request), False)
        return NOT_DONE_YET


@implementer(IStreamingResource)
class Streamed(Resource):
    isLeaf = True

    class Taker(Protocol):
        size = 0

        def __init__(self, request: Any) -> None:
            self._request = request

        def dataReceived(self, data: bytes) -> None:
            self.size += len(data)
            self.transport.pauseProducing()
            reactor.callLater(0, self.transport.resumeProducing)

        def connectionLost(self, reason: Any = None) -> None:
            request, self._request = self._request, None
            if not reason.check(Exception) or self.size:
                request.write(b"%d" % self.size)
                request.finish()

    def render_POST(self, request: Any) -> Any:
        request.deliverBody(self.Taker(request))
        return NOT_DONE_YET


async def echoing(socket: WebSocket) -> None:
    async for message in socket:
        if message == "fail":
            raise RuntimeError("as it should")
        if message == "wait":
            await deferLater(reactor, 600)
        await socket.send(message)


def echo(socket: WebSocket, message: Any) -> Any:
    if message == "close":
        socket.close()
    if message == "fail":
        raise RuntimeError("as it should")
    socket.send(message)
    return deferLater(reactor, 600) if message == "wait" else None


def tree() -> tuple[Resource, EventStream]:
    root = Hello()
    stream = EventStream(reactor, heartbeat_seconds=0.5)
    for name, resource in {
        b"headers": Headers(),
        b"fails": Fails(),
        b"halfway": FailsHalfway(),
        b"coroutine": Coroutine(),
        b"inline": Inline(),
        b"waits": Waits(),
        b"never": Never(),
        b"large": Large(),
        b"written": Written(),
        b"produced": Produced(),
        b"streamed": Streamed(),
        b"events": stream,
        b"handler": WebSocketResource(echoing, deflate=True),
        b"callback": WebSocketResource(on_message=echo),
        b"hub": EventSockets(EventHub(reactor)),
    }.items():
        root.putChild(name, resource)
    return root, stream


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def name_of(thing: object) -> str:
    kind = type(thing)
    if isinstance(thing, (types.FrameType, types.CoroutineType, types.GeneratorType, types.FunctionType)):
        code = next(c for n in ("f_code", "cr_code", "gi_code", "__code__") if (c := getattr(thing, n, None)))
        return f"{kind.__name__} of {code.co_qualname} in {code.co_filename}"
    return f"{kind.__module__}.{kind.__qualname__}"


class Commands(LineReceiver):
    delimiter = b"\n"

    def __init__(self, site: Site, stream: EventStream, ports: list[Any]) -> None:
        self._site, self._stream, self._ports = site, stream, ports

    def lineReceived(self, line: bytes) -> None:
        getattr(self, f"do_{line.decode()}")()

    def say(self, **what: Any) -> None:
        self.sendLine(json.dumps(what).encode())

    def do_ports(self) -> None:
        self.say(ports=[port.getHost().port for port in self._ports])

    def do_look(self) -> None:
        live = Counter(name_of(o) for o in gc.get_objects() if type(o).__module__.startswith("hardhttp"))
        self.say(
            resident_bytes=resident_bytes(),
            ledger=self._site.ledger.snapshot(),
            statistics=self._site.statistics.snapshot(),
            subscribers=self._stream.subscriber_count,
            live=live,
            calls=len(reactor.getDelayedCalls()),
            descriptors=len(os.listdir("/proc/self/fd")),
        )

    def do_collect(self) -> None:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        found = Counter(map(name_of, gc.garbage))
        gc.garbage.clear()
        self.say(found=found)

    @defer.inlineCallbacks
    def do_stop(self) -> Any:
        drained = self._site.drain()
        for port in self._ports:
            yield port.stopListening()
        yield drained
        self.say(
            pending=[str(call) for call in reactor.getDelayedCalls()],
            readers=[str(reader) for reader in reactor.getReaders() if isinstance(reader, Poller)],
        )
        reactor.callLater(0.1, reactor.stop)  # once it has been said


@defer.inlineCallbacks
def main() -> Any:
    root, stream = tree()
    site = Site(root, limits=LIMITS, reactor=reactor)
    port = yield listen(reactor, "tcp:0:interface=127.0.0.1", site)
    stock = reactor.listenTCP(0, site, interface="127.0.0.1")

    def tick() -> None:
        nonlocal ticking
        ticking = reactor.callLater(0.05, tick)
        if stream.subscriber_count:
            stream.publish("tick")

    ticking = reactor.callLater(0.05, tick)
    reactor.addSystemEventTrigger("before", "shutdown", lambda: ticking.active() and ticking.cancel())
    commands = Commands(site, stream, [port, stock])
    stop = commands.do_stop
    commands.do_stop = lambda: (ticking.cancel(), stop())
    stdio.StandardIO(commands)


if __name__ == "__main__":
    # Until somebody listens to the log, it keeps the last events, and what they hold.
    globalLogBeginner.beginLoggingTo([lambda event: None], discardBuffer=True, redirectStandardIO=False)
    gc.collect()
    gc.freeze()
    gc.disable()
    reactor.callWhenRunning(main)
    reactor.run()

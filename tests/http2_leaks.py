"""Many streams of every end, without the garbage collector, in a process of its own; prints what is left as JSON.

    python -m tests.http2_leaks STREAMS

A tenth of the streams is served before anything is measured, so that caches are full.
"""

from __future__ import annotations

import gc
import json
import struct
import sys
from collections import Counter
from typing import Any

from hpack import Encoder
from twisted.internet.protocol import Protocol
from twisted.logger import globalLogBeginner
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource, Link, WebSocketResource
from hardhttp.limits import Limits
from hardhttp.sse.stream import EventStream
from hardhttp.testing import Rig
from hardhttp.web.websocket import WebSocket
from hardhttp.wire.http2 import PREFACE
from tests.wire.framing import FIN, TEXT, closing
from tests.wire.framing import frame as websocket

DATA, HEADERS, RST, SETTINGS, WINDOW = 0, 1, 3, 4, 8
STREAMS_A_CONNECTION = 1000
PUSHED = ("now", "later", "half", "fails", "large", "never")
# Beyond any bound of conduct: what is looked for is what they leave, not whether they may.
LIMITS = Limits(max_stream_resets=1_000_000, max_control_frames=1_000_000, send_seconds=2, body_seconds=2)


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def head(stream: int, path: bytes, *more: tuple[bytes, bytes], end: bool = True, method: bytes = b"POST") -> bytes:
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a"), *more]
    return frame(HEADERS, Encoder().encode([(*field, True) for field in fields]), 0x4 | end, stream)


def opened(stream: int, path: bytes = b"/echo") -> bytes:
    asked = (b":protocol", b"websocket"), (b"sec-websocket-version", b"13")
    return head(stream, path, *asked, end=False, method=b"CONNECT")


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, payload, flags, stream)


async def handle(socket: WebSocket) -> None:
    async for message in socket:
        if message == "fail":
            raise LookupError("as it should")
        await socket.send(message)


@implementer(IStreamingResource)
class Takes(Resource):
    isLeaf = True

    def render(self, request: Any) -> int:
        request.deliverBody(Protocol())
        request._stop = lambda _: None
        request.notifyFinish().addBoth(request._stop)
        return NOT_DONE_YET


class Answers(Resource):
    isLeaf = True

    def render(self, request: Any) -> Any:
        if request.path == b"/later":
            request.site.reactor.callLater(0, request.finish)
            return NOT_DONE_YET
        if request.path == b"/never":
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET
        if request.path == b"/half":
            request.write(b"half")
            request.channel.abortConnection()
            return NOT_DONE_YET
        if request.path == b"/hints":
            request.hints([Link(f"/{what}?{request.channel.number}", "preload", {"as": "style"}) for what in PUSHED])
            return b"page"
        if request.path == b"/fails":
            raise LookupError("as it should")
        return b"x" * (200_000 if request.path == b"/large" else 10)


def ends(stream: int, large: bool) -> list[bytes]:
    """One stream of each kind, from ``stream`` on."""
    kinds: list[Any] = [
        lambda n: head(n, b"/now"),
        lambda n: head(n, b"/later"),
        lambda n: head(n, b"/now", end=False) + frame(DATA, b"body", 1, n),
        lambda n: head(n, b"/never") + frame(RST, struct.pack(">I", 8), stream=n),
        lambda n: head(n, b"/half"),
        lambda n: head(n, b"/fails"),
        lambda n: head(n, b"/now", (b"content-length", b"99999999"), end=False),
        lambda n: head(n, b"/now", (b"connection", b"x")),
        lambda n: head(n, b"/takes", end=False) + frame(DATA, b"part", 0, n) + frame(RST, struct.pack(">I", 8), 0, n),
        lambda n: head(n, b"/takes", end=False) + frame(DATA, b"whole", 1, n) + frame(RST, struct.pack(">I", 8), 0, n),
        lambda n: head(n, b"/events") + frame(RST, struct.pack(">I", 8), stream=n),
        lambda n: opened(n) + data(n, websocket(TEXT, b"hello") + closing(), 1),
        lambda n: opened(n) + data(n, websocket(TEXT - FIN, b"half")) + frame(RST, struct.pack(">I", 8), stream=n),
        lambda n: opened(n, b"/handler") + data(n, websocket(TEXT, b"x") * 5) + frame(RST, bytes(4), stream=n),
        lambda n: opened(n) + data(n, b"\xff\xff"),
        lambda n: opened(n, b"/now"),
        lambda n: opened(n, b"/handler") + data(n, websocket(TEXT, b"fail")),
        # Pushes, of which some are cancelled: those to come as well, until there are no more.
        lambda n: head(n, b"/hints", method=b"GET") + frame(RST, struct.pack(">I", 8), stream=2 * (n // 40) + 2),
        lambda n: head(n, b"/now", end=False) + frame(WINDOW, b"\x7f\xff\xff\xff", stream=n),
    ]
    if large:
        kinds.append(lambda n: head(n, b"/large"))  # stalls: its window is small
    return [kind(stream + 2 * index) for index, kind in enumerate(kinds)]


def serve(rig: Rig, count: int) -> None:
    done = 0
    while done < count:
        peer = rig.connect()
        peer.send(PREFACE + frame(SETTINGS))
        stream, stalled = 1, 0
        while stream < 2 * STREAMS_A_CONNECTION and not peer.ended:
            batch = ends(stream, stalled < 5)
            stalled += 1
            peer.send(b"".join(batch))
            stream += 2 * len(batch)
            done += len(batch)
        assert not peer.ended, peer.protocol
        if done % 2:
            peer.reset()
        rig.advance(5)  # what stalls is reset for its pace
        peer.reset()
        rig.peers.clear()
    rig.flush()


def main() -> None:
    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False)  # else it keeps all of it
    count = int(sys.argv[1])
    root = Resource()
    for name in (b"now", b"later", b"never", b"half", b"fails", b"large", b"hints"):
        root.putChild(name, Answers())
    root.putChild(b"takes", Takes())
    root.putChild(b"handler", WebSocketResource(handle))
    root.putChild(b"echo", WebSocketResource(on_message=lambda socket, message: socket.send(message)))
    with Rig(root, limits=LIMITS) as rig:
        root.putChild(b"events", EventStream(rig.clock))
        serve(rig, count // 10)
        gc.collect()
        gc.disable()
        before = len(gc.get_objects())
        serve(rig, count)
        after = len(gc.get_objects())
        gc.set_debug(gc.DEBUG_SAVEALL)
        found = gc.collect()
        garbage = Counter(type(item).__name__ for item in gc.garbage)
        gc.set_debug(0)
        gc.garbage.clear()
    print(json.dumps({"grown": after - before, "found": found, "garbage": garbage.most_common(20)}))


if __name__ == "__main__":
    main()

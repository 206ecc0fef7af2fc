"""Frames nobody thought of: whatever comes, it is answered or ends its connection, and nothing is left or logged.

``Rig`` fails for a failure that is logged, and for anything that is still held at the end; and what the server says
must be HTTP/2 as the ``h2`` library's client reads it, as long as what it was sent was.
"""

from __future__ import annotations

import struct
from typing import Any

from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource
from hardhttp.limits import Limits
from hardhttp.testing import Rig
from hardhttp.wire.http2 import PREFACE, FrameCutter, Kind

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
LIMITS = Limits(
    max_streams=3,
    max_stream_resets=10,
    max_control_frames=40,
    max_head_bytes=500,
    max_headers=5,
    max_body_bytes=5000,
    max_unsent_bytes=20_000,
    spool_bytes=100,
)


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


@implementer(IStreamingResource)
class Takes(Resource):
    """Takes a body, pausing now and then; answers in the middle."""

    isLeaf = True

    def render(self, request: Any) -> int:
        class Receiver(Protocol):
            count = 0

            def dataReceived(self, data: bytes) -> None:
                self.count += 1
                if self.count == 2:
                    self.transport.pauseProducing()  # type: ignore[union-attr]
                    request.site.reactor.callLater(0, self.transport.resumeProducing)  # type: ignore[union-attr]
                if self.count == 4:
                    request.write(b"enough")
                    request.finish()

        request.deliverBody(Receiver())
        return NOT_DONE_YET


class Tree(Resource):
    isLeaf = True

    def render(self, request: Any) -> Any:
        if request.path == b"/large":
            return b"x" * 50_000
        if request.path == b"/later":
            request.site.reactor.callLater(1, request.finish)
            return NOT_DONE_YET
        if request.path == b"/parts":
            request.write(b"y" * 9000)
            request.write(b"y" * 9000)
            request.finish()
            return NOT_DONE_YET
        return request.content.read()


NAMES = st.sampled_from([b"cookie", b"te", b"connection", b"content-length", b"host", b"expect", b"x", b"X", b""])
VALUES = st.sampled_from([b"a", b"trailers", b"5", b"100-continue", b" b", b"", b"z" * 300]) | st.binary(max_size=5)
PATHS = st.sampled_from([b"/", b"/large", b"/later", b"/parts", b"/takes", b"*", b"", b"/\x00"])


@st.composite
def blocks(draw: Any) -> bytes:
    fields = [(b":method", draw(st.sampled_from([b"GET", b"POST", b"HEAD", b"CONNECT"]))), (b":scheme", b"http")]
    fields += [(b":path", draw(PATHS)), (b":authority", b"a"), *draw(st.lists(st.tuples(NAMES, VALUES), max_size=3))]
    if draw(st.integers(0, 9)) == 0:
        fields.pop(draw(st.integers(0, len(fields) - 1)))
    return Encoder().encode([(*field, True) for field in fields])


STREAMS = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 9, 0, 2, 2**31 - 1])
NUMBERS = st.sampled_from([0, 1, 10, 1000, 70_000, 2**31 - 1]).map(lambda number: struct.pack(">I", number))
SETTING = st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 5, 16_384, 65_535, 2**31 - 1, 2**32 - 1]))
FRAMES = st.one_of(
    st.builds(frame, st.just(HEADERS), blocks(), st.sampled_from([4, 5, 5, 5, 0, 1, 0x2C]), STREAMS),
    st.builds(
        frame, st.just(DATA), st.binary(max_size=50) | st.just(b"x" * 3000), st.sampled_from([0, 0, 1, 8]), STREAMS
    ),
    st.builds(frame, st.just(RST), NUMBERS, st.just(0), STREAMS),
    st.builds(frame, st.just(WINDOW), NUMBERS, st.just(0), STREAMS),
    st.builds(
        frame, st.just(SETTINGS), SETTING.map(lambda pair: struct.pack(">HI", *pair)), st.sampled_from([0, 0, 1])
    ),
    st.builds(frame, st.just(PING), st.just(b"12345678"), st.sampled_from([0, 1])),
    st.builds(frame, st.just(CONTINUATION), st.binary(max_size=20), st.sampled_from([0, 4]), STREAMS),
    st.builds(frame, st.just(GOAWAY), st.binary(min_size=8, max_size=12)),
    st.builds(frame, st.integers(0, 12), st.binary(max_size=20), st.integers(0, 255), STREAMS),
)
# What else happens: the client stops to read, or goes on; time passes; the server stops.
EVENTS = st.sampled_from(["stop", "read", "second", "minute", "drain"])


@given(
    said=st.lists(FRAMES | FRAMES | EVENTS, max_size=25),
    cut=st.integers(1, 50),
    window=st.sampled_from([0, 10, 65_535]),
)
def test_whatever_comes(said: list[bytes | str], cut: int, window: int) -> None:
    root = Resource()
    for name in (b"", b"large", b"later", b"parts"):
        root.putChild(name, Tree())
    root.putChild(b"takes", Takes())
    with Rig(root, limits=LIMITS) as rig:
        peer = rig.connect()
        peer.send(PREFACE + frame(SETTINGS, struct.pack(">HI", 4, window)))
        for one in said:
            if isinstance(one, bytes):
                peer.send(*[one[at : at + cut] for at in range(0, len(one), cut)])
            elif one == "stop":
                peer.take(100)
            elif one == "read":
                peer.take(None)
            elif one == "drain":
                rig.site.drain()
            else:
                rig.advance(61 if one == "minute" else 1)
            held = rig.site.ledger.snapshot()
            assert held["unsent_bytes"] < 200_000
            assert held["requests"] <= LIMITS.max_streams
        peer.take(None)
        cutter = FrameCutter()
        frames = cutter.cut(peer.received)
        assert cutter.fault is None
        assert {kind for kind, *_ in frames} <= {*Kind}
        peer.reset()
        rig.site.server.draining = False
        rig.advance(2)

"""What a client may not do for nothing over HTTP/2: each flood ends with the fitting code, holds nothing, and harms
nobody else.

Each test sends what an attacker would, in bytes, and looks at another connection before and after. ``Rig`` sees to
it that at the end the ledger, the tracker and the clock are as they were.
"""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource, WebSocketResource
from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.wire.http2 import CONNECTION_WINDOW_BYTES, FrameCutter
from tests.web.saying import Says
from tests.wire.framing import BINARY
from tests.wire.framing import frame as websocket

CALM = ErrorCodes.ENHANCE_YOUR_CALM
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
FEW = Limits(max_control_frames=50, max_stream_resets=20)


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def block(fields: Any = HEAD) -> bytes:
    """A header block that leaves no trace in a table."""
    return Encoder().encode([(name, value, True) for name, value in fields])


def reset(stream: int) -> bytes:
    return frame(RST, struct.pack(">I", ErrorCodes.CANCEL), stream=stream)


def opened(stream: int) -> bytes:
    return frame(HEADERS, block(), 0x5, stream)


def waits(request: Any) -> int:
    return NOT_DONE_YET


class Attack:
    """An attacker's connection, and an honest one beside it."""

    def __init__(self, rig: Rig, settings: Any = {}) -> None:  # noqa: B006
        self.rig = rig
        self.honest = HTTP2Peer(rig)
        self.number = self.honest.request(b"GET", b"/honest")
        self.before = rig.site.ledger.snapshot()
        self.peer = HTTP2Peer(rig, settings=settings)

    def send(self, *frames: bytes) -> None:
        for piece in frames:
            if self.peer.ended:
                break
            self.peer.send(piece)

    def said(self, kind: int) -> list[bytes]:
        """The payloads of the server's frames of one kind: streams opened by hand are none that h2 knows."""
        return [one[9:] for came, _, _, one in FrameCutter().cut(self.peer.received) if came == kind]

    def ends_with(self, code: ErrorCodes, reason: Reason) -> None:
        """The connection ends, by GOAWAY with ``code``; nothing of it is left; the honest client is served."""
        assert [struct.unpack(">I", payload[4:8])[0] for payload in self.said(GOAWAY)] == [code]
        assert self.peer.ended
        self.rig.advance(6)
        assert self.peer.closed
        assert self.rig.site.statistics.closed[reason] == 1
        held = self.rig.site.ledger.snapshot()
        assert {kind: n for kind, n in held.items() if kind.endswith("_bytes")} == {
            kind: n for kind, n in self.before.items() if kind.endswith("_bytes")
        }
        number = self.honest.request(b"GET", b"/honest")
        assert self.honest.goaways == []
        assert self.honest.streams[number].code is None


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        pytest.param(frame(SETTINGS), Reason.CONTROL_FRAMES, id="SETTINGS"),
        pytest.param(frame(SETTINGS, struct.pack(">HI", 4, 1000)), Reason.CONTROL_FRAMES, id="SETTINGS that change"),
        pytest.param(frame(PING, b"12345678"), Reason.CONTROL_FRAMES, id="PING"),
        pytest.param(frame(PRIORITY, b"\0\0\0\0\x10", stream=3), Reason.CONTROL_FRAMES, id="PRIORITY"),
        pytest.param(frame(0x10, b"\0\0\0\1u=1"), Reason.CONTROL_FRAMES, id="PRIORITY_UPDATE"),
        pytest.param(frame(WINDOW, b"\0\0\0\1"), Reason.CONTROL_FRAMES, id="WINDOW_UPDATE"),
        pytest.param(frame(DATA, b"", stream=1), Reason.CONTROL_FRAMES, id="empty DATA"),
        pytest.param(frame(DATA, b"\3\0\0\0", 0x8, stream=1), Reason.CONTROL_FRAMES, id="DATA of padding"),
        pytest.param(frame(DATA, b"x", stream=1), Reason.CONTROL_FRAMES, id="DATA of one byte"),
        pytest.param(frame(0xBE, b"x"), Reason.CONTROL_FRAMES, id="unknown"),
        pytest.param(reset(1), Reason.STREAM_RESETS, id="RST_STREAM"),
    ],
)
def test_floods_of_one_frame(one: bytes, reason: Reason) -> None:
    bound = FEW.max_control_frames if reason is Reason.CONTROL_FRAMES else FEW.max_stream_resets
    with Rig(Says(waits), limits=FEW) as rig:
        attack = Attack(rig)
        attack.send(frame(HEADERS, block(), 0x4, 1))
        # The handshake's own SETTINGS and ACK have been counted, and the request has paid for one.
        attack.send(one * (bound - 2))
        assert not attack.peer.ended
        attack.send(one * 3)
        attack.ends_with(CALM, reason)


def test_control_frames_are_allowed_again_with_time() -> None:
    with Rig(Says(waits), limits=FEW) as rig:
        attack = Attack(rig)
        for _ in range(8):
            attack.send(frame(PING, b"12345678") * 45)
            rig.advance(10)
        assert attack.said(GOAWAY) == []
        assert len(attack.said(PING)) == 8 * 45


def test_window_updates_are_paid_for_by_bodies() -> None:
    """An honest client that opens its windows after each frame of a large body."""
    with Rig(Says(lambda request: b"x" * 3_000_000), limits=FEW) as rig:
        peer = HTTP2Peer(rig)
        peer.takes_bodies = False
        number = peer.request(b"GET", b"/")
        for _ in range(2000):
            if peer.streams[number].ended:
                break
            peer.wire.increment_flow_control_window(16_384)
            peer.wire.increment_flow_control_window(16_384, number)
            peer.pump()
        assert len(peer.response(number).body) == 3_000_000
        assert peer.goaways == []


def test_rapid_reset() -> None:
    """CVE-2023-44487."""
    asked: list[bytes] = []

    def answer(request: Any) -> int:
        asked.append(request.path)
        return NOT_DONE_YET

    with Rig(Says(answer), limits=FEW) as rig:
        attack = Attack(rig)
        attack.send(b"".join(opened(stream) + reset(stream) for stream in range(1, 41, 2)))
        assert not attack.peer.ended
        attack.send(b"".join(opened(stream) + reset(stream) for stream in range(41, 4001, 2)))
        attack.ends_with(CALM, Reason.STREAM_RESETS)
        assert len(asked) < 25


@pytest.mark.parametrize(
    "provoked",
    [
        pytest.param(frame(WINDOW, b"\x7f\xff\xff\xff"), id="a window that overflows"),
        pytest.param(frame(HEADERS, block([(b"x", b"y")]), 0x5), id="trailers behind which no end may come"),
    ],
)
def test_resets_that_we_are_made_to_send(provoked: bytes) -> None:
    """CVE-2025-8671, MadeYouReset: the same as rapid reset, with our own hand."""
    with Rig(Says(waits), limits=FEW) as rig:
        attack = Attack(rig)
        if provoked[3] == WINDOW:
            for stream in range(1, 201, 2):
                attack.send(opened(stream) + provoked[:5] + stream.to_bytes(4) + provoked[9:])
        else:
            for stream in range(1, 201, 2):  # a body that is malformed by its trailers
                bad = frame(HEADERS, block([(b"Upper", b"y")]), 0x5, stream)
                attack.send(frame(HEADERS, block(), 0x4, stream) + bad)
        attack.ends_with(CALM, Reason.STREAM_RESETS)


@pytest.mark.parametrize("in_two", [False, True], ids=["whole", "with CONTINUATION"])
def test_headers_on_a_stream_that_is_over_are_provoked_resets_too(in_two: bool) -> None:
    """Each has its block decoded, and is answered by RST_STREAM."""
    late = frame(HEADERS, block(), 0x5, 1)
    if in_two:
        late = frame(HEADERS, block(), 0x1, 1) + frame(CONTINUATION, b"", 0x4, 1)
    with Rig(Says(waits), limits=attrs.evolve(FEW, max_body_bytes=1)) as rig:
        attack = Attack(rig)
        long = frame(HEADERS, block([(b":method", b"POST"), *HEAD[1:]]), 0x4, 1) + frame(DATA, b"x" * 20, 0, 1)
        attack.send(long, *[late] * (FEW.max_stream_resets - 1))
        assert not attack.peer.ended
        attack.send(*[late] * 2)
        attack.ends_with(CALM, Reason.STREAM_RESETS)


@pytest.mark.parametrize("body", [b"x" * 40, b"x" * 20], ids=["longer", "shorter"])
def test_bodies_of_another_length_than_they_said_are_provoked_resets_too(body: bytes) -> None:
    with Rig(Says(waits), limits=FEW) as rig:
        attack = Attack(rig)
        fields = block([(b":method", b"POST"), *HEAD[1:], (b"content-length", b"30")])
        for stream in range(1, 201, 2):
            attack.send(frame(HEADERS, fields, 0x4, stream) + frame(DATA, body, 0x1, stream))
        attack.ends_with(CALM, Reason.STREAM_RESETS)


def test_malformed_requests_are_provoked_resets_too() -> None:
    with Rig(Says(waits), limits=FEW) as rig:
        attack = Attack(rig)
        bad = block([*HEAD, (b"connection", b"close")])
        for stream in range(1, 201, 2):
            attack.send(frame(HEADERS, bad, 0x5, stream))
        attack.ends_with(CALM, Reason.STREAM_RESETS)


@pytest.mark.parametrize("size", [0, 100, 16_000])
def test_continuation_flood(size: int) -> None:
    """CVE-2024-27316 and others: a header block that never ends is not kept."""
    with Rig(Says(waits), limits=FEW) as rig:
        attack = Attack(rig)
        attack.send(frame(HEADERS, block(), 0x1, 1))
        attack.send(*[frame(CONTINUATION, b"\0" * size, 0, 1)] * 60)
        code = {0: CALM, 100: CALM, 16_000: CALM}[size]
        reason = Reason.HEAD_BYTES if size == 16_000 else Reason.CONTROL_FRAMES
        attack.ends_with(code, reason)


def test_hpack_bomb() -> None:
    """A small block that says a great deal: one field of the table, many times."""
    with Rig(Says(waits)) as rig:
        attack = Attack(rig)
        encoder = Encoder()
        first = encoder.encode([*HEAD, (b"x", b"y" * 3900)])
        attack.send(frame(HEADERS, first, 0x5, 1))
        again = encoder.encode(HEAD) + encoder.encode([(b"x", b"y" * 3900)]) * 10_000
        attack.send(frame(HEADERS, again, 0x5, 3))
        attack.ends_with(CALM, Reason.HEAD_BYTES)


def test_settings_that_nobody_knows_are_not_remembered() -> None:
    with Rig(Says(waits)) as rig:
        attack = Attack(rig)
        many = b"".join(struct.pack(">HI", 100 + n, n) for n in range(24))
        attack.send(frame(SETTINGS, many))
        assert not attack.peer.ended
        assert len(attack.peer.protocol.wire.remote_settings) < 10
        attack.send(frame(SETTINGS, many + struct.pack(">HI", 999, 1)))
        attack.ends_with(CALM, Reason.CONTROL_FRAMES)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(frame(WINDOW, b"\0\0\0\0"), ErrorCodes.PROTOCOL_ERROR, id="a window opened by nothing"),
        pytest.param(frame(WINDOW, b"\x7f\xff\xff\xff"), ErrorCodes.FLOW_CONTROL_ERROR, id="a window beyond 2^31-1"),
        pytest.param(frame(0x10, b"\0\0\0\1", stream=1), ErrorCodes.PROTOCOL_ERROR, id="PRIORITY_UPDATE on a stream"),
        pytest.param(frame(0x10, b"\0\0\0\0u=1"), ErrorCodes.PROTOCOL_ERROR, id="PRIORITY_UPDATE of no stream"),
        pytest.param(frame(0x10, b"\0\0\1"), ErrorCodes.FRAME_SIZE_ERROR, id="PRIORITY_UPDATE cut short"),
        pytest.param(
            frame(HEADERS, block(), 0x1, 1) + frame(0x10, b"\0\0\0\1u=1"),
            ErrorCodes.PROTOCOL_ERROR,
            id="PRIORITY_UPDATE between a block",
        ),
        pytest.param(frame(SETTINGS, b"12345"), ErrorCodes.FRAME_SIZE_ERROR, id="SETTINGS cut short"),
        pytest.param(frame(SETTINGS, struct.pack(">HI", 4, 1 << 31)), ErrorCodes.FLOW_CONTROL_ERROR, id="window"),
        pytest.param(frame(SETTINGS, struct.pack(">HI", 5, 1)), ErrorCodes.PROTOCOL_ERROR, id="frame size"),
        pytest.param(frame(DATA, b"x" * 16_385, stream=1), ErrorCodes.FRAME_SIZE_ERROR, id="a frame too long"),
        pytest.param(frame(DATA, b"x", stream=0), ErrorCodes.PROTOCOL_ERROR, id="DATA on no stream"),
        pytest.param(frame(PUSH, b"\0\0\0\2" + block(), 0x4, 1), ErrorCodes.PROTOCOL_ERROR, id="a client's promise"),
        pytest.param(frame(CONTINUATION, b"", 0x4, 1), ErrorCodes.PROTOCOL_ERROR, id="CONTINUATION of nothing"),
        pytest.param(
            frame(HEADERS, b"\xff\xff\xff\xff\xff", 0x5, 1), ErrorCodes.COMPRESSION_ERROR, id="no header block"
        ),
        pytest.param(opened(2), ErrorCodes.PROTOCOL_ERROR, id="a server's stream"),
        pytest.param(frame(HEADERS, block(), 0x1, 1) + opened(3), ErrorCodes.PROTOCOL_ERROR, id="between a block"),
    ],
)
def test_what_is_no_http2(frames: bytes, code: ErrorCodes) -> None:
    with Rig(Says(waits)) as rig:
        attack = Attack(rig)
        attack.send(frames)
        attack.ends_with(code, Reason.BAD_FRAME)


def test_streams_beyond_the_bound_are_refused_and_the_others_go_on() -> None:
    with Rig(Says(waits), limits=Limits(max_streams=3)) as rig:
        peer = HTTP2Peer(rig)
        peer.send(b"".join(opened(stream) for stream in (1, 3, 5, 7)))
        channel = peer.protocol
        assert sorted(channel.streams) == [1, 3, 5]
        assert frame(RST, struct.pack(">I", ErrorCodes.REFUSED_STREAM), stream=7) in peer.received
        assert rig.site.ledger.snapshot()["requests"] == 3
        assert not peer.ended


def test_two_heads_with_resets_in_one_segment_harm_nobody() -> None:
    """What twisted.web loses every stream of the connection by."""
    requests: list[Any] = []

    def answer(request: Any) -> int:
        requests.append(request)
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        kept = peer.request(b"GET", b"/kept")
        peer.send(opened(3) + reset(3) + opened(5) + reset(5) + opened(7))
        assert [request.path for request in requests] == [b"/kept", b"/", b"/", b"/"]
        assert sorted(peer.protocol.streams) == [1, 7]
        requests[0].write(b"still here")
        requests[0].finish()
        assert peer.response(kept).body == b"still here"


def test_a_window_that_stays_shut_is_not_waited_for_beyond_the_pace() -> None:
    """With PINGs all the while, which move no deadline."""
    with Rig(Says(lambda request: b"x" * 100_000)) as rig:
        attack = Attack(rig, {SettingCodes.INITIAL_WINDOW_SIZE: 0})
        number = attack.peer.request(b"GET", b"/")
        assert rig.site.ledger.snapshot()["unsent_bytes"] == 0 or attack.peer.protocol.queued == 100_000
        for _ in range(62):
            attack.send(frame(PING, b"12345678"))
            rig.advance(1)
        attack.peer.pump()
        assert attack.peer.streams[number].code == ErrorCodes.CANCEL
        assert attack.peer.protocol.queued == 0
        assert rig.site.statistics.refused[Reason.SEND_RATE] == 1
        for _ in range(121):
            attack.send(frame(PING, b"12345678"))
            rig.advance(1)
        assert attack.peer.closed


def test_a_body_asked_for_a_byte_at_a_time() -> None:
    """CVE-2019-9511."""
    with Rig(Says(lambda request: b"x" * 10_000), limits=FEW) as rig:
        attack = Attack(rig, {SettingCodes.INITIAL_WINDOW_SIZE: 1})
        attack.peer.takes_bodies = False
        number = attack.peer.request(b"GET", b"/")
        assert attack.peer.streams[number].body == b"x"
        for _ in range(60):
            attack.send(frame(WINDOW, b"\0\0\0\1", stream=number))
        attack.ends_with(CALM, Reason.CONTROL_FRAMES)


def test_bodies_asked_for_a_byte_at_a_time_by_settings() -> None:
    """One frame of the client's, and as many of ours as there are streams."""
    with Rig(Says(lambda request: b"x" * 10_000), limits=FEW) as rig:
        attack = Attack(rig, {SettingCodes.INITIAL_WINDOW_SIZE: 0})
        attack.send(b"".join(opened(stream) for stream in range(1, 41, 2)))
        for size in range(1, 5):
            attack.send(frame(SETTINGS, struct.pack(">HI", 4, size)))
        attack.ends_with(CALM, Reason.CONTROL_FRAMES)
        assert len(attack.said(DATA)) <= 60


@pytest.mark.parametrize("size", [0, 1000])
def test_requests_of_one_that_takes_nothing_wait_at_their_streams(size: int) -> None:
    """The transport's queue stays short: what is beyond it keeps its stream open, and streams are counted."""
    with Rig(Says(lambda request: b"x" * size), limits=Limits(max_streams=50, max_stream_resets=100)) as rig:
        attack = Attack(rig)
        attack.peer.take(0)
        for stream in range(1, 4001, 2):
            if attack.peer.transport.disconnecting or attack.peer.protocol.reason is not None:
                break
            attack.peer.send(opened(stream))
        protocol = attack.peer.protocol
        assert protocol.reason is Reason.STREAM_RESETS
        assert rig.site.ledger.snapshot()["requests"] == 0
        rig.advance(70)
        assert attack.peer.closed


@pytest.mark.parametrize(
    "part", [frame(HEADERS, block(), 0x5, 1)[:-1], frame(PING, b"1")[:9], frame(HEADERS, b"", 0, 1)]
)
def test_part_of_a_frame_has_a_deadline(part: bytes) -> None:
    with Rig(Says(waits)) as rig:
        attack = Attack(rig)
        for byte in part:
            attack.send(bytes([byte]))
        rig.advance(18)
        assert not attack.peer.ended
        rig.advance(4)
        attack.ends_with(CALM, Reason.HEAD_SECONDS)


# -- windows that many share ----------------------------------------------------------------------


@implementer(IStreamingResource)
class TakesNothing(Resource):
    """Asks for its body never."""

    isLeaf = True

    def render(self, request: Any) -> int:
        return NOT_DONE_YET


@implementer(IStreamingResource)
class TakesSome(Resource):
    """Answers with the first piece of its body."""

    isLeaf = True

    def render(self, request: Any) -> int:
        class Once(Protocol):
            def dataReceived(self, data: bytes) -> None:
                request.finish()

        request.deliverBody(Once())
        return NOT_DONE_YET


async def reads_nothing(socket: Any) -> None:
    await Deferred()


@pytest.mark.parametrize(
    ("resource", "path"),
    [(TakesNothing, b"/"), (TakesSome, b"/"), (lambda: Says(lambda request: b""), b"/limited")],
)
def test_a_stream_that_ends_gives_back_what_it_used_of_the_connection_s_window(resource: Any, path: bytes) -> None:
    """Reset while its body waits, answered amid it, refused for its length: other uploads must go on."""
    limits = Limits(max_stream_resets=1000, max_body_bytes=10_000 if path == b"/limited" else 1 << 20)
    with Rig(resource(), limits=limits) as rig:
        peer = HTTP2Peer(rig)
        for _ in range(50):
            number = peer.begin(b"POST", path)
            assert peer.body(number, b"x" * 16_000, end=False) == 16_000
            if peer.streams[number].code is None:
                peer.cancel(number)
        assert peer.protocol.wire.inbound_flow_control_window > CONNECTION_WINDOW_BYTES // 2


def test_so_does_a_websocket_that_does_not_read() -> None:
    limits = Limits(max_stream_resets=1000, max_websocket_messages=1, max_websocket_message_bytes=1000)
    with Rig(WebSocketResource(reads_nothing), limits=limits) as rig:
        peer = HTTP2Peer(rig)
        asked = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *HEAD[1:], (b"sec-websocket-version", b"13")]
        for _ in range(30):
            number = peer.headers(asked, end=False)
            assert peer.body(number, websocket(BINARY, b"x" * 900) * 100, end=False) == 100 * 908
            assert rig.site.ledger.snapshot()["input_bytes"] > 50_000
            peer.cancel(number)
        assert peer.protocol.wire.inbound_flow_control_window > CONNECTION_WINDOW_BYTES // 2


def test_a_body_that_waits_in_small_pieces_costs_what_it_says() -> None:
    """Nine bytes are no control frame, and an object each; an empty frame uses nothing of the window."""
    with Rig(TakesNothing(), limits=Limits(max_control_frames=100_000)) as rig:
        peer = HTTP2Peer(rig)
        number = peer.begin(b"POST", b"/")
        peer.send(frame(DATA, b"", 0, number) * 5000)
        peer.send(frame(DATA, b"123456789", 0, number) * 5000)
        stream = peer.protocol.streams[number]
        assert stream.waiting_bytes == 45_000
        assert len(stream._waiting) < 60
        request = stream.request
        got: list[bytes] = []

        class Collects(Protocol):
            def dataReceived(self, data: bytes) -> None:
                got.append(data)

        request.deliverBody(Collects())
        assert b"".join(got) == b"123456789" * 5000
        assert stream.waiting_bytes == rig.site.ledger.snapshot()["input_bytes"] == 0

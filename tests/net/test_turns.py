"""Whose turn it is to send: round and round, unless the client says what it wants first (RFC 9218)."""

from __future__ import annotations

from typing import Any

import pytest
from h2.settings import SettingCodes
from twisted.web.server import NOT_DONE_YET

from hardhttp.limits import Limits
from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer
from hardhttp.wire.http2 import FRAME_BYTES, FrameCutter, Kind
from tests.web.saying import Says

SIZE = 3 * FRAME_BYTES
NO_RFC7540_PRIORITIES = 9


def order(*priorities: bytes | None, updates: tuple[tuple[int, bytes], ...] = ()) -> list[int]:
    """Which request's frames come one after another, when all bodies wait for the connection's window."""
    requests: list[Any] = []

    def answer(request: Any) -> int:
        requests.append(request)
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        peer.takes_bodies = False
        fill = peer.request(b"GET", b"/")
        requests[0].write(b"x" * 65_535)
        numbers = [peer.request(b"GET", b"/", [] if said is None else [(b"priority", said)]) for said in priorities]
        for request in requests[1:]:
            request.write(b"x" * SIZE)
            request.finish()
        for index, said in updates:
            value = (numbers[index] if index >= 0 else 99).to_bytes(4) + said
            peer.send(len(value).to_bytes(3) + b"\x10\0\0\0\0\0" + value)
        before = len(peer.received)
        peer.wire.increment_flow_control_window(1 << 20)
        for number in numbers:
            peer.wire.increment_flow_control_window(1 << 20, number)
        peer.pump()
        frames = FrameCutter().cut(peer.received[before:])
        assert [len(peer.response(number).body) for number in numbers] == [SIZE] * len(numbers)
        peer.cancel(fill)
    return [numbers.index(number) for kind, _, number, frame in frames if kind == Kind.DATA and len(frame) > 9]


@pytest.mark.parametrize(
    ("priorities", "expected"),
    [
        ((None, None), [0, 1] * 3),  # nothing was said
        ((b"u=3, i", b"u=3, i"), [0, 1] * 3),
        ((b"u=3", b"u=3"), [0] * 3 + [1] * 3),  # of use only whole
        ((b"u=5", b"u=1"), [1] * 3 + [0] * 3),
        ((None, b"u=0, i", b"u=0, i"), [1, 2] * 3 + [0] * 3),
        ((b"u=7", None, b"u=1"), [2] * 3 + [1] * 3 + [0] * 3),
        ((b"u=3, i", None), [0, 1] * 3),
    ],
)
def test_what_was_asked_first(priorities: tuple[bytes | None, ...], expected: list[int]) -> None:
    assert order(*priorities) == expected


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        (((1, b"u=0"),), [1] * 3 + [0] * 3),
        (((0, b"u=6"),), [1] * 3 + [0] * 3),
        (((1, b"u=0"), (1, b"u=6")), [0] * 3 + [1] * 3),
        (((-1, b"u=0"),), [0, 1] * 3),  # of a stream that is not there
        (((0, b"x" * 100),), [0, 1] * 3),
    ],
)
def test_the_client_changes_its_mind(updates: tuple[tuple[int, bytes], ...], expected: list[int]) -> None:
    assert order(None, None, updates=updates) == expected


def test_the_settings_say_so() -> None:
    with Rig(Says(lambda request: b"")) as rig:
        settings = next(
            frame[9:] for kind, _, _, frame in FrameCutter().cut(HTTP2Peer(rig).received) if kind == Kind.SETTINGS
        )
        pairs = {settings[at : at + 2]: settings[at + 2 : at + 6] for at in range(0, len(settings), 6)}
        assert pairs[NO_RFC7540_PRIORITIES.to_bytes(2)] == (1).to_bytes(4)


def test_streams_that_end_behind_a_more_urgent_one_are_not_kept() -> None:
    """A client that takes an urgent response slowly, and gives up one after another of the others."""
    requests: list[Any] = []

    def answer(request: Any) -> int:
        requests.append(request)
        request.write(b"x" * (200_000 if requests[1:] else 2_000_000))
        return NOT_DONE_YET

    with Rig(Says(answer), limits=Limits(max_stream_resets=1000)) as rig:
        peer = HTTP2Peer(rig, settings={SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24})
        peer.takes_bodies = False
        peer.wire.increment_flow_control_window(1 << 24)
        peer.pump()
        peer.take(0)
        peer.request(b"GET", b"/", [(b"priority", b"u=0")])
        for priority in (b"u=7", b"u=3"):
            for _ in range(12):
                peer.cancel(peer.request(b"GET", b"/", [(b"priority", priority)]))
                peer.take(20_000)
        assert sorted(peer.protocol.streams) == [1]
        assert sum(map(len, peer.protocol._ready.in_order())) == 1
        peer.reset()


def test_a_stream_that_says_more_and_more_keeps_nothing_back_for_ever() -> None:
    """An urgent response that is written slowly takes only the turns it has something for."""
    requests: list[Any] = []

    def answer(request: Any) -> int:
        requests.append(request)
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peer = HTTP2Peer(rig)
        urgent, other = peer.request(b"GET", b"/", [(b"priority", b"u=0")]), peer.request(b"GET", b"/")
        requests[1].write(b"x" * 200_000)
        for _ in range(20):
            requests[0].write(b"event")
            peer.pump()
        requests[1].finish()
        assert len(peer.response(other).body) == 200_000
        assert len(peer.response(urgent).body) == 100
        requests[0].finish()

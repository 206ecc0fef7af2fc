"""HTTP/2 in frames: cutting, making, counting."""

from __future__ import annotations

import pytest
from hyperframe.frame import Frame as Parsed

from hardhttp.limits import Limits
from hardhttp.testing import every_split
from hardhttp.wire import http2
from hardhttp.wire.http2 import (
    FLOOD_SECONDS,
    FRAME_BYTES,
    MAX_SETTINGS,
    PAID_BYTES,
    Allowance,
    Conduct,
    ConnectionFault,
    ErrorCodes,
    FrameCutter,
    Kind,
)

FEW = Limits(max_control_frames=10, max_stream_resets=5)


def raw(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def parsed(data: bytes) -> list[Parsed]:
    """As hyperframe reads it."""
    frames = []
    while data:
        frame, size = Parsed.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + size]))
        frames.append(frame)
        data = data[9 + size :]
    return frames


# -- cutting -------------------------------------------------------------------------------------


def test_frames_are_cut_the_same_however_they_come() -> None:
    said = [raw(6, b"12345678"), raw(0, b"abc", 1, 5), raw(0xEE, b"", 0xFF, 2**31 - 1)]
    for pieces in every_split(b"".join(said)):
        cutter = FrameCutter()
        frames = [frame for piece in pieces for frame in cutter.cut(piece)]
        assert frames == [(6, 0, 0, said[0]), (0, 1, 5, said[1]), (0xEE, 0xFF, 2**31 - 1, said[2])]
        assert cutter.rest == b""
        assert cutter.fault is None


def test_the_reserved_bit_is_ignored() -> None:
    assert FrameCutter().cut(b"\0\0\0\4\0\x80\0\0\1")[0][2] == 1


def test_a_frame_at_its_bound_and_past_it() -> None:
    cutter = FrameCutter()
    assert len(cutter.cut(raw(0, b"x" * FRAME_BYTES, 0, 1))) == 1
    assert len(cutter.cut(raw(6, b"12345678") + raw(0, b"x" * (FRAME_BYTES + 1), 0, 1)[:9])) == 1  # what came before
    assert cutter.fault is not None
    assert cutter.fault.code is ErrorCodes.FRAME_SIZE_ERROR


def test_whose_body_is_on_its_way() -> None:
    cutter = FrameCutter()
    for data, stream in (
        (raw(0, b"abc", 0, 7)[:8], 0),
        (raw(0, b"abc", 0, 7)[8:10], 7),
        (b"bc" + raw(1, b"x", 0, 9)[:9], 0),
    ):
        cutter.cut(data)
        assert cutter.partial_body == stream


def test_settings_nobody_knows_are_left_out() -> None:
    known, unknown = b"\0\4\0\0\0\1", b"\x12\x34\0\0\0\1"
    assert http2.known_settings(raw(4, known)) == raw(4, known)
    assert http2.known_settings(raw(4, unknown + known + unknown, 0)) == raw(4, known)
    assert http2.known_settings(raw(4, b"12345")) == raw(4, b"12345")
    http2.known_settings(raw(4, known * MAX_SETTINGS))
    with pytest.raises(ConnectionFault):
        http2.known_settings(raw(4, known * MAX_SETTINGS + known))


# -- making --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 2 * FRAME_BYTES + 1])
@pytest.mark.parametrize("end", [False, True])
def test_a_header_block_in_as_many_frames_as_it_takes(size: int, end: bool) -> None:
    block = bytes(index % 251 for index in range(size))
    frames = parsed(http2.headers_frames(3, block, end=end))
    assert b"".join(frame.data for frame in frames) == block
    assert [type(frame).__name__ for frame in frames] == ["HeadersFrame", *["ContinuationFrame"] * (len(frames) - 1)]
    assert ["END_HEADERS" in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert ["END_STREAM" in frame.flags for frame in frames] == [end] + [False] * (len(frames) - 1)
    assert all(frame.body_len <= FRAME_BYTES and frame.stream_id == 3 for frame in frames)


def test_the_other_frames() -> None:
    data, goaway, ping = parsed(
        http2.data_frame(5, b"abc", end=True)
        + http2.goaway_frame(7, ErrorCodes.ENHANCE_YOUR_CALM, "why")
        + http2.ping_frame(b"12345678")
    )
    assert (data.data, data.stream_id, set(data.flags)) == (b"abc", 5, {"END_STREAM"})
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (7, 11, b"why")
    assert (ping.opaque_data, set(ping.flags)) == (b"12345678", set())


# -- counting ------------------------------------------------------------------------------------


def test_an_allowance_at_its_bound_past_it_and_later() -> None:
    allowance = Allowance(10, 100.0)
    assert [allowance.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert not allowance.take(100.0 + FLOOD_SECONDS / 10 - 0.01)
    assert allowance.take(100.0 + FLOOD_SECONDS / 10 + 0.01)
    assert sum(allowance.take(1000.0) for _ in range(20)) == 10
    allowance.give_back(1000)
    assert sum(allowance.take(1000.0) for _ in range(20)) == 10


def test_an_allowance_left_alone_for_long_is_no_larger() -> None:
    allowance = Allowance(5, 0.0)
    allowance.take(0.0)
    assert sum(allowance.take(10_000.0) for _ in range(100)) <= 10  # what was left, and one window's
    assert sum(allowance.take(10_000.0) for _ in range(100)) == 0


def count(conduct: Conduct, kind: int, flags: int = 0, size: int = 9) -> int:
    """How many such frames are allowed."""
    for number in range(1000):
        try:
            conduct.frame(0.0, kind, flags, size)
        except ConnectionFault as fault:
            return number if fault.code is ErrorCodes.ENHANCE_YOUR_CALM else -1
    return 1000


@pytest.mark.parametrize("kind", [Kind.SETTINGS, Kind.PING, Kind.PRIORITY, Kind.WINDOW_UPDATE, Kind.GOAWAY, 0xAB])
def test_control_frames_at_their_bound(kind: int) -> None:
    assert count(Conduct(FEW, 0.0), kind) == 10


def test_resets_at_their_bound() -> None:
    assert count(Conduct(FEW, 0.0), Kind.RST_STREAM) == 5


def test_data_costs_when_it_is_shorter_than_its_frames_header() -> None:
    assert count(Conduct(FEW, 0.0), Kind.DATA, 0, 17) == 10
    assert count(Conduct(FEW, 0.0), Kind.DATA, 0, 18) == 1000
    assert count(Conduct(FEW, 0.0), Kind.DATA, 1, 9) == 1000


def test_requests_and_bodies_pay() -> None:
    conduct = Conduct(FEW, 0.0)
    for _ in range(1000):
        conduct.frame(0.0, Kind.HEADERS, 5, 50)
        conduct.frame(0.0, Kind.WINDOW_UPDATE, 0, 13)
    for _ in range(1000):
        conduct.sent(0.0, 2 * PAID_BYTES, cut_short=False)
        conduct.frame(0.0, Kind.WINDOW_UPDATE, 0, 13)
        conduct.frame(0.0, Kind.WINDOW_UPDATE, 0, 13)
    assert count(conduct, Kind.WINDOW_UPDATE) == 8  # the last two have been paid for by nothing


def test_a_header_block_at_its_bound_and_past_it() -> None:
    bound = FEW.max_head_bytes + FRAME_BYTES
    Conduct(FEW, 0.0).frame(0.0, Kind.HEADERS, 0, bound)
    with pytest.raises(ConnectionFault):
        Conduct(FEW, 0.0).frame(0.0, Kind.HEADERS, 0, bound + 1)
    conduct = Conduct(FEW, 0.0)
    conduct.frame(0.0, Kind.HEADERS, 0, bound - 100)
    conduct.frame(0.0, Kind.CONTINUATION, 0, 100)
    with pytest.raises(ConnectionFault):
        conduct.frame(0.0, Kind.CONTINUATION, 0, 9)

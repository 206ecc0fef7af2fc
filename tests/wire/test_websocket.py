"""Frames and messages: what they mean however they are split, and their bounds."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.testing import every_split
from hardhttp.wire import websocketframes
from hardhttp.wire.websocket import (
    Bounds,
    Closed,
    Event,
    Ping,
    Pong,
    WebSocketFault,
    encode,
    encode_close,
    encode_ping,
    encode_pong,
)
from hardhttp.wire.websocketdeflate import Agreed, Deflate, Deflater, agree
from hardhttp.wire.websocketframes import Frames
from tests.wire.framing import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, closing, frame, header, parse

MiB = 1 << 20
BOUNDS = Bounds(1000, 10)
AGREED = agree(Deflate(), [])
assert AGREED is not None


def events(pieces: list[bytes], bounds: Bounds = BOUNDS, agreed: Agreed | None = None) -> list[Event | int]:
    """What ``pieces`` mean; a fault as its code, at the end."""
    frames = Frames(bounds, agreed)
    found: list[Event | int] = []
    try:
        for piece in pieces:
            frames.feed(piece)
            while (event := frames.next()) is not None:
                found.append(event)
    except WebSocketFault as fault:
        found.append(fault.code)
        frames.feed(frame(TEXT, b"after"))
        assert frames.next() is None
    assert frames.held_bytes >= 0
    return found


CONVERSATION = b"".join(
    [
        frame(TEXT, "grüße".encode()),
        frame(TEXT - FIN, "ü".encode()[:1]),  # a letter in two frames, and a ping between them
        frame(PING, b"there?"),
        frame(CONTINUATION, "ü".encode()[1:] + b"!"),
        frame(BINARY, bytes(range(200))),
        frame(BINARY - FIN),
        frame(CONTINUATION - FIN, b"a"),
        frame(CONTINUATION),
        frame(PONG, b"here"),
        frame(TEXT),
        closing(1000, "bye"),
        b"what is behind a Close is not looked at",
    ]
)


def test_frames_mean_the_same_at_every_split() -> None:
    expected = ["grüße", Ping(b"there?"), "ü!", bytes(range(200)), b"a", Pong(b"here"), "", Closed(1000, "bye")]
    for pieces in every_split(CONVERSATION):
        assert events(pieces) == expected


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", mask=b""), 1002),  # 5.1: a client's frames are masked
        (frame(TEXT | 0x40, b"x"), 1002),  # 5.2: a bit that nothing was agreed on for
        (frame(TEXT | 0x20, b"x"), 1002),
        (frame(TEXT | 0x10, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x8B, b"x"), 1002),
        (frame(CONTINUATION, b"x"), 1002),  # 5.4: of nothing
        (frame(TEXT - FIN, b"x") + frame(TEXT, b"y"), 1002),
        (frame(PING - FIN, b"x"), 1002),  # 5.5: control frames are whole, and short
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"x"), 1002),  # 5.5.1: half a code
        (closing(999), 1002),  # 7.4
        (closing(1004), 1002),
        (closing(1005), 1002),
        (closing(1006), 1002),
        (closing(1015), 1002),
        (closing(2999), 1002),
        (closing(5000), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),  # 8.1
        (frame(TEXT, b"\xed\xa0\x80"), 1007),  # a surrogate
        (frame(TEXT, "ü".encode()[:1]), 1007),
        (b"\x81\xfe\x00\x05" + b"\1\2\3\4hello", 1002),  # 5.2: the shortest length
        (b"\x81\xff" + (10).to_bytes(8, "big") + b"\1\2\3\4", 1002),
        (b"\x81\xff" + (1 << 63).to_bytes(8, "big") + b"\1\2\3\4", 1002),
    ],
)
def test_what_may_not_be_is_refused_at_every_split(data: bytes, code: int) -> None:
    for pieces in every_split(data):
        assert events(pieces) == [code]


def test_text_is_judged_as_it_comes() -> None:
    assert events([frame(TEXT - FIN, b"ok"), header(CONTINUATION, 100) + b"\xfe"]) == [1007]  # the mask makes it \xff


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
def test_codes_that_may_be_said(code: int) -> None:
    assert events([closing(code, "ü")]) == [Closed(code, "ü")]
    assert parse(encode_close(code, "ü")) == [(CLOSE, code.to_bytes(2, "big") + "ü".encode())]


def test_a_close_without_a_code() -> None:
    assert events([closing(None)]) == [Closed(1005, "")]
    assert parse(encode_close(1005)) == [(CLOSE, b"")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 1016, 2999, 5000])
def test_codes_that_may_not_be_said(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        encode_close(code)


def test_the_text_of_a_close_is_cut_between_letters() -> None:
    ((_, payload),) = parse(encode_close(1000, "ü" * 100))
    assert payload[2:].decode() == "ü" * 61


# -- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [TEXT, BINARY])
def test_a_message_at_its_bound_and_one_past_it(first: int) -> None:
    (message,) = events([frame(first, b"x" * 1000)])
    assert len(message) == 1000  # type: ignore[arg-type]
    assert events([header(first, 1001)]) == [1009]  # by its header alone


def test_the_frames_of_a_message_are_counted_together() -> None:
    begun = frame(BINARY - FIN, b"x" * 999)
    assert events([begun, frame(CONTINUATION, b"y")]) == [b"x" * 999 + b"y"]
    assert events([begun, header(CONTINUATION, 2)]) == [1009]
    # And counting begins again.
    assert len(events([begun, frame(CONTINUATION, b"y"), begun, frame(CONTINUATION, b"y")])) == 2


def test_bytes_of_text_are_counted_and_not_letters() -> None:
    assert events([frame(TEXT, "ü".encode() * 501)]) == [1009]


def test_a_message_of_too_many_frames() -> None:
    most = [frame(BINARY - FIN, b"x"), *[frame(CONTINUATION - FIN)] * 8]
    assert events([*most, frame(PING), frame(CONTINUATION)]) == [Ping(b""), b"x"]
    assert events([*most, frame(CONTINUATION - FIN), frame(CONTINUATION)]) == [1009]


def test_e06_a_message_that_never_ends_is_refused_at_the_bound() -> None:
    """151 MB were kept, at quadratic cost."""
    bounds = Bounds(MiB, 16_384)
    frames = Frames(bounds)
    piece = frame(CONTINUATION - FIN, b"x" * 65_536)
    frames.feed(frame(BINARY - FIN))
    assert frames.next() is None
    for taken in range(1, 17):
        frames.feed(piece)
        assert frames.next() is None
        assert frames.held_bytes == taken * 65_536 <= MiB
    frames.feed(piece)
    with pytest.raises(WebSocketFault) as raised:
        frames.next()
    assert raised.value.code == 1009


def test_e06_one_frame_of_151_megabytes_is_refused_by_its_header() -> None:
    frames = Frames(Bounds(MiB, 16_384))
    frames.feed(header(BINARY, 151 * MiB))
    with pytest.raises(WebSocketFault):
        frames.next()


@pytest.mark.parametrize("size", [1, 7])
def test_e06_a_byte_is_copied_a_fixed_number_of_times(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Whether it comes in one frame or in a hundred thousand, or a byte a read."""
    copied = 0
    join = websocketframes._joined

    def counted(pieces: list[Any]) -> Any:
        nonlocal copied
        whole = join(pieces)
        copied += len(whole)
        return whole

    monkeypatch.setattr(websocketframes, "_joined", counted)
    frames = Frames(Bounds(MiB, MiB))
    count = 20_000
    frames.feed(frame(BINARY - FIN))
    for _ in range(count):
        frames.feed(frame(CONTINUATION - FIN, b"x" * size))
        assert frames.next() is None
        assert len(frames._pieces) < websocketframes._JOIN_AT  # a piece takes sixty bytes, beside its own
    frames.feed(frame(CONTINUATION))
    assert frames.next() == b"x" * size * count
    assert copied <= 2 * size * count


# -- compression --------------------------------------------------------------------------------


def compressed(message: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(message) + compressor.flush(flush)
    return data[:-4] if flush == zlib.Z_SYNC_FLUSH else data


def test_compressed_messages_at_every_split() -> None:
    hello = compressed(b"hello")
    data = b"".join(
        [
            frame(TEXT - FIN | 0x40, hello[:3]),
            frame(PING, b"between"),
            frame(CONTINUATION, hello[3:]),
            frame(TEXT, b"plain"),
            frame(BINARY | 0x40, compressed(b"")),
        ]
    )
    for pieces in every_split(data):
        assert events(pieces, agreed=AGREED) == [Ping(b"between"), "hello", "plain", b""]


def test_a_bomb_is_refused_before_it_is_made() -> None:
    bomb = compressed(b"\0" * 100 * MiB)
    assert len(bomb) < 110_000
    frames = Frames(Bounds(MiB, 100), AGREED)
    frames.feed(frame(BINARY | 0x40, bomb))
    tracemalloc.start()
    try:
        with pytest.raises(WebSocketFault) as raised:
            frames.next()
        assert tracemalloc.get_traced_memory()[1] < 4 * MiB
    finally:
        tracemalloc.stop()
    assert raised.value.code == 1009
    assert frames.held_bytes <= MiB


def test_a_compressed_message_at_its_bound_and_one_past_it() -> None:
    at, past = (frame(BINARY | 0x40, compressed(b"\0" * size)) for size in (1000, 1001))
    assert events([at], agreed=AGREED) == [b"\0" * 1000]
    assert events([past], agreed=AGREED) == [1009]


def test_what_stands_for_nothing_is_counted_too() -> None:
    """Empty stored blocks: five bytes for none, without end."""
    empty = b"\0\0\0\xff\xff" * 100
    pieces = [frame(BINARY - FIN | 0x40, empty), *[frame(CONTINUATION - FIN, empty)] * 8]
    assert events(pieces, agreed=AGREED)[-1:] == [1009]


def test_a_last_block_may_be_said_once_in_a_message() -> None:
    """RFC 7692, 7.2.3.4 shows one."""
    whole = compressed(b"hello", zlib.Z_FINISH)
    assert events([frame(TEXT | 0x40, whole + b"\0")] * 2, agreed=AGREED) == ["hello", "hello"]
    assert events([frame(TEXT | 0x40, whole + whole + b"\0")], agreed=AGREED) == [1007]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT | 0x40, b"\xff\xff\xff"), 1007),
        (frame(TEXT | 0x40, compressed(b"\xff")), 1007),
        (frame(TEXT - FIN | 0x40, b"") + frame(CONTINUATION | 0x40, b""), 1002),
        (frame(PING | 0x40), 1002),
        (frame(TEXT | 0x20), 1002),
    ],
)
def test_what_may_not_be_compressed_so(data: bytes, code: int) -> None:
    for pieces in every_split(data):
        assert events(pieces, agreed=AGREED) == [code]


@pytest.mark.parametrize("takeover", [True, False])
def test_ours_are_compressed_as_was_agreed(takeover: bool) -> None:
    agreed = agree(Deflate(context_takeover=takeover), [(b"client_max_window_bits", None)])
    assert agreed is not None
    deflater, messages = Deflater(agreed), ["so long " * 100, "so long " * 100, "other"]
    inflater = zlib.decompressobj(-agreed.server_bits)
    sizes = []
    for message in messages:
        ((first, payload),) = parse(encode(message, deflater))
        assert first == TEXT | 0x40
        sizes.append(len(payload))
        if not takeover:
            inflater = zlib.decompressobj(-agreed.server_bits)
        assert inflater.decompress(payload + b"\0\0\xff\xff").decode() == message
    assert (sizes[1] < sizes[0]) is takeover


# -- ours ---------------------------------------------------------------------------------------


@given(st.one_of(st.text(), st.binary()), st.sampled_from([0, 125, 126, 0xFFFF, 0x10000]))
def test_what_is_encoded_can_be_read(message: str | bytes, pad: int) -> None:
    longer = message + ("x" * pad if isinstance(message, str) else b"x" * pad)  # type: ignore[operator]
    ((first, payload),) = parse(encode(longer))
    assert first == (TEXT if isinstance(longer, str) else BINARY)
    assert payload == (longer.encode() if isinstance(longer, str) else longer)


def test_what_is_no_message() -> None:
    with pytest.raises(TypeError, match="not int"):
        encode(1)  # type: ignore[arg-type]
    assert parse(encode(bytearray(b"a"))) == parse(encode(memoryview(b"a"))) == [(BINARY, b"a")]  # type: ignore[arg-type]


def test_control_frames() -> None:
    assert parse(encode_ping(b"a") + encode_pong(b"b")) == [(PING, b"a"), (PONG, b"b")]

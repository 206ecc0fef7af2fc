"""RFC 9113, HTTP/2, and RFC 7541, HPACK: what a client may get wrong in frames, and what a server makes of it.

Each row says what a client sends behind its greeting, in bytes, and all that is heard of it. It is sent whole, byte by
byte, and in two at every place; what is heard must be the same. Floods are in ``tests/net/test_http2_floods.py``,
messages in ``tests/net/test_channel2.py``.

Where the RFC asks for a stream error, a connection error will do (5.4.1, MAY): so it is with what ``h2`` judges, a
body that is not as long as was said, trailers that do not end their stream, a window opened by nothing, and a
PRIORITY of the wrong size.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
import pytest_twisted
from hpack import Encoder
from twisted.web.server import NOT_DONE_YET

from hardhttp.limits import Limits
from hardhttp.testing import Peer, Rig, every_split
from hardhttp.wire.http2 import FRAME_BYTES, PREFACE, ErrorCodes, FrameCutter, Kind
from tests.serving import KINDS, serve
from tests.web.saying import Says

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
UNKNOWN = 0x16
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_GIVEN = 0x1, 0x1, 0x4, 0x8, 0x20
WHOLE = END_STREAM | END_HEADERS
MOST = (1 << 31) - 1
BODY = b"hello"
SERVED = ["HEADERS 1", f"DATA 1 {len(BODY)}."]  # what is heard of a request on stream 1

Fields = list[tuple[bytes, bytes]]
GET: Fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
POST: Fields = [(b":method", b"POST"), *GET[1:]]
WAIT: Fields = [*GET[:2], (b":path", b"/wait"), GET[3]]


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def block(fields: Fields = GET) -> bytes:
    """A header block that leaves no trace in a table."""
    return Encoder().encode([(name, value, True) for name, value in fields])


def number(value: int) -> bytes:
    return value.to_bytes(4)


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, b"".join([struct.pack(">HI", *pair) for pair in pairs]))


def asked(stream: int = 1, fields: Fields = GET, flags: int = WHOLE) -> bytes:
    return frame(HEADERS, block(fields), flags, stream)


def opened(stream: int = 1, fields: Fields = POST) -> bytes:
    """A request whose body is still to come."""
    return asked(stream, fields, END_HEADERS)


def priority(stream: int, on: int = 0) -> bytes:
    return frame(PRIORITY, number(on) + b"\x10", stream=stream)


def reset(stream: int, code: int = ErrorCodes.CANCEL) -> bytes:
    return frame(RST, number(code), stream=stream)


def window(stream: int, more: int) -> bytes:
    return frame(WINDOW, number(more), stream=stream)


GREETING = PREFACE + settings()
PINGED = frame(PING, b"12345678")


def answer(request: Any) -> Any:
    return NOT_DONE_YET if request.path == b"/wait" else BODY


def heard(peer: Peer) -> list[str]:
    """What the server has said, in words, its greeting apart: each DATA with its length, ``.`` for END_STREAM."""
    said = []
    for kind, flags, stream, octets in FrameCutter().cut(peer.received):
        name, end = Kind(kind).name, "." * (flags & END_STREAM)
        if kind == RST:
            said.append(f"{name} {stream} {ErrorCodes(int.from_bytes(octets[9:])).name}")
        elif kind == GOAWAY:
            said.append(f"{name} {ErrorCodes(int.from_bytes(octets[13:17])).name}")
        elif kind == DATA:
            said.append(f"{name} {stream} {len(octets) - 9}{end}")
        elif kind == HEADERS:
            said.append(f"{name} {stream}{end}")
        elif kind == PING:
            said.append(f"{name} {octets[9:].decode()}{end}")
    return said


def split(frames: bytes, limits: Limits | None = None) -> list[str]:
    """All that is heard of ``frames``, which is the same however they are split; a server that ends is at its end."""
    first: list[str] | None = None
    with Rig(Says(answer), limits=limits or Limits()) as rig:
        for pieces in every_split(frames):
            peer = rig.connect()
            peer.send(GREETING)
            for piece in pieces:
                if peer.ended:
                    break
                peer.send(piece)
            said = heard(peer)
            assert peer.ended == any(word.startswith("GOAWAY") for word in said)
            first = said if first is None else first
            assert said == first
            peer.reset()
    assert first is not None
    return first


def told(*steps: bytes, limits: Limits | None = None) -> list[str]:
    """All that is heard of ``steps``, each of which is answered before the next one is sent."""
    with Rig(Says(answer), limits=limits or Limits()) as rig:
        peer = rig.connect()
        peer.send(GREETING, *steps)
        return heard(peer)


# -- 3.4 to 8.4: connection errors -----------------------------------------------------------------

LITERAL = b"\x00\x85\xf2\xb2\x4a\x84\xff"  # x-test, by Huffman's code
UNDECODABLE = {
    "7541, 2.3.3: an index beyond both tables": block() + b"\xc6",
    "7541, 2.3.3: a name's index beyond both tables": block() + b"\x7f\x07\x00",
    "7541, 4.2: a table's size behind a field": block() + b"\x21",
    "7541, 5.1: an integer without end": b"\xff" * 8,
    "7541, 5.2: a string cut short": b"\x40",
    "7541, 5.2: eight bits of padding": block() + LITERAL + b"\x84\x49\x50\x9f\xff",
    "7541, 5.2: padding of zeros": block() + LITERAL + b"\x83\x49\x50\x90",
    "7541, 5.2: the symbol that ends strings": block() + LITERAL[:-1] + b"\x87\xff\xff\xff\xfd\x25\x42\x7f",
    "7541, 6.1: the index 0": block() + b"\x80",
    "7541, 6.3: a larger table than was allowed": b"\x3f\xe2\x1f" + block(),
}
IN_A_BLOCK = frame(HEADERS, block()[:3], END_STREAM, 1)
BROKEN: dict[str, tuple[bytes, str]] = {
    "4.3: PRIORITY within a block": (IN_A_BLOCK + priority(1), "PROTOCOL_ERROR"),
    "4.3: HEADERS of another stream within a block": (IN_A_BLOCK + asked(3), "PROTOCOL_ERROR"),
    "5.1: DATA on an idle stream": (frame(DATA, b"test", END_STREAM, 1), "PROTOCOL_ERROR"),
    "5.1: RST_STREAM on an idle stream": (reset(1), "PROTOCOL_ERROR"),
    "5.1: WINDOW_UPDATE on an idle stream": (window(1, 100), "PROTOCOL_ERROR"),
    "5.1: CONTINUATION on an idle stream": (frame(CONTINUATION, block(), END_HEADERS, 1), "PROTOCOL_ERROR"),
    "5.1.1: a stream of even number": (asked(2), "PROTOCOL_ERROR"),
    "5.5: an unknown frame within a block": (IN_A_BLOCK + frame(UNKNOWN, b"12345678"), "PROTOCOL_ERROR"),
    "6.1: DATA on no stream": (frame(DATA, b"test", END_STREAM), "PROTOCOL_ERROR"),
    "6.1: more padding than DATA": (opened() + frame(DATA, b"\6test", PADDED, 1), "PROTOCOL_ERROR"),
    "6.2: HEADERS on no stream": (asked(0), "PROTOCOL_ERROR"),
    "6.2: more padding than block": (frame(HEADERS, b"\xff" + block(), WHOLE | PADDED, 1), "PROTOCOL_ERROR"),
    "6.3: PRIORITY on no stream": (priority(0), "PROTOCOL_ERROR"),
    "6.3: PRIORITY of four octets": (opened() + frame(PRIORITY, b"1234", stream=1), "FRAME_SIZE_ERROR"),
    "6.4: RST_STREAM on no stream": (reset(0), "PROTOCOL_ERROR"),
    "6.4: RST_STREAM of three octets": (opened() + frame(RST, b"\0\0\0", stream=1), "FRAME_SIZE_ERROR"),
    "6.5: an ACK that says something": (frame(SETTINGS, b"\0", ACK), "FRAME_SIZE_ERROR"),
    "6.5: an ACK that says a setting": (frame(SETTINGS, b"\0\3\0\0\0\1", ACK), "FRAME_SIZE_ERROR"),
    "6.5: SETTINGS on a stream": (frame(SETTINGS, b"\0\3\0\0\0\x64", 0, 1), "PROTOCOL_ERROR"),
    "6.5: SETTINGS of three octets": (frame(SETTINGS, b"\0\3\0"), "FRAME_SIZE_ERROR"),
    "6.5.2: pushes neither on nor off": (settings((2, 2)), "PROTOCOL_ERROR"),
    "6.5.2: a window beyond 2^31-1": (settings((4, 1 << 31)), "FLOW_CONTROL_ERROR"),
    "6.5.2: frames shorter than all must take": (settings((5, FRAME_BYTES - 1)), "PROTOCOL_ERROR"),
    "6.5.2: frames of 2^24": (settings((5, 1 << 24)), "PROTOCOL_ERROR"),
    "6.6: a client's promise": (frame(PUSH, number(2) + block(), END_HEADERS, 1), "PROTOCOL_ERROR"),
    "6.7: PING on a stream": (frame(PING, b"12345678", 0, 1), "PROTOCOL_ERROR"),
    "6.7: PING of six octets": (frame(PING, b"123456"), "FRAME_SIZE_ERROR"),
    "6.8: GOAWAY on a stream": (frame(GOAWAY, b"\0" * 8, 0, 1), "PROTOCOL_ERROR"),
    "6.9: the connection's window opened by nothing": (window(0, 0), "PROTOCOL_ERROR"),
    "6.9: a stream's window opened by nothing": (opened() + window(1, 0), "PROTOCOL_ERROR"),
    "6.9: WINDOW_UPDATE of three octets": (frame(WINDOW, b"\0\0\1"), "FRAME_SIZE_ERROR"),
    "6.9.1: the connection's window beyond 2^31-1": (window(0, MOST) * 2, "FLOW_CONTROL_ERROR"),
    "6.10: DATA within a block": (IN_A_BLOCK + frame(DATA, b"test", 0, 1), "PROTOCOL_ERROR"),
    "6.10: CONTINUATION on no stream": (IN_A_BLOCK + frame(CONTINUATION, b"", END_HEADERS), "PROTOCOL_ERROR"),
    "6.10: CONTINUATION behind a whole block": (opened() + frame(CONTINUATION, b"", END_HEADERS, 1), "PROTOCOL_ERROR"),
    "8.1: trailers that do not end the stream": (opened() + asked(1, [(b"x", b"y")], END_HEADERS), "PROTOCOL_ERROR"),
}


@pytest.mark.parametrize(("frames", "code"), BROKEN.values(), ids=BROKEN)
def test_s5_4_1_connection_errors(frames: bytes, code: str) -> None:
    assert split(frames) == [f"GOAWAY {code}"]


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_s5_4_1_goaway_is_read_by_whoever_goes_on_sending(kind: str) -> None:
    """The connection is closed in stages: what is not read any more makes no reset of TCP's that would destroy it."""
    async with serve(kind, Says(answer)) as serving:
        said = await serving.say(GREETING, frame(PING, b"12345678", 0, 1), *[b"x" * 10_000] * 50)
        assert [octets[9:17] for kind, _, _, octets in FrameCutter().cut(said) if kind == GOAWAY] == [b"\0" * 7 + b"\1"]


@pytest.mark.parametrize("octets", UNDECODABLE.values(), ids=UNDECODABLE)
def test_s4_3_a_block_that_cannot_be_decoded(octets: bytes) -> None:
    assert split(frame(HEADERS, octets, WHOLE, 1)) == ["GOAWAY COMPRESSION_ERROR"]


def test_s4_2_a_frame_beyond_what_we_take_is_not_read() -> None:
    assert split(opened() + frame(DATA, b"x" * (FRAME_BYTES + 1), 0, 1)[:9]) == ["GOAWAY FRAME_SIZE_ERROR"]


def test_s5_1_1_a_number_that_has_been_passed() -> None:
    assert split(asked(5, WAIT) + asked(3)) == ["GOAWAY PROTOCOL_ERROR"]


def test_s6_10_a_closed_stream_s_continuation_is_a_continuation_of_nothing() -> None:
    assert told(asked(), frame(CONTINUATION, b"", END_HEADERS, 1)) == [*SERVED, "GOAWAY PROTOCOL_ERROR"]


# -- 5.4.2: stream errors --------------------------------------------------------------------------

TRAILERS = frame(DATA, b"test", 0, 1) + asked(1, [(b":method", b"POST")])
ONE_STREAM: dict[str, tuple[bytes, str]] = {
    "5.1: DATA behind a request's end": (asked(1, WAIT) + frame(DATA, b"test", END_STREAM, 1), "STREAM_CLOSED"),
    "5.1: HEADERS behind a request's end": (asked(1, WAIT) * 2, "STREAM_CLOSED"),
    "5.1: DATA behind the client's reset": (opened() + reset(1) + frame(DATA, b"test", 0, 1), "STREAM_CLOSED"),
    "6.9.1: a stream's window beyond 2^31-1": (opened() + window(1, MOST) * 2, "FLOW_CONTROL_ERROR"),
    "8.2.1: a name in upper case": (asked(1, [*GET, (b"X-Test", b"ok")]), "PROTOCOL_ERROR"),
    "8.2.2: a connection's own field": (asked(1, [*GET, (b"connection", b"keep-alive")]), "PROTOCOL_ERROR"),
    "8.2.2: TE": (asked(1, [*GET, (b"te", b"trailers, deflate")]), "PROTOCOL_ERROR"),
    "8.3: a pseudo-header field nobody knows": (asked(1, [*GET, (b":test", b"ok")]), "PROTOCOL_ERROR"),
    "8.3: a response's pseudo-header field": (asked(1, [*GET, (b":status", b"200")]), "PROTOCOL_ERROR"),
    "8.3: a pseudo-header field in trailers": (opened() + TRAILERS, "PROTOCOL_ERROR"),
    "8.3: a pseudo-header field behind others": (asked(1, [(b"x-test", b"ok"), *GET]), "PROTOCOL_ERROR"),
    "8.3.1: an empty :path": (asked(1, [*GET[:2], (b":path", b""), GET[3]]), "PROTOCOL_ERROR"),
    "8.3.1: no :method": (asked(1, GET[1:]), "PROTOCOL_ERROR"),
    "8.3.1: no :scheme": (asked(1, [GET[0], *GET[2:]]), "PROTOCOL_ERROR"),
    "8.3.1: no :path": (asked(1, [*GET[:2], GET[3]]), "PROTOCOL_ERROR"),
    "8.3.1: a :scheme that is none": (asked(1, [GET[0], (b":scheme", b"http*"), *GET[2:]]), "PROTOCOL_ERROR"),
    "8.1.1: a body longer than was said": (
        opened(1, [*POST, (b"content-length", b"1")]) + frame(DATA, b"test", END_STREAM, 1),
        "PROTOCOL_ERROR",
    ),
    "8.1.1: bodies longer than was said together": (
        opened(1, [*POST, (b"content-length", b"4")]) + frame(DATA, b"test", 0, 1) + frame(DATA, b"t", END_STREAM, 1),
        "PROTOCOL_ERROR",
    ),
    "8.1.1: a body shorter than was said": (
        opened(1, [*POST, (b"content-length", b"9")]) + frame(DATA, b"test", END_STREAM, 1),
        "PROTOCOL_ERROR",
    ),
    "8.1.1: one length twice": (opened(1, [*POST, *[(b"content-length", b"4")] * 2]), "PROTOCOL_ERROR"),
    "8.3.1: :method twice": (asked(1, [*GET, GET[0]]), "PROTOCOL_ERROR"),
    "8.3.1: :scheme twice": (asked(1, [*GET, GET[1]]), "PROTOCOL_ERROR"),
    "8.3.1: :path twice": (asked(1, [*GET, GET[2]]), "PROTOCOL_ERROR"),
}


@pytest.mark.parametrize(("frames", "code"), ONE_STREAM.values(), ids=ONE_STREAM)
def test_s5_4_2_stream_errors(frames: bytes, code: str) -> None:
    """It is told at once, and the others go on."""
    said = split(frames + asked(7))
    assert said == [f"RST_STREAM 1 {code}", "HEADERS 7", f"DATA 7 {len(BODY)}."]


def test_s5_1_data_on_a_stream_that_is_over() -> None:
    said = told(asked(), frame(DATA, b"test", END_STREAM, 1), PINGED)
    assert said == [*SERVED, "RST_STREAM 1 STREAM_CLOSED", "PING 12345678."]


def test_s5_1_headers_on_a_stream_that_is_over() -> None:
    """Either clause would do; its number has been passed (5.1.1)."""
    assert told(asked(), asked()) == [*SERVED, "GOAWAY PROTOCOL_ERROR"]
    assert split(opened() + reset(1) + asked()) == ["GOAWAY PROTOCOL_ERROR"]


def test_s5_1_trailers_that_were_under_way_when_we_reset_their_stream() -> None:
    """They are told so at once: what h2 says to HEADERS does not wait in it until another frame comes."""
    trailers = asked(1, [(b"x-test", b"ok")])
    said = told(opened(1, [*POST, (b"content-length", b"9")]), trailers, trailers, limits=Limits(max_body_bytes=1))
    assert said[-3:] == ["RST_STREAM 1 NO_ERROR", *["RST_STREAM 1 STREAM_CLOSED"] * 2]


def test_s5_1_2_one_stream_too_many() -> None:
    streams = b"".join([asked(each, WAIT) for each in (1, 3, 5)])
    assert split(streams, Limits(max_streams=2)) == ["RST_STREAM 5 REFUSED_STREAM"]


# -- what is right, and what is ignored --------------------------------------------------------------

HALF = block()[:3], block()[3:5], block()[5:]
RIGHT: dict[str, bytes] = {
    "5.1: PRIORITY on an idle stream": priority(1) + asked(),
    "5.1: PRIORITY on a stream that is over": asked() + priority(1),
    "5.1: WINDOW_UPDATE behind a request's end": asked() + window(1, 1),
    "6.1: a body in two": opened() + frame(DATA, b"test", 0, 1) + frame(DATA, b"test", END_STREAM, 1),
    "6.1: padding": opened() + frame(DATA, b"\6testpadded", END_STREAM | PADDED, 1),
    "6.2: padding of a block": frame(HEADERS, b"\3" + block() + b"\0\0\0", WHOLE | PADDED, 1),
    "6.2: a priority": frame(HEADERS, number(0) + b"\xff" + block(), WHOLE | PRIORITY_GIVEN, 1),
    "6.3: a stream below one that was given a priority": priority(3) + asked(),
    "6.3: a stream that depends on an idle one": priority(1, on=3) + asked(),
    "6.10: a block in three": frame(HEADERS, HALF[0], END_STREAM, 1)
    + frame(CONTINUATION, HALF[1], 0, 1)
    + frame(CONTINUATION, HALF[2], END_HEADERS, 1),
    "8.1: trailers": opened() + frame(DATA, b"test", 0, 1) + asked(1, [(b"x-test", b"ok")]),
    "7541, 6.1: an indexed field": frame(HEADERS, block() + b"\xba", WHOLE, 1),
    "7541, 6.2.1: one that is kept": frame(HEADERS, block() + b"\x40\x06x-test\x02ok", WHOLE, 1),
    "7541, 6.2.1: one by Huffman's code": frame(
        HEADERS, block() + b"\x40" + LITERAL[1:] + b"\x83\x49\x50\x9f", WHOLE, 1
    ),
    "7541, 6.2.2: one that is not kept": frame(HEADERS, block() + b"\x00\x06x-test\x02ok", WHOLE, 1),
    "7541, 6.2.3: one that is never kept": frame(HEADERS, block() + b"\x10\x06x-test\x02ok", WHOLE, 1),
    "7541, 6.3: a table's size": frame(HEADERS, b"\x20" + block(), WHOLE, 1),
    "7541, 4.2: two of them": frame(HEADERS, b"\x20\x3f\xe1\x1f" + block(), WHOLE, 1),
}
IGNORED: dict[str, bytes] = {
    "4.1: an unknown frame": frame(UNKNOWN, b"12345678"),
    "4.1: flags nobody knows, and the reserved bit": b"\0\0\x08\x06\x16\x80\0\0\0" + b"12345678",
    "5.1: RST_STREAM behind a request's end": asked(1, WAIT) + reset(1),
    "6.4: RST_STREAM of an open stream": opened() + reset(1),
    "6.5.2: a setting nobody knows": settings((0xFF, 1)),
    "6.5.2: all settings that there are": settings((1, 4096), (2, 1), (3, 100), (4, 65_535), (5, 16_384), (6, 100)),
    "6.7: an answer to no PING": frame(PING, b"87654321", ACK),
    "6.9: a window opened": window(0, 1),
    "7: a reset by a code nobody knows": opened() + reset(1, 0xFF),
}


@pytest.mark.parametrize("frames", RIGHT.values(), ids=RIGHT)
def test_requests_in_all_frames_that_may_make_them(frames: bytes) -> None:
    assert split(frames) == SERVED


def test_s4_2_a_frame_as_long_as_all_must_take() -> None:
    assert told(opened(), frame(DATA, b"x" * FRAME_BYTES, END_STREAM, 1)) == SERVED


@pytest.mark.parametrize("frames", IGNORED.values(), ids=IGNORED)
def test_what_needs_no_answer(frames: bytes) -> None:
    """The PING behind it is answered, once, and nothing else is heard."""
    pinged = b"" if frames.endswith(b"12345678") and frames[3] == PING else PINGED
    assert split(frames + pinged) == ["PING 12345678."]


@pytest.mark.parametrize("code", [ErrorCodes.NO_ERROR, 0xFF])
def test_s6_8_whoever_says_goaway_and_waits_for_nothing_is_let_go(code: int) -> None:
    assert split(frame(GOAWAY, number(0) + number(code) + b"why")) == ["GOAWAY NO_ERROR"]


# -- 6.9: windows ----------------------------------------------------------------------------------


def test_s6_5_3_settings_count_in_their_order() -> None:
    assert split(settings((4, 100), (4, 1)) + asked()) == ["HEADERS 1", "DATA 1 1"]


def test_s6_9_1_no_more_is_sent_than_the_window_takes() -> None:
    said = told(settings((4, 0)), asked(), priority(1), window(1, 1), window(1, 2), window(1, 10))
    assert said == ["HEADERS 1", "DATA 1 1", "DATA 1 2", "DATA 1 2."]


def test_s6_9_2_windows_change_with_the_setting() -> None:
    assert split(settings((4, 0)) + asked() + settings((4, 1))) == ["HEADERS 1", "DATA 1 1"]


def test_s6_9_2_a_window_may_be_less_than_nothing() -> None:
    """Three are sent where two are allowed then: of two more, one is left."""
    steps = settings((4, 3)), asked(), settings((4, 2)), window(1, 1)
    assert told(*steps) == ["HEADERS 1", "DATA 1 3"]
    assert told(*steps, window(1, 1)) == ["HEADERS 1", "DATA 1 3", "DATA 1 1"]

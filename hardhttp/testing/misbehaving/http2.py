"""Servers that speak HTTP/2 badly, by prior knowledge or over TLS.

Frames are made by hand: what is to be tried is what a library would not send (RFC 9113).
"""

from __future__ import annotations

from hardhttp.testing.misbehaving.catalogue import Role, behaviour
from hardhttp.testing.misbehaving.conversation import Asked, Conversation

PREFACE_BYTES = 24
HEADER_BYTES = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 9
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
FLOOD_FRAMES = 20_000
BATCH = 200
# RFC 7541, Appendix A: an index for ":status: 200".
OK = b"\x88"
# "content-length: 4", a literal that no table keeps (6.2.2).
LENGTH_FOUR = b"\x0f\x0d\x014"


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3), kind, flags, number.to_bytes(4), payload)


def head(number: int, block: bytes = OK, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, number, block)


async def greet(talk: Conversation, settings: bytes = b"") -> None:
    """Take the client's preface, and send SETTINGS."""
    data = b""
    while len(data) < PREFACE_BYTES:
        data += await talk.more()
    talk.unread(data[PREFACE_BYTES:])
    talk.send(frame(SETTINGS, 0, 0, settings))


async def asked(talk: Conversation) -> int:
    """The stream of the next request. PINGs on the way are answered."""
    data = b""
    while True:
        data += await talk.more()
        while len(data) >= HEADER_BYTES and len(data) >= HEADER_BYTES + int.from_bytes(data[:3]):
            size = HEADER_BYTES + int.from_bytes(data[:3])
            kind, flags, number, payload = data[3], data[4], int.from_bytes(data[5:9]), data[HEADER_BYTES:size]
            data = data[size:]
            if kind == PING and not flags & ACK:
                talk.send(frame(PING, ACK, 0, payload))
            elif kind == HEADERS:
                talk.unread(data)
                talk.asked += 1
                talk.peer.requests.append(Asked(b"", b"", b"HTTP/2", (), elsewhere=talk.elsewhere))
                return number


async def answered(talk: Conversation, *frames: bytes) -> int:
    """Greet, and send these on the stream of the first request, whose number is returned."""
    await greet(talk)
    number = await asked(talk)
    for each in frames:
        talk.send(each[:5] + number.to_bytes(4) + each[9:])
    return number


async def flood(talk: Conversation, data: bytes) -> None:
    for _ in range(FLOOD_FRAMES // BATCH):
        await talk.send_all(data * BATCH)
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_sound(talk: Conversation) -> None:
    """Each request is answered as it should be.

    A sound client reads the responses.
    """
    await greet(talk)
    while True:
        number = await asked(talk)
        talk.send(head(number) + frame(DATA, END_STREAM, number, b"hello"))


@behaviour(Role.HTTP2)
async def h2_settings_never(talk: Conversation) -> None:
    """The connection is taken, and nothing is said.

    A sound client has a deadline for SETTINGS.
    """
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_head_silent(talk: Conversation) -> None:
    """Requests are never answered; PINGs are.

    A sound client has a deadline for each stream, and ends it with RST_STREAM.
    """
    await greet(talk)
    while True:
        await asked(talk)


@behaviour(Role.HTTP2)
async def h2_body_silent(talk: Conversation) -> None:
    """A head and the first bytes of a body, and nothing more.

    A sound client has a deadline between bytes of a body, on each stream.
    """
    await answered(talk, head(0), frame(DATA, 0, 0, b"hello"))
    while True:
        await asked(talk)


@behaviour(Role.HTTP2)
async def h2_window_shut(talk: Conversation) -> None:
    """A window of 0 for each request's body, which is never opened.

    A sound client has a deadline for sending, and holds a bounded part of the body until then.
    """
    await greet(talk, b"\0\4\0\0\0\0")
    while True:
        await asked(talk)


@behaviour(Role.HTTP2)
async def h2_goaway_always(talk: Conversation) -> None:
    """GOAWAY, which says that no request was looked at, on every connection.

    A sound client asks again over another connection, a bounded number of times.
    """
    await answered(talk)
    talk.send(frame(GOAWAY, 0, 0, bytes(8)))
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_refuses_always(talk: Conversation) -> None:
    """RST_STREAM with REFUSED_STREAM for every request.

    A sound client asks again once, or a bounded number of times.
    """
    await greet(talk)
    while True:
        number = await asked(talk)
        talk.send(frame(RST_STREAM, 0, number, b"\0\0\0\7"))


@behaviour(Role.HTTP2)
async def h2_reset_in_the_body(talk: Conversation) -> None:
    """A head, the first bytes of a body, and RST_STREAM.

    A sound client says that the body is cut.
    """
    await answered(talk, head(0), frame(DATA, 0, 0, b"hello"), frame(RST_STREAM, 0, 0, b"\0\0\0\2"))
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_push(talk: Conversation) -> None:
    """A PUSH_PROMISE to a client that has not enabled push.

    A sound client ends the connection.
    """
    await answered(talk, frame(PUSH_PROMISE, END_HEADERS, 0, b"\0\0\0\2\x82"))
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_body_beyond_the_window(talk: Conversation) -> None:
    """A body as fast as the connection takes it, without a look at any window.

    A sound client ends the stream, or the connection, with FLOW_CONTROL_ERROR.
    """
    number = await answered(talk, head(0))
    while True:
        await talk.send_all(frame(DATA, 0, number, bytes(16_384)))


@behaviour(Role.HTTP2)
async def h2_length_wrong(talk: Conversation) -> None:
    """A body that is longer than its Content-Length.

    A sound client gives out no byte that was not announced, and says that the response is malformed.
    """
    await answered(talk, head(0, OK + LENGTH_FOUR), frame(DATA, END_STREAM, 0, b"hello"))
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_field_in_capitals(talk: Conversation) -> None:
    """A field whose name is not in lower case.

    A sound client treats the response as malformed (RFC 9113, 8.2.1), and goes on with the others.
    """
    await answered(talk, head(0, OK + b"\0\1A\1b", END_HEADERS | END_STREAM))
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_head_bomb(talk: Conversation) -> None:
    """A header block of 16 kB that says 60 MB: one long field, which the table keeps, and indices to it.

    A sound client bounds the list as it decodes.
    """
    field = b"\x40\1a\x7f\x80\x1e" + b"b" * 3967
    await answered(talk, head(0, OK + field + b"\xbe" * 12_000, END_HEADERS | END_STREAM))
    await talk.silence()


@behaviour(Role.HTTP2)
async def h2_continuation_flood(talk: Conversation) -> None:
    """A header block in CONTINUATION frames without end (CVE-2024-27316).

    A sound client bounds the block, and ends the connection.
    """
    number = await answered(talk, head(0, b"\0\1a\1b", 0))
    await flood(talk, frame(CONTINUATION, 0, number, b"\0\1a\1b"))


@behaviour(Role.HTTP2)
async def h2_ping_flood(talk: Conversation) -> None:
    """PING upon PING (CVE-2019-9512).

    A sound client counts them, and ends the connection.
    """
    await answered(talk)
    await flood(talk, frame(PING, 0, 0, bytes(8)))


@behaviour(Role.HTTP2)
async def h2_settings_flood(talk: Conversation) -> None:
    """SETTINGS upon SETTINGS (CVE-2019-9515).

    A sound client counts them, and ends the connection.
    """
    await answered(talk)
    await flood(talk, frame(SETTINGS, 0, 0))


@behaviour(Role.HTTP2)
async def h2_empty_data_flood(talk: Conversation) -> None:
    """A body in frames without a byte (CVE-2019-9518).

    A sound client counts them, and ends the connection.
    """
    number = await answered(talk, head(0))
    await flood(talk, frame(DATA, 0, number))

"""Heads that do not come, do not end, or are more than anybody needs."""

from __future__ import annotations

from hardhttp.testing.misbehaving.catalogue import behaviour
from hardhttp.testing.misbehaving.conversation import Conversation, answer

TRICKLE_SECONDS = 0.05
FIELDS = 20_000
LONG_FIELD_BYTES = 20_000_000
INFORMATIONAL = 200_000
LINE = b"X-Field: " + b"x" * 1000 + b"\r\n"


@behaviour()
async def head_silent(talk: Conversation) -> None:
    """The request is read, and nothing is said.

    A sound client has a deadline for the first byte, and closes the connection when it is over.
    """
    await talk.request()
    await talk.silence()


@behaviour()
async def head_half(talk: Conversation) -> None:
    """Half of a head comes, and then nothing.

    A sound client has a deadline for the whole head.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    await talk.silence()


@behaviour()
async def head_cut(talk: Conversation) -> None:
    """The connection is closed in the middle of the head.

    A sound client fails the request at once.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Le")


@behaviour()
async def head_trickled(talk: Conversation) -> None:
    """A head without end, a byte at a time, which is progress of a kind.

    A sound client has a deadline for the whole head that a trickle does not move.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.pieces(b"X: x\r\n", TRICKLE_SECONDS)


@behaviour()
async def head_endless(talk: Conversation) -> None:
    """A head without end, as fast as it is taken.

    A sound client bounds a head in bytes, and closes the connection there.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await talk.send_all(LINE * 64)


@behaviour()
async def fields_20000(talk: Conversation) -> None:
    """A head of 20,000 fields, which are 20 MB.

    A sound client bounds a head in fields and in bytes, and fails the request.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
    for _ in range(FIELDS // 50):
        await talk.send_all(LINE * 50)
    talk.send(b"\r\nhello")
    await talk.silence()


@behaviour()
async def field_20mb(talk: Conversation) -> None:
    """A head with one field of 20 MB.

    A sound client bounds a head in bytes, and closes the connection there.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Long: ")
    for _ in range(LONG_FIELD_BYTES // 50_000):
        await talk.send_all(b"x" * 50_000)
    talk.send(b"\r\n\r\nhello")
    await talk.silence()


@behaviour()
async def informational_200000(talk: Conversation) -> None:
    """200,000 interim answers (102) before the final one.

    A sound client bounds their number, and fails the request.
    """
    await talk.request()
    for _ in range(INFORMATIONAL // 1000):
        await talk.send_all(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
    talk.send(answer())
    await talk.silence()


@behaviour()
async def two_lengths(talk: Conversation) -> None:
    """Two Content-Length fields that differ.

    A sound client fails the request and closes the connection (RFC 9112, 6.3).
    """
    await talk.request()
    talk.send(answer(b"hello", b"Content-Length: 3"))
    await talk.silence()


@behaviour()
async def length_and_chunked(talk: Conversation) -> None:
    """Content-Length beside ``Transfer-Encoding: chunked``: two who read it end it at different places.

    A sound client fails the request, or reads the chunks and closes the connection (RFC 9112, 6.3).
    """
    await talk.request()
    talk.send(answer(b"5\r\nhello\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"))
    await talk.silence()

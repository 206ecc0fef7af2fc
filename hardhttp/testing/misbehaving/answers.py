"""Answers that are one too many, come at the wrong time, or say in odd ways that they are the last.

Two answers to one request are live: whoever keeps the second takes it for the answer to the next request, perhaps
another user's. RFC 9112, 9.2: a client that receives data on a connection without an outstanding request must not
consider it a valid response, and should close the connection.
"""

from __future__ import annotations

from hardhttp.testing.misbehaving.catalogue import behaviour
from hardhttp.testing.misbehaving.conversation import Conversation, answer

FIRST = answer(b"first")
SECOND = answer(b"second")
# Long enough for a client to have given the first answer to its caller.
LATE_SECONDS = 0.05
PIECE_SECONDS = 0.002
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"


async def _each(talk: Conversation, data: bytes) -> None:
    while True:
        await talk.request()
        talk.send(data)


@behaviour()
async def sound(talk: Conversation) -> None:
    """One answer to each request, and the connection stays open.

    A sound client takes it and may use the connection again. This is what the others are held against.
    """
    await _each(talk, answer())


@behaviour()
async def two_answers_in_one_segment(talk: Conversation) -> None:
    """Two answers to each request, in one write.

    A sound client takes the first, discards the second, and closes the connection.
    """
    await _each(talk, FIRST + SECOND)


@behaviour()
async def two_answers_in_two_segments(talk: Conversation) -> None:
    """Two answers to each request, the second right behind the first but in a write of its own.

    A sound client takes the first, discards the second, and closes the connection.
    """
    while True:
        await talk.request()
        talk.send(FIRST)
        await talk.pause(PIECE_SECONDS)
        talk.send(SECOND)


@behaviour()
async def two_answers_late(talk: Conversation) -> None:
    """A second answer comes when the connection has been idle for a while.

    A sound client closes the idle connection as soon as a byte arrives on it.
    """
    while True:
        await talk.request()
        talk.send(FIRST)
        await talk.pause(LATE_SECONDS)
        talk.send(SECOND)


@behaviour()
async def two_answers_in_pieces(talk: Conversation) -> None:
    """Both answers come three bytes at a time.

    A sound client takes the first and closes the connection at the first byte of the second.
    """
    while True:
        await talk.request()
        await talk.pieces(FIRST + SECOND, PIECE_SECONDS, 3)


@behaviour()
async def two_answers_first_chunked(talk: Conversation) -> None:
    """The first answer is chunked, and the second follows its last chunk in the same write.

    A sound client takes the first, discards the second, and closes the connection.
    """
    await _each(talk, CHUNKED + SECOND)


@behaviour()
async def answer_then_400(talk: Conversation) -> None:
    """A 200, and behind it the 400 of a server that took something for a second request.

    A sound client takes the 200, discards the 400, and closes the connection.
    """
    await _each(talk, FIRST + answer(b"bad", b"Connection: close", status=b"400 Bad Request"))


@behaviour()
async def answer_early(talk: Conversation) -> None:
    """An answer comes as soon as the connection is open, before anything was asked; later ones come as they should.

    A sound client asks nothing over a connection that has something to read. Once it has asked, it cannot tell.
    """
    talk.send(answer(b"early"))
    await _each(talk, FIRST)


@behaviour()
async def answer_to_the_next(talk: Conversation) -> None:
    """Behind the first answer comes that to the next request, which is not asked yet; so each answer is one early.

    A sound client never gives it to anybody: it closes the connection.
    """
    await talk.request()
    talk.send(answer(b"1"))
    number = 1
    while True:
        await talk.pause(LATE_SECONDS)
        number += 1
        talk.send(answer(b"%d" % number))
        await talk.request()


@behaviour()
async def idle_written_to(talk: Conversation) -> None:
    """The server says 408 on an idle connection and holds it open, as many do before they close.

    A sound client closes the connection and asks again over another.
    """
    await talk.request()
    talk.send(FIRST)
    await talk.pause(LATE_SECONDS)
    talk.send(answer(b"", b"Connection: close", status=b"408 Request Timeout"))
    await talk.silence()


@behaviour()
async def idle_closed(talk: Conversation) -> None:
    """The server closes the connection after each answer, and has not said that it would.

    A sound client forgets the connection at once, with its timers.
    """
    await talk.request()
    talk.send(FIRST)


@behaviour()
async def idle_reset(talk: Conversation) -> None:
    """The server resets the connection some time after its answer.

    A sound client forgets the connection at once, with its timers.
    """
    await talk.request()
    talk.send(FIRST)
    await talk.pause(LATE_SECONDS)
    talk.reset()


@behaviour()
async def closed_in_reuse(talk: Conversation) -> None:
    """The second request on a connection is read, and the connection closed without an answer.

    A sound client asks again over another connection if the request is safe to repeat, once, and else says so.
    """
    await talk.request()
    talk.send(FIRST)
    await talk.request()


@behaviour()
async def close_capital(talk: Conversation) -> None:
    """``Connection: Close``, and then the server keeps the connection.

    A sound client closes it: tokens are compared without regard to case (RFC 9110, 7.6.1).
    """
    await _each(talk, answer(b"first", b"Connection: Close"))


@behaviour()
async def close_in_a_list(talk: Conversation) -> None:
    """``Connection: keep-alive, close``, and then the server keeps the connection.

    A sound client closes it: ``close`` wins wherever it stands (RFC 9112, 9.3).
    """
    await _each(talk, answer(b"first", b"Connection: keep-alive, close"))


@behaviour()
async def close_in_two_fields(talk: Conversation) -> None:
    """``Connection: keep-alive`` and ``Connection: close`` in fields of their own, and then the server keeps it.

    A sound client closes it: two fields are one list (RFC 9110, 5.2).
    """
    await _each(talk, answer(b"first", b"Connection: keep-alive", b"Connection: close"))


@behaviour()
async def http_1_0(talk: Conversation) -> None:
    """An answer in HTTP/1.0 without ``Connection``, and then the server keeps the connection.

    A sound client closes it: 1.0 persists only where ``keep-alive`` says so (RFC 9112, 9.3).
    """
    await _each(talk, answer(b"first", version=b"1.0"))

"""What another reader takes too, it frames in the same way: the other reader is h11.

Two readers that differ about where a message ends are how a message is smuggled past one of them. So
messages are mutated, a byte or a field at a time, and where both take the first one whole, its parts
must be the same, and so must be what is left behind it. Which of them refuses more is no matter here.

The mutations come from a seed of their own: each run tries the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import h11

from hardhttp.errors import Fault
from hardhttp.limits import Limits
from hardhttp.wire.answerhead import AnswerBounds, body_of, parse_answer
from hardhttp.wire.body import ChunkedBody, LengthBody
from hardhttp.wire.head import HeadParser

LIMITS = Limits()
BOUNDS = AnswerBounds(max_head_bytes=32768, max_headers=100, max_informational=8, max_body_bytes=1 << 20)
TRIES = 3000

CHUNKS = b'Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5;a="b"\r\n56789\r\n0\r\nX: y\r\n\r\n'
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 10\r\nHost: a\r\n\r\n0123456789",
    b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKS,
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX: y\r\n\r\n0123456789",
    b"HTTP/1.1 200 OK\r\n" + CHUNKS,
    b"HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
    b'HTTP/1.1 304 N\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
]
# What readers have differed about.
BYTES = [b"\r\n", b"\r", b"\n", b"\0", b":", b"\t", b" ", b";", b",", b"0", b"_", b"+", b"\x85", b"\xff"]
FIELDS = [
    b"Content-Length: 5\r\n",
    b"Content-Length: 010\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b": \r\n",
    b"0\r\n\r\n",
]


def mutated(messages: list[bytes], seed: int) -> Iterator[bytes]:
    """Each of ``messages`` again and again, changed in one to three places."""
    chance = random.Random(seed)
    for number in range(TRIES):
        data = messages[number % len(messages)]
        for _ in range(chance.choice((1, 1, 2, 3))):
            place = chance.randint(0, len(data))
            kind = chance.randrange(4)
            if kind == 0:
                data = data[:place] + data[place + 1 :]
            elif kind == 1:
                data = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
            elif kind == 2:
                data = data[:place] + chance.choice(BYTES) + data[place:]
            elif (end := data.find(b"\r\n", place)) >= 0:
                data = data[: end + 2] + chance.choice(FIELDS) + data[end + 2 :]
        yield data


def our_request(data: bytes) -> tuple[Any, ...] | None:
    """Method, body and what is behind it, of the first request here, if it is taken and whole."""
    try:
        found = HeadParser().parse(data, 0, LIMITS)
        if found is None:
            return None
        head, end = found
        if not head.has_body:
            return head.method, b"", data[end:]
        decoder = ChunkedBody(LIMITS) if head.chunked else LengthBody(head.content_length or 0)
        body = b"".join(decoder.receive(data[end:]))
        return (head.method, body, decoder.rest) if decoder.done else None
    except Fault:
        return None


def our_response(data: bytes) -> tuple[Any, ...] | None:
    """The same of the first final response to a GET, unless the connection's end ends it."""
    end = 0
    try:
        while (found := parse_answer(data, end, BOUNDS)) is not None:
            head, end = found
            if head.status < 200:
                continue
            decoder = body_of(head, b"GET", BOUNDS)
            if decoder is None:
                return head.status, b"", data[end:]
            body = b"".join(decoder.receive(data[end:]))
            return (head.status, body, decoder.rest) if decoder.done else None
    except Fault:
        pass
    return None


def theirs(connection: h11.Connection, data: bytes) -> tuple[Any, ...] | None:
    connection.receive_data(data)
    said, body = None, b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                said = event.method
            elif isinstance(event, h11.Response):
                said = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return said, body, connection.trailing_data[0]
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


def test_requests() -> None:
    alike = 0
    for data in mutated(REQUESTS, 1):
        ours, other = our_request(data + NEXT), theirs(h11.Connection(h11.SERVER), data + NEXT)
        if ours is not None and other is not None:
            assert ours == other, data
            alike += 1
    assert alike > TRIES / 10  # else this compares nothing


def test_responses() -> None:
    alike = 0
    for data in mutated(RESPONSES, 2):
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        ours, other = our_response(data), theirs(connection, data)
        if ours is not None and other is not None:
            assert ours == other, data
            alike += 1
    assert alike > TRIES / 10

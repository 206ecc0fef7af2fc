"""TLS records, whole and in pieces: what is read and written is the same, however they come."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hardhttp.net.tls import TLSProtocol
from tests.net.loopback import Answer, Loopback, blocking, certificate

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


def follow(*pieces: bytes) -> int:
    protocol = TLSProtocol.__new__(TLSProtocol)
    for piece in pieces:
        protocol._follow(piece)
    return protocol._record_left


def record(size: int) -> bytes:
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + b"x" * size


@pytest.mark.parametrize("sizes", [[1], [0], [5, 300, 16_384]])
def test_it_knows_where_records_end(sizes: list[int]) -> None:
    data = b"".join(map(record, sizes))
    assert follow(data) == 0
    assert follow(data, data) == 0
    assert follow(data[:-1] if sizes[-1] else data) == (1 if sizes[-1] else 0)


def test_a_record_may_end_pieces_later() -> None:
    data = record(100)
    assert follow(data[:5]) == 100
    assert follow(data[:50]) == 55
    assert follow(data[:50], data[50:]) == 0
    assert follow(data[:50], data[50:80], data[80:] + record(7)) == 0


def test_a_header_cut_in_two_is_given_up() -> None:
    data = record(100)
    for cut in range(1, 5):
        assert follow(data[:cut]) == -1
        assert follow(data[:cut], data[cut:]) == -1


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@blocking
def test_small_and_large_messages_follow_one_another(pem: Path) -> None:
    """Single records go the short way, all others Twisted's; neither leaves anything behind."""
    with Loopback(Answer(lambda request: request.content.read()), certificate=pem) as loop:
        client = loop.connect()
        sizes = (1, 100, 16_000, 16_384, 40_000, 1, 300_000, 10, 0, 7)
        for count, size in enumerate(sizes, 1):
            body = os.urandom(size)
            client.send_all(POST % size + body)
            assert client.responses(count)[-1].body == body

"""Single TLS records: the short way and pyOpenSSL's own methods read and write the same, and fail the same."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from hardhttp.net import records
from hardhttp.net.records import BUFFER_BYTES, RECORD_BYTES, Read, Write
from tests.net.loopback import certificate


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("records"))


class Pair:
    """A client, and the connection of a server that has shaken hands with it."""

    def __init__(self, pem: Path, version: ssl.TLSVersion) -> None:
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(str(pem))
        context.use_privatekey_file(str(pem))
        self.server = SSL.Connection(context, None)
        self.server.set_accept_state()
        trusting = ssl.create_default_context(cafile=str(pem))
        trusting.maximum_version = version
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = trusting.wrap_bio(self._in, self._out, server_hostname="localhost")
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            if data := self.sent():
                self.server.bio_write(data)
            with suppress(SSL.WantReadError):
                self.server.do_handshake()
            with suppress(SSL.WantReadError):
                self._in.write(self.server.bio_read(1 << 16))

    def sent(self) -> bytes:
        return self._out.read()

    def told(self, data: bytes) -> bytes:
        """What the client says now, as it comes."""
        self.client.write(data)
        return self.sent()

    def heard(self, data: bytes) -> bytes:
        """What the client makes of it."""
        self._in.write(data)
        return self.client.read(1 << 20)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def pair(pem: Path, request: pytest.FixtureRequest) -> Pair:
    return Pair(pem, request.param)


@pytest.fixture(params=[records.direct, records.by_methods])
def ways(request: pytest.FixtureRequest) -> tuple[Read, Write]:
    made: tuple[Read, Write] = request.param()
    return made


def test_the_short_way_is_there_with_this_pyopenssl() -> None:
    assert records.read_record.__qualname__.startswith("direct.")
    assert records.write_record.__qualname__.startswith("direct.")


@pytest.mark.parametrize("missing", ["_raise_ssl_error", "_context"])
def test_where_it_is_not_the_methods_do(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Any:
        raise AttributeError(missing)

    monkeypatch.setattr(records, "direct", gone)
    read, write = records._best()
    assert read.__qualname__.startswith("by_methods.")
    assert write.__qualname__.startswith("by_methods.")


@pytest.mark.parametrize("size", [1, 13, 300, RECORD_BYTES - 1, RECORD_BYTES])
def test_there_and_back(pair: Pair, ways: tuple[Read, Write], size: int) -> None:
    read, write = ways
    for round in range(3):
        data = bytes([round]) * size
        assert read(pair.server, pair.told(data)) == data
        assert pair.heard(write(pair.server, data)) == data


def test_what_was_read_is_not_overwritten_by_what_is_read_next(pair: Pair, ways: tuple[Read, Write]) -> None:
    read, _ = ways
    first = read(pair.server, pair.told(b"first"))
    second = read(pair.server, pair.told(b"other"))
    assert (first, second) == (b"first", b"other")


def test_the_end_of_the_other_side(pair: Pair, ways: tuple[Read, Write]) -> None:
    with suppress(ssl.SSLWantReadError):
        pair.client.unwrap()
    with pytest.raises(SSL.ZeroReturnError):
        ways[0](pair.server, pair.sent())


def test_a_record_that_was_changed_on_the_way(pair: Pair, ways: tuple[Read, Write]) -> None:
    read, _ = ways
    data = bytearray(pair.told(b"request"))
    data[-1] ^= 1
    with pytest.raises(SSL.Error) as failed:
        read(pair.server, bytes(data))
    assert "decryption failed or bad record mac" in str(failed.value)
    with pytest.raises(SSL.Error):
        pair.server.recv(100)


def test_part_of_a_record(pair: Pair, ways: tuple[Read, Write]) -> None:
    read, _ = ways
    data = pair.told(b"request")
    with pytest.raises(SSL.WantReadError):
        read(pair.server, data[:-1])
    assert read(pair.server, data[-1:]) == b"request"


def test_what_waits_already_goes_first_and_that_more_does_is_told(pair: Pair, ways: tuple[Read, Write]) -> None:
    _, write = ways
    for letter in b"ab":
        pair.server.send(bytes([letter]) * RECORD_BYTES)
    sent = write(pair.server, b"c")
    assert len(sent) == BUFFER_BYTES
    sent += pair.server.bio_read(1 << 20)
    heard = pair.heard(sent)
    while len(heard) < 2 * RECORD_BYTES + 1:
        heard += pair.client.read(1 << 20)
    assert heard == b"a" * RECORD_BYTES + b"b" * RECORD_BYTES + b"c"


def test_nothing_is_written_once_the_connection_has_failed(pair: Pair, ways: tuple[Read, Write]) -> None:
    read, write = ways
    with pytest.raises(SSL.Error):
        read(pair.server, b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with suppress(SSL.Error):
        pair.server.shutdown()
    with pytest.raises(SSL.Error):
        write(pair.server, b"page")

"""Content codings undone as they come, within bounds."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from backports import zstd

from hardhttp.testing import every_split
from hardhttp.wire import decoding
from hardhttp.wire.decoding import CODINGS, DecodedTooLargeError, Decoder, DecodingError, decoder

TEXT = b"data: " + random.Random(1).randbytes(40).hex().encode() * 3 + b"\n\n"
ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "br": lambda data: brotli.compress(data, quality=5),
    "zstd": zstandard.ZstdCompressor().compress,
    "python's zstd": zstd.compress,
}
MiB = 1 << 20


def make(name: str, max_ratio: float = 100) -> Decoder:
    if name == "python's zstd":
        return Decoder(decoding._zstd_of(zstd), max_ratio, None)
    return decoder(name.encode(), max_ratio=max_ratio)


def take(some: Decoder, pieces: list[bytes], max_bytes: int = 65536) -> bytes:
    out = b""
    for piece in pieces:
        some.give(piece)
        while data := some.take(max_bytes):
            out += data
    assert some.unread_bytes == 0
    return out


def test_all_are_here() -> None:
    assert CODINGS == (b"gzip", b"br", b"zstd")
    assert decoding.ACCEPT_ENCODING == b"gzip, br, zstd"


@pytest.mark.parametrize("name", ENCODE)
def test_at_every_split(name: str) -> None:
    coded = ENCODE[name](TEXT)
    for pieces in every_split(coded):
        assert take(make(name), pieces) == TEXT


@pytest.mark.parametrize("name", ENCODE)
def test_whole_at_its_end_and_not_before(name: str) -> None:
    coded = ENCODE[name](TEXT)
    some = make(name)
    assert some.whole  # of no bytes
    for i in range(len(coded)):
        take(some, [coded[i : i + 1]])
        assert some.whole == (i + 1 == len(coded))


@pytest.mark.parametrize("max_bytes", [1, 7, 65536])
@pytest.mark.parametrize("name", ENCODE)
def test_in_small_steps(name: str, max_bytes: int) -> None:
    assert take(make(name), [ENCODE[name](TEXT)], max_bytes) == TEXT


@pytest.mark.parametrize("name", ["gzip", "zstd", "python's zstd"])
def test_one_behind_the_other(name: str) -> None:
    coded = ENCODE[name](b"one") + ENCODE[name](b"") + ENCODE[name](b"two")
    for pieces in every_split(coded):
        assert take(make(name), pieces) == b"onetwo"


def test_what_is_flushed_comes_at_once() -> None:
    compressor, some = zlib.compressobj(wbits=31), decoder(b"x-gzip", max_ratio=100)
    for i in range(10):
        said = b"data: %d\n\n" % i
        assert take(some, [compressor.compress(said) + compressor.flush(zlib.Z_SYNC_FLUSH)]) == said


class Step:
    """How much comes of one step."""

    steps: Any
    largest = 0

    def step(self, data: bytes, max_bytes: int) -> bytes:
        out: bytes = self.steps.step(data, max_bytes)
        self.largest = max(self.largest, len(out))
        return out


@pytest.mark.parametrize("name", ENCODE)
def test_a_bomb(name: str) -> None:
    some, step = make(name), Step()
    step.steps, some._steps = some._steps, step
    some.give(ENCODE[name](b"\0" * (64 * MiB)))
    out = 0
    with pytest.raises(DecodedTooLargeError, match="100 times"):  # noqa: PT012
        while data := some.take(65536):
            out += len(data)
        raise AssertionError(out)
    assert out < 10 * MiB
    assert step.largest <= (9 * MiB if name == "zstd" else 2 * 65536)


@pytest.mark.parametrize("name", ENCODE)
def test_what_repeats_itself_a_little(name: str) -> None:
    text = b"\0" * MiB  # all of the slack
    assert take(make(name, 0.001), [ENCODE[name](text)]) == text


def test_the_ratio_at_its_bound() -> None:
    coded = gzip.compress(b"\0" * (3 * MiB))
    ratio = 2 * MiB / len(coded)
    assert len(take(make("gzip", ratio + 0.001), [coded])) == 3 * MiB
    with pytest.raises(DecodedTooLargeError):
        take(make("gzip", ratio - 0.001), [coded])


@pytest.mark.parametrize("name", ENCODE)
def test_not_of_its_coding(name: str) -> None:
    with pytest.raises(DecodingError):
        take(make(name), [b"this is none of these" * 10])


def test_bytes_behind_the_end() -> None:
    with pytest.raises(DecodingError):
        take(make("br"), [brotli.compress(b"x"), b"more"])


@pytest.mark.parametrize("coding", [b"", b"identity", b" Identity "])
def test_as_it_is(coding: bytes) -> None:
    some = decoder(coding, max_ratio=1)
    some.give(b"abcdef")
    assert [some.take(4), some.unread_bytes, some.take(4), some.take(4)] == [b"abcd", 2, b"ef", b""]


def test_unknown() -> None:
    with pytest.raises(ValueError, match="cannot be undone"):
        decoder(b"deflate", max_ratio=1)


def test_a_library_that_cannot_stop_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brotli, "Decompressor", object)
    assert decoding._available() == (b"gzip", b"zstd")

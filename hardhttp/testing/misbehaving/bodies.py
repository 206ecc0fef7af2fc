"""Bodies that do not come, do not end, end too soon, or swell when they are decoded."""

from __future__ import annotations

import zlib
from functools import cache

from hardhttp.testing.misbehaving.catalogue import behaviour
from hardhttp.testing.misbehaving.conversation import Conversation, answer

TRICKLE_SECONDS = 0.05
SAID_BYTES = 1_000_000
LARGE_BYTES = 16 * 1024 * 1024
PIECE = bytes(32 * 1024)
MIB = 1024 * 1024
# What a bomb holds: 300 MiB, which gzip makes 306 kB of.
BOMB_MIB = 300


@behaviour()
async def body_silent(talk: Conversation) -> None:
    """A head that says a megabyte, its first bytes, and then nothing.

    A sound client has a deadline between bytes of a body.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nhello" % SAID_BYTES)
    await talk.silence()


@behaviour()
async def body_trickled(talk: Conversation) -> None:
    """A head that says a megabyte, and then a byte at a time.

    A sound client asks for a minimum rate, or has a deadline for the whole.
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SAID_BYTES)
    await talk.pieces(bytes(SAID_BYTES), TRICKLE_SECONDS)


@behaviour()
async def body_endless(talk: Conversation) -> None:
    """A chunked body without end, as fast as it is taken.

    A sound client bounds the bytes of a body, and closes the connection there.
    """
    await talk.request()
    talk.send(answer(b"", b"Transfer-Encoding: chunked", sized=False))
    while True:
        await talk.send_all(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))


@behaviour()
async def body_endless_unframed(talk: Conversation) -> None:
    """A body that the end of the connection ends, and it does not end.

    A sound client bounds the bytes of a body, and closes the connection there.
    """
    await talk.request()
    talk.send(answer(b"", sized=False))
    while True:
        await talk.send_all(PIECE)


@behaviour()
async def body_large(talk: Conversation) -> None:
    """A body of 16 MiB, again and again on one connection. Try it with a client that does not read it.

    A sound client closes the connection of a body that nobody reads, by a deadline, without the garbage collector.
    """
    while True:
        await talk.request()
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES)
        for _ in range(LARGE_BYTES // len(PIECE)):
            await talk.send_all(PIECE)


@behaviour()
async def body_short(talk: Conversation) -> None:
    """The connection ends before as many bytes came as Content-Length says.

    A sound client fails the body, and never gives it out as whole (RFC 9112, 8).
    """
    await talk.request()
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")


@behaviour()
async def body_without_last_chunk(talk: Conversation) -> None:
    """The connection ends between two chunks.

    A sound client fails the body, and never gives it out as whole (RFC 9112, 8).
    """
    await talk.request()
    talk.send(answer(b"5\r\nhello\r\n", b"Transfer-Encoding: chunked", sized=False))


@behaviour()
async def chunk_line_endless(talk: Conversation) -> None:
    """The extensions of a chunk do not end.

    A sound client bounds the line of a chunk, and closes the connection there.
    """
    await talk.request()
    talk.send(answer(b"5;x=", b"Transfer-Encoding: chunked", sized=False))
    while True:
        await talk.send_all(b"x" * len(PIECE))


@behaviour()
async def trailers_endless(talk: Conversation) -> None:
    """The trailers of a chunked body do not end.

    A sound client bounds them, and closes the connection there.
    """
    await talk.request()
    talk.send(answer(b"5\r\nhello\r\n0\r\n", b"Transfer-Encoding: chunked", sized=False))
    while True:
        await talk.send_all(b"X: x\r\n" * 5000)


async def _explode(talk: Conversation, coding: str, body: bytes) -> None:
    while True:
        await talk.request()
        await talk.send_all(answer(body, b"Content-Encoding: " + coding.encode()))


@behaviour()
async def bomb_gzip(talk: Conversation) -> None:
    """306 kB of gzip that decode to 300 MiB.

    A sound client bounds the bytes of a body after decoding too, and stops decoding there.
    """
    await _explode(talk, "gzip", gzip_bomb())


@behaviour()
async def bomb_deflate(talk: Conversation) -> None:
    """306 kB of ``deflate`` that decode to 300 MiB.

    A sound client bounds the bytes of a body after decoding too, and stops decoding there.
    """
    await _explode(talk, "deflate", deflate_bomb())


@behaviour(needs="brotli")
async def bomb_br(talk: Conversation) -> None:
    """56 kB of Brotli that decode to 300 MiB.

    A sound client bounds the bytes of a body after decoding too, and stops decoding there.
    """
    await _explode(talk, "br", brotli_bomb())


@behaviour(needs="zstandard")
async def bomb_zstd(talk: Conversation) -> None:
    """10 kB of Zstandard that decode to 300 MiB.

    A sound client bounds the bytes of a body after decoding too, and stops decoding there.
    """
    await _explode(talk, "zstd", zstandard_bomb())


def _raw_deflate() -> bytes:
    """A MiB of zeros at a time: behind a full flush each is coded as the first one was."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = coder.compress(bytes(MIB)) + coder.flush(zlib.Z_FULL_FLUSH)
    return once * BOMB_MIB + coder.flush()


@cache
def gzip_bomb() -> bytes:
    """RFC 1952."""
    check = 0
    for _ in range(BOMB_MIB):
        check = zlib.crc32(bytes(MIB), check)
    size = BOMB_MIB * MIB
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + _raw_deflate() + check.to_bytes(4, "little") + size.to_bytes(4, "little")


@cache
def deflate_bomb() -> bytes:
    """RFC 1950, which is what ``deflate`` names in HTTP. Adler-32 of n zeros is n above, 1 below."""
    check = (BOMB_MIB * MIB % 65_521 << 16) + 1
    return b"\x78\xda" + _raw_deflate() + check.to_bytes(4, "big")


@cache
def brotli_bomb() -> bytes:
    import brotli

    coder = brotli.Compressor(quality=1, lgwin=24)
    return b"".join([*(coder.process(bytes(MIB)) for _ in range(BOMB_MIB)), coder.finish()])


@cache
def zstandard_bomb() -> bytes:
    import zstandard

    coder = zstandard.ZstdCompressor(level=1).compressobj(size=BOMB_MIB * MIB)
    return b"".join([*(coder.compress(bytes(MIB)) for _ in range(BOMB_MIB)), coder.flush()])

"""One TLS record in, one out, by OpenSSL without what pyOpenSSL does around each call.

Its ``bio_write``, ``recv``, ``send`` and ``bio_read`` take 6.0 us for a request and its answer, of which 2.1 are
OpenSSL's: each makes a buffer, and asks after errors that there are not. What they call is called here, with one buffer
for all: a reactor has one thread, and what comes into the buffer is copied out at once. An error is pyOpenSSL's to put
into words. Where a version of it keeps these things elsewhere, its methods are called.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from OpenSSL.SSL import TLS_METHOD, Connection, Context, WantReadError

__all__ = ["BUFFER_BYTES", "RECORD_BYTES", "by_methods", "direct", "read_record", "write_record"]

RECORD_BYTES = 1 << 14  # of plain text in one record (RFC 8446, 5.1)
BUFFER_BYTES = RECORD_BYTES + 512  # more than any cipher adds

Read = Callable[[Any, bytes], bytes]
Write = Callable[[Any, bytes], bytes]


def by_methods() -> tuple[Read, Write]:
    """``read_record`` and ``write_record`` by what pyOpenSSL promises."""

    def read(connection: Connection, data: bytes) -> bytes:
        connection.bio_write(data)
        return connection.recv(BUFFER_BYTES)

    def write(connection: Connection, data: bytes) -> bytes:
        connection.send(data)
        with suppress(WantReadError):
            return connection.bio_read(BUFFER_BYTES)
        return b""

    return read, write


def direct() -> tuple[Read, Write]:
    """The same by what it stands on. Raises ``ImportError`` or ``AttributeError`` where that is not as we know it."""
    from OpenSSL._util import ffi, lib

    bio_read, bio_write, ssl_read, ssl_write = lib.BIO_read, lib.BIO_write, lib.SSL_read, lib.SSL_write
    raise_error = Connection._raise_ssl_error
    buffer = ffi.new("char[]", BUFFER_BYTES)
    view = ffi.buffer(buffer)

    def read(connection: Any, data: bytes) -> bytes:
        ssl = connection._ssl
        bio_write(connection._into_ssl, data, len(data))  # to memory: all of it
        size = ssl_read(ssl, buffer, BUFFER_BYTES)
        if size <= 0:
            raise_error(connection, ssl, size)
        plain: bytes = view[:size]
        return plain

    def write(connection: Any, data: bytes) -> bytes:
        ssl = connection._ssl
        size = ssl_write(ssl, data, len(data))
        if size <= 0:
            raise_error(connection, ssl, size)
        record: bytes = view[: max(0, bio_read(connection._from_ssl, buffer, BUFFER_BYTES))]
        return record

    unconnected = Connection(Context(TLS_METHOD), None)
    for name in ("_ssl", "_into_ssl", "_from_ssl"):
        getattr(unconnected, name)
    return read, write


def _best() -> tuple[Read, Write]:
    try:
        return direct()
    except (ImportError, AttributeError):
        return by_methods()


# Both take a connection whose handshake is done. ``read_record`` returns what the one whole record that it is given
# holds, and raises ``OpenSSL.SSL.Error`` as ``recv`` does. ``write_record`` takes ``RECORD_BYTES`` at most, returns the
# record to send, and raises as ``send`` does, with nothing written; ``BUFFER_BYTES`` say that more waits to be sent.
read_record, write_record = _best()

"""Where a request's body is kept while it comes: in memory, past a size in a temporary file."""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import IO

__all__ = ["BodyStore"]

# Pieces smaller than this are joined as they come: an object of its own would cost more than they hold.
SMALL_BYTES = 4096


class BodyStore:
    """Collects pieces; ``file`` gives them back as one readable, seekable file.

    ``held_bytes`` is what is in memory. When no temporary file can be opened (the descriptor
    limit), the body stays in memory: it is bounded by ``max_body_bytes`` all the same.
    """

    __slots__ = ("_file", "_pieces", "_spool_bytes", "_tail", "held_bytes", "received_bytes")

    def __init__(self, spool_bytes: int) -> None:
        self._spool_bytes = spool_bytes
        self._pieces: list[bytes | bytearray] = []
        self._tail: bytearray | None = None
        self._file: IO[bytes] | None = None
        self.held_bytes = 0
        self.received_bytes = 0

    def write(self, piece: bytes) -> None:
        self.received_bytes += len(piece)
        if self._file is not None:
            self._file.write(piece)
            return
        self.held_bytes += len(piece)
        if len(piece) >= SMALL_BYTES:
            self._tail = None
            self._pieces.append(piece)
        elif self._tail is not None:
            self._tail += piece
        else:
            self._tail = bytearray(piece)
            self._pieces.append(self._tail)
        if self.held_bytes > self._spool_bytes:
            self._spool()

    def _spool(self) -> None:
        try:
            self._file = tempfile.TemporaryFile()
        except OSError:
            self._spool_bytes *= 2  # try again later
            return
        self._file.writelines(self._pieces)
        self._pieces.clear()
        self._tail = None
        self.held_bytes = 0

    def file(self) -> IO[bytes]:
        """The body so far, at its beginning. It is the caller's to close."""
        if self._file is not None:
            self._file.seek(0)
            return self._file
        pieces, self._pieces = self._pieces, []
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return BytesIO(whole)

    def close(self) -> None:
        """Give everything up."""
        self._pieces.clear()
        self._tail = None
        self.held_bytes = 0
        if self._file is not None:
            self._file.close()

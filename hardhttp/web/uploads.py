"""A file of a form: a place in the request's body, read from there.

A body is kept once, in memory or in one temporary file (``hardhttp.web.body``), however many files
are in it; an upload is a window on it. So uploads cost no memory and no descriptors, and nothing is
copied until somebody asks. When the request ends the body goes, and its windows are closed: what shall
stay must be read or saved before.
"""

from __future__ import annotations

import io
import os
import re
import threading
import unicodedata
from typing import IO, Any

from hardhttp.wire.formdata import PartHead

__all__ = ["KeptBody", "Upload", "safe_filename"]

COPY_BYTES = 256 * 1024
# What file systems allow.
MAX_NAME_BYTES = 255
_NOT_IN_NAMES = re.compile(r'[<>:"|?*]')
# Windows opens a device for these, whatever their extension.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])(?:\..*)?", re.IGNORECASE)


class KeptBody:
    """A request's body, read at any place and from any thread until it is closed."""

    def __init__(self, content: IO[bytes]) -> None:
        self._lock = threading.Lock()
        self._content: IO[bytes] | None = content
        if not isinstance(content, io.BytesIO):
            content.flush()

    @property
    def closed(self) -> bool:
        return self._content is None

    def read_at(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at``. The file's own position stays as it is.

        Raises ``ValueError`` once the request has ended.
        """
        with self._lock:  # a descriptor that is being closed may be another file's a moment later
            if self._content is None:
                raise ValueError("the request has ended, and its uploads with it")
            if isinstance(self._content, io.BytesIO):
                return self._content.getvalue()[at : at + size]  # of an unchanged one this copies only the slice
            return os.pread(self._content.fileno(), size, at)

    def close(self) -> None:
        """Let go of the body; waits for a read that is going on in a thread."""
        with self._lock:
            self._content = None


class _Window(io.RawIOBase):
    """``size`` bytes of a body from ``start``, as a file."""

    def __init__(self, body: KeptBody, start: int, size: int) -> None:
        self._body = body
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the beginning of a file")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        if self.closed:
            raise ValueError("the file is closed")
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces: list[bytes] = []
        while wanted:
            piece = self._body.read_at(self._start + self._at, wanted)
            if not piece:
                raise OSError("the body is shorter than it was")
            pieces.append(piece)
            self._at += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)


class Upload:
    """A file of a form.

    ``name`` is the field's, ``filename`` as the client sent it (never a path to use: see
    ``safe_filename``), ``content_type`` what the client says it is, ``size`` in bytes. ``headers``
    are the part's, as (name, value).
    """

    __slots__ = ("_at", "_body", "_file", "content_type", "filename", "headers", "name", "size")

    def __init__(self, head: PartHead, size: int, body: KeptBody) -> None:
        self.name = head.name
        self.filename = head.filename or ""
        self.content_type = head.content_type or "application/octet-stream"
        self.headers = head.headers
        self.size = size
        self._at = head.at
        self._body = body
        self._file: _Window | None = None

    def __repr__(self) -> str:
        return f"<Upload {self.name!r}: {self.size} bytes of {self.content_type!r}>"

    @property
    def file(self) -> io.RawIOBase:
        """The content as a readable, seekable file, open until the request ends; closed, it is opened anew."""
        if self._file is None or self._file.closed:
            self._file = self.open()
        return self._file

    def open(self) -> _Window:
        """Another such file, with a place of its own."""
        return _Window(self._body, self._at, self.size)

    def read(self) -> bytes:
        """The whole content. It may be as large as ``max_body_bytes``; look at ``size`` first."""
        return self.open().read()

    @property
    def safe_filename(self) -> str:
        """``filename`` as a name that any file system takes; see ``safe_filename``."""
        return safe_filename(self.filename)

    def save_to(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Write the content to a new file at ``path``; returns its size.

        A file that is there already raises ``FileExistsError``, unless ``overwrite``. What fails
        leaves no half of a file. It blocks for as long as the disk does: a coroutine should
        ``await deferToThread(upload.save_to, path)``.
        """
        source = self.open()
        with open(path, "wb" if overwrite else "xb") as target:
            try:
                while piece := source.read(COPY_BYTES):
                    target.write(piece)
                target.flush()
            except BaseException:
                os.unlink(path)
                raise
        return self.size


def safe_filename(filename: str, default: str = "file") -> str:
    """A client's file name made fit for a file system.

    Directories of either kind of slash go, and so do control and format characters (which turn
    text around), leading dots, dots and spaces at the end; what Windows forbids becomes ``_``, and a
    device's name gets one in front. At most 255 bytes of UTF-8, the extension kept. What is left may
    still be the name of a file that is there.
    """
    name = unicodedata.normalize("NFC", re.split(r"[/\\]", filename)[-1])
    name = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    name = _NOT_IN_NAMES.sub("_", name).lstrip(" .").rstrip(" .")
    if _DEVICES.fullmatch(name) is not None:
        name = "_" + name
    encoded = name.encode("utf-8")
    if len(encoded) > MAX_NAME_BYTES:
        stem, dot, extension = name.rpartition(".")
        tail = (dot + extension).encode("utf-8") if stem else b""
        if len(tail) > MAX_NAME_BYTES // 4:
            tail = b""
        name = (encoded[: MAX_NAME_BYTES - len(tail)]).decode("utf-8", "ignore").rstrip(" .") + tail.decode("utf-8")
    return name or default

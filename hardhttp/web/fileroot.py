"""Files beneath one directory, and none from anywhere else.

A path comes as decoded segments. ``relative`` judges them as names: one that could mean anything but a
name in its directory is refused, in whatever way it was written. ``visit`` then looks at what the file
system has there. A name is no proof of a place, since a link may lead anywhere and may be changed
between a look and an opening. So what is opened first is only a handle (``O_PATH``, which reads
nothing, wakes no device and waits for no pipe); the kernel is asked where that handle lies; and what is
read is the very thing the handle stands for.

Links that stay beneath the root are followed, for that is where they lead; all others are refused,
unless ``follow_symlinks`` says otherwise. A hard link cannot be told from a file.

Where the kernel does not tell (no ``/proc``) directories are entered one by one, and every link is refused.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from typing import Self

import attrs

__all__ = ["ABSENT", "FileRoot", "Place", "Visit", "is_name"]

# What ``OSError`` says when there is nothing of a name.
ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL})

# Control characters, and what separates segments here or elsewhere.
_BAD = re.compile(rb"[\x00-\x1f\x7f/\\]")
# The most ordinary names, judged at one glance.
_ORDINARY = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
# RFC 8615: what is there was put there to be seen.
_WELL_KNOWN = b".well-known"
# NAME_MAX of every common file system.
_MAX_NAME_BYTES = 255

_HANDLE = getattr(os, "O_PATH", 0) | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# Whether the kernel tells where an open file lies.
_TELLS = hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")


def is_name(segment: bytes, dotfiles: bool = False) -> bool:
    """Whether ``segment`` can only be the name of something in its directory, and may be asked for."""
    if _ORDINARY.fullmatch(segment) is not None:
        return len(segment) <= _MAX_NAME_BYTES
    if not segment or len(segment) > _MAX_NAME_BYTES or _BAD.search(segment) is not None:
        return False
    if segment[:1] == b"." and (segment == b".." or segment == b"." or not (dotfiles or segment == _WELL_KNOWN)):
        return False
    if segment[-1:] in (b".", b" "):  # some systems leave these off, and find another file
        return False
    try:
        segment.decode("utf-8")  # overlong forms of "." and "/" are no UTF-8
    except UnicodeDecodeError:
        return False
    return True


@attrs.frozen(slots=True)
class Place:
    """What was found: its ``os.stat_result``, and whether no link led there."""

    status: os.stat_result
    straight: bool

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)


class FileRoot:
    """A directory whose files may be read."""

    def __init__(self, directory: str | os.PathLike[str], *, dotfiles: bool, follow_symlinks: bool) -> None:
        self.path = os.fsencode(os.path.abspath(directory))
        self.dotfiles = dotfiles
        self.follow_symlinks = follow_symlinks

    def relative(self, segments: Sequence[bytes]) -> bytes | None:
        """The path that ``segments`` stand for, or ``None`` when they are refused.

        An empty last segment, that of a trailing slash, stays a trailing slash; nothing at all, and a
        lone slash, are the root.
        """
        if len(segments) == 1 and _ORDINARY.fullmatch(segments[0]) is not None:
            return segments[0] if len(segments[0]) <= _MAX_NAME_BYTES else None
        names = segments[:-1] if segments and not segments[-1] else segments
        if not all(is_name(name, self.dotfiles) for name in names):
            return None
        return b"/".join(segments)

    def absolute(self, relative: bytes) -> bytes:
        return os.path.join(self.path, relative) if relative else self.path

    def visit(self) -> Visit:
        """Look around, as long as the block lasts."""
        return Visit(self)

    def has(self, name: bytes) -> bool:
        """Whether ``name`` is a file or a directory right here that may be asked for."""
        if not is_name(name, self.dotfiles):
            return False
        try:
            mode = os.stat(self.absolute(name)).st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


class Visit:
    """The root as it is at the first look, whatever its path may come to mean meanwhile."""

    __slots__ = ("_follow", "_path", "_real", "_root")

    def __init__(self, root: FileRoot) -> None:
        self._follow = root.follow_symlinks
        self._path = root.path
        self._root = -1
        self._real = b""  # where it lies

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._root >= 0:
            os.close(self._root)

    def _enter(self) -> int:
        if self._root < 0:
            self._root = os.open(self._path, (_HANDLE if _TELLS else _READ) | os.O_DIRECTORY)
            if _TELLS and not self._follow:
                self._real = _where(self._root).rstrip(b"/")
        return self._root

    def look(self, relative: bytes) -> Place:
        """What is at ``relative``, without opening it.

        Raises ``OSError``: ``ENOENT`` for what is not there, or not beneath the root.
        """
        handle, place = self._handle(relative)
        os.close(handle)
        return place

    def open(self, relative: bytes) -> tuple[int, Place]:
        """A file or a directory, open for reading, and what it is.

        Raises ``OSError``: ``ENOENT`` also for what is neither file nor directory.
        """
        handle, place = self._handle(relative)
        try:
            if not (place.is_file or place.is_directory):
                raise FileNotFoundError(errno.ENOENT, "neither file nor directory")
            if _TELLS:
                return os.open(b"/proc/self/fd/%d" % handle, _READ), place
            kept, handle = handle, -1
            return kept, place
        finally:
            if handle >= 0:
                os.close(handle)

    def _handle(self, relative: bytes) -> tuple[int, Place]:
        if not _TELLS:
            return self._walk(relative)
        handle = os.open(relative or b".", _HANDLE, dir_fd=self._enter())
        try:
            status = os.fstat(handle)
            if self._follow:
                return handle, Place(status, True)
            real, root = _where(handle).rstrip(b"/"), self._real
            if real != root and not real.startswith(root + b"/"):
                raise FileNotFoundError(errno.ENOENT, "it is not beneath the root")
            return handle, Place(status, real == (root + b"/" + relative if relative else root))
        except BaseException:
            os.close(handle)
            raise

    def _walk(self, relative: bytes) -> tuple[int, Place]:
        """Name by name, through no link: for where a handle's place is not known."""
        at = os.dup(self._enter())
        try:
            for name in filter(None, relative.split(b"/")):
                status = os.stat(name, dir_fd=at, follow_symlinks=self._follow)
                if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                    raise FileNotFoundError(errno.ENOENT, "neither file nor directory")
                inner = os.open(name, _READ | (0 if self._follow else os.O_NOFOLLOW), dir_fd=at)
                os.close(at)
                at = inner
            return at, Place(os.fstat(at), True)
        except BaseException:
            os.close(at)
            raise


def _where(handle: int) -> bytes:
    """Where an open file lies."""
    return os.readlink(b"/proc/self/fd/%d" % handle)

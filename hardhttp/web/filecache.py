"""What is known of files that have been served, and the contents of small ones; believed while it is true.

Nothing here is ever older than the file. Each entry remembers what it was made from (``Witness``: the
file, its directories, its compressed siblings) and each use asks the file system about all of them
first. A directory's own times change when a name in it is added, removed or replaced, so to look at the
directory is to look for every name that was not there.

Times are as coarse as the kernel's tick, so two changes in one tick look like one. Therefore an entry is
kept only when all it was made from had been at rest for ``SETTLED_SECONDS``; what has just been changed is
read anew each time, until it rests.

Entries and bytes are bounded; the oldest goes first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

import attrs

__all__ = ["FileCache", "Found", "Variant", "Witness", "witness"]

# Longer than a tick, and than the two seconds to which some file systems round.
SETTLED_SECONDS = 2.5


@attrs.frozen(slots=True)
class Witness:
    """A file or directory, as it was: times in nanoseconds."""

    path: bytes
    modified: int
    changed: int
    inode: int
    device: int

    @property
    def newest(self) -> int:
        return max(self.modified, self.changed)


def witness(path: bytes, status: os.stat_result) -> Witness:
    return Witness(path, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


@attrs.define(slots=True, eq=False)
class Variant:
    """One representation of a resource: a file, how it is coded, and the headers of a 200."""

    relative: bytes
    status: os.stat_result
    etag: bytes
    last_modified: int
    fields: dict[bytes, bytes]
    content: bytes | None = None

    @property
    def size(self) -> int:
        return self.status.st_size

    def is_of(self, status: os.stat_result) -> bool:
        """Whether a file with this status is still the one that was found."""
        ours = self.status
        return (
            status.st_mtime_ns == ours.st_mtime_ns
            and status.st_size == ours.st_size
            and status.st_ino == ours.st_ino
            and status.st_dev == ours.st_dev
        )


@attrs.define(slots=True, eq=False)
class Found:
    """A resource: its variants by coding (``identity`` is always one), and whether siblings of it exist."""

    key: bytes  # the path that was asked for
    variants: dict[str, Variant]
    witnesses: Sequence[Witness] = ()
    ancestors: Sequence[bytes] = ()  # directories above the file's own: they must still be directories
    varies: bool = False
    codings: tuple[str, ...] = ()  # of the variants, in our order of preference, without identity
    held_bytes: int = 0

    def settled(self, now: float | None) -> bool:
        """Whether all it was made from has been at rest long enough to be believed."""
        if now is None or not self.witnesses:
            return False
        return max(w.newest for w in self.witnesses) < (now - SETTLED_SECONDS) * 1e9


class FileCache:
    """Entries by the path that was asked for. ``look`` is ``os.lstat``, or ``os.stat`` where links are followed."""

    def __init__(
        self, root: bytes, look: Callable[[bytes], os.stat_result], *, max_entries: int, max_bytes: int
    ) -> None:
        self._root = root
        self._look = look
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[bytes, Found] = {}
        self.held_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, relative: bytes) -> Found | None:
        """What is known of ``relative``, if it is still so."""
        found = self._entries.get(relative)
        if found is None:
            return None
        look = self._look
        try:
            for seen in found.witnesses:
                path = seen.path
                # The root itself may be a link, that somebody has set.
                status = look(path) if path is not self._root else os.stat(path)
                if (
                    status.st_mtime_ns != seen.modified
                    or status.st_ctime_ns != seen.changed
                    or status.st_ino != seen.inode
                    or status.st_dev != seen.device
                ):
                    break
            else:
                if not found.ancestors or all(stat.S_ISDIR(look(path).st_mode) for path in found.ancestors):
                    return found
        except OSError:
            pass
        self._drop(relative)
        return None

    def put(self, found: Found) -> None:
        """Believe ``found`` from now on."""
        if not self._max_entries:
            return
        self._drop(found.key)
        while len(self._entries) >= self._max_entries:
            self._drop(next(iter(self._entries)))
        self._entries[found.key] = found

    def keep(self, found: Found, variant: Variant, content: bytes) -> None:
        """Keep a variant's content with its entry, as far as there is room."""
        size = len(content)
        if self._entries.get(found.key) is not found or size > self._max_bytes:
            return
        while self.held_bytes + size > self._max_bytes:
            oldest = next(iter(self._entries))
            self._drop(oldest)
            if oldest == found.key:
                return
        variant.content = content
        found.held_bytes += size
        self.held_bytes += size

    def _drop(self, relative: bytes) -> None:
        found = self._entries.pop(relative, None)
        if found is not None:
            self.held_bytes -= found.held_bytes

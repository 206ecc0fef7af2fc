"""What is believed of files, and for how long."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hardhttp.web.filecache import SETTLED_SECONDS, FileCache, Found, Variant, Witness

NS = 1_000_000_000


def status(*, mode: int = 0o100644, inode: int = 7, modified: int = 5 * NS, changed: int = 6 * NS) -> os.stat_result:
    """Of a file of 10 bytes on device 1."""
    times = (modified // NS, modified // NS, changed // NS)
    fields = (mode, inode, 1, 1, 0, 0, 10, *times)
    exact = {"st_atime_ns": 0, "st_mtime_ns": modified, "st_ctime_ns": changed}
    return os.stat_result(fields, exact)


DIRECTORY = status(mode=0o40755, inode=1)


class Disk:
    """A file system of what a test says."""

    def __init__(self, **files: os.stat_result) -> None:
        self.files = {b"/" + name.encode(): found for name, found in files.items()}
        self.looks = 0

    def __call__(self, path: bytes) -> os.stat_result:
        self.looks += 1
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(2, "none") from None


def found(name: str = "a", seen: os.stat_result | None = None, ancestors: tuple[bytes, ...] = ()) -> Found:
    of = status() if seen is None else seen
    variant = Variant(name.encode(), of, b'"x"', 5, {})
    witness = Witness(b"/" + name.encode(), of.st_mtime_ns, of.st_ctime_ns, of.st_ino, of.st_dev)
    return Found(name.encode(), {"identity": variant}, (witness,), ancestors)


def cache(disk: Disk, *, max_entries: int = 10, max_bytes: int = 100) -> FileCache:
    return FileCache(b"/root", disk, max_entries=max_entries, max_bytes=max_bytes)


def test_it_is_believed_while_it_is_so() -> None:
    disk = Disk(a=status())
    kept = cache(disk)
    assert kept.get(b"a") is None
    assert disk.looks == 0
    kept.put(entry := found())
    assert kept.get(b"a") is entry
    assert disk.looks == 1
    assert kept.get(b"b") is None


@pytest.mark.parametrize(
    "now",
    [status(modified=5 * NS + 1), status(changed=6 * NS + 1), status(inode=8), None],
)
def test_one_that_differs_in_anything_is_forgotten(now: os.stat_result | None) -> None:
    disk = Disk(a=status())
    kept = cache(disk)
    kept.put(entry := found())
    kept.keep(entry, entry.variants["identity"], b"0123456789")
    if now is None:
        disk.files.clear()
    else:
        disk.files[b"/a"] = now
    assert kept.get(b"a") is None
    assert (len(kept), kept.held_bytes) == (0, 0)


def test_a_device_is_looked_at_too() -> None:
    kept = cache(Disk(a=status()))
    entry = found()
    entry.witnesses = (Witness(b"/a", 5 * NS, 6 * NS, 7, 2),)
    kept.put(entry)
    assert kept.get(b"a") is None


def test_directories_above_must_still_be_directories() -> None:
    disk = Disk(a=status(), above=DIRECTORY)
    kept = cache(disk)
    kept.put(entry := found(ancestors=(b"/above",)))
    assert kept.get(b"a") is entry
    disk.files[b"/above"] = status(mode=0o120777)
    assert kept.get(b"a") is None


def test_only_what_rests_is_believed() -> None:
    entry = found(seen=status(modified=90 * NS, changed=100 * NS))
    assert not entry.settled(100 + SETTLED_SECONDS)
    assert entry.settled(100 + SETTLED_SECONDS + 0.001)
    assert not entry.settled(50)  # a clock that is behind
    assert not entry.settled(None)
    assert found(seen=status(modified=100 * NS, changed=90 * NS)).settled(100 + SETTLED_SECONDS) is False
    entry.witnesses = ()
    assert not entry.settled(1e9)


def test_entries_are_bounded_and_the_oldest_goes() -> None:
    names = "abcd"
    kept = cache(Disk(**dict.fromkeys(names, status())), max_entries=3)
    for name in names[:3]:
        kept.put(found(name))
    assert all(kept.get(name.encode()) for name in names[:3])
    kept.put(found("d"))
    assert [kept.get(name.encode()) is not None for name in names] == [False, True, True, True]
    kept.put(found("d"))
    assert len(kept) == 3


def test_bytes_are_bounded_and_the_oldest_goes() -> None:
    kept = cache(Disk(**dict.fromkeys("abc", status())), max_bytes=100)
    entries = [found(name) for name in "abc"]

    def keep(entry: Found, size: int) -> None:
        kept.keep(entry, entry.variants["identity"], b"x" * size)

    for entry in entries:
        kept.put(entry)
    keep(entries[0], 60)
    keep(entries[1], 40)
    assert (kept.held_bytes, len(kept)) == (100, 3)
    keep(entries[2], 1)
    assert (kept.held_bytes, len(kept)) == (41, 2)
    assert entries[2].variants["identity"].content == b"x"
    entry = found("a")
    kept.put(entry)
    keep(entry, 101)
    assert entry.variants["identity"].content is None
    keep(entry, 100)
    assert (kept.held_bytes, len(kept)) == (100, 1)


def test_one_that_would_push_itself_out_is_not_kept() -> None:
    kept = cache(Disk(**dict.fromkeys("ab", status())), max_bytes=100)
    first, second = found("a"), found("b")
    first.variants["br"] = Variant(b"a.br", status(), b'"y"', 5, {})
    kept.put(first)
    kept.put(second)
    kept.keep(first, first.variants["identity"], b"x" * 60)
    kept.keep(first, first.variants["br"], b"x" * 60)
    assert first.variants["br"].content is None
    assert (kept.held_bytes, len(kept)) == (0, 1)


def test_an_entry_that_is_not_in_keeps_nothing() -> None:
    kept = cache(Disk(a=status()))
    entry = found()
    kept.keep(entry, entry.variants["identity"], b"x")
    assert (entry.variants["identity"].content, kept.held_bytes) == (None, 0)
    none: Any = cache(Disk(a=status()), max_entries=0)
    none.put(entry)
    assert len(none) == 0


def test_a_variant_knows_its_file() -> None:
    variant = Variant(b"a", status(), b'"x"', 5, {})
    assert variant.size == 10
    assert variant.is_of(status())
    assert not variant.is_of(status(modified=5 * NS + 1))
    assert not variant.is_of(status(inode=8))

"""What lies beneath a directory, asked directly; ``test_traversal`` asks over a server."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hardhttp.web import fileroot
from hardhttp.web.fileroot import FileRoot, is_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.txt").write_text("a")
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("sub")
    (tmp_path / "outside.txt").write_text("outside")
    (root / "out").symlink_to("../outside.txt")
    return root


def beneath(path: Path, **options: bool) -> FileRoot:
    return FileRoot(path, **{"dotfiles": False, "follow_symlinks": False, **options})


def test_segments_become_a_path() -> None:
    at = beneath(Path("/srv"))
    assert at.relative([b"a.txt"]) == b"a.txt"
    assert at.relative([b"sub", b"a.txt"]) == b"sub/a.txt"
    assert at.relative([b"sub", b""]) == b"sub/"
    assert at.relative([b""]) == at.relative([]) == b""
    for segments in ([b"", b""], [b"", b"a"], [b"a", b"", b"b"], [b"a/b"], [b".."], [b"a", b".."], [b".", b""]):
        assert at.relative(segments) is None


def test_a_name_has_its_bound() -> None:
    assert is_name(b"a" * 255)
    assert not is_name(b"a" * 256)
    assert is_name("\u00e4".encode() * 127)
    assert not is_name("\u00e4".encode() * 128)
    assert beneath(Path("/srv")).relative([b"a" * 256]) is None


@pytest.mark.parametrize("tells", [True, False])
def test_only_files_and_directories_are_opened(root: Path, tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is not waited for, nor is a device woken: it is never opened for reading."""
    monkeypatch.setattr(fileroot, "_TELLS", tells)
    with beneath(root).visit() as visit:
        for name in (b"fifo", b"out", b"none"):
            with pytest.raises(OSError) as caught:
                visit.open(name)
            assert caught.value.errno in fileroot.ABSENT
        descriptor, place = visit.open(b"sub/a.txt")
        assert (os.read(descriptor, 10), place.is_file, place.straight) == (b"a", True, True)
        os.close(descriptor)
        descriptor, place = visit.open(b"")
        assert (sorted(os.listdir(descriptor))[0], place.is_directory) == ("fifo", True)
        os.close(descriptor)


def test_a_link_within_is_not_straight(root: Path) -> None:
    with beneath(root).visit() as visit:
        assert visit.look(b"link/a.txt").is_file
        assert not visit.look(b"link/a.txt").straight
        assert not visit.look(b"link").straight
        assert visit.look(b"").straight


def test_the_root_may_be_a_link_or_the_root_of_all(root: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("root")
    with beneath(tmp_path / "current").visit() as visit:
        assert visit.look(b"sub/a.txt").straight
        with pytest.raises(FileNotFoundError):
            visit.look(b"out")
    with beneath(Path("/")).visit() as visit:
        assert visit.look(os.fsencode(root / "sub" / "a.txt")[1:]).is_file


def test_a_visit_stays_where_it_began(root: Path, tmp_path: Path) -> None:
    """The root is moved, and another put in its place, between two looks."""
    with beneath(root).visit() as visit:
        assert visit.look(b"sub").is_directory
        os.rename(root, tmp_path / "moved")
        (root / "sub").mkdir(parents=True)
        with pytest.raises(FileNotFoundError):
            visit.look(b"sub/a.txt")  # where it lies now is not where the root lay


@pytest.mark.parametrize("tells", [True, False])
def test_nothing_stays_open(root: Path, tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fileroot, "_TELLS", tells)
    before = len(os.listdir("/proc/self/fd"))
    for name in (b"sub/a.txt", b"fifo", b"out", b"none", b"sub/none", b"link/a.txt", b""):
        with beneath(root).visit() as visit:
            for act in (visit.look, visit.open):
                try:
                    found = act(name)
                except OSError as error:
                    assert error.errno in fileroot.ABSENT  # noqa: PT017
                else:
                    if isinstance(found, tuple):
                        os.close(found[0])
    with beneath(root / "none").visit() as visit, pytest.raises(FileNotFoundError) as caught:
        visit.look(b"a")
    assert caught.value.errno == errno.ENOENT
    assert len(os.listdir("/proc/self/fd")) == before

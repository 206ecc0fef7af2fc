"""The server's own log, as a file that a process and its successor write."""

from __future__ import annotations

from pathlib import Path

from hardhttp.tap.logging import SharedLogFile


def test_two_processes_write_one_file(tmp_path: Path) -> None:
    """A successor begins while its predecessor writes on."""
    one = SharedLogFile.fromFullPath(str(tmp_path / "log"))
    one.write("first\n")
    two = SharedLogFile.fromFullPath(str(tmp_path / "log"))
    two.write("second, and longer\n")
    one.write("third\n")
    two.write("fourth\n")
    assert (tmp_path / "log").read_text() == "first\nsecond, and longer\nthird\nfourth\n"
    two.rotate()
    one.write("fifth\n")
    two.write("sixth\n")
    assert (tmp_path / "log").read_text() == "sixth\n"
    assert (tmp_path / "log.1").read_text().endswith("fourth\nfifth\n")
    one.close()
    two.close()


def test_a_file_that_is_emptied_by_another_begins_at_its_beginning(tmp_path: Path) -> None:
    """logrotate's copytruncate."""
    log = SharedLogFile.fromFullPath(str(tmp_path / "log"))
    log.write("before\n")
    (tmp_path / "log").write_text("")
    log.write("after\n")
    assert (tmp_path / "log").read_bytes() == b"after\n"
    log.close()


def test_a_new_file(tmp_path: Path) -> None:
    log = SharedLogFile.fromFullPath(str(tmp_path / "log"))
    log.write("one\n")
    log.begin_anew()
    log.write("two\n")
    assert (tmp_path / "log.1").read_text() == "one\n"
    (tmp_path / "log").rename(tmp_path / "moved")  # logrotate's, without create
    log.begin_anew()
    log.write("three\n")
    assert (tmp_path / "log").read_text() == "three\n"
    assert (tmp_path / "moved").read_text() == "two\n"
    log.close()

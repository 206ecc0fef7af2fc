"""Uploads: windows on a body, and the names clients give them."""

from __future__ import annotations

import io
import os
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.web.uploads import MAX_NAME_BYTES, KeptBody, Upload, safe_filename
from hardhttp.wire.formdata import PartHead

BODY = bytes(range(256)) * 4


@pytest.fixture(params=["memory", "file"])
def content(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        yield io.BytesIO(BODY)
        return
    with tempfile.TemporaryFile() as file:
        file.write(BODY)
        yield file


def upload(content: IO[bytes], at: int = 100, size: int = 300, filename: str = "x.txt") -> Upload:
    return Upload(PartHead("f", filename, None, None, (("A", "b"),), at), size, KeptBody(content))


def test_a_window(content: IO[bytes]) -> None:
    content.seek(7)
    file = upload(content).file
    assert file.read() == BODY[100:400]
    assert file.read() == b""
    assert file.seek(0) == 0
    assert file.read(10) == BODY[100:110]
    assert file.tell() == 10
    assert file.seek(-5, os.SEEK_END) == 295
    assert file.read(10) == BODY[395:400]
    assert file.seek(2, os.SEEK_CUR) == 302
    assert file.read(1) == b""
    with pytest.raises(ValueError, match="before the beginning"):
        file.seek(-1)
    assert content.tell() == 7  # whoever reads the body itself is not disturbed


def test_a_window_is_a_file_to_others(content: IO[bytes]) -> None:
    one = upload(content)
    assert io.BufferedReader(one.file).read() == BODY[100:400]
    assert io.TextIOWrapper(io.BufferedReader(one.open()), "latin-1", newline="").read(3) == "def"
    assert one.open() is not one.file
    closed = one.open()
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.read()
    assert not one.open().writable()
    with one.file as file:
        assert file.read(1) == BODY[100:101]
    assert one.file.read(1) == BODY[100:101]  # another


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 40)), max_size=10))
def test_a_window_reads_as_a_file_of_its_own_would(steps: list[tuple[int, int]]) -> None:
    window, model = upload(io.BytesIO(BODY), 10, 30).file, io.BytesIO(BODY[10:40])
    for place, size in steps:
        window.seek(place)
        model.seek(place)
        assert window.read(size) == model.read(size)
        assert window.tell() == model.tell()


def test_what_is_known_of_it(content: IO[bytes]) -> None:
    one = upload(content, filename="../a.txt")
    assert (one.name, one.filename, one.safe_filename) == ("f", "../a.txt", "a.txt")
    assert (one.size, one.content_type, one.headers) == (300, "application/octet-stream", (("A", "b"),))
    assert repr(one) == "<Upload 'f': 300 bytes of 'application/octet-stream'>"
    assert one.read() == BODY[100:400]


def test_after_the_request_it_is_closed(content: IO[bytes]) -> None:
    body = KeptBody(content)
    one = Upload(PartHead("f", "x", None, None, (), 0), 10, body)
    assert one.file.read(1) == b"\0"
    body.close()
    assert body.closed
    with pytest.raises(ValueError, match="the request has ended"):
        one.file.read(1)
    with pytest.raises(ValueError, match="the request has ended"):
        one.read()


def test_saved(content: IO[bytes], tmp_path: Path) -> None:
    path = tmp_path / "saved"
    assert upload(content).save_to(path) == 300
    assert path.read_bytes() == BODY[100:400]
    with pytest.raises(FileExistsError):
        upload(content, size=5).save_to(path)
    assert path.read_bytes() == BODY[100:400]
    assert upload(content, size=5).save_to(path, overwrite=True) == 5
    assert path.read_bytes() == BODY[100:105]


def test_half_a_file_is_not_left(content: IO[bytes], tmp_path: Path) -> None:
    one = upload(content, at=1000, size=300)  # longer than the body
    with pytest.raises(OSError, match="shorter"):
        one.save_to(tmp_path / "saved")
    assert not [*tmp_path.iterdir()]


def test_threads_do_not_disturb_each_other() -> None:
    with tempfile.TemporaryFile() as content:
        content.write(BODY * 100)
        body = KeptBody(content)
        found: list[bool] = []

        def read(at: int) -> None:
            one = Upload(PartHead("f", "x", None, None, (), at), 1000, body)
            found.append(all(one.read() == (BODY * 2)[at : at + 1000] for _ in range(200)))

        threads = [threading.Thread(target=read, args=(at,)) for at in (0, 100, 200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True, True, True]


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("Gr\u00fc\u00dfe \u4e2d.txt", "Gr\u00fc\u00dfe \u4e2d.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\x.ini", "x.ini"),
        ("a/b\\c", "c"),
        ("..", "file"),
        (".", "file"),
        ("", "file"),
        ("/", "file"),
        (" . ", "file"),
        (".htaccess", "htaccess"),
        ("...x", "x"),
        ("x. .", "x"),
        ("a\0b\r\nc\x7f\x85", "abc"),
        ("exe.\u202etxt", "exe.txt"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ('<a>:"b"|c?*', "_a___b__c__"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("LPT\xb2", "_LPT\xb2"),
        ("console", "console"),
        ("com10", "com10"),
        ("~", "~"),
    ],
)
def test_safe_names(filename: str, name: str) -> None:
    assert safe_filename(filename) == name


def test_long_names_keep_their_extension() -> None:
    assert safe_filename("a" * 255) == "a" * 255
    assert safe_filename("a" * 300 + ".jpg") == "a" * 251 + ".jpg"
    assert safe_filename("a." + "b" * 300) == "a." + "b" * 253
    name = safe_filename("\u4e2d" * 100 + ".txt")
    assert name.endswith("\u4e2d.txt")
    assert len(name.encode()) <= MAX_NAME_BYTES


@given(st.text(max_size=300))
def test_any_name_is_safe(filename: str) -> None:
    name = safe_filename(filename)
    assert name
    assert not set(name) & set('/\\\0\r\n<>:"|?*')
    assert name[0] != "."
    assert name[-1] not in " ."
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert safe_filename(name) == name

"""A configuration file as words, and what is said of one that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hardhttp.ops.configfile import MAX_FILE_BYTES, ConfigError, Kind, nearest, read_config

KINDS = {
    "listen": Kind.SEVERAL,
    "compress": Kind.FLAG,
    "cors-origins": Kind.JOINED,
    "idle-seconds": Kind.VALUE,
    "max-body-bytes": Kind.VALUE,
    "key": Kind.VALUE,
}


def read(tmp_path: Path, text: str | bytes) -> list[tuple[tuple[str, ...], int]]:
    path = tmp_path / "a.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(setting.words, setting.line) for setting in read_config(str(path), KINDS, ["check"])]


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "a.toml"))
    assert "\n" not in said
    return said.removeprefix(str(tmp_path / "a.toml"))


def test_words(tmp_path: Path) -> None:
    text = """
    # a comment
    listen = ["tcp:80", "unix:/run/a"]
    compress = true
    cors-origins = ["https://a.example", "https://b.example"]
    idle-seconds = 1.5
    max-body-bytes = "10MiB"
    """
    assert read(tmp_path, text) == [
        (("--listen=tcp:80", "--listen=unix:/run/a"), 3),
        (("--compress",), 4),
        (("--cors-origins=https://a.example,https://b.example",), 5),
        (("--idle-seconds=1.5",), 6),
        (("--max-body-bytes=10MiB",), 7),
    ]
    assert read(tmp_path, "compress = false\nlisten = []\nmax-body-bytes = 100") == [
        ((), 1),
        ((), 2),
        (("--max-body-bytes=100",), 3),
    ]
    assert read(tmp_path, "cors-origins = '*'") == [(("--cors-origins=*",), 1)]
    assert read(tmp_path, "") == []


def test_a_key_within_a_text_is_none(tmp_path: Path) -> None:
    text = 'key = """\nidle-seconds = 1\n"""\n"idle-seconds" = 2\n'
    assert read(tmp_path, text) == [(("--key=idle-seconds = 1\n",), 1), (("--idle-seconds=2",), 4)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nidle-second = 1", ", line 2: there is no option 'idle-second'; did you mean idle-seconds?"),
        ("idle_seconds = 1", ", line 1: there is no option 'idle_seconds'; did you mean idle-seconds?"),
        ("zzz = 1", ", line 1: there is no option 'zzz'"),
        ("x" * 200 + " = 1", f", line 1: there is no option '{'x' * 57}...'"),
        ("\n\n[idle-seconds]\na = 1", ", line 3: idle-seconds takes a text or a number, not a table"),
        ("idle-seconds.a = 1", ", line 1: idle-seconds takes a text or a number, not a table"),
        ("\n[limits]\nkey = 1", ", line 2: there are no tables here, and [limits] is one; each option is a key"),
        ("check = true", ", line 1: check is for the command line alone"),
        ("compress = 'yes'", ", line 1: compress takes true or false, not a text"),
        ("compress = 1", ", line 1: compress takes true or false, not a number"),
        ("listen = 'tcp:80'", ', line 1: listen takes a list of texts, such as ["..."], not a text'),
        ("listen = [80]", ', line 1: listen takes a list of texts, such as ["..."], not a list of other things'),
        ("cors-origins = [1]", ", line 1: cors-origins takes a text, or a list of texts, not a list of other things"),
        ("key = true", ", line 1: key takes a text or a number, not true or false"),
        ("key = ['a']", ", line 1: key takes a text or a number, not a list"),
        ("key = 2026-01-01", ", line 1: key takes a text or a number, not a date or a time"),
        ("key = ", " is not TOML: Invalid value (at end of document)"),
        ("a = 1\nkey 2", " is not TOML: Expected '=' after a key in a key/value pair (at line 2, column 5)"),
        (b"key = '\xff'", " is not UTF-8: byte 7"),
        (b"#" * (MAX_FILE_BYTES + 1), f" is longer than {MAX_FILE_BYTES} bytes"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert refusal(tmp_path, text) == said


def test_at_the_largest_size(tmp_path: Path) -> None:
    assert read(tmp_path, b"#" * MAX_FILE_BYTES) == []


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml cannot be read: No such file"):
        read_config(os.fspath(tmp_path / "none.toml"), KINDS)


def test_a_refused_value_is_not_quoted(tmp_path: Path) -> None:
    assert "sesame" not in refusal(tmp_path, "compress = 'sesame'")
    assert "sesame" not in refusal(tmp_path, "key = ['sesame']")
    assert "sesame" not in repr(read_config(os.fspath(_write(tmp_path, "key = 'sesame'")), KINDS))


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "b.toml"
    path.write_text(text)
    return path


def test_nearest() -> None:
    assert nearest("Idle_Second", KINDS) == "idle-seconds"
    assert nearest("q", KINDS) is None
    assert nearest("bad-key", ["admin-token", "listen"]) is None

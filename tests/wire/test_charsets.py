"""Charsets by the labels that peers give them."""

from __future__ import annotations

import codecs
import encodings

import pytest

from hardhttp.wire.charsets import MAX_LABEL, holds_ascii, text_codec


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("utf-8", "utf_8"),
        ("UTF8", "utf_8"),
        (" utf-8 ", "utf_8"),
        ("us-ascii", "ascii"),
        ("ISO-8859-1", "latin_1"),
        ("latin-1", "latin_1"),
        ("iso-8859-15", "iso8859_15"),
        ("windows-1252", "cp1252"),
        ("Shift_JIS", "shift_jis"),
        ("euc-kr", "euc_kr"),
        ("gb18030", "gb18030"),
        ("koi8-u", "koi8_u"),
        ("utf-16", "utf_16"),
    ],
)
def test_known(label: str, codec: str) -> None:
    assert text_codec(label) == codec
    codecs.lookup(codec)


@pytest.mark.parametrize(
    "label",
    ["", "klingon", "zlib", "hex", "base64", "rot13", "bz2", "uu", "quopri", "utf-7", "idna", "punycode"]
    + ["unicode_escape", "unicode-escape", "raw_unicode_escape", "undefined", "mbcs", "../utf_8", "os", "utf-8\0"]
    + ["\u0166tf-8", "utf-8" + "8" * MAX_LABEL],
)
def test_unknown_and_unwanted(label: str) -> None:
    assert text_codec(label) is None


def test_what_a_peer_makes_up_is_remembered_nowhere() -> None:
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for i in range(100):
        text_codec(f"made-up-{i}")
    assert len(encodings._cache) == before  # type: ignore[attr-defined]


def test_each_codec_is_of_text() -> None:
    for alias in encodings.aliases.aliases:
        codec = text_codec(alias)
        if codec is not None:
            assert isinstance(b"".decode(codec), str)


def test_which_hold_ascii() -> None:
    assert all(map(holds_ascii, ["utf_8", "latin_1", "gb18030"]))
    assert not any(map(holds_ascii, ["utf_16", "cp037"]))

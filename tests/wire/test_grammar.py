"""The grammar's patterns, where the messages built of them do not show them."""

from __future__ import annotations

import pytest

from hardhttp.wire.grammar import CHUNK_LINE, FIELD_LINES, FIELD_VALUE, HOST, TARGET, TOKEN, VERSION, list_items

# RFC 9110, 5.6.2, said another way.
TCHARS = frozenset(b"!#$%&'*+-.^_`|~") | frozenset(c for c in range(128) if chr(c).isascii() and chr(c).isalnum())
EVERY_BYTE = [bytes([c]) for c in range(256)]


def taken(pattern: object) -> frozenset[int]:
    """The bytes ``pattern`` takes alone."""
    return frozenset(c[0] for c in EVERY_BYTE if pattern.fullmatch(c))  # type: ignore[attr-defined]


def test_token() -> None:
    assert taken(TOKEN) == TCHARS
    assert TOKEN.fullmatch(b"") is None
    assert TOKEN.fullmatch(b"a\n") is None


def test_field_value() -> None:
    assert taken(FIELD_VALUE) == frozenset({9, *range(0x20, 0x7F), *range(0x80, 0x100)})
    assert FIELD_VALUE.fullmatch(b"a\n") is None
    assert FIELD_VALUE.fullmatch(b"") is not None


def test_target() -> None:
    assert taken(TARGET) == frozenset(range(0x21, 0x7F)) - {ord("#")}
    assert TARGET.fullmatch(b"/\n") is None


def test_version() -> None:
    assert VERSION.fullmatch(b"HTTP/1.1")
    assert not any(VERSION.fullmatch(v) for v in (b"HTTP/1.1\n", b"http/1.1", b"HTTP/1.\xb2", b"HTTP/11"))


def test_field_lines() -> None:
    assert FIELD_LINES.fullmatch(b"")
    assert FIELD_LINES.fullmatch(b"A:\r\nB: c\r\n")
    assert not any(FIELD_LINES.fullmatch(v) for v in (b"A:", b"A: b\n", b"\r\n", b" A: b\r\n", b"A: b\r\n c\r\n"))


def test_host_ends_where_it_says() -> None:
    assert not any(HOST.fullmatch(v) for v in (b"a\n", b"[::1]\n", b"a:80\n"))


@pytest.mark.parametrize(
    ("pattern", "attack"),
    [
        (CHUNK_LINE, b"0" + b";a" * 2000 + b"="),
        (CHUNK_LINE, b"0" + b" ;a" * 1300 + b"\0"),
        (CHUNK_LINE, b"0;" + b"a" * 4000 + b" " * 90 + b"\0"),
        (CHUNK_LINE, b'0;a="' + b"\\" * 4000),
        (FIELD_LINES, b"A: b\r\n" * 5000 + b"\0"),
        (FIELD_LINES, b"A" * 32_000),
        (HOST, b"%41" * 10_000 + b"\0"),
        (HOST, b"a" * 30_000 + b"\0"),
        (HOST, b"[" + b":" * 30_000),
    ],
)
def test_patterns_do_not_explode(pattern: object, attack: bytes) -> None:
    """As slow as the input is long; were one not, this test would not end."""
    assert pattern.fullmatch(attack) is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("values", "items"),
    [
        ([], []),
        ([b""], []),
        ([b"a"], [b"a"]),
        ([b"A, b\t,C"], [b"a", b"b", b"c"]),
        ([b",, a ,,b,"], [b"a", b"b"]),
        ([b"a", b"b, c"], [b"a", b"b", b"c"]),
    ],
)
def test_list_items(values: list[bytes], items: list[bytes]) -> None:
    assert list_items(values) == items

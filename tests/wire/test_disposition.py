"""Names of files in a header."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.disposition import content_disposition

FIELD = re.compile(
    rb'attachment; filename="[ !#$&-\[\]-~\x27]*"(; filename\*=UTF-8\'\'(?:[A-Za-z0-9!#$&+\-.^_`|~]|%[0-9A-F]{2})*)?'
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("a.txt", b'attachment; filename="a.txt"'),
        ("a b.txt", b'attachment; filename="a b.txt"'),
        ("na\u00efve.txt", b"attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ("\u20ac rates", b"attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates"),
        ('a"b', b"attachment; filename=\"a_b\"; filename*=UTF-8''a%22b"),
        ("100%", b"attachment; filename=\"100_\"; filename*=UTF-8''100%25"),
        ("../../etc/passwd", b'attachment; filename=".._.._etc_passwd"'),
        ("c:\\a", b'attachment; filename="c:_a"'),
        ("a\r\nX: y", b'attachment; filename="a__X: y"'),
        ("a\u202egpj.exe", b'attachment; filename="a_gpj.exe"'),
        ("\ud800", b'attachment; filename="_"'),
        ("", b'attachment; filename=""'),
    ],
)
def test_names(name: str, value: bytes) -> None:
    assert content_disposition(name) == value


def test_kinds() -> None:
    assert content_disposition("a", "inline") == b'inline; filename="a"'
    with pytest.raises(ValueError):
        content_disposition("a", "form-data")


@given(st.text())
def test_any_name_is_one_field(name: str) -> None:
    assert FIELD.fullmatch(content_disposition(name)) is not None

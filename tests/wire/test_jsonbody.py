"""JSON from a peer: what is taken, and what is refused in which words."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.jsonbody import PIECE_BYTES, JSONError, deeper_than, parse_json

DEPTH = 64
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('[]{}"\\,a\u00e9'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[]{}"\\a'), inner, max_size=4),
    max_leaves=20,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def refused(data: bytes, **options: Any) -> str:
    with pytest.raises(JSONError) as raised:
        parse_json(data, DEPTH, **options)
    return str(raised.value)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_was_said_is_heard(value: Any, indent: int | None, ascii: bool) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=ascii).encode()
    assert parse_json(data, DEPTH) == value
    assert parse_json(b"\xef\xbb\xbf" + data, DEPTH) == value


@given(VALUES, st.integers(0, 4))
def test_depth_is_that_of_the_value(value: Any, max_depth: int) -> None:
    assert deeper_than(json.dumps(value).encode(), max_depth) is (depth_of(value) > max_depth)


@given(st.text('[]{}"\\,:a1', max_size=60).map(str.encode), st.integers(1, 4))
def test_no_malformed_text_goes_deeper_than_was_judged(data: bytes, max_depth: int) -> None:
    """As deep as the parser goes is one more than the brackets open before it stops."""
    if deeper_than(data, max_depth):
        return
    try:
        json.loads(data)
        read = len(data)
    except json.JSONDecodeError as error:
        read = error.pos
    within, escaped, depth = False, False, 0
    for byte in data[:read].decode():
        if within:
            within, escaped = escaped or byte != '"', byte == "\\" and not escaped
        elif byte == '"':
            within = True
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(byte, 0)
            assert depth <= max_depth


@given(st.binary(max_size=60))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        parse_json(data, 3)
    except JSONError:
        pass


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_as_deep_as_is_allowed_and_one_more(opened: bytes, closed: bytes) -> None:
    for depth in (DEPTH, DEPTH + 1):
        data = opened * depth + b"1" + closed * depth
        if depth == DEPTH:
            assert depth_of(parse_json(data, DEPTH)) == DEPTH
        else:
            assert refused(data) == "the body has more than 64 arrays and objects within each other"


def test_a_body_of_brackets_does_not_recurse() -> None:
    assert "within each other" in refused(b"[" * 1_000_000)
    assert "within each other" in refused(b'[{"a":' * 300_000)


def test_brackets_in_strings_are_text() -> None:
    data = json.dumps(["[" * 1000, '"[' * 100, "\\", '\\"[[[' * 100, "{" * PIECE_BYTES, "]" * 3]).encode()
    assert parse_json(data, 1)[0] == "[" * 1000
    assert refused(b"[" * 10 + data + b"]" * (DEPTH - 10) + b"]" * 10)


def test_strings_longer_than_a_piece() -> None:
    """A string may begin in one piece and end in another, with brackets on both sides of every border."""
    for shift in range(3):
        data = b"[" + b'"[",' * (PIECE_BYTES // 2) + b'"' + b"]" * (2 * PIECE_BYTES + shift) + b'",[]]'
        assert not deeper_than(data, 2)
        assert deeper_than(data, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the body is empty, not JSON"),
        (b" \r\n\t", "the body is empty, not JSON"),
        (b"\xef\xbb\xbf", "the body is empty, not JSON"),
        (b"\xff\xfe1\0", "the body is not UTF-8 at byte 1"),
        (b'"ab\xe9"', "the body is not UTF-8 at byte 4"),
        (b'{"a": 1,\n "b": secret}', "the body is not JSON: line 2, column 7: Expecting value"),
        (b"[1] secret", "the body is not JSON: line 1, column 5: Extra data"),
        (b'["\\s"]', "the body is not JSON: line 1, column 3: Invalid \\escape"),
        (b'["secret', "the body is not JSON: line 1, column 2: Unterminated string"),
        (b'["a\nb"]', "the body is not JSON: line 1, column 4: Invalid control character"),
        (b"NaN", "NaN and Infinity are not JSON"),
        (b"[-Infinity]", "NaN and Infinity are not JSON"),
        (b"1e999", "the body has a number too large for a float"),
        (b"9" * (sys.int_info.default_max_str_digits + 1), "the body has a number with too many digits"),
        (b'"\\ud800"', "the body has half a surrogate pair"),
        (b'"\\udc00"', "the body has half a surrogate pair"),
        (b'"\\\\\\uD800x"', "the body has half a surrogate pair"),
        (b'"\\uD83D\\uD83D\\uDE00"', "the body has half a surrogate pair"),
        (b'"\\uD83D\\\\\\uDE00"', "the body has half a surrogate pair"),  # a backslash between the halves
    ],
)
def test_refused(data: bytes, said: str) -> None:
    assert refused(data) == said


def test_numbers_and_pairs_at_their_bounds() -> None:
    assert parse_json(b"9" * sys.int_info.default_max_str_digits, DEPTH) > 0
    assert parse_json(b"1e308", DEPTH) == 1e308
    assert parse_json(b'"\\uD83D\\uDE00 \\\\ud800"', DEPTH) == "\U0001f600 \\ud800"


def test_equal_names() -> None:
    assert parse_json(b'{"a": 1, "a": 2}', DEPTH) == {"a": 2}
    assert refused(b'[{"a": 1, "a": 2}]', unique_keys=True) == "the body has an object with two equal names"
    assert parse_json(b'{"a": 1, "b": {"a": 2}}', DEPTH, unique_keys=True) == {"a": 1, "b": {"a": 2}}

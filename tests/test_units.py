"""Sizes and times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.units import (
    UnitError,
    format_seconds,
    format_size,
    parse_count,
    parse_seconds,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("10MiB", 10 << 20),
        ("10mib", 10 << 20),
        ("10 MiB", 10 << 20),
        (" 10MiB ", 10 << 20),
        ("64k", 64 << 10),
        ("64K", 64 << 10),
        ("64KiB", 64 << 10),
        ("64kB", 64_000),
        ("10MB", 10_000_000),
        ("10m", 10 << 20),
        ("1.5GiB", 3 << 29),
        ("1g", 1 << 30),
        ("1t", 1 << 40),
        ("1TiB", 1 << 40),
        ("240b", 240),
        ("0.5k", 512),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("90", 90.0),
        ("90s", 90.0),
        ("2m", 120.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        ("1d", 86_400.0),
        ("500ms", 0.5),
        ("10ms", 0.01),
        ("1.5 h", 5400.0),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds
    assert type(parse_seconds(text)) is float


@pytest.mark.parametrize(
    "text", ["", " ", "-1", "+1", "1e3", "0x10", "10Mi B", "10 M i", "MiB", "1_000", "1,000", "1..5", ".5", "5.", "nan"]
)
def test_neither_a_size_nor_a_time(text: str) -> None:
    for parse in (parse_size, parse_seconds, parse_count):
        with pytest.raises(UnitError) as caught:
            parse(text)
        assert repr(text) in str(caught.value)
        assert "such as" in str(caught.value)


@pytest.mark.parametrize("text", ["10XiB", "10bytes", "2sec", "1kk"])
def test_an_unknown_size_names_the_unit(text: str) -> None:
    with pytest.raises(UnitError, match="there is no unit"):
        parse_size(text)


@pytest.mark.parametrize("text", ["2M", "2H", "2weeks", "10MiB", "2 MS"])
def test_an_unknown_time_names_the_unit(text: str) -> None:
    with pytest.raises(UnitError, match="there is no unit"):
        parse_seconds(text)


@pytest.mark.parametrize("text", ["1.5", "0.3k", "0.0000001MB", "1.000000001TiB"])
def test_a_size_is_whole_bytes(text: str) -> None:
    with pytest.raises(UnitError, match="whole number of bytes"):
        parse_size(text)


@pytest.mark.parametrize("text", ["1.0", "1k", "1s", "٣", "²"])
def test_a_count_has_no_unit(text: str) -> None:
    with pytest.raises(UnitError, match="whole number"):
        parse_count(text)


def test_digits_of_other_scripts_are_not_numbers() -> None:
    for parse in (parse_size, parse_seconds):
        with pytest.raises(UnitError):
            parse("٣")


def test_what_is_quoted_back_is_short_and_escaped() -> None:
    for parse in (parse_size, parse_seconds, parse_count):
        with pytest.raises(UnitError) as caught:
            parse("9" * 5000)
        assert len(str(caught.value)) < 160
        with pytest.raises(UnitError) as caught:
            parse("1\x1b[2J")
        assert "\x1b" not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_size, parse_seconds, parse_count):
        try:
            assert parse(text) >= 0
        except UnitError:
            pass


@given(st.integers(0, 1 << 50))
def test_a_written_size_parses_to_itself(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 86_400_000).map(lambda ms: ms / 1000) | st.integers(0, 100_000).map(float))
def test_a_written_time_parses_to_itself(seconds: float) -> None:
    assert parse_seconds(format_seconds(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (120.0, "2m"),
        (20.0, "20s"),
        (0.01, "10ms"),
        (86_400.0, "1d"),
        (3600.0, "1h"),
        (1.5, "1.5s"),
        (0.0, "0s"),
        (0.125, "125ms"),
        (0.0625, "0.0625s"),
    ],
)
def test_times_are_written_in_their_largest_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (240, "240"), (65536, "64KiB"), (10 << 20, "10MiB"), (1 << 40, "1TiB")]
)
def test_sizes_are_written_in_their_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text

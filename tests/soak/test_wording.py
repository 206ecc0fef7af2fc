"""Figures as people read them."""

from __future__ import annotations

from hardhttp.soak.wording import bytes_text, count_text, milliseconds_text, seconds_text, share_text


def test_figures() -> None:
    sizes = [0, 999, 1000, 1536, 10 * 1024, 1 << 20, -300 * 1024, 41.25 * (1 << 20), 1023 * 1024, 3 << 30]
    assert [bytes_text(size) for size in sizes] == [
        *("0 B", "999 B", "0.98 KiB", "1.5 KiB", "10 KiB", "1 MiB", "-300 KiB", "41.2 MiB", "1 MiB", "3 GiB")
    ]
    assert [milliseconds_text(each) for each in (0.25, 12.34, 999.4, 1250)] == [
        "0.25 ms",
        "12.3 ms",
        "999 ms",
        "1.25 s",
    ]
    assert [seconds_text(each) for each in (0, 45, 125, 3 * 3600, 187_200)] == [
        *("0 s", "45 s", "2:05 min", "3:00 h", "2 d 4 h")
    ]
    assert [share_text(each) for each in (0, 0.005, 1)] == ["0 %", "0.5 %", "100 %"]
    assert count_text(12_000.0) == "12,000"

"""When to come back."""

from __future__ import annotations

import pytest

from hardhttp.wire.retryafter import parse_retry_after

DATE = b"Tue, 14 Nov 2023 22:13:20 GMT"  # 1,700,000,000
MINUTE_LATER = b"Tue, 14 Nov 2023 22:14:20 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (b"", None),
        (b"0", 0),
        (b" 120\t", 120),
        (b"9" * 5000, 3_153_600_000),
        (b"-1", None),
        (b"1.5", None),
        (b"+1", None),
        (b"\xb2", None),
        (b"soon", None),
        (MINUTE_LATER, 50),
        (DATE, 0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 3_153_600_000),
    ],
)
def test_from_now(value: bytes | None, seconds: float | None) -> None:
    assert parse_retry_after(value, 1_700_000_010) == seconds


def test_a_date_is_reckoned_from_the_servers_own() -> None:
    assert parse_retry_after(MINUTE_LATER, 5.0, DATE) == 60
    assert parse_retry_after(MINUTE_LATER, 1_700_000_010, b"yesterday") == 50

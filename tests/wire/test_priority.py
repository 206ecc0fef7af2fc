"""What a client says of which response it wants first (RFC 9218, 4)."""

from __future__ import annotations

import pytest

from hardhttp.wire.priority import Priority, parse_priority


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (b"", Priority(3, False)),
        (b"u=0", Priority(0, False)),
        (b"u=7, i", Priority(7, True)),
        (b"i, u=1", Priority(1, True)),
        (b"i=?1,u=2", Priority(2, True)),
        (b"i, i=?0", Priority(3, False)),
        (b"u=1, u=5", Priority(5, False)),  # RFC 9651, 4.2.2: the last counts
        (b"u=1;x=2, i;y", Priority(1, True)),
        # What is of another type, or beyond its bounds, or unknown, is passed over.
        (b"u=8", Priority(3, False)),
        (b"u=-1", Priority(3, False)),
        (b'u="1", i=1, j, x=(1 2)', Priority(3, False)),
        (b"u=1.5,i", Priority(3, True)),
        (b"\xff\xfe,,u=2", Priority(2, False)),
        (b"u=2" + b" " * 61, Priority(2, False)),
        (b"u=2" + b" " * 62, None),
    ],
)
def test_values(value: bytes, meant: Priority | None) -> None:
    assert parse_priority(value) == meant

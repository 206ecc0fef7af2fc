"""RFC 9110, 12.5: what a client prefers among what there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.negotiation import MAX_MEMBERS, preferred, preferred_coding

HTML, JSON, PLAIN = "text/html", "application/json", "text/plain"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, HTML),
        (b"", HTML),
        (b"*/*", HTML),
        (b"text/html", HTML),
        (b"application/json", JSON),
        (b"application/json, */*", JSON),  # what is named goes before what is let in
        (b"application/json, text/plain, */*", JSON),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        (b"application/*", JSON),
        (b"text/html;q=0.5, application/json", JSON),
        (b"text/html;q=0.5, application/json;q=0.4", HTML),
        (b"text/html;q=0, */*", JSON),  # the most specific range gives the weight (12.5.1)
        (b"text/*;q=0.3, text/html;q=0.7, */*;q=0.5", HTML),
        (b"TEXT/HTML", HTML),
        (b"text/html;level=1", HTML),
        (b"application/json; charset=utf-8 ; q=0.9, text/html ; q=0.8", JSON),
        (b"image/png", None),
        (b"text/html;q=0", None),
        (b"*/*;q=0", None),
        (b"text/html;q=2, application/json;q=0.1", JSON),  # no weight: as if it were not there
        (b"text/html;q=-1, application/json;q=0.1", JSON),
        (b"text/html;q=0.1234, application/json;q=0.1", JSON),
        (b"text/html;q=, application/json;q=0.1", JSON),
        (b"text/html;q=1.000", HTML),
        (b",,;;,\xff, application/json", JSON),
    ],
)
def test_accept(accept: bytes | None, expected: str | None) -> None:
    assert preferred(accept, [HTML, JSON]) == expected


def test_our_order_is_the_last_word() -> None:
    assert preferred(b"application/json, text/html", [HTML, JSON]) == HTML
    assert preferred(b"application/json, text/html", [JSON, HTML]) == JSON
    assert preferred(None, []) is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "identity"),
        (b"", "identity"),
        (b"gzip, deflate, br, zstd", "br"),
        (b"gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"x-gzip", "gzip"),
        (b"gzip;q=1.0, br;q=0.5", "gzip"),
        (b"gzip;q=0, br;q=0", "identity"),
        (b"*", "br"),
        (b"br;q=0, *", "gzip"),
        (b"*;q=0", None),
        (b"*;q=0, gzip", "gzip"),
        (b"*;q=0, identity", "identity"),
        (b"identity;q=0", None),
        (b"identity;q=0, gzip;q=0.1", "gzip"),
        (b"identity, gzip;q=0.5", "identity"),
        (b"identity;q=0.5, gzip;q=0.5", "gzip"),
        (b"identity;q=0.5, deflate", "identity"),
        (b"deflate", "identity"),
        (b"gzip;q=nonsense", "identity"),
    ],
)
def test_accept_encoding(accept: bytes | None, expected: str | None) -> None:
    assert preferred_coding(accept, ["br", "gzip"]) == expected


def test_only_the_first_members_count() -> None:
    assert preferred(b"a/b," * (MAX_MEMBERS - 1) + b"text/html", [HTML]) == HTML
    assert preferred(b"a/b," * MAX_MEMBERS + b"text/html", [HTML]) is None


@given(st.binary(max_size=200))
def test_nothing_raises(header: bytes) -> None:
    assert preferred(header, [HTML, JSON]) in (HTML, JSON, None)
    assert preferred_coding(header, ["br", "gzip"]) in ("br", "gzip", "identity", None)

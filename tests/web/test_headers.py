"""Response headers: the quick way and the ordinary one say the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.web.http_headers import Headers

from hardhttp.testing import Rig
from hardhttp.web.headers import PLAIN_NAMES, ResponseHeaders
from tests.web.saying import GET, Says

NAMES = [*PLAIN_NAMES, b"X-Other", "x-other", b"Content-Length", b"ETag", b"cOnTeNt-TyPe", b"Set-Cookie"]


def test_they_begin_with_server_date_and_what_was_set() -> None:
    headers = ResponseHeaders(b"server", b"date", {b"Cache-Control": b"no-store"})
    assert isinstance(headers, Headers)
    assert dict(headers.getAllRawHeaders()) == {
        b"Server": [b"server"],
        b"Date": [b"date"],
        b"Cache-Control": [b"no-store"],
    }
    headers.setRawHeaders("cache-control", ["private"])
    assert headers.getRawHeaders(b"CACHE-CONTROL") == [b"private"]


def test_every_spelling_leads_to_the_name_that_twisted_sends() -> None:
    for spelling, name in PLAIN_NAMES.items():
        headers = Headers()
        headers.setRawHeaders(spelling, [b"value"] if isinstance(spelling, bytes) else ["value"])
        assert [sent for sent, _ in headers.getAllRawHeaders()] == [name]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([b"1", b"2", b"", b" x "])), max_size=6), st.booleans()
)
def test_both_ways_say_the_same(fields: list[Any], looked_at: bool) -> None:
    """Looking at ``responseHeaders`` half-way changes nothing of what is sent."""

    def answer(request: Any) -> bytes:
        for number, (name, value) in enumerate(fields):
            if looked_at and number == len(fields) // 2:
                request.responseHeaders.getRawHeaders(b"x")
            request.setHeader(name, value if isinstance(name, bytes) else value.decode())
        return b"body"

    with Rig(Says(answer)) as rig:
        (response,) = rig.exchange(GET)
    expected = Headers()
    for name, value in fields:
        expected.setRawHeaders(name, [value] if isinstance(name, bytes) else [value.decode()])
    expected.setRawHeaders(b"content-length", [b"4"])
    for name, values in expected.getAllRawHeaders():
        assert [value for sent, value in response.headers if sent == name.lower()] == [v.strip() for v in values]


def test_an_upgrade_option_stays_beside_close() -> None:
    """RFC 9110, 7.8: Upgrade needs the connection option, also in a 426 that closes."""

    def required(request: Any) -> bytes:
        request.setResponseCode(426)
        request.setHeader(b"Upgrade", b"websocket")
        request.setHeader(b"Connection", b"Upgrade")
        return b""

    with Rig(Says(required)) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        (response,) = peer.responses()
        assert response.status == 426
        assert b"Connection: Upgrade\r\nConnection: close\r\n" in bytes(peer.received)

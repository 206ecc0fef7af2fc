"""From fields to a request's head: what is malformed, what is refused, and what HTTP/1.1 would have made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.errors import Fault
from hardhttp.limits import Limits
from hardhttp.wire.head import HeadParser
from hardhttp.wire.http2 import ErrorCodes, StreamFault
from hardhttp.wire.http2head import StreamHead, request_head, trailers

LIMITS = Limits()
PSEUDO = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a")]


def head(*more: tuple[bytes, bytes], pseudo: object = PSEUDO, ended: bool = True) -> StreamHead:
    return request_head([*pseudo, *more], ended, LIMITS)  # type: ignore[misc]


def changed(name: bytes, value: bytes | None) -> list[tuple[bytes, bytes]]:
    """The pseudo-header fields, one of them changed or left out."""
    return [(known, value if known == name else old) for known, old in PSEUDO if known != name or value is not None]  # type: ignore[misc]


def test_what_a_head_says() -> None:
    made = head((b"accept", b"*/*"), (b"cookie", b"a=1"), (b"x", b""), (b"cookie", b"b=2"))
    assert (made.method, made.target, made.version, made.authority) == (b"GET", b"/", b"HTTP/2.0", b"a")
    assert made.fields == [(b"host", b"a"), (b"accept", b"*/*"), (b"x", b""), (b"cookie", b"a=1; b=2")]
    assert made.lines == b"\r\nhost: a\r\naccept: */*\r\nx: \r\ncookie: a=1; b=2\r\n\r\n"
    assert (made.content_length, made.chunked, made.has_body, made.keep_alive, made.upgrade) == (
        None,
        False,
        False,
        True,
        False,
    )


def test_how_a_body_is_framed() -> None:
    assert head(ended=False).chunked
    sized = head((b"content-length", b"007"), ended=False)
    assert (sized.content_length, sized.chunked, sized.has_body) == (7, False, True)
    assert head((b"content-length", b"0")).content_length == 0
    assert head((b"expect", b"100-Continue"), ended=False).expect_continue
    assert not head((b"expect", b"100-continue")).expect_continue


MALFORMED = {
    "no method": changed(b":method", None),
    "no path": changed(b":path", None),
    "no scheme": changed(b":scheme", None),
    "a method that is no token": changed(b":method", b"GE T"),
    "a pseudo-header field twice": [*PSEUDO, (b":path", b"/")],
    "one of a response": [*PSEUDO, (b":status", b"200")],
    "one nobody knows": [*PSEUDO, (b":protocol", b"websocket")],
    "an empty target": changed(b":path", b""),
    "an empty scheme": changed(b":scheme", b""),
    "a scheme with a star": changed(b":scheme", b"http*"),
    "a scheme that begins with a digit": changed(b":scheme", b"1http"),
    "a scheme of two lines": changed(b":scheme", b"http\r\nx"),
    "one behind a field": [*PSEUDO[:3], (b"x", b"y"), PSEUDO[3]],
    "an upper-case name": [*PSEUDO, (b"X", b"y")],
    "an empty name": [*PSEUDO, (b"", b"y")],
    "a name with a blank": [*PSEUDO, (b"a b", b"y")],
    "a name with a colon": [*PSEUDO, (b"a:b", b"y")],
    "a name that is two lines": [*PSEUDO, (b"a: b\r\nc", b"y")],
    "CR in a value": [*PSEUDO, (b"x", b"a\rb")],
    "LF in a value": [*PSEUDO, (b"x", b"a\nb")],
    "NUL in a value": [*PSEUDO, (b"x", b"a\0b")],
    "a blank before a value": [*PSEUDO, (b"x", b" a")],
    "a tab behind a value": [*PSEUDO, (b"x", b"a\t")],
    "connection": [*PSEUDO, (b"connection", b"close")],
    "keep-alive": [*PSEUDO, (b"keep-alive", b"1")],
    "proxy-connection": [*PSEUDO, (b"proxy-connection", b"close")],
    "transfer-encoding": [*PSEUDO, (b"transfer-encoding", b"chunked")],
    "upgrade": [*PSEUDO, (b"upgrade", b"h2c")],
    "te": [*PSEUDO, (b"te", b"trailers, gzip")],
    "a length of letters": [*PSEUDO, (b"content-length", b"x")],
    "a negative length": [*PSEUDO, (b"content-length", b"-1")],
    "one length twice": [*PSEUDO, (b"content-length", b"0"), (b"content-length", b"0")],
    "two lengths": [*PSEUDO, (b"content-length", b"1"), (b"content-length", b"2")],
    "a body that is announced and not there": [*PSEUDO, (b"content-length", b"1")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_malformed(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(StreamFault) as raised:
        request_head(fields, True, LIMITS)
    assert raised.value.code is ErrorCodes.PROTOCOL_ERROR


REFUSED = {
    "CONNECT": ([(b":method", b"CONNECT"), (b":authority", b"a:1")], 501),
    "no host at all": (changed(b":authority", None), 400),
    "an empty one": (changed(b":authority", b""), 400),
    "one with a user": (changed(b":authority", b"me@a"), 400),
    "another Host": ([*PSEUDO, (b"host", b"b")], 400),
    "two Hosts": ([*PSEUDO, (b"host", b"a"), (b"host", b"a")], 400),
    "a target that is no path": (changed(b":path", b"x"), 400),
    "a star": (changed(b":path", b"*"), 400),
    "a fragment": (changed(b":path", b"/#x"), 400),
    "an absolute target": (changed(b":path", b"http://a/"), 400),
    "another expectation": ([*PSEUDO, (b"expect", b"x")], 417),
    "an authority without a host": (changed(b":authority", b":80"), 400),
    "a length beyond any bound": ([*PSEUDO, (b"content-length", b"%d" % 2**64)], 400),
}


@pytest.mark.parametrize(("fields", "status"), REFUSED.values(), ids=REFUSED)
def test_refused(fields: list[tuple[bytes, bytes]], status: int) -> None:
    with pytest.raises(Fault) as raised:
        request_head(fields, False, LIMITS)
    assert raised.value.status == status


@pytest.mark.parametrize("scheme", [b"http", b"https", b"HTTPS", b"coap+tcp", b"z39.50-r"])
def test_schemes_are_not_heeded(scheme: bytes) -> None:
    assert request_head(changed(b":scheme", scheme), True, LIMITS).target == b"/"


def test_host_stands_for_an_authority_that_is_missing() -> None:
    assert request_head([*changed(b":authority", None), (b"host", b"b")], True, LIMITS).authority == b"b"
    assert head((b"host", b"A")).authority == b"a"


def test_bounds_and_one_past_them() -> None:
    limits = Limits(max_head_bytes=300, max_headers=3, max_target_bytes=16)
    for fields, allowed in (
        ([*changed(b":path", b"/" * 16)], True),
        ([*changed(b":path", b"/" * 17)], False),
        ([*PSEUDO, *[(b"x", b"y")] * 3], True),
        ([*PSEUDO, *[(b"x", b"y")] * 4], False),
        ([*PSEUDO, (b"x", b"y" * 295)], True),
        ([*PSEUDO, (b"x", b"y" * 296)], False),
    ):
        if allowed:
            request_head(fields, True, limits)
            continue
        with pytest.raises(Fault) as raised:
            request_head(fields, True, limits)
        assert raised.value.status in (414, 431)


def test_a_head_like_the_one_before_is_made_from_it() -> None:
    first = head((b"accept", b"*/*"))
    first.memo = "kept"
    again = request_head([*changed(b":path", b"/other"), (b"accept", b"*/*")], True, LIMITS, first)
    assert (again.target, again.memo, again.authority) == (b"/other", "kept", b"a")
    assert again.fields is first.fields
    for other in (
        [*PSEUDO, (b"accept", b"*")],
        [*changed(b":authority", b"b"), (b"accept", b"*/*")],
    ):
        assert request_head(other, True, LIMITS, first).memo is None
    assert request_head([*PSEUDO, (b"accept", b"*/*")], False, LIMITS, first).memo is None
    sized = head((b"content-length", b"0"))
    assert not sized.repeatable


def test_trailers() -> None:
    assert trailers([(b"x", b"y")], LIMITS) == [(b"x", b"y")]
    with pytest.raises(StreamFault):
        trailers([(b":path", b"/")], LIMITS)
    with pytest.raises(Fault):
        trailers([(b"x", b"y")] * 101, LIMITS)


SAFE = st.text("abcXYZ019 -_/=;,", max_size=20).map(lambda text: text.strip().encode())


@given(values=st.lists(SAFE, max_size=5), path=st.text("abc/%20?=&", max_size=20))
def test_the_same_message_makes_the_same_head(values: list[bytes], path: str) -> None:
    target = b"/" + path.encode()
    fields = [(b"x-%d" % number, value) for number, value in enumerate(values)]
    said = b"".join(b"%b: %b\r\n" % field for field in fields)
    parsed = HeadParser().parse(b"GET %b HTTP/1.1\r\nhost: a\r\n%b\r\n" % (target, said), 0, LIMITS)
    assert parsed is not None
    made = request_head([*changed(b":path", target), *fields], True, LIMITS)
    assert (made.method, made.target, made.authority) == (parsed[0].method, parsed[0].target, parsed[0].authority)
    assert made.fields == parsed[0].fields

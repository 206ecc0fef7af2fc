"""Request heads: what is taken, what is refused and how, however the bytes are split.

Which clause of the RFC a refusal obeys is said in ``tests/test_rfc9112.py``; here is the parser alone.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from hardhttp.errors import Fault, LimitFault, OurFault, PeerFault, Reason
from hardhttp.limits import Limits
from hardhttp.testing import every_split
from hardhttp.wire.head import Head, HeadParser

LIMITS = Limits(max_head_bytes=256, max_target_bytes=64, max_headers=4)
SHOWN = ("method", "target", "version", "authority", "content_length", "chunked", "keep_alive", "expect_continue")


def shown(head: Head) -> tuple[Any, ...]:
    return (*(getattr(head, name) for name in SHOWN), head.upgrade, tuple(head.fields))


def read(pieces: list[bytes], limits: Limits = LIMITS, parser: HeadParser | None = None) -> Any:
    """What comes of ``pieces``: a fault, a head and where it ends, or nothing yet."""
    parser, data = parser or HeadParser(), b""
    for piece in pieces:
        data += piece
        try:
            found = parser.parse(data, 0, limits)
        except Fault as fault:
            return type(fault), fault.status, fault.reason
        if found is not None:
            return shown(found[0]), found[1]
    return None


def after(previous: Head | None, data: bytes, start: int, limits: Limits = LIMITS) -> Any:
    """What comes of the bytes from ``start``, on a connection whose head before them was ``previous``."""
    try:
        found = HeadParser().parse(data, start, limits, previous)
    except Fault as fault:
        return type(fault), fault.status, fault.reason
    return found and (shown(found[0]), found[0].repeatable, found[1])


def verdict(data: bytes, limits: Limits = LIMITS) -> Any:
    """The one verdict on ``data``, however split."""
    first, *others = [read(pieces, limits) for pieces in every_split(data)]
    for other in others:
        assert other == first
    return first


def parse(data: bytes, limits: Limits = LIMITS) -> Head:
    found = HeadParser().parse(data, 0, limits)
    assert found is not None
    return found[0]


def with_fields(*lines: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def of_size(size: int) -> bytes:
    """A head of ``size`` bytes."""
    return with_fields(b"X: " + b"x" * (size - len(with_fields(b"X: "))))


# -- what is taken -----------------------------------------------------------------------------


def test_a_head() -> None:
    data = b"POST /a/b?c=d HTTP/1.1\r\nHost: a:80\r\nContent-Length: 12\r\nX-Y:\t v\xff w \t\r\n\r\n"
    fields = ((b"host", b"a:80"), (b"content-length", b"12"), (b"x-y", b"v\xff w"))
    expected = (b"POST", b"/a/b?c=d", b"HTTP/1.1", b"a:80", 12, False, True, False, False, fields)
    assert verdict(data) == (expected, len(data))


def test_where_it_ends() -> None:
    """What is behind a head is not looked at, and what is before it is skipped."""
    head = with_fields(b"X: y")
    assert verdict(head + b"\0\n\n\r\n\r\n")[1] == len(head)
    assert HeadParser().parse(b"?\n?" + head, 3, LIMITS)[1] == 3 + len(head)


def test_repr_shows_no_secret() -> None:
    assert repr(parse(with_fields(b"Cookie: secret"))) == "<Head b'GET'>"


@pytest.mark.parametrize("lines", [0, 1, 2, 3])
def test_v06_empty_lines_before_a_request(lines: int) -> None:
    """To be found at 0 is not to be missing."""
    head = with_fields(b"X: y")
    expected = verdict(head)[0]
    assert verdict(b"\r\n" * lines + head) == (expected, 2 * lines + len(head))


def test_v06_blank_lines_alone_are_no_request() -> None:
    assert verdict(b"\r\n\r\n") is None
    assert verdict(b"\r\n\r\n\r\n\r\n") is None


@pytest.mark.parametrize("method", [b"GET", b"PROPFIND", b"get", b"!#$%&'*+-.^_`|~9", b"M" * 60])
def test_any_token_is_a_method(method: bytes) -> None:
    assert verdict(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")[0][0] == method


def test_a_parser_keeps_nothing() -> None:
    """One parser serves all connections: no head, good or bad, changes the verdict on another."""
    messages = [
        with_fields(),
        with_fields(b"Content-Length: 5"),
        with_fields(b"Content-Length: 99999"),
        with_fields(b"Transfer-Encoding: chunked"),
        with_fields(b"Transfer-Encoding: keep-alive"),
        with_fields(b"Connection: close"),
        with_fields(b"Proxy-Connection: close"),
        with_fields(b"Connection: upgrade", b"Upgrade: keep-alive"),
        with_fields(b"Connection: keep-alive"),
        with_fields(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"),
        with_fields(b"bad header"),
        with_fields(b"X: \0"),
        with_fields(b"Host: b"),
        b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST / HTTP/1.0\r\n\r\n",
    ]
    alone = [read([message]) for message in messages]
    for before in messages:
        parser = HeadParser()
        read([before], parser=parser)
        assert [read([message], parser=parser) for message in messages] == alone


# -- limits, at the bound and past it ------------------------------------------------------------


def test_head_bytes() -> None:
    assert verdict(of_size(256))[1] == 256
    assert verdict(of_size(257)) == (LimitFault, 431, Reason.HEAD_BYTES)


def test_head_bytes_without_an_end() -> None:
    """The bound holds before the end of the head is seen."""
    endless = with_fields(b"X: " + b"x" * 300)[:-4]
    assert read([endless[:256]]) is None
    assert verdict(endless) == (LimitFault, 431, Reason.HEAD_BYTES)


def test_empty_lines_count_as_head_bytes() -> None:
    assert verdict(b"\r\n" * 2 + of_size(252))[1] == 256
    assert verdict(b"\r\n" * 2 + of_size(253)) == (LimitFault, 431, Reason.HEAD_BYTES)
    assert verdict(b"\r\n" * 127) is None
    assert verdict(b"\r\n" * 128) == (PeerFault, 400, Reason.BAD_REQUEST_LINE)


def test_target_bytes() -> None:
    line = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"
    assert verdict(line % (b"x" * 63))[0][1] == b"/" + b"x" * 63
    assert verdict(line % (b"x" * 64)) == (LimitFault, 414, Reason.TARGET_BYTES)


def test_request_line_without_an_end() -> None:
    assert verdict(b"GET /" + b"x" * 300) == (LimitFault, 414, Reason.TARGET_BYTES)
    assert verdict(b"GET " + b"x" * 300) == (LimitFault, 414, Reason.TARGET_BYTES)


@pytest.mark.parametrize("line", [b"x" * 300, b"x" * 300 + b" / HTTP/1.1\r\n", b"x" * 100 + b"\r\n\r\n"])
def test_a_method_that_does_not_end(line: bytes) -> None:
    """It is no long target where no target has begun."""
    assert read([line[:60]]) is None
    assert verdict(line) == (PeerFault, 400, Reason.BAD_REQUEST_LINE)


def test_headers() -> None:
    assert len(verdict(with_fields(*[b"X: y"] * 3))[0][-1]) == 4
    assert verdict(with_fields(*[b"X: y"] * 4)) == (LimitFault, 431, Reason.HEADERS)


def test_smallest_and_largest_limits() -> None:
    smallest = attrs.evolve(LIMITS, max_headers=1, max_target_bytes=16)
    assert verdict(with_fields(), smallest)[0][0] == b"GET"
    assert parse(of_size(1 << 20), Limits(max_head_bytes=1 << 20)).method == b"GET"


# -- what is refused ---------------------------------------------------------------------------

BAD_LINES = [
    b"GET",
    b"GET /",
    b"GET / ",
    b"GET  / HTTP/1.1",
    b"GET /  HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b" GET / HTTP/1.1",
    b"\tGET / HTTP/1.1",
    b"GET\t/ HTTP/1.1",
    b"GET / / HTTP/1.1",
    b"G(T / HTTP/1.1",
    b"G\0T / HTTP/1.1",
    b"G\xc3\x89T / HTTP/1.1",
    b" / HTTP/1.1",
    b"GET / http/1.1",
    b"GET / HTTP/1.1x",
    b"GET / HTTP/11",
    b"GET / HTTP/1.10",
    b"GET / HTTP /1.1",
    b"GET / HTTPS/1.1",
    b"GET / HTTP/\xb9.1",
    b"GET / HTTP/1,1",
    b"GET / HTTP/1.1\r",
    b"GET / HTTP/1.1\0",
    b"GET /\nHost HTTP/1.1",
    b"GET / HTTP/1.1\nHost:a",
    b"\rGET / HTTP/1.1",
    b"\nGET / HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS on a plain port
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_request_line(line: bytes) -> None:
    assert verdict(line + b"\r\nHost: a\r\n\r\n") == (PeerFault, 400, Reason.BAD_REQUEST_LINE)


@pytest.mark.parametrize(
    "line", [b"GET /" + b"x" * 64 + b"\nHost:a HTTP/1.1", b"GET /" + b"x" * 64 + b" HTTP/1.1\nHost:a", b"a\n" * 40]
)
def test_bare_lf_comes_before_length(line: bytes) -> None:
    """In pieces the line ends before it is too long; so whole, too."""
    assert verdict(line + b"\r\nHost: a\r\n\r\n") == (PeerFault, 400, Reason.BAD_REQUEST_LINE)


@pytest.mark.parametrize("target", [b"/\0", b"/\x7f", b"/\x80", b"/#f", b"/\x0b", b"/\r", b"/\xc3\xa9"])
def test_bad_bytes_in_a_target(target: bytes) -> None:
    assert verdict(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n") == (PeerFault, 400, Reason.BAD_TARGET)


@pytest.mark.parametrize("version", [b"0.9", b"2.0", b"3.0", b"9.9", b"0.0"])
def test_other_versions(version: bytes) -> None:
    line = b"GET / HTTP/%s\r\nHost: a\r\n\r\n" % version
    assert verdict(line) == (OurFault, 505, Reason.BAD_VERSION)


BAD_FIELDS = [
    b"X",
    b"X y",
    b": y",
    b" X: y",
    b"\tX: y",
    b"X : y",
    b"X\t: y",
    b"X: y\r\n z",
    b"X: y\r\n\tz",
    b"X(: y",
    b"X\x80: y",
    b"X\0: y",
    b"X: \0",
    b"X: \x01",
    b"X: \x7f",
    b"X: y\rz",
    b"X: y\r",
    b"X:\r y",
    b"X: y\nZ: z",
    b"X: y\n",
    b"\nX: y",
    b"X: y\r\n\n",
    b"X: y\n\nGET / HTTP/1.1",
]


@pytest.mark.parametrize("line", BAD_FIELDS)
def test_bad_field_line(line: bytes) -> None:
    assert verdict(with_fields(line)) == (PeerFault, 400, Reason.BAD_HEADER)
    before = b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a\r\n\r\n"
    assert verdict(before) == (PeerFault, 400, Reason.BAD_HEADER)


HOSTS = [
    (b"a", True),
    (b"", False),
    (b":80", False),
    (b":", False),
    (b"a.b-c_d~e", True),
    (b"192.0.2.1:8080", True),
    (b"a:", True),
    (b"a:65535", True),
    (b"[::1]", True),
    (b"[::ffff:192.0.2.1]:443", True),
    (b"[v1.a:b]", True),
    (b"%41.example", True),
    (b"a!$&'()*+,;=b", True),
    (b"a b", False),
    (b"a, b", False),
    (b"a/b", False),
    (b"a:b", False),
    (b"a:80:80", False),
    (b"a:-1", False),
    (b"a:123456", False),
    (b"u@a", False),
    (b"[::1", False),
    (b"::1", False),
    (b"[::1]x", False),
    (b"[a]b", False),
    (b"[%41]", False),
    (b"%4", False),
    (b"%zz", False),
    (b"a\x80", False),
    (b'"a"', False),
    (b"<a>", False),
    (b"a\\b", False),
    (b"a?b", False),
    (b"a#b", False),
    (b"http://a", False),
]


@pytest.mark.parametrize(("host", "good"), HOSTS)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_host(host: bytes, good: bool, version: bytes) -> None:
    found = verdict(b"GET / HTTP/%s\r\nHost: %s\r\n\r\n" % (version, host))
    if good:
        assert found[0][3] == host
    else:
        assert found == (PeerFault, 400, Reason.BAD_HOST)


def test_a_good_host_does_not_cover_a_bad_one() -> None:
    """The last valid Host is remembered, and nothing else is."""
    parser = HeadParser()
    assert read([with_fields()], parser=parser)[0][3] == b"a"
    bad = b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"
    for _ in range(2):
        assert read([bad], parser=parser) == (PeerFault, 400, Reason.BAD_HOST)


TARGETS = [
    (b"GET", b"/", b"/", b"h"),
    (b"GET", b"//x", b"//x", b"h"),
    (b"GET", b"/%00%2e?a=%0d", b"/%00%2e?a=%0d", b"h"),
    (b"GET", b'/"<>[]\\^`{|}', b'/"<>[]\\^`{|}', b"h"),
    (b"GET", b"http://a", b"/", b"a"),
    (b"GET", b"http://a/", b"/", b"a"),
    (b"GET", b"HTTP://A:80/b?c", b"/b?c", b"A:80"),
    (b"GET", b"http://a?b/c", b"/?b/c", b"a"),
    (b"GET", b"https://[::1]:8/x", b"/x", b"[::1]:8"),
    (b"OPTIONS", b"*", b"*", b"h"),
    (b"OPTIONS", b"http://a", b"*", b"a"),
    (b"OPTIONS", b"http://a/", b"/", b"a"),
    (b"OPTIONS", b"http://a?b", b"/?b", b"a"),
]


@pytest.mark.parametrize(("method", "target", "path", "authority"), TARGETS)
def test_targets(method: bytes, target: bytes, path: bytes, authority: bytes) -> None:
    found = verdict(b"%s %s HTTP/1.1\r\nHost: h\r\n\r\n" % (method, target))
    assert (found[0][1], found[0][3]) == (path, authority)


@pytest.mark.parametrize(
    "target",
    [
        b"*",
        b"a",
        b"a/b",
        b"a:80",
        b"?a",
        b"ftp://a/",
        b"http:/a",
        b"http:a",
        b"http://",
        b"http:///a",
        b"http://:80/a",
        b"http://?a",
        b"http://u@a/",
        b"http://u:p@a/",
        b"http://a:b/",
        b"http://a%zz/",
        b"javascript://a/",
        b"\\a",
    ],
)
def test_bad_targets(target: bytes) -> None:
    assert verdict(b"GET %s HTTP/1.1\r\nHost: h\r\n\r\n" % target) == (PeerFault, 400, Reason.BAD_TARGET)


def test_connect() -> None:
    for target in (b"a:80", b"[::1]:443"):
        assert verdict(b"CONNECT %s HTTP/1.1\r\nHost: a:80\r\n\r\n" % target) == (OurFault, 501, Reason.CONNECT)


@pytest.mark.parametrize(
    "target", [b"a", b"a:", b":80", b"/", b"/a:80", b"*", b"a:80/", b"u@a:80", b"http://a:80/", b"[::1]", b"a:123456"]
)
def test_connect_to_what_is_no_host_and_port(target: bytes) -> None:
    data = b"CONNECT %s HTTP/1.1\r\nHost: a:80\r\n\r\n" % target
    assert verdict(data) == (PeerFault, 400, Reason.BAD_TARGET)
    assert verdict(data.replace(b" HTTP", b"\n HTTP")) == (PeerFault, 400, Reason.BAD_REQUEST_LINE)


# -- framing -----------------------------------------------------------------------------------

BAD_FRAMING = [
    (b"Content-Length: ",),
    (b"Content-Length: +5",),
    (b"Content-Length: -5",),
    (b"Content-Length: 0x5",),
    (b"Content-Length: 5 5",),
    (b"Content-Length: 5,5",),
    (b"Content-Length: 5, 5",),
    (b"Content-Length: 5;",),
    (b"Content-Length: 5.0",),
    (b"Content-Length: 5_0",),
    (b"Content-Length: \xb2",),
    (b"Content-Length: \xd9\xa5",),
    (b"Content-Length: 5", b"Content-Length: 5"),
    (b"Content-Length: 5", b"content-LENGTH: 6"),
    (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: 0"),
    (b"Transfer-Encoding: gzip", b"Content-Length: 5"),
    (b"Transfer-Encoding: ",),
    (b"Transfer-Encoding: ,",),
    (b"Transfer-Encoding: identity",),
    (b"Transfer-Encoding: gzip",),
    (b"Transfer-Encoding: xchunked",),
    (b"Transfer-Encoding: chunked;a=b",),
    (b'Transfer-Encoding: "chunked"',),
    (b"Transfer-Encoding: chunked chunked",),
    (b"Transfer-Encoding: chunked, chunked",),
    (b"Transfer-Encoding: chunked, identity",),
    (b"Transfer-Encoding: chunked, gzip",),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    (b"transfer-encoding: chunked", b"TRANSFER-ENCODING: x"),
]


@pytest.mark.parametrize("lines", BAD_FRAMING)
def test_bad_framing(lines: tuple[bytes, ...]) -> None:
    assert verdict(with_fields(*lines)) == (PeerFault, 400, Reason.BAD_FRAMING)


@pytest.mark.parametrize("lines", [(b"Transfer-Encoding: gzip, chunked",), (b"TE: x", b"Transfer-Encoding: x,chunked")])
def test_unknown_coding(lines: tuple[bytes, ...]) -> None:
    assert verdict(with_fields(*lines)) == (OurFault, 501, Reason.UNKNOWN_CODING)


@pytest.mark.parametrize("value", [b"chunked", b"CHUNKED", b"\tChunked \t", b",chunked, ,"])
def test_chunked(value: bytes) -> None:
    head = parse(with_fields(b"Transfer-Encoding:" + value))
    assert head.chunked
    assert head.has_body
    assert head.content_length is None


@pytest.mark.parametrize("value", [b"\x0bchunked", b"chunked\x0c", b"chun\rked", b"\0chunked"])
def test_obfuscated_codings(value: bytes) -> None:
    """What other parsers have been fooled with; it never gets as far as being a coding."""
    assert verdict(with_fields(b"Transfer-Encoding:" + value)) == (PeerFault, 400, Reason.BAD_HEADER)


def test_chunked_in_http_1_0() -> None:
    data = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert verdict(data) == (PeerFault, 400, Reason.BAD_FRAMING)


@pytest.mark.parametrize(
    ("value", "length"),
    [(b"0", 0), (b"5", 5), (b"05", 5), (b"0" * 60 + b"5", 5), (b"9" * 18, 10**18 - 1), (b"0" * 60, 0)],
)
def test_content_length(value: bytes, length: int) -> None:
    head = parse(with_fields(b"Content-Length: " + value))
    assert head.content_length == length
    assert head.has_body is (length > 0)


def test_content_length_beyond_any_bound() -> None:
    """5000 digits are more than int() takes, and 64 bits are more than any body."""
    large = Limits()
    assert parse(with_fields(b"Content-Length: %d" % (2**64 - 1))).content_length == 2**64 - 1
    assert read([with_fields(b"Content-Length: %d" % 2**64)]) == (PeerFault, 400, Reason.BAD_FRAMING)
    assert read([with_fields(b"Content-Length: " + b"9" * 5000)], large) == (PeerFault, 400, Reason.BAD_FRAMING)


# -- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "values", "keep"),
    [
        (b"1.1", (), True),
        (b"1.1", (b"close",), False),
        (b"1.1", (b"CLOSE",), False),
        (b"1.1", (b"x, Close ,y",), False),
        (b"1.1", (b",,close",), False),
        (b"1.1", (b"keep-alive", b"close"), False),
        (b"1.1", (b"close", b"keep-alive"), False),
        (b"1.1", (b"keep-alive, close",), False),
        (b"1.1", (b"closed",), True),
        (b"1.1", (b"not-close",), True),
        (b"1.1", (b"keep-alive",), True),
        (b"1.1", (b"",), True),
        (b"1.2", (), True),
        (b"1.0", (), False),
        (b"1.0", (b"keep-alive",), True),
        (b"1.0", (b"Keep-Alive",), True),
        (b"1.0", (b"x, keep-alive",), True),
        (b"1.0", (b"keep-alive, close",), False),
        (b"1.0", (b"x",), False),
    ],
)
def test_keep_alive(version: bytes, values: tuple[bytes, ...], keep: bool) -> None:
    lines = b"".join(b"Connection: %s\r\n" % value for value in values)
    assert parse(b"GET / HTTP/%s\r\nHost: a\r\n%s\r\n" % (version, lines)).keep_alive is keep


@pytest.mark.parametrize("name", [b"cONNECTION", b"CONNECTION", b"connection"])
def test_field_names_in_any_case(name: bytes) -> None:
    assert not parse(with_fields(name + b":close")).keep_alive


@pytest.mark.parametrize("name", [b"xconnection", b"connectionx", b"tonnection", b"proxy-connection"])
def test_names_alike(name: bytes) -> None:
    assert parse(with_fields(name + b": close")).keep_alive


@pytest.mark.parametrize("name", [b"cost", b"tontent-length", b"hransfer-encoding", b"uxpect", b"epgrade"])
def test_names_alike_decide_nothing(name: bytes) -> None:
    head = parse(with_fields(name + b": 7"))
    assert (head.authority, head.has_body, head.expect_continue, head.upgrade) == (b"a", False, False, False)


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b" 100-CONTINUE "])
def test_expect(value: bytes) -> None:
    assert parse(with_fields(b"Expect:" + value)).expect_continue


@pytest.mark.parametrize("value", [b"", b"x", b"100-continue, x", b"200-ok"])
def test_bad_expectation(value: bytes) -> None:
    assert verdict(with_fields(b"Expect: " + value)) == (PeerFault, 417, Reason.BAD_EXPECTATION)


def test_expect_in_http_1_0_is_ignored() -> None:
    for value in (b"100-continue", b"x"):
        head = parse(b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: %s\r\n\r\n" % value)
        assert not head.expect_continue


# -- behind another one ------------------------------------------------------------------------

LINES = (
    *(b"GET / HTTP/1.1", b"GET /a?b HTTP/1.1", b"GET /a?b HTTP/1.0", b"POST /a?b HTTP/1.1", b"BREW /a?b HTTP/1.1"),
    *(b"GET http://a/a?b HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET /a?b HTTP/1.7", b"GET /%b HTTP/1.1" % (b"x" * 64)),
    *(b"GET  /a?b HTTP/1.1", b"GET /a?b HTTP/2.0", b"GET /\n HTTP/1.1", b"", b"\r"),
)
FIELDS = (
    *(b"Host: a\r\n", b"Host: b\r\n", b"host: a\r\n", b"Host: a\r\nCookie: a=b\r\n", b"", b"Host: a b\r\n"),
    *(b"Host: a\r\nContent-Length: 1\r\n", b"Host: a\r\nConnection: close\r\n", b"Host: a\r\nUpgrade: x\r\n"),
    *(b"Host: a\r\nX: " + b"x" * 200 + b"\r\n", b"Host: a\n", b"X: y\r\n" * 5),
)
HEADS = [b"%b\r\n%b\r\n" % (line, fields) for line in LINES for fields in FIELDS]


def test_it_is_what_it_would_be_without_one() -> None:
    """Whatever stands before it in the same read, and behind it."""
    alone = {head: after(None, head, 0) for head in HEADS}
    kept = [head for head, found in alone.items() if found and found[-2:] == (True, len(head))]
    assert len(kept) > 15
    for before in kept:
        previous = parse(before)
        for head in HEADS:
            assert after(previous, head, 0) == alone[head]
            for data, start in ((head[:-1], 0), (head + before, 0), (before + head, len(before)), (b"\r\n" + head, 0)):
                assert after(previous, data, start) == after(None, data, start)


def test_the_same_again_is_not_made_twice() -> None:
    first = with_fields(b"X: y")
    previous = parse(first)
    assert HeadParser().parse(b"\r\n" + first, 2, LIMITS, previous) == (previous, len(first) + 2)
    other, _ = HeadParser().parse(first.replace(b"/", b"/a", 1), 0, LIMITS, previous) or (None, 0)
    assert other is not None
    assert other is not previous
    assert (other.target, other.fields) == (b"/a", previous.fields)


def test_a_large_one_is_not_kept() -> None:
    """A connection that idles would hold it."""
    small = with_fields()
    for target in (b"/", b"/" + b"x" * 2000):
        data = small.replace(b"/", target, 1)
        for previous in (None, parse(small, Limits())):
            found = HeadParser().parse(data, 0, Limits(), previous)
            assert found is not None
            assert found[0].repeatable == (len(target) == 1)
    assert not parse(with_fields(b"X: " + b"x" * 2000), Limits()).repeatable

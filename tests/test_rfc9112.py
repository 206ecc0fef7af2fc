"""RFC 9112, HTTP/1.1, section by section: every MUST and SHOULD that concerns an origin server.

A test is named after its section. Not done, each on purpose:

- 2.2 (MAY): a single LF does not end a line. Whoever takes it reads other messages than a proxy
  before it may have read, which is how requests are smuggled.
- 2.2 and 3 (MAY): white space before the first field, and around the parts of a request line, is
  refused and not parsed leniently, for the same reason.
- 3.3 and RFC 9110, 7.4: a target of the scheme ``https`` in absolute-form is not refused over plain
  TCP: behind a gateway that ends TLS it is right, and who is such a gateway is not known here.
- 5.2: obs-fold is refused, not replaced by spaces: the section allows either.
- 6.1 (MAY): Transfer-Encoding beside Content-Length is refused; the section allows to ignore the latter.
- 6.3 (MAY): identical Content-Length values are refused and not merged; 411 is never answered.
- 7.1: a chunk's size has sixteen digits at most, zeros in front included, and its line 4096 bytes.
- 7.2 and 7.4: of transfer codings only ``chunked`` is spoken, so a TE field changes nothing.
- 8: who closes half of the connection before the answer is ready is taken to have gone. A server
  cannot tell the two apart, and one that waits lets whoever has gone hold a request.
- 9.3.1 and all else that a client or a proxy does.
- 9.8: how TLS ends is Twisted's.
- 10: ``message/http`` and ``application/http`` are never generated (see TRACE in RFC 9110, 9.3.8).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.limits import Limits
from hardhttp.testing import Rig, parse_responses
from tests.origin import GET, Origin, Tree, get, origin, post
from tests.serving import KINDS, serve

CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture
def server() -> Iterator[Origin]:
    with origin() as found:
        yield found


# -- 2. Message ----------------------------------------------------------------------------------


def test_s2_1_octets_beyond_ascii_in_values(server: Origin) -> None:
    """A message is octets, not characters."""
    assert server.ask(get(b"X: \xff\xfe\x80")).seen[0].get(b"x") == (b"\xff\xfe\x80",)


@pytest.mark.parametrize(
    "data",
    [
        GET.replace(b"\r\n", b"\n"),
        GET.replace(b"1.1\r\n", b"1.1\n"),
        GET.replace(b"a\r\n", b"a\n"),
        GET[:-2] + b"\n",
    ],
)
def test_s2_2_bare_lf_is_refused(server: Origin, data: bytes) -> None:
    assert server.ask(data).last.status == 400
    assert not server.ask(data).seen


@pytest.mark.parametrize(
    "data", [b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", get(b"X: a\rb"), get(b"X\r: a"), get(b"X: a\r"), b"\r" + GET]
)
def test_s2_2_bare_cr_is_refused(server: Origin, data: bytes) -> None:
    answer = server.ask(data)
    assert (answer.statuses, answer.ended, answer.seen) == ([400], True, ())


@pytest.mark.parametrize("lines", [1, 2, 5])
def test_s2_2_empty_lines_before_a_request_are_ignored(server: Origin, lines: int) -> None:
    assert server.ask(b"\r\n" * lines + GET).statuses == [200]


def test_v06_crlf_crlf_before_a_request(server: Origin) -> None:
    """The blank line found at 0 is no end of a head, and no reason to wait for ever."""
    assert server.ask(b"\r\n\r\n" + GET).statuses == [200]
    assert server.ask(GET + b"\r\n\r\n" + GET + b"\r\n\r\n").statuses == [200, 200]
    assert server.ask(b"\r\n\r\n" * 2).responses == ()


@pytest.mark.parametrize("space", [b" ", b"\t", b" \t "])
def test_s2_2_white_space_before_the_first_field_is_refused(server: Origin, space: bytes) -> None:
    """It could hide a field: "MUST either reject the message as invalid or consume" it."""
    data = b"GET / HTTP/1.1\r\n" + space + b"Host: b\r\nHost: a\r\n\r\n"
    assert server.ask(data).is_refused(400, "bad-header")


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n", b"{}\r\n", b"GET /\r\n\r\n"])
def test_s2_2_what_is_no_request_is_answered_400_and_closed(server: Origin, data: bytes) -> None:
    assert server.ask(data).is_refused(400, "bad-request-line")


@pytest.mark.parametrize("version", [b"http/1.1", b"Http/1.1", b"HTTP/1", b"HTTP/1.1.1", b"HTTP/ 1.1", b"HTTP/1.01"])
def test_s2_3_version_is_case_sensitive_and_two_digits(server: Origin, version: bytes) -> None:
    assert server.ask(b"GET / %s\r\nHost: a\r\n\r\n" % version).last.status == 400


# -- 3. Request line -----------------------------------------------------------------------------


def test_s3_targets_of_8000_octets_are_supported(server: Origin) -> None:
    """RECOMMENDED as a minimum for a request line."""
    peer = server.connect()
    peer.send(get(target=b"/" + b"x" * 7999))
    assert [response.status for response in peer.responses()] == [200]


def test_s3_target_too_long_is_414() -> None:
    with origin(max_target_bytes=32) as server:
        assert server.ask(get(target=b"/" + b"x" * 31)).statuses == [200]
        assert server.ask(get(target=b"/" + b"x" * 32)).is_refused(414, "target-bytes")


def test_s3_method_longer_than_any_is_501(server: Origin) -> None:
    assert server.ask(get(method=b"M" * 60)).statuses == [501]
    with origin(max_head_bytes=256, max_target_bytes=64) as small:
        assert small.ask(get(method=b"M" * 200)).statuses == [501]
        assert small.ask(get(method=b"M" * 300)).is_refused(400, "bad-request-line")


@pytest.mark.parametrize(
    "line",
    [
        b"GET /a b HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET\x0b/ HTTP/1.1",
    ],
)
def test_s3_invalid_request_line_is_400_and_never_mended(server: Origin, line: bytes) -> None:
    assert server.ask(line + b"\r\nHost: a\r\n\r\n").is_refused(400, "bad-request-line")


def test_s3_1_method_is_case_sensitive(server: Origin) -> None:
    assert server.ask(get(method=b"get")).statuses == [501]


def test_s3_2_host_missing(server: Origin) -> None:
    assert server.ask(b"GET / HTTP/1.1\r\nX: a\r\n\r\n").is_refused(400, "bad-host")
    assert server.ask(b"GET / HTTP/1.1\r\n\r\n").is_refused(400, "bad-host")
    assert server.ask(b"GET http://a/ HTTP/1.1\r\n\r\n").is_refused(400, "bad-host")
    assert server.ask(b"OPTIONS * HTTP/1.1\r\n\r\n").is_refused(400, "bad-host")


def test_s3_2_host_need_not_be_in_http_1_0(server: Origin) -> None:
    assert server.ask(b"GET / HTTP/1.0\r\n\r\n").statuses == [200]


@pytest.mark.parametrize("second", [b"Host: a", b"Host: b", b"host: a", b"HOST:"])
def test_s3_2_host_twice(server: Origin, second: bytes) -> None:
    assert server.ask(get(second)).is_refused(400, "bad-host")
    assert server.ask(get(second, version=b"1.0")).is_refused(400, "bad-host")


@pytest.mark.parametrize(
    "host", [b"", b" ", b":80", b"a b", b"a, b", b"u@a", b"a/b", b"a:b", b"[::1", b"a\x80", b"http://a"]
)
def test_s3_2_host_invalid(server: Origin, host: bytes) -> None:
    """An empty one makes an http URI without a host, which is to be rejected (RFC 9110, 4.2.1)."""
    assert server.ask(GET.replace(b"Host: a", b"Host: " + host)).is_refused(400, "bad-host")


@pytest.mark.parametrize("host", [b"a", b"a.example:8080", b"192.0.2.1", b"[2001:db8::1]:80", b"xn--a"])
def test_s3_2_host_valid(server: Origin, host: bytes) -> None:
    answer = server.ask(GET.replace(b"Host: a", b"Host: " + host))
    assert answer.statuses == [200]
    assert answer.seen[0].get(b"host") == (host,)


def test_s3_2_1_origin_form(server: Origin) -> None:
    assert server.ask(get(target=b"/a/b?c=d&e")).seen[0].target == b"/a/b?c=d&e"


@pytest.mark.parametrize("target", [b"a", b"?a", b"a/b", b"/#a", b"/\xe9", b"/\x7f"])
def test_s3_2_1_what_is_no_origin_form(server: Origin, target: bytes) -> None:
    assert server.ask(get(target=target)).is_refused(400, "bad-target")


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://b/c?d", b"/c?d"), (b"http://b", b"/"), (b"http://b?d", b"/?d"), (b"HTTP://b:80/c", b"/c")],
)
def test_s3_2_2_absolute_form_is_accepted_and_host_ignored(server: Origin, target: bytes, path: bytes) -> None:
    (seen,) = server.ask(get(target=target)).seen
    assert seen.target == path
    assert seen.get(b"host") == (target.partition(b"//")[2].partition(b"/")[0].partition(b"?")[0],)


def test_s3_2_2_absolute_form_needs_an_http_authority(server: Origin) -> None:
    for target in (b"http:///", b"http://u@b/", b"ftp://b/", b"http://b:x/"):
        assert server.ask(get(target=target)).is_refused(400, "bad-target")


def test_s3_2_3_authority_form_is_for_connect(server: Origin) -> None:
    assert server.ask(get(target=b"a:80", method=b"CONNECT")).is_refused(501, "connect")
    assert server.ask(get(target=b"a:80")).is_refused(400, "bad-target")


@pytest.mark.parametrize("target", [b"a", b"a:", b":80", b"/a", b"*", b"http://a:80/"])
def test_s3_2_3_connect_is_of_a_host_and_port(server: Origin, target: bytes) -> None:
    """Of a path it is never the application's."""
    assert server.ask(get(target=target, method=b"CONNECT")).is_refused(400, "bad-target")


def test_s3_2_4_asterisk_form_is_for_options(server: Origin) -> None:
    answer = server.ask(get(target=b"*", method=b"OPTIONS"))
    assert answer.statuses == [200]
    assert answer.last.get(b"content-length") == b"0"
    assert server.ask(get(target=b"*")).is_refused(400, "bad-target")


def test_s3_2_4_absolute_form_without_a_path_is_an_asterisk(server: Origin) -> None:
    """The application is not asked: it is the server that is meant."""
    answer = server.ask(get(target=b"http://a", method=b"OPTIONS"))
    assert (answer.statuses, answer.seen) == ([200], ())
    assert server.ask(get(target=b"http://a/", method=b"OPTIONS")).seen[0].target == b"/"


@pytest.mark.parametrize(
    ("data", "authority"),
    [
        (get(target=b"/later/x?y"), b"a"),
        (get(target=b"http://b:8080/later/x?y"), b"b:8080"),
        (get(target=b"/later/x?y").replace(b": a", b": [::1]:81"), b"[::1]:81"),
    ],
)
def test_s3_3_target_uri(server: Origin, data: bytes, authority: bytes) -> None:
    """Its three parts, from wherever they came, are in one place each."""
    peer = server.connect()
    peer.send(data)
    (request,) = server.tree.requests
    assert (request.isSecure(), request.getHeader(b"host"), request.uri) == (False, authority, b"/later/x?y")
    assert request.requestHeaders.getRawHeaders(b"host") == [authority]


# -- 4. Status line ------------------------------------------------------------------------------


def test_s4_status_line(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(target=b"/status/404"))
    assert peer.received.startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_s4_a_space_stands_before_an_empty_phrase(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(target=b"/later"))
    (request,) = server.tree.later
    request.setResponseCode(299, b"")
    request.finish()
    assert peer.received.startswith(b"HTTP/1.1 299 \r\n")


# -- 5. Field syntax -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"X : y", b"X\t: y", b"Content-Length : 5", b"Transfer-Encoding : chunked", b"Host : b"]
)
def test_s5_1_white_space_before_the_colon(server: Origin, line: bytes) -> None:
    assert server.ask(get(line)).is_refused(400, "bad-header")


@pytest.mark.parametrize("line", [b"X:y", b"X: y", b"X:\t y \t", b"X:  y  "])
def test_s5_1_white_space_around_a_value_is_no_part_of_it(server: Origin, line: bytes) -> None:
    assert server.ask(get(line)).seen[0].get(b"x") == (b"y",)


@pytest.mark.parametrize("line", [b"X", b": y", b"X(Y): z", b"X\0: y", b"X: \0", b"X: \x1b", b'"X": y', b"X\xe9: y"])
def test_s5_malformed_field_line(server: Origin, line: bytes) -> None:
    assert server.ask(get(line)).is_refused(400, "bad-header")


@pytest.mark.parametrize("fold", [b"X: y\r\n z", b"X: y\r\n\tz", b"X:\r\n y", b"Transfer-Encoding:\r\n chunked"])
def test_s5_2_obs_fold_is_refused(server: Origin, fold: bytes) -> None:
    assert server.ask(get(fold)).is_refused(400, "bad-header")


# -- 6. Message body -----------------------------------------------------------------------------


def test_s6_body_needs_framing(server: Origin) -> None:
    """The presence of a body is signalled by Content-Length or Transfer-Encoding, whatever the method."""
    answer = server.ask(post(b"", target=b"/echo") + GET)
    assert [seen.method for seen in answer.seen] == [b"POST", b"GET"]
    assert server.ask(get(b"Content-Length: 5") + b"hello" + GET).statuses == [200, 200]


def test_s6_1_chunked_is_understood(server: Origin) -> None:
    assert server.ask(post(b"5\r\nhello\r\n0\r\n\r\n", CHUNKED)).last.body == b"hello"


@pytest.mark.parametrize("value", [b"gzip, chunked", b"x,chunked", b"deflate,\tchunked"])
def test_s6_1_unknown_coding_is_501(server: Origin, value: bytes) -> None:
    assert server.ask(post(b"", b"Transfer-Encoding: " + value)).is_refused(501, "unknown-coding")


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity", b"x"])
def test_s6_1_transfer_encoding_beside_content_length(server: Origin, order: int, coding: bytes) -> None:
    """ "Ought to be handled as an error", and the connection closed."""
    lines = [b"Content-Length: 4", b"Transfer-Encoding: " + coding][::order]
    answer = server.ask(post(b"0\r\n\r\n", *lines) + GET)
    assert answer.is_refused(400, "bad-framing")


def test_s6_1_transfer_encoding_in_http_1_0_is_faulty_framing(server: Origin) -> None:
    assert server.ask(post(b"0\r\n\r\n", CHUNKED, version=b"1.0")).is_refused(400, "bad-framing")
    both = post(b"0\r\n\r\n", CHUNKED, b"Content-Length: 5", b"Connection: keep-alive", version=b"1.0")
    assert server.ask(both).is_refused(400, "bad-framing")


@pytest.mark.parametrize("connection", [(), (b"Connection: keep-alive",)])
def test_s6_1_no_chunks_to_http_1_0(server: Origin, connection: tuple[bytes, ...]) -> None:
    answer = server.ask(get(*connection, target=b"/stream", version=b"1.0"))
    assert answer.last.get(b"transfer-encoding") is None
    assert answer.last.body == b"one, two"
    assert answer.ended  # 6.3: the end of the connection ends the body


@pytest.mark.parametrize("target", [b"/status/204", b"/status/304"])
def test_s6_1_no_transfer_encoding_without_a_body(server: Origin, target: bytes) -> None:
    assert server.ask(get(target=target)).last.get(b"transfer-encoding") is None


def test_s6_2_no_content_length_beside_transfer_encoding(server: Origin) -> None:
    assert server.ask(get(target=b"/stream")).last.get(b"content-length") is None
    # Framing is the server's, whatever an application sets.
    (response,) = server.ask(get(target=b"/framed")).responses
    assert response.get(b"transfer-encoding") is None
    assert (response.get(b"content-length"), response.body) == (b"4", b"body")


@pytest.mark.parametrize("target", [b"/", b"/stream", b"/status/404", b"/sized"])
def test_s6_3_no_body_to_head(server: Origin, target: bytes) -> None:
    """A response that is followed by the next one at once has none."""
    answer = server.ask(get(target=target, method=b"HEAD") + GET, b"HEAD")
    assert [response.body for response in answer.responses] == [b"", b"hello"]


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_s6_3_no_body_with_some_statuses(server: Origin, status: bytes) -> None:
    answer = server.ask(get(target=b"/status/" + status) + GET)
    assert [(r.status, r.body) for r in answer.responses] == [(int(status), b""), (200, b"hello")]


@pytest.mark.parametrize("coding", [b"gzip", b"identity", b"chunked, gzip", b"chunked, chunked", b"", b"chunked;a"])
def test_s6_3_chunked_is_not_last(server: Origin, coding: bytes) -> None:
    """ "the server MUST respond with the 400 (Bad Request) status code and then close"."""
    assert server.ask(post(b"", b"Transfer-Encoding: " + coding)).is_refused(400, "bad-framing")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: x",),
        (b"Content-Length: -1",),
        (b"Content-Length: +1",),
        (b"Content-Length: 1 1",),
        (b"Content-Length: 1, 2",),
        (b"Content-Length: 1, 1",),
        (b"Content-Length: 1", b"Content-Length: 2"),
        (b"Content-Length: 1", b"Content-Length: 1"),
        (b"Content-Length:",),
        (b"Content-Length: 0x1",),
        (b"Content-Length: 1_0",),
    ],
)
def test_s6_3_invalid_content_length(server: Origin, lines: tuple[bytes, ...]) -> None:
    assert server.ask(post(b"x", *lines)).is_refused(400, "bad-framing")


def test_s6_3_content_length_beyond_the_bound() -> None:
    with origin(max_body_bytes=5) as server:
        assert server.ask(post(b"hello", b"Content-Length: 5")).last.body == b"hello"
        assert server.ask(post(b"", b"Content-Length: 6")).is_refused(413, "body-bytes")
        assert server.ask(post(b"", b"Content-Length: %d" % (2**64 - 1))).is_refused(413, "body-bytes")
        # RFC 9110, 8.6: what overflows at another reader is no number here.
        assert server.ask(post(b"", b"Content-Length: %d" % 2**64)).is_refused(400, "bad-framing")
        assert server.ask(post(b"", b"Content-Length: " + b"9" * 60)).is_refused(400, "bad-framing")


def test_s6_3_no_framing_is_no_body(server: Origin) -> None:
    answer = server.ask(post(b"", target=b"/echo") + GET)
    assert [response.body for response in answer.responses] == [b"", b"hello"]


def test_s6_3_content_length_of_zero(server: Origin) -> None:
    answer = server.ask(post(b"", b"Content-Length: 0") + GET)
    assert [response.body for response in answer.responses] == [b"", b"hello"]


# -- 7. Transfer codings ---------------------------------------------------------------------------


def test_v13_chunked_request_bodies(server: Origin) -> None:
    """Chunks, extensions and trailers, and the next request behind them."""
    body = b'5;a;b="c;\\"d"\r\nhello\r\n00000007 ; e = f\r\n, world\r\n0\r\nX: y\r\n\r\n'
    answer = server.ask(post(body, CHUNKED) + GET)
    assert [response.body for response in answer.responses] == [b"hello, world", b"hello"]


def test_v13_chunked_bodies_are_bounded() -> None:
    """The limit counts chunks as they come."""
    with origin(max_body_bytes=5) as server:
        assert server.ask(post(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", CHUNKED)).last.body == b"hello"
        for body in (b"6\r\n", b"2\r\nhe\r\n4\r\n", b"1\r\nh\r\n" * 5 + b"1\r\n"):
            answer = server.ask(post(body, CHUNKED))
            assert answer.is_refused(413, "body-bytes")


@pytest.mark.parametrize("size", [b"", b"x", b"0x5", b"+5", b"-5", b"5 ", b" 5", b"5_", b"\xd9\xa5", b"5\n"])
def test_s7_1_invalid_chunk_size(server: Origin, size: bytes) -> None:
    assert server.ask(post(size + b"\r\nhello\r\n0\r\n\r\n", CHUNKED)).is_refused(400, "bad-chunk")


@pytest.mark.parametrize(
    "body", [b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhell\r\n0\r\n\r\n", b"0\r\nX\r\n\r\n", b"5\nhello\r\n0\r\n\r\n"]
)
def test_s7_1_malformed_chunks(server: Origin, body: bytes) -> None:
    assert server.ask(post(body, CHUNKED)).is_refused(400, "bad-chunk")


@pytest.mark.parametrize(
    ("size", "status"), [(b"f" * 8, 413), (b"f" * 16, 413), (b"1" + b"0" * 16, 400), (b"f" * 64, 400)]
)
def test_s7_1_large_sizes_do_not_overflow(server: Origin, size: bytes, status: int) -> None:
    answer = server.ask(post(size + b"\r\nhello", CHUNKED))
    assert (answer.statuses, answer.ended, answer.seen) == ([status], True, ())


@pytest.mark.parametrize("extension", [b";a", b";a=b", b';a="b;\r"'.replace(b"\r", b" "), b" ; a ; b", b";unknown=1"])
def test_s7_1_1_unrecognised_extensions_are_ignored(server: Origin, extension: bytes) -> None:
    body = b"5%s\r\nhello\r\n0%s\r\n\r\n" % (extension, extension)
    assert server.ask(post(body, CHUNKED)).last.body == b"hello"


def test_s7_1_1_extensions_are_bounded(server: Origin) -> None:
    """ "A recipient ought to limit the total length of chunk extensions"."""
    line = post(b"1;" + b"a" * 5000 + b"\r\n", CHUNKED)
    many = post((b"1;" + b"a" * 100 + b"\r\nx\r\n") * 300, CHUNKED)
    for data in (line, many):
        peer = server.connect()
        peer.send(data)
        assert [(r.status, r.reason) for r in peer.responses()] == [(400, "bad-chunk")]


def test_s7_1_2_trailers_are_not_merged_into_the_header(server: Origin) -> None:
    trailers = b"Host: evil\r\nContent-Length: 5\r\nAuthorization: x\r\nX: y\r\n"
    answer = server.ask(post(b"0\r\n" + trailers + b"\r\n", CHUNKED) + GET)
    assert answer.statuses == [200, 200]
    assert answer.seen[0].get(b"host") == (b"a",)
    assert answer.seen[0].get(b"authorization") == ()
    assert answer.seen[0].get(b"x") == ()


def test_s7_1_2_trailers_are_kept_apart(server: Origin) -> None:
    peer = server.connect()
    peer.send(post(b"0\r\nX: y\r\n\r\n", CHUNKED, target=b"/later"))
    assert server.tree.requests[-1].trailers == [(b"x", b"y")]


@pytest.mark.parametrize("line", [b"X", b"X : y", b" X: y", b"X: y\r\n z", b"X: \0", b"X: y\n"])
def test_s7_1_2_malformed_trailers(server: Origin, line: bytes) -> None:
    assert server.ask(post(b"0\r\n" + line + b"\r\n\r\n", CHUNKED)).is_refused(400, "bad-chunk")


def test_s7_1_3_the_end_of_chunks_is_the_end_of_the_message(server: Origin) -> None:
    answer = server.ask(post(b"1\r\nx\r\n0\r\n\r\n", CHUNKED) * 2 + GET)
    assert [response.body for response in answer.responses] == [b"x", b"x", b"hello"]


@pytest.mark.parametrize("te", [b"TE: gzip", b"TE: trailers", b"TE: gzip;q=1, *;q=0"])
def test_s7_4_te_changes_nothing(server: Origin, te: bytes) -> None:
    (response,) = server.ask(get(te, b"Connection: TE", target=b"/stream")).responses
    assert (response.get(b"transfer-encoding"), response.body) == (b"chunked", b"one, two")


# -- 8. Incomplete messages ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        GET[:-2],
        GET[:5],
        post(b"hell", b"Content-Length: 5"),
        post(b"5\r\nhello\r\n0\r\n", CHUNKED),
        post(b"5\r\nhello\r\n", CHUNKED),
    ],
)
def test_s8_incomplete_requests_are_not_served(server: Origin, data: bytes) -> None:
    peer = server.connect()
    peer.send(data)
    peer.half_close()
    assert (peer.closed, peer.responses(), server.tree.seen) == (True, [], [])


def test_s8_incomplete_requests_that_stay_are_answered_408(server: Origin) -> None:
    for data, seconds in ((GET[:-2], 21), (post(b"hell", b"Content-Length: 5"), 61)):
        peer = server.connect()
        peer.send(data)
        server.rig.advance(seconds)
        (response,) = peer.responses()
        assert (response.status, response.get(b"connection"), peer.ended) == (408, b"close", True)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_s8_failed_responses_look_incomplete(server: Origin, version: bytes) -> None:
    """No last chunk, and no polite end where the end would be taken for the body's."""
    peer = server.connect()
    peer.send(get(target=b"/half", version=version))
    assert b"0\r\n\r\n" not in peer.received
    assert peer.aborted
    assert len(server.rig.flush()) == 1


def test_s8_short_responses_look_incomplete(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(target=b"/later"))
    (request,) = server.tree.later
    request.setHeader(b"Content-Length", b"10")
    request.write(b"half")
    request.finish()
    assert peer.aborted
    (response,) = peer.responses()
    assert not response.complete


# -- 9. Connection management ----------------------------------------------------------------------


def test_s9_2_responses_are_in_the_order_of_requests(server: Origin) -> None:
    """CVE-2023-46137 and CVE-2024-41671: whatever is ready first, and however requests come."""
    peer = server.connect()
    peer.send(get(target=b"/deferred/1") + get(target=b"/deferred/2") + get(target=b"/echo") + GET)
    assert len(server.tree.later) == 1
    assert peer.received == b""
    server.tree.later[0].callback(b"first")
    assert [r.body for r in peer.responses()] == [b"first"]
    server.tree.later[1].callback(b"second")
    assert [r.body for r in peer.responses()] == [b"first", b"second", b"", b"hello"]


PERSISTENCE = [
    (b"1.1", None, True),
    (b"1.1", b"close", False),
    (b"1.1", b"CLOSE", False),
    (b"1.1", b"Close, x", False),
    (b"1.1", b"x ,\tclose", False),
    (b"1.1", b",close,", False),
    (b"1.1", b"keep-alive", True),
    (b"1.1", b"keep-alive, close", False),
    (b"1.1", b"enclosed", True),
    (b"1.0", None, False),
    (b"1.0", b"keep-alive", True),
    (b"1.0", b"Keep-Alive", True),
    (b"1.0", b"x, keep-alive", True),
    (b"1.0", b"keep-alive, close", False),
    (b"1.0", b"x", False),
    (b"1.2", None, True),
]


@pytest.mark.parametrize(("version", "option", "persists"), PERSISTENCE)
def test_s9_3_persistence(server: Origin, version: bytes, option: bytes | None, persists: bool) -> None:
    lines = () if option is None else (b"Connection: " + option,)
    answer = server.ask(get(*lines, version=version) + GET)
    assert len(answer.responses) == 1 + persists
    assert answer.ended is not persists
    said = answer.responses[0].get(b"connection")
    if not persists:
        assert said == b"close"
    else:
        assert said == (b"keep-alive" if version == b"1.0" else None)


def test_s9_3_options_in_several_lines(server: Origin) -> None:
    assert server.ask(get(b"Connection: keep-alive", b"connection: x", b"CONNECTION: close")).ended


def test_s9_3_all_kinds_of_responses_persist(server: Origin) -> None:
    """A message's length is said, or its connection closed."""
    targets = [b"/", b"/stream", b"/sized", b"/status/204", b"/status/304", b"/status/404", b"/echo", b"/etag"]
    answer = server.ask(b"".join(get(target=target) for target in targets))
    assert answer.statuses == [200, 200, 200, 204, 304, 404, 200, 200]
    assert not answer.ended


def test_s9_3_body_is_read_or_the_connection_closed(server: Origin) -> None:
    """An answer that does not wait for the body ends the connection; the body is no request."""
    with origin(max_body_bytes=5) as small:
        answer = small.ask(post(GET, b"Content-Length: %d" % len(GET)))
        assert (answer.statuses, answer.ended, answer.seen) == ([413], True, ())
    # A resource that does not look at the body: it has been read nevertheless.
    answer = server.ask(get(b"Content-Length: %d" % len(GET)) + GET + GET)
    assert (answer.statuses, answer.ended) == ([200, 200], False)


def test_s9_3_2_pipeline_is_answered_in_order(server: Origin) -> None:
    data = b"".join(post(b"%d" % n, b"Content-Length: 1") + get(target=b"/stream") for n in range(4))
    answer = server.ask(data)
    assert [r.body for r in answer.responses] == [
        b"0",
        b"one, two",
        b"1",
        b"one, two",
        b"2",
        b"one, two",
        b"3",
        b"one, two",
    ]


BAD_BEHIND = [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"\0", 400),
    (get(b"Expect: x"), 417),
    (get(b"Transfer-Encoding: x, chunked"), 501),
    (b"GET / HTTP/2.0\r\n\r\n", 505),
    (post(b"x", CHUNKED), 400),
    (post(b"x", b"Content-Length: 99999999999"), 413),
    (get(b"X: " + b"x" * 40_000), 431),
    (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
]


@pytest.mark.parametrize(("bad", "status"), BAD_BEHIND)
def test_s9_3_2_errors_in_a_pipeline(server: Origin, bad: bytes, status: int) -> None:
    """Earlier responses are delivered, then the refusal, then the end; nothing behind it is served."""
    for data in ([GET + get(target=b"/stream") + bad + GET], [GET, get(target=b"/stream"), bad, GET]):
        peer = server.connect()
        peer.send(*data)
        responses = peer.responses()
        assert [r.status for r in responses] == [200, 200, status]
        assert [r.body for r in responses[:2]] == [b"hello", b"one, two"]
        assert responses[2].get(b"connection") == b"close"
        assert peer.ended
        assert not peer.aborted


@pytest.mark.parametrize(("bad", "status"), BAD_BEHIND)
def test_s9_3_2_errors_behind_a_request_that_waits(server: Origin, bad: bytes, status: int) -> None:
    peer = server.connect()
    peer.send(get(target=b"/deferred") + bad + GET)
    assert peer.received == b""
    server.tree.later[0].callback(b"first")
    assert [r.status for r in peer.responses()] == [200, status]
    assert peer.ended


def test_s9_5_idle_connections_are_closed_gracefully(server: Origin) -> None:
    peer = server.connect()
    peer.send(GET)
    server.rig.advance(120)
    assert peer.closed
    assert not peer.aborted


def test_s9_5_a_lively_connection_is_sustained(server: Origin) -> None:
    peer = server.connect()
    for _ in range(20):
        peer.send(GET)
        server.rig.advance(100)
    assert len(peer.responses()) == 20
    assert not peer.ended


def test_s9_6_nothing_behind_close_is_processed(server: Origin) -> None:
    answer = server.ask(get(b"Connection: close") + GET)
    assert (answer.statuses, answer.ended, len(answer.seen)) == ([200], True, 1)
    assert answer.last.get(b"connection") == b"close"


def test_s9_6_close_of_the_application_is_heeded(server: Origin) -> None:
    answer = server.ask(get(target=b"/bye") + GET)
    assert (answer.statuses, answer.ended, len(answer.seen)) == ([200], True, 1)
    assert answer.last.get(b"connection") == b"close"


def test_s9_6_close_behind_a_response_that_waits(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(b"Connection: close", target=b"/deferred") + GET)
    server.tree.later[0].callback(b"first")
    assert [r.body for r in peer.responses()] == [b"first"]
    assert peer.ended
    assert len(server.tree.seen) == 1


def test_s9_6_a_refusal_lingers(server: Origin) -> None:
    """Closing in stages: our side first; what still comes is discarded until the peer has closed."""
    peer = server.connect()
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.ended
    assert not peer.closed
    peer.send(GET * 10)
    assert not peer.closed
    assert peer.unread == 0
    peer.half_close()
    assert peer.closed
    assert not peer.aborted
    assert [r.status for r in peer.responses()] == [400]


def test_s9_6_lingering_is_bounded(server: Origin) -> None:
    in_time = server.connect()
    in_time.send(b"\0")
    server.rig.advance(4)
    assert not in_time.closed
    server.rig.advance(1)
    assert in_time.aborted
    in_bytes = server.connect()
    in_bytes.send(b"\0", *[b"x" * 65536] * 16)
    assert not in_bytes.closed
    in_bytes.send(b"x")
    assert in_bytes.aborted


def test_s9_6_a_client_that_hangs_up_between_requests(server: Origin) -> None:
    peer = server.connect()
    peer.send(GET)
    peer.half_close()
    assert peer.closed
    assert not peer.aborted
    assert [r.status for r in peer.responses()] == [200]


def test_s9_6_a_client_that_hangs_up_after_its_request(server: Origin) -> None:
    """What is answered at once is delivered; who hangs up before an answer is taken to have gone."""
    ready = server.connect()
    ready._socket.ended = True
    ready.send(GET)
    assert ([r.status for r in ready.responses()], ready.closed) == ([200], True)
    waiting = server.connect()
    waiting.send(get(target=b"/deferred"))
    gone = server.tree.later[0]
    waiting.half_close()
    assert (waiting.received, waiting.closed, gone.called) == (b"", True, True)


# -- 11. Security considerations -------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: b", b"a\nb", b"a\0b", b"a\rb", b"\r\n\r\n<html>"])
@pytest.mark.parametrize("name", [b"X-Test", b"Location", b"Content-Type"])
def test_s11_1_responses_cannot_be_split(server: Origin, name: bytes, value: bytes) -> None:
    """A value that an application took from a peer becomes one line, or a 500."""
    peer = server.connect()
    peer.send(get(target=b"/deferred"))
    server.tree.requests[-1].setHeader(name, value)
    server.tree.later[0].callback(b"body")
    (response,) = peer.responses()
    assert response.get(b"set-cookie") is None
    assert response.status == (500 if b"\0" in value else 200)
    if response.status == 200:
        assert b"\n" not in (response.get(name) or b"\n")
        assert response.body == b"body"
    assert len(server.rig.flush()) == (response.status == 500)


def test_s11_1_nor_by_a_reason_phrase_or_a_cookie(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(target=b"/deferred"))
    server.tree.requests[-1].setResponseCode(200, b"OK\r\nX: y")
    server.tree.later[0].callback(b"body")
    (response,) = peer.responses()
    assert (response.status, response.get(b"x")) == (500, None)
    assert len(server.rig.flush()) == 1
    peer = server.connect()
    peer.send(get(target=b"/deferred"))
    server.tree.requests[-1].addCookie(b"a", b"b\r\nX: y")
    server.tree.later[1].callback(b"body")
    assert b"\r\nX:" not in peer.received
    assert all(r.get(b"x") is None for r in peer.responses())
    server.rig.flush()


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLING = [
    # CVE-2020-10108: two lengths; CVE-2020-10109: a length beside a coding
    post(SMUGGLED, b"Content-Length: 0", b"Content-Length: %d" % len(SMUGGLED)),
    post(SMUGGLED, b"Content-Length: %d" % len(SMUGGLED), b"Content-Length: 0"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Content-Length: 99", CHUNKED),
    post(b"0\r\n\r\n" + SMUGGLED, CHUNKED, b"Content-Length: 0"),
    # CVE-2022-24801: signs, prefixes, white space and bare LF where no number or line has them
    post(SMUGGLED, b"Content-Length: +%d" % len(SMUGGLED)),
    post(b"0x0\r\n\r\n" + SMUGGLED, CHUNKED),
    post(b"+0\r\n\r\n" + SMUGGLED, CHUNKED),
    post(b"0 \r\n\r\n" + SMUGGLED, CHUNKED),
    post(b"0\n\r\n" + SMUGGLED, CHUNKED),
    post(b"0;\n\r\n" + SMUGGLED, CHUNKED),
    post(b"0\r\n\n" + SMUGGLED, CHUNKED),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding:\x0bchunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: \x0cchunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: chunked\x00"),
    # codings disguised
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: xchunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding : chunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b" Transfer-Encoding: chunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding\r\n : chunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"X: y\nTransfer-Encoding: chunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"X: y\rTransfer-Encoding: chunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"),
    post(b"0\r\n\r\n" + SMUGGLED, b'Transfer-Encoding: "chunked"'),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: chunked, identity"),
    post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: identity, chunked, identity"),
    post(b"0\r\n\r\n" + SMUGGLED, CHUNKED, version=b"1.0"),
    # chunks that end elsewhere for others
    post(b"1\r\nx" + b"0\r\n\r\n" + SMUGGLED, CHUNKED),
    post(b"1\r\nxXX0\r\n\r\n" + SMUGGLED, CHUNKED),
    post(b'0;a="\n"\r\n\r\n' + SMUGGLED, CHUNKED),
    post(b"1\rx\r\n0\r\n\r\n" + SMUGGLED, CHUNKED),
    post(b"0\r\nX: y\n\r\n\r\n" + SMUGGLED, CHUNKED),
]


@pytest.mark.parametrize("data", SMUGGLING, ids=range(len(SMUGGLING)))
def test_s11_2_requests_cannot_be_smuggled(server: Origin, data: bytes) -> None:
    answer = server.ask(data)
    assert (len(answer.responses), answer.ended, answer.seen) == (1, True, ())
    assert answer.last.status in (400, 501)


@given(data=st.sampled_from(SMUGGLING), behind=st.sampled_from([b"", GET, GET * 2]))
def test_s11_2_nor_behind_others(data: bytes, behind: bytes) -> None:
    with origin() as server:
        peer = server.connect()
        peer.send(GET + data + behind)
        assert peer.responses()[0].status == 200
        assert len(peer.responses()) == 2
        assert len(server.tree.seen) == 1


@pytest.mark.parametrize("path", [b"/<script>alert(1)</script>", b'/"onmouseover="x', b"/%3Cscript%3E"])
@pytest.mark.parametrize("status", [b"404", b"501", b"405"])
def test_s11_pages_quote_nothing_of_the_peer(path: bytes, status: bytes) -> None:
    """CVE-2024-41810 and its kin: no page of ours says what was asked for."""
    from twisted.web.resource import Resource

    method = {b"404": b"GET", b"501": b"FOO", b"405": b"PUT"}[status]
    with Rig(Resource()) as rig:
        (response,) = rig.exchange(get(target=path if status == b"404" else b"/", method=method))
        assert response.status in (404, int(status))
        assert b"script" not in response.body
        assert b"onmouse" not in response.body


# -- over real sockets -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_s9_3_2_pipeline_over_a_socket(kind: str) -> None:
    async with serve(kind, Tree(), limits=Limits(abort_seconds=1.0)) as serving:
        data = await serving.say(GET * 50 + post(b"hello", b"Content-Length: 5") + get(b"Connection: close"))
        responses, left = parse_responses(data)
        assert (len(responses), left) == (52, b"")


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_s9_6_refusal_arrives_over_a_socket(kind: str) -> None:
    """The client is still sending when it is refused, and reads the refusal, not a reset."""
    async with serve(kind, Tree(), limits=Limits(max_body_bytes=10)) as serving:
        body = b"x" * 500_000
        data = await serving.say(post(b"", b"Content-Length: %d" % len(body)), body[:250_000], body[250_000:])
        (response,), _ = parse_responses(data)
        assert (response.status, response.complete) == (413, True)

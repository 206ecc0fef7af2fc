"""RFC 9110, HTTP semantics: what HTTP/1.1 leans on and an origin server must keep, section by section.

A test is named after its section. How messages are framed is RFC 9112's (``tests/test_rfc9112.py``).
Not done, each on purpose:

- 4.2.2, 7.4: a target of the scheme ``https`` over plain TCP is not answered 421: behind a gateway
  that ends TLS it is right, and who is such a gateway is not known here.
- 5.6.7, 8.8, 13, 14: validators, preconditions and ranges are a resource's; of them the server only
  has what ``twisted.web`` offers a resource (``setETag``, ``setLastModified``).
- 6.5: a server may send trailers; this one sends none.
- 7.6.2, 7.6.3, 7.7: Max-Forwards, Via and transformations are a proxy's.
- 7.8: the server itself upgrades to nothing, so it ignores Upgrade; an application that upgrades (to
  WebSocket) answers 101 itself.
- 8.4: contents are coded by resources and wrappers of them, when they choose to.
- 9.3.6: CONNECT is 501: this is no proxy.
- 9.3.8: TRACE is 501: it would echo cookies and credentials to a script. The section makes it optional.
- 10.2.4: Server names the product alone, without a version.
- 11: authentication is a resource's (``twisted.web.guard``), and so are the challenges of a 401.
- 12: content negotiation is a resource's.
- 15.3.6: what a resource returns with 205 is sent as with 200.
- 15.5.9: 408 is sent to whoever has begun a request; who has sent nothing is closed without a word.
- 15.5.10 and others (411, 416, 422 ...): statuses that only a resource has cause to send.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from hardhttp import IStreamingResource
from hardhttp.limits import Limits
from hardhttp.testing import Rig, every_split, parse_responses
from tests.origin import GET, Origin, Tree, get, origin, post

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = b"Expect: 100-continue"
FIVE = b"Content-Length: 5"


@pytest.fixture
def server() -> Iterator[Origin]:
    with origin() as found:
        yield found


# -- 2. Conformance --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2", b"1.9"])
def test_s2_5_answers_are_of_the_highest_version_spoken(server: Origin, version: bytes) -> None:
    peer = server.connect()
    peer.send(get(version=version))
    assert peer.received.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("version", [b"0.9", b"2.0", b"3.0"])
def test_s2_5_other_major_versions(server: Origin, version: bytes) -> None:
    assert server.ask(get(version=version)).is_refused(505, "bad-version")


# -- 4. Identifiers --------------------------------------------------------------------------------


def test_s4_2_1_empty_host_is_invalid(server: Origin) -> None:
    assert server.ask(get(target=b"http:///x")).is_refused(400, "bad-target")
    assert server.ask(get(target=b"http://?x")).is_refused(400, "bad-target")


def test_s4_2_3_scheme_is_case_insensitive_and_an_empty_path_is_a_slash(server: Origin) -> None:
    assert server.ask(get(target=b"HTTP://a")).seen[0].target == b"/"


def test_s4_2_4_user_information_is_an_error(server: Origin) -> None:
    """It is there to hide who is asked."""
    for target in (b"http://u@a/", b"http://u:p@a/", b"http://a.example@evil/"):
        assert server.ask(get(target=target)).is_refused(400, "bad-target")


# -- 5. Fields -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"CONTENT-LENGTH", b"content-length", b"cOnTeNt-LeNgTh"])
def test_s5_1_names_are_case_insensitive(server: Origin, name: bytes) -> None:
    assert server.ask(post(b"hello", name + b": 5")).last.body == b"hello"


def test_s5_1_unrecognised_fields_are_ignored(server: Origin) -> None:
    assert server.ask(get(b"X-Unheard-Of: y", b"!#$%&'*+-.^_`|~: z")).statuses == [200]


def test_s5_2_lines_of_one_name_are_kept_in_order(server: Origin) -> None:
    (seen,) = server.ask(get(b"X: 1", b"Y: z", b"x: 2, 3", b"X: 1")).seen
    assert seen.get(b"x") == (b"1", b"2, 3", b"1")


def test_s5_3_nothing_is_applied_before_the_header_is_whole(server: Origin) -> None:
    peer = server.connect()
    peer.send(GET[:-1])
    assert server.tree.seen == []
    peer.send(GET[-1:])
    assert len(server.tree.seen) == 1


def test_s5_4_header_past_its_bounds_is_a_4xx() -> None:
    """Ignoring what is beyond would "increase the server's vulnerability to request smuggling"."""
    with origin(max_head_bytes=256, max_headers=3) as server:
        assert server.ask(get(b"X: y", b"X: y")).statuses == [200]
        assert server.ask(get(b"X: y", b"X: y", b"X: y")).is_refused(431, "headers")
        room = 256 - len(get(b"X: "))
        assert server.ask(get(b"X: " + b"y" * room)).statuses == [200]
        assert server.ask(get(b"X: " + b"y" * (room + 1))).is_refused(431, "head-bytes")


@pytest.mark.parametrize("value", [b"\0", b"a\0b", b"a\rb", b"a\nb", b"\r"])
def test_s5_5_cr_lf_nul_in_a_value_are_refused(server: Origin, value: bytes) -> None:
    assert server.ask(get(b"X: " + value)).is_refused(400, "bad-header")


def test_s5_5_white_space_around_a_value_is_excluded(server: Origin) -> None:
    assert server.ask(get(b"X: \t y z \t")).seen[0].get(b"x") == (b"y z",)
    assert server.ask(get(b"X:")).seen[0].get(b"x") == (b"",)
    assert server.ask(get(b"X: \t ")).seen[0].get(b"x") == (b"",)


def test_s5_6_1_empty_list_members_are_ignored(server: Origin) -> None:
    assert server.ask(get(b"Connection: ,, ,close,")).ended
    assert server.ask(post(b"0\r\n\r\n", b"Transfer-Encoding: , chunked,")).statuses == [200]
    assert server.ask(get(b"Connection: ,")).statuses == [200]


def test_s5_6_7_dates_are_imf_fixdate(server: Origin) -> None:
    (response,) = server.ask(GET).responses
    assert re.fullmatch(
        rb"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT", response.get(b"date") or b""
    )


@pytest.mark.parametrize(
    "date", [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"]
)
def test_s5_6_7_dates_of_three_formats_are_understood(server: Origin, date: bytes) -> None:
    assert server.ask(get(b"If-Modified-Since: " + date, target=b"/modified")).statuses == [304]
    earlier = date.replace(b"08:49:37", b"08:49:36")
    assert server.ask(get(b"If-Modified-Since: " + earlier, target=b"/modified")).statuses == [200]


# -- 6. Message abstraction ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
def test_s6_4_content_is_taken_whatever_the_method(server: Origin, method: bytes) -> None:
    answer = server.ask(get(FIVE, method=method, target=b"/echo") + b"hello" + GET, method)
    assert answer.seen[0].body == b"hello"
    assert answer.statuses == [200, 200]


def test_s6_5_1_trailers_are_no_header_fields(server: Origin) -> None:
    data = post(b"0\r\nX: y\r\nCookie: a=b\r\n\r\n", b"Transfer-Encoding: chunked", b"Trailer: X")
    (seen,) = server.ask(data).seen
    assert seen.get(b"x") == seen.get(b"cookie") == ()


@pytest.mark.parametrize(
    "line", [b"Content-Length: 50", b"Transfer-Encoding: chunked", b"Host: b", b"Authorization: x", b"Content-Type: x"]
)
def test_s6_5_1_trailers_decide_nothing(server: Origin, line: bytes) -> None:
    """Neither where the message ends nor whom it is for: the next one begins behind the blank line."""
    answer = server.ask(post(b"1\r\nx\r\n0\r\n" + line + b"\r\n\r\n", b"Transfer-Encoding: chunked") + GET)
    assert answer.statuses == [200, 200]
    first, second = answer.seen
    assert (first.body, first.get(b"host"), second.target) == (b"x", (b"a",), b"/")
    assert first.get(line.partition(b":")[0].lower()) in ((), (b"a",), (b"chunked",))


@pytest.mark.parametrize("target", [b"/", b"/stream", b"/status/404", b"/status/304", b"/status/301", b"/status/500"])
def test_s6_6_1_date_in_every_response(server: Origin, target: bytes) -> None:
    (response,) = server.ask(get(target=target)).responses
    date = parsedate_to_datetime((response.get(b"date") or b"").decode())
    assert date == datetime.fromtimestamp(server.rig.clock.seconds(), UTC)


@pytest.mark.parametrize("data", [b"\0", get(b"Expect: x"), b"GET / HTTP/2.0\r\n\r\n", post(b"", b"Content-Length: x")])
def test_s6_6_1_date_in_every_refusal(server: Origin, data: bytes) -> None:
    assert server.ask(data).last.get(b"date") is not None


def test_s6_6_1_date_is_that_of_the_second(server: Origin) -> None:
    peer = server.connect()
    for _ in range(3):
        peer.send(GET + get(target=b"/stream"))
        server.rig.advance(1)
    dates = [response.get(b"date") for response in peer.responses()]
    assert [d[-6:-4] for d in dates if d] == [b"20", b"20", b"21", b"21", b"22", b"22"]


# -- 7. Routing ------------------------------------------------------------------------------------


def test_s7_2_host_is_the_authority(server: Origin) -> None:
    """What an application reads as Host is where the request was sent, in any form of target."""
    assert server.ask(get(target=b"http://b:81/")).seen[0].get(b"host") == (b"b:81",)
    assert server.ask(GET).seen[0].get(b"host") == (b"a",)


@pytest.mark.parametrize("option", [b"close", b"Close", b"CLOSE", b"x, close", b"close;q=1, close", b",close"])
def test_s7_6_1_connection_options_are_case_insensitive(server: Origin, option: bytes) -> None:
    assert server.ask(get(b"Connection: " + option)).ended


def test_s7_6_1_unknown_options_are_ignored(server: Origin) -> None:
    answer = server.ask(get(b"Connection: x, Host, keep-alive, content-length", FIVE) + b"hello" + GET)
    assert answer.statuses == [200, 200]


@pytest.mark.parametrize("value", [b"websocket", b"h2c", b"TLS/1.0", b"HTTP/3.0, x"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_s7_8_upgrade_is_ignored(server: Origin, value: bytes, version: bytes) -> None:
    lines = (b"Connection: Upgrade, keep-alive", b"Upgrade: " + value)
    answer = server.ask(get(*lines, version=version) + GET)
    assert answer.statuses == [200, 200]
    assert all(response.get(b"upgrade") is None for response in answer.responses)


def test_s7_8_upgrade_with_a_body_is_ignored(server: Origin) -> None:
    data = post(b"hello", FIVE, b"Connection: upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
    assert [r.body for r in server.ask(data + GET).responses] == [b"hello", b"hello"]


# -- 8. Representation data ------------------------------------------------------------------------


def test_s8_3_content_type_is_said(server: Origin) -> None:
    assert server.ask(GET).last.get(b"content-type") == b"text/html"
    assert server.ask(b"\0").last.get(b"content-type") == b"text/html; charset=utf-8"


@pytest.mark.parametrize("status", [b"204", b"304"])
def test_s8_6_no_content_length_where_there_is_no_content(server: Origin, status: bytes) -> None:
    """MUST NOT with 204; with 304 only what a 200 would have said."""
    assert server.ask(get(target=b"/status/" + status)).last.get(b"content-length") is None


def test_s8_6_no_content_length_with_204_even_if_set(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(target=b"/later") + GET)
    (request,) = server.tree.later
    request.setResponseCode(204)
    request.setHeader(b"Content-Length", b"3")
    request.write(b"abc")
    request.finish()
    first, second = peer.responses()
    assert first.get(b"content-length") is None
    assert second.body == b"hello"


def test_s8_6_content_length_is_said_when_known(server: Origin) -> None:
    assert server.ask(GET).last.get(b"content-length") == b"5"
    assert server.ask(get(target=b"/echo")).last.get(b"content-length") == b"0"


def test_s8_6_more_is_not_sent_than_content_length_says(server: Origin) -> None:
    """What is beyond would be taken for another response."""
    peer = server.connect()
    peer.send(get(target=b"/later") + GET)
    (request,) = server.tree.later
    request.setHeader(b"Content-Length", b"3")
    request.write(b"ab")
    request.write(b"cHTTP/1.1 200 OK\r\n\r\n")
    request.finish()
    assert [r.body for r in peer.responses()] == [b"abc", b"hello"]


# -- 9. Methods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_s9_1_get_and_head_are_supported(server: Origin, method: bytes) -> None:
    assert server.ask(get(method=method), method).statuses == [200]


@pytest.mark.parametrize("method", [b"FOO", b"get", b"Get", b"PROPFIND", b"TRACE", b"M-SEARCH"])
def test_s9_1_unrecognised_methods_are_501(server: Origin, method: bytes) -> None:
    assert server.ask(get(method=method)).statuses == [501]


@pytest.mark.parametrize("method", [b"PUT", b"POST", b"DELETE", b"PATCH", b"OPTIONS"])
def test_s9_1_recognised_methods_that_are_not_allowed_are_405(server: Origin, method: bytes) -> None:
    assert server.ask(get(method=method)).statuses == [405]


@pytest.mark.parametrize("target", [b"/", b"/sized", b"/status/404", b"/etag"])
def test_s9_3_2_head_is_get_without_content(server: Origin, target: bytes) -> None:
    """The same fields; Content-Length is that of the GET."""
    (head,) = server.ask(get(target=target, method=b"HEAD"), b"HEAD").responses
    (whole,) = server.ask(get(target=target)).responses
    assert (head.status, sorted(head.headers), head.body) == (whole.status, sorted(whole.headers), b"")


def test_s9_3_2_head_of_what_has_no_length(server: Origin) -> None:
    """Framing may be left out: it would take the content to know it."""
    (head,) = server.ask(get(target=b"/stream", method=b"HEAD"), b"HEAD").responses
    assert (head.status, head.body, head.get(b"content-length")) == (200, b"", None)


def test_s9_3_2_head_of_a_resource_that_only_knows_get() -> None:
    class OnlyGet(Resource):
        isLeaf = True
        allowedMethods = (b"GET",)

        def render(self, request: Any) -> Any:
            from twisted.web.error import UnsupportedMethod

            if request.method != b"GET":
                raise UnsupportedMethod(self.allowedMethods)
            return b"hello"

    with Rig(OnlyGet()) as rig:
        (response,) = rig.exchange(get(method=b"HEAD"), methods=[b"HEAD"])
        assert (response.status, response.body, response.get(b"content-length")) == (200, b"", b"5")


def test_s9_3_2_refused_head_has_no_content() -> None:
    with origin(max_body_bytes=1) as server:
        peer = server.connect()
        peer.send(get(FIVE, method=b"HEAD"))
        (response,) = peer.responses(b"HEAD")
        assert response.status == 413
        assert peer.received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n" + get(b"Host: b", method=b"HEAD"), 400),
        (get(b"X : y", method=b"HEAD"), 400),
        (get(b"Expect: x", method=b"HEAD"), 417),
        (get(method=b"HEAD", version=b"2.0"), 505),
        (get(method=b"HEAD", target=b"/" + b"x" * 300), 414),
        (get(b"X: " + b"y" * 300, method=b"HEAD"), 431),
        (b"HEAD / HTTP/1.1 x\r\n\r\n", 400),
    ],
)
def test_s9_3_2_nor_has_one_whose_head_is_refused(data: bytes, status: int) -> None:
    """Whatever is wrong with it: by its method the client reads no content, and takes it for the next response."""
    with origin(max_head_bytes=256, max_target_bytes=64) as server:
        for pieces in every_split(data):
            peer = server.connect()
            peer.send(*pieces)
            (response,) = peer.responses(b"HEAD")
            assert (response.status, peer.ended) == (status, True)
            assert peer.received.endswith(b"\r\n\r\n")


def test_s9_3_2_a_head_that_does_not_end_is_refused_without_content(server: Origin) -> None:
    peer = server.connect()
    peer.send(b"HEAD / HTTP/1.1\r\nHost")
    server.rig.advance(server.rig.site.limits.head_seconds + 1)
    (response,) = peer.responses(b"HEAD")
    assert response.status == 408
    assert peer.received.endswith(b"\r\n\r\n")


def test_s9_3_2_what_is_no_head_is_refused_with_content(server: Origin) -> None:
    """Also behind one: the method is its own, not that of the request before it."""
    for before in (b"", get(method=b"HEAD")):
        peer = server.connect()
        peer.send(before + get(b"X : y"))
        *_, response = peer.responses(*[b"HEAD"] * bool(before), b"GET")
        assert (response.status, bool(response.body)) == (400, True)


def test_s9_3_6_connect(server: Origin) -> None:
    assert server.ask(get(target=b"a:443", method=b"CONNECT") + GET).is_refused(501, "connect")


def test_s9_3_7_options_of_the_server(server: Origin) -> None:
    answer = server.ask(get(target=b"*", method=b"OPTIONS") + GET)
    assert answer.statuses == [200, 200]
    assert answer.responses[0].get(b"content-length") == b"0"
    assert len(answer.seen) == 1


def test_s9_3_8_trace_echoes_nothing(server: Origin) -> None:
    answer = server.ask(get(b"Cookie: secret=1", method=b"TRACE"))
    assert answer.statuses == [501]
    assert b"secret" not in answer.last.body


# -- 10. Message context ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b"100-CONTINUE"])
@pytest.mark.parametrize("framing", [FIVE, b"Transfer-Encoding: chunked"])
def test_s10_1_1_continue_is_sent_at_once(server: Origin, value: bytes, framing: bytes) -> None:
    """When the header is whole, before any content; then a final status follows."""
    peer = server.connect()
    head = post(b"", b"Expect: " + value, framing)
    peer.send(head[:-1])
    assert peer.received == b""
    peer.send(head[-1:])
    assert peer.received == CONTINUE
    peer.send(b"hello" if framing is FIVE else b"5\r\nhello\r\n0\r\n\r\n")
    assert [(r.status, r.body) for r in peer.responses()] == [(100, b""), (200, b"hello")]


def test_s10_1_1_continue_may_be_left_out_when_content_has_come(server: Origin) -> None:
    peer = server.connect()
    peer.send(post(b"he", EXPECT, FIVE))
    assert peer.received == b""
    peer.send(b"llo")
    assert [(r.status, r.body) for r in peer.responses()] == [(200, b"hello")]


def test_s10_1_1_expectation_of_http_1_0_is_ignored(server: Origin) -> None:
    """15.2: no 1xx to HTTP/1.0."""
    for value in (b"Expect: 100-continue", b"Expect: x"):
        peer = server.connect()
        peer.send(post(b"", value, FIVE, version=b"1.0"))
        assert peer.received == b""
        peer.send(b"hello")
        assert [(r.status, r.body) for r in peer.responses()] == [(200, b"hello")]


@pytest.mark.parametrize("lines", [(), (b"Content-Length: 0",)])
def test_s10_1_1_no_content_to_expect(server: Origin, lines: tuple[bytes, ...]) -> None:
    peer = server.connect()
    peer.send(post(b"", EXPECT, *lines))
    assert [r.status for r in peer.responses()] == [200]


@pytest.mark.parametrize("value", [b"x", b"100-continue, x", b"200-ok", b""])
def test_s10_1_1_other_expectations_are_417(server: Origin, value: bytes) -> None:
    assert server.ask(post(b"", b"Expect: " + value, FIVE)).is_refused(417, "bad-expectation")


def test_s10_1_1_a_body_is_judged_before_it_is_invited() -> None:
    """The final status comes instead of 100, and says that the connection closes."""
    with origin(max_body_bytes=4) as server:
        peer = server.connect()
        peer.send(post(b"", EXPECT, FIVE))
        (response,) = peer.responses()
        assert (response.status, response.get(b"connection"), peer.ended) == (413, b"close", True)


def test_s10_1_1_continue_waits_for_what_is_before_it(server: Origin) -> None:
    """In a pipeline a 100 never overtakes a response."""
    peer = server.connect()
    peer.send(get(target=b"/deferred") + post(b"", EXPECT, FIVE))
    assert peer.received == b""
    server.tree.later[0].callback(b"first")
    assert [r.status for r in peer.responses()] == [200, 100]
    peer.send(b"hello")
    assert [r.status for r in peer.responses()] == [200, 100, 200]


def test_s10_1_1_continue_behind_others_at_once(server: Origin) -> None:
    peer = server.connect()
    peer.send(GET * 2 + post(b"", EXPECT, FIVE))
    assert [r.status for r in peer.responses()] == [200, 200, 100]


@implementer(IStreamingResource)
class Streaming(Resource):
    """Refuses, or invites the body later."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []

    def render(self, request: Any) -> Any:
        if request.path == b"/refuse":
            request.setResponseCode(403)
            return b"no"
        self.requests.append(request)
        return NOT_DONE_YET


def test_s10_1_1_a_resource_answers_instead_of_continue() -> None:
    with Rig(Streaming()) as rig:
        peer = rig.connect()
        peer.send(post(b"", EXPECT, FIVE, target=b"/refuse"))
        (response,) = peer.responses()
        assert (response.status, response.body, peer.ended) == (403, b"no", True)
        assert response.get(b"connection") == b"close"


def test_s10_1_1_a_resource_invites_the_body_when_it_wants_it() -> None:
    with Rig(Streaming()) as rig:
        peer = rig.connect()
        peer.send(post(b"", EXPECT, FIVE, target=b"/take"))
        assert peer.received == b""
        (request,) = rig.site.resource.requests
        request.deliverBody(Protocol())
        assert peer.received == CONTINUE
        peer.send(b"hello")
        request.finish()
        assert [r.status for r in peer.responses()] == [100, 200]
        assert not peer.ended


@pytest.mark.parametrize("method", [b"PUT", b"OPTIONS", b"DELETE"])
def test_s10_2_1_allow_with_405(server: Origin, method: bytes) -> None:
    (response,) = server.ask(get(method=method)).responses
    assert set((response.get(b"allow") or b"").split(b", ")) == {b"GET", b"HEAD"}


def test_s10_2_4_server_without_a_version(server: Origin) -> None:
    assert server.ask(GET).last.get(b"server") == b"hardhttp"


# -- 15. Status codes ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"200", b"299", b"404", b"499", b"599"])
def test_s15_any_final_status_can_be_sent(server: Origin, status: bytes) -> None:
    assert server.ask(get(target=b"/status/" + status)).statuses == [int(status)]


@pytest.mark.parametrize("status", [b"0", b"99", b"1000", b"-5"])
def test_s15_what_is_no_status_is_500(server: Origin, status: bytes) -> None:
    peer = server.connect()
    peer.send(get(target=b"/status/" + status))
    assert [r.status for r in peer.responses()] == [500]
    assert len(server.rig.flush()) == 1


def test_s15_4_5_not_modified_keeps_its_validator(server: Origin) -> None:
    answer = server.ask(get(b'If-None-Match: "x"', target=b"/etag") + GET)
    assert answer.statuses == [304, 200]
    assert answer.responses[0].get(b"etag") == b'"x"'
    assert answer.responses[0].get(b"date") is not None


@pytest.mark.parametrize(
    ("part", "seconds"),
    [(GET[:-2], 20), (post(b"hell", FIVE), 60), (post(b"5\r\nhell", b"Transfer-Encoding: chunked"), 60)],
)
def test_s15_5_9_request_timeout_closes(server: Origin, part: bytes, seconds: int) -> None:
    peer = server.connect()
    peer.send(part)
    server.rig.advance(seconds - 1)
    assert peer.responses() == []
    server.rig.advance(1)
    (response,) = peer.responses()
    assert (response.status, response.get(b"connection"), peer.ended) == (408, b"close", True)


def test_s15_5_9_nobody_who_has_sent_nothing_is_told(server: Origin) -> None:
    fresh, idle = server.connect(), server.connect()
    idle.send(GET)
    server.rig.advance(120)
    assert fresh.received == b""
    assert fresh.closed
    assert len(idle.responses()) == 1
    assert idle.closed


REFUSALS = [
    (b"\0", 400),
    (post(b"", b"Content-Length: 99999999999"), 413),
    (get(target=b"/" + b"x" * 9000), 414),
    (get(b"Expect: x"), 417),
    (get(*[b"X: y"] * 101), 431),
    (post(b"", b"Transfer-Encoding: x, chunked"), 501),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
]


@pytest.mark.parametrize(("data", "status"), REFUSALS)
def test_s15_5_refusals_explain_themselves(server: Origin, data: bytes, status: int) -> None:
    """15.5, 15.6: a server SHOULD send a representation that explains, and say whether it goes on."""
    peer = server.connect()
    peer.send(data)
    (response,), left = parse_responses(peer.received, closed=False)
    assert (response.status, left) == (status, b"")
    assert b"<h1>%d %s</h1><p>" % (status, response.phrase) in response.body
    assert response.get(b"connection") == b"close"
    assert len(response.body.partition(b"</h1><p>")[2].partition(b"<")[0]) > 10


def test_s15_6_1_failure_of_a_handler_says_nothing_of_it(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(target=b"/status/x-secret"))
    (response,) = peer.responses()
    assert response.status == 500
    assert b"secret" not in response.body
    assert b"ValueError" not in response.body
    assert len(server.rig.flush()) == 1
    assert not peer.ended


def test_s15_6_4_unavailable_says_when_to_come_back() -> None:
    with Rig(Tree(), limits=Limits(max_connections=1)) as rig:
        rig.connect()
        refused = rig.connect()
        (response,) = refused.responses()
        assert (response.status, response.get(b"retry-after"), refused.ended) == (503, b"2", True)
        refused.half_close()


def test_s15_6_6_version_not_supported_says_which_are(server: Origin) -> None:
    peer = server.connect()
    peer.send(get(version=b"2.0"))
    assert b"HTTP/1.0 and HTTP/1.1" in peer.responses()[0].body

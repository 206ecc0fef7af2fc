"""Redirects: where they lead, what goes along, and when it is enough."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.web.error import InfiniteRedirection

from hardhttp.client import BytesBody, ClientReason, RedirectAgent, ResponseTimeout, TooManyRedirects
from tests.client.rig import Body, ClientRig, Outcome
from tests.client.test_agent import Producer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def moved(to: bytes, code: int = 302, body: bytes = b"", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\n%bContent-Length: %d\r\n\r\n" % (code, to, more, len(body))
    return head + body


def ask(rig: ClientRig, method: bytes = b"GET", uri: bytes = b"http://a.example/b/c?d", **options: Any) -> Outcome:
    from twisted.web.http_headers import Headers

    fields = Headers(options.pop("fields", {}))
    return Outcome(RedirectAgent(rig.agent).request(method, uri, fields, options.pop("producer", None)), Body())


@pytest.mark.parametrize(
    ("to", "target"),
    [
        (b"e", b"/b/e"),
        (b"/e", b"/e"),
        (b"?x", b"/b/c?x"),
        (b"http://a.example/f#g", b"/f"),
        (b"../e f", b"/e%20f"),
        ("/é".encode(), b"/%C3%A9"),
        (b"/\xe9 \xe9", b"/%E9%20%E9"),  # Latin-1, as curl and browsers ask for it
    ],
)
def test_where_it_leads(to: bytes, target: bytes) -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        server = rig.servers[0]
        assert server.received.startswith(b"GET /b/c?d ")
        server.send(moved(to))
        assert server.received.startswith(b"GET %b HTTP/1.1" % target)
        assert len(rig.servers) == 1
        server.send(OK)
        assert asked.response.code == 200
        assert asked.response.previousResponse.code == 302


@pytest.mark.parametrize(("to", "uri"), [(b"/e", b"http://a.example/e#x"), (b"/e#y", b"http://a.example/e#y")])
def test_a_fragment_is_inherited(to: bytes, uri: bytes) -> None:
    """RFC 9110, 10.2.2: a Location without one has that of the URI before."""
    with ClientRig() as rig:
        asked = ask(rig, uri=b"http://a.example/b#x")
        rig.servers[0].send(moved(to))
        rig.servers[0].send(OK)
        assert asked.response.request.absoluteURI == uri


def test_within_a_unix_socket() -> None:
    for to, target in ((b"/e", b"/e"), (b"e?http://x", b"/b/e?http://x"), (b"http://b.example/", b"/")):
        with ClientRig() as rig:
            ask(rig, uri=b"http+unix://%2Frun%2Fs/b/c")
            rig.servers[0].send(moved(to))
            assert b"GET %b HTTP/1.1\r\n" % target in rig.servers[-1].received
            assert len(rig.servers) == (2 if b"b.ex" in to else 1)


@pytest.mark.parametrize(
    ("code", "method", "following", "kept"),
    [
        (301, b"POST", b"GET", False),
        (302, b"POST", b"GET", False),
        (303, b"POST", b"GET", False),
        (303, b"PUT", b"GET", False),
        (303, b"HEAD", b"HEAD", False),
        (301, b"PUT", b"PUT", True),
        (307, b"POST", b"POST", True),
        (308, b"PATCH", b"PATCH", True),
    ],
)
def test_the_method(code: int, method: bytes, following: bytes, kept: bool) -> None:
    with ClientRig() as rig:
        producer = None if method == b"HEAD" else BytesBody(b"abc")
        ask(rig, method, producer=producer, fields={b"Content-Type": [b"text/plain"], b"X-Y": [b"z"]})
        server = rig.servers[0]
        assert server.received.startswith(method)
        server.send(moved(b"/e", code))
        sent = server.received
        assert sent.startswith(following + b" /e ")
        assert (b"\r\nContent-Type: text/plain\r\n" in sent) is (kept or method == b"HEAD")
        assert sent.endswith(b"abc") is kept
        assert b"\r\nX-Y: z\r\n" in sent


def test_a_body_that_cannot_be_made_again() -> None:
    with ClientRig() as rig:
        producer = Producer(0)
        asked = ask(rig, b"POST", producer=producer)
        producer.done.callback(None)
        rig.servers[0].send(moved(b"/e", 307))
        assert isinstance(asked.error, TooManyRedirects)
        assert len(rig.servers) == 1


@pytest.mark.parametrize(
    ("to", "told"),
    [
        (b"/e", True),
        (b"http://A.example:80/e", True),
        (b"http://b.example/e", False),
        (b"https://a.example/e", False),
        (b"http://a.example:8080/e", False),
        (b"//b.example/e", False),
    ],
)
def test_secrets_are_not_told_to_others(to: bytes, told: bool) -> None:
    with ClientRig() as rig:
        secrets = {b"Authorization": [b"s"], b"Cookie": [b"s"], b"Proxy-Authorization": [b"s"], b"X": [b"y"]}
        ask(rig, fields=secrets)
        rig.servers[0].send(moved(to))
        sent = rig.servers[-1].received.split(b"\r\n\r\n")[-2 if told else 0]
        for name in (b"Authorization: ", b"Cookie: ", b"Proxy-Authorization: "):
            assert (name in sent) is told
        assert b"X: y" in sent


def test_so_many_and_no_more() -> None:
    with ClientRig(max_redirects=3) as rig:
        asked = ask(rig)
        for number in range(3):
            rig.servers[0].send(moved(b"/%d" % number))
        assert asked.pending
        rig.servers[0].send(moved(b"/one-too-many"))
        assert isinstance(asked.error, TooManyRedirects)
        assert asked.error.reason is ClientReason.REDIRECTS
        assert asked.error.response.code == 302
        assert asked.error.reasons[0].check(InfiniteRedirection)  # which users of Twisted's look for
        assert b"one-too-many" not in rig.servers[0].received
        assert rig.held()["idle_connections"] == 1


@pytest.mark.parametrize(
    "to",
    [b"ftp://a/", b"http://u:p@b.example/", b"http://b.example:0/", b"http://[::1", b"javascript:1", b"http://\x80/"],
)
def test_nowhere(to: bytes) -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        rig.servers[0].send(moved(to))
        assert isinstance(asked.error, TooManyRedirects)
        assert len(rig.servers) == 1


@pytest.mark.parametrize("uri", [b"http://a.example/", b"https://a.example/", b"http+unix://%2Frun%2Fother/"])
def test_nobody_is_led_to_a_unix_socket(uri: bytes) -> None:
    with ClientRig() as rig:
        asked = ask(rig, uri=uri)
        rig.servers[0].send(moved(b"http+unix://%2Frun%2Fs/containers"))
        assert isinstance(asked.error, TooManyRedirects)
        assert len(rig.servers) == 1


def test_a_redirect_without_a_place_is_an_answer() -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        rig.servers[0].send(b"HTTP/1.1 302 Moved\r\nContent-Length: 0\r\n\r\n")
        assert asked.response.code == 302


def test_the_body_is_read_to_a_bound() -> None:
    for size, connections in ((64 * 1024, 1), (64 * 1024 + 2, 2)):
        with ClientRig() as rig:
            asked = ask(rig)
            data = moved(b"/e", body=b"x" * size)
            rig.servers[0].send(data[:1000], data[1000:-1])
            rig.servers[0].send(data[-1:])
            rig.turn()
            assert len(rig.servers) == connections
            rig.servers[-1].send(OK)
            assert asked.response.code == 200


@pytest.mark.parametrize("own", [False, True])
def test_one_total_for_all_of_it(own: bool) -> None:
    with ClientRig(total_seconds=3600 if own else 10, first_byte_seconds=None) as rig:
        options = {"limits": attrs.evolve(rig.limits, total_seconds=10)} if own else {}
        asked = Outcome(RedirectAgent(rig.agent).request(b"GET", b"http://a.example/", **options), Body())
        for _ in range(3):
            rig.advance(3)
            rig.servers[-1].send(moved(b"/e"))
        rig.servers[-1].send(OK[:-1])
        rig.advance(0.9)
        assert asked.body is not None
        assert asked.body.end is None
        rig.advance(0.2)
        assert asked.body.end is not None
        assert asked.body.end.value.reason is ClientReason.TOTAL_SECONDS


def test_no_time_for_another_step() -> None:
    with ClientRig(total_seconds=10) as rig:
        asked = ask(rig)
        rig.advance(9.995)
        rig.servers[-1].send(moved(b"/e"))
        assert isinstance(asked.error, ResponseTimeout)
        assert asked.error.reason is ClientReason.TOTAL_SECONDS
        assert rig.held()["idle_connections"] == 1


@pytest.mark.parametrize("when", ["asked", "discarding", "following"])
def test_cancelling(when: str) -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        if when == "discarding":
            rig.servers[0].send(moved(b"/e", body=b"xyz")[:-1])
        elif when == "following":
            rig.servers[0].send(moved(b"/e"))
        asked.deferred.cancel()
        assert asked.failure is not None
        rig.turn()
        assert rig.held() == {}

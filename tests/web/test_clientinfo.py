"""Who asked, and for what: what a trusted proxy tells, and what anybody else does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.web.server import Request as TwistedRequest

from hardhttp.testing import Rig
from hardhttp.web.accesslog import AccessLog
from hardhttp.web.clientinfo import ClientInfo, peer_text
from tests.net.loopback import Answer, Loopback, blocking
from tests.web.saying import Says, say

PROXY, OTHER = "10.0.0.7", "192.0.2.66"


def asked(*lines: bytes, host: str = PROXY, ask: Any = lambda request: request.client_info, trusted: Any = None) -> Any:
    """What ``ask`` says of a request with these header lines, from ``host``."""
    found: list[Any] = []

    def answer(request: Any) -> bytes:
        found.append(ask(request))
        return b""

    with Rig(Answer(answer)) as rig:
        rig.site.trusted_proxies = ["10.0.0.0/8", "fd00::/8"] if trusted is None else trusted
        peer = rig.connect(host)
        peer.send(b"\r\n".join([b"GET /a/b%20c?d HTTP/1.1", b"Host: shop.example", *lines, b"", b""]))
        assert peer.responses()[0].status == 200
    return found[0]


FORWARDED = b'Forwarded: for="192.0.2.43:4711";proto=https;host="a.example:8443"'
X = (b"X-Forwarded-For: 192.0.2.43", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: a.example:8443")


def test_what_a_trusted_proxy_tells() -> None:
    told = ClientInfo(PROXY, "192.0.2.43", "https", "a.example", 8443, 4711, is_told=True)
    assert asked(FORWARDED) == told
    assert asked(*X) == ClientInfo(PROXY, "192.0.2.43", "https", "a.example", 8443, 0, is_told=True)


def test_what_anybody_else_tells_is_text() -> None:
    seen = ClientInfo(OTHER, OTHER, "http", "shop.example", 80, 1024)
    for lines in ((FORWARDED,), X, (b"X-Real-IP: 6.6.6.6", b"X-Request-ID: abc"), ()):
        assert asked(*lines, host=OTHER) == seen
        assert asked(*lines, trusted=[]) == ClientInfo(PROXY, PROXY, "http", "shop.example", 80, 1024)


@pytest.mark.parametrize(
    ("lines", "scheme", "host", "port"),
    [
        ((b"X-Forwarded-Proto: https",), "https", "shop.example", 443),
        ((b"X-Forwarded-For: 192.0.2.43",), "http", "shop.example", 80),
        ((b"X-Forwarded-Proto: https", b"X-Forwarded-Port: 8443"), "https", "shop.example", 8443),
        ((b"X-Forwarded-Host: a.example", b"X-Forwarded-Port: 8443"), "http", "a.example", 8443),
        ((b"X-Forwarded-Host: a.example:81", b"X-Forwarded-Port: 8443"), "http", "a.example", 81),
        ((b"X-Forwarded-Host: [2001:db8::1]:81",), "http", "[2001:db8::1]", 81),
        ((b"X-Forwarded-Host: a b",), "http", "shop.example", 80),
        ((b"X-Forwarded-Proto: gopher",), "http", "shop.example", 80),
    ],
)
def test_what_was_asked_for(lines: tuple[bytes, ...], scheme: str, host: str, port: int) -> None:
    info = asked(*lines)
    assert (info.scheme, info.host, info.port) == (scheme, host, port)


def test_a_proxy_may_be_named_as_a_socket_for_both_kinds_names_it() -> None:
    assert asked(b"X-Forwarded-For: 192.0.2.43", trusted=["::ffff:" + PROXY]).address == "192.0.2.43"


def test_twisted_s_own_methods_speak_of_it() -> None:
    def ask(request: Any) -> Any:
        request.rememberRootURL()
        return (
            request.isSecure(),
            request.getRequestHostname(),
            request.prePathURL(),
            str(request.URLPath()),
            request.getRootURL(),
            request.getClientAddress(),
            request.getClientAddress().host,
        )

    url = b"https://a.example:8443/"
    address = IPv4Address("TCP", "192.0.2.43", 4711)
    answers = asked(FORWARDED, ask=ask)
    assert answers == (True, b"a.example", url, url.decode(), url, address, "192.0.2.43")
    seen = IPv4Address("TCP", OTHER, 1024)
    url = b"http://shop.example/"
    assert asked(FORWARDED, host=OTHER, ask=ask) == (False, b"shop.example", url, url.decode(), url, seen, OTHER)
    assert asked(b'Forwarded: for="[2001:db8::1]"', ask=ask)[5] == IPv6Address("TCP", "2001:db8::1", 0)
    assert asked(b"X-Forwarded-Proto: https", ask=ask)[:3] == (True, b"shop.example", b"https://shop.example/")
    assert asked(b"X-Forwarded-Host: [::1]:81", ask=lambda request: request.prePathURL()) == b"http://[::1]:81/"
    assert asked(b"X-Forwarded-Host: [::1]:81", ask=lambda request: request.getRequestHostname()) == b"::1"


def test_paths_are_quoted_as_ever() -> None:
    root = Says(lambda request: b"")
    urls: list[bytes] = []

    class Tree(Says):
        isLeaf = False

        def getChild(self, path: bytes, request: Any) -> Any:
            return Says(lambda request: urls.append(request.prePathURL()) or b"")

    with Rig(Tree(root)) as rig:
        rig.site.trusted_proxies = [PROXY]
        for host in (PROXY, OTHER):
            peer = rig.connect(host)
            peer.send(say(target=b"/b%20c/d", X_Forwarded_Proto=b"http"))
    assert urls == [b"http://a/b%20c", b"http://a/b%20c"]


def test_what_an_application_sets_wins() -> None:
    def ask(request: Any) -> Any:
        request.setHost(b"b.example", 444, True)
        return request.isSecure(), request.getRequestHostname(), request.prePathURL()

    expected = (True, b"b.example", b"https://b.example:444/")
    assert asked(FORWARDED, ask=ask) == expected
    assert asked(ask=ask, host=OTHER) == expected


def test_secure_is_the_client_s_part_of_the_way() -> None:
    """A proxy that says http is believed also where its own connection is TLS."""
    assert not asked(b"X-Forwarded-Proto: http", ask=lambda request: request.isSecure())


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (b"7f3a-B_c.d", True),
        (b"x" * 64, True),
        (b"x" * 65, False),
        (b"", False),
        (b"a b", False),
        (b'a"b', False),
        (b"a\xffb", False),
        (b"a,b", False),
        (b"<script>", False),
    ],
)
def test_an_id_of_a_trusted_proxy(given: bytes, taken: bool) -> None:
    line = b"X-Request-ID: " + given
    said = asked(line, ask=lambda request: request.request_id)
    assert (said == given.decode("latin-1")) is taken
    assert asked(line, ask=lambda request: request.request_id, host=OTHER) != given.decode("latin-1")
    assert len(asked(ask=lambda request: request.request_id)) == 16


def test_the_access_log_says_whose_it_was(tmp_path: Any) -> None:
    with Rig(Answer(lambda request: b"")) as rig:
        rig.site.trusted_proxies = [PROXY]
        log = AccessLog(str(tmp_path / "log"), rig.clock, format="json")
        log.open()
        rig.site.access_log = log
        rig.connect(PROXY).send(say(X_Forwarded_For=b"192.0.2.43", X_Forwarded_Proto=b"https", X_Request_ID=b"abc"))
        rig.connect(PROXY).send(say(b"POST", body=b"", X_Forwarded_For=b"192.0.2.43", Content_Length=b"1"))
        rig.connect(OTHER).send(say(X_Forwarded_For=b"192.0.2.43", X_Request_ID=b"abc"))
        log.close()
        told, refused, untold = (json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines())
        assert (told["address"], told["seen"], told["tls"], told["id"]) == ("192.0.2.43", PROXY, True, "abc")
        assert (refused["status"], refused["method"]) == (400, None)
        assert refused["address"] == PROXY  # its head was never read
        assert (untold["address"], untold["tls"], untold["id"]) == (OTHER, False, None)
        assert "seen" not in untold


def test_a_refused_body_is_the_told_client_s(tmp_path: Any) -> None:
    with Rig(Answer(lambda request: b"")) as rig:
        rig.site.trusted_proxies = [PROXY]
        log = AccessLog(str(tmp_path / "log"), rig.clock)
        log.open()
        rig.site.access_log = log
        rig.connect(PROXY).send(say(b"POST", X_Forwarded_For=b"192.0.2.43", Content_Length=b"9" * 12))
        log.close()
    assert (tmp_path / "log").read_bytes().startswith(b"192.0.2.43 - - [")


def test_it_is_asked_for_once_and_kept_to_the_end() -> None:
    kept: list[Any] = []

    def answer(request: Any) -> bytes:
        assert request.client_info is request.client_info
        kept.append(request)
        request.notifyFinish()
        return b""

    with Rig(Answer(answer)) as rig:
        rig.site.trusted_proxies = [PROXY]
        rig.connect(PROXY).send(say(X_Forwarded_For=b"192.0.2.43"))
        rig.connect(OTHER).send(say())
        assert [request.client_info.address for request in kept] == ["192.0.2.43", OTHER]
        assert kept[0].getClientAddress().host == "192.0.2.43"
        assert not kept[0].isSecure()
        del kept[0].client_info
        assert kept[0].client_info.address == "192.0.2.43"


def test_a_request_class_of_twisted_s_own_hears_of_it() -> None:
    class Old(TwistedRequest):
        pass

    seen: list[Any] = []
    with Rig(Answer(lambda request: seen.append(request.isSecure()) or b""), requestFactory=Old) as rig:
        rig.site.trusted_proxies = [PROXY]
        rig.connect(PROXY).send(say(X_Forwarded_Proto=b"https"))
    assert seen == [True]


def test_networks_are_checked_when_they_are_set() -> None:
    with Rig(Answer(lambda request: b"")) as rig:
        rig.site.trusted_proxies = ["10.0.0.0/8", "unix", "::1"]
        assert [str(network) for network in rig.site.trusted_proxies] == ["10.0.0.0/8", "::1/128", "unix"]
        assert rig.site.server.trusts(UNIXAddress(None))
        assert rig.site.server.trusts(IPv6Address("TCP", "::ffff:10.0.0.1", 1))
        assert rig.site.server.trusts(IPv6Address("TCP", "::1", 1))
        assert not rig.site.server.trusts(IPv4Address("TCP", "a name", 1))
        assert not rig.site.server.trusts(None)
        with pytest.raises(ValueError, match="unixx"):
            rig.site.trusted_proxies = ["unixx"]
        rig.site.trusted_proxies = []
        assert not rig.site.server.trusts(UNIXAddress(None))


def test_a_peer_as_text() -> None:
    assert peer_text(IPv4Address("TCP", "192.0.2.7", 1)) == "192.0.2.7"
    assert peer_text(UNIXAddress("/run/http")) == "unix"
    assert peer_text(None) == ""


@blocking
def test_behind_a_unix_socket(tmp_path: Any) -> None:
    """nginx at the other end of a Unix socket is no address; it is trusted by a word."""
    resource = Answer(
        lambda request: f"{request.client_info.seen} {request.getClientAddress().host}".encode() + request.prePathURL()
    )
    with Loopback(resource, f"unix:{tmp_path / 'http'}") as loop:
        loop.site.trusted_proxies = ["unix"]
        (response,) = loop.exchange(say(X_Forwarded_For=b"192.0.2.43", X_Forwarded_Proto=b"https"))
        assert response.body == b"unix 192.0.2.43https://a/"


@given(
    st.lists(
        st.sampled_from([b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Host", b"X-Real-IP", b"X-Forwarded-Port"]),
        max_size=6,
    ),
    st.data(),
)
def test_nothing_a_client_says_is_an_error(names: list[bytes], data: Any) -> None:
    text = st.from_regex(rb"[!-~ \x80-\xff]{0,40}", fullmatch=True)
    info = asked(*[name + b": " + data.draw(text) for name in names])
    assert info.seen == PROXY
    assert info.scheme in ("http", "https")
    assert 0 < info.port < 65536

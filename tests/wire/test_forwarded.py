"""What proxies say: the whole grammar, read from the right, as far as it is to be believed."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.forwarded import (
    MAX_HOPS,
    MAX_LINE_BYTES,
    Hop,
    IPAddress,
    Told,
    forwarded_hops,
    parse_ip,
    parse_network,
    read,
    split_host,
    walk,
    x_forwarded_hops,
)

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def trusted(address: IPAddress) -> bool:
    return any(address in network for network in TRUSTED)


def fields(**lines: bytes | list[bytes]) -> Callable[[bytes], list[bytes]]:
    """``get`` of a request with these fields; ``_`` stands for ``-``."""
    held = {
        name.replace("_", "-").encode(): value if isinstance(value, list) else [value] for name, value in lines.items()
    }
    return lambda name: held.get(name, [])


def told(**lines: bytes | list[bytes]) -> Told | None:
    return read(fields(**lines), trusted)


def address_of(**lines: bytes | list[bytes]) -> str:
    found = told(**lines)
    return "" if found is None else str(found.address or "")


A = ip_address("192.0.2.43")
V6 = ip_address("2001:db8:cafe::17")


@pytest.mark.parametrize(
    ("line", "hop"),
    [
        # RFC 7239, 4
        (b'for="_gazonk"', Hop()),
        (b'For="[2001:db8:cafe::17]:4711"', Hop(V6, 4711)),
        (b"for=192.0.2.43;proto=http;by=203.0.113.43", Hop(A, None, "http")),
        # 6
        (b'for="192.0.2.43:47011"', Hop(A, 47011)),
        (b'for="192.0.2.43:_port"', Hop(A)),
        (b"for=192.0.2.43", Hop(A)),
        (b"for=unknown", Hop()),
        (b'FOR="Unknown:80"', Hop(None, None)),
        (b"for=_SEVKISEK", Hop()),
        (b'for="[2001:db8:cafe::17]"', Hop(V6)),
        (b'for="[::ffff:192.0.2.43]"', Hop(A)),
        (b'for="\\1\\92.0.2.43"', Hop(A)),
        (b"proto=HTTPS;host=a.example", Hop(None, None, "https", b"a.example")),
        (b'for=192.0.2.43;host="a.example:8080"', Hop(A, None, None, b"a.example:8080")),
        (b'for=192.0.2.43;host="[2001:db8::1]:8080"', Hop(A, None, None, b"[2001:db8::1]:8080")),
        (b"for=192.0.2.43;proto=gopher", Hop(A)),
        (b'for=192.0.2.43;secret="a, for=10.0.0.1"', Hop(A)),
        (b';for=192.0.2.43;;by="_x";', Hop(A)),
        (b" \tfor=192.0.2.43 ; proto=http\t", Hop(A, None, "http")),
        (b'for="192.0.2.43:0"', Hop(A, 0)),
        (b'for="192.0.2.43:65535"', Hop(A, 65535)),
    ],
)
def test_a_member(line: bytes, hop: Hop) -> None:
    assert list(forwarded_hops([line])) == [hop]


@pytest.mark.parametrize(
    "line",
    [
        b"for=",
        b"for",
        b"=192.0.2.43",
        b"for =192.0.2.43",
        b"for= 192.0.2.43",
        b"for=192.0.2.43;for=192.0.2.43",
        b"for=192.0.2.43;proto=http;Proto=https",
        b"for=192.0.2.256",
        b"for=192.0.2",
        b"for=192.0.2.043",
        b"for=192.0.2.43:80",  # a colon is no token's
        b'for="192.0.2.43:65536"',
        b'for="192.0.2.43:"',
        b'for="192.0.2.43:x"',
        b'for="2001:db8::1"',
        b'for="[192.0.2.43]x"',
        b'for="[2001:db8::1"',
        b'for="[fe80::1%eth0]"',
        b'for="_"',
        b'for="_ "',
        b'for="unknown2"',
        b'for="hidden"',
        b'for=""',
        b'for="192.0.2.43',
        b'for=192.0.2.43"',
        b'for="192.0.2.43"x',
        b"for=192.0.2.43;host=",
        b'for=192.0.2.43;host=""',
        b'for=192.0.2.43;host="a b"',
        b'for=192.0.2.43;host="a/b"',
        b'for=192.0.2.43;host="a:65536"',
        b'for=192.0.2.43;host="user@a"',
        b"for=192.0.2.43 proto=http",
        b"for=192.0.2.43;\x00",
        b"\xff",
    ],
)
def test_a_malformed_member_is_not_believed_nor_what_is_before_it(line: bytes) -> None:
    assert list(forwarded_hops([line])) == []
    assert list(forwarded_hops([b"for=192.0.2.1, " + line])) == []
    assert list(forwarded_hops([b"for=192.0.2.1", line])) == []
    assert list(forwarded_hops([line + b", for=192.0.2.43"])) == [Hop(A)]
    assert list(forwarded_hops([line, b"for=192.0.2.43"])) == [Hop(A)]


def test_several_lines_are_one_list_and_empty_members_are_passed_over() -> None:
    lines = [b"for=192.0.2.1,for=192.0.2.2", b"", b", ,for=192.0.2.3, ", b'for="[2001:db8:cafe::17]"']
    assert [str(hop.address) for hop in forwarded_hops(lines)] == [str(V6), "192.0.2.3", "192.0.2.2", "192.0.2.1"]


@pytest.mark.parametrize(
    "opening",
    [
        b'for="',
        b'for=6.6.6.6;x="',
        b'for="6.6.6.6',
        b'x="\\',
        b'for=6.6.6.6;host="a, for=6.6.6.6',
        b'"',
        b"\\",
        b'a="b"c="',
    ],
)
@pytest.mark.parametrize("member", [b"for=192.0.2.43", b'for="192.0.2.43:80"', b'for="192.0.2.43";host="a"'])
def test_an_open_quote_does_not_swallow_what_a_proxy_adds(opening: bytes, member: bytes) -> None:
    assert address_of(forwarded=opening + b", " + member) == "192.0.2.43"
    assert address_of(forwarded=[opening, member]) == "192.0.2.43"


def test_members_are_bounded() -> None:
    assert len(list(forwarded_hops([b",".join([b"for=10.0.0.1"] * MAX_HOPS)]))) == MAX_HOPS
    assert len(list(forwarded_hops([b",".join([b"for=10.0.0.1"] * (MAX_HOPS + 1))]))) == MAX_HOPS
    assert len(list(forwarded_hops([b"for=10.0.0.1"] * (MAX_HOPS + 1)))) == MAX_HOPS
    assert len(list(x_forwarded_hops([b",".join([b"10.0.0.1"] * (MAX_HOPS + 1))]))) == MAX_HOPS
    assert list(forwarded_hops([b"for=10.0.0.1" + b"," * MAX_HOPS])) == []
    assert len(list(forwarded_hops([b"for=10.0.0.1" + b"," * (MAX_HOPS - 1)]))) == 1


def test_a_line_is_bounded() -> None:
    """What is cut by the bound is not taken for a member; what is at its right is."""
    member = b"for=192.0.2.43;x="
    member += b"x" * (MAX_LINE_BYTES - len(member))
    assert list(forwarded_hops([member])) == [Hop(A)]
    assert list(forwarded_hops([member + b"x"])) == []
    assert list(forwarded_hops([b"1" * MAX_LINE_BYTES + b"for=192.0.2.1,for=192.0.2.43"])) == [Hop(A)]
    assert list(x_forwarded_hops([b" " * 5000 + b"192.0.2.1 , 192.0.2.43"])) == [Hop(A)]


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (b"192.0.2.43", "192.0.2.43"),
        (b"192.0.2.43:4711", "192.0.2.43"),
        (b"2001:db8:cafe::17", "2001:db8:cafe::17"),
        (b"[2001:db8:cafe::17]", "2001:db8:cafe::17"),
        (b"[2001:db8:cafe::17]:80", "2001:db8:cafe::17"),
        (b"::ffff:192.0.2.43", "192.0.2.43"),
        (b"6.6.6.6, 192.0.2.43", "192.0.2.43"),
        (b"6.6.6.6, 192.0.2.43, 10.0.0.2, 10.0.0.3", "192.0.2.43"),
        (b"6.6.6.6,192.0.2.43, fd00::1", "192.0.2.43"),
        (b"10.0.0.9, 10.0.0.2", "10.0.0.9"),
        (b"nonsense, 10.0.0.2", "10.0.0.2"),
        (b"192.0.2.43, nonsense", ""),
        (b"192.0.2.43, unknown, 10.0.0.2", "10.0.0.2"),
        (b"192.0.2.43, 10.0.0.2,,", "192.0.2.43"),
        (b"unknown", ""),
        (b"", ""),
        (b"fe80::1%eth0", ""),
        (b"192.0.2.43 10.0.0.2", ""),
    ],
)
def test_x_forwarded_for(line: bytes, address: str) -> None:
    assert address_of(x_forwarded_for=line) == address
    assert address_of(x_forwarded_for=line.split(b",")) == address


def test_a_client_cannot_prepend() -> None:
    for written in (b"6.6.6.6", b"10.0.0.1", b"10.0.0.1, 10.0.0.1", b"for=6.6.6.6"):
        assert address_of(x_forwarded_for=written + b", 192.0.2.43") == "192.0.2.43"
        assert address_of(x_forwarded_for=[written, b"192.0.2.43, 10.0.0.2"]) == "192.0.2.43"
    for written in (b"for=6.6.6.6;host=evil", b"for=10.0.0.1", b"for=10.0.0.1;proto=https"):
        assert told(forwarded=written + b", for=192.0.2.43;proto=http") == Told(A, None, "http")


def test_the_outermost_trusted_proxy_knows_best() -> None:
    lines = b"for=6.6.6.6;host=evil, for=192.0.2.43;proto=https;host=a.example, for=10.0.0.2;proto=http;host=inner"
    assert told(forwarded=lines) == Told(A, None, "https", b"a.example")
    assert told(forwarded=b"for=192.0.2.43, for=10.0.0.2;proto=https;host=a") == Told(A, None, "https", b"a")
    assert told(forwarded=b'for="192.0.2.43:99", for="10.0.0.2:7"') == Told(A, 99)
    assert told(forwarded=b'for=_hidden;proto=https, for="10.0.0.2:7"') == Told(ip_address("10.0.0.2"), 7, "https")
    assert told(forwarded=b"proto=https") == Told(scheme="https")


@pytest.mark.parametrize(
    ("lines", "scheme"),
    [
        ([b"https"], "https"),
        ([b"HTTP"], "http"),
        ([b"http, https"], "https"),
        ([b"https", b"http"], "http"),
        ([b"https,"], "https"),
        ([b"wss"], None),
        ([b"https, x"], None),
        ([b""], None),
    ],
)
def test_x_forwarded_proto_is_the_nearest_proxy_s(lines: list[bytes], scheme: str | None) -> None:
    found = told(x_forwarded_proto=lines)
    assert (found.scheme if found else None) == scheme


def test_x_forwarded_host_and_port() -> None:
    assert told(x_forwarded_host=b"evil, A.example:8443") == Told(host=b"a.example:8443")
    for wrong in (b"a b", b"a/b", b"@a", b"a:99999", b"a" * 262, b"[::1", b"\xff"):
        assert told(x_forwarded_host=wrong) == Told()
    assert told(x_forwarded_port=b"80, 8443") == Told(host_port=8443)
    for wrong in (b"0", b"65536", b"123456", b"-1", b"x", b"8_0", "٣".encode()):
        assert told(x_forwarded_port=wrong) == Told()


def test_x_real_ip_is_read_alone() -> None:
    assert address_of(x_real_ip=b" 192.0.2.43 ") == "192.0.2.43"
    assert address_of(x_real_ip=[b"6.6.6.6", b"192.0.2.43"]) == "192.0.2.43"
    assert address_of(x_real_ip=b"192.0.2.43, 6.6.6.6") == ""
    assert address_of(x_real_ip=b"6.6.6.6", x_forwarded_for=b"192.0.2.43") == "192.0.2.43"
    assert address_of(x_real_ip=b"6.6.6.6", x_forwarded_for=b"nonsense") == ""


def test_where_both_kinds_are_only_what_both_say_is_believed() -> None:
    """A proxy that sets one kind passes on the other as its client sent it."""
    assert address_of(forwarded=b"for=6.6.6.6", x_forwarded_for=b"192.0.2.43") == ""
    assert address_of(forwarded=b"for=192.0.2.43", x_forwarded_for=b"6.6.6.6, 192.0.2.43") == "192.0.2.43"
    poisoned = told(forwarded=b"for=192.0.2.43;host=evil;proto=https", x_forwarded_for=b"192.0.2.43")
    assert poisoned == Told(A)
    both = told(forwarded=b"for=192.0.2.43;proto=https", x_forwarded_for=b"192.0.2.43", x_forwarded_proto=b"https")
    assert both == Told(A, None, "https")
    assert told(forwarded=b"nonsense", x_forwarded_for=b"192.0.2.43") == Told()


def test_nothing_said_is_nothing_told() -> None:
    assert told() is None
    assert told(x_forwarded_proto=b"") is None
    assert walk([], trusted) == Told()


@pytest.mark.parametrize(
    ("host", "parts"),
    [
        (b"a.example", (b"a.example", None)),
        (b"a.example:80", (b"a.example", 80)),
        (b"a.example:", (b"a.example", None)),
        (b"[::1]", (b"[::1]", None)),
        (b"[::1]:65535", (b"[::1]", 65535)),
        (b"a:65536", None),
        (b":80", None),
        (b"", None),
        (b"a b", None),
        (b"x" * 261, (b"x" * 261, None)),
        (b"x" * 262, None),
    ],
)
def test_a_host_and_its_port(host: bytes, parts: object) -> None:
    assert split_host(host) == parts


@given(st.lists(st.binary(max_size=60) | st.from_regex(rb'[for=",;\\:\[\]0-9a-f. ]{0,60}', fullmatch=True), max_size=5))
def test_whatever_a_client_sends_the_proxy_s_word_stands(lines: list[bytes]) -> None:
    lines = [line for line in lines if b"\n" not in line and b"\r" not in line]
    for sent, written in ((lines, [b"for=192.0.2.43"]), ([], [b",".join([*lines, b' for="192.0.2.43"'])])):
        (first, *_) = forwarded_hops([*sent, *written])
        assert first == Hop(A)
        assert address_of(forwarded=[*sent, *written]) == "192.0.2.43"
        list(forwarded_hops(lines))
        list(x_forwarded_hops(lines))


@given(st.binary(max_size=50))
def test_an_address_is_one_or_none(text: bytes) -> None:
    address = parse_ip(text)
    assert address is None or ip_address(text.decode("ascii")) is not None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("::ffff:10.0.0.7", "10.0.0.7/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", None),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("10.0.0.7", "10.0.0.7/32"),
        ("10.0.0.7/8", None),
        ("nowhere", None),
    ],
)
def test_a_network_of_ipv4_in_ipv6_is_the_ipv4_one(text: str, network: str | None) -> None:
    """Addresses are, so that nothing would be in it otherwise."""
    if network is None:
        with pytest.raises(ValueError, match=r"appear|host bits"):
            parse_network(text)
    else:
        assert str(parse_network(text)) == network

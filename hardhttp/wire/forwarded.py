"""What proxies say of whoever is behind them: ``Forwarded`` (RFC 7239) and the ``X-Forwarded-*`` fields.

Both are lists to which each proxy adds at the right. So they are read from the right, hop by hop, and
only as far as proxies that are trusted wrote them: ``walk`` believes the last hop, and the one before
it only when the last one names a trusted proxy. What a client wrote stands at the left of that and is
never reached. A member that is not well-formed ends the reading; those at its right stand, because
whoever added them is nearer to us than whoever broke it.

Cutting at commas from the right is also why an open quote, sent by a client, does not swallow what the
proxy adds: a member is the shortest well-formed text behind a comma, and inside a quoted string no such
text exists but where both its ends were the proxy's own. What is read is bounded in bytes and in members.

Nothing here says who is trusted; that is the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import attrs

from hardhttp.wire.grammar import HOST, list_items

__all__ = [
    "Hop",
    "IPAddress",
    "Told",
    "forwarded_hops",
    "parse_ip",
    "parse_network",
    "read",
    "split_host",
    "walk",
    "x_forwarded_hops",
]

IPAddress = IPv4Address | IPv6Address

# Members looked at in one request, and bytes of each field line, both from the right.
MAX_HOPS = 100
MAX_LINE_BYTES = 4096
MAX_HOST_BYTES = 255 + 6  # a name in the DNS, a colon and a port

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_PAIR = rb"(" + _TOKEN + rb")=(?:(" + _TOKEN + rb")|(" + _QUOTED + rb"))"
# RFC 7239, 4: forwarded-element. White space around ";" is not its, but many send it.
_MEMBER = re.compile(rb"[ \t]*(?:" + _PAIR + rb")?(?:[ \t]*;[ \t]*(?:" + _PAIR + rb")?)*[ \t]*")
_PAIRS = re.compile(_PAIR)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)

# RFC 7239, 6: node = nodename [ ":" node-port ]
_OBFUSCATED = rb"_[0-9A-Za-z._-]+"
_NODE = re.compile(
    rb"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\]|(?i:unknown)|" + _OBFUSCATED + rb")"
    rb"(?::(?:([0-9]{1,5})|" + _OBFUSCATED + rb"))?"
)
_BARE_IPV6 = re.compile(rb"[0-9A-Fa-f:.]+")
_ANY = re.compile(rb"[^,]*")
_PORT = re.compile(rb"[0-9]{1,5}")


@attrs.frozen
class Hop:
    """What one proxy said: whom it was asked by, over what, and for which host.

    ``address`` is ``None`` where the proxy does not say, or hides it (``unknown``, ``_hidden``).
    """

    address: IPAddress | None = None
    port: int | None = None
    scheme: str | None = None
    host: bytes | None = None


@attrs.frozen
class Told:
    """What trusted proxies say together; ``None`` for what none of them said.

    ``address`` and ``port`` are the client's, ``scheme`` is ``http`` or ``https``, ``host`` is the Host the
    client asked for and ``host_port`` the port, where that was said apart.
    """

    address: IPAddress | None = None
    port: int | None = None
    scheme: str | None = None
    host: bytes | None = None
    host_port: int | None = None


def parse_ip(text: bytes) -> IPAddress | None:
    """An address; one of IPv4 in IPv6 is the IPv4 one. ``None`` for anything else, scopes too."""
    if len(text) > 45 or b"%" in text:
        return None
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_network(network: str | IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A network, or the one of a single address; one of IPv4 in IPv6 is the IPv4 one, as addresses are.

    Raises ``ValueError`` for anything else.
    """
    found = ip_network(network)
    if isinstance(found, IPv6Network) and found.prefixlen >= 96 and found.network_address.ipv4_mapped is not None:
        return IPv4Network((int(found.network_address.ipv4_mapped), found.prefixlen - 96))
    return found


def split_host(host: bytes) -> tuple[bytes, int | None] | None:
    """A Host field's name and port; ``None`` when it is empty or none (RFC 9110, 7.2)."""
    if not host or len(host) > MAX_HOST_BYTES or HOST.fullmatch(host) is None:
        return None
    name, colon, port = host.rpartition(b":")
    if not colon or host.endswith(b"]"):
        return host, None
    if not name or int(port or b"0") > 65535:
        return None
    return name, int(port) if port else None


def forwarded_hops(values: Sequence[bytes]) -> Iterator[Hop]:
    """The hops of a ``Forwarded`` field, given as its lines, from the right to the first malformed one."""
    for member in _members(values, _MEMBER):
        if not member.strip(b" \t"):
            continue  # RFC 9110, 5.6.1.2: empty members are allowed for
        hop = _forwarded_hop(member)
        if hop is None:
            return
        yield hop


def _members(values: Sequence[bytes], pattern: re.Pattern[bytes]) -> Iterator[bytes]:
    """The members of a list, from the right, while each matches ``pattern``."""
    looks = MAX_HOPS
    for line in reversed(values):
        floor = max(0, len(line) - MAX_LINE_BYTES)
        end = comma = len(line)
        while comma >= 0:
            if not looks:
                return
            looks -= 1
            comma = line.rfind(b",", floor, comma)
            if comma < 0 and floor:
                return  # where this member begins is beyond the bound
            if pattern.fullmatch(line, comma + 1, end) is not None:
                yield line[comma + 1 : end]
                end = comma
        if end >= 0:
            return  # what is left of this line is malformed


def _forwarded_hop(member: bytes) -> Hop | None:
    said: dict[bytes, bytes] = {}
    for found in _PAIRS.finditer(member):
        name = found[1].lower()
        if name in said:
            return None  # RFC 7239, 4: each parameter once
        said[name] = found[2] if found[3] is None else _ESCAPED.sub(rb"\1", found[3][1:-1])
    address, port = None, None
    if b"for" in said:
        node = _node(said[b"for"])
        if node is None:
            return None
        address, port = node
    scheme, host = said.get(b"proto"), said.get(b"host")
    if host is not None and split_host(host) is None:
        return None
    return Hop(address, port, None if scheme is None else _scheme(scheme), host)


def _node(text: bytes) -> tuple[IPAddress | None, int | None] | None:
    """RFC 7239, 6."""
    found = _NODE.fullmatch(text)
    if found is None:
        return None
    port = None if found[3] is None else int(found[3])
    if port is not None and port > 65535:
        return None
    text = found[1] or found[2]
    if not text:
        return None, None  # unknown, or hidden behind a name
    address = parse_ip(text)
    return None if address is None else (address, port)


def _scheme(text: bytes) -> str | None:
    lower = text.lower()
    return lower.decode("ascii") if lower in (b"http", b"https") else None


def x_forwarded_hops(values: Sequence[bytes]) -> Iterator[Hop]:
    """The hops of an ``X-Forwarded-For`` field, from the right: addresses, with a port or without."""
    for member in _members(values, _ANY):
        text = member.strip(b" \t")
        if not text:
            continue
        address = parse_ip(text) if _BARE_IPV6.fullmatch(text) else None
        node = (address, None) if address is not None else _node(text)
        if node is None:
            return
        yield Hop(*node)


def walk(hops: Iterable[Hop], trusted: Callable[[IPAddress], bool]) -> Told:
    """What ``hops``, from the right, say as far as they are to be believed.

    The first hop is taken as written by a trusted proxy; each further one when the hop before it names
    a trusted proxy. What the outermost trusted proxy said of scheme and host wins. An address that is
    hidden ends the walk: the last one that is known stands.
    """
    told = Told()
    for hop in hops:
        told = attrs.evolve(
            told,
            address=hop.address or told.address,
            port=hop.port if hop.address else told.port,
            scheme=hop.scheme or told.scheme,
            host=hop.host or told.host,
        )
        if hop.address is None or not trusted(hop.address):
            break
    return told


def read(get: Callable[[bytes], Sequence[bytes]], trusted: Callable[[IPAddress], bool]) -> Told | None:
    """All that is told, or ``None`` when nothing is; ``get`` gives a field's lines by its lower-case name.

    A proxy sets one kind of field and may pass on the other as its client sent it. So where both are,
    only what both say alike is believed.
    """
    lines = get(b"forwarded")
    forwarded = walk(forwarded_hops(lines), trusted) if lines else None
    x_forwarded = _x_forwarded(get, trusted)
    if forwarded is None or x_forwarded is None:
        return forwarded or x_forwarded
    return Told(
        *(
            ours if ours == theirs else None
            for ours, theirs in zip(attrs.astuple(forwarded), attrs.astuple(x_forwarded), strict=True)
        )
    )


def _x_forwarded(get: Callable[[bytes], Sequence[bytes]], trusted: Callable[[IPAddress], bool]) -> Told | None:
    """What the ``X-Forwarded-*`` fields say.

    Of ``-Proto``, ``-Host`` and ``-Port`` the last member counts, the word of the proxy nearest to us: no
    client can write behind it. ``X-Real-IP`` is read where there is no ``X-Forwarded-For``.
    """
    lines, alone = get(b"x-forwarded-for"), get(b"x-real-ip")
    scheme, host, port = (_last(get(name)) for name in (b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"))
    if not (lines or alone or scheme or host or port):
        return None
    if lines or not alone:
        told = walk(x_forwarded_hops(lines), trusted)
    else:
        told = Told(parse_ip(alone[-1].strip(b" \t")))
    return attrs.evolve(
        told,
        scheme=None if scheme is None else _scheme(scheme),
        host=host if host is not None and split_host(host) is not None else None,
        host_port=int(port) if port and _PORT.fullmatch(port) and 0 < int(port) < 65536 else None,
    )


def _last(lines: Sequence[bytes]) -> bytes | None:
    items = list_items(lines[-1:])
    return items[-1] if items else None

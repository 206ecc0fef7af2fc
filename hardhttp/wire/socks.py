"""What a SOCKS 5 proxy is asked for a connection (RFC 1928), and what it answers; RFC 1929 to sign in.

``SocksNegotiation`` takes bytes as they come, in any pieces, and gives the answer when it is whole. The verdict does
not depend on the pieces of an answer; one that is here before it was asked for is none. Nothing of it grows: the
longest answer has 262 bytes. A proxy that says one byte a second is bounded by the caller's deadline.

A host that is a name is sent as a name: the proxy looks it up, not whoever asks. So nothing of where a request goes
leaves by the DNS.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from ipaddress import IPv4Address, ip_address
from typing import Final

import attrs

from hardhttp.errors import PeerFault, Reason

__all__ = ["MAX_SOCKS_BYTES", "SocksAnswer", "SocksNegotiation", "connect_to", "sign_in"]

# A name, a user, a password: the length of each is one byte.
MAX_SOCKS_BYTES: Final = 255
_VERSION: Final = 5
_SIGN_IN_VERSION: Final = 1  # RFC 1929 has a number of its own
_CONNECT: Final = 1
_NO_SIGN_IN, _SIGN_IN, _NONE_TAKEN = 0, 2, 255
_IPV4, _NAME, _IPV6 = 1, 3, 4
_BAD_GATEWAY: Final = 502  # the status of a fault that is the proxy's, where one is asked for
_REFUSALS: Final = {
    1: "it failed",
    2: "its rules forbid it",
    3: "the network cannot be reached",
    4: "the host cannot be reached",
    5: "the connection is refused",
    6: "the time to live is over",
    7: "it does not know CONNECT",
    8: "it does not know this kind of address",
}


@attrs.frozen
class SocksAnswer:
    """The last answer. ``refusal`` says why there is no way, and is ``None`` where it is open."""

    refusal: str | None = None

    # As an answer in HTTP has them.
    status = None
    fields = ()
    closes = False

    @property
    def is_open(self) -> bool:
        return self.refusal is None

    def __str__(self) -> str:
        return self.refusal or "open"


def sign_in(user: bytes, password: bytes) -> bytes:
    """The request of RFC 1929, 2. Raises ``ValueError`` for a user or a password that it has no room for."""
    if not 1 <= len(user) <= MAX_SOCKS_BYTES or len(password) > MAX_SOCKS_BYTES:
        raise ValueError(f"SOCKS takes a user and a password of at most {MAX_SOCKS_BYTES} bytes")
    return b"%c%c%b%c%b" % (_SIGN_IN_VERSION, len(user), user, len(password), password)


def connect_to(host: str, port: int) -> bytes:
    """The request of RFC 1928, 4 for ``host:port``. Raises ``ValueError`` for a name that it has no room for."""
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if not 1 <= len(name) <= MAX_SOCKS_BYTES:
            raise ValueError(f"SOCKS takes a name of at most {MAX_SOCKS_BYTES} bytes") from None
        place = b"%c%c%b" % (_NAME, len(name), name)
    else:
        place = b"%c%b" % (_IPV4 if isinstance(address, IPv4Address) else _IPV6, address.packed)
    return b"%c%c\0%b%b" % (_VERSION, _CONNECT, place, port.to_bytes(2))


class _Step(Enum):
    """What is waited for. Signing in may be left out."""

    WAY = "how the proxy wants to know us"  # RFC 1928, 3
    SIGNED_IN = "whether it does"  # RFC 1929, 2
    ANSWER = "whether there is a way"  # RFC 1928, 6


class SocksNegotiation:
    """Says by ``send`` what is to be said, the first words at once. ``rest`` is what came behind the answer.

    ``request`` is made by ``connect_to``. ``sign_in`` is what the function of that name made, or ``None``; it is said
    only to a proxy that wants it.
    """

    __slots__ = ("_buffer", "_request", "_send", "_sign_in", "_step", "rest")

    def __init__(self, request: bytes, sign_in: bytes | None, send: Callable[[bytes], object]) -> None:
        self._request, self._sign_in, self._send = request, sign_in, send
        self._buffer = bytearray()
        self._step = _Step.WAY
        self.rest = b""
        ways = [_NO_SIGN_IN] if sign_in is None else [_NO_SIGN_IN, _SIGN_IN]
        send(bytes([_VERSION, len(ways), *ways]))

    def feed(self, data: bytes) -> SocksAnswer | None:
        """The answer, once it is whole. Raises ``PeerFault`` for what is no SOCKS 5."""
        buffer, step = self._buffer, self._step
        buffer += data
        # Whoever speaks another protocol is known by its first byte, and not waited for.
        if buffer and buffer[0] != (_SIGN_IN_VERSION if step is _Step.SIGNED_IN else _VERSION):
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_VERSION, "the proxy's answer is not SOCKS 5")
        if len(buffer) < 2:
            return None
        if step is _Step.WAY:
            return self._read_way(buffer[1])
        return self._read_signed_in(buffer[1]) if step is _Step.SIGNED_IN else self._read_answer()

    def _next(self, step: _Step, data: bytes) -> None:
        """Send ``data``, whose answer cannot be here yet."""
        if len(self._buffer) > 2:
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_HEADER, "the proxy answers what it was not asked yet")
        self._buffer.clear()
        self._step = step
        self._send(data)

    def _read_way(self, way: int) -> SocksAnswer | None:
        if way == _NONE_TAKEN:
            asks = "a user and a password" if self._sign_in is None else "another way to sign in than a password"
            return SocksAnswer(f"it wants {asks}")
        if way == _NO_SIGN_IN:
            self._next(_Step.ANSWER, self._request)
        elif way == _SIGN_IN and self._sign_in is not None:
            self._next(_Step.SIGNED_IN, self._sign_in)
        else:
            raise PeerFault(
                _BAD_GATEWAY, Reason.BAD_HEADER, "the proxy chooses a way to sign in that it was not offered"
            )
        return None

    def _read_signed_in(self, status: int) -> SocksAnswer | None:
        if status != 0:
            return SocksAnswer("user and password are not those it knows")
        self._next(_Step.ANSWER, self._request)
        return None

    def _read_answer(self) -> SocksAnswer | None:
        """A refusal is believed without its address, which some leave out."""
        buffer = self._buffer
        if buffer[1] != 0:
            return SocksAnswer(_REFUSALS.get(buffer[1], f"its reason has the number {buffer[1]}"))
        if len(buffer) < 5:
            return None
        size = {_IPV4: 4, _NAME: 1 + buffer[4], _IPV6: 16}.get(buffer[3])
        if size is None:
            raise PeerFault(_BAD_GATEWAY, Reason.BAD_HEADER, "the proxy's answer has an address of no kind")
        if len(buffer) < (end := 4 + size + 2):
            return None
        self.rest = bytes(buffer[end:])
        buffer.clear()
        return SocksAnswer()

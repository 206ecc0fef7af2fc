"""Proxies that speak SOCKS 5 (RFC 1928, RFC 1929): one that works, and those that refuse, or answer by halves.

What one was asked stands in ``peer.requests``: ``CONNECT``, the target with its port, and as fields ``user`` and
``password``, if it was given them.
"""

from __future__ import annotations

from ipaddress import ip_address

from hardhttp.testing.misbehaving.catalogue import Role, behaviour
from hardhttp.testing.misbehaving.conversation import Asked, Conversation
from hardhttp.testing.misbehaving.proxies import TRICKLE_SECONDS, connect

OPENED = b"\5\0\0\1\0\0\0\0\0\0"
REFUSED = b"\5\5\0\1\0\0\0\0\0\0"
TAKEN, NONE_TAKEN, SIGN_IN = b"\5\0", b"\5\xff", b"\5\2"


async def _ways(talk: Conversation) -> bytes:
    """The ways to sign in that are offered."""
    _, count = await talk.exactly(2)
    return await talk.exactly(count)


async def _counted(talk: Conversation) -> bytes:
    (size,) = await talk.exactly(1)
    return await talk.exactly(size)


async def _greeted(talk: Conversation, signed_in: bytes = b"\1\0") -> tuple[tuple[bytes, bytes], ...]:
    """Ask whoever offers it for a user and a password."""
    if 2 not in await _ways(talk):
        talk.send(TAKEN)
        return ()
    talk.send(SIGN_IN)
    await talk.exactly(1)
    fields = (b"user", await _counted(talk)), (b"password", await _counted(talk))
    talk.send(signed_in)
    return fields


async def _asked(talk: Conversation) -> tuple[str, int]:
    """Where somebody wants to go, once signed in."""
    fields = await _greeted(talk)
    version, _, _, kind = await talk.exactly(4)
    if kind == 3:
        host = (await _counted(talk)).decode("latin-1")
    else:
        host = str(ip_address(await talk.exactly(4 if kind == 1 else 16)))
    port = int.from_bytes(await talk.exactly(2))
    target = f"{host}:{port}".encode("latin-1")
    talk.peer.requests.append(Asked(b"CONNECT", target, b"%d" % version, fields))
    return host, port


@behaviour(Role.SOCKS)
async def socks(talk: Conversation) -> None:
    """A SOCKS proxy that opens tunnels, as it should, and takes any user and password.

    A sound client has it look up names, and sends nothing of a request outside the tunnel.
    """
    await connect(talk, *await _asked(talk), OPENED, REFUSED)


@behaviour(Role.SOCKS)
async def socks_refused_held(talk: Conversation) -> None:
    """The connection is refused, and the proxy holds the socket open.

    A sound client closes the connection at once, and says why.
    """
    await _asked(talk)
    talk.send(REFUSED)
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_no_way(talk: Conversation) -> None:
    """None of the ways to sign in is taken, and the proxy holds the socket open.

    A sound client closes the connection at once, and has told it neither user nor password.
    """
    await _ways(talk)
    talk.send(NONE_TAKEN)
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_wrong_password(talk: Conversation) -> None:
    """User and password are wrong, and the proxy holds the socket open; without any it falls silent.

    A sound client closes the connection at once, or when its deadline is over.
    """
    await _greeted(talk, b"\1\1")
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_unoffered(talk: Conversation) -> None:
    """The proxy chooses a way to sign in that it was not offered.

    A sound client fails the request at once.
    """
    await _ways(talk)
    talk.send(b"\5\1")
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_silent(talk: Conversation) -> None:
    """The request is read, and nothing is said.

    A sound client has a deadline for the proxy's answer, and closes the connection when it is over.
    """
    await _asked(talk)
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_half(talk: Conversation) -> None:
    """Half of the answer comes, and then nothing.

    A sound client closes the connection when its deadline for the answer is over.
    """
    await _asked(talk)
    talk.send(OPENED[:6])
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_cut(talk: Conversation) -> None:
    """The connection is closed in the middle of the answer.

    A sound client fails the request at once.
    """
    await _asked(talk)
    talk.send(OPENED[:6])


@behaviour(Role.SOCKS)
async def socks_trickled(talk: Conversation) -> None:
    """The answer names its address by the longest name there is, a byte at a time.

    A sound client has a deadline for the answer that a trickle does not move.
    """
    await _asked(talk)
    await talk.pieces(b"\5\0\0\3\xff" + b"x" * 257, TRICKLE_SECONDS)
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_early(talk: Conversation) -> None:
    """The whole of the answers comes before it is asked for, and it is refused when it is.

    A sound client does not take the first for the answer.
    """
    talk.send(TAKEN + OPENED)
    await talk.more()
    talk.send(REFUSED)
    await talk.silence()


@behaviour(Role.SOCKS)
async def socks_other_version(talk: Conversation) -> None:
    """The answer is of SOCKS 4, and comes to no end.

    A sound client knows it by its first byte, and closes the connection at once.
    """
    await _ways(talk)
    talk.send(b"\0\x5b")
    await talk.silence()

"""The opening of a WebSocket (RFC 6455, 4.2), judged whole by its head before anything is made for it.

``judge`` is a function of the request's head and of what the server offers. It returns what both sides
will do, or raises ``HandshakeRefused`` with the answer that HTTP has for it: 400 for what is no handshake,
403 for an origin that is not let in, 405 for a method, 426 where a WebSocket of version 13 was to be asked for.

A handshake by extended CONNECT (RFC 8441) has neither key nor Upgrade; the rest is the same.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha1
from typing import Final

import attrs

from hardhttp.wire.grammar import TOKEN, list_items
from hardhttp.wire.websocketdeflate import NAME, Agreed, Deflate, Parameters, agree

__all__ = ["Handshake", "HandshakeRefused", "Offer", "accept_key", "judge"]

VERSION: Final = b"13"
# RFC 6455, 1.3
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY_BYTES: Final = 16

_T: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 6455, 9.1; what stands in quotes must be a token too.
_PARAMETER: Final = re.compile(rb"[ \t]*;[ \t]*(" + _T + rb")(?:[ \t]*=[ \t]*(?:(" + _T + rb')|"(' + _T + rb')"))?')
_EXTENSION: Final = re.compile(rb"[ \t]*(" + _T + rb")((?:" + _PARAMETER.pattern + rb")*)[ \t]*(?:,|$)")

Fields = Sequence[tuple[bytes, bytes]]


class HandshakeRefused(Exception):
    """``status`` and ``headers`` are the answer's, ``detail`` is a sentence that quotes nothing of the peer's."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {detail}")
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


@attrs.frozen
class Offer:
    """What a server takes part in: its subprotocols, the one it likes best first; origins; compression."""

    subprotocols: tuple[bytes, ...] = ()
    allows_origin: Callable[[bytes], bool] = attrs.field(default=lambda origin: True, repr=False)
    deflate: Deflate | None = None


@attrs.frozen
class Handshake:
    """What both sides do. ``fields`` are those of the answer, besides Upgrade and Connection."""

    subprotocol: bytes | None
    deflate: Agreed | None
    fields: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False)


def accept_key(key: bytes) -> bytes:
    """RFC 6455, 4.2.2, 5.4"""
    return b64encode(sha1(key + _GUID, usedforsecurity=False).digest())


def judge(method: bytes, version: bytes, fields: Fields, offer: Offer, *, extended_connect: bool = False) -> Handshake:
    """Judge a head: its ``fields`` in lower case, as they came. Raises ``HandshakeRefused``."""

    def given(name: bytes) -> list[bytes]:
        return [value for key, value in fields if key == name]

    answer: list[tuple[bytes, bytes]] = []
    if not extended_connect:
        _judge_upgrade(method, version, given)
    _judge_version(given(b"sec-websocket-version"))
    if not extended_connect:
        answer.append((b"Sec-WebSocket-Accept", accept_key(_judge_key(given(b"sec-websocket-key")))))
    _judge_origin(given(b"origin"), offer.allows_origin)
    subprotocol = _choose_subprotocol(given(b"sec-websocket-protocol"), offer.subprotocols)
    if subprotocol is not None:
        answer.append((b"Sec-WebSocket-Protocol", subprotocol))
    agreed = _choose_deflate(given(b"sec-websocket-extensions"), offer.deflate)
    if agreed is not None:
        answer.append((b"Sec-WebSocket-Extensions", agreed.answer))
    return Handshake(subprotocol, agreed, tuple(answer))


def _judge_upgrade(method: bytes, version: bytes, given: Callable[[bytes], list[bytes]]) -> None:
    """4.2.1, 1 to 4"""
    if method != b"GET":
        raise HandshakeRefused(405, "A WebSocket is opened by GET.", {"Allow": "GET"})
    upgrades = list_items(given(b"upgrade"))
    if b"websocket" not in upgrades or b"upgrade" not in list_items(given(b"connection")):
        raise _upgrade_required("Only a WebSocket is to be had here.")
    if version != b"HTTP/1.1":
        raise HandshakeRefused(400, "A WebSocket is opened by HTTP/1.1.")
    if given(b"transfer-encoding") or any(value.strip(b"0") for value in given(b"content-length")):
        raise HandshakeRefused(400, "A WebSocket's handshake has no body.")


def _upgrade_required(detail: str) -> HandshakeRefused:
    # RFC 9110, 15.5.22, and RFC 6455, 4.4
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": VERSION.decode("ascii")}
    return HandshakeRefused(426, detail, headers)


def _judge_version(values: list[bytes]) -> None:
    if values != [VERSION]:
        raise _upgrade_required("Only version 13 of the WebSocket protocol is spoken here.")


def _judge_key(values: list[bytes]) -> bytes:
    """4.2.1, 5"""
    try:
        if len(values) == 1 and len(a2b_base64(values[0], strict_mode=True)) == KEY_BYTES:
            return values[0]
    except Error:
        pass
    raise HandshakeRefused(400, "Sec-WebSocket-Key must be given once: 16 bytes, as base64.")


def _judge_origin(values: list[bytes], allows: Callable[[bytes], bool]) -> None:
    """4.2.2, 4; whoever sends none is no browser, and could send any."""
    if len(values) > 1:
        raise HandshakeRefused(400, "Origin was given twice.")
    if values and not allows(values[0]):
        raise HandshakeRefused(403, "A WebSocket may not be opened from a page of that origin.")


def _choose_subprotocol(values: Iterable[bytes], ours: tuple[bytes, ...]) -> bytes | None:
    """4.2.2, 5, /subprotocol/: the first of ours that the client names. Names have their case."""
    named = [name for value in values for part in value.split(b",") if (name := part.strip(b" \t"))]
    if len(set(named)) != len(named) or not all(map(TOKEN.fullmatch, named)):
        raise HandshakeRefused(400, "Sec-WebSocket-Protocol must be a list of different names.")
    return next((name for name in ours if name in named), None)


def _choose_deflate(values: Iterable[bytes], ours: Deflate | None) -> Agreed | None:
    """9.1: what does not keep to the grammar fails the handshake, whether it is wanted or not."""
    for name, parameters in [offered for value in values for offered in _extensions(value)]:
        if name == NAME and ours is not None and (agreed := agree(ours, parameters)) is not None:
            return agreed
    return None


def _extensions(value: bytes) -> list[tuple[bytes, Parameters]]:
    found: list[tuple[bytes, Parameters]] = []
    position = 0
    while position < len(value):
        match = _EXTENSION.match(value, position)
        if match is None:
            raise HandshakeRefused(400, "Sec-WebSocket-Extensions is not a list of extensions.")
        parameters = [(name, plain or quoted or None) for name, plain, quoted in _PARAMETER.findall(match[2])]
        found.append((match[1], parameters))
        position = match.end()
    return found

"""HTTP/1.1 requests, said over HTTP/2: so the tests of what is above the connection run over both.

The tests in ``tests/web`` that use a ``Rig`` run twice: as they are, and with peers that speak HTTP/2 below. Those
named in ``HTTP1_ALONE`` run once: they look at HTTP/1.1's own bytes (status lines, phrases, chunks), send what only
it can say, or count on what ends a connection there and a stream here.
"""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer

__all__ = ["HTTP1_ALONE", "OVER_BOTH", "QUICK", "SayingPeer", "protocol"]

OVER_BOTH = {
    "test_accesslog",
    "test_asking",
    "test_body",
    "test_bodystream",
    "test_clientinfo",
    "test_compression",
    "test_cors",
    "test_csrf",
    "test_forms",
    "test_headers",
    "test_injection",
    "test_listing",
    "test_pages",
    "test_ratelimit",
    "test_remembering",
    "test_request",
    "test_responding",
    "test_response",
    "test_results",
    "test_routing",
    "test_securityheaders",
    "test_sessions",
    "test_site",
    "test_static",
    "test_streaming",
    "test_traversal",
    "test_twistedsession",
    "test_wrappers_together",
    "test_wrapping",
}
# The others are slow over HTTP/2: there are two thousand of them.
QUICK = {"test_body", "test_csrf", "test_headers", "test_results", "test_streaming", "test_wrappers_together"}

HTTP1_ALONE: dict[str, set[str]] = {}

_CONNECTION = frozenset({b"host", b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class SayingPeer(HTTP2Peer):
    """``send`` takes whole requests in HTTP/1.1's bytes, however they are cut; each is a stream."""

    def __init__(self, rig: Rig, address: tuple[str, int]) -> None:
        self._said = b""
        self._talks = False
        super().__init__(rig, address)
        self._talks = True

    def send(self, *pieces: bytes) -> None:
        if not self._talks:
            super().send(*pieces)
            return
        self._said += b"".join(pieces)
        while (end := self._said.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._said[:end].split(b"\r\n")
            method, target, _ = first.split(b" ")
            fields = [
                (name.lower(), value.strip()) for name, _, value in [line.partition(b":") for line in lines] if name
            ]
            known = dict(fields)
            rest = self._said[end + 4 :]
            size = int(known.get(b"content-length", b"0"))
            body: bytes | None = rest[:size]
            waits = len(rest) < size
            if b"transfer-encoding" in known:
                body, rest, waits = _dechunked(rest)
            else:
                rest = rest[size:]
            self._said = rest
            self._talks = False
            try:
                given = [(name, value) for name, value in fields if name not in _CONNECTION]
                has_body = b"content-length" in known or b"transfer-encoding" in known
                number = self.begin(method, target, given, end=not has_body, authority=known.get(b"host"))
                if has_body and self.streams[number].code is None and (body or not waits):
                    self.body(number, body or b"", end=not waits)
            finally:
                self._talks = True

    def take(self, size: int | None) -> None:
        super().take(size)
        self.pump()

    def pump(self) -> None:
        talks, self._talks = self._talks, False
        try:
            super().pump()
        finally:
            self._talks = talks


def _dechunked(data: bytes) -> tuple[bytes, bytes, bool]:
    """The body in these chunks, what is behind it, and whether more of it is to come."""
    body = b""
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return body, data.partition(b"\r\n")[2], False
        body, data = body + data[:size], data[size + 2 :]
    return body, b"", True


@pytest.fixture(autouse=True)
def protocol(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is spoken."""
    spoken = str(getattr(request, "param", "http/1.1"))
    if spoken == "http/2":

        def connect(rig: Rig, host: str = "127.0.0.1") -> SayingPeer:
            peer = SayingPeer(rig, (host, 1024 + len(rig.peers) % 64_000))
            rig.peers.append(peer)
            return peer

        monkeypatch.setattr(Rig, "connect", connect)
    return spoken

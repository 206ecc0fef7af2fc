"""Whoever is not admitted is told so, and not waited for."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from hardhttp import Limits
from hardhttp.net.server import MAX_REFUSALS
from hardhttp.testing import Rig
from hardhttp.wire.http2 import FrameCutter
from tests.net.loopback import Answer, Client, Loopback, blocking, certificate, until
from tests.net.test_channel import GET

ONE = Limits(max_connections=1, abort_seconds=5)


def test_it_is_a_whole_response_with_the_reason() -> None:
    with Rig(Answer(lambda request: b""), limits=ONE) as rig:
        rig.connect()
        peer = rig.connect()
        peer.send(GET)
        (response,) = peer.responses()
        assert (response.status, response.reason) == (503, "connections")
        assert response.get(b"connection") == b"close"
        assert response.get(b"retry-after") == b"2"
        assert peer.ended
        assert not peer.closed
        peer.half_close()
        assert (peer.closed, peer.aborted) == (True, False)
        assert rig.site.statistics.closed["connections"] == 1


def test_a_client_that_does_not_hang_up_is_aborted() -> None:
    with Rig(Answer(lambda request: b""), limits=ONE) as rig:
        rig.connect()
        peer = rig.connect()
        for _ in range(4):
            peer.send(b"x")
            rig.advance(1)
        assert not peer.closed
        rig.advance(1)
        assert peer.aborted


def test_what_it_discards_is_bounded() -> None:
    with Rig(Answer(lambda request: b""), limits=ONE) as rig:
        rig.connect()
        peer = rig.connect()
        for _ in range(16):
            peer.send(b"x" * (1 << 16))
        assert not peer.closed
        peer.send(b"x")
        assert peer.aborted


def test_refusals_are_bounded_and_do_not_count_as_connections() -> None:
    with Rig(Answer(lambda request: b""), limits=ONE) as rig:
        rig.connect()
        peers = [rig.connect() for _ in range(MAX_REFUSALS + 5)]
        assert sum(bool(peer.received) for peer in peers) == MAX_REFUSALS
        assert all(peer.closed for peer in peers if not peer.received)
        assert rig.site.connection_count == 1
        assert rig.site.ledger.snapshot()["refusals"] == MAX_REFUSALS
        assert rig.site.statistics.rejected == len(peers)
        rig.advance(5)
        assert rig.site.ledger.snapshot()["refusals"] == 0


@pytest.mark.parametrize("how", ["half_close", "reset"])
def test_a_client_may_go_at_once(how: str) -> None:
    with Rig(Answer(lambda request: b""), limits=ONE) as rig:
        rig.connect()
        peer = rig.connect()
        getattr(peer, how)()
        assert peer.closed
        assert not len(rig.site.server.refusals)


@pytest.mark.parametrize("says", [False, RuntimeError("as it should")])
def test_the_accept_hook_refuses(says: Any) -> None:
    asked: list[Any] = []

    def hook(peer: Any) -> Any:
        asked.append(peer.host)
        if isinstance(says, Exception):
            raise says
        return says

    with Rig(Answer(lambda request: b"")) as rig:
        rig.site.on_accept = hook
        (response,) = rig.connect("192.0.2.7").responses()
        assert (response.status, response.reason) == (503, "accept-hook")
        assert asked == ["192.0.2.7"]
        assert len(rig.flush()) == isinstance(says, Exception)
        rig.site.on_accept = lambda peer: None
        assert rig.exchange(GET)[0].status == 200


@pytest.mark.parametrize(("spoken", "answer"), [(["http/1.1"], b"HTTP/1.1 503 "), (["h2", "http/1.1"], None)])
@blocking
def test_over_tls_it_is_said_in_what_is_spoken(tmp_path: Path, spoken: list[str], answer: bytes | None) -> None:
    pem = certificate(tmp_path)
    with Loopback(Answer(lambda request: b""), certificate=pem, limits=ONE) as loop:
        loop.connect()
        context = ssl.create_default_context(cafile=str(pem))
        context.set_alpn_protocols(spoken)
        with socket.create_connection(loop.address) as plain:
            plain.setblocking(False)
            client = Client(context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False))
            until(lambda: shaken(client.socket), "the handshake")
            came = client.end()
            client.close()
        if answer is not None:
            assert came.startswith(answer)
        else:
            (_, _, _, settings), (kind, _, _, goaway) = FrameCutter().cut(came)
            assert (settings[3], kind, goaway[9:]) == (4, 7, b"\0\0\0\0\0\0\0\x0b")


def shaken(handle: Any) -> bool:
    try:
        handle.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True

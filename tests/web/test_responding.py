"""How a response goes out: in as few writes as it can, and framed by the server alone."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.web.server import NOT_DONE_YET

from hardhttp.net.port import EagerServer
from hardhttp.testing import Rig
from tests.web.saying import GET, Says


class Counting(EagerServer):
    """A transport that notes what it is given."""

    writes: list[bytes]

    def write(self, data: bytes) -> None:
        self.__dict__.setdefault("writes", []).append(data)
        super().write(data)


def in_parts(request: Any) -> int:
    request.write(b"one ")
    request.write(b"two")
    request.finish()
    return NOT_DONE_YET


@pytest.mark.parametrize("answer", [lambda request: b"one two", in_parts], ids=["whole", "in parts"])
def test_what_is_said_before_a_handler_returns_is_one_write(answer: Any) -> None:
    with Rig(Says(answer), transport=Counting) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert peer.responses()[0].body == b"one two"
        assert len(peer.transport.writes) == 1


def test_what_is_said_later_goes_out_as_it_is_said() -> None:
    requests: list[Any] = []

    def later(request: Any) -> int:
        requests.append(request)
        return NOT_DONE_YET

    with Rig(Says(later), transport=Counting) as rig:
        peer = rig.connect()
        peer.send(GET)
        for count, part in enumerate((b"one ", b"two"), 1):
            requests[0].write(part)
            assert len(peer.transport.writes) == count
        requests[0].finish()
        assert peer.responses()[0].body == b"one two"


def test_much_that_is_said_at_once_is_not_kept_back() -> None:
    def much(request: Any) -> int:
        for _ in range(40):
            request.write(b"x" * 10_000)
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(much), transport=Counting) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert peer.responses()[0].body == b"x" * 400_000
        assert max(map(len, peer.transport.writes)) < 80_000


@pytest.mark.parametrize("told", [False, True])
def test_a_long_body_is_in_memory_once_however_many_read_it(told: bool) -> None:
    body = b"x" * (4 << 20)

    def answer(request: Any) -> Any:
        if not told:
            return body
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()
        return NOT_DONE_YET

    with Rig(Says(answer)) as rig:
        peers = [rig.connect() for _ in range(3)]
        for peer in peers:
            peer.take(1000)
            peer.send(GET)
        assert all(channel.transport.dataBuffer is body for channel in rig.site.server.tracker)
        for peer in peers:
            peer.take(None)
            rig.clock.turn()
            assert peer.received.endswith(b"\r\n\r\n" + body)

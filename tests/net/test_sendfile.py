"""Files on their way out: in turns, judged like any output, and closed whatever happens."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits
from hardhttp.errors import Reason
from hardhttp.net.port import EagerServer
from hardhttp.net.sendfile import PIECE_BYTES, TURN_BYTES, FileProducer, OpenFile, read_span
from hardhttp.testing import Rig, parse_responses
from hardhttp.wire.ranges import Span
from tests.net.loopback import GET, Loopback, blocking, certificate, turn, until
from tests.web.saying import Says

SIZE = 3 * TURN_BYTES + 12_345
FAST = Limits(send_seconds=0.3, send_bytes_per_second=1_000_000)


class FromFile(EagerServer):
    """A transport of memory that can do what ``sendfile`` does; ``calls`` are what it was asked for."""

    calls: list[int] = []
    error: int | None = None

    @property
    def sends_files(self) -> bool:
        return True

    def _take_from(self, descriptor: int, offset: int, count: int) -> int:
        if self.error is not None:
            raise OSError(self.error, "no")
        self.calls.append(count)
        return self.socket.send(os.pread(descriptor, count, offset))


@pytest.fixture
def content() -> bytes:
    return os.urandom(SIZE)


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    def opened() -> set[str]:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                found.add(os.readlink(f"/proc/self/fd/{name}"))
            except OSError:
                pass
        return {path for path in found if "test_sendfile" in path or ("/pytest-" in path and path.endswith("/file"))}

    FromFile.calls = []
    FromFile.error = None
    before = opened()
    yield
    assert opened() <= before


def sends(path: Path, pieces: Callable[[int], list[bytes | Span]] | None = None) -> Callable[[Any], Any]:
    """A handler that sends the file at ``path``."""

    def answer(request: Any) -> Any:
        size = path.stat().st_size
        parts: list[bytes | Span] = [Span(0, size)] if pieces is None else pieces(size)
        length = sum(part.length if isinstance(part, Span) else len(part) for part in parts)
        request.setHeader(b"Content-Length", b"%d" % length)
        opened = OpenFile(os.open(path, os.O_RDONLY), request.site.ledger)
        FileProducer(request, opened, parts).start()
        return NOT_DONE_YET

    return answer


# -- in memory -----------------------------------------------------------------------------------


def test_it_goes_in_turns(file: Path, content: bytes) -> None:
    with Rig(Says(sends(file)), transport=FromFile) as rig:
        (response,) = rig.exchange(GET)
        assert response.body == content
        assert FromFile.calls == [TURN_BYTES] * 3 + [12_345]
        assert rig.site.statistics.bytes_out == len(rig.peers[0].received)
        assert rig.site.ledger.snapshot()["files"] == 0


def test_two_clients_take_turns(file: Path) -> None:
    """Neither waits for the other to have it all."""
    order = []

    class Noted(FromFile):
        def _take_from(self, descriptor: int, offset: int, count: int) -> int:
            order.append(self.sessionno)
            return super()._take_from(descriptor, offset, count)

    with Rig(Says(sends(file)), transport=Noted) as rig:
        peers = [rig.connect(), rig.connect()]
        for peer in peers:
            peer._socket.incoming.append(GET)
        rig.clock.turn()
        assert order == [1, 2] * 4


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_pipelined_requests_wait_their_turn(transport: Any, file: Path, content: bytes) -> None:
    with Rig(Says(lambda request: b"short" if request.path == b"/short" else sends(file)(request)), transport) as rig:
        short = GET.replace(b"GET /", b"GET /short")
        responses = rig.exchange(short + GET + GET + short)
        assert [len(response.body) for response in responses] == [5, SIZE, SIZE, 5]
        assert responses[1].body == responses[2].body == content


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_http_1_0_ends_with_its_connection(transport: Any, file: Path, content: bytes) -> None:
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        assert peer.responses()[0].body == content
        assert peer.closed
        assert not peer.aborted


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_it_waits_for_a_client_that_takes_little(transport: Any, file: Path, content: bytes) -> None:
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        assert rig.site.ledger.snapshot()["files"] == 1
        assert peer.received == b""
        for step in (1, 10, 100_000, 1, TURN_BYTES + 1):
            peer.take(step)
        peer.take(None)
        assert peer.responses()[0].body == content


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_memory_is_bounded_while_it_waits(transport: Any, file: Path) -> None:
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.take(1000)
        peer.send(GET)
        rig.advance(2)
        assert rig.site.ledger.snapshot()["unsent_bytes"] <= 2 * PIECE_BYTES


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_a_client_that_stops_reading_is_let_go(transport: Any, file: Path) -> None:
    with Rig(Says(sends(file)), transport, limits=Limits(send_seconds=60, idle_seconds=1000)) as rig:
        peer = rig.connect()
        peer.take(200_000)
        peer.send(GET)
        rig.advance(60)
        assert not peer.closed
        rig.advance(2)
        assert peer.aborted
        assert rig.site.statistics.closed[Reason.SEND_RATE] == 1
        assert rig.site.ledger.snapshot()["files"] == 0


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_a_slow_honest_client_lives(transport: Any, file: Path, content: bytes) -> None:
    limits = Limits(send_seconds=60, send_bytes_per_second=1000, idle_seconds=1000)
    with Rig(Says(sends(file)), transport, limits=limits) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        for _ in range(300):
            peer.take(1100)
            rig.advance(1)
        assert not peer.closed
        assert len(peer.received) == 330_000
        peer.take(None)
        assert peer.responses()[0].body == content


def test_after_it_the_connection_is_idle(file: Path) -> None:
    with Rig(Says(sends(file)), FromFile, limits=Limits(send_seconds=5, idle_seconds=20)) as rig:
        peer = rig.connect()
        peer.send(GET)
        rig.advance(19)
        assert not peer.closed
        rig.advance(2)
        assert peer.closed
        assert rig.site.statistics.closed[Reason.IDLE] == 1


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_a_client_that_goes_leaves_nothing(transport: Any, file: Path) -> None:
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.take(100_000)
        peer.send(GET)
        peer.reset()
        assert peer.closed
        assert rig.site.ledger.snapshot()["files"] == 0


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_draining_lets_it_end_or_ends_it(transport: Any, file: Path, content: bytes) -> None:
    with Rig(Says(sends(file)), transport, limits=Limits(drain_seconds=10)) as rig:
        ends, stays = rig.connect(), rig.connect()
        for peer in (ends, stays):
            peer.take(1000)
            peer.send(GET)
        done = rig.site.drain()
        ends.take(None)
        assert ends.responses()[0].body == content
        assert ends.closed
        rig.advance(11)
        assert stays.aborted
        assert rig.site.ledger.snapshot()["files"] == 0
        assert done.called


def test_closing_in_the_middle_sends_no_more(file: Path) -> None:
    with Rig(Says(sends(file)), FromFile) as rig:
        peer = rig.connect()
        peer.take(1000)
        peer.send(GET)
        peer.protocol.loseConnection()
        rig.advance(7)
        assert peer.closed
        assert rig.site.ledger.snapshot()["files"] == 0


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_one_that_became_shorter_ends_the_connection(transport: Any, file: Path) -> None:
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.take(100_000)
        peer.send(GET)
        os.truncate(file, 200_000)
        peer.take(None)
        assert peer.aborted
        assert len(peer.received) < SIZE
        assert rig.site.statistics.closed[Reason.SHORT_RESPONSE] == 1


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_one_that_grew_is_as_long_as_was_said(transport: Any, file: Path, content: bytes) -> None:
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.take(100_000)
        peer.send(GET)
        with file.open("ab") as more:
            more.write(b"more")
        peer.take(None)
        peer.send(GET)
        assert [response.body for response in peer.responses()] == [content, content + b"more"]


def apart(size: int) -> list[bytes | Span]:
    return [b"<<", Span(10, TURN_BYTES + 5), b"|", Span(size - 3, 3), b"|", Span(0, 1), b">>"]


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_pieces_and_what_is_between_them(transport: Any, file: Path, content: bytes) -> None:
    wanted = b"<<" + content[10 : TURN_BYTES + 15] + b"|" + content[-3:] + b"|" + content[:1] + b">>"
    with Rig(Says(sends(file, apart)), transport) as rig:
        assert [response.body for response in rig.exchange(GET + GET)] == [wanted] * 2
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        for _ in range(300):
            peer.take(2000)
        peer.take(None)
        assert peer.responses()[0].body == wanted


def test_where_the_file_system_cannot_it_is_read(file: Path, content: bytes) -> None:
    FromFile.error = errno.EINVAL
    with Rig(Says(sends(file)), FromFile) as rig:
        assert [response.body for response in rig.exchange(GET + GET)] == [content] * 2


@pytest.mark.parametrize("transport", [FromFile, EagerServer])
def test_a_disk_that_fails_ends_the_connection(transport: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FromFile.error = errno.EIO

    def fails(*_: Any) -> bytes:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr("hardhttp.net.sendfile.read_span", fails)
    with Rig(Says(sends(file)), transport) as rig:
        peer = rig.connect()
        peer.send(GET)
        assert peer.aborted
        assert rig.site.statistics.closed[Reason.SHORT_RESPONSE] == 1


def test_a_socket_that_fails_is_others_to_meet(file: Path) -> None:
    FromFile.error = errno.EPIPE
    with Rig(Says(sends(file)), FromFile) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(GET)
        peer.take(300)
        assert not peer.closed
        peer.reset()
        assert peer.closed
        assert rig.site.statistics.closed[Reason.CLIENT_RESET] == 1


def test_a_request_that_has_ended_already_closes_the_file(file: Path) -> None:
    kept: list[Any] = []
    with Rig(Says(lambda request: kept.append(request) or NOT_DONE_YET)) as rig:
        peer = rig.connect()
        peer.send(GET)
        peer.reset()
        opened = OpenFile(os.open(file, os.O_RDONLY), rig.site.ledger)
        FileProducer(kept.pop(), opened, [Span(0, SIZE)]).start()
        assert opened.descriptor == -1
        assert rig.site.ledger.snapshot()["files"] == 0


def test_an_open_file_is_closed_once(file: Path) -> None:
    opened = OpenFile(os.open(file, os.O_RDONLY))
    number = opened.descriptor
    opened.close()
    other = os.open(file, os.O_RDONLY)
    assert other == number
    opened.close()
    assert os.fstat(other).st_size == SIZE
    os.close(other)


def test_a_span_is_read_whole_or_to_the_end(file: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, at: whole(descriptor, min(count, 1000), at))
    descriptor = os.open(file, os.O_RDONLY)
    assert read_span(descriptor, Span(5, 2500)) == content[5:2505]
    assert read_span(descriptor, Span(SIZE - 1500, 9999)) == content[-1500:]
    assert read_span(descriptor, Span(SIZE, 1)) == b""
    os.close(descriptor)


# -- real sockets --------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What ``os.sendfile`` was asked for."""
    calls: list[int] = []
    real = os.sendfile

    def noted(out: int, descriptor: int, offset: int, count: int) -> int:
        calls.append(count)
        return real(out, descriptor, offset, count)

    monkeypatch.setattr(os, "sendfile", noted)
    return calls


@blocking
def test_it_is_whole_and_never_passes_through_python(file: Path, content: bytes, asked: list[int]) -> None:
    with Loopback(Says(sends(file))) as site:
        responses = site.exchange(GET + GET, 2)
        assert [response.body for response in responses] == [content, content]
        assert asked
        assert max(asked) == TURN_BYTES


@blocking
def test_over_a_unix_socket(file: Path, content: bytes, asked: list[int], tmp_path: Path) -> None:
    with Loopback(Says(sends(file)), f"unix:{tmp_path}/socket") as site:
        assert site.exchange()[0].body == content
        assert asked


@blocking
def test_on_a_stock_port_it_is_read(file: Path, content: bytes, asked: list[int]) -> None:
    with Loopback(Says(sends(file)), fast=False) as site:
        assert site.exchange()[0].body == content
        assert not asked


@blocking
def test_over_tls_it_is_read(file: Path, content: bytes, asked: list[int], tmp_path: Path) -> None:
    with Loopback(Says(sends(file)), certificate=certificate(tmp_path)) as site:
        assert site.exchange()[0].body == content
        assert not asked


@blocking
def test_a_kernel_that_is_full_is_waited_for(file: Path, content: bytes) -> None:
    file.write_bytes(content * 10)
    with Loopback(Says(sends(file))) as site:
        client = site.connect(receive_bytes=4096)
        client.send_all(GET)
        turn(0.05)
        assert site.site.ledger.snapshot()["files"] == 1
        assert client.responses(1)[0].body == content * 10


@pytest.mark.slow
@blocking
def test_a_client_that_never_reads_is_let_go(tmp_path: Path) -> None:
    """Its kernel takes some; what it took before the deadline does not help it."""
    file = tmp_path / "file"
    with file.open("wb") as made:
        made.truncate(64 << 20)
    with Loopback(Says(sends(file)), limits=FAST) as site:
        client = site.connect(receive_bytes=4096)
        client.send_all(GET)
        until(lambda: site.site.statistics.closed[Reason.SEND_RATE] == 1, "the deadline")
        assert site.site.ledger.snapshot()["files"] == 0
        client.end()
        assert not parse_responses(client.received, (), closed=False)[0]


@blocking
def test_a_client_that_resets_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as made:
        made.truncate(64 << 20)
    with Loopback(Says(sends(file))) as site:
        client = site.connect(receive_bytes=4096)
        client.send_all(GET)
        until(lambda: site.site.ledger.snapshot()["files"] == 1, "the file")
        client.reset()
        until(lambda: site.site.connection_count == 0, "the end")
        assert site.site.ledger.snapshot()["files"] == 0


def test_it_is_asked_of_sockets_alone() -> None:
    left, right = socket.socketpair()
    with left, right:
        transport = EagerServer.__new__(EagerServer)
        transport.TLS = False
        transport.socket = left
        assert transport.sends_files
        transport.TLS = True
        assert not transport.sends_files

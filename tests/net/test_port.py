"""The ports on real sockets: ours and the reactor's, TCP, Unix, TLS and adopted ones."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits, Site
from hardhttp.net.port import EagerReactor, EagerServer, EagerUNIXServer
from tests.net.loopback import GET, Answer, Loopback, blocking, certificate, result_of, turn, until

KINDS = ["fast", "stock", "unix", "unix stock", "ipv6", "tls", "tls stock"]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """The failures logged in the test."""
    failures: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if "log_failure" in event:
            failures.append(event)

    globalLogPublisher.addObserver(observe)
    yield failures
    globalLogPublisher.removeObserver(observe)


def make(kind: str, pem: Path, tmp_path: Path, answer: Any, **options: Any) -> Loopback:
    fast = "stock" not in kind
    if kind.startswith("unix"):
        return Loopback(Answer(answer), f"unix:{tmp_path / 'http'}", fast, **options)
    if kind == "ipv6":
        return Loopback(Answer(answer), r"tcp:0:interface=\:\:1", fast, **options)
    return Loopback(Answer(answer), fast=fast, certificate=pem if kind.startswith("tls") else None, **options)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryPort:
    @blocking
    def test_requests_are_answered(self, kind: str, pem: Path, tmp_path: Path) -> None:
        with make(kind, pem, tmp_path, lambda request: request.path) as loop:
            client = loop.connect()
            for number in range(3):
                client.send_all(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
                assert client.responses(number + 1)[-1].body == b"/%d" % number
            assert loop.site.connection_count == 1

    @blocking
    def test_a_large_answer_comes_whole(self, kind: str, pem: Path, tmp_path: Path) -> None:
        body = os.urandom(1000) * 5000
        with make(kind, pem, tmp_path, lambda request: body) as loop:
            client = loop.connect()
            client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            client.end()
            assert client.responses(1)[0].body == body

    @blocking
    def test_a_large_request_comes_whole(self, kind: str, pem: Path, tmp_path: Path) -> None:
        body = os.urandom(1000) * 5000
        with make(kind, pem, tmp_path, lambda request: b"%d" % (request.content.read() == body)) as loop:
            client = loop.connect()
            client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert client.responses(1)[0].body == b"1"

    @pytest.mark.parametrize("how", ["close", "reset"])
    @pytest.mark.parametrize("behind", [0, 100_000], ids=["nothing", "100 kB"])
    @blocking
    def test_a_client_that_goes_is_noticed_while_its_request_is_handled(
        self, kind: str, pem: Path, tmp_path: Path, how: str, behind: int
    ) -> None:
        """Also behind more than is read of what is pipelined, where reading alone would not tell."""
        requests: list[Any] = []
        ends: list[Any] = []

        def answer(request: Any) -> Any:
            requests.append(request)
            request.notifyFinish().addErrback(ends.append)
            return NOT_DONE_YET

        with make(kind, pem, tmp_path, answer) as loop:
            client = loop.connect()
            client.send_all(GET)
            until(lambda: requests)
            data = memoryview((GET * (behind // len(GET) + 1))[:behind])
            while data:
                try:
                    data = data[client.send(data) :]
                except OSError:  # it is full
                    break
                turn()
            assert loop.site.ledger.snapshot()["input_bytes"] <= 3 * 64 * 1024
            turn(0.05)
            assert not ends
            getattr(client, how)()
            turn(0.02)
            loop.site.cleanup_idle_connections()  # as each second
            until(lambda: ends, seconds=0.5)
            requests[0].write(b"nobody reads this")
            requests[0].finish()
            until(lambda: not loop.site.connection_count)
            assert len(requests) == 1

    @blocking
    def test_a_client_that_half_closes_is_answered_what_was_done(self, kind: str, pem: Path, tmp_path: Path) -> None:
        if kind.startswith("tls"):
            return  # TLS has no half-close: its end is the end of both directions
        with make(kind, pem, tmp_path, lambda request: b"x" * 1_000_000) as loop:
            client = loop.connect()
            client.send_all(GET)
            client.socket.shutdown(socket.SHUT_WR)
            client.end()
            assert len(client.responses(1)[0].body) == 1_000_000

    @blocking
    def test_a_refusal_comes_whole_while_the_client_still_sends(self, kind: str, pem: Path, tmp_path: Path) -> None:
        with make(kind, pem, tmp_path, lambda request: b"", limits=Limits(max_body_bytes=1000)) as loop:
            client = loop.connect()
            client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000)
            (response,) = client.responses(1)
            assert (response.status, response.reason) == (413, "body-bytes")

    @blocking
    def test_a_connection_over_the_cap_is_told_so(self, kind: str, pem: Path, tmp_path: Path) -> None:
        with make(kind, pem, tmp_path, lambda request: b"", limits=Limits(max_connections=2)) as loop:
            for _ in range(2):
                loop.connect().send_all(GET)
            loop.accepted(2)
            refused = loop.connect()
            refused.send_all(GET)
            refused.end()
            (response,) = refused.responses(1)
            assert (response.status, response.reason) == (503, "connections")
            assert response.get(b"retry-after")
            loop.clients[0].close()
            loop.accepted(1)
            assert loop.exchange()[0].status == 200

    @blocking
    def test_stop_and_start(self, kind: str, pem: Path, tmp_path: Path) -> None:
        with make(kind, pem, tmp_path, lambda request: b"here") as loop:
            client = loop.connect()
            client.send_all(GET)
            client.responses(1)
            loop.stop()
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                loop.connect()
            client.send_all(GET)
            assert client.responses(2)[1].body == b"here"
            loop.listen()
            assert loop.exchange()[0].body == b"here"


@blocking
def test_a_unix_client_may_have_a_name_of_four_bytes(tmp_path: Path) -> None:
    """As long as an IPv6 address has parts."""
    loop = Loopback(Answer(lambda request: b"here"), f"unix:{tmp_path / 'http'}")
    with loop, socket.socket(socket.AF_UNIX) as handle:
        handle.bind(b"\0fou")
        handle.connect(loop.address)
        handle.send(GET)
        until(lambda: loop.site.statistics.requests == 1)
        assert handle.recv(12) == b"HTTP/1.1 200"
        handle.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=["ipv4", "ipv6", "unix"])
@blocking
def test_an_adopted_socket(family: socket.AddressFamily, tmp_path: Path) -> None:
    from twisted.internet import reactor

    address: Any = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}.get(family, str(tmp_path / "http"))
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        endpoint = AdoptedStreamServerEndpoint(EagerReactor(reactor), os.dup(listener.fileno()), family)
    site = Site(Answer(lambda request: b"here"), reactor=reactor)
    loop = Loopback(site)
    loop.port = result_of(endpoint.listen(site))
    loop.find()
    try:
        assert loop.exchange()[0].body == b"here"
        (channel,) = site.server.tracker
        kind = EagerUNIXServer if family is socket.AF_UNIX else EagerServer
        assert type(channel._transport) is kind
    finally:
        loop.__exit__(None)


@pytest.mark.parametrize("description", ["tcp:0:interface=127.0.0.1", "ssl:0"])
@blocking
def test_what_it_listens_on_is_fast(description: str, pem: Path, tmp_path: Path) -> None:
    tls = pem if description.startswith("ssl") else None
    with Loopback(Answer(lambda request: b""), certificate=tls) as loop:
        loop.exchange()
        (channel,) = loop.site.server.tracker
        assert type(channel._base) is EagerServer


@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
@blocking
def test_a_connection_that_cannot_be_set_up_costs_itself(error: type[BaseException], logged: list[Any]) -> None:
    """Also the connection that gets its descriptor next."""
    from twisted.internet import reactor

    class Broken(Protocol):
        def makeConnection(self, transport: Any) -> None:
            raise error("no")

    site = Site(Answer(lambda request: b"here"), reactor=reactor)
    made: list[Any] = [Broken(), None]

    class Between(Factory):
        def buildProtocol(self, addr: Any) -> Any:
            if not made:
                return site.buildProtocol(addr)
            if (protocol := made.pop()) is None:
                raise error("no")
            return protocol

    loop = Loopback(site)
    loop.port = EagerReactor(reactor).listenTCP(0, Between(), interface="127.0.0.1")
    loop.find()
    try:
        for _ in range(2):
            client = loop.connect()
            client.end()
            client.close()
        for _ in range(3):
            assert loop.exchange()[0].body == b"here"
        assert len(logged) == 2
    finally:
        loop.__exit__(None)


@blocking
def test_nothing_is_left_open_by_a_port() -> None:
    """Neither its reserved descriptor nor its epoll, whichever of port and connections ends first."""
    before = len(os.listdir("/proc/self/fd"))
    for first in ("port", "connection"):
        with Loopback(Answer(lambda request: b"here")) as loop:
            client = loop.connect()
            client.send_all(GET)
            client.responses(1)
            if first == "port":
                loop.stop()
                turn()
            client.close()
            loop.accepted(0)
    until(lambda: len(os.listdir("/proc/self/fd")) == before)


@pytest.mark.slow
@blocking
def test_a_paused_connection_outlives_its_port() -> None:
    """It is in nobody's poll when the port stops, and must not lose the poller it will come back to."""
    waiting: list[Any] = []

    def answer(request: Any) -> Any:
        waiting.append(request)
        return NOT_DONE_YET

    with Loopback(Answer(answer)) as loop:
        client = loop.connect()
        client.send_all(GET)
        until(lambda: waiting)
        client.send_all(GET * 4000)  # more than is kept: it is not read any more
        (channel,) = loop.site.server.tracker
        until(lambda: channel._input_paused)
        loop.stop()
        turn(0.05)
        for _ in range(100):
            until(lambda: waiting)
            request = waiting.pop()
            request.write(b"here")
            request.finish()
        assert len(client.responses(100)) == 100


# -- the descriptor limit --------------------------------------------------------------------


@blocking
def test_e01_descriptors_run_out() -> None:
    """Who waits is told so, accepting rests, who is connected is served, and it goes on by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Loopback(Answer(lambda request: b"here")) as loop, ExitStack() as held:
        connected = loop.connect()
        connected.send_all(GET)
        connected.responses(1)
        waiting = [socket.socket() for _ in range(5)]
        for handle in waiting:
            held.callback(handle.close)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        try:
            while True:
                try:
                    held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            for handle in waiting:
                handle.connect(loop.address)
                handle.send(GET)
                handle.setblocking(False)
            turn(0.1)
            assert loop.port not in loop.reactor.getReaders()  # it rests
            refused = [handle.recv(1000) for handle in waiting]
            assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in refused)
            assert loop.site.statistics.rejected == 5
            assert loop.site.statistics.refused["descriptors"] == 1
            connected.send_all(GET)
            assert connected.responses(2)[1].body == b"here"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        turn(0.3)
        assert loop.exchange()[0].body == b"here"

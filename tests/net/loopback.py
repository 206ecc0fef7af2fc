"""A site on a real socket, and clients whose every byte and pause a test decides.

Everything is in one thread: clients' sockets do not block, and the reactor turns while they wait. For
that a test runs in a greenlet of its own, beside the reactor's: mark it ``@blocking``.
"""

from __future__ import annotations

import functools
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import greenlet
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource

from hardhttp import Site
from hardhttp.testing import Response, parse_responses
from hardhttp.web.service import listen

__all__ = [
    "GET",
    "PATIENCE_SECONDS",
    "Answer",
    "Client",
    "Loopback",
    "blocking",
    "certificate",
    "result_of",
    "turn",
    "until",
]

PATIENCE_SECONDS = 10.0
TURN_SECONDS = 0.002
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Answer(Resource):
    """A leaf that answers what ``answer(request)`` returns."""

    isLeaf = True

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Any) -> Any:
        return self._answer(request)


def blocking(test: Callable[..., None]) -> Callable[..., Deferred[None]]:
    """``test``, in a greenlet that ``turn`` can leave."""

    @functools.wraps(test)
    def run(*args: Any, **kw: Any) -> Deferred[None]:
        from twisted.internet import reactor

        done: Deferred[None] = Deferred()

        def body() -> None:
            try:
                test(*args, **kw)
            except BaseException:
                reactor.callLater(0, done.errback, Failure())
            else:
                reactor.callLater(0, done.callback, None)

        greenlet.greenlet(body).switch()
        return done

    return run


def turn(seconds: float = TURN_SECONDS) -> None:
    """Let the reactor run."""
    from twisted.internet import reactor

    current = greenlet.getcurrent()
    reactor.callLater(seconds, current.switch)
    current.parent.switch()


def result_of(waiting: Any) -> Any:
    """What a Deferred fires with, while the reactor runs; anything else is its own result."""
    if not isinstance(waiting, Deferred):
        return waiting
    results: list[Any] = []
    waiting.addBoth(results.append)
    until(lambda: results, "a result")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def until(condition: Callable[[], Any], what: str = "it", seconds: float = PATIENCE_SECONDS) -> None:
    """Let the reactor run until ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about in {seconds} s")
        turn()


class Client:
    """A client's socket, by hand."""

    def __init__(self, handle: socket.socket) -> None:
        handle.setblocking(False)
        self.socket = handle
        self.received = b""
        self.ended = False  # the server has hung up
        self.was_reset = False

    def send(self, data: bytes) -> int:
        """Send as much as goes at once; how much that was."""
        return self.socket.send(data)

    def send_all(self, data: bytes) -> None:
        """Send everything, while the server reads."""
        view = memoryview(data)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while view:
            try:
                view = view[self.socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                assert time.monotonic() < deadline, "the server does not read"
                turn()

    def take(self) -> bytes:
        """What has come; ``ended`` and ``was_reset`` say how it ended."""
        taken = b""
        while not self.ended:
            try:
                data = self.socket.recv(1 << 20)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            except ConnectionResetError:
                self.ended = self.was_reset = True
                break
            taken += data
            self.ended = not data
        self.received += taken
        return taken

    def responses(self, count: int, *methods: bytes) -> list[Response]:
        """The first ``count`` responses."""

        def come() -> bool:
            self.take()
            return len(parse_responses(self.received, methods, closed=self.ended)[0]) >= count or self.ended

        until(come, f"response {count}")
        return parse_responses(self.received, methods, closed=self.ended)[0]

    def wait_for(self, data: bytes = b"") -> None:
        """Until ``data`` is in what has come; nothing stands for anything, also an end."""
        until(lambda: (self.take() or self.ended) and data in self.received, repr(data))

    def end(self) -> bytes:
        """All that comes until the server hangs up."""

        def come() -> bool:
            self.take()
            return self.ended

        until(come, "the end of the connection")
        return self.received

    def reset(self) -> None:
        """Go without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Loopback:
    """A site that listens until the block ends; then nothing of it may be left.

    ``description`` is an endpoint; ``fast=False`` listens on the reactor's own port.
    """

    def __init__(
        self,
        resource: IResource | Site,
        description: str = "tcp:0:interface=127.0.0.1",
        fast: bool = True,
        certificate: Path | None = None,
        **options: Any,
    ) -> None:
        from twisted.internet import reactor
        from twisted.internet.endpoints import serverFromString

        self.site = resource if isinstance(resource, Site) else Site(resource, reactor=reactor, **options)
        self._fast = fast
        self.reactor: Any = reactor
        self._endpoint = serverFromString
        if certificate is not None:
            description = f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"
        self.description = description
        self._certificate = certificate
        self.port: Any = None
        self.clients: list[Client] = []
        self.before = self.site.ledger.snapshot()

    def __enter__(self) -> Self:
        self.listen()
        return self

    def listen(self) -> None:
        if self._fast:
            self.port = result_of(listen(self.reactor, self.description, self.site))
        else:
            self.port = result_of(self._endpoint(self.reactor, self.description).listen(self.site))
        self.find()

    def stop(self) -> None:
        result_of(self.port.stopListening())

    def find(self) -> None:
        """Note where the port is."""
        host = self.port.getHost()
        self.address: Any = host.name if hasattr(host, "name") else (host.host, host.port)

    def connect(self, receive_bytes: int | None = None) -> Client:
        """A new client; ``receive_bytes`` is its kernel buffer."""
        family = {str: socket.AF_UNIX, bytes: socket.AF_UNIX}.get(type(self.address), socket.AF_INET)
        if family is socket.AF_INET and ":" in self.address[0]:
            family = socket.AF_INET6
        handle = socket.socket(family)
        if receive_bytes is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        handle.connect(self.address)
        if self._certificate is not None:
            handle = self._secure(handle)
        client = Client(handle)
        self.clients.append(client)
        return client

    def _secure(self, handle: socket.socket) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self._certificate))
        handle.setblocking(False)
        secure = context.wrap_socket(handle, server_hostname="localhost", do_handshake_on_connect=False)

        def shaken() -> bool:
            try:
                secure.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            return True

        until(shaken, "the handshake")
        return secure

    def exchange(self, data: bytes = GET, count: int = 1) -> list[Response]:
        client = self.connect()
        client.send_all(data)
        return client.responses(count)

    def accepted(self, count: int) -> None:
        """Wait until the site has ``count`` connections."""
        until(lambda: self.site.connection_count == count, f"connection {count}")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for client in self.clients:
            client.close()
        if self.port is not None:
            self.stop()
        if kind is None:
            until(lambda: not len(self.site.server.tracker), "the end of every connection")
            for refusal in self.site.server.refusals:
                refusal.abort()
            until(lambda: self.site.ledger.snapshot() == self.before, f"the ledger of {self.before}")
        else:
            for channel in (*self.site.server.tracker, *self.site.server.refusals):
                channel.transport.abortConnection()
            turn()


def certificate(folder: Path) -> Path:
    """A certificate for localhost, signed by itself, with its key, in one file."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path

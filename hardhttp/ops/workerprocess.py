"""The parent's end of a worker: a process, what it writes, and a private channel to it.

The channel is a pair of sockets that nobody else has. Lines go over it (``ping``, ``hang-up``; ``ready``, ``pong``,
``hung-up``, ``taken``), and connections: to ask a worker's admin side, the parent makes another pair and hands one
end over (SCM_RIGHTS, unix(7)), with the line ``take``. So a worker's admin side has no address: there is no file to
protect or to remove, and nobody but the parent can ask it. When either end has died the other is told by the kernel.

What a worker writes to its standard output and error comes here by pipes and goes on a whole line at a time, so that
the lines of several never mix. The last of it is kept: it is the best there is to say of one that could not start.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from hardhttp.ops.worker import Worker
from hardhttp.ops.workerlink import VARIABLE
from hardhttp.ops.workers import Workers

__all__ = ["Answered", "Spawner", "WorkerProcess", "how_it_ended"]

CHANNEL_DESCRIPTOR, BOARD_DESCRIPTOR, FIRST_SOCKET = 3, 4, 5
MAX_LINE_BYTES = 64 * 1024
KEPT_BYTES = 4096
# After a process has ended: how long is waited for the rest of what it wrote, which a child of its own may hold open.
LAST_WORDS_SECONDS = 0.5
MAX_ANSWER_BYTES = 16 << 20
# Connections handed over that it has not taken yet; one that takes none is not handed more.
MAX_HANDED = 16


@attrs.frozen
class Answered:
    """What a worker's admin side answered."""

    status: int
    body: bytes


class Spawner:
    """Starts workers by ``command``, in ``directory``.

    ``handed`` is called with the first descriptor it may use and gives what ``hardhttp.net.inherited.handed_on`` does;
    ``board`` is the descriptor of a ``hardhttp.net.balance.Board``; ``output`` gets a worker's number and whole lines
    that it wrote.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        environ: Mapping[str, str],
        directory: str,
        handed: Callable[[int], tuple[dict[str, str], dict[int, int]]],
        board: int,
        output: Callable[[int, bytes], object],
    ) -> None:
        self._reactor, self._command, self._environ = reactor, list(command), dict(environ)
        self._directory, self._handed, self._board, self._output = directory, handed, board, output

    def __call__(self, worker: Worker, workers: Workers) -> WorkerProcess:
        """Raises ``OSError`` when there is no process to be had."""
        process = WorkerProcess(worker, workers, self._reactor, self._output)
        ours, theirs = socket.socketpair()
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        with ours, theirs:
            ours.setblocking(False)
            extra, descriptors = self._handed(FIRST_SOCKET)
            place = {
                "number": worker.number,
                "serial": worker.serial,
                "total": workers.wanted,
                "fd": CHANNEL_DESCRIPTOR,
                "board": BOARD_DESCRIPTOR,
                "parent": os.getpid(),
            }
            try:
                self._reactor.spawnProcess(
                    process,
                    self._command[0],
                    self._command,
                    env={**self._environ, **extra, VARIABLE: json.dumps(place)},
                    path=self._directory,
                    childFDs={
                        0: nothing,
                        1: "r",
                        2: "r",
                        CHANNEL_DESCRIPTOR: theirs.fileno(),
                        BOARD_DESCRIPTOR: self._board,
                        **descriptors,
                    },
                )
            finally:
                os.close(nothing)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(process.channel))
        return process


class _Lines:
    """Whole lines of what comes in pieces; one without an end is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> bytes:
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        if not newline and len(rest) > MAX_LINE_BYTES:
            whole, newline, rest = rest, b"\n", b""
        self._rest = rest
        return whole + newline

    def end(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest + b"\n" if rest else b""


class WorkerProcess(ProcessProtocol):
    """One of them. Calls ``workers.said`` and ``workers.exited``."""

    transport: Any

    def __init__(self, worker: Worker, workers: Workers, reactor: Any, output: Callable[[int, bytes], object]) -> None:
        self._worker, self._workers, self._reactor, self._output = worker, workers, reactor, output
        self._lines = {1: _Lines(), 2: _Lines()}
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._channel: _Channel | None = None
        self._handed: deque[socket.socket] = deque()
        self._last_words: IDelayedCall | None = None
        self._pid: int | None = None
        self._agent: Any = None

    # -- what is asked of it ------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        return self._pid

    def signal(self, number: int) -> None:
        try:
            self.transport.signalProcess(int(number))
        except ProcessExitedAlready:
            pass

    def say(self, line: str) -> None:
        if self._channel is not None:
            self._channel.sendLine(line.encode("ascii"))

    def ask(self, method: bytes, target: bytes, body: bytes | None = None) -> Deferred[Answered]:
        """One request to its admin side. To cancel it is to hang up."""
        if self._agent is None:
            self._agent = Agent.usingEndpointFactory(self._reactor, _Ways(self))
        headers = Headers({b"Host": [b"localhost"], b"User-Agent": [b"hardhttp"]})
        if body is not None:
            headers.addRawHeader(b"Content-Type", b"application/json")
        sent = None if body is None else FileBodyProducer(BytesIO(body))
        asked = self._agent.request(method, b"http://localhost" + target, headers, sent)
        read: Deferred[Answered] = asked.addCallback(_read)
        return read

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """A connection to its admin side, for a protocol of ``factory``."""
        if self._channel is None or len(self._handed) >= MAX_HANDED:
            return fail(ConnectError(string="the worker takes no connections"))
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            self._handed.append(theirs)  # open here until it is taken there
            self._channel.hand(theirs.fileno())
            transport = self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
        return succeed(transport.protocol)

    # -- what becomes of it ---------------------------------------------------------------------------

    def channel(self) -> _Channel:
        self._channel = _Channel(self)
        return self._channel

    def said(self, line: str) -> None:
        if line == "taken":
            if self._handed:
                self._handed.popleft().close()
        else:
            self._workers.said(self._worker, line)

    def channel_lost(self) -> None:
        self._channel = self._agent = None
        while self._handed:
            self._handed.popleft().close()

    def connectionMade(self) -> None:
        self._pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._wrote(self._lines[childFD].take(data))

    def _wrote(self, lines: bytes) -> None:
        if not lines:
            return
        self._tail.append(lines[-KEPT_BYTES:])
        self._tail_bytes += len(self._tail[-1])
        while self._tail_bytes - len(self._tail[0]) >= KEPT_BYTES:
            self._tail_bytes -= len(self._tail.popleft())
        self._output(self._worker.number, lines)

    def processExited(self, reason: Failure) -> None:
        self._last_words = self._reactor.callLater(LAST_WORDS_SECONDS, self._ended, reason)

    def processEnded(self, reason: Failure) -> None:
        if self._last_words is not None and self._last_words.active():
            self._last_words.cancel()
            self._ended(reason)

    def _ended(self, reason: Failure) -> None:
        for lines in self._lines.values():
            self._wrote(lines.end())
        self.transport.loseConnection()
        if self._channel is not None:
            self._channel.end()
        output = b"".join(self._tail)[-KEPT_BYTES:].decode("utf-8", "replace").strip()
        self._workers.exited(self._worker, how_it_ended(reason.value), output)


def how_it_ended(value: Any) -> str:
    """What the system says of a process that has ended."""
    number = getattr(value, "signal", None)
    if number is None:
        return f"exit status {getattr(value, 'exitCode', None)}"
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


class _Channel(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 256
    transport: Any

    def __init__(self, process: WorkerProcess) -> None:
        self._process: WorkerProcess | None = process

    def hand(self, descriptor: int) -> None:
        self.transport.sendFileDescriptor(descriptor)
        self.sendLine(b"take")

    def lineReceived(self, line: bytes) -> None:
        if self._process is not None:
            self._process.said(line.decode("ascii", "replace"))

    def connectionLost(self, reason: Any = None) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.channel_lost()

    def end(self) -> None:
        self.transport.abortConnection()


# -- asking ------------------------------------------------------------------------------------------


@implementer(IStreamClientEndpoint)
class _Way:
    def __init__(self, process: WorkerProcess) -> None:
        self._process = process

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        return self._process.connect(protocolFactory)


@implementer(IAgentEndpointFactory)
class _Ways:
    def __init__(self, process: WorkerProcess) -> None:
        self._process = process

    def endpointForURI(self, uri: object) -> _Way:
        return _Way(self._process)


def _read(response: Any) -> Deferred[Answered]:
    body = _Body()
    response.deliverBody(body)
    return body.whole.addCallback(lambda content: Answered(response.code, content))


class _Body(Protocol):
    """Collects the body of an answer, up to ``MAX_ANSWER_BYTES``."""

    def __init__(self) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _: self._hang_up())
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MAX_ANSWER_BYTES:
            self._pieces.append(data)
        elif not self.whole.called:
            self._hang_up()
            self.whole.errback(ConnectError(string="the answer is too long"))

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(reason)

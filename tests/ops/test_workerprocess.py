"""The parent's end of a worker, with processes that are a few lines of Python; and the worker's end."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from hardhttp.net.balance import Board
from hardhttp.ops.worker import Worker
from hardhttp.ops.workerprocess import (
    KEPT_BYTES,
    MAX_HANDED,
    MAX_LINE_BYTES,
    Spawner,
    WorkerProcess,
    _Body,
    _Lines,
    how_it_ended,
)

PATIENCE_SECONDS = 20.0


class Seen:
    """What a worker was seen to do."""

    wanted = 2

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.wrote = b""

    def said(self, worker: Worker, line: str) -> None:
        self.lines.append(line)

    def exited(self, worker: Worker, how: str, output: str) -> None:
        self.ended.append((how, output))

    def output(self, number: int, lines: bytes) -> None:
        assert lines.endswith(b"\n")
        self.wrote += lines


async def until(holds: Callable[[], Any], what: str) -> None:
    for _ in range(int(PATIENCE_SECONDS / 0.01)):
        if holds():
            return
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]
    raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")


def spawned(script: str, seen: Any) -> Any:
    board = Board()
    command = [sys.executable, "-c", textwrap.dedent(script)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    spawner = Spawner(reactor, command, environ, os.getcwd(), lambda first: ({}, {}), board.fileno, seen.output)
    worker = Worker(1, 7, 0.0)
    worker.process = spawner(worker, seen)
    board.close()
    return worker.process


@pytest_twisted.ensureDeferred
async def test_lines_orders_and_the_end() -> None:
    seen = Seen()
    process = spawned(
        """
        import json, os, socket, sys
        place = json.loads(os.environ["HARDHTTP_WORKER"])
        print(place["number"], place["serial"], place["total"], os.getppid() == place["parent"], flush=True)
        channel = socket.socket(fileno=place["fd"])
        channel.sendall(b"ready\\n")
        print("it was told", channel.recv(100), file=sys.stderr, flush=True)
        sys.exit(3)
        """,
        seen,
    )

    await until(lambda: "ready" in seen.lines, "it is ready")
    assert process.pid is not None
    process.say("ping")
    await until(lambda: seen.ended, "it has ended")
    process.say("ping")
    process.signal(signal.SIGTERM)

    (how, output) = seen.ended[0]
    assert how == "exit status 3"
    assert "1 7 2 True" in output
    assert r"it was told b'ping\n'" in output


@pytest_twisted.ensureDeferred
async def test_the_end_is_seen_though_a_child_holds_its_output() -> None:
    seen = Seen()
    process = spawned("import os, time\nif os.fork(): os.abort()\ntime.sleep(3)", seen)
    await until(lambda: seen.ended, "it has ended")
    assert seen.ended[0][0] == "signal 6 (SIGABRT)"
    assert process.pid is not None


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_its_admin_side_is_asked_by_connections_that_are_handed_over() -> None:
    seen = Seen()
    process = spawned(
        """
        import os
        from twisted.internet import reactor
        from twisted.web.resource import Resource
        from hardhttp import Site
        from hardhttp.ops.workerlink import Link, Place

        class Page(Resource):
            isLeaf = True
            def render_GET(self, request):
                return b"asked for " + request.uri
            def render_PUT(self, request):
                return b"told " + request.content.read()

        site = Site(Page(), reactor=reactor)
        link = Link(Place.from_environment(os.environ), reactor, site, lambda: 1/0, reactor.stop, list)
        link.start()
        link.ready([], lambda: 0)
        reactor.run()
        """,
        seen,
    )

    await until(lambda: "ready" in seen.lines, "it is ready")
    answers = [await process.ask(b"GET", b"/a?b=%d" % number) for number in range(3)]
    assert [each.body for each in answers] == [b"asked for /a?b=%d" % number for number in range(3)]
    assert (await process.ask(b"PUT", b"/", b"{}")).body == b"told {}"
    process.say("ping")
    process.say("hang-up")
    await until(lambda: seen.lines[-2:] == ["pong", "hung-up"], "it does what it can")
    await until(lambda: not process._handed, "nothing is left open here")
    process.signal(signal.SIGKILL)
    await until(lambda: seen.ended, "it has ended")
    with pytest.raises(Exception, match="takes no connections"):
        await process.ask(b"GET", b"/")


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([b"a\nb", b"c\n"], b"a\nbc\n"),
        ([b"a"], b""),
        ([b"x" * MAX_LINE_BYTES], b""),
        ([b"x" * (MAX_LINE_BYTES + 1), b"y\n"], b"x" * (MAX_LINE_BYTES + 1) + b"\ny\n"),
    ],
)
def test_whole_lines(pieces: list[bytes], whole: bytes) -> None:
    lines = _Lines()
    assert b"".join(map(lines.take, pieces)) == whole
    assert lines.end() in (b"", pieces[-1] + b"\n")


def test_how_it_ended() -> None:
    assert how_it_ended(SimpleNamespace(signal=None, exitCode=1)) == "exit status 1"
    assert how_it_ended(SimpleNamespace(signal=9, exitCode=None)) == "signal 9 (SIGKILL)"
    assert how_it_ended(SimpleNamespace(signal=200, exitCode=None)) == "signal 200"
    assert KEPT_BYTES <= MAX_LINE_BYTES


# -- nobody outlives his parent -------------------------------------------------------------------

ORPHAN = """
import socket, sys, time
from hardhttp.ops.workerlink import leave_with_parent
import hardhttp.ops.workerlink as link
link.ORPHAN_SECONDS = 0.1
leave_with_parent(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]), lambda: print("orphaned", flush=True))
print("here", flush=True)
time.sleep(600)  # as if held
"""


def orphan(parent: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", ORPHAN, str(theirs.fileno()), str(parent)],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    return process, ours


@pytest.mark.slow
def test_e04_a_worker_that_is_held_ends_with_its_parent() -> None:
    process, channel = orphan(os.getpid())
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    channel.close()
    assert process.stdout.read() == b"orphaned\n"
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    process.stdout.close()


@pytest.mark.slow
def test_e04_a_worker_whose_parent_has_died_before_does_not_begin() -> None:
    process, channel = orphan(1 << 22)
    assert process.wait(PATIENCE_SECONDS) == 1
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    channel.close()


MIDDLE = """
import os, socket, subprocess, sys
ours, theirs = socket.socketpair()
words = [sys.executable, "-c", sys.argv[1], str(theirs.fileno()), str(os.getpid())]
child = subprocess.Popen(words, pass_fds=[ours.fileno(), theirs.fileno()], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.readline()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")
def test_e04_the_kernel_tells_too() -> None:
    """Somebody else may hold the other end of the channel, so that its end is not seen."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    middle = subprocess.Popen(
        [sys.executable, "-c", MIDDLE, ORPHAN], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert middle.stdout is not None
    assert middle.stdin is not None
    pid = int(middle.stdout.readline())
    watch = os.pidfd_open(pid)
    middle.stdin.write(b"end\n")
    middle.stdin.close()
    ended, _, _ = select.select([watch], [], [], PATIENCE_SECONDS)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    assert ended
    os.close(watch)
    middle.wait()
    middle.stdout.close()


# -- what is bounded ------------------------------------------------------------------------------


class Adopting:
    """A reactor that adopts connections, and does nothing with them."""

    def adoptStreamConnection(self, fileno: int, family: int, factory: Any) -> Any:
        return SimpleNamespace(protocol=factory.buildProtocol(None))


def test_one_that_takes_no_connections_is_not_handed_more() -> None:
    process = WorkerProcess(Worker(1, 1, 0.0), Seen(), Adopting(), lambda *_: None)  # type: ignore[arg-type]
    factory = Factory.forProtocol(Protocol)
    refused = process.connect(factory)
    refused.addErrback(lambda failure: failure.value)
    assert "takes no connections" in str(refused.result)
    channel = process.channel()
    channel.transport = SimpleNamespace(
        sendFileDescriptor=lambda fileno: None, write=lambda line: None, writeSequence=lambda lines: None
    )
    for _ in range(MAX_HANDED):
        assert isinstance(process.connect(factory).result, Protocol)
    refused = process.connect(factory)
    refused.addErrback(lambda failure: failure.value)
    assert "takes no connections" in str(refused.result)
    process.said("taken")
    assert isinstance(process.connect(factory).result, Protocol)
    handed = [*process._handed]
    process.channel_lost()
    assert all(each.fileno() == -1 for each in handed)


@pytest.mark.parametrize("more", [0, 1])
def test_an_answer_at_its_bound_and_one_past_it(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    monkeypatch.setattr("hardhttp.ops.workerprocess.MAX_ANSWER_BYTES", 10)
    body = _Body()
    lost: list[bool] = []
    body.makeConnection(SimpleNamespace(loseConnection=lambda: lost.append(True)))  # type: ignore[arg-type]
    body.dataReceived(b"12345")
    body.dataReceived(b"67890" + b"x" * more)
    body.dataReceived(b"")
    body.connectionLost(Failure(ResponseDone()))
    got: list[Any] = []
    body.whole.addBoth(got.append)
    assert bool(lost) is bool(more)
    assert isinstance(got[0], Failure) if more else got == [b"1234567890"]


def test_an_answer_that_is_cut_off_is_none() -> None:
    body = _Body()
    body.dataReceived(b"12345")
    body.connectionLost(Failure(ConnectionDone()))
    body.whole.addErrback(lambda failure: failure.type)
    assert body.whole.result is ConnectionDone

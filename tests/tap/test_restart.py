"""A restart's phases, with a successor that is a socket's other end and a clock that is driven by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python import usage
from twisted.python.failure import Failure

from hardhttp.net import inherited
from hardhttp.net.inherited import Given
from hardhttp.ops.health import Verdict
from hardhttp.tap.restart import READY_SECONDS, Phase, Restart, Start
from hardhttp.tap.successor import VARIABLE, Predecessor
from hardhttp.tap.talk import MAX_BYTES, MAX_LINE_BYTES, Talk

START = Start(("python", "-m", "twisted"), {"HOME": "/", "WATCHDOG_PID": "7", inherited.VARIABLE: "old"}, "/srv")


class Reactor(Clock):
    """Starts no process, and reads when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Any, ...]] = []
        self.readers: list[Any] = []
        self.killed: list[object] = []
        self.stopped = 0
        self.theirs: Talk | None = None

    def spawnProcess(self, protocol: Any, executable: str, args: Any, env: Any, path: str, childFDs: Any) -> None:
        self.started.append((protocol, args, env, path, childFDs))
        self.theirs = Talk(socket.socket(fileno=os.dup(childFDs[int(env[VARIABLE])])))
        protocol.transport = self

    def signalProcess(self, number: object) -> None:
        self.killed.append(number)

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.remove(reader)

    def stop(self) -> None:
        self.stopped += 1

    def turn(self) -> None:
        for reader in [*self.readers]:
            reader.doRead()


class Port:
    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle
        self.told: list[str] = []

    def given(self) -> Given:
        return Given(self._handle, "web")

    def __getattr__(self, name: str) -> Any:
        return lambda: self.told.append(name)


class Kit:
    """A process that may be restarted."""

    def __init__(self, port: Any) -> None:
        self.reactor = Reactor()
        self.left: list[int] = []
        self.taken_back = 0
        self.gives: dict[str, Any] = {}
        self.ports: list[Any] = [port]
        self.log: list[str] = []
        self.restart = Restart(START, lambda: self.ports, self.left.append, self.reactor, self.gives, [self.take_back])
        globalLogPublisher.addObserver(self)

    def __call__(self, event: Any) -> None:
        self.log.append(event["log_format"].format(**event))

    def take_back(self) -> None:
        self.taken_back += 1

    def begin(self) -> Talk:
        self.restart.begin()
        assert self.reactor.theirs is not None
        return self.reactor.theirs

    def ended(self, error: Exception) -> None:
        self.reactor.started[-1][0].processEnded(Failure(error))

    def end(self) -> None:
        globalLogPublisher.removeObserver(self)
        if self.reactor.theirs is not None:
            self.reactor.theirs.close()
        for reader in [*self.reactor.readers]:
            reader.close()
        assert self.reactor.getDelayedCalls() == []


@pytest.fixture
def kit() -> Iterator[Kit]:
    with socket.create_server(("127.0.0.1", 0)) as handle:
        kit = Kit(Port(handle))
        yield kit
        kit.end()


def test_a_successor_is_started_as_this_was(kit: Kit) -> None:
    kit.begin()
    _, words, environment, directory, descriptors = kit.reactor.started[0]
    assert (words, directory) == (["python", "-m", "twisted"], "/srv")
    assert json.loads(environment.pop(inherited.VARIABLE)) == [
        {"fd": 4, "name": "web", "chosen": False, "owned": False}
    ]
    assert environment == {"HOME": "/", VARIABLE: "3"}
    assert {**descriptors, 3: 0} == {0: 0, 1: 1, 2: 2, 3: 0, 4: kit.ports[0].given().socket.fileno()}
    kit.restart.stop()


def test_it_is_left_to_when_it_is_ready(kit: Kit) -> None:
    theirs = kit.begin()
    kit.restart.begin()
    assert len(kit.reactor.started) == 1
    theirs.say("waits", "the session store: no answer")
    theirs.say("ready", "4711")
    assert kit.left == []
    kit.reactor.turn()
    assert kit.left == [4711]
    assert kit.restart.phase is Phase.LEAVING
    assert theirs.wait_for("go", 0)
    kit.ended(ProcessDone(0))
    kit.restart.begin()
    assert "a restart is asked for, but this process is leaving already" in kit.log
    kit.restart.stop()
    assert kit.reactor.killed == []


@pytest.mark.parametrize("order", ["process first", "talk first"])
@pytest.mark.parametrize(
    ("said", "error", "why"),
    [
        (None, ProcessTerminated(1), "the successor ended with status 1 before it was ready"),
        (None, ProcessTerminated(None, 9), "the successor ended with signal 9 before it was ready"),
        (None, ProcessDone(0), "the successor ended with status 0 before it was ready"),
        ("--idle-seconds: 'soon'", ProcessTerminated(1), "--idle-seconds: 'soon'"),
    ],
)
def test_one_that_ends_costs_a_line(kit: Kit, order: str, said: str | None, error: Exception, why: str) -> None:
    theirs = kit.begin()
    if said is not None:
        theirs.say("failed", said)
    if order == "process first":
        kit.ended(error)
        assert kit.restart.phase is Phase.WAITING, "a daemon goes on in another process"
    theirs.close()
    kit.reactor.turn()
    kit.reactor.turn()  # the end is behind what was said
    if order == "talk first":
        kit.ended(error)
    assert kit.log[-1] == f"the restart failed, and this process serves on: {why}"
    assert (kit.restart.phase, kit.taken_back, kit.left) == (Phase.SERVING, 1, [])
    kit.begin()
    assert len(kit.reactor.started) == 2
    kit.restart.stop()


def test_one_that_is_not_ready_in_time_is_ended(kit: Kit) -> None:
    theirs = kit.begin()
    theirs.say("waits", "the broker is away")
    kit.reactor.turn()
    kit.reactor.advance(READY_SECONDS - 0.1)
    assert kit.restart.phase is Phase.WAITING
    kit.reactor.advance(0.1)
    assert kit.log[-1].endswith("the successor was not ready within 60 s: the broker is away")
    assert kit.reactor.killed == [signal.SIGKILL]
    assert theirs.wait_for("stop", 0), "a daemon is not the process that was started"
    assert (kit.restart.phase, kit.taken_back) == (Phase.SERVING, 1)
    theirs.say("ready", "4711")
    kit.ended(ProcessTerminated(None, 9))
    kit.reactor.turn()
    assert kit.left == []


def test_a_stop_ends_the_successor_too(kit: Kit) -> None:
    theirs = kit.begin()
    kit.restart.stop()
    assert kit.reactor.killed == [signal.SIGKILL]
    assert theirs.wait_for("stop", 0)
    kit.ended(ProcessTerminated(None, 9))
    assert kit.taken_back == 0


def test_it_may_ask_for_what_one_process_alone_can_have(kit: Kit) -> None:
    closed: Deferred[None] = Deferred()
    kit.gives["history"] = lambda: closed
    theirs = kit.begin()
    theirs.say("wants", "history")
    kit.reactor.turn()
    assert not theirs.wait_for("given", 0)
    closed.callback(None)
    assert theirs.wait_for("given", 0)
    theirs.say("wants", "the moon")
    kit.reactor.turn()
    assert theirs.wait_for("given", 0)
    kit.gives["history"] = lambda: 1 / 0
    theirs.say("wants", "history")
    kit.reactor.turn()
    assert theirs.wait_for("given", 0), "it finds out for itself"
    kit.restart.stop()


def test_what_cannot_be_handed_on_is_known_before(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.ports.append(object())
    kit.restart.begin()
    assert "is an endpoint whose socket cannot be passed on" in kit.log[-1]
    kit.ports.pop()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    kit.restart.begin()
    assert kit.log[-1].startswith("no restart: this is process 1")
    assert kit.reactor.started == []


def test_a_process_that_cannot_be_made(kit: Kit) -> None:
    kit.reactor.spawnProcess = lambda *args, **kw: os.stat("/no/such/file")  # type: ignore[assignment]
    kit.restart.begin()
    assert kit.log[-1].startswith("no restart: a process could not be started: [Errno 2]")
    assert kit.restart.phase is Phase.SERVING


# -- the new process --------------------------------------------------------------------------


class Health:
    """Ready, once ``problems`` are none."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems

    async def ready(self) -> Verdict:
        return Verdict(self.problems)


@pytest.fixture
def talks() -> Iterator[tuple[Talk, Predecessor, Reactor, list[str]]]:
    ours, theirs = socket.socketpair()
    environ = {VARIABLE: str(os.dup(ours.fileno()))}
    ours.close()
    predecessor = Predecessor.from_environment(environ)
    assert predecessor is not None
    assert environ == {}
    reactor = Reactor()
    heard: list[str] = []
    talk = Talk(theirs)
    yield talk, predecessor, reactor, heard
    predecessor.end()
    talk.close()


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}, {VARIABLE: "x"}, {VARIABLE: "999999"}])
def test_nobody_was_before(environ: dict[str, str]) -> None:
    assert Predecessor.from_environment(environ) is None


def test_it_accepts_when_it_is_ready_and_told_to(talks: Any, tmp_path: Path) -> None:
    talk, predecessor, reactor, heard = talks
    twistd = {"pidfile": str(tmp_path / "twistd.pid")}
    predecessor.keep_pidfile(twistd)
    assert twistd == {"pidfile": ""}
    port, health = Port(None), Health("the session store: no answer")  # type: ignore[arg-type]
    predecessor.hold([port])
    assert port.told == ["stopReading"]
    predecessor.ready(health, reactor, lambda: heard.append("accepts"))
    assert talk.wait_for("waits", 0)
    reactor.advance(0.1)
    assert not talk.wait_for("waits", 0), "once is enough"
    health.problems = ()
    reactor.advance(0.1)
    assert talk.wait_for("ready", 0)
    reactor.turn()
    assert (heard, port.told) == ([], ["stopReading"])
    talk.say("go")
    reactor.turn()
    assert (heard, port.told) == (["accepts"], ["stopReading", "take_over", "startReading"])
    assert (tmp_path / "twistd.pid").read_text() == str(os.getpid())
    assert twistd == {"pidfile": str(tmp_path / "twistd.pid")}
    assert reactor.getDelayedCalls() == []
    assert reactor.readers == []


def test_it_accepts_when_its_predecessor_has_died(talks: Any) -> None:
    talk, predecessor, reactor, heard = talks
    predecessor.ready(Health("not yet"), reactor, lambda: heard.append("accepts"))
    talk.close()
    reactor.turn()
    assert heard == ["accepts"]
    reactor.advance(1)
    assert reactor.getDelayedCalls() == []


def test_it_ends_when_it_took_too_long(talks: Any) -> None:
    talk, predecessor, reactor, heard = talks
    predecessor.ready(Health("not yet"), reactor, lambda: heard.append("accepts"))
    talk.say("stop")
    talk.close()
    reactor.turn()
    assert (heard, reactor.stopped) == ([], 1)
    reactor.advance(1)
    assert reactor.getDelayedCalls() == []


def test_a_pidfile_that_cannot_be_written_is_let_be(talks: Any, tmp_path: Path) -> None:
    _, predecessor, reactor, heard = talks
    twistd = {"pidfile": str(tmp_path / "none" / "twistd.pid")}
    predecessor.keep_pidfile(twistd)
    predecessor.ready(Health(), reactor, lambda: heard.append("accepts"))
    predecessor._go()
    assert (heard, twistd) == (["accepts"], {"pidfile": ""})


def test_what_the_predecessor_does_not_let_go_of(talks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, predecessor, _, _ = talks
    talk.say("given")
    predecessor.ask_for("history")
    assert talk.wait_for("wants", 0)
    monkeypatch.setattr("hardhttp.tap.successor.GIVE_SECONDS", 0)
    with pytest.raises(usage.UsageError, match="history: the process before this one does not let go of it"):
        predecessor.ask_for("history")
    talk.close()
    with pytest.raises(usage.UsageError, match="does not let go"):
        predecessor.ask_for("history")
    predecessor.failed("nobody hears it")


# -- what they say --------------------------------------------------------------------------------


def test_lines_come_at_every_split() -> None:
    said = "ready 4711\nwaits a\u00e9 b\ngo\n".encode()
    for split in range(len(said) + 1):
        assert heard_of(said[:split], said[split:]) == [("ready", "4711"), ("waits", "a\u00e9 b"), ("go", ""), "over"]


def heard_of(*pieces: bytes) -> list[Any]:
    ours, theirs = socket.socketpair()
    heard: list[Any] = []
    reactor, talk = Reactor(), Talk(ours)
    talk.listen(reactor, lambda word, text: heard.append((word, text)), lambda: heard.append("over"))
    for piece in filter(None, pieces):
        theirs.send(piece)
        reactor.turn()
    theirs.close()
    reactor.turn()
    assert reactor.readers == []
    return heard


def test_a_line_is_one_and_bounded() -> None:
    ours, theirs = map(Talk, socket.socketpair())
    reactor, said = Reactor(), []
    theirs.listen(reactor, lambda word, text: said.append((word, text)), lambda: None)
    ours.say("failed", "two\nlines " + "x" * MAX_BYTES)
    reactor.turn()
    ((word, text),) = said
    assert (word, text[:11], len(text)) == ("failed", "two lines x", MAX_LINE_BYTES - len("failed "))
    ours.close()
    ours.say("failed", "nobody hears it")
    theirs.close()
    first, second = socket.socketpair()
    heard: list[str] = []
    talk = Talk(first)
    talk.listen(reactor, lambda *_: None, lambda: heard.append("over"))
    for _ in range(MAX_BYTES // 4000 + 1):
        assert not heard
        second.send(b"x" * 4000)
        reactor.turn()
    assert heard == ["over"]
    second.close()

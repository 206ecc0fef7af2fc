"""SIGUSR2: another process like this one is started, and has the listening sockets; this one drains.

nginx and gunicorn have the same signal for the same; SIGHUP reads files again in this process, and SIGUSR1 is twistd's
own, for its log. The successor has our command line, environment and directory, as they were when we started: so it
runs the program, the libraries and the configuration that are on the disk now.

It accepts nobody until it is ready, and we accept until then. What it says is in ``hardhttp.tap.successor``. Whatever
goes wrong before that (an option, an exception, a store that does not answer, ``READY_SECONDS``) ends it alone: this
process serves on, and one line in the log says why.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from hardhttp.net.inherited import handed_on
from hardhttp.tap.successor import VARIABLE
from hardhttp.tap.talk import Talk

__all__ = ["READY_SECONDS", "Restart", "Start"]

# An application may take its time to be imported.
READY_SECONDS = 60.0
# Descriptors from here on are the listening sockets; the one before is the talk's.
_FIRST_SOCKET = 4


@attrs.frozen
class Start:
    """How a process was started, so that another can be."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = attrs.field(repr=False)
    directory: str

    @classmethod
    def now(cls) -> Start:
        return cls(tuple(sys.orig_argv), dict(os.environ), os.getcwd())


class Phase(Enum):
    SERVING = "serving"
    WAITING = "waiting"  # for a successor that starts
    LEAVING = "leaving"  # the successor serves, or this process was told to end


class Restart:
    """Replaces this process by another.

    ``ports`` gives those that listen now. ``gives`` are what a successor may ask for before it is ready: by name, what
    lets go of it; ``takes_back`` are called when it failed after all. ``leaves`` is called with the successor's pid,
    once it is ready and before it accepts.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(
        self,
        start: Start,
        ports: Callable[[], list[Any]],
        leaves: Callable[[int], object],
        reactor: Any,
        gives: Mapping[str, Callable[[], Any]] | None = None,
        takes_back: Iterable[Callable[[], object]] = (),
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._start, self._ports, self._leaves, self._reactor = start, ports, leaves, reactor
        self._gives, self._takes_back = {} if gives is None else gives, [*takes_back]
        self._ready_seconds = ready_seconds
        self.phase = Phase.SERVING
        self._successor: _Successor | None = None

    def begin(self) -> None:
        """Start a successor, unless one is being waited for."""
        if self.phase is not Phase.SERVING:
            self._log.warn("a restart is asked for, but this process is {phase} already", phase=self.phase.value)
            return
        why_not = self._why_not()
        if why_not is not None:
            self._log.error("no restart: {why}", why=why_not)
            return
        try:
            successor = _Successor(self, self._reactor, self._ready_seconds)
            successor.spawn(self._start, self._ports())
        except Exception as error:  # of the system, for want of processes or descriptors
            self._log.error("no restart: a process could not be started: {error}", error=str(error))
            return
        self.phase, self._successor = Phase.WAITING, successor
        self._log.info("a restart: a successor is being started")

    def _why_not(self) -> str | None:
        if os.getpid() == 1:
            return "this is process 1, whose end would end all others; start another container and stop this one"
        others = [port for port in self._ports() if not hasattr(port, "given")]
        if others:
            return f"{others[0]} is an endpoint whose socket cannot be passed on"
        return None

    # -- what the successor says, in its order --------------------------------------------------

    def wants(self, what: str) -> Deferred[Any]:
        give = self._gives.get(what)
        return maybeDeferred(give) if give is not None else maybeDeferred(lambda: None)

    def ready(self, pid: int) -> None:
        """It waits for a word from us to accept."""
        self.phase, self._successor = Phase.LEAVING, None
        self._log.info("a successor, process {pid}, is ready; this process drains and ends", pid=pid)
        self._leaves(pid)

    def failed(self, why: str) -> None:
        self.phase, self._successor = Phase.SERVING, None
        for take_back in self._takes_back:
            take_back()
        self._log.error("the restart failed, and this process serves on: {why}", why=why)

    def stop(self) -> None:
        """This process ends, by a successor or by other means; none that only begins is left behind."""
        successor, self._successor = self._successor, None
        self.phase = Phase.LEAVING
        if successor is not None:
            successor.kill()


class _Successor(ProcessProtocol):
    """A process that was started and is not ready yet."""

    def __init__(self, restart: Restart, reactor: Any, ready_seconds: float) -> None:
        self._restart: Restart | None = restart
        self._reactor, self._ready_seconds = reactor, ready_seconds
        self._talk: Talk | None = None
        self._deadline: Any = None
        self._why: str | None = None  # it failed, by its own words
        self._problems = ""
        self._status: str | None = None  # how the process that was started ended

    def spawn(self, start: Start, ports: list[Any]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            variables, sockets = handed_on([port.given() for port in ports], _FIRST_SOCKET)
            environment = {**start.environment, **variables, VARIABLE: str(_FIRST_SOCKET - 1)}
            environment.pop("WATCHDOG_PID", None)  # it is systemd's word for us, and the watch will be on the other
            self._talk = Talk(ours)
            try:
                self._reactor.spawnProcess(
                    self,
                    sys.executable,
                    list(start.words),
                    dict(environment),
                    start.directory,
                    childFDs={0: 0, 1: 1, 2: 2, _FIRST_SOCKET - 1: theirs.fileno(), **sockets},
                )
            except BaseException:
                self._talk.close()
                raise
        self._talk.listen(self._reactor, self._heard, self._over)
        self._deadline = self._reactor.callLater(self._ready_seconds, self._too_late)

    # -- what it says ---------------------------------------------------------------------------

    def _heard(self, word: str, text: str) -> None:
        restart = self._restart
        if restart is None:
            return
        if word == "wants":
            restart.wants(text).addBoth(self._gave)
        elif word == "waits":
            self._problems = text
        elif word == "failed":
            self._why = text
        elif word == "ready" and text.isdigit():
            self._restart = None
            self._deadline.cancel()
            restart.ready(int(text))
            talk, self._talk = self._talk, None
            assert talk is not None
            talk.say("go")
            talk.close()

    def _gave(self, result: Any) -> None:
        if isinstance(result, Failure):
            Restart._log.failure("a file could not be let go of", result)
        if self._talk is not None:
            self._talk.say("given")

    # -- how it fails ---------------------------------------------------------------------------

    def processEnded(self, reason: Any) -> None:
        """The process that was started has ended; a daemon's goes on in another."""
        error = reason.value
        number = getattr(error, "signal", None)
        self._status = f"signal {number}" if number else f"status {getattr(error, 'exitCode', None)}"
        if self._talk is None:
            self._fail()

    def _over(self) -> None:
        """No process holds the other end of the talk any more."""
        self._talk = None
        if self._status is not None:
            self._fail()

    def _fail(self) -> None:
        self._end(self._why or f"the successor ended with {self._status} before it was ready")

    def _too_late(self) -> None:
        why = f": {self._problems}" if self._problems else ""
        self._end(f"the successor was not ready within {self._ready_seconds:g} s{why}")

    def _end(self, why: str) -> None:
        restart, self._restart = self._restart, None
        if restart is not None:
            self.kill()
            restart.failed(why)

    def kill(self) -> None:
        """It serves nobody, so nothing is lost by it."""
        self._restart = None
        if self._deadline.active():
            self._deadline.cancel()
        talk, self._talk = self._talk, None
        if talk is not None:
            talk.say("stop")
            talk.close()
        if self._status is None and self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess(signal.SIGKILL)

"""The new process of a restart: what it owes the one before.

It was started by its predecessor (``hardhttp.tap.restart``), which passed it the listening sockets and one end of a
``Talk``. In this order:

1. What goes wrong with the options or the start is told, beside being printed: the predecessor serves on.
2. A file that one process alone may have is asked for (``wants``), and had when the other says ``given``.
3. It listens, and accepts nobody yet. When it would be ready for requests by the judgement of ``/readyz``, it says
   ``ready`` and its pid.
4. At ``go``, or when the predecessor has died, it accepts. Its pid is in the pidfile then, and locks of Unix sockets
   are its own. At ``stop`` it ends: it took too long.

So there is no moment in which two processes accept, nor one in which a client is refused: who connects in between
waits in the sockets' queues.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import usage

from hardhttp.ops.health import Health
from hardhttp.tap.talk import Talk

__all__ = ["VARIABLE", "Predecessor"]

VARIABLE = "HARDHTTP_PREDECESSOR"
LOOK_SECONDS = 0.1
# How long it may take the predecessor to write and close a file.
GIVE_SECONDS = 20.0


class Predecessor:
    """The other end of ``talk`` is the process that this one replaces."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._reactor: Any = None
        self._twistd: Any = None
        self._pidfile: str | None = None
        self._ports: list[Any] = []
        self._accepting: Callable[[], object] = lambda: None
        self._waits = True
        self._said: str | None = None

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Predecessor | None:
        """``None`` where nobody was before. The variable is removed."""
        number = environ.pop(VARIABLE, "")
        if not number.isdigit():
            return None
        try:
            return cls(Talk(socket.socket(fileno=int(number[:9]))))
        except OSError:
            return None  # it was meant for another process

    # -- while options are read ---------------------------------------------------------------

    def failed(self, why: str) -> None:
        self._talk.say("failed", why)

    def ask_for(self, what: str) -> None:
        """Wait until the predecessor has let go of something. Raises ``usage.UsageError`` where it does not."""
        self._talk.say("wants", what)
        if not self._talk.wait_for("given", GIVE_SECONDS):
            raise usage.UsageError(f"{what}: the process before this one does not let go of it")

    def keep_pidfile(self, twistd: Any) -> None:
        """The pidfile is the predecessor's until it goes: twistd would refuse to start beside it."""
        if twistd is not None and twistd.get("pidfile"):
            self._twistd, self._pidfile = twistd, os.path.abspath(twistd["pidfile"])
            twistd["pidfile"] = ""

    # -- from listening to accepting ------------------------------------------------------------

    def hold(self, ports: Iterable[Any]) -> None:
        """Accept nobody on ``ports`` before it is time."""
        for port in ports:
            port.stopReading()
            self._ports.append(port)

    def ready(self, health: Health, reactor: Any, accepting: Callable[[], object]) -> None:
        """From now on look whether the server is ready; ``accepting`` is called when it accepts."""
        self._accepting = accepting
        self._reactor = reactor
        self._talk.listen(reactor, self._heard, self._go)
        self._look(health, reactor)

    def _look(self, health: Health, reactor: Any) -> None:
        def judged(verdict: Any) -> None:
            if not self._waits:
                return
            if verdict.ready:
                self._talk.say("ready", str(os.getpid()))
                return
            problems = "; ".join(verdict.problems)
            if problems != self._said:
                self._said = problems
                self._talk.say("waits", problems)
            reactor.callLater(LOOK_SECONDS, self._look, health, reactor)

        Deferred.fromCoroutine(health.ready()).addCallback(judged).addErrback(
            lambda failure: self._log.failure("the server could not be judged", failure)
        )

    @property
    def waits(self) -> bool:
        """Whether it is not our turn yet."""
        return self._waits

    def _heard(self, word: str, text: str) -> None:
        if word == "go":
            self._go()
        elif word == "stop" and self._waits:
            self.end()
            self._reactor.stop()

    def _go(self) -> None:
        """It is our turn."""
        if not self._waits:
            return
        self.end()
        self._take_pidfile()
        ports, self._ports = self._ports, []
        for port in ports:
            port.take_over()
            port.startReading()
        self._accepting()

    def _take_pidfile(self) -> None:
        if self._pidfile is None:
            return
        fresh = f"{self._pidfile}.{os.getpid()}"
        try:
            with open(fresh, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
            os.replace(fresh, self._pidfile)
        except OSError as error:
            self._log.warn("the pidfile {path} stays as it was: {error}", path=self._pidfile, error=error.strerror)
            return
        self._twistd["pidfile"] = self._pidfile  # twistd removes it at the end

    def end(self) -> None:
        self._waits = False
        self._talk.close()

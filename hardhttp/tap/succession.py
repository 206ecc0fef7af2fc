"""A process's begin and end, as others see them: its predecessor, systemd, its successor.

Here their order is kept. When it listens, sockets that were passed to it and that no option wants are an error (of a
predecessor's, which may have had other options, a line in the log). Then it serves, and systemd hears so; a successor
waits for its turn first. At SIGUSR2 it has a successor started (``hardhttp.tap.restart``). When that one is ready it
lets go of sockets, pidfile and systemd, and ends as by SIGTERM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from hardhttp.net.inherited import Inherited, InheritedError
from hardhttp.ops.health import Health
from hardhttp.ops.sources import Sources
from hardhttp.ops.systemd import Notifier, Watchdog, forget, watchdog_seconds
from hardhttp.tap.options import Options
from hardhttp.tap.restart import Restart
from hardhttp.tap.signals import OnSignal
from hardhttp.tap.successor import LOOK_SECONDS

__all__ = ["Succession"]


class Succession:
    """For a process with these ``options``; ``ports`` gives those that listen now."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, options: Options, sources: Sources, reactor: Any) -> None:
        self.inherited: Inherited = options.inherited
        self._predecessor, self._twistd = options.predecessor, options.parent
        self._sources, self._reactor = sources, reactor
        self._ports: Callable[[], list[Any]] = list
        environ = options.start.environment
        self._notifier = Notifier.from_environment(environ)
        self._watchdog = Watchdog(self._notifier, watchdog_seconds(environ, os.getpid()), reactor)
        forget(os.environ)
        hub = sources.hub
        gives = {} if hub is None else {"history": hub.hand_over}
        takes_back = [] if hub is None else [hub.take_back]
        self.restart = Restart(options.start, self._listening, self._leave, reactor, gives, takes_back)
        self._signal = OnSignal(signal.SIGUSR2, self._restart_asked, reactor)

    def _listening(self) -> list[Any]:
        return self._ports()

    def _restart_asked(self) -> None:
        """SIGUSR2. A successor first has its turn."""
        if self._predecessor is not None and self._predecessor.waits:
            self._reactor.callLater(LOOK_SECONDS, self._restart_asked)
        else:
            self.restart.begin()

    def failed(self, why: str) -> None:
        """The process cannot start."""
        if self._predecessor is not None:
            self._predecessor.failed(why)

    def listening(self, ports: Callable[[], list[Any]]) -> None:
        """All that ``--listen`` and ``--admin`` ask for is had. Raises ``InheritedError``."""
        for given in self.inherited.left:
            if self._predecessor is None:
                raise InheritedError(
                    f"a socket of {given.where} was passed to this process, and no option wants it: "
                    f"give --listen {given.option} (or --listen systemd: for all such)"
                )
            self._log.info("{where} is listened at no longer", where=given.where)
        self.inherited.close()
        self._ports = ports
        self._signal.start()  # before the log says that it listens, and somebody believes it
        if self._predecessor is not None:
            self._predecessor.hold(ports())

    def start(self) -> None:
        """The reactor is about to run."""
        self._reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        if self._predecessor is None:
            self._serving()
        else:
            self._predecessor.ready(Health(self._sources, self._reactor), self._reactor, self._serving)

    def _serving(self) -> None:
        self._notifier.ready("serving")
        self._watchdog.start()

    def reload(self, act: Callable[[], object]) -> None:
        """Do what SIGHUP asks for, and let systemd know."""
        self._notifier.reloading()
        try:
            act()
        finally:
            self._notifier.ready("serving")

    def _leave(self, pid: int) -> None:
        """The successor is ready: from here on all is its own."""
        for port in self._ports():
            port.cease()
            port.leave()
        if self._twistd is not None:
            self._twistd["pidfile"] = ""  # what twistd would remove at the end
        self._watchdog.stop()
        self._notifier.succeeded_by(pid)
        self._reactor.callLater(0, self._end)

    def _end(self) -> None:
        with suppress(ReactorNotRunning):  # SIGTERM was faster
            self._reactor.stop()

    def stopping(self) -> None:
        """The process ends, as by SIGTERM: the drain begins."""
        self.restart.stop()
        if self._predecessor is not None:
            self._predecessor.end()
        self._notifier.stopping(f"draining: {len(self._sources.server.tracker)} connections")

    def stopped(self) -> None:
        """The drain is over."""
        self._signal.stop()  # it would have ended the process until now
        self._watchdog.stop()

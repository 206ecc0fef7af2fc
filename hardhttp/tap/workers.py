"""``--workers``: the options, and the processes that they become.

The process that twistd begins is the parent. It opens the sockets while it may, gives up its privileges, and then
begins workers by the command line that it was begun with, so that each runs the code and reads the configuration that
are there by then. It never loads the application, nor opens a store: whether the options are right it has another
process say (``--check``), before it does anything.

A worker finds in its environment that it is one, takes the listening sockets, and serves its admin side to the parent
alone. All workers listen on the same sockets: what waits in the queue of one waits for all of them, so that nothing is
lost with a worker that dies or is held; ``hardhttp.net.balance`` sees to it that each has as many connections.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from hardhttp.net.balance import Board
from hardhttp.net.inherited import VARIABLE as SOCKETS
from hardhttp.net.inherited import InheritedError, handed_on
from hardhttp.ops.admin import admin_site
from hardhttp.ops.figures import resident_bytes
from hardhttp.ops.gatheredadmin import Levels, gathered_site
from hardhttp.ops.gathering import Gathering
from hardhttp.ops.sources import Sources
from hardhttp.ops.systemd import Notifier, Watchdog, forget, watchdog_seconds
from hardhttp.ops.workerlink import Link, Place
from hardhttp.ops.workerprocess import Spawner
from hardhttp.ops.workers import Workers
from hardhttp.sse.stream import EventStream
from hardhttp.tap.admin import AdminListening
from hardhttp.tap.atonce import result_at_once
from hardhttp.tap.logging import make_logs
from hardhttp.tap.signals import OnSignal, WhileEnding, let_pass
from hardhttp.tap.successor import VARIABLE as PREDECESSOR
from hardhttp.web.service import HTTPService
from hardhttp.web.site import Site

if TYPE_CHECKING:
    from hardhttp.tap.options import Options

__all__ = ["Parent", "check_in_a_child", "make_link", "make_parent", "private_admin", "worker_command"]

CHECK_SECONDS = 120
# What systemd, or whoever began the parent, tells it, is for the parent alone.
_NOT_FOR_WORKERS = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
        SOCKETS,
        PREDECESSOR,
    }
)
_TWISTD = "from twisted.scripts.twistd import run; run()"


# -- processes ---------------------------------------------------------------------------------------


def worker_command(options: Options) -> list[str]:
    """The command line that this process was begun with, for one that does not become a daemon."""
    words, before = tuple(options.words), options.start.words[1:]
    if words:
        before, own = before[: -len(words)], before[-len(words) :]
    else:
        own = ()
    if own != words or before[-1:] != ("hardhttp",):
        before = ("-c", _TWISTD, "hardhttp")
    return [sys.executable, *before[:-1], "--nodaemon", "--pidfile=", "--logfile=-", "hardhttp", *words]


def worker_environment(options: Options) -> dict[str, str]:
    return {name: value for name, value in options.start.environment.items() if name not in _NOT_FOR_WORKERS}


def check_in_a_child(options: Options) -> None:
    """Have another process say whether the options are right. Raises ``usage.UsageError``."""
    try:
        checked = subprocess.run(
            [*worker_command(options), "--check"],
            env=worker_environment(options),
            cwd=options.start.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise usage.UsageError(f"whether the options are right took longer than {CHECK_SECONDS} s to say") from None
    if checked.returncode:
        said = checked.stderr.decode("utf-8", "replace").strip()
        raise usage.UsageError(said or f"the check of the options ended with {checked.returncode}")


def rss_of(pid: int) -> int | None:
    """What that process has in memory, where the system says so."""
    return resident_bytes(Path(f"/proc/{pid}/statm").read_text)


# -- in a worker -------------------------------------------------------------------------------------


def private_admin(sources: Sources, reactor: Any) -> Site:
    """The admin site for the parent, which asks by connections that nobody else can make."""
    site = admin_site(sources, reactor)
    sources.others.append(site.server)
    return site


def make_link(
    place: Place, reactor: Any, admin: Any, hang_up: Callable[[], object], cut_short: Callable[[], object]
) -> Link:
    let_pass(signal.SIGUSR2, f"it is for the parent, process {os.getppid()}", reactor)

    def orphaned() -> None:
        Logger(namespace="hardhttp").error("the parent has died: worker {number} ends", number=place.number)
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass  # it has been told so already

    return Link(place, reactor, admin, hang_up, orphaned, cut_short)


# -- in the parent -----------------------------------------------------------------------------------


def make_parent(options: Options, quits: Callable[[str, bool], None], reactor: Any) -> Parent:
    return Parent(options, quits, reactor)


class Parent(Service):
    """What twistd runs in the parent: the sockets, the workers and the admin side, started in this order.

    SIGHUP goes to one worker after another, SIGUSR2 replaces one after another; a stop lets all drain.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, options: Options, quits: Callable[[str, bool], None], reactor: Any) -> None:
        settings = options.workers
        assert settings is not None
        self._quits, self._reactor = quits, reactor
        self._announced = False  # systemd does not know yet that it serves
        self._logs = make_logs(options, reactor)
        idle = Site(Resource(), limits=options.limits, reactor=reactor, http2=False)
        idle.noisy = False
        self._inherited, self._board = options.inherited, Board()
        self._http = HTTPService(idle, options.listening, reactor, inherited=options.inherited)
        self._notifier = Notifier.from_environment(options.start.environment)
        self._watchdog = Watchdog(self._notifier, watchdog_seconds(options.start.environment, os.getpid()), reactor)
        forget(os.environ)
        spawner = Spawner(
            reactor,
            worker_command(options),
            worker_environment(options),
            options.start.directory,
            self._handed,
            self._board.fileno,
            self._wrote,
        )
        self.workers = Workers(
            settings.count,
            spawner,
            reactor,
            drain_seconds=options.limits.drain_seconds,
            stuck_seconds=settings.stuck_seconds,
            max_rss_bytes=settings.max_rss_bytes,
            rss_of=rss_of,
            jitter=random.random,
            failed=self._failed,
            changed=self._changed,
            absent=lambda number: self._board.wipe(number - 1),
        )
        gathering = Gathering(self.workers, reactor)
        self._levels = Levels(gathering, self._logs)
        self.admin: AdminListening | None = None
        if options.admin.endpoint is not None:
            events = EventStream(reactor, max_queued_events=30)
            site = gathered_site(gathering, reactor, options.limits, self._levels, options.admin.token, events)
            self.admin = AdminListening(options.admin, site, reactor, options.inherited)
        self._signals = [
            OnSignal(signal.SIGHUP, self._hang_up, reactor),
            OnSignal(signal.SIGUSR2, self._replace_all, reactor),
        ]
        self._while_ending = WhileEnding(self.workers.cut_short, reactor)

    def setServiceParent(self, parent: Any) -> None:
        super().setServiceParent(parent)
        if self._logs is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._logs.observer)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._begin()

    def startService(self) -> None:
        super().startService()
        if not self._http.running:
            self._begin()
        self._reactor.callWhenRunning(self._supervise)

    def _begin(self) -> None:
        for each in self._signals:
            each.start()
        starting = maybeDeferred(self._http.startService).addCallback(self._bound).addErrback(self._close_ports)
        early = result_at_once(starting, lambda: not self._http.running, self._reactor)
        if not early or isinstance(early[0], Failure):
            failure = early[0] if early else None
            message = f"hardhttp cannot start: {failure.getErrorMessage() if failure else 'an endpoint waits'}"
            for each in self._signals:
                each.stop()
            self._log.critical("{message}", message=message)
            self._quits(message, False)
            raise RuntimeError(message)

    def _close_ports(self, failure: Failure) -> Deferred[Failure]:
        closing = self._http.close_ports().addBoth(lambda _: None if self.admin is None else self.admin.stop())
        return closing.addBoth(lambda _: failure)

    def _bound(self, _: object) -> Any:
        self._accept_nobody()
        return self._all_bound(None) if self.admin is None else self.admin.start().addCallback(self._all_bound)

    def _all_bound(self, _: object) -> None:
        """Sockets that were passed to this process are all wanted, or there is no server."""
        if "systemd:" in self._http.descriptions:
            self._http.listen_rest()
            self._accept_nobody()
        for given in self._inherited.left:
            raise InheritedError(
                f"a socket of {given.where} was passed to this process, and no option wants it: "
                f"give --listen {given.option} (or --listen systemd: for all such)"
            )

    def _accept_nobody(self) -> None:
        """Connections are the workers'."""
        ports: list[Any] = self._http.ports
        for port in ports:
            port.cease()

    def _handed(self, first: int) -> tuple[dict[str, str], dict[int, int]]:
        ports: list[Any] = self._http.ports
        return handed_on([port.share() for port in ports], first)

    def _supervise(self) -> None:
        if self.running:
            self.workers.start()

    def _wrote(self, number: int, lines: bytes) -> None:
        if self._logs is not None:
            self._logs.pass_on(lines)
            return
        for line in lines.decode("utf-8", "replace").splitlines():
            self._log.info("worker {number}: {line}", number=number, line=line)

    def _changed(self) -> None:
        """A worker is ready, or has gone."""
        self._levels.changed()
        ready, wanted = self.workers.ready, self.workers.wanted
        if not ready or self.workers.stopping:
            return
        status = f"{ready} of {wanted} workers are ready"
        if self._announced:
            self._notifier.status(status)
        else:
            self._announced = True
            self._notifier.ready(status)
            self._watchdog.start()

    def _hang_up(self) -> None:
        """systemd hears that the files are read again; each worker says in the log what came of it."""
        if not self.running:
            return
        if self._announced:
            self._notifier.reloading()
        self.workers.hang_up()
        if self._announced:
            self._notifier.ready(f"{self.workers.ready} of {self.workers.wanted} workers are ready")

    def _replace_all(self) -> None:
        if self.running:
            self.workers.replace_all()

    def _failed(self, message: str) -> None:
        self._log.critical("hardhttp cannot start: {message}", message=message)
        self._quits(f"hardhttp cannot start: {message}", True)

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        self._while_ending.start(interrupts=True)
        self._notifier.stopping("the workers drain")
        # The sockets first: a worker that has closed its own must be the last to have one.
        stopping = maybeDeferred(self._http.stopService)
        stopping.addBoth(lambda _: self.workers.stop())
        return stopping.addBoth(lambda _: None if self.admin is None else self.admin.stop()).addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        self._watchdog.stop()
        self._while_ending.stop()
        for each in self._signals:  # each would have ended the process until now
            each.stop()
        return result

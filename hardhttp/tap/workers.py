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

import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.resource import Resource

from hardhttp.errors import LimitError
from hardhttp.limits import Limits
from hardhttp.net.balance import Board
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
from hardhttp.tap.logging import make_logs
from hardhttp.tap.optiontable import OPTIONS
from hardhttp.tap.signals import OnSignal
from hardhttp.units import UnitError, format_size, parse_count, parse_seconds, parse_size
from hardhttp.web.service import HTTPService
from hardhttp.web.site import Site

if TYPE_CHECKING:
    from hardhttp.tap.options import Options

__all__ = [
    "Parent",
    "WorkerSettings",
    "check_in_a_child",
    "make_link",
    "make_parent",
    "private_admin",
    "share_of",
    "worker_command",
    "worker_place",
    "worker_settings",
]

MAX_WORKERS = 256
MIN_RSS_BYTES = 16 << 20
MAX_STUCK_SECONDS = 3600
CHECK_SECONDS = 120
# What all workers together are to keep to; each has its share of it.
SHARED = ("max_connections", "max_buffered_bytes")
# What systemd tells the parent is for the parent alone.
_NOT_FOR_WORKERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_TWISTD = "from twisted.scripts.twistd import run; run()"


@attrs.frozen
class WorkerSettings:
    """``None`` is never."""

    count: int
    max_rss_bytes: int | None = None
    stuck_seconds: int | None = 30


# -- the options -------------------------------------------------------------------------------------


def worker_place() -> Place | None:
    """Whether this process is a worker, and which."""
    try:
        return Place.from_environment(os.environ)
    except ValueError as error:
        raise usage.UsageError(str(error)) from None


def worker_settings(options: Options) -> WorkerSettings | None:
    """What ``--workers`` and its kin say; ``None`` without. Raises ``usage.UsageError``."""
    text = options["workers"]
    if text is None:
        for name in ("worker-max-rss", "worker-stuck-seconds"):
            if options[name] != OPTIONS[name].default:
                raise usage.UsageError(f"--{name} is for worker processes, which --workers begins")
        return None
    settings = WorkerSettings(_count(text), _max_rss(options), _stuck(options))
    _check_history(options)
    if settings.count > 1:
        _check_shared(options)
    twistd = options.parent
    if twistd is not None and twistd.get("chroot"):
        raise usage.UsageError("--workers begins processes by the command line, which is not there below --chroot")
    return settings


def _count(text: str) -> int:
    if text == "auto":
        return min(
            MAX_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
    try:
        count = parse_count(text)
        if not 1 <= count <= MAX_WORKERS:
            raise UnitError(f"{count:,} is out of bounds")
    except UnitError as error:
        raise usage.UsageError(f"--workers: {error}; it must be from 1 to {MAX_WORKERS}, or auto") from None
    return count


def _max_rss(options: Mapping[str, Any]) -> int | None:
    text = options["worker-max-rss"]
    if text == "none":
        return None
    try:
        size = parse_size(text)
        if size < MIN_RSS_BYTES:
            raise UnitError(f"{text} is too little for any")
    except UnitError as error:
        least = format_size(MIN_RSS_BYTES)
        raise usage.UsageError(f"--worker-max-rss: {error}; it must be at least {least}, or none") from None
    return size


def _stuck(options: Mapping[str, Any]) -> int | None:
    text = options["worker-stuck-seconds"]
    if text == "none":
        return None
    try:
        seconds = parse_seconds(text)
        if not 2 <= seconds <= MAX_STUCK_SECONDS:
            raise UnitError(f"{text} is out of bounds")
    except UnitError as error:
        raise usage.UsageError(
            f"--worker-stuck-seconds: {error}; it must be from 2 seconds to one hour, or none"
        ) from None
    return math.ceil(seconds)


def _has_hub(options: Mapping[str, Any]) -> bool:
    return options["mercure-publisher-key"] is not None or options["mercure-subscriber-key"] is not None


def _check_history(options: Mapping[str, Any]) -> None:
    """The file is one process's, and a worker is replaced while it is still there."""
    if _has_hub(options) and options["history"] != "memory:":
        raise usage.UsageError(
            f"--workers {options['workers']}: --history {options['history']} is one process's, and two would have it; "
            "give --broker redis://HOST in its place, which keeps the history for all"
        )


def _check_shared(options: Mapping[str, Any]) -> None:
    """What several processes cannot do without sharing it."""
    if options["app"] is not None and options["session-store"] == "memory:":
        raise usage.UsageError(
            f"--workers {options['workers']} with --app: --session-store memory: is in one process, and the next "
            "request of a session may come to another; give --session-store sqlite:PATH, or redis://HOST"
        )
    if _has_hub(options) and (options["broker"] is None or options["broker"].startswith("memory:")):
        raise usage.UsageError(
            f"--workers {options['workers']} with the hub: an event would reach the subscribers of one process alone; "
            "give --broker redis://HOST"
        )


def share_of(limits: Limits, count: int) -> Limits:
    """What one of ``count`` workers keeps to. Raises ``usage.UsageError`` when that is too little for any."""
    shares = {name: -(-getattr(limits, name) // count) for name in SHARED}
    try:
        return attrs.evolve(limits, **shares)
    except LimitError as error:
        name = error.name.replace("_", "-")
        raise usage.UsageError(f"--{name} is too little for {count} workers, which share it: {error}") from None


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


def make_link(place: Place, reactor: Any, admin: Any, hang_up: Callable[[], object]) -> Link:
    def orphaned() -> None:
        Logger(namespace="hardhttp").error("the parent has died: worker {number} ends", number=place.number)
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass  # it has been told so already

    return Link(place, reactor, admin, hang_up, orphaned)


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
            OnSignal(signal.SIGUSR2, self.workers.replace_all, reactor),
        ]

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
        for each in self._signals:
            each.start()
        self._reactor.callWhenRunning(self._supervise)

    def _begin(self) -> None:
        early: list[Any] = []
        maybeDeferred(self._http.startService).addCallback(self._bound).addBoth(early.append)
        if not early or isinstance(early[0], Failure):
            failure = early[0] if early else None
            message = f"hardhttp cannot start: {failure.getErrorMessage() if failure else 'an endpoint waits'}"
            self._log.critical("{message}", message=message)
            self._quits(message, False)
            raise RuntimeError(message)

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
            port.stopReading()

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
        self._notifier.reloading()
        self.workers.hang_up()
        self._notifier.ready(f"{self.workers.ready} of {self.workers.wanted} workers are ready")

    def _failed(self, message: str) -> None:
        self._log.critical("hardhttp cannot start: {message}", message=message)
        self._quits(f"hardhttp cannot start: {message}", True)

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        for each in self._signals:
            each.stop()
        self._notifier.stopping("the workers drain")
        # The sockets first: a worker that has closed its own must be the last to have one.
        stopping = maybeDeferred(self._http.stopService)
        stopping.addBoth(lambda _: self.workers.stop())
        return stopping.addBoth(lambda _: None if self.admin is None else self.admin.stop()).addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        self._watchdog.stop()
        return result

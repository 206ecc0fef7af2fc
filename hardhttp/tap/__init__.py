"""``twistd hardhttp``: its options, and the service they describe.

What is served: the welcome page, without options; ``--webroot`` alone, a directory's files;
``--app`` alone, an application's tree. With both the application is at ``/``, and each path whose
first segment names something in the webroot is a file's: a file there wins.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs
from twisted.application.service import IService, Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from hardhttp.net.drain import cut_short
from hardhttp.ops.logs import Logs
from hardhttp.ops.sources import Sources
from hardhttp.ops.workerlink import Link
from hardhttp.sse.stream import EventStream
from hardhttp.tap.admin import AdminSide
from hardhttp.tap.atonce import result_at_once
from hardhttp.tap.hints import read_again
from hardhttp.tap.hub import remote_keys
from hardhttp.tap.logging import make_logs
from hardhttp.tap.options import Options
from hardhttp.tap.reload import Reloaded, no_file_to_read
from hardhttp.tap.signals import OnSignal, WhileEnding
from hardhttp.tap.succession import Succession
from hardhttp.tap.tls import certificates_of
from hardhttp.tap.welcome import WelcomeResource
from hardhttp.tap.workers import make_link, make_parent, private_admin
from hardhttp.web.accesslog import AccessLog
from hardhttp.web.service import HTTPService
from hardhttp.web.sessions import Sessions
from hardhttp.web.site import Site

__all__ = ["Options", "makeService"]

FIGURES_SECONDS = 1.0

# Called with a message, and whether the reactor runs.
Quits = Callable[[str, bool], None]


class Serving(Service):
    """What ``twistd hardhttp`` runs: the access log, the listeners, the session store and the welcome page's figures.

    They start in this order and stop in the other, so that the log has the last request. Ports are
    opened before twistd gives up its privileges. One that cannot be had is one line in the log,
    then ``quits`` is called with it, and whether the reactor runs by now; if it returns,
    ``startService`` raises.
    """

    _log = Logger()

    def __init__(
        self,
        http: HTTPService,
        access_log: AccessLog | None,
        figures: Figures | None,
        quits: Quits,
        closes: Sequence[Callable[[], Any]] = (),
        hang_ups: Sequence[Callable[[], Any]] = (),
        admin: AdminSide | None = None,
        logs: Logs | None = None,
        succession: Succession | None = None,
        starts: Sequence[Callable[[], Any]] = (),
    ) -> None:
        self._starts = starts
        self.admin, self._logs, self._succession = admin, logs, succession
        self.site = http.site
        self._closes = (http.site.cookie_sessions.close, *closes)
        self._rest = "systemd:" in http.descriptions
        self._http, self._access_log, self._figures, self._quits = http, access_log, figures, quits
        self._hang_ups = [*([access_log.hang_up] if access_log is not None else []), *hang_ups]
        self._hangup = OnSignal(signal.SIGHUP, self._hung_up, http.site.reactor) if self._hang_ups else None
        self._while_ending = WhileEnding(self.cut_short, http.site.reactor)
        self.link: Link | None = None  # to the parent of workers

    @property
    def ports(self) -> list[IListeningPort]:
        """What is being listened on."""
        return self._http.ports

    def setServiceParent(self, parent: Any) -> None:
        """An application asks for its log's observer here, before it starts to log."""
        super().setServiceParent(parent)
        if self._logs is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._logs.observer)

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        super().startService()
        if not self._http.running:
            self._listen()
        if self._succession is not None:
            self._succession.start()
        if self._figures is not None:
            self._figures.start()
        reactor: Any = self.site.reactor
        for start in self._starts:
            reactor.callWhenRunning(self._when_running, start)

    def _when_running(self, start: Callable[[], Any]) -> None:
        if self.running:  # it may have stopped before the reactor began
            start()

    def _hung_up(self) -> None:
        """SIGHUP: a new log file; certificates and other files read again. The log alone while the process ends."""
        if self.site.server.draining:
            if self._access_log is not None:
                self._access_log.hang_up()
        elif self._succession is None:
            self._read_again()
        else:
            self._succession.reload(self._read_again)

    def _read_again(self) -> None:
        for act in self._hang_ups:
            try:
                act()
            except Exception:
                self._log.failure("what SIGHUP asks for could not be done")

    def _listen(self) -> None:
        if self._hangup is not None:
            self._hangup.start()  # before the log says that it listens: SIGHUP ends whoever has no handler
        if self.link is not None:
            self.link.start()
        listening = maybeDeferred(self._begin)
        early = result_at_once(listening, lambda: not self._http.running, self.site.reactor)
        if early:
            self._listening(early[0], running=False)
        else:
            listening.addCallback(lambda _: self._listening(early[0], running=True))

    def _listening(self, result: list[IListeningPort] | Failure, running: bool) -> None:
        if isinstance(result, Failure):
            if self._hangup is not None:
                self._hangup.stop()
            self._stopped(None)
            message = f"hardhttp cannot start: {result.getErrorMessage()}"
            self._log.critical("{message}", message=message)
            if self._succession is not None:
                self._succession.failed(message)
            self._quits(message, running)
            if running:
                return
            result.raiseException()
        for port in result:
            self._log.info("listening: {where}", where=where(port))
        if self.link is not None:
            self.link.ready(self._http.ports, lambda: self.site.connection_count)

    def _begin(self) -> Deferred[list[IListeningPort]]:
        if self._access_log is not None:
            self._access_log.open()
        return self._http.startService().addCallback(self._begin_admin).addCallback(self._all_listen)

    def _begin_admin(self, ports: list[IListeningPort]) -> Any:
        """The admin side is there once the server is; without one that was asked for there is no server."""
        if self.admin is None:
            return ports

        def without(failure: Failure) -> Deferred[Failure]:
            return self._http.close_ports().addBoth(lambda _: failure)

        return self.admin.start().addCallbacks(lambda _: ports, without)

    def _all_listen(self, ports: list[IListeningPort]) -> Any:
        """Sockets that were passed to this process are all taken, or there is no server."""

        def without(failure: Failure) -> Deferred[Failure]:
            stopping = self._http.close_ports().addBoth(self._stop_admin)
            return stopping.addBoth(lambda _: failure)

        return maybeDeferred(self._take_inherited).addCallbacks(lambda _: ports, without)

    def _take_inherited(self) -> None:
        if self._rest:
            self._http.listen_rest()
        if self._succession is not None:
            self._succession.listening(self._all_ports)

    def _all_ports(self) -> list[IListeningPort]:
        return [*self._http.ports, *([] if self.admin is None else self.admin.ports)]

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        if self._succession is not None:
            self._succession.stopping()
        if self._figures is not None:
            self._figures.stop()
        self._while_ending.start(interrupts=self.link is None)
        if self.site.connection_count:
            seconds = self.site.limits.drain_seconds
            self._log.info("draining: {n} open, {seconds:g} s at most", n=self.site.connection_count, seconds=seconds)
        stopping = maybeDeferred(self._http.stopService).addBoth(self._close_store).addBoth(self._stopped)
        return stopping.addBoth(self._stop_admin).addBoth(self._all_stopped)

    def cut_short(self) -> None:
        """Abort what a drain waits for."""
        cut_short(self.site.server)

    def _all_stopped(self, result: Any) -> Any:
        """Signals are whoever's they were: before this, some of them would have ended the process at once."""
        self._while_ending.stop()
        if self._hangup is not None:
            self._hangup.stop()
        return result

    def _stop_admin(self, result: Any) -> Any:
        """Last, for it tells of the drain."""
        if self._succession is not None:
            self._succession.stopped()
        return result if self.admin is None else self.admin.stop().addBoth(lambda _: result)

    def _close_store(self, result: Any) -> Deferred[Any]:
        """The last response has gone; what its session and the history hold is to be written."""
        closing = [maybeDeferred(close).addErrback(self._not_closed) for close in self._closes]
        return DeferredList(closing).addCallback(lambda _: result)

    def _not_closed(self, failure: Failure) -> None:
        self._log.failure("a store could not be closed", failure)

    def _stopped(self, result: Any) -> Any:
        if self._access_log is not None:
            self._access_log.close()
        return result


def where(port: Any) -> str:
    """Where to browse to, for a port; what it is called, when that is nowhere."""
    address = port.getHost()
    if not isinstance(address, (IPv4Address, IPv6Address)):
        name = getattr(address, "name", None)
        return os.fsdecode(name) if name else str(address)
    scheme = "https" if isinstance(getattr(port, "factory", None), TLSMemoryBIOFactory) else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    url = f"{scheme}://[{host}]:{address.port}/" if ":" in host else f"{scheme}://{host}:{address.port}/"
    return url if host == address.host else f"{url} (and every other address of this machine)"


class Figures:
    """Publishes ``figures`` on ``stream`` once a second, while anybody listens."""

    _log = Logger()

    def __init__(self, figures: Callable[[], dict[str, Any]], stream: EventStream, clock: IReactorTime) -> None:
        self._figures, self._stream = figures, stream
        self._loop = LoopingCall(self._publish)
        self._loop.clock = clock

    def start(self) -> None:
        self._loop.start(FIGURES_SECONDS, now=False)

    def stop(self) -> None:
        """Publish no more; the streams themselves are ended by the site's drain."""
        if self._loop.running:
            self._loop.stop()

    def _publish(self) -> None:
        try:
            if self._stream.subscriber_count:
                self._stream.publish(self._figures())
        except Exception:  # a LoopingCall whose function raises never runs again
            self._log.failure("the figures could not be published")


def makeService(options: Options) -> IService:
    """The service that parsed ``options`` describe."""
    from twisted.internet import reactor

    if options.supervises:
        return make_parent(options, _quits(options.parent, reactor), reactor)

    def figures() -> dict[str, Any]:
        statistics = {**site.statistics.snapshot(), "connections": site.connection_count}
        return {"statistics": statistics, "ledger": site.ledger.snapshot(), "limits": attrs.asdict(site.limits)}

    ticker, resource = None, options.resource
    if resource is None:
        stream = EventStream(reactor)
        ticker = Figures(figures, stream, reactor)
        resource = WelcomeResource(figures, stream)
    sessions = Sessions(options.session_store)
    http2 = False if options["no-http2"] else None
    site = Site(options.around(resource), limits=options.limits, reactor=reactor, sessions=sessions, http2=http2)
    site.access_log = options.access_log
    site.trusted_proxies = options.trusted_proxies
    site.early_hints_to = options["early-hints-to"]
    if options["development"]:
        site.displayTracebacks = True
        Serving._log.warn("--development: error pages show tracebacks")
    inherited, behind_proxy = options.inherited, bool(options["proxy-protocol"])
    http = HTTPService(site, options.listening, reactor, proxy_protocol=behind_proxy, inherited=inherited)
    keys = remote_keys(options.mercure)
    closes = [*(each.stop for each in keys), *([] if options.mercure is None else [options.mercure.hub.stop])]
    reads = [certificates.refresh for certificates in certificates_of(options.listening)]
    reads += [each.refresh for each in keys]
    if options.hints is not None:
        reads.append(partial(read_again, options.hints, options["early-hints"]))
    logs = make_logs(options, reactor)
    # Always something: a process without a handler is ended by SIGHUP, and with it whoever is being answered.
    reads.append(no_file_to_read if options["config"] is None else Reloaded(options, site, resource, logs).read_again)
    hub = None if options.mercure is None else options.mercure.hub
    if hub is not None:
        hub.counted_by(site.server)
    sources = Sources(site.server, sessions, hub, logs=logs, lacks=[each.why_missing for each in keys])
    private = None if options.place is None else private_admin(sources, reactor)
    admin = AdminSide(options.admin, sources, reactor, inherited)
    # A worker is its parent's: nobody succeeds it, and systemd knows the parent alone.
    succession = Succession(options, sources, reactor) if options.place is None else None
    quits = _quits(options.parent, reactor)
    starts = [each.start for each in keys]
    serving = Serving(http, options.access_log, ticker, quits, closes, reads, admin, logs, succession, starts)
    if options.place is not None:
        serving.link = make_link(options.place, reactor, private, serving._hung_up, serving.cut_short)
    return serving


def _quits(twistd: usage.Options | None, reactor: Any) -> Quits:
    """How a process ends that cannot start: with a line on standard error and the status 1."""

    def quits(message: str, running: bool) -> None:
        if sys.__stderr__ is not None:
            print(message, file=sys.__stderr__)  # the log has taken sys.stderr
        if running:
            # A stopped reactor is a success to twistd, and it has no way to be told otherwise.
            atexit.register(os._exit, 1)
            reactor.stop()
        elif twistd is not None and twistd.get("nodaemon"):
            if twistd.get("pidfile"):
                os.unlink(twistd["pidfile"])
            raise SystemExit(1)

    return quits

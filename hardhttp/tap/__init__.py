"""``twistd hardhttp``: its options, and the service they describe.

What is served: the welcome page, without options; ``--webroot`` alone, a directory's files;
``--app`` alone, an application's tree. With both the application is at ``/``, and each path whose
first segment names something in the webroot is a file's: a file there wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python import usage

from hardhttp.sse.stream import EventStream
from hardhttp.tap.options import Options
from hardhttp.web.accesslog import AccessLog
from hardhttp.web.service import HTTPService
from hardhttp.web.site import Site
from hardhttp.web.welcome import WelcomeResource

__all__ = ["Options", "makeService"]

FIGURES_SECONDS = 1.0


class Serving(Service):
    """What ``twistd hardhttp`` runs: the access log, the listeners, and the welcome page's figures.

    They start in this order and stop in the other, so that the log has the last request. A port
    that cannot be had is one line in the log; with ``quits`` it is one on standard error too, and
    the process exits with 1, where twistd by itself would show a traceback.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, site: Site, http: HTTPService, figures: Figures | None, quits: Callable[[str], None]) -> None:
        self.site = site
        self._http, self._figures, self._quits = http, figures, quits

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        self._start(self._http.privilegedStartService)

    def startService(self) -> None:
        super().startService()
        self._start(self._http.startService)
        if self._figures is not None:
            self._figures.start()

    def _start(self, start: Callable[[], Any]) -> None:
        try:
            if self.site.access_log is not None:
                self.site.access_log.open()
            start()
        except Exception as error:
            self._log.critical("hardhttp cannot start: {error}", error=error)
            self._quits(f"hardhttp cannot start: {error}")
            raise

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        if self._figures is not None:
            self._figures.stop()
        stopped = maybeDeferred(self._http.stopService)
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: Any) -> Any:
        if self.site.access_log is not None:
            self.site.access_log.close()
        return result


class Figures:
    """Publishes ``figures`` on ``stream`` once a second, while anybody listens."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, figures: Callable[[], dict[str, Any]], stream: EventStream, clock: IReactorTime) -> None:
        self._figures, self._stream = figures, stream
        self._loop = LoopingCall(self._publish)
        self._loop.clock = clock

    def start(self) -> None:
        self._loop.start(FIGURES_SECONDS, now=False)

    def stop(self) -> None:
        """Stop, and end the streams: they would hold up the drain."""
        if self._loop.running:
            self._loop.stop()
        self._stream.close()

    def _publish(self) -> None:
        try:
            if self._stream.subscriber_count:
                self._stream.publish(self._figures())
        except Exception:  # a LoopingCall whose function raises never runs again
            self._log.failure("the figures could not be published")


def makeService(options: Options) -> IService:
    """The service that parsed ``options`` describe."""
    from twisted.internet import reactor

    def figures() -> dict[str, Any]:
        statistics = {**site.statistics.snapshot(), "connections": site.connection_count}
        return {"statistics": statistics, "ledger": site.ledger.snapshot(), "limits": attrs.asdict(site.limits)}

    ticker, resource = None, options.resource
    if resource is None:
        stream = EventStream(reactor)
        ticker = Figures(figures, stream, reactor)
        resource = WelcomeResource(figures, stream)
    site = Site(resource, limits=options.limits)
    if options["access-log"] != "none":
        site.access_log = AccessLog(options["access-log"], reactor)
    if options["development"]:
        site.displayTracebacks = True
        Serving._log.warn("--development: error pages show tracebacks")
    http = HTTPService(site, options["listen"], reactor)
    return Serving(site, http, ticker, _quits(options.parent))


def _quits(twistd: usage.Options | None) -> Callable[[str], None]:
    """How to end a twistd that stays in the foreground; its own ways serve all others."""

    def quits(message: str) -> None:
        if twistd is not None and twistd.get("nodaemon"):
            if twistd.get("pidfile"):
                os.unlink(twistd["pidfile"])
            raise SystemExit(message)

    return quits

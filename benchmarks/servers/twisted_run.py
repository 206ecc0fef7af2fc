"""What the programs on Twisted share: logging of errors alone, Twisted's own ports, the reactor's run."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet import ssl
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from benchmarks.servers.options import without_collector

__all__ = ["listen_stock", "run"]


def run(reactor, options) -> None:
    """Run until SIGTERM, without the collector if so asked.

    Logging is begun, as twistd does: until then Twisted keeps the last 65,536 events in memory.
    """
    errors = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)]
    )
    globalLogBeginner.beginLoggingTo([errors], discardBuffer=True, redirectStandardIO=False)
    if options.no_gc:
        reactor.callWhenRunning(without_collector)
    reactor.run()


def listen_stock(reactor, site, options) -> None:
    """Listen as any Twisted program does."""
    if options.tls:
        certificate, key = options.tls
        pem = b"".join(Path(each).read_bytes() for each in (key, certificate))
        context = ssl.PrivateCertificate.loadPEM(pem).options()  # as an endpoint has it, with ALPN
        reactor.listenSSL(options.port, site, context, backlog=4096, interface="127.0.0.1")
    else:
        reactor.listenTCP(options.port, site, backlog=4096, interface="127.0.0.1")

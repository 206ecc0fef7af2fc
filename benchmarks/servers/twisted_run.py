"""Listen with Twisted's own ports and run."""

from __future__ import annotations

from twisted.internet import ssl

from benchmarks.servers.options import without_collector

__all__ = ["run"]


def run(reactor, site, options) -> None:
    """Serve ``site`` as ``options`` say until SIGTERM."""
    if options.tls:
        certificate, key = options.tls
        context = ssl.DefaultOpenSSLContextFactory(key, certificate)
        reactor.listenSSL(options.port, site, context, backlog=4096, interface="127.0.0.1")
    else:
        reactor.listenTCP(options.port, site, backlog=4096, interface="127.0.0.1")
    if options.no_gc:
        reactor.callWhenRunning(without_collector)
    reactor.run()

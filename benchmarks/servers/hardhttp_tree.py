"""The tree under ``hardhttp.Site``, every limit on: on the fast port, or with ``--stock`` on Twisted's own."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.endpoints import quoteStringArgument

import hardhttp
from benchmarks.servers.options import parse
from benchmarks.servers.tree import make_tree
from benchmarks.servers.twisted_run import listen_stock, run


def main() -> None:
    options = parse()
    limits = hardhttp.Limits()
    if options.max_connections:
        limits = hardhttp.Limits(max_connections=options.max_connections)
    site = hardhttp.Site(make_tree("hardhttp"), limits=limits, reactor=reactor)
    if options.stock:
        listen_stock(reactor, site, options)
    else:
        hardhttp.listen(reactor, description(options), site).addErrback(fail)
    run(reactor, options)


def description(options) -> str:
    """The endpoint in strports' language."""
    common = f"{options.port}:interface=127.0.0.1:backlog=4096"
    if not options.tls:
        return f"tcp:{common}"
    certificate, key = map(quoteStringArgument, options.tls)
    return f"ssl:{common}:privateKey={key}:certKey={certificate}"


def fail(failure) -> None:
    failure.printTraceback()
    reactor.callWhenRunning(reactor.stop)


if __name__ == "__main__":
    main()

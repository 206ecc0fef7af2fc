"""hardhttp's events: an ``EventStream`` on ``hardhttp.listen``, every limit on."""

from __future__ import annotations

from twisted.internet import reactor

import hardhttp
from benchmarks.servers.hardhttp_tree import description, fail
from benchmarks.servers.options import parse
from benchmarks.servers.sse_resources import make_root
from benchmarks.servers.twisted_run import run


def main() -> None:
    options = parse()
    limits = hardhttp.Limits()
    if options.max_connections:
        limits = hardhttp.Limits(max_connections=options.max_connections)
    stream = hardhttp.EventStream(reactor)
    site = hardhttp.Site(make_root(reactor, stream, stream.publish), limits=limits, reactor=reactor)
    hardhttp.listen(reactor, description(options), site).addErrback(fail)
    run(reactor, options)


if __name__ == "__main__":
    main()

"""The tree under ``twisted.web.server.Site``."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.web.server import Site

from benchmarks.servers.options import parse
from benchmarks.servers.tree import make_tree
from benchmarks.servers.twisted_run import listen_stock, run


class QuietSite(Site):
    """Without an access log; otherwise twisted.web as it comes."""

    def log(self, request):
        pass


def main() -> None:
    options = parse()
    listen_stock(reactor, QuietSite(make_tree("twisted"), timeout=600), options)
    run(reactor, options)


if __name__ == "__main__":
    main()

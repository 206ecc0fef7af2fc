"""The tree under ``hardhttp.Site``, looked after as ``twistd hardhttp`` is; or with ``--unwatched``, not at all.

Watched: the ledger and the counts, the leak sentinel, the watch on stalls, an admin side, and all figures written
out once a second, which is fifteen times as often as they are usually scraped. Unwatched: nothing is counted.
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.task import LoopingCall

import hardhttp
from benchmarks.servers.hardhttp_tree import description, fail
from benchmarks.servers.options import parse
from benchmarks.servers.tree import make_tree
from benchmarks.servers.twisted_run import run
from hardhttp.net.ledger import Ledger
from hardhttp.net.statistics import Statistics
from hardhttp.ops.metrics import Metrics
from hardhttp.ops.sources import Sources
from hardhttp.tap.admin import AdminSettings, AdminSide

UNWATCHED = "--unwatched"
SCRAPE_SECONDS = 1.0


class NoLedger(Ledger):
    """It forgets at once."""

    def hold(self, owner, kind, amount) -> None:
        pass


class NoStatistics(Statistics):
    """They count no response, and time none."""

    __slots__ = ()

    def response(self, method, status, seconds=None, first_seconds=None) -> None:
        pass


def watch(site) -> None:
    """All there is."""
    sources = Sources(site.server, site.cookie_sessions)
    admin = AdminSide(AdminSettings("tcp:0:interface=127.0.0.1", required=True, token=None), sources, reactor)
    admin.start().addErrback(fail)
    metrics = Metrics(sources)
    LoopingCall(metrics.exposition, "").start(SCRAPE_SECONDS)


def main() -> None:
    words = sys.argv[1:]
    options = parse([word for word in words if word != UNWATCHED])
    site = hardhttp.Site(make_tree("hardhttp"), reactor=reactor)
    if UNWATCHED in words:
        site.server.ledger, site.server.statistics = NoLedger(), NoStatistics(reactor)
    else:
        watch(site)
    hardhttp.listen(reactor, description(options), site).addErrback(fail)
    run(reactor, options)


if __name__ == "__main__":
    main()

"""twisted.web's own files, below ``/files``; ``$FILES`` is their directory."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.web.static import File

from benchmarks.servers.options import parse
from benchmarks.servers.tree import make_tree
from benchmarks.servers.twisted_run import listen_stock, run
from benchmarks.servers.twisted_tree import QuietSite


def main() -> None:
    options = parse()
    root = make_tree("twisted")
    root.putChild(b"files", File(os.environ.get("FILES", ".")))
    listen_stock(reactor, QuietSite(root, timeout=600), options)
    run(reactor, options)


if __name__ == "__main__":
    main()

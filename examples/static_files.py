"""Files of a directory as they are now, and an application in one page beside them.

    python examples/static_files.py 8080 DIRECTORY
    curl -i http://127.0.0.1:8080/files/

Without a directory it serves the one this program is in. Change a file, add one, take one away: the next
request sees it.
"""

import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.web.resource import Resource

from hardhttp import Site, listen
from hardhttp.web.static import StaticFiles

PAGE = """<!doctype html><meta charset=utf-8><title>One page</title>
<p>You are at <b id=where></b>.
<p><a href=/app/>home</a> <a href=/app/cart>cart</a> <a href=/app/orders/42>order 42</a>
<script src=/app/app.3f2a9c1b.js></script>
"""
SCRIPT = 'document.getElementById("where").textContent = location.pathname\n'


def make_site(directory, application):
    root = Resource()
    root.putChild(
        b"files",
        StaticFiles(
            directory,
            listing=True,
            cache_control=[("*.log", "no-store"), ("pictures/*", "public, max-age=86400")],
            content_types={".tac": "text/plain; charset=utf-8"},
        ),
    )
    # Whatever path a browser asks for, the page is the answer: it finds its way by itself.
    root.putChild(b"app", StaticFiles(application, fallback="index.html"))
    return Site(root, reactor=reactor)


if __name__ == "__main__":
    directory = Path(sys.argv[2]) if sys.argv[2:] else Path(__file__).parent
    with tempfile.TemporaryDirectory() as application:
        Path(application, "index.html").write_text(PAGE, "utf-8")
        Path(application, "app.3f2a9c1b.js").write_text(SCRIPT, "utf-8")
        port = int(sys.argv[1]) if sys.argv[1:] else 8080
        site = make_site(directory, application)
        # listen, and not reactor.listenTCP: over its ports large files go out by sendfile.
        waiting = listen(reactor, f"tcp:{port}:interface=127.0.0.1", site)
        waiting.addCallback(lambda port: print(f"http://127.0.0.1:{port.getHost().port}/files/", flush=True))
        reactor.run()

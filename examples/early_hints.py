"""Pages that say what they need before they are made.

python examples/early_hints.py
curl -i http://127.0.0.1:8080/slow -H 'Sec-Fetch-Mode: navigate' -H 'Connection: keep-alive'
"""

import sys

from twisted.internet import task
from twisted.internet.defer import Deferred

from hardhttp import Hints, Link, Response, Router, Site, listen

STYLE = Link("/app.css", "preload", {"as": "style"})
FONTS = Link("https://fonts.example", "preconnect", {"crossorigin": True})

router = Router()


@router.get("/slow")
async def slow(request):
    """Its style is hinted by path, below; this client is told while the page is being made."""
    from twisted.internet import reactor

    await task.deferLater(reactor, 0.2)
    return Response.html("<link rel=stylesheet href=/app.css><p>It took a while.\n")


@router.get("/users/{name}")
def user(request, name):
    """What a page needs may depend on who is asked for: then the handler says it."""
    request.hints([Link(f"/portraits/{len(name)}.png", "preload", {"as": "image"})])
    return f"<link rel=stylesheet href=/app.css><p>{len(name)} letters.\n"


@router.get("/app.css")
def style(request):
    return Response(content_type="text/css", body=b"p { color: teal }\n")


# As --early-hints has it from a file: the patterns are a router's.
root = Hints(router, {"/slow": [STYLE, FONTS], "/users/{rest:path}": [STYLE]})


async def main(reactor, port="8080"):
    site = Site(root, reactor=reactor)
    # "auto" is the default: browsers that open a page. "always" is for servers whose every client knows 103.
    site.early_hints_to = "auto"
    listening = await listen(reactor, f"tcp:{port}:interface=127.0.0.1", site)
    print(f"http://127.0.0.1:{listening.getHost().port}/", flush=True)
    reactor.addSystemEventTrigger("before", "shutdown", site.drain)
    await Deferred()


if __name__ == "__main__":
    task.react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])

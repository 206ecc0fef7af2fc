"""Responses as values: text, JSON, a page, a file, a stream, a redirect, cookies, preconditions, errors."""

import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.web.resource import Resource

from hardhttp import Site
from hardhttp.web.response import Response, abort
from hardhttp.web.sending import check_preconditions, etag_of


class Answer(Resource):
    """A leaf whose methods are all ``handler``."""

    isLeaf = True

    def __init__(self, handler):
        super().__init__()
        self.handler = handler

    def render(self, request):
        return self.handler(request)


def greet(request):
    response = Response.text("Grüße\n")
    response.set_cookie("greeted", "yes, once", max_age=3600)
    return response


def figures(request):
    return Response.json({"celsius": [21.5, 22.0], "room": "Küche"}, headers={"Cache-Control": "max-age=60"})


def source(request):
    return Response.file(__file__, download_name="Beispiel für Antworten.py")


def shown(request):
    """The same, shown instead of saved; the path is ours, never the client's."""
    return Response.file(Path(__file__), content_type="text/plain; charset=utf-8")


async def rows():
    """Asked for the next row when the client has room for it."""
    for number in range(5):
        await deferLater(reactor, 0.01)
        yield f"row {number}\n"


def report(request):
    return Response.stream(rows(), content_type="text/plain; charset=utf-8")


def sign_in(request):
    target = request.args.get(b"next", [b"/greet"])[0].decode()
    try:
        return Response.redirect(target)
    except ValueError as refused:
        abort(400, str(refused))


note = b"first"


def edit(request):
    """A document that two people may edit without one undoing the other."""
    global note
    if request.method == b"PUT":
        check_preconditions(request, etag_of(note))
        note = request.content.read()
        return Response(204, {"ETag": etag_of(note).decode()})
    return Response(200, None, note, content_type="text/plain", conditional=True)


def missing(request):
    abort(404, "There is no such thing.", {"X-Hint": "look elsewhere"})


def own_page(request, problem):
    """The site's own page for what is missing; ``None`` is the ordinary one."""
    if problem.status == 404 and not request.path.startswith(b"/missing"):
        return Response.html(f"<h1>Nothing here</h1><p>{problem.request_id}", 404)
    return None


if __name__ == "__main__":
    root = Resource()
    for handler in (greet, figures, source, shown, report, sign_in, edit, missing):
        root.putChild(handler.__name__.encode(), Answer(handler))
    site = Site(root)
    site.error_page = own_page
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

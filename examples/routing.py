"""A small API by a Router: typed parameters, a group with hooks, a class of handlers, errors, a stream."""

import sys
from dataclasses import dataclass
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater

from hardhttp import Site
from hardhttp.web import routing
from hardhttp.web.response import Response, abort
from hardhttp.web.routing import Router
from hardhttp.web.static import StaticFiles


@dataclass
class Note:
    id: int
    text: str


router = Router()


@router.get("/", name="home")
def home(request):
    return f"<h1>Notes</h1><p>The first one is <a href='{router.url_for('note', id=1, request=request)}'>here</a>."


# A group: a prefix, and hooks that hold below it.
api = router.group("/api")


@api.before
async def check_key(request):
    """Answers for the handler when there is no key; returning nothing lets it go on."""
    await deferLater(reactor, 0)  # ask whoever knows
    if request.getHeader("x-key") != "secret" and request.method != b"GET":
        abort(403, "Changing notes takes a key.")


@api.after
def stamp(request, response):
    """Sees every answer, also those for errors."""
    response.headers.setRawHeaders("X-Notes", [str(len(notes))])


# Handlers that share something are methods of one object.
class Notes:
    def get(self, request):
        return list(notes.values())

    def post(self, request):
        note = Note(max(notes) + 1, request.content.read().decode("utf-8"))
        notes[note.id] = note
        return Response.json({"id": note.id}, 201, {"Location": router.url_for("note", id=note.id, request=request)})

    @routing.get("/{id:int}", name="note")
    def show(self, request, id):
        return notes[id]

    @routing.delete("/{id:int}")
    def remove(self, request, id):
        del notes[id]  # and None is answered with 204


notes = {1: Note(1, "water the plants")}
api.add("/notes", Notes())


@router.error(KeyError)
def missing(request, error):
    return Response.json({"missing": str(error)}, 404)


@router.get("/count/{to:int?}")
async def count(request, to=3):
    """A stream: the next piece is made when the client has room for it."""
    for number in range(1, to + 1):
        yield f"{number}\n"
        await deferLater(reactor, 0.01)


# Any resource can be mounted, and the router in any tree.
router.mount("/source", StaticFiles(str(Path(__file__).parent)))


if __name__ == "__main__":
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(router), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

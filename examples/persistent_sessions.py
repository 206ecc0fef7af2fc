"""Sessions that outlive the program: sign in, kill it, start it again, and you are signed in.

    SESSION_STORE=sqlite:sessions.db python persistent_sessions.py
    SESSION_STORE=redis://127.0.0.1:6379/0 python persistent_sessions.py

Every worker that is given the same store knows the same sessions.
"""

import os
import sys

from twisted.internet import reactor

from hardhttp import Response, Router, Sessions, Site
from hardhttp.stores import open_store

router = Router()


@router.get("/")
def welcome(request):
    """Looking at a session makes none: who has not signed in gets no cookie and no entry in the store."""
    if "name" not in request.session:
        return Response.html("<form method=post action=/sign_in><input name=name><button>Sign in</button></form>")
    request.session["visits"] = request.session.get("visits", 0) + 1
    return f"{request.session['name']}, visit {request.session['visits']}\n"


@router.post("/sign_in")
def sign_in(request):
    name = request.form()["name"]
    request.session.rotate()  # an id that was known before the sign-in is worth nothing after it
    request.session["name"] = name
    return Response.redirect("/")


@router.post("/sign_out")
def sign_out(request):
    request.session.abandon()
    return Response.redirect("/")


@router.get("/about")
def about(request):
    """Needs no session: it is answered while the store is away, too."""
    return "a counter of visits\n"


if __name__ == "__main__":
    store = open_store(os.environ.get("SESSION_STORE", "sqlite:sessions.db"), reactor)
    site = Site(router, sessions=Sessions(store))
    # What has been answered is in the store already; this lets go of its files, threads and connections.
    reactor.addSystemEventTrigger("before", "shutdown", site.cookie_sessions.close)
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

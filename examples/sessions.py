"""Signing in and out: a session that looking does not make, and forms that no other site can post."""

import sys
from html import escape

from twisted.internet import reactor

from hardhttp import Response, Router, Site
from hardhttp.web.csrf import csrf_protect, csrf_token

router = Router()
router.before(csrf_protect)  # whatever may change something must come from a page of ours


def form(request, action, content):
    token = csrf_token(request)
    return f"<form method=post action={action}><input type=hidden name=csrf_token value={token}>{content}</form>"


@router.get("/")
def welcome(request):
    """Who only looks has no session, and gets no cookie."""
    if "name" not in request.session:
        return Response.html("<p>Hello, whoever you are. <a href=/sign_in>Sign in</a>")
    session = request.session
    session["visits"] = session.get("visits", 0) + 1
    hello = f"<p>Hello {escape(session['name'])}, visit {session['visits']}."
    return Response.html(hello + form(request, "/sign_out", "<button>Sign out</button>"))


@router.get("/sign_in")
def sign_in_page(request):
    return Response.html(form(request, "/sign_in", "<input name=name required><button>Sign in</button>"))


@router.post("/sign_in")
def sign_in(request):
    """Here a password would be checked."""
    request.session.rotate()  # an id that was known before is worth nothing from here on
    request.session["name"] = request.form()["name"]
    return Response.redirect("/")


@router.post("/sign_out")
def sign_out(request):
    request.session.abandon()
    return Response.redirect("/")


if __name__ == "__main__":
    site = Site(router)
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

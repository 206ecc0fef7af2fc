"""A hub in an application: who is signed in is sent what is his, and other programs publish by Mercure.

A browser subscribes with its session's cookie. A program publishes with a token, signed by the secret in
PUBLISHER_KEY; without one the application alone publishes.
"""

import os
import sys

from twisted.internet import reactor

from hardhttp import EventHub, Response, Router, Site, abort
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.mercure import PATH, Mercure
from hardhttp.sse.tokens import Key

PAGE = """<!doctype html><meta charset=utf-8><title>News</title>
<form method=post action=/sign_in><input name=name required><button>Sign in</button></form>
<form method=post action=/news><input name=text required><button>Tell everybody</button></form>
<form method=post action=/whisper><input name=to required><input name=text required><button>Whisper</button></form>
<form method=post action=/sign_out><button>Sign out</button></form>
<pre id=log></pre>
<script>
const source = new EventSource("/.well-known/mercure?topic=/news/{kind}"), log = document.getElementById("log");
const show = event => { log.textContent += event.type + ": " + event.data + "\\n"; };
source.onmessage = show;
for (const type of ["whisper", "staff", "gap"]) source.addEventListener(type, show);
</script>
"""
STAFF = {"ada"}

router = Router()
hub = EventHub(reactor, history=MemoryHistory(reactor), policies={"/news/prices": "latest"})


def admit(subscriber):
    """Called before each subscription begins. 403 ends a browser's EventSource for good, as it should here."""
    name = subscriber.request.session.get("name")
    if name is None:
        return False
    hub.bind_user(subscriber, name)
    if name in STAFF:
        hub.join(subscriber, "staff")
    return True


hub.on_connect(admit)


def signed_in(request):
    return request.session.get("name") or abort(403, "Sign in first.")


@router.get("/")
def page(request):
    return Response.html(PAGE)


@router.post("/sign_in")
def sign_in(request):
    """Here a password would be checked."""
    request.session.rotate()
    request.session["name"] = request.form()["name"]
    return Response.redirect("/")


@router.post("/sign_out")
def sign_out(request):
    """Each window of his reconnects, and is refused."""
    name = signed_in(request)
    request.session.abandon()
    hub.close_user(name)
    return Response.redirect("/")


@router.post("/news")
def tell(request):
    """To whoever is subscribed to the topic. It is kept: who was away for a moment has it when he is back."""
    name = signed_in(request)
    receipt = hub.publish("/news/general", {"from": name, "text": request.form()["text"]})
    hub.to_group("staff", {"id": receipt.id, "matched": receipt.matched}, event="staff")
    return Response.redirect("/")


@router.post("/whisper")
def whisper(request):
    """To all windows of one user, whatever they are subscribed to. It is kept nowhere."""
    name, form = signed_in(request), request.form()
    if not hub.to_user(form["to"], {"from": name, "text": form["text"]}, event="whisper").matched:
        abort(404, "Nobody of that name is here.")
    return Response.redirect("/")


# No key for subscribers: they need no token, for ``admit`` has looked at their session.
secret = os.environ.get("PUBLISHER_KEY")
key = Key.parse(secret, "HS256") if secret else None
router.mount(PATH, Mercure(hub, publisher_key=key, anonymous=True))


if __name__ == "__main__":
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(router), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

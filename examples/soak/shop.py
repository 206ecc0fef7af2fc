"""A shop that keeps baskets: what `test_shop.py` puts misbehaving clients on. `python shop.py [PORT]`"""

import sys

from twisted.internet import reactor

from hardhttp import Response, Router, Site

router = Router()


@router.get("/")
def home(request):
    return "A shop.\n"


@router.get("/basket")
def basket(request):
    """Who only looks has no session."""
    return request.session.get("basket", [])


@router.get("/basket/tea")
def add_tea(request):
    request.session["basket"] = [*request.session.get("basket", []), "tea"]
    return Response.redirect("/basket")


@router.post("/pictures")
def add_picture(request):
    return f"{len(request.content.read())} bytes\n"


if __name__ == "__main__":
    port = reactor.listenTCP(int(sys.argv[1]) if len(sys.argv) > 1 else 8080, Site(router), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()

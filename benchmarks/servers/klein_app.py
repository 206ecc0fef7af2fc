"""klein, a route for each path."""

from __future__ import annotations

import json

from klein import Klein
from twisted.internet import reactor

from benchmarks.messages import HELLO, USER
from benchmarks.servers.options import big, parse
from benchmarks.servers.twisted_run import listen_stock, run
from benchmarks.servers.twisted_tree import QuietSite

app = Klein()
BIG = big()


@app.route("/a/b")
def hello(request):
    request.setHeader(b"content-type", b"text/plain")
    return HELLO


@app.route("/users/<int:number>")
def user(request, number):
    request.setHeader(b"content-type", b"application/json")
    return json.dumps({**USER, "id": number}, separators=(",", ":"))


@app.route("/post", methods=["POST"])
def count(request):
    request.setHeader(b"content-type", b"text/plain")
    return b"%d" % len(request.content.read())


@app.route("/big")
def large(request):
    return BIG


def main() -> None:
    options = parse()
    listen_stock(reactor, QuietSite(app.resource(), timeout=600), options)
    run(reactor, options)


if __name__ == "__main__":
    main()

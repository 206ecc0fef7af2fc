"""hardhttp's web layer: a router, sessions in memory, files.

``python -m benchmarks.servers.hardhttp_web PORT [--session] [--routes N]``; ``$FILES`` is the directory of the files.
"""

from __future__ import annotations

import os
import sys

from twisted.internet import reactor

import hardhttp
from benchmarks.messages import HELLO, HELLO_PATH, USER
from benchmarks.servers.hardhttp_tree import description, fail
from benchmarks.servers.options import parse
from benchmarks.servers.twisted_run import run


def make_router(routes: int, session: bool) -> hardhttp.Router:
    """A router with at least ``routes`` routes, and among them the one that is measured."""
    router = hardhttp.Router()

    @router.get(HELLO_PATH)
    def hello(request):
        request.setHeader(b"content-type", b"text/plain")
        return HELLO

    def other(request, number):
        return {"id": number}

    for place in range(routes):
        router.get(f"/resource{place}/{{number:int}}")(other)

    if session:

        @router.get("/users/{number:int}")
        def counted(request, number):
            request.session["visits"] = request.session.get("visits", 0) + 1
            return {**USER, "id": number}
    else:

        @router.get("/users/{number:int}")
        def user(request, number):
            return {**USER, "id": number}

    router.mount("/files", hardhttp.StaticFiles(os.environ.get("FILES", ".")))
    return router


def main() -> None:
    words = sys.argv[1:]
    session = "--session" in words
    routes = int(words[words.index("--routes") + 1]) if "--routes" in words else 0
    options = parse(words[:1])
    site = hardhttp.Site(make_router(routes, session), reactor=reactor)
    hardhttp.listen(reactor, description(options), site).addErrback(fail)
    run(reactor, options)


if __name__ == "__main__":
    main()

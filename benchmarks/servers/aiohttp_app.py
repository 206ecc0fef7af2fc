"""aiohttp on uvloop, a route for each path."""

from __future__ import annotations

import json
import os
import ssl

import uvloop
from aiohttp import web

from benchmarks.messages import BIG_PATH, HELLO, HELLO_PATH, POST_BYTES, POST_PATH, USER
from benchmarks.servers.options import big, parse

BIG = big()


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=HELLO, content_type="text/plain")


async def count(request: web.Request) -> web.Response:
    return web.Response(body=b"%d" % len(await request.read()), content_type="text/plain")


async def large(request: web.Request) -> web.Response:
    return web.Response(body=BIG)


async def user(request: web.Request) -> web.Response:
    return web.json_response({**USER, "id": int(request.match_info["number"])}, dumps=compact)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    options = parse()
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    app = web.Application(client_max_size=2 * POST_BYTES)
    app.add_routes([web.get(HELLO_PATH, hello), web.post(POST_PATH, count), web.get(BIG_PATH, large)])
    app.router.add_get(r"/users/{number:\d+}", user)
    app.router.add_static("/files", os.environ.get("FILES", "."))
    web.run_app(
        app,
        host="127.0.0.1",
        port=options.port,
        ssl_context=context,
        backlog=4096,
        keepalive_timeout=600,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()

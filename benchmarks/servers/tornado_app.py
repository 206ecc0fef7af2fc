"""tornado on uvloop, a handler for each path."""

from __future__ import annotations

import asyncio
import logging

import tornado.web
import uvloop

from benchmarks.messages import BIG_PATH, HELLO, HELLO_PATH, POST_PATH
from benchmarks.servers.options import big, parse

BIG = big()


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.set_header("Content-Type", "text/plain")
        self.write(HELLO)


class Count(tornado.web.RequestHandler):
    def post(self):
        self.set_header("Content-Type", "text/plain")
        self.write(b"%d" % len(self.request.body))


class Large(tornado.web.RequestHandler):
    def get(self):
        self.write(BIG)


async def main() -> None:
    options = parse()
    logging.getLogger("tornado").setLevel(logging.CRITICAL)
    app = tornado.web.Application(
        [(HELLO_PATH, Hello), (POST_PATH, Count), (BIG_PATH, Large)],
        log_function=lambda handler: None,
    )
    tls = {"certfile": options.tls[0], "keyfile": options.tls[1]} if options.tls else None
    app.listen(options.port, address="127.0.0.1", backlog=4096, ssl_options=tls)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())

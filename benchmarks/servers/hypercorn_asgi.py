"""hypercorn running the bare ASGI callable: one process, uvloop, no access log."""

from __future__ import annotations

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from benchmarks.servers.asgi import app
from benchmarks.servers.options import parse


def main() -> None:
    options = parse()
    config = Config()
    config.bind = [f"127.0.0.1:{options.port}"]
    config.accesslog = None
    config.loglevel = "ERROR"
    config.backlog = 4096
    config.keep_alive_timeout = 600
    config.keep_alive_max_requests = 1 << 40  # it would end a connection after a thousand
    if options.tls:
        config.certfile, config.keyfile = options.tls
    uvloop.install()
    uvloop.run(serve(app, config))


if __name__ == "__main__":
    main()

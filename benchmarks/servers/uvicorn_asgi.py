"""uvicorn at its fastest: uvloop and httptools, one process, no access log, no proxy headers."""

from __future__ import annotations

import sys

import uvicorn

from benchmarks.servers.options import parse


def main() -> None:
    framework = "--starlette" in sys.argv
    options = parse([each for each in sys.argv[1:] if each != "--starlette"])
    certificate, key = options.tls or (None, None)
    uvicorn.run(
        "benchmarks.servers.starlette_app:app" if framework else "benchmarks.servers.asgi:app",
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=600,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


if __name__ == "__main__":
    main()

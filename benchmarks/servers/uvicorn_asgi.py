"""uvicorn at its fastest: uvloop and httptools, one process, no access log, no proxy headers."""

from __future__ import annotations

import sys

import uvicorn

from benchmarks.servers.options import parse

__all__ = ["serve"]


def serve(app, options) -> None:
    """Run ``app``, a callable or the name of one."""
    certificate, key = options.tls or (None, None)
    uvicorn.run(
        app,
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


def main() -> None:
    framework = "--starlette" in sys.argv
    options = parse([each for each in sys.argv[1:] if each != "--starlette"])
    serve("benchmarks.servers.starlette_app:app" if framework else "benchmarks.servers.asgi:app", options)


if __name__ == "__main__":
    main()

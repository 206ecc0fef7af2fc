"""granian running the bare ASGI callable: one worker, one runtime thread, uvloop; with ``--http2`` that too."""

from __future__ import annotations

import sys
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

from benchmarks.servers.options import parse


def main() -> None:
    http2 = "--http2" in sys.argv
    options = parse([each for each in sys.argv[1:] if each != "--http2"])
    certificate, key = map(Path, options.tls) if options.tls else (None, None)
    Granian(
        "benchmarks.servers.asgi:app",
        address="127.0.0.1",
        port=options.port,
        interface=Interfaces.ASGI,
        workers=1,
        runtime_threads=1,
        loop=Loops.uvloop,
        http=HTTPModes.auto if http2 else HTTPModes.http1,
        websockets=False,
        backlog=4096,
        # How many connections a worker takes at once.
        backpressure=max(4096, options.max_connections or 0),
        log_access=False,
        log_level="error",
        ssl_cert=certificate,
        ssl_key=key,
    ).serve()


if __name__ == "__main__":
    main()

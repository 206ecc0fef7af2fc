"""nginx with nchan: writes its configuration under DIRECTORY and becomes nginx.

``python -m benchmarks.servers.nchan_sse PORT DIRECTORY [--max-connections N]``; ``MODULES`` is where the module is
looked for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.messages import EVENTS_PATH, HELLO, HELLO_PATH, PUBLISH_PATH
from benchmarks.peers import find_program
from benchmarks.servers.nginx import BEGINNING
from benchmarks.servers.options import parse

__all__ = ["CONFIGURATION", "find_module", "main"]

MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/local/lib/nginx/modules")

# As in nginx.py. The buffer holds more than the load ever has out.
CONFIGURATION = (
    "\nload_module {module};"
    + BEGINNING
    + """
    nchan_shared_memory_size 128M;
    nchan_message_buffer_length 1000;
    nchan_message_timeout 60s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = {path} {{ return 200 "{hello}"; }}
        location = {events} {{
            nchan_subscriber eventsource;
            nchan_channel_id all;
            nchan_subscriber_first_message newest;
        }}
        location = {publish} {{
            nchan_publisher;
            nchan_channel_id all;
        }}
    }}
}}
"""
)


def find_module() -> Path | None:
    """Where nchan is, or ``None``."""
    places = (Path(each) / "ngx_nchan_module.so" for each in MODULES)
    return next((place for place in places if place.exists()), None)


def main() -> None:
    directory = Path(sys.argv.pop(2))
    options = parse()
    module, program = find_module(), find_program("nginx")
    if module is None or program is None:
        sys.exit("nginx or its module nchan is not installed")
    connections = (options.max_connections or 1000) * 5 // 4 + 200
    file = directory / "nchan.conf"
    file.write_text(
        CONFIGURATION.format(
            module=module,
            directory=directory,
            files=connections + 200,
            connections=connections,
            port=options.port,
            path=HELLO_PATH,
            hello=HELLO.decode(),
            events=EVENTS_PATH,
            publish=PUBLISH_PATH,
        )
    )
    os.execv(program, [program, "-e", "stderr", "-p", str(directory), "-c", str(file)])


if __name__ == "__main__":
    main()

"""nginx, answering by ``return``: writes its configuration under DIRECTORY and becomes nginx.

``python -m benchmarks.servers.nginx PORT DIRECTORY [--tls CERTIFICATE KEY]``
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.messages import BIG_PATH, HELLO, HELLO_PATH
from benchmarks.servers.options import big, parse

# One process, no master: what serves is the same event loop as a single worker's. ``http`` is left open.
BEGINNING = """
daemon off;
master_process off;
worker_rlimit_nofile {files};
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
"""

CONFIGURATION = (
    BEGINNING
    + """
    server {{
        listen 127.0.0.1:{port} {tls} backlog=4096;
        {certificate}
        location = {path} {{ return 200 "{hello}"; }}
        location = {big_path} {{ root {directory}/root; }}
        location /files/ {{ root {directory}/root; sendfile on; tcp_nopush on; }}
    }}
}}
"""
)


def main() -> None:
    directory = Path(sys.argv.pop(2))
    options = parse()
    (directory / "root").mkdir(parents=True, exist_ok=True)
    (directory / "root" / BIG_PATH.lstrip("/")).write_bytes(big())
    certificate = ""
    if options.tls:
        certificate = "ssl_certificate {};\n        ssl_certificate_key {};".format(*options.tls)
    # It closes idle connections when fewer than a sixteenth of these are free.
    connections = (options.max_connections or 1000) * 5 // 4 + 200
    file = directory / "nginx.conf"
    file.write_text(
        CONFIGURATION.format(
            directory=directory,
            files=connections + 200,
            connections=connections,
            port=options.port,
            tls="ssl" if options.tls else "",
            certificate=certificate,
            path=HELLO_PATH,
            hello=HELLO.decode(),
            big_path=BIG_PATH,
        )
    )
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit("nginx is not installed")
    os.execv(program, [program, "-e", "stderr", "-p", str(directory), "-c", str(file)])


if __name__ == "__main__":
    main()

"""nginx, with files and its own defaults: ``python -m hardhttp.soak.applications.nginx_app PORT``.

Writes what it needs into the current directory and becomes nginx, master and one worker.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hardhttp.soak.applications.contents import HELLO, LARGE, port

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {directory}/root;
        location = / {{ return 200 "{hello}"; }}
    }}
}}
"""


def main() -> None:
    number = port()
    directory = Path.cwd()
    os.chmod(directory, 0o755)  # its worker is another user's when root starts it
    (directory / "root").mkdir()
    (directory / "root" / "large").write_bytes(LARGE)
    file = directory / "nginx.conf"
    file.write_text(CONFIGURATION.format(directory=directory, port=number, hello=HELLO.decode()))
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        sys.exit("nginx is not installed")
    os.execv(program, [program, "-e", "stderr", "-p", str(directory), "-c", str(file)])


if __name__ == "__main__":
    main()

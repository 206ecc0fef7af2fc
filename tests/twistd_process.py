"""Servers in processes of their own, for the tests that must see them whole.

A server listens on a port the system chose and is found by the line it logs, so every test that
starts one also holds that line to its promise.
"""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
PATIENCE_SECONDS = 20.0


class Logged:
    """A process whose ``log`` is read as it comes."""

    log: Path
    process: subprocess.Popen[bytes]

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log.read_text("utf-8"))
            if found:
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"no {pattern!r} in its log:\n{self.log.read_text('utf-8')}")


class Server(Logged):
    """A running ``twistd -n hardhttp``; its log is read as it comes."""

    def __init__(self, cwd: Path, *options: str, port: int = 0) -> None:
        self.log = cwd / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*TWISTD, "-n", "--pidfile=", "hardhttp", f"--listen=tcp:{port}:interface=127.0.0.1", *options],
                cwd=cwd,
                env=ENVIRONMENT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.port = int(self.wait_for(r"http://127\.0\.0\.1:(\d+)/")[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        connection.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        self.headers = response.headers
        connection.close()
        return response.status, content

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def run(cwd: Path, *words: str, shell: str = 'exec "$@"') -> subprocess.CompletedProcess[str]:
    """A twistd that should end by itself."""
    return subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *TWISTD, *words],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def ended_as_twistd_does(code: int) -> bool:
    """After a clean stop twistd ends by the signal it was sent, so that who sent it can tell."""
    return code in (0, -signal.SIGTERM)

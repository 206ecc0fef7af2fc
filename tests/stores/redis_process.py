"""A redis-server of the tests' own: on a port of its own, with a directory of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

from tests.listening import free_port

PATIENCE_SECONDS = 20.0


class RedisProcess:
    """A redis-server; ``kill`` and ``start`` keep port and directory, so what it has saved. ``certificate`` makes it
    speak TLS alone: a file that holds its certificate, the key, and whom it trusts."""

    def __init__(
        self, directory: Path, *options: str, certificate: Path | None = None, password: str | None = None
    ) -> None:
        program = shutil.which("redis-server")
        assert program is not None, "these tests need redis-server: apt-get install redis-server"
        self.port = free_port()
        self.directory = directory
        self.socket_path = directory / "redis.sock"
        self._password = password
        if password is not None:
            options += ("--requirepass", password, "--masterauth", password)
        self._tls = ssl._create_unverified_context() if certificate is not None else None
        port = ["--port", str(self.port)]
        if self._tls is not None and certificate is not None:
            self._tls.load_cert_chain(certificate)
            port = ["--port", "0", "--tls-port", str(self.port), "--tls-replication", "yes", "--tls-auth-clients", "no"]
            port += ["--tls-cert-file", str(certificate), "--tls-key-file", str(certificate)]
            port += ["--tls-ca-cert-file", str(certificate)]
        self._command = [
            program,
            *(*port, "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""),
            *("--unixsocket", str(self.socket_path), "--appendonly", "yes", "--appendfsync", "always"),
            *options,
        ]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                with self._connect(1) as probe:
                    probe.sendall(b"PING\r\n")
                    if probe.recv(100).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                pass
            time.sleep(0.01)
        raise AssertionError((self.directory / "redis.log").read_text())

    def command(self, *words: str | bytes) -> bytes:
        """The raw reply to one command, given by hand."""
        with self._connect(PATIENCE_SECONDS) as line:
            if self._password is not None:
                line.sendall(_encode("AUTH", self._password))
                assert line.recv(65536) == b"+OK\r\n"
            line.sendall(_encode(*words))
            return line.recv(65536)

    def _connect(self, seconds: float) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=seconds)
        if self._tls is None:
            return line
        try:
            return self._tls.wrap_socket(line)
        except OSError:
            line.close()
            raise

    def pause(self) -> None:
        """Connections are still accepted, by the kernel, and nothing answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _encode(*words: str | bytes) -> bytes:
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


class SentinelProcess(RedisProcess):
    """A sentinel that watches ``master`` by the name of ``main``, alone, and is quick to have a replica take over."""

    def __init__(self, directory: Path, master: RedisProcess, *settings: str, certificate: Path | None = None) -> None:
        super().__init__(directory, certificate=certificate)
        lines = [f"sentinel monitor main 127.0.0.1 {master.port} 1", "sentinel down-after-milliseconds main 300"]
        lines += ["sentinel failover-timeout main 3000", f"dir {directory}", "bind 127.0.0.1", *settings]
        place = self._command.index("--bind")
        words = self._command[1:place]  # where it listens
        lines += [f"{name.removeprefix('--')} {value}" for name, value in zip(words[::2], words[1::2], strict=True)]
        (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
        self._command = [self._command[0], str(directory / "sentinel.conf"), "--sentinel"]

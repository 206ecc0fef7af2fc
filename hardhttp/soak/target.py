"""A server under test: one that runs already, or one that is started for the run and ended with it.

What is started runs in a session of its own, so that its workers belong to its process group; it is
ended by that group's id and never by a name: politely first, then not. Linux ends it too when this
process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from hardhttp.soak.peers import PEERS, find_program
from hardhttp.soak.where import Where

__all__ = ["Running", "Started", "TargetError", "free_ports", "named", "owner_of"]

START_SECONDS = 20.0
END_SECONDS = 5.0
LOOK_SECONDS = 0.05
PR_SET_PDEATHSIG = 1
PACKAGES = Path(__file__).resolve().parent.parent.parent

_libc = ctypes.CDLL(None)
_DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)

Sleep = Callable[[float], Awaitable[object]]


class TargetError(Exception):
    """A server that cannot be started, or has ended."""


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 below those the system gives to outgoing connections. Raises ``TargetError``."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
        if len(found) == count:
            return found
    raise TargetError("no port is free on 127.0.0.1 between 20000 and 32000")


class Running:
    """A server that somebody else has started and will end. ``pid``: its process, where it is known."""

    def __init__(self, name: str, where: Where, pid: int | None = None, admin_url: str | None = None) -> None:
        self.name, self.where, self.pid, self.admin_url = name, where, pid, admin_url

    @property
    def paths(self) -> Mapping[str, str]:
        return self.where.paths

    async def start(self, sleep: Sleep) -> None:
        """Raises ``TargetError`` when nobody answers there."""
        if not answers(self.where):
            raise TargetError(f"{self.name}: nobody answers at {self.where.url}")

    def check(self) -> None:
        """Raises ``TargetError`` when its process has ended."""
        if self.pid is not None and not Path(f"/proc/{self.pid}").exists():
            raise TargetError(f"{self.name}: its process, {self.pid}, has ended")

    async def end(self, sleep: Sleep) -> None:
        """It is not ours to end."""


class Started:
    """A server that runs for as long as the run. ``{port}`` in ``command`` stands for the port it is to listen on, and
    ``{admin}`` for one that hardhttp's admin side is to have, which is then asked there (else at ``admin_url``).

    What it prints goes to ``log``, up to what the disk takes: a server that floods its log is a finding.
    """

    def __init__(
        self,
        name: str,
        command: tuple[str, ...],
        paths: Mapping[str, str],
        log: Path,
        admin_url: str | None = None,
    ) -> None:
        self.name, self.log, self.admin_url = name, log, admin_url
        self.words, self.paths = command, {"hello": "/", **paths}
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._where: Where | None = None

    @property
    def where(self) -> Where:
        if self._where is None:
            raise TargetError(f"{self.name} was not started")
        return self._where

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def command(self, port: int, admin_port: int = 0) -> list[str]:
        """What is run, with everything filled in."""
        words = {
            "{python}": sys.executable,
            "{port}": str(port),
            "{admin}": str(admin_port),
            "{node}": find_program("node") or "node",
            "{applications}": str(Path(__file__).with_name("applications")),
        }
        filled = list(self.words)
        for mark, text in words.items():
            filled = [word.replace(mark, text) for word in filled]
        return filled

    async def start(self, sleep: Sleep) -> None:
        """Start it and wait until it answers. Raises ``TargetError``, with the end of what it printed."""
        port, admin_port = free_ports(2)
        if any("{admin}" in word for word in self.words):
            self.admin_url = f"http://127.0.0.1:{admin_port}"
        self._where = Where("http", "127.0.0.1", port, self.paths)
        peer = PEERS.get(self.name)
        self._directory = tempfile.TemporaryDirectory(prefix="hardhttp-soak-") if peer is not None else None
        path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.command(port, admin_port),
                    cwd=self._directory.name if self._directory is not None else None,
                    env={**os.environ, "PYTHONPATH": path},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_before_exec,
                )
            except OSError as error:
                raise TargetError(f"{self.name} cannot be started: {error}") from None
        for _ in range(int(START_SECONDS / LOOK_SECONDS)):
            self.check()
            if answers(self.where):
                return
            await sleep(LOOK_SECONDS)
        raise TargetError(f"{self.name} does not answer after {START_SECONDS:g} s: {self.last_words()}")

    def check(self) -> None:
        """Raises ``TargetError`` when it has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise TargetError(f"{self.name} has ended ({self._process.returncode}): {self.last_words()}")

    def last_words(self) -> str:
        """The end of what it printed, on one line."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
                text = file.read().decode("utf-8", "replace").strip()
        except OSError:
            text = ""
        return " | ".join(text.splitlines()[-4:])[-500:] or "it printed nothing"

    async def end(self, sleep: Sleep) -> None:
        """End its group, and wait until its first process has been reaped."""
        process, self._process = self._process, None
        if process is not None:
            for which in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, which)
                for _ in range(int(END_SECONDS / LOOK_SECONDS)):
                    if process.poll() is not None:
                        break
                    await sleep(LOOK_SECONDS)
            process.wait()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


def _before_exec() -> None:
    """In the child: die with the parent, and have the descriptors that the parent was given, not what it took."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, _DESCRIPTORS)


def answers(where: Where) -> bool:
    """Whether somebody accepts a connection there."""
    try:
        socket.create_connection((where.host, where.port), timeout=2).close()
    except OSError:
        return False
    return True


def named(text: str, log_directory: Path, paths: Mapping[str, str] | None = None) -> Started:
    """What ``--against`` says: a ready peer's name, or ``NAME=COMMAND``, which has ``paths``. Raises ``ValueError``."""
    name, equals, command = text.partition("=")
    log = log_directory / f"{''.join(c if c.isalnum() or c in '.-' else '_' for c in name)}.log"
    if equals:
        words = tuple(shlex.split(command))
        if not name or not words:
            raise ValueError(f"--against {text!r} must be NAME=COMMAND, or one of: {', '.join(PEERS)}")
        if not any("{port}" in word for word in words):
            raise ValueError(f"--against {text!r}: the command must say {{port}} where its port goes")
        return Started(name, words, paths or {}, log)
    peer = PEERS.get(name)
    if peer is None:
        raise ValueError(f"--against {text!r}: no server is called that; there are: {', '.join(PEERS)}")
    missing = peer.missing()
    if missing is not None:
        raise ValueError(f"--against {missing}")
    return Started(name, peer.command, peer.paths, log)


def owner_of(port: int) -> int | None:
    """The process that listens on ``port`` of loopback or of every address, if it may be seen."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table) as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                for descriptor in os.listdir(f"/proc/{entry}/fd"):
                    if os.readlink(f"/proc/{entry}/fd/{descriptor}") in inodes:
                        return int(entry)
    return None

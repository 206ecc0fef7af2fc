"""Child processes that cannot outlive the run: each in a group of its own, pinned, ended by its id.

Every child is killed by the kernel when this process dies, however it dies; a server's whole group
is ended when its ``with`` block is left, however it is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import random
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from benchmarks.messages import HELLO, HELLO_PATH
from benchmarks.peers import Peer, Setting

__all__ = ["ROOT", "Failed", "Server", "cores", "free_port", "pin", "prepare", "raise_descriptors"]

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0
END_SECONDS = 3.0
PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")

# Before anything here is pinned.
_AVAILABLE = frozenset(os.sched_getaffinity(0))
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A server that did not start, did not answer as it should, or could not be measured."""


def cores() -> tuple[int, int]:
    """The core for servers and the core for load; the same one twice where there is only one."""
    available = sorted(_AVAILABLE)
    return available[0], available[-1]


def pin(core: int | None) -> None:
    """Keep this process on one core; ``None``: wherever it may run."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def prepare(core: int | None, nice: int = 0) -> Callable[[], None]:
    """What a child does between fork and exec: die with its parent, stay on its core."""

    def before_exec() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        pin(core)
        if nice:
            os.nice(nice)

    return before_exec


def raise_descriptors(needed: int) -> None:
    """Allow this process and its children ``needed`` open files, or say why not.

    Raises ``Failed`` with the number and the command that would help.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (ValueError, OSError):
        raise Failed(
            f"this needs {needed:,} open files and the limit is {hard:,} (soft {soft:,}): "
            f"run it after `ulimit -n {needed}` as root, or ask for fewer connections"
        ) from None


def free_port() -> int:
    """A port on 127.0.0.1 below those the system gives to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failed("no free port on 127.0.0.1 between 20000 and 32000")


class Server:
    """A running peer. A context manager: entering starts it and waits until it answers."""

    def __init__(self, peer: Peer, setting: Setting, core: int | None) -> None:
        self.peer = peer
        self.setting = setting
        self.core = core
        self.log = setting.directory / f"{peer.name}-{setting.port}.log"

    @property
    def port(self) -> int:
        return self.setting.port

    @property
    def url(self) -> str:
        return f"{'https' if self.setting.tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.peer.command(self.setting),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=prepare(self.core),
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise Failed(f"ended with {self.process.returncode} at its start: {self.last_words()}")
            try:
                self.check()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Failed(f"does not answer after {START_SECONDS:.0f} s: {error}; {self.last_words()}") from None
                time.sleep(0.03)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, timeout: float = 10.0) -> bytes:
        """Send one request and return the body. ``Failed`` unless it is a 200; ``OSError`` when nobody answers."""
        if self.setting.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            content = answer.read()
        except http.client.HTTPException as error:
            raise Failed(f"{method} {path} was not answered in HTTP: {error!r}") from None
        finally:
            connection.close()
        if answer.status != 200:
            raise Failed(f"{method} {path} was answered {answer.status}")
        return content

    def cookies(self, path: str) -> list[str]:
        """The cookies that a first visit to ``path`` is given, as a client sends them back."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        return [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]

    def check(self) -> None:
        """One hello, looked at closely."""
        if self.ask(HELLO_PATH) != HELLO:
            raise Failed(f"GET {HELLO_PATH} was answered with something else")

    def members(self) -> list[int]:
        """The process ids of the server's group. Zombies, which are whoever adopted them's to reap, are gone."""
        group = self.process.pid
        return [pid for pid, fields in _processes() if int(fields[2]) == group and fields[0] != "Z"]

    def cpu_seconds(self) -> float:
        """What the server's processes have used so far, in user and system mode."""
        group = self.process.pid
        ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in _processes() if int(fields[2]) == group)
        return ticks / TICKS

    def memory(self) -> dict[str, int]:
        """Resident and proportional bytes of all the server's processes."""
        total = {"rss": 0, "pss": 0}
        for pid in self.members():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name.lower() in total:
                    total[name.lower()] += int(rest.split()[0]) * 1024
        return total

    def last_words(self) -> str:
        """The end of what it printed, on one line."""
        text = self.log.read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-4:])[-500:] or "it printed nothing"

    def end(self) -> None:
        """End the whole group: politely, then not."""
        group = self.process.pid
        for which in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, which)
            deadline = time.monotonic() + END_SECONDS
            while time.monotonic() < deadline:
                # The leader's entry, reaped by poll, may go before the rest of its group.
                if self.process.poll() is not None and not self.members():
                    return
                time.sleep(0.02)
        print(f"benchmarks: process group {group} ({self.peer.name}) does not end", file=sys.stderr)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Each process's id with the fields of its ``stat`` that follow the name: state, parent, group ..."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                text = Path("/proc", entry, "stat").read_text()
                yield int(entry), text[text.rindex(")") + 2 :].split()

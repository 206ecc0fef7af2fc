"""A port that nobody listens on, and who listens on one, as the kernel knows it.

To connect and be refused says less: a port that was let go of may be another test's in the same moment.
"""

from __future__ import annotations

import os
from pathlib import Path

from hardhttp.soak.target import free_ports

__all__ = ["free_port", "listens"]

_LISTEN = "0A"  # the state, in /proc/net/tcp


def free_port() -> int:
    """One of 127.0.0.1 for a program that is to be told its port, or that nobody shall listen on: none that the system
    would give to whoever asks it for any, which may be the same program at its next socket."""
    return free_ports(1)[0]


def listens(port: int, *pids: int) -> bool:
    """Whether a process of ``pids``, or this one, listens on the TCP port. One that has ended does not."""
    return any(not _sockets(pid).isdisjoint(_listening(port)) for pid in pids or (os.getpid(),))


def _listening(port: int) -> set[str]:
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for each in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found.add(os.readlink(each))
            except FileNotFoundError:
                pass  # it was closed meanwhile
    except FileNotFoundError:
        pass
    return found

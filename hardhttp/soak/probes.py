"""A server seen from outside: what its process and its children hold, told by /proc.

``Probe(pid).look()`` reads and adds up the process and all that descend from it. A child that ends while it is
read counts for nothing; when the process itself has gone, ``ProcessGone`` says so, also when its number was given to
another in between. Children whose parent ended are no longer its descendants, and are not seen.

Memory is told in three ways. Resident (RSS) counts a page that is shared by five workers five times; PSS shares it
out among those who have it; USS counts only what would be free if the process ended. The last two need
``smaps_rollup``, which the owner of the process and root may read, and are None where it cannot be read. Pages that
were swapped out are counted in both (as ``SwapPss``), else a leak would vanish into the swap space.

All calls block: a few milliseconds for /proc, up to ``deadline_seconds`` for each page of the admin side. A program
with a reactor calls ``look`` in a thread. What the admin side says is parsed by ``prometheus_client``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from hardhttp.soak.adminside import AdminFigures, AdminSide

__all__ = ["Figures", "Probe", "ProbeError", "ProcessGone"]

PROC = Path("/proc")
# A process that breeds without end must not take the probe with it.
MAX_PROCESSES = 1024


class ProbeError(Exception):
    """What cannot be seen, and why."""


class ProcessGone(ProbeError):
    """The process has ended."""


@attrs.frozen
class Figures:
    """One look: the process and its children together, and what its admin side said."""

    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None
    descriptors: int
    threads: int
    cpu_seconds: float  # of the living, and of the dead whom their parents have waited for
    processes: int
    ledger_bytes: int | None = None
    connections: int | None = None
    collected: int | None = None
    traced_bytes: int | None = None


@attrs.frozen
class _Stat:
    """What is used of ``/proc/PID/stat``; see proc_pid_stat(5)."""

    state: str
    parent: int
    cpu_seconds: float
    threads: int
    started: int  # in ticks since boot: with the pid, it names a process for good
    resident_bytes: int


class Probe:
    """Looks at ``pid`` and its children.

    ``admin_url`` is where hardhttp's admin side answers, ``admin_token`` what it asks for. ``monotonic_seconds``
    measures how long it takes to answer. Raises ``ProcessGone`` if there is no such process, ``ProbeError`` where
    there is no /proc, ``ValueError`` for an URL that is none.
    """

    def __init__(
        self,
        pid: int,
        admin_url: str | None = None,
        *,
        admin_token: str | None = None,
        deadline_seconds: float = 2.0,
        monotonic_seconds: Callable[[], float] = time.monotonic,
        proc: Path = PROC,
    ) -> None:
        self.pid = pid
        self._proc = proc
        self._admin = None
        if admin_url is not None:
            self._admin = AdminSide(admin_url, admin_token, deadline_seconds, monotonic_seconds)
        if not (proc / "self" / "stat").exists():
            raise ProbeError(f"{proc} does not tell of processes: probes need Linux's /proc")
        stat = self._root()
        self._started = stat.started

    @property
    def admin_trouble(self) -> str | None:
        """Why the admin side's figures were missing at the last look, or None."""
        return None if self._admin is None else self._admin.trouble

    def look(self) -> Figures:
        """All figures of now. Raises ``ProcessGone``, or ``ProbeError`` for what may not be read."""
        root = self._root()
        if root.started != self._started:
            raise ProcessGone(f"process {self.pid} has ended, and its number was given to another")
        stats = {self.pid: root} | self._descendants()
        descriptors = self._descriptors(self.pid)
        memory = [self._memory(self.pid)]
        for pid in list(stats)[1:]:
            try:
                found = self._descriptors(pid), self._memory(pid)
            except ProcessGone:
                del stats[pid]
                continue
            descriptors += found[0]
            memory.append(found[1])
        told = AdminFigures() if self._admin is None else self._admin.look()
        return Figures(
            rss_bytes=sum(stat.resident_bytes for stat in stats.values()),
            pss_bytes=_total(pss for pss, _ in memory),
            uss_bytes=_total(uss for _, uss in memory),
            descriptors=descriptors,
            threads=sum(stat.threads for stat in stats.values()),
            cpu_seconds=sum(stat.cpu_seconds for stat in stats.values()),
            processes=len(stats),
            **attrs.asdict(told),
        )

    def _root(self) -> _Stat:
        stat = self._stat(self.pid)
        if stat is None:
            raise ProcessGone(f"there is no process {self.pid}")
        if stat.state in "ZX":
            raise ProcessGone(f"process {self.pid} has ended; its parent has not asked how")
        return stat

    def _stat(self, pid: int) -> _Stat | None:
        try:
            text = (self._proc / str(pid) / "stat").read_text("utf-8", "replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The name stands in parentheses and may itself hold some: the last one closes it.
        fields = text[text.rindex(")") + 2 :].split()
        ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        return _Stat(
            state=fields[0],
            parent=int(fields[1]),
            cpu_seconds=ticks / os.sysconf("SC_CLK_TCK"),
            threads=int(fields[17]),
            started=int(fields[19]),
            resident_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        )

    def _descendants(self) -> dict[int, _Stat]:
        """Children, and theirs. Not every kernel lists a task's children, so all parents are asked for."""
        children: dict[int, list[tuple[int, _Stat]]] = {}
        for entry in os.listdir(self._proc):
            if entry.isdecimal():
                stat = self._stat(int(entry))
                if stat is not None and stat.state not in "ZX":
                    children.setdefault(stat.parent, []).append((int(entry), stat))
        found: dict[int, _Stat] = {}
        waiting = [self.pid]
        while waiting and len(found) < MAX_PROCESSES:
            below = children.pop(waiting.pop(), [])
            found.update(below)
            waiting += [pid for pid, _ in below]
        return found

    def _descriptors(self, pid: int) -> int:
        try:
            return len(os.listdir(self._proc / str(pid) / "fd"))
        except (FileNotFoundError, ProcessLookupError):
            raise ProcessGone(f"process {pid} has ended") from None
        except PermissionError:
            raise ProbeError(
                f"the descriptors of process {pid} may not be counted: run as its user, or as root"
            ) from None

    def _memory(self, pid: int) -> tuple[int | None, int | None]:
        """PSS and USS in bytes; each None where the system does not tell."""
        try:
            text = (self._proc / str(pid) / "smaps_rollup").read_text("ascii")
        except PermissionError:
            return None, None
        except (FileNotFoundError, ProcessLookupError):
            if self._stat(pid) is None:
                raise ProcessGone(f"process {pid} has ended") from None
            return None, None  # a kernel before 4.14
        found = {name: int(rest.split()[0]) * 1024 for name, rest in _lines(text)}
        if "Pss" not in found:
            return None, None
        swapped = found.get("SwapPss", 0)
        own = sum(found.get(name, 0) for name in ("Private_Clean", "Private_Dirty", "Private_Hugetlb"))
        return found["Pss"] + swapped, own + swapped


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """``Name:  12 kB`` in parts; the first line is addresses."""
    for line in text.splitlines()[1:]:
        name, colon, rest = line.partition(":")
        if colon and rest.strip():
            yield name, rest


def _total(figures: Iterator[int | None]) -> int | None:
    """Their sum, or None if one is missing: half a sum would be taken for a whole one."""
    known = list(figures)
    whole = [figure for figure in known if figure is not None]
    return sum(whole) if len(whole) == len(known) else None

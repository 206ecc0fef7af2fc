"""What was measured on, with what: recorded beside every result."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import ssl
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.peers import Peer, find_program

__all__ = ["describe", "load_average", "versions"]


def describe() -> dict[str, object]:
    """The processor, the system and the interpreter."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "openssl": ssl.OPENSSL_VERSION,
        "load_average": load_average(),
    }


def load_average() -> float:
    """Over the last minute. Well above what the run itself uses, it says that others were at work."""
    return round(os.getloadavg()[0], 2)


def versions(peers: Iterable[Peer]) -> dict[str, str]:
    """Of every package and program that takes part."""
    found = {}
    for peer in peers:
        for package in peer.packages:
            try:
                found[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found[package] = "not installed as a package"
        if peer.program:
            found[peer.program] = _program_version(peer.program)
    found["wrk"] = _program_version("wrk")
    return found


def _program_version(name: str) -> str:
    program = find_program(name)
    if program is None:
        return "not installed"
    done = subprocess.run([program, "-v"], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10)
    found = re.search(r"\d+(\.\d+)+[-+.\w]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"

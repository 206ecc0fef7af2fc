"""What a report says of the machine and of the run, so that whoever doubts it can make it again."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hardhttp import __version__
from hardhttp.soak.peers import PEERS, TWISTD, find_program
from hardhttp.soak.plan import State
from hardhttp.soak.target import Running, Started
from hardhttp.soak.wording import bytes_text, seconds_text

__all__ = ["about", "facts"]

VERSION_SECONDS = 5.0
APPLICATIONS = "hardhttp/soak/applications"


def facts(state: State, servers: Mapping[str, Running | Started]) -> dict[str, str]:
    """Name and value, in the order they are shown."""
    plan = state.plan
    return {
        "Command": shlex.join(["hardhttp-soak", *state.words]),
        **_date(state.began_epoch_seconds),
        "Run": (
            f"{len(plan.scenarios)} scenarios, {plan.rounds} {'rounds' if plan.rounds > 1 else 'round'} of "
            f"{plan.round_seconds:.3g} s: a baseline of "
            f"{plan.baseline_seconds:.2g} s, {plan.load_seconds:.2g} s of load, {plan.rest_seconds:.2g} s of rest; "
            f"{seconds_text(plan.seconds)} in all"
        ),
        "Servers": "; ".join(f"{name}: {_started(server)}" for name, server in servers.items()),
        "Machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
        "System": f"{platform.system()} {platform.release()}, {platform.python_implementation()} "
        f"{platform.python_version()}",
        "Tool": f"hardhttp {__version__}, Twisted {_version('twisted')}",
    }


def _date(epoch_seconds: float | None) -> dict[str, str]:
    """When it began; nothing where that is not known."""
    if epoch_seconds is None:
        return {}
    began = datetime.fromtimestamp(epoch_seconds, UTC)
    return {"Begun": f"{began.day} {began:%B %Y, %H:%M} UTC"}


def about(servers: Mapping[str, Running | Started]) -> dict[str, str]:
    """What is said of each server: its version where it is known, and how it was started."""
    said = {}
    for name, server in servers.items():
        if isinstance(server, Running):
            said[name] = f"running at {server.where.url}"
            continue
        peer = PEERS.get(name)
        if peer is None:
            said[name] = shlex.join(server.words)
        elif peer.program is not None:
            said[name] = _program_version(peer.program)
        else:
            said[name] = ", ".join(f"{module} {_version(module)}" for module in peer.modules or ("hardhttp",))
    return said


def _started(server: Running | Started) -> str:
    """How it was begun, as a reader would type it."""
    if isinstance(server, Running):
        return f"running at {server.where.url}"
    if server.name in PEERS and server.words == PEERS[server.name].command:
        text = " ".join(server.words).replace(" ".join(TWISTD), "twistd -n")
        return text.replace("{python}", "python").replace("{node}", "node").replace("{applications}", APPLICATIONS)
    return shlex.join(server.words)


def _program_version(name: str) -> str:
    """What the program says of itself, on one line: ``node v22.1.0``, ``nginx version: nginx/1.26.3``."""
    try:
        done = subprocess.run(
            [find_program(name) or name, "-v"], capture_output=True, text=True, timeout=VERSION_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return name
    said = " ".join((done.stdout + done.stderr).split())[:100]
    return said if name in said else f"{name} {said}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return __version__ if package == "hardhttp" else "?"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.machine()


def _memory() -> str:
    try:
        return bytes_text(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return "memory unknown"
